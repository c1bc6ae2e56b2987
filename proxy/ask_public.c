/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Public or private?  Where an upstream has credentials, what has just been
 * had with them is asked for once more, anonymously:
 *
 *   200 (of a blob 206 and 416, too)                 public
 *   401, 403 (the token server's too)                private
 *   404, while our credentials still get it          private
 *   anything else                                    no answer: the last mark
 *                                                    stays, and the next
 *                                                    request asks again
 *
 * Of a manifest that is HEAD, or GET where an upstream knows no HEAD.  A
 * repository is marked once in `public_check`; what was had without our
 * credentials although we have some is public without a question.  A mark
 * outlives the credentials: what they brought is not everybody's when they are
 * removed.
 */
#include "proxy/question.h"

/* ---- the end ---- */

static void allowed_noted(struct question *q, enum err err,
			  const struct why *why)
{
	(void)err;
	(void)why;
	q->denied = false;
	q->marked(q);
}

/* Whoever lets us have something has not denied the repository. */
static void mark_done(struct question *q)
{
	q->is_marked = true;
	q->public_yes = q->found.visibility == VIS_PUBLIC;
	if (q->denied)
		question_note_repo(q, REPO_ALLOWED, allowed_noted);
	else
		q->marked(q);
}

static void visibility_noted(struct question *q, enum err err,
			     const struct why *why)
{
	/* Not written: the answer carries it, and the next one asks again. */
	(void)err;
	(void)why;
	mark_done(q);
}

static void mark_as(struct question *q, enum visibility visibility)
{
	q->found.visibility = visibility;
	question_note_repo(
	    q, visibility == VIS_PUBLIC ? REPO_IS_PUBLIC : REPO_IS_PRIVATE,
	    visibility_noted);
}

/* ---- the question ---- */

static void ask_anonymously(struct question *q);

static bool is_yes(unsigned status)
{
	return status == 200 || status == 206 || status == 416;
}

static void ask_witness(struct question *q, bool anonymous, question_step *step)
{
	bool head = q->witness_kind == CALL_MANIFEST && !q->no_head;
	struct call_spec spec =
	    question_spec(q, q->witness_kind, q->witness, head);

	spec.anonymous = anonymous;
	if (q->witness_kind == CALL_BLOB)
		spec.ranged = true; /* bytes=0-0 */
	question_call_head(q, &spec, step);
}

static void note_limit(struct question *q, const struct heard *h)
{
	if (!h->err && h->head->status == 429)
		upstream_note_limit(
		    q->up, LIMIT_CHECK, true,
		    h->head->has_retry_after ? h->head->retry_after_s : 0);
}

/* Only what is still there says who may have it: anybody may ask for what we
 * hold and upstream has deleted. */
static void again_heard(struct question *q, const struct heard *h)
{
	if (!h->err && is_yes(h->head->status))
		mark_as(q, VIS_PRIVATE);
	else
		mark_done(q);
}

static void anonymous_heard(struct question *q, const struct heard *h)
{
	unsigned status = h->err ? 0 : h->head->status;

	if (!q->no_head && q->witness_kind == CALL_MANIFEST &&
	    question_knows_no_head(h)) {
		q->no_head = true;
		ask_anonymously(q);
	} else if (is_yes(status)) {
		mark_as(q, VIS_PUBLIC);
	} else if (status == 404 && upstream_has_credentials(q->up)) {
		ask_witness(q, false, again_heard);
	} else if (status != 451 && question_is_denial(h)) {
		mark_as(q, VIS_PRIVATE);
	} else {
		note_limit(q, h);
		mark_done(q);
	}
}

static void ask_anonymously(struct question *q)
{
	if (upstream_limited_ms(q->up, LIMIT_CHECK, true))
		mark_done(q);
	else
		ask_witness(q, true, anonymous_heard);
}

/* The mark in the index; true if it is young enough. */
static bool has_mark(struct question *q)
{
	struct index_txn *txn = index_read(cache_index(q->all->cache));
	struct repo_row row;
	uint64_t id, now = wall_ms();
	bool young = false;

	if (repo_id(txn, question_upstream(q), q->repo, &id) == ERR_OK &&
	    repo_get(txn, id, &row) == ERR_OK) {
		q->found.visibility = row.visibility;
		/* A clock that was set back makes no mark last for ever. */
		young = row.visibility != VIS_UNKNOWN && row.marked_ms <= now &&
			now - row.marked_ms < q->up_conf->public_check_ms;
	}
	index_read_end(txn);
	return young;
}

void question_mark(struct question *q, bool authorized, enum call_what what,
		   const char *reference, question_go *marked)
{
	q->marked = marked;
	q->witness_kind = what;
	snprintf(q->witness, sizeof(q->witness), "%s", reference);
	if (q->is_marked) {
		marked(q);
	} else if (!upstream_has_credentials(q->up) &&
		   q->found.visibility != VIS_PRIVATE) {
		q->found.visibility = VIS_PUBLIC;
		mark_done(q);
	} else if (has_mark(q) &&
		   (authorized || q->found.visibility == VIS_PUBLIC)) {
		mark_done(q);
	} else if (!authorized) {
		mark_as(q, VIS_PUBLIC);
	} else {
		ask_anonymously(q);
	}
}

/* ---- ASK_VISIBILITY_* ---- */

static void visibility_answer(struct question *q)
{
	if (q->found.visibility == VIS_UNKNOWN)
		question_fail(q, ERR_UNAVAILABLE,
			      "%s does not say whether %s is public",
			      question_upstream(q), q->repo);
	else
		question_answer(q);
}

void ask_visibility(struct question *q)
{
	/* It has been had with credentials: the caller says so. */
	question_mark(q, true,
		      q->kind == ASK_VISIBILITY_MANIFEST ? CALL_MANIFEST
							 : CALL_BLOB,
		      q->reference, visibility_answer);
}

/* ---- ASK_VISIBILITY_TAGS ---- */

/*
 * A list that names nothing has nothing else to ask for.  Some registries
 * refuse lists of what they let everybody pull, so that this decides about the
 * list alone.
 */
static void list_heard(struct question *q, const struct heard *h)
{
	unsigned status = h->err ? 0 : h->head->status;

	if (status == 200)
		q->found.visibility = VIS_PUBLIC;
	else if (status == 404 || (status != 451 && question_is_denial(h)))
		q->found.visibility = VIS_PRIVATE;
	else
		note_limit(q, h);
	visibility_answer(q);
}

void ask_visibility_tags(struct question *q)
{
	struct call_spec spec = question_spec(q, CALL_TAGS, "", false);

	spec.anonymous = true;
	spec.query = "n=1";
	if (!upstream_has_credentials(q->up) &&
	    q->found.visibility != VIS_PRIVATE) {
		q->found.visibility = VIS_PUBLIC;
		question_answer(q);
	} else if (upstream_limited_ms(q->up, LIMIT_CHECK, true)) {
		visibility_answer(q);
	} else {
		question_call_head(q, &spec, list_heard);
	}
}
