/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All referrers of a digest: upstream's pages merged into one image index,
 * unfiltered, so that one remembered list serves every filter.
 *
 * OCI distribution-spec, "Unavailable Referrers API": a client that gets a
 * 404 "SHOULD fallback to pulling the referrers tag schema", the tag
 * <alg>-<hex> of an index.  HEAD first: most images have none, and a GET of
 * a manifest costs quota.
 */
#include "proxy/question.h"

#include <jansson.h>

#define OCI_INDEX "application/vnd.oci.image.index.v1+json"
#define PAGES_MAX 1000

static void ask_page(struct question *q);

/* ---- merging ---- */

static void set(json_t *object, const char *key, STEALS json_t *value)
{
	int rc = json_object_set_new(object, key, value);

	assert(rc == 0);
	(void)rc;
}

/* Clients refuse a whole list for one entry that is no descriptor. */
static const char *descriptor_digest(const json_t *entry)
{
	const json_t *size = json_object_get(entry, "size");
	const char *text = json_string_value(json_object_get(entry, "digest"));
	struct digest dg;

	if (!text || !json_is_string(json_object_get(entry, "mediaType")) ||
	    !json_is_integer(size) || json_integer_value(size) < 0 ||
	    digest_parse(text, strlen(text), &dg) != ERR_OK)
		return NULL;
	return text;
}

static void merge(struct question *q, const json_t *manifests)
{
	json_t *entry;
	size_t i;

	json_array_foreach (manifests, i, entry) {
		const char *text = descriptor_digest(entry);

		if (!text || json_object_get(q->digests, text))
			continue;
		set(q->digests, text, json_true());
		if (json_array_append(q->merged, entry))
			abort(); /* only for want of memory */
	}
}

/* False: it is no index; the question has been answered. */
static bool merge_body(struct question *q, const struct heard *h)
{
	json_t *root = list_parse(q, h), *manifests;
	bool good;

	if (!root)
		return false;
	manifests = json_object_get(root, "manifests");
	good = json_is_array(manifests) || json_is_null(manifests);
	if (good)
		merge(q, manifests);
	json_decref(root);
	if (!good)
		question_fail(q, ERR_BAD_UPSTREAM,
			      "%s sent a list of referrers of %s that is no "
			      "image index",
			      question_upstream(q), q->repo);
	return good;
}

static struct buffer *merged_text(struct question *q)
{
	json_t *root = json_object();
	struct buffer *body;
	char *text;

	set(root, "schemaVersion", json_integer(2));
	set(root, "mediaType", json_string(OCI_INDEX));
	set(root, "manifests", json_incref(q->merged));
	text = json_dumps(root, JSON_COMPACT);
	json_decref(root);
	if (!text)
		abort(); /* only for want of memory */
	body = buffer_new(text, strlen(text));
	free(text);
	return body;
}

/* A list that names something is asked for who may see it. */
static void answer_merged(struct question *q, bool authorized)
{
	const json_t *first = json_array_get(q->merged, 0);

	q->found.status = 200;
	q->found.body = merged_text(q);
	snprintf(q->found.media_type, sizeof(q->found.media_type), OCI_INDEX);
	if (first)
		question_mark(
		    q, authorized, CALL_MANIFEST,
		    json_string_value(json_object_get(first, "digest")),
		    list_answer);
	else
		list_answer(q);
}

/* ---- the fallback tag ---- */

/* "<alg>-<hex>", each part cut as the specification says. */
static const char *fallback_tag(const struct digest *dg, char out[TAG_MAX + 1])
{
	char hex[DIGEST_TEXT_MAX];

	snprintf(out, TAG_MAX + 1, "%.32s-%.64s", digest_alg_name(dg),
		 digest_hex(dg, hex));
	return out;
}

static void fallback_heard(struct question *q, const struct heard *h)
{
	if (!h->err && h->head->status == 404) {
		answer_merged(q, h->head->authorized);
		return;
	}
	if (!h->err && h->head->status == 429)
		question_note_limit(q, h->head, LIMIT_GET);
	if (h->err || h->head->status != 200) {
		question_refuse(q, h, "the referrers tag");
		return;
	}
	if (merge_body(q, h))
		answer_merged(q, h->head->authorized);
}

static void fallback_get(struct question *q)
{
	char tag[TAG_MAX + 1];
	struct call_spec spec =
	    question_spec(q, CALL_MANIFEST, fallback_tag(&q->dg, tag), false);

	if (!question_limited(q, LIMIT_GET, fallback_get))
		question_call(q, &spec, q->conf->cache.manifest_max_bytes,
			      fallback_heard);
}

static void fallback_checked(struct question *q, const struct heard *h)
{
	unsigned status = h->err ? 0 : h->head->status;

	if (status == 404) {
		answer_merged(q, h->head->authorized);
		return;
	}
	if (status == 429)
		question_note_limit(q, h->head, LIMIT_CHECK);
	if (status == 200 || status == 400 || status == 405 || status == 501)
		fallback_get(q);
	else
		question_refuse(q, h, "the referrers tag");
}

static void fallback_check(struct question *q)
{
	char tag[TAG_MAX + 1];
	struct call_spec spec =
	    question_spec(q, CALL_MANIFEST, fallback_tag(&q->dg, tag), true);

	if (!question_limited(q, LIMIT_CHECK, fallback_check))
		question_call(q, &spec, q->conf->cache.manifest_max_bytes,
			      fallback_checked);
}

/* ---- pages ---- */

/* False: it is over, one way or the other. */
static bool more_pages(struct question *q, const struct call_head *head)
{
	char next[ASK_QUERY_MAX];

	if (!list_next(q, head->next, next))
		return false;
	if (!next[0]) {
		answer_merged(q, head->authorized);
		return false;
	}
	if (strcmp(next, q->page) == 0 || ++q->pages >= PAGES_MAX) {
		question_fail(q, ERR_BAD_UPSTREAM,
			      "%s sent pages of referrers without an end",
			      question_upstream(q));
		return false;
	}
	memcpy(q->page, next, sizeof(next));
	return true;
}

static void page_heard(struct question *q, const struct heard *h)
{
	if (!h->err && h->head->status == 404 && !q->pages) {
		fallback_check(q);
		return;
	}
	if (h->err || h->head->status != 200) {
		question_refuse(q, h, "the referrers");
		return;
	}
	q->list_bytes += h->len;
	if (merge_body(q, h) && more_pages(q, h->head))
		ask_page(q);
}

static void ask_page(struct question *q)
{
	struct call_spec spec =
	    question_spec(q, CALL_REFERRERS, q->reference, false);

	/* The limit is for the list, not for each of its pages. */
	spec.query = q->page[0] ? q->page : NULL;
	question_call(q, &spec,
		      q->conf->cache.list_max_bytes -
			  MIN(q->list_bytes, q->conf->cache.list_max_bytes),
		      page_heard);
}

void ask_referrers(struct question *q)
{
	q->merged = json_array();
	q->digests = json_object();
	ask_page(q);
}
