/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/list_text.h"

#include "cache/name.h"

#include <jansson.h>

/* ---- writing ---- */

static uint64_t buffered; /* atomic: the sum of all */

static void give_back(struct list_text *l, size_t bytes)
{
	l->counted -= bytes;
	__atomic_fetch_sub(&buffered, bytes, __ATOMIC_RELAXED);
}

bool list_text_reserve(struct list_text *l, size_t cap)
{
	size_t more = cap > l->counted ? cap - l->counted : 0;

	if (cap <= LIST_SHORT)
		return true;
	l->counted += more;
	if (__atomic_add_fetch(&buffered, more, __ATOMIC_RELAXED) <=
	    LIST_BUFFERED_MAX)
		return true;
	give_back(l, more);
	return false;
}

/* For `len` bytes more. */
static bool grow(struct list_text *l, size_t len)
{
	size_t need = l->len + len;
	size_t cap = MAX(MAX(l->cap * 2, need + 256), l->counted);

	if (l->bounded && need <= LIST_SHORT && !l->counted)
		cap = MIN(cap, LIST_SHORT);
	if (l->bounded && !list_text_reserve(l, cap))
		return false;
	l->cap = cap;
	l->text = xrealloc(l->text, cap);
	return true;
}

void list_text_add(struct list_text *l, const char *bytes, size_t len)
{
	l->full = l->full || (len > l->cap - l->len && !grow(l, len));
	if (l->full)
		return;
	memcpy(l->text + l->len, bytes, len);
	l->len += len;
}

void list_text_release(struct list_text *l)
{
	give_back(l, l->counted);
	free(l->text);
	memset(l, 0, sizeof(*l));
}

static void add_text(struct list_text *l, const char *text)
{
	list_text_add(l, text, strlen(text));
}

void list_tags_begin(struct list_text *l, const char *name)
{
	l->bounded = true;
	add_text(l, "{\"name\":\"");
	add_text(l, name);
	add_text(l, "\",\"tags\":[");
}

void list_tags_add(struct list_text *l, const char *tag, size_t len)
{
	add_text(l, l->n++ ? ",\"" : "\"");
	list_text_add(l, tag, len);
	add_text(l, "\"");
}

void list_tags_end(struct list_text *l)
{
	add_text(l, "]}\n");
	l->cap = l->len;
	l->text = xrealloc(l->text, l->cap);
	if (l->counted)
		give_back(l, l->cap > LIST_SHORT ? l->counted - l->cap
						 : l->counted);
}

void list_names_begin(struct list_text *l)
{
	l->bounded = true;
	add_text(l, "{\"repositories\":[");
}

void list_names_add(struct list_text *l, const char *name)
{
	list_tags_add(l, name, strlen(name));
}

void list_names_end(struct list_text *l)
{
	list_tags_end(l);
}

void list_referrers_begin(struct list_text *l)
{
	l->bounded = true;
	add_text(l, "{\"schemaVersion\":2,\"mediaType\":"
		    "\"application/vnd.oci.image.index.v1+json\","
		    "\"manifests\":[");
}

void list_referrers_add(struct list_text *l, const void *descriptor, size_t len)
{
	if (l->n++)
		add_text(l, ",");
	list_text_add(l, descriptor, len);
}

void list_referrers_end(struct list_text *l)
{
	list_tags_end(l);
}

/* ---- reading ---- */

/* The array `key` of the object in buf; the caller drops *root.  `null` and a
 * missing key are an empty list to Go programs: *array is NULL then. */
static enum err read_array(const void *buf, size_t len, const char *key,
			   json_t **root, json_t **array, struct why *why)
{
	json_error_t error;

	*root = json_loadb(buf, len, 0, &error);
	*array = json_object_get(*root, key);
	if (json_is_null(*array))
		*array = NULL;
	if (json_is_object(*root) && (!*array || json_is_array(*array)))
		return ERR_OK;
	json_decref(*root);
	return why_set(why, ERR_BAD_UPSTREAM,
		       "upstream's list is no JSON object with an array "
		       "\"%s\"",
		       key);
}

static enum err is_whole(const struct list_text *l, struct why *why)
{
	return l->full ? why_set(why, ERR_BUSY, LIST_BUSY) : ERR_OK;
}

enum err list_tags(const void *buf, size_t len, const char *name, bool none,
		   struct list_page *out, struct why *why)
{
	struct list_text *l = &out->text;
	json_t *root, *tags, *tag;
	size_t i;
	enum err err = read_array(buf, len, "tags", &root, &tags, why);

	if (err)
		return err;
	list_tags_begin(l, name);
	json_array_foreach (tags, i, tag) {
		const char *text = json_string_value(tag);
		size_t tag_len = json_string_length(tag);

		if (!text || !tag_valid(text, tag_len))
			continue;
		if (!out->first[0])
			memcpy(out->first, text, tag_len + 1);
		if (!none)
			list_tags_add(l, text, tag_len);
	}
	list_tags_end(l);
	json_decref(root);
	return is_whole(l, why);
}

static bool is_wanted(const json_t *descriptor, const char *artifact_type)
{
	const char *type =
	    json_string_value(json_object_get(descriptor, "artifactType"));

	return json_is_object(descriptor) &&
	       (!artifact_type || (type && strcmp(type, artifact_type) == 0));
}

bool list_descriptor_is(const void *descriptor, size_t len,
			const char *artifact_type)
{
	json_error_t error;
	json_t *json = json_loadb(descriptor, len, 0, &error);
	bool found = is_wanted(json, artifact_type);

	json_decref(json);
	return found;
}

/* Something to ask upstream about; whether it is wanted does not matter. */
static void note_first(struct list_page *out, const json_t *descriptor)
{
	const char *text =
	    json_string_value(json_object_get(descriptor, "digest"));
	struct digest dg;

	if (!out->first[0] && text &&
	    digest_parse(text, strlen(text), &dg) == ERR_OK)
		digest_text(&dg, out->first);
}

enum err list_referrers(const void *buf, size_t len, const char *artifact_type,
			struct list_page *out, struct why *why)
{
	struct list_text *l = &out->text;
	json_t *root, *all, *one;
	size_t i;
	enum err err = read_array(buf, len, "manifests", &root, &all, why);

	if (err)
		return err;
	list_referrers_begin(l);
	json_array_foreach (all, i, one) {
		char *text;

		note_first(out, one);
		if (!is_wanted(one, artifact_type))
			continue;
		text = json_dumps(one, JSON_COMPACT);
		if (text)
			list_referrers_add(l, text, strlen(text));
		free(text);
	}
	list_referrers_end(l);
	json_decref(root);
	return is_whole(l, why);
}

/* ---- queries ---- */

static bool is_unreserved(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
	       (c >= 'a' && c <= 'z') || (c && strchr("-._~", c));
}

bool list_escape(const char *text, char *out, size_t size)
{
	size_t n = 0;

	for (const char *s = text; *s; s++) {
		size_t need = is_unreserved(*s) ? 1 : 3;

		if (size - n <= need)
			return false;
		if (need == 1)
			out[n] = *s;
		else
			snprintf(out + n, size - n, "%%%02X",
				 (unsigned char)*s);
		n += need;
	}
	out[n] = '\0';
	return true;
}

/* Can it stand in a request line and in a Link?  Upstreams escape less than
 * RFC 3986 section 3.4 asks for. */
static bool is_query_text(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] <= ' ' || s.ptr[i] > '~' ||
		    strchr("<>\"\\#", s.ptr[i]))
			return false;
	return true;
}

static bool is_dropped(struct span key, const char *const *drop)
{
	for (; *drop; drop++)
		if (http_query_key_is(key, *drop))
			return true;
	return false;
}

enum err list_query(struct span query, const char *const *drop, char *out,
		    size_t size)
{
	struct span key, value;
	size_t n = 0;

	out[0] = '\0';
	while (http_query_next(&query, &key, &value)) {
		if (is_dropped(key, drop))
			continue;
		if (!is_query_text(key) || !is_query_text(value))
			return ERR_INVALID;
		if (n + key.len + value.len + 3 > size)
			return ERR_TOO_BIG;
		if (n)
			out[n++] = '&';
		memcpy(out + n, key.ptr, key.len);
		n += key.len;
		out[n++] = '=';
		if (value.len)
			memcpy(out + n, value.ptr, value.len);
		n += value.len;
		out[n] = '\0';
	}
	return ERR_OK;
}
