/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET and HEAD of a blob of a mirrored repository.
 *
 *            LOOKUP
 *   stored, may ──► OPEN ──► SHOW (blob_send.c)
 *   stored, ask ──► ASK ──► OPEN
 *   missing ──► JOIN ──► follow the flight ─┐ no room
 *      │          └─ stored by now: LOOKUP  └──► PASS
 *      └─ HEAD: the size from an edge, else ASK
 *         what the client has already: ASK, then 304
 */
#include "proxy/blob_open.h"
#include "proxy/blob_send.h"
#include "proxy/flight.h"
#include "proxy/freshness_read.h"
#include "proxy/mirror.h"
#include "proxy/permit.h"

/* A lookup that is overtaken (stored, then dropped, then fetched ...) is made
 * again, but not for ever. */
#define LOOKUPS_MAX 4

struct blob_state {
	struct lookup lookup;
	unsigned lookups;
	struct freshness facts; /* the repository's */
	bool only_yes; /* denied for long: nothing but a yes opens it */
	struct blob_reply reply;
};

static void look_up(struct request *r);

static struct blob_state *state_of(struct request *r)
{
	return r->state;
}

static void show(struct request *r)
{
	blob_send(r, &state_of(r)->reply);
}

/* ---- OPEN ---- */

static void opened(struct request *r, struct blob *blob)
{
	struct blob_state *st = state_of(r);

	st->reply.blob = blob;
	st->reply.size = blob_size(blob);
	show(r);
}

/* A stored blob that this repository has. */
static void serve_stored(struct request *r)
{
	struct blob_opening how = {r->route.digest, opened, look_up};
	struct blob_state *st = state_of(r);

	if (!blob_reply_is_bare(&st->reply, r)) {
		blob_open(r, &how);
		return;
	}
	st->reply.size = st->lookup.size;
	cache_touch(r->server->cache, &r->route.digest);
	show(r);
}

static void refuse(struct request *r, enum err err, uint64_t retry_after_s,
		   const struct why *why)
{
	struct blob_state *st = state_of(r);

	if (st->only_yes)
		freshness_reply_denied(r, &st->facts, CODE_BLOB_UNKNOWN);
	else
		reply_err(r, err, CODE_BLOB_UNKNOWN, retry_after_s, why);
}

/* ---- ASK: this repository's own yes, or the size ---- */

static void asked(struct message *msg, void *object)
{
	struct mirror_answer *a = container_of(msg, struct mirror_answer, msg);
	struct request *r = object;
	struct blob_state *st = r ? state_of(r) : NULL;

	if (!r) {
		mirror_answer_free(&a);
		return;
	}
	r->upstream_us += a->upstream_us;
	if (a->err) {
		refuse(r, a->err, a->retry_after_s, &a->why);
	} else if (st->lookup.stored) {
		r->verdict = VERDICT_REVALIDATED;
		request_may_see(r, serve_stored);
	} else if (a->size == CALL_LENGTH_UNKNOWN && !st->reply.not_modified) {
		why_set(&a->why, ERR_BAD_UPSTREAM,
			"%s does not tell the size of this blob",
			r->names.upstream);
		reply_err(r, ERR_BAD_UPSTREAM, CODE_BLOB_UNKNOWN, 0, &a->why);
	} else {
		r->verdict = VERDICT_MISS;
		st->reply.size = a->size;
		request_may_see(r, show);
	}
	mirror_answer_free(&a);
}

static void ask(struct request *r)
{
	struct mirror_ask question = {
	    .kind = ASK_YES_BLOB,
	    .upstream = r->names.upstream,
	    .repo = r->names.repo,
	    .reference = r->route.ref,
	};

	mirror_ask(r->server->mirror, &question, r->loop, r->handle,
		   REQUEST_MAGIC, asked);
}

/* ---- PASS ---- */

static void passing(struct message *msg, void *object)
{
	struct pass_answer *a = container_of(msg, struct pass_answer, msg);
	struct request *r = object;
	struct blob_state *st = r ? state_of(r) : NULL;

	if (!r) {
		pass_answer_free(&a);
		return;
	}
	r->upstream_us += a->upstream_us;
	if (a->err) {
		refuse(r, a->err, a->retry_after_s, &a->why);
	} else {
		r->verdict = VERDICT_PASS;
		st->reply.pass = a->pass;
		st->reply.size = a->size;
		a->pass = NULL;
		request_may_see(r, show);
	}
	pass_answer_free(&a);
}

/* One upstream transfer for this reader: several ranges would be several. */
static void pass(struct request *r)
{
	struct blob_state *st = state_of(r);
	struct pass_spec spec = {
	    .upstream = r->names.upstream,
	    .repo = r->names.repo,
	    .dg = r->route.digest,
	};

	if (st->reply.n_ranges > 1)
		blob_reply_ignore_ranges(&st->reply);
	spec.range = blob_reply_range(&st->reply);
	pass_open(r->server->mirror, &spec, r->loop, r->handle, REQUEST_MAGIC,
		  passing);
}

/* ---- JOIN ---- */

static void joined(struct message *msg, void *object)
{
	struct flight_answer *a = container_of(msg, struct flight_answer, msg);
	struct request *r = object;
	struct blob_state *st = r ? state_of(r) : NULL;

	if (!r) {
		flight_answer_free(&a);
		return;
	}
	r->upstream_us += a->upstream_us;
	r->verdict = a->joined ? VERDICT_JOINED : VERDICT_MISS;
	switch (a->err) {
	case ERR_OK:
		st->reply.reader = a->reader;
		st->reply.size = flow_size(a->reader);
		a->reader = NULL;
		request_may_see(r, show);
		break;
	case ERR_EXISTS:
		look_up(r);
		break;
	case ERR_NO_SPACE:
	case ERR_IO:
		pass(r);
		break;
	default:
		refuse(r, a->err, a->retry_after_s, &a->why);
	}
	flight_answer_free(&a);
}

static void join(struct request *r)
{
	struct blob_state *st = state_of(r);
	struct flight_ask question = {
	    .upstream = r->names.upstream,
	    .repo = r->names.repo,
	    .dg = r->route.digest,
	    .range = blob_reply_range(&st->reply),
	    .size_hint =
		st->lookup.size_known ? st->lookup.size : FLOW_SIZE_UNKNOWN,
	    .allowed = st->lookup.may == MAY_YES && !st->only_yes,
	};

	flight_join(r->server->mirror, &question, r->loop, r->handle,
		    REQUEST_MAGIC, joined);
}

/* ---- LOOKUP ---- */

/* False: a reply has been sent. */
static bool read_lookup(struct request *r, struct blob_state *st)
{
	struct index_txn *txn = index_read(cache_index(r->server->cache));
	enum freshness_step step;
	struct why why;
	enum err err;

	freshness_read_repo(r, txn, &st->facts);
	err = cache_lookup_blob(txn, r->repo_id, &r->route.digest, &st->lookup);
	index_read_end(txn);
	step = freshness_of_digest(&st->facts);
	st->only_yes = step == FRESHNESS_ASK;
	if (step == FRESHNESS_DENIED) {
		freshness_reply_denied(r, &st->facts, CODE_BLOB_UNKNOWN);
		return false;
	}
	if (!err)
		return true;
	why_set(&why, err, "the index cannot be read");
	reply_err(r, err, CODE_BLOB_UNKNOWN, 0, &why);
	return false;
}

static void look_up(struct request *r)
{
	struct blob_state *st = state_of(r);
	const struct lookup *found = &st->lookup;
	struct why why;

	if (++st->lookups > LOOKUPS_MAX) {
		why_set(&why, ERR_BUSY,
			"this blob comes and goes; try again in a moment");
		reply_err(r, ERR_BUSY, CODE_BLOB_UNKNOWN, 1, &why);
		return;
	}
	if (!read_lookup(r, st))
		return;
	if (found->stored && found->may == MAY_YES && !st->only_yes) {
		if (r->verdict == VERDICT_NONE)
			r->verdict = VERDICT_HIT;
		request_may_see(r, serve_stored);
	} else if (found->stored) {
		ask(r);
	} else if (!blob_reply_is_bare(&st->reply, r)) {
		join(r);
	} else if (r->is_head && found->size_known && found->may != MAY_NO &&
		   !st->only_yes) {
		r->verdict = VERDICT_HIT; /* nobody is asked for a size */
		st->reply.size = found->size;
		request_may_see(r, show);
	} else {
		ask(r);
	}
}

/* ---- START ---- */

static void start(struct request *r)
{
	struct blob_state *st = xcalloc(1, sizeof(*st));

	r->state = st;
	if (permit_begins_push(r))
		reply_error(r, 404, CODE_BLOB_UNKNOWN,
			    "this repository holds nothing here", NULL);
	else if (blob_reply_init(&st->reply, r))
		look_up(r);
}

static void release(struct request *r)
{
	struct blob_state *st = state_of(r);

	if (!st)
		return;
	blob_reply_release(&st->reply);
	free(st);
	r->state = NULL;
}

const struct handler serve_blob = {.start = start, .release = release};
