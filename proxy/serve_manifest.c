/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET and HEAD of a manifest of a mirrored repository.
 *
 *   by tag      READ ──► freshness_decide() ─┬─ hit ─────────────► SHOW
 *                                            ├─ ask ─► ASK_TAG ──► SHOW
 *                                            │     failed, late ─► stale
 *                                            └─ stale: PICK ─────► SHOW
 *   by digest   LOOKUP ─┬─ stored, may ──────────────────────────► SHOW
 *                       ├─ stored, ask ─► ASK_YES_MANIFEST ──────► SHOW
 *                       └─ missing ─► ASK_MANIFEST ──────────────► SHOW
 *
 *   SHOW: request_may_see() ─► manifest_send().  What has gone from the index
 *   in the meantime is fetched by its digest, a bounded number of times.
 */
#include "cache/cache.h"
#include "proxy/freshness_read.h"
#include "proxy/manifest_send.h"
#include "proxy/mirror.h"
#include "proxy/permit.h"

#define FETCHES_MAX 2

struct manifest_state {
	struct manifest_reply how; /* what goes out */
	struct why warning;

	struct freshness facts;
	struct lookup lookup; /* by digest */
	bool only_yes;        /* denied for long: nothing but a yes opens it */

	struct timer late; /* the freshness deadline */
	bool waiting;      /* for an answer to `asked` */
	enum ask_kind asked;
	bool head_only;
	uint64_t asked_us;
	unsigned fetches;

	/* An answer that could not be stored, or upstream's own HEAD. */
	bool unstored;
	char media_type[MEDIA_TYPE_MAX];
	uint64_t size;
	struct buffer *bytes;
};

static struct manifest_state *state_of(const struct request *r)
{
	return r->state;
}

static void ask(struct request *r, enum ask_kind kind, const char *reference);

/* ---- SHOW ---- */

static void fetch(struct request *r)
{
	struct manifest_state *st = state_of(r);
	char text[DIGEST_TEXT_MAX];
	struct why why;

	if (++st->fetches > FETCHES_MAX) {
		(void)why_set(&why, ERR_BUSY,
			      "this manifest comes and goes; try again in a "
			      "moment");
		reply_err(r, ERR_BUSY, CODE_MANIFEST_UNKNOWN, 1, &why);
		return;
	}
	ask(r, ASK_MANIFEST, digest_text(&st->how.dg, text));
}

static void send_it(struct request *r)
{
	struct manifest_state *st = state_of(r);

	if (st->unstored)
		manifest_send_unstored(r, &st->how, st->media_type,
				       st->bytes ? st->bytes->bytes : NULL,
				       st->size);
	else
		manifest_send(r, &st->how, fetch);
}

static void show(struct request *r, enum verdict verdict)
{
	r->verdict = verdict;
	digest_text(&state_of(r)->how.dg, r->witness);
	request_may_see(r, send_it);
}

/* Keep what the index could not take. */
static void take_unstored(struct manifest_state *st,
			  const struct mirror_answer *a)
{
	st->unstored = true;
	memcpy(st->media_type, a->media_type, sizeof(st->media_type));
	if (a->body) {
		st->bytes = buffer_ref(a->body);
		st->size = a->body->len;
	} else {
		st->size = a->size;
	}
}

/* ---- refusals ---- */

/*
 * Nothing comes from upstream.  The HEAD that a push begins with asks whether
 * there is something to skip; a denial or an outage says that there is not,
 * and as itself would end the push.
 */
static void refuse(struct request *r, enum err err, uint64_t retry_after_s,
		   const struct why *why)
{
	bool silent = err == ERR_DENIED || err == ERR_TIMEOUT ||
		      err == ERR_UNAVAILABLE || err == ERR_BAD_UPSTREAM;

	if (silent && permit_begins_push(r))
		reply_error(r, 404, CODE_MANIFEST_UNKNOWN, why->text, NULL);
	else
		reply_err(r, err, CODE_MANIFEST_UNKNOWN, retry_after_s, why);
}

static void reply_denied(struct request *r)
{
	freshness_reply_denied(r, &state_of(r)->facts, CODE_MANIFEST_UNKNOWN);
}

static void reply_gone(struct request *r, const struct why *why)
{
	struct why own;

	(void)why_set(&own, ERR_NOT_FOUND, "%.100s has no tag %.100s in %.50s",
		      r->up->name, r->route.ref, r->names.repo);
	reply_err(r, ERR_NOT_FOUND, CODE_MANIFEST_UNKNOWN, 0,
		  why && why->text[0] ? why : &own);
}

/* ---- what may be served without a yes of today ---- */

/* Answer with what is held, or, where that has just gone, ask for it. */
static void show_held(struct request *r, enum verdict verdict)
{
	struct manifest_state *st = state_of(r);
	const struct freshness *f = &st->facts;

	st->how.age_s = freshness_age_ms(f->now_ms, f->row.checked_ms) / 1000;
	if (freshness_pick(r, &f->row, &st->how.dg)) {
		show(r, verdict);
		return;
	}
	st->how.dg = f->row.seen.alg ? f->row.seen : f->row.held[0];
	if (st->how.dg.alg)
		fetch(r);
	else
		reply_gone(r, NULL);
}

static void show_stale(struct request *r, enum stale_reason reason,
		       const struct why *why)
{
	struct manifest_state *st = state_of(r);
	const char *name = r->up->name;

	switch (reason) {
	case STALE_GONE:
		(void)why_set(&st->warning, ERR_OK,
			      "stale: %.200s has this tag no more", name);
		break;
	case STALE_DENIED:
		(void)why_set(&st->warning, ERR_OK,
			      "stale: %.200s denies this repository now", name);
		break;
	case STALE_NOT:
	case STALE_OUT:
		(void)why_set(&st->warning, ERR_OK,
			      "stale: %.200s could not be asked a moment ago",
			      name);
		break;
	case STALE_FAILURE:
		(void)why_set(&st->warning, ERR_OK, "stale: %.240s", why->text);
		break;
	}
	st->how.warning = st->warning.text;
	show_held(r, VERDICT_STALE);
}

/* ---- answers ---- */

static void tag_failed(struct request *r, enum err err, uint64_t retry_after_s,
		       const struct why *why)
{
	enum stale_reason reason;

	switch (freshness_after(&state_of(r)->facts, err, &reason)) {
	case FRESHNESS_STALE:
		show_stale(r, reason, why);
		break;
	case FRESHNESS_GONE:
		reply_gone(r, why);
		break;
	case FRESHNESS_DENIED:
		refuse(r, ERR_DENIED, 0, why);
		break;
	default:
		refuse(r, err, retry_after_s, why);
		break;
	}
}

static void tag_answered(struct request *r, const struct mirror_answer *a)
{
	struct manifest_state *st = state_of(r);
	struct why why;

	if (a->err != ERR_OK) {
		tag_failed(r, a->err, a->retry_after_s, &a->why);
		return;
	}
	if (!a->digest.alg) {
		tag_failed(r,
			   why_set(&why, ERR_BAD_UPSTREAM,
				   "%.200s does not tell the digest of this "
				   "tag",
				   r->up->name),
			   0, &why);
		return;
	}
	st->how.dg = a->digest;
	if (a->body || (st->head_only && !a->stored && a->media_type[0] &&
			a->size != CALL_LENGTH_UNKNOWN)) {
		take_unstored(st, a);
		show(r, VERDICT_PASS);
	} else if (a->fetched) {
		show(r, a->joined ? VERDICT_JOINED : VERDICT_MISS);
	} else {
		show(r, VERDICT_REVALIDATED);
	}
}

static void digest_answered(struct request *r, const struct mirror_answer *a)
{
	struct manifest_state *st = state_of(r);

	if (a->err != ERR_OK) {
		if (st->only_yes)
			reply_denied(r);
		else
			refuse(r, a->err, a->retry_after_s, &a->why);
		return;
	}
	if (a->body) {
		take_unstored(st, a);
		show(r, VERDICT_PASS);
	} else if (a->kind == ASK_YES_MANIFEST) {
		show(r, VERDICT_REVALIDATED);
	} else {
		show(r, a->joined ? VERDICT_JOINED : VERDICT_MISS);
	}
}

static void answered(struct message *msg, void *object)
{
	struct mirror_answer *a = container_of(msg, struct mirror_answer, msg);
	struct request *r = object;
	struct manifest_state *st = r ? state_of(r) : NULL;

	/* One that comes after its deadline has nobody to tell. */
	if (!st || !st->waiting || st->asked != a->kind) {
		mirror_answer_free(&a);
		return;
	}
	st->waiting = false;
	timer_release(&st->late);
	r->upstream_us += now_us() - st->asked_us;
	if (a->kind == ASK_TAG)
		tag_answered(r, a);
	else
		digest_answered(r, a);
	mirror_answer_free(&a);
}

static void ask(struct request *r, enum ask_kind kind, const char *reference)
{
	struct manifest_state *st = state_of(r);
	struct mirror_ask question = {
	    .kind = kind,
	    .upstream = r->names.upstream,
	    .repo = r->names.repo,
	    .reference = reference,
	    .head_only = kind == ASK_TAG && st->head_only,
	};

	st->waiting = true;
	st->asked = kind;
	st->asked_us = now_us();
	mirror_ask(r->server->mirror, &question, r->loop, r->handle,
		   REQUEST_MAGIC, answered);
}

static void drop_answer(struct message *msg, void *object)
{
	struct mirror_answer *a = container_of(msg, struct mirror_answer, msg);

	(void)object;
	mirror_answer_free(&a);
}

/* Behind an immediate stale answer, so that the next ones are told when
 * upstream is back; one at a time for each tag, and nobody waits for it. */
static void check_behind(struct request *r)
{
	struct mirror_ask question = {
	    .kind = ASK_TAG,
	    .upstream = r->names.upstream,
	    .repo = r->names.repo,
	    .reference = r->route.ref,
	};
	struct handle nobody = {0, 0};

	mirror_ask(r->server->mirror, &question, r->loop, nobody, 0,
		   drop_answer);
}

/* ---- the freshness deadline ---- */

static void too_late(void *arg)
{
	struct request *r = arg;
	struct manifest_state *st = state_of(r);
	struct why why;
	enum err err;

	if (!st->waiting)
		return;
	st->waiting = false; /* the check goes on behind */
	r->upstream_us += now_us() - st->asked_us;
	err =
	    why_set(&why, ERR_TIMEOUT,
		    "%.150s has not answered within %" PRIu64 " ms (freshness)",
		    r->up->name, r->up->freshness_ms);
	/* Who asks next need not wait for what has just kept us waiting. */
	mirror_note_outage(r->server->mirror, r->names.upstream, &why);
	tag_failed(r, err, 0, &why);
}

/* ---- START ---- */

static void show_fresh(struct request *r)
{
	struct manifest_state *st = state_of(r);
	const struct freshness *f = &st->facts;

	if (!f->seen_held) {
		show_held(r, VERDICT_HIT);
		return;
	}
	st->how.dg = f->row.seen;
	st->how.age_s = freshness_age_ms(f->now_ms, f->row.checked_ms) / 1000;
	show(r, VERDICT_HIT);
}

static void start_tag(struct request *r)
{
	struct manifest_state *st = state_of(r);
	const struct freshness *f = &st->facts;
	enum stale_reason reason;

	st->how.by_tag = true;
	freshness_read_tag(r, &st->facts);
	st->head_only = r->is_head && !f->held;
	switch (freshness_decide(f, &reason)) {
	case FRESHNESS_HIT:
		show_fresh(r);
		break;
	case FRESHNESS_LATE:
		timer_init(&st->late, r->loop, too_late, r);
		timer_set(&st->late, r->up->freshness_ms);
		ask(r, ASK_TAG, r->route.ref);
		break;
	case FRESHNESS_ASK:
		ask(r, ASK_TAG, r->route.ref);
		break;
	case FRESHNESS_STALE:
		if (reason == STALE_OUT)
			check_behind(r);
		show_stale(r, reason, NULL);
		break;
	case FRESHNESS_GONE:
		reply_gone(r, NULL);
		break;
	case FRESHNESS_DENIED:
	case FRESHNESS_FAIL:
		reply_denied(r);
		break;
	}
}

static void start_digest(struct request *r)
{
	struct manifest_state *st = state_of(r);
	struct lookup *found = &st->lookup;
	struct index_txn *txn = index_read(cache_index(r->server->cache));
	enum freshness_step step;

	st->how.dg = r->route.digest;
	freshness_read_repo(r, txn, &st->facts);
	/* What cannot be read is asked for and written anew. */
	if (cache_lookup_manifest(txn, r->repo_id, &r->route.digest, found) !=
	    ERR_OK)
		memset(found, 0, sizeof(*found));
	index_read_end(txn);
	step = freshness_of_digest(&st->facts);
	st->only_yes = step == FRESHNESS_ASK;
	if (step == FRESHNESS_DENIED)
		reply_denied(r);
	else if (!found->stored)
		fetch(r);
	else if (found->may != MAY_YES || st->only_yes)
		ask(r, ASK_YES_MANIFEST, r->route.ref);
	else
		show(r, VERDICT_HIT);
}

static void start(struct request *r)
{
	struct manifest_state *st = xcalloc(1, sizeof(*st));

	r->state = st;
	if (r->route.reference == REFERENCE_DIGEST)
		start_digest(r);
	else
		start_tag(r);
}

static void release(struct request *r)
{
	struct manifest_state *st = state_of(r);

	if (!st)
		return;
	timer_release(&st->late);
	if (st->bytes)
		buffer_unref(&st->bytes);
	free(st);
	r->state = NULL;
}

const struct handler serve_manifest = {.start = start, .release = release};
