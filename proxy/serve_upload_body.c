/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request's body on its way into an upload session, in chunks that workers
 * append and hash in order.
 *
 *   socket ─► chunk ──full, or the end──► session_append() ─► home: room again
 *
 * Memory is bounded: `uploads.memory` for one request, cache.memory.total for
 * all and for fills; past that the socket is not read.  A request that has no
 * chunk may always have one, a small one if need be, so nobody waits for
 * another one's disk; and who waits has one with a worker, whose coming home
 * goes on.  Chunks that have come home are kept for the next bytes, the last
 * one first, whose bytes are in a core's cache: memory of that size comes from
 * the kernel, a page fault for every 4 KiB.
 */
#include "proxy/backlog.h"
#include "proxy/reply.h"
#include "proxy/serve_upload.h"

#define SMALL_CHUNK_BYTES (16 * KIB)

struct upload_chunk {
	SLIST_ENTRY(upload_chunk) link; /* a spare one's */
	size_t len, room;
	uint8_t bytes[];
};

/* ---- memory ---- */

static struct upload_chunk *chunk_new(struct upload_state *st, size_t room)
{
	struct upload_chunk *c = xmalloc(sizeof(*c) + room);

	c->len = 0;
	c->room = room;
	st->queued += room;
	backlog_add(room);
	return c;
}

/* `st` is NULL if the request has gone. */
static void chunk_free(struct upload_chunk *c, struct upload_state *st)
{
	backlog_sub(c->room);
	if (st)
		st->queued -= c->room;
	free(c);
}

/* Home from a worker.  Kept if whole chunks may still come, and others have
 * room enough. */
static void chunk_release(struct upload_chunk *c, struct request *r)
{
	struct upload_state *st = r ? upload_state(r) : NULL;

	if (!st || r->replied || st->over || c->room < UPLOAD_CHUNK_BYTES ||
	    backlog_bytes() > r->conf->cache.memory_total_bytes / 2) {
		chunk_free(c, st);
		return;
	}
	c->len = 0;
	SLIST_INSERT_HEAD(&st->spare, c, link);
}

static struct upload_chunk *spare_take(struct upload_state *st)
{
	struct upload_chunk *c = SLIST_FIRST(&st->spare);

	if (c)
		SLIST_REMOVE_HEAD(&st->spare, link);
	return c;
}

static void spare_free(struct upload_state *st)
{
	struct upload_chunk *c;

	while ((c = spare_take(st)))
		chunk_free(c, st);
}

/* Room for the next chunk: no more than what can come; 0: none now. */
static size_t room_for(const struct request *r)
{
	const struct upload_state *st = r->state;
	uint64_t room = UPLOAD_CHUNK_BYTES;

	if (r->head->has_length)
		room = MIN(room,
			   r->head->content_length - conn_body_taken(r->conn));
	if (backlog_bytes() + room > r->conf->cache.memory_total_bytes)
		return st->queued ? 0 : (size_t)MIN(room, SMALL_CHUNK_BYTES);
	if (st->queued && st->queued + room > r->conf->uploads.memory_bytes)
		return 0;
	return (size_t)room;
}

/* ---- chunks ---- */

static void go_on(struct request *r)
{
	struct upload_state *st = upload_state(r);

	if (!st->over)
		conn_resume_body(r->conn);
	else if (st->jobs == 0)
		st->done(r);
}

static void chunk_home(void *object, void *arg, enum err err,
		       const struct why *why)
{
	struct request *r = object;

	chunk_release(arg, r);
	if (!r)
		return;
	upload_state(r)->jobs--;
	if (r->replied)
		return;
	if (err)
		upload_fail(r, err, why);
	else
		go_on(r);
}

static void chunk_send(struct request *r)
{
	struct upload_state *st = upload_state(r);
	struct upload_chunk *c = st->chunk;

	st->chunk = NULL;
	if (!c)
		return;
	if (c->len == 0) {
		chunk_free(c, st);
		return;
	}
	st->jobs++;
	session_append(st->hold, c->bytes, c->len, chunk_home, c);
}

/* ---- the taker ---- */

static void *take_room(struct request *r, size_t *len)
{
	struct upload_state *st = upload_state(r);
	size_t room;

	if (!st->chunk)
		st->chunk = spare_take(st);
	if (!st->chunk) {
		room = room_for(r);
		if (!room)
			return NULL;
		st->chunk = chunk_new(st, room);
	}
	*len = st->chunk->room - st->chunk->len;
	return st->chunk->bytes + st->chunk->len;
}

static void taken(struct request *r, size_t len)
{
	struct upload_chunk *c = upload_state(r)->chunk;

	c->len += len;
	if (c->len == c->room)
		chunk_send(r);
}

static void whole(struct request *r)
{
	chunk_send(r);
	spare_free(upload_state(r));
	upload_state(r)->over = true;
	go_on(r);
}

static void broken(struct request *r, unsigned status, const char *sentence)
{
	/* Only a Content-Range sets a limit. */
	if (status == 413)
		upload_refuse(r, 400, CODE_SIZE_INVALID,
			      "the body is longer than its Content-Range");
	else
		upload_refuse(r, status, CODE_BLOB_UPLOAD_INVALID, sentence);
}

void upload_body(struct request *r, void (*done)(struct request *r))
{
	static const struct body_taker taker = {take_room, taken, whole,
						broken};
	struct upload_state *st = upload_state(r);
	uint64_t max = UINT64_MAX;

	if (st->ranged)
		max = st->last - st->first + 1;
	st->done = done;
	conn_read_body(r->conn, &taker, max);
}

void upload_body_release(struct request *r)
{
	struct upload_state *st = upload_state(r);

	spare_free(st);
	if (!st->chunk)
		return;
	if (st->hold && !st->marked && !st->monolithic) {
		chunk_send(r);
		return;
	}
	chunk_free(st->chunk, st);
	st->chunk = NULL;
}
