/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/search_text.h"

#include "proxy/json_text.h"

#include <ctype.h>
#include <jansson.h>

#define HUB "docker.io/"

void search_init(struct search *s, const char *term, size_t max)
{
	size_t len = 0;

	memset(s, 0, sizeof(*s));
	assert(max > 0 && max <= SEARCH_RESULTS_MAX);
	s->max = max;
	snprintf(s->term, sizeof(s->term), "%s", term);
	for (const char *p = s->term; *p; p++) {
		if (*p != ' ')
			s->words[len++] = (char)tolower((unsigned char)*p);
		else if (len && s->words[len - 1])
			s->words[len++] = '\0';
	}
}

void search_release(struct search *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->results[i].description);
	s->n = 0;
}

/* ---- our own ---- */

static bool has_all_words(const struct search *s, const char *name)
{
	for (const char *w = s->words; *w; w += strlen(w) + 1)
		if (!strstr(name, w))
			return false;
	return true;
}

static bool is_exact(const struct search *s, const char *name)
{
	const char *slash = strrchr(name, '/');

	return strcmp(name, s->words) == 0 ||
	       (slash && strcmp(slash + 1, s->words) == 0);
}

static void insert(struct search *s, size_t at, const char *name)
{
	struct search_result *r = &s->results[at];
	size_t behind = MIN(s->n, s->max - 1) - at;

	memmove(r + 1, r, behind * sizeof(*r));
	memset(r, 0, sizeof(*r));
	snprintf(r->name, sizeof(r->name), "%s", name);
	s->n = MIN(s->n + 1, s->max);
}

bool search_offer(struct search *s, const char *name)
{
	if (!has_all_words(s, name))
		return true;
	if (s->n_exact < s->max && is_exact(s, name))
		insert(s, s->n_exact++, name);
	else if (s->n < s->max)
		insert(s, s->n, name);
	/* Without a word the first names are the answer. */
	return s->n_exact < s->max && (s->words[0] || s->n < s->max);
}

/* ---- Docker Hub's ---- */

static bool has_name(const struct search *s, const char *name)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->results[i].name, name) == 0)
			return true;
	return false;
}

static void add_hub_result(struct search *s, const json_t *one)
{
	const char *name = json_string_value(json_object_get(one, "name"));
	const char *about =
	    json_string_value(json_object_get(one, "description"));
	json_int_t stars =
	    json_integer_value(json_object_get(one, "star_count"));
	struct search_result *r = &s->results[s->n];

	if (!name || !repo_name_valid(name, strlen(name)))
		return;
	memset(r, 0, sizeof(*r));
	snprintf(r->name, sizeof(r->name), HUB "%s%s",
		 strchr(name, '/') ? "" : "library/", name);
	if (has_name(s, r->name))
		return;
	r->description = about && *about ? xstrdup(about) : NULL;
	r->star_count = stars > 0 ? (uint64_t)stars : 0;
	r->is_official = json_is_true(json_object_get(one, "is_official"));
	r->is_automated = json_is_true(json_object_get(one, "is_automated"));
	s->n++;
}

void search_add_hub(struct search *s, const char *buf, size_t len)
{
	json_t *root = json_loadb(buf, len, 0, NULL);
	const json_t *results = json_object_get(root, "results");

	for (size_t i = 0; i < json_array_size(results) && s->n < s->max; i++)
		add_hub_result(s, json_array_get(results, i));
	json_decref(root);
}

/* ---- the answer ---- */

/* A text from outside is valid UTF-8: jansson has read it. */
static void add_description(struct list_text *out, const char *text)
{
	json_t *string = json_string(text ? text : "");
	char *dump = json_dumps(string, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);

	json_text_raw(out, ",\"description\":");
	json_text_raw(out, dump ? dump : "\"\"");
	free(dump);
	json_decref(string);
}

static void add_result(struct list_text *out, const struct search_result *r)
{
	json_text_raw(out, "{");
	json_text_field(out, "name", r->name);
	add_description(out, r->description);
	json_text_number(out, "star_count", r->star_count);
	json_text_raw(out, ",\"is_official\":");
	json_text_raw(out, r->is_official ? "true" : "false");
	json_text_raw(out, ",\"is_automated\":");
	json_text_raw(out, r->is_automated ? "true}" : "false}");
}

void search_text(const struct search *s, struct list_text *out)
{
	json_text_raw(out, "{");
	json_text_field(out, "query", s->term);
	json_text_number(out, "num_results", s->n);
	json_text_raw(out, ",\"results\":[");
	for (size_t i = 0; i < s->n; i++) {
		json_text_raw(out, i ? "," : "");
		add_result(out, &s->results[i]);
	}
	json_text_raw(out, "]}\n");
}
