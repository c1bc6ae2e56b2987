/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Manifests, by tag and by digest.
 *
 *   ask_tag ─► HEAD tag ─┬─ digest is held ──────────► note it, answer
 *                        ├─ only HEADs wait ─────────► answer from it
 *                        ├─ new digest ─► GET digest ─┬─► check ─► store
 *                        │                 404 ▼      │
 *                        └─ no use of it ─► GET tag ──┘
 *
 * HEAD costs none of Hub's quota, and what is asked for by digest cannot
 * change between the two.
 */
#include "proxy/log.h"
#include "proxy/question.h"

static void get_by_tag(struct question *q);
static void get_by_digest(struct question *q);

/* ---- what was fetched: check, mark, store, answer ---- */

/* Why it cannot be stored is the disk's or the index's trouble: the client
 * gets its manifest all the same. */
static void stored(struct question *q, enum err err, const struct why *why)
{
	q->found.stored = err == ERR_OK;
	if (err != ERR_OK) {
		log_warn("a manifest of %s passes through unstored: %s",
			 question_upstream(q), why->text);
		q->found.body = buffer_ref(q->bytes);
	}
	question_answer(q);
}

static void seen_noted(struct question *q, enum err err, const struct why *why)
{
	/* Held it is in any case; unwritten, it is checked again sooner. */
	(void)err;
	(void)why;
	q->found.stored = true;
	question_answer(q);
}

static void held_marked(struct question *q)
{
	question_note_tag(q, TAG_NEWS_SEEN, &q->found.digest, seen_noted);
}

static void fetched_marked(struct question *q)
{
	/* GET by tag of an upstream without HEAD, and nothing new. */
	if (q->kind == ASK_TAG && question_holds(q, &q->found.digest)) {
		q->found.fetched = false;
		held_marked(q);
		return;
	}
	question_store(q, q->kind == ASK_TAG ? q->reference : NULL, stored);
}

/*
 * The type that the answer claims.  Storage behind a redirect knows nothing
 * of manifests and says octet-stream: then the bytes speak for themselves.
 */
static const char *type_of(const struct call_head *head)
{
	if (!head->content_type[0])
		return NULL;
	if (!head->from_registry &&
	    manifest_type_kind(head->content_type) == MANIFEST_OPAQUE)
		return NULL;
	return head->content_type;
}

static enum err parse(struct question *q, const struct heard *h,
		      struct why *why)
{
	enum err err =
	    manifest_parse(h->body, h->len, q->conf->cache.manifest_max_bytes,
			   type_of(h->head), &q->facts, why);

	if (err == ERR_OK && q->facts.kind == MANIFEST_SCHEMA1) {
		manifest_facts_release(&q->facts);
		err = why_set(why, ERR_INVALID,
			      "manifest: Docker schema 1 is obsolete and not "
			      "served");
	}
	return err;
}

/* A body that has its digest: is it a manifest? */
static void take(struct question *q, const struct heard *h)
{
	char reference[DIGEST_TEXT_MAX];
	struct why why;
	enum err err = parse(q, h, &why);

	if (err) {
		question_fail(q, err == ERR_TOO_BIG ? err : ERR_BAD_UPSTREAM,
			      "%s sent what cannot be used for %s: %s",
			      question_upstream(q), q->repo, why.text);
		return;
	}
	q->found.fetched = true;
	q->found.status = h->head->status;
	q->found.size = h->len;
	snprintf(q->found.media_type, sizeof(q->found.media_type), "%s",
		 q->facts.media_type);
	buffer_unref(&q->bytes);
	q->bytes = buffer_new(h->body, h->len);
	question_mark(q, h->head->authorized, CALL_MANIFEST,
		      digest_text(&q->found.digest, reference), fetched_marked);
}

/* ---- GET ---- */

/* Upstream's own 404 of a tag. */
static void tag_not_found(struct question *q)
{
	q->found.status = 404;
	question_set_error(q, ERR_NOT_FOUND, "%s has no %s:%s",
			   question_upstream(q), q->repo, q->reference);
	if (q->tag_known)
		question_note_tag(q, TAG_NEWS_GONE, NULL,
				  question_answer_noted);
	else
		question_answer(q);
}

static void get_refused(struct question *q, const struct heard *h)
{
	if (!h->err && h->head->status == 429)
		question_note_limit(q, h->head, LIMIT_GET);
	/* Asks again only if there is something to wait for. */
	if (!h->err && h->head->status == 429 &&
	    question_limited(q, LIMIT_GET,
			     q->by_tag ? get_by_tag : get_by_digest))
		return;
	question_refuse(q, h, "this manifest");
}

static void tag_heard(struct question *q, const struct heard *h)
{
	const struct call_head *head = h->head;
	struct digest dg;

	if (!h->err && head->status == 404) {
		tag_not_found(q);
		return;
	}
	if (h->err || head->status != 200) {
		get_refused(q, h);
		return;
	}
	digest_of(head->has_digest ? (enum digest_alg)head->digest.alg
				   : DIGEST_SHA256,
		  h->body, h->len, &dg);
	if (head->has_digest && !digest_equal(&dg, &head->digest)) {
		question_fail(q, ERR_BAD_UPSTREAM,
			      "%s sent for %s:%s other bytes than its "
			      "Docker-Content-Digest says",
			      question_upstream(q), q->repo, q->reference);
		return;
	}
	q->found.digest = dg;
	take(q, h);
}

static void get_by_tag(struct question *q)
{
	struct call_spec spec =
	    question_spec(q, CALL_MANIFEST, q->reference, false);

	q->by_tag = true;
	if (!question_limited(q, LIMIT_GET, get_by_tag))
		question_call(q, &spec, q->conf->cache.manifest_max_bytes,
			      tag_heard);
}

static void digest_heard(struct question *q, const struct heard *h)
{
	struct digest dg;

	if (!h->err && h->head->status == 404 && q->kind == ASK_TAG) {
		/* The tag moved on, or this registry has no digests. */
		get_by_tag(q);
		return;
	}
	if (h->err || h->head->status != 200) {
		get_refused(q, h);
		return;
	}
	digest_of((enum digest_alg)q->found.digest.alg, h->body, h->len, &dg);
	if (!digest_equal(&dg, &q->found.digest)) {
		question_fail(q, ERR_MISMATCH,
			      "%s sent for a manifest of %s other bytes than "
			      "its digest's",
			      question_upstream(q), q->repo);
		return;
	}
	take(q, h);
}

static void get_by_digest(struct question *q)
{
	char reference[DIGEST_TEXT_MAX];
	struct call_spec spec = question_spec(
	    q, CALL_MANIFEST, digest_text(&q->found.digest, reference), false);

	if (!question_limited(q, LIMIT_GET, get_by_digest))
		question_call(q, &spec, q->conf->cache.manifest_max_bytes,
			      digest_heard);
}

/* ---- HEAD by tag ---- */

static void new_noted(struct question *q, enum err err, const struct why *why)
{
	(void)err;
	(void)why;
	if (question_answer_heads(q))
		get_by_digest(q);
}

/* A client that goes on by digest holds with that what the tag is now. */
static void new_marked(struct question *q)
{
	question_note_tag(q, TAG_NEWS_SEEN, &q->found.digest, new_noted);
}

/* Everything that a client's HEAD wants to know? */
static bool tells_all(const struct question *q)
{
	return q->found.media_type[0] && q->found.size != CALL_LENGTH_UNKNOWN;
}

static bool some_head_only(const struct question *q)
{
	const struct waiter *w;

	TAILQ_FOREACH (w, &q->waiters, link)
		if (w->head_only)
			return true;
	return false;
}

static void check_told(struct question *q, const struct call_head *head)
{
	char reference[DIGEST_TEXT_MAX];
	const char *type = type_of(head);
	bool held = question_holds(q, &head->digest);

	q->found.digest = head->digest;
	if (!held) {
		snprintf(q->found.media_type, sizeof(q->found.media_type), "%s",
			 type ? type : "");
		q->found.size = head->length;
	}
	digest_text(&head->digest, reference);
	if (held)
		question_mark(q, head->authorized, CALL_MANIFEST, reference,
			      held_marked);
	else if (some_head_only(q) && tells_all(q))
		question_mark(q, head->authorized, CALL_MANIFEST, reference,
			      new_marked);
	else
		get_by_digest(q);
}

static void check_heard(struct question *q, const struct heard *h)
{
	const struct call_head *head = h->head;

	if (question_head_refused(q, h)) {
		get_by_tag(q);
		return;
	}
	if (h->err) {
		question_refuse(q, h, "this tag");
		return;
	}
	q->found.status = head->status;
	if (head->status == 200 && head->has_digest) {
		check_told(q, head);
	} else if (head->status == 200) {
		get_by_tag(q);
	} else if (head->status == 404) {
		tag_not_found(q);
	} else if (head->status == 429) {
		question_note_limit(q, head, LIMIT_CHECK);
		if (!question_limited(q, LIMIT_CHECK, ask_tag))
			question_refuse(q, h, "this tag");
	} else {
		question_refuse(q, h, "this tag");
	}
}

void ask_tag(struct question *q)
{
	struct call_spec spec =
	    question_spec(q, CALL_MANIFEST, q->reference, true);

	if (!question_limited(q, LIMIT_CHECK, ask_tag))
		question_call(q, &spec, q->conf->cache.manifest_max_bytes,
			      check_heard);
}

/* ---- by digest ---- */

void ask_manifest(struct question *q)
{
	q->found.digest = q->dg;
	/* Another question brought it since the request looked. */
	if (question_holds(q, &q->dg)) {
		q->found.stored = true;
		question_answer(q);
		return;
	}
	get_by_digest(q);
}

static void yes_noted(struct question *q, enum err err, const struct why *why)
{
	(void)why;
	q->found.stored = err == ERR_OK;
	question_answer(q);
}

static void yes_marked(struct question *q)
{
	question_note_yes(q, LINK_MANIFEST, yes_noted);
}

/* The type that the stored bytes have, which is what they are served as. */
static void stored_type(struct question *q, const char *told)
{
	struct index_txn *txn = index_read(cache_index(q->all->cache));
	struct manifest_row row;
	struct slice type = slice_of(told ? told : "", told ? strlen(told) : 0);

	if (manifest_get(txn, &q->dg, &row) == ERR_OK) {
		type = row.media_type;
		q->found.size = row.size;
	}
	snprintf(q->found.media_type, sizeof(q->found.media_type), "%.*s",
		 (int)MIN(type.len, sizeof(q->found.media_type) - 1),
		 (const char *)type.ptr);
	index_read_end(txn);
}

static void yes_heard(struct question *q, const struct heard *h)
{
	const struct call_head *head = h->head;

	if (question_head_refused(q, h)) {
		get_by_digest(q);
		return;
	}
	if (!h->err && head->status == 429) {
		question_note_limit(q, head, LIMIT_CHECK);
		if (question_limited(q, LIMIT_CHECK, ask_yes_manifest))
			return;
	}
	if (h->err || head->status != 200) {
		question_refuse(q, h, "this manifest");
		return;
	}
	/* A 200 alone is what a captive portal says to everything. */
	if (!head->has_digest) {
		get_by_digest(q);
		return;
	}
	if (head->digest.alg == q->dg.alg &&
	    !digest_equal(&head->digest, &q->dg)) {
		question_fail(q, ERR_BAD_UPSTREAM,
			      "%s answered with another digest than %s",
			      question_upstream(q), q->reference);
		return;
	}
	q->found.status = head->status;
	q->found.size = head->length;
	stored_type(q, type_of(head));
	question_mark(q, head->authorized, CALL_MANIFEST, q->reference,
		      yes_marked);
}

void ask_yes_manifest(struct question *q)
{
	struct call_spec spec =
	    question_spec(q, CALL_MANIFEST, q->reference, true);

	q->found.digest = q->dg;
	if (!question_limited(q, LIMIT_CHECK, ask_yes_manifest))
		question_call(q, &spec, q->conf->cache.manifest_max_bytes,
			      yes_heard);
}
