/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET and HEAD of a blob of a mirrored repository.
 *
 *            LOOKUP
 *   stored, may ──► OPEN ──► send (sendfile)
 *   stored, ask ──► ASK ──► OPEN
 *   missing ──► JOIN ──► follow the flight ─┐ no room
 *      │          └─ stored by now: LOOKUP  └──► PASS
 *      └─ HEAD: the size from an edge, else ASK
 */
#include "cache/blob.h"
#include "proxy/body_flow.h"
#include "proxy/flight.h"
#include "proxy/http_range.h"
#include "proxy/mirror.h"
#include "proxy/pass.h"
#include "proxy/reply.h"
#include "proxy/request.h"

/* A lookup that is overtaken (stored, then dropped, then fetched ...) is made
 * again, but not for ever. */
#define LOOKUPS_MAX 4

struct blob_state {
	struct lookup lookup;
	unsigned lookups;
	struct http_range *ranges; /* NULL: the whole blob */
	unsigned n_ranges;
	bool unsatisfiable; /* a range that no blob satisfies */

	/* What the reply is made from; one of them. */
	struct blob *blob;
	struct flow_reader *reader;
	struct pass *pass;
	uint64_t size;
};

static void look_up(struct request *r);

static struct blob_state *state_of(struct request *r)
{
	return r->state;
}

static void drop_ranges(struct blob_state *st)
{
	free(st->ranges);
	st->ranges = NULL;
	st->n_ranges = 0;
}

/* ---- the reply ---- */

static void common_headers(struct request *r)
{
	const char *dg = r->route.ref;

	reply_header(r, "Docker-Content-Digest", "%s", dg);
	reply_header(r, "ETag", "\"%s\"", dg);
	reply_header(r, "Accept-Ranges", "bytes");
	reply_header(r, "Cache-Control", "max-age=31536000");
}

static struct flow_range flow_range_of(const struct http_range *range)
{
	struct flow_range fr = {FLOW_BOUNDED, range->first, range->last, 0};

	if (range->form == HTTP_RANGE_OPEN)
		fr.shape = range->first ? FLOW_OPEN_END : FLOW_WHOLE;
	return fr;
}

/* A body of bytes [first, last]; takes the source with the last part. */
static struct body *part_body(struct request *r, uint64_t first, uint64_t last,
			      struct flow_reader *reader, bool last_part)
{
	struct blob_state *st = state_of(r);
	struct blob *blob;

	if (reader)
		return body_flow(r->server->mirror, r->names.upstream,
				 r->names.repo, reader, first, last);
	blob = last_part ? st->blob : blob_repin(st->blob);
	if (last_part)
		st->blob = NULL;
	return body_file(r->server->jobs, blob, first, last);
}

static void send_whole(struct request *r)
{
	struct blob_state *st = state_of(r);
	struct flow_reader *reader = st->reader;
	struct body *body = NULL;

	reply_begin(r, 200);
	common_headers(r);
	reply_header(r, "Content-Type", "application/octet-stream");
	if (st->pass) {
		body = body_pass(st->pass);
		st->pass = NULL;
	} else if (st->size && !r->is_head) {
		st->reader = NULL;
		body = part_body(r, 0, st->size - 1, reader, true);
	}
	reply_send(r, st->size, body);
}

static void send_unsatisfiable(struct request *r)
{
	char range[HTTP_CONTENT_RANGE_SIZE];

	http_content_range_format_416(state_of(r)->size, range);
	reply_begin(r, 416);
	reply_header(r, "Content-Range", "%s", range);
	reply_send_error(r, CODE_RANGE_INVALID,
			 "no byte of the blob is in this range", NULL);
}

static void send_one_range(struct request *r)
{
	struct blob_state *st = state_of(r);
	struct http_range *range = &st->ranges[0];
	struct flow_reader *reader = st->reader;
	char text[HTTP_CONTENT_RANGE_SIZE];
	struct body *body;

	http_content_range_format(range->first, range->last, st->size, text);
	reply_begin(r, 206);
	common_headers(r);
	reply_header(r, "Content-Type", "application/octet-stream");
	reply_header(r, "Content-Range", "%s", text);
	if (st->pass) {
		body = body_pass(st->pass);
		st->pass = NULL;
	} else {
		st->reader = NULL;
		body = part_body(r, range->first, range->last, reader, true);
	}
	reply_send(r, range->last - range->first + 1, body);
}

/* ---- several ranges: multipart/byteranges, in the order asked ---- */

#define PART_HEAD_MAX 256

static size_t part_head(const struct request *r, unsigned i, char *out)
{
	const struct blob_state *st = r->state;
	char text[HTTP_CONTENT_RANGE_SIZE];

	http_content_range_format(st->ranges[i].first, st->ranges[i].last,
				  st->size, text);
	return (size_t)snprintf(out, PART_HEAD_MAX,
				"%s--%016" PRIx64 "\r\n"
				"Content-Type: application/octet-stream\r\n"
				"Content-Range: %s\r\n\r\n",
				i ? "\r\n" : "", r->id, text);
}

/* Parts that lie near each other are asked of the upstream as one: where the
 * run of parts that begins with `i` ends. */
static uint64_t run_end(const struct request *r, unsigned i)
{
	const struct blob_state *st = r->state;
	uint64_t gap = r->conf->fetch.merge_gap_bytes;
	uint64_t end = st->ranges[i].last + 1;

	while (++i < st->n_ranges && st->ranges[i].first >= end &&
	       st->ranges[i].first - end < gap)
		end = st->ranges[i].last + 1;
	return end;
}

static struct body *multipart_part(struct request *r, unsigned i)
{
	struct blob_state *st = state_of(r);
	const struct http_range *range = &st->ranges[i];
	struct flow_range fr = flow_range_of(range);
	struct flow_reader *reader = NULL;

	if (st->reader)
		reader = flow_reader_more(st->reader, &fr, run_end(r, i));
	return part_body(r, range->first, range->last, reader, false);
}

static void send_multipart(struct request *r)
{
	struct blob_state *st = state_of(r);
	struct body **parts =
	    xcalloc(2 * (size_t)st->n_ranges + 1, sizeof(*parts));
	char head[PART_HEAD_MAX], *end;
	uint64_t total = 0;
	size_t n = 0, len;

	for (unsigned i = 0; i < st->n_ranges; i++) {
		len = part_head(r, i, head);
		total += len + st->ranges[i].last - st->ranges[i].first + 1;
		parts[n++] = body_memory(xmemdup(head, len), len);
		parts[n++] = multipart_part(r, i);
	}
	end = xasprintf("\r\n--%016" PRIx64 "--\r\n", r->id);
	len = strlen(end);
	total += len;
	parts[n++] = body_memory(end, len);
	flow_reader_free(&st->reader);
	reply_begin(r, 206);
	common_headers(r);
	reply_header(r, "Content-Type",
		     "multipart/byteranges; boundary=%016" PRIx64, r->id);
	reply_send(r, total, body_chain(parts, n));
}

/* The size is known and the client may see it: 200, 206 or 416. */
static void send_blob(struct request *r)
{
	struct blob_state *st = state_of(r);

	if (st->unsatisfiable) {
		send_unsatisfiable(r);
	} else if (r->is_head || !st->ranges) {
		send_whole(r);
	} else if (http_range_resolve(st->ranges, &st->n_ranges, st->size) !=
		   HTTP_RANGE_OK) {
		send_unsatisfiable(r);
	} else if (st->n_ranges == 1) {
		send_one_range(r);
	} else {
		send_multipart(r);
	}
}

/* ---- OPEN ---- */

struct open_job {
	struct job job;
	struct cache *cache;
	struct digest dg;
	enum err err;
	struct why why;
	struct blob *blob;
};

static void open_run(struct job *job)
{
	struct open_job *o = container_of(job, struct open_job, job);

	o->err = blob_pin(o->cache, &o->dg, &o->blob, &o->why);
}

static void opened(struct request *r, struct blob *blob)
{
	struct blob_state *st = state_of(r);

	st->blob = blob;
	st->size = blob_size(blob);
	cache_touch(r->server->cache, &r->route.digest);
	send_blob(r);
}

static void open_done(struct job *job, void *object)
{
	struct open_job *o = container_of(job, struct open_job, job);
	struct request *r = object;

	if (!r) {
		if (o->blob)
			blob_unpin(&o->blob);
	} else if (!o->err) {
		opened(r, o->blob);
	} else if (o->err == ERR_NOT_FOUND || o->err == ERR_CORRUPT) {
		look_up(r); /* the record has gone: it is a miss now */
	} else {
		reply_err(r, o->err, CODE_BLOB_UNKNOWN, 0, &o->why);
	}
	free(o);
}

static void open_blob(struct request *r)
{
	struct blob *blob = blob_pin_hot(r->server->cache, &r->route.digest);
	struct open_job *o;

	if (blob) {
		opened(r, blob);
		return;
	}
	o = xcalloc(1, sizeof(*o));
	o->cache = r->server->cache;
	o->dg = r->route.digest;
	o->job.lane = JOB_SYNC;
	o->job.run = open_run;
	o->job.done = open_done;
	o->job.home = r->loop;
	o->job.to = r->handle;
	o->job.magic = REQUEST_MAGIC;
	job_submit(r->server->jobs, &o->job);
}

/* A stored blob that this repository has. */
static void serve_stored(struct request *r)
{
	struct blob_state *st = state_of(r);

	if (!r->is_head) {
		open_blob(r);
		return;
	}
	st->size = st->lookup.size;
	cache_touch(r->server->cache, &r->route.digest);
	send_blob(r);
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
		reply_err(r, a->err, CODE_BLOB_UNKNOWN, a->retry_after_s,
			  &a->why);
	} else if (st->lookup.stored) {
		r->verdict = VERDICT_REVALIDATED;
		request_may_see(r, serve_stored);
	} else if (a->size == CALL_LENGTH_UNKNOWN) {
		why_set(&a->why, ERR_BAD_UPSTREAM,
			"%s does not tell the size of this blob",
			r->names.upstream);
		reply_err(r, ERR_BAD_UPSTREAM, CODE_BLOB_UNKNOWN, 0, &a->why);
	} else {
		r->verdict = VERDICT_MISS;
		st->size = a->size;
		request_may_see(r, send_blob);
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
		reply_err(r, a->err, CODE_BLOB_UNKNOWN, a->retry_after_s,
			  &a->why);
	} else {
		r->verdict = VERDICT_PASS;
		st->pass = a->pass;
		st->size = a->size;
		a->pass = NULL;
		request_may_see(r, send_blob);
	}
	pass_answer_free(&a);
}

/* One upstream transfer for this reader.  Several ranges get the whole blob:
 * RFC 9110 section 14.2 lets a server ignore a Range, and a 200 is always
 * right. */
static void pass(struct request *r)
{
	struct blob_state *st = state_of(r);
	struct pass_spec spec = {
	    .upstream = r->names.upstream,
	    .repo = r->names.repo,
	    .dg = r->route.digest,
	};

	if (st->n_ranges > 1)
		drop_ranges(st);
	if (st->unsatisfiable)
		spec.range = (struct flow_range){FLOW_BOUNDED, 0, 0, 0};
	if (st->ranges)
		spec.range = flow_range_of(&st->ranges[0]);
	if (st->ranges && st->ranges[0].form == HTTP_RANGE_SUFFIX) {
		spec.range.shape = FLOW_SUFFIX;
		spec.range.suffix = st->ranges[0].last;
	}
	pass_open(r->server->mirror, &spec, r->loop, r->handle, REQUEST_MAGIC,
		  passing);
}

/* ---- JOIN ---- */

static void follow(struct request *r)
{
	send_blob(r);
}

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
		st->reader = a->reader;
		st->size = flow_size(a->reader);
		a->reader = NULL;
		request_may_see(r, follow);
		break;
	case ERR_EXISTS:
		look_up(r);
		break;
	case ERR_NO_SPACE:
	case ERR_IO:
	case ERR_BUSY: /* start-up is publishing it still */
		pass(r);
		break;
	default:
		reply_err(r, a->err, CODE_BLOB_UNKNOWN, a->retry_after_s,
			  &a->why);
	}
	flight_answer_free(&a);
}

/* The range that the flight should know of: with several, the first; the
 * others make readers of their own. */
static struct flow_range first_range(const struct blob_state *st)
{
	struct flow_range whole = {FLOW_WHOLE, 0, 0, 0};
	struct flow_range a_byte = {FLOW_BOUNDED, 0, 0, 0};
	struct flow_range fr;

	if (st->unsatisfiable)
		return a_byte; /* only the size is needed */
	if (!st->ranges)
		return whole;
	fr = flow_range_of(&st->ranges[0]);
	if (st->ranges[0].form == HTTP_RANGE_SUFFIX) {
		fr.shape = FLOW_SUFFIX;
		fr.suffix = st->ranges[0].last;
	}
	return fr;
}

static void join(struct request *r)
{
	struct blob_state *st = state_of(r);
	struct flight_ask question = {
	    .upstream = r->names.upstream,
	    .repo = r->names.repo,
	    .dg = r->route.digest,
	    .range = first_range(st),
	    .size_hint =
		st->lookup.size_known ? st->lookup.size : FLOW_SIZE_UNKNOWN,
	    .allowed = st->lookup.may == MAY_YES,
	};

	flight_join(r->server->mirror, &question, r->loop, r->handle,
		    REQUEST_MAGIC, joined);
}

/* ---- LOOKUP ---- */

static void look_up(struct request *r)
{
	struct blob_state *st = state_of(r);
	struct index_txn *txn;
	struct why why;
	enum err err;

	if (++st->lookups > LOOKUPS_MAX) {
		why_set(&why, ERR_BUSY,
			"this blob comes and goes; try again in a moment");
		reply_err(r, ERR_BUSY, CODE_BLOB_UNKNOWN, 1, &why);
		return;
	}
	txn = index_read(cache_index(r->server->cache));
	if (!r->repo_id)
		(void)!repo_id(txn, r->names.upstream, r->names.repo,
			       &r->repo_id);
	err = cache_lookup_blob(txn, r->repo_id, &r->route.digest, &st->lookup);
	index_read_end(txn);
	if (err) {
		why_set(&why, err, "the index cannot be read");
		reply_err(r, err, CODE_BLOB_UNKNOWN, 0, &why);
	} else if (st->lookup.stored && st->lookup.may == MAY_YES) {
		if (r->verdict == VERDICT_NONE)
			r->verdict = VERDICT_HIT;
		request_may_see(r, serve_stored);
	} else if (st->lookup.stored) {
		ask(r);
	} else if (!r->is_head) {
		join(r);
	} else if (st->lookup.size_known && st->lookup.may != MAY_NO) {
		r->verdict = VERDICT_HIT; /* nobody is asked for a size */
		st->size = st->lookup.size;
		request_may_see(r, send_blob);
	} else {
		ask(r);
	}
}

/* ---- START ---- */

/* A condition that the client set: If-None-Match on a name that is its own
 * content can be answered by looking at the name. */
static bool not_modified(struct request *r)
{
	struct span value;
	unsigned at = 0;

	while (http_head_next(r->head, "if-none-match", &at, &value))
		if (http_etag_listed(value, r->route.ref))
			return true;
	return false;
}

/* False: a reply has been sent. */
static bool read_ranges(struct request *r)
{
	struct blob_state *st = state_of(r);
	struct span if_range = http_head_find(r->head, "if-range");
	struct span value = http_head_find(r->head, "range");
	unsigned max = r->conf->server.max_ranges;

	if (r->is_head || !value.ptr || http_head_count(r->head, "range") > 1 ||
	    (if_range.ptr && !http_if_range_matches(if_range, r->route.ref)))
		return true;
	st->ranges = xcalloc(max, sizeof(*st->ranges));
	switch (http_range_parse(value, st->ranges, max, &st->n_ranges)) {
	case HTTP_RANGE_OK:
		return true;
	case HTTP_RANGE_UNSATISFIABLE:
		st->unsatisfiable = true; /* its 416 tells the size */
		drop_ranges(st);
		return true;
	case HTTP_RANGE_NONE:
		drop_ranges(st);
		return true;
	case HTTP_RANGE_TOO_MANY:
		break;
	}
	reply_error(r, 400, CODE_RANGE_INVALID,
		    "more ranges than server.max_ranges allows; ask for fewer "
		    "at a time",
		    NULL);
	return false;
}

static void start(struct request *r)
{
	struct blob_state *st = xcalloc(1, sizeof(*st));

	r->state = st;
	if (!read_ranges(r))
		return;
	if (not_modified(r)) {
		reply_begin(r, 304);
		common_headers(r);
		reply_send(r, 0, NULL);
		return;
	}
	look_up(r);
}

static void release(struct request *r)
{
	struct blob_state *st = state_of(r);

	if (!st)
		return;
	if (st->blob)
		blob_unpin(&st->blob);
	flow_reader_free(&st->reader);
	pass_free(&st->pass);
	free(st->ranges);
	free(st);
	r->state = NULL;
}

const struct handler serve_blob = {.start = start, .release = release};
