/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tag lists, a page at a time as upstream cuts them, remembered for `list`.
 * The body stays upstream's: its "name" is the name as the upstream knows it,
 * and whoever answers a client puts the client's there.
 */
#include "proxy/http_field.h"
#include "proxy/question.h"

#include <jansson.h>

/*
 * A parsed value costs up to a hundred times its text.  A page of half a
 * million tags is more than any registry sends.
 */
#define LIST_VALUES_MAX ((size_t)512 * 1024)

/* ---- for both kinds ---- */

/* At least as many as there are values: commas in strings count as well. */
static bool has_few_values(const char *text, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += text[i] == ',' || text[i] == '[' || text[i] == '{';
	return n <= LIST_VALUES_MAX;
}

json_t *list_parse(struct question *q, const struct heard *h)
{
	json_t *root;

	if (!has_few_values(h->body, h->len)) {
		question_fail(q, ERR_TOO_BIG,
			      "%s sent a list of %s with too many entries",
			      question_upstream(q), q->repo);
		return NULL;
	}
	root = json_loadb(h->body, h->len, 0, NULL);
	if (json_is_object(root))
		return root;
	json_decref(root);
	question_fail(q, ERR_BAD_UPSTREAM,
		      "%s sent a list of %s that is no JSON object",
		      question_upstream(q), q->repo);
	return NULL;
}

/* Can it stand in a request line and in a Link of ours? */
static bool is_query_safe(struct span query)
{
	for (size_t i = 0; i < query.len; i++)
		if (query.ptr[i] <= ' ' || query.ptr[i] > '~' ||
		    strchr("<>\"\\#", query.ptr[i]))
			return false;
	return true;
}

/*
 * Not only n and last: quay.io and others keep their place in a parameter of
 * their own, without which a client would read the first page for ever.  A
 * namespace parameter is between us and the client.
 */
static size_t copy_query(struct span rest, char out[ASK_QUERY_MAX])
{
	struct span key, value;
	size_t len = 0;

	while (http_query_next(&rest, &key, &value)) {
		if (http_query_key_is(key, "ns"))
			continue;
		len += (size_t)snprintf(out + len, ASK_QUERY_MAX - len,
					"%s%.*s=%.*s", len ? "&" : "",
					(int)key.len, key.ptr, (int)value.len,
					value.ptr);
		if (len >= ASK_QUERY_MAX)
			break;
	}
	return len;
}

bool list_next(struct question *q, const char *target, char out[ASK_QUERY_MAX])
{
	const char *mark = target ? strchr(target, '?') : NULL;
	struct span query;

	out[0] = '\0';
	if (!mark)
		return true;
	query = span_of(mark + 1);
	if (query.len < ASK_QUERY_MAX && is_query_safe(query) &&
	    copy_query(query, out) < ASK_QUERY_MAX)
		return true;
	question_fail(q, ERR_BAD_UPSTREAM,
		      "%s sent a link to the next page of %s that cannot be "
		      "used",
		      question_upstream(q), q->repo);
	return false;
}

void list_answer(struct question *q)
{
	bool may_be_seen = q->found.visibility != VIS_UNKNOWN ||
			   !upstream_has_credentials(q->up);

	q->found.size = q->found.body->len;
	/* Without a mark the next request is to ask for it again. */
	if (may_be_seen)
		memo_put(q->all->lists, q->key, q->up_conf->list_ms,
			 q->found.body, q->found.next);
	question_answer(q);
}

/* ---- tags ---- */

/* The first tag of the page stands for it in the question who may see it. */
static const char *first_tag(const json_t *root)
{
	const char *tag =
	    json_string_value(json_array_get(json_object_get(root, "tags"), 0));

	return tag && tag_valid(tag, strlen(tag)) ? tag : NULL;
}

/* Null is how Go writes an empty list. */
static bool has_tags(const json_t *root)
{
	const json_t *tags = json_object_get(root, "tags");

	return json_is_array(tags) || json_is_null(tags);
}

static void take(struct question *q, const struct heard *h, const json_t *root)
{
	const char *tag = first_tag(root);

	if (!has_tags(root)) {
		question_fail(q, ERR_BAD_UPSTREAM,
			      "%s sent a tag list of %s without tags",
			      question_upstream(q), q->repo);
		return;
	}
	if (!list_next(q, h->head->next, q->found.next))
		return;
	q->found.body = buffer_new(h->body, h->len);
	if (tag)
		question_mark(q, h->head->authorized, CALL_MANIFEST, tag,
			      list_answer);
	else
		list_answer(q);
}

static void tags_heard(struct question *q, const struct heard *h)
{
	json_t *root;

	if (h->err || h->head->status != 200) {
		question_refuse(q, h, "the tag list");
		return;
	}
	q->found.status = 200;
	root = list_parse(q, h);
	if (!root)
		return;
	take(q, h, root);
	json_decref(root);
}

void ask_tags(struct question *q)
{
	struct call_spec spec = question_spec(q, CALL_TAGS, "", false);

	spec.query = q->query[0] ? q->query : NULL;
	question_call(q, &spec, q->conf->cache.list_max_bytes, tags_heard);
}
