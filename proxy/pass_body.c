/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way of passed-through bytes from the network to the client: workers
 * hash them in order and hold back the end, the serve loop sends what is
 * shown.
 */
#include "proxy/conn.h"
#include "proxy/log.h"
#include "proxy/pass_int.h"

#define BODY_PASS_MAGIC 0x42504153

void pass_ref(struct pass *p)
{
	__atomic_add_fetch(&p->refs, 1, __ATOMIC_RELAXED);
}

static void drop_pieces(struct pieces *list)
{
	struct piece *piece;

	while ((piece = STAILQ_FIRST(list))) {
		STAILQ_REMOVE_HEAD(list, link);
		free(piece);
	}
}

void pass_unref(struct pass *p)
{
	if (__atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	drop_pieces(&p->held);
	drop_pieces(&p->shown);
	hasher_free(&p->hasher);
	flow_unref(&p->flow);
	conf_unref(&p->conf);
	pthread_mutex_destroy(&p->mu);
	free(p);
}

/* ---- waking the body; under mu ---- */

static void body_woken(struct message *msg, void *object);

static void wake_body(struct pass *p)
{
	struct message *msg;

	if (!p->waiting)
		return;
	p->waiting = false;
	msg = xcalloc(1, sizeof(*msg));
	msg->to = p->body;
	msg->magic = BODY_PASS_MAGIC;
	msg->run = body_woken;
	loop_post(p->body_loop, msg);
}

void pass_cut(struct pass *p)
{
	pthread_mutex_lock(&p->mu);
	p->failed = true;
	wake_body(p);
	pthread_mutex_unlock(&p->mu);
}

/* ---- workers: hash, hold back, show ---- */

/* Let go of what is more than a hold-back from the end; of all when proven. */
static void show_held(struct pass *p, bool all)
{
	uint64_t keep = p->verify ? MIN(p->conf->fetch.holdback_bytes,
					PASS_WINDOW_BYTES / 4)
				  : 0;
	struct piece *piece;

	while ((piece = STAILQ_FIRST(&p->held)) &&
	       (all || p->held_bytes - piece->len >= keep)) {
		STAILQ_REMOVE_HEAD(&p->held, link);
		p->held_bytes -= piece->len;
		STAILQ_INSERT_TAIL(&p->shown, piece, link);
	}
}

/* The hash has all bytes: are they right? */
static bool digest_is_right(struct pass *p)
{
	struct digest got;

	if (!p->hasher)
		return true;
	hasher_final(p->hasher, &got);
	hasher_free(&p->hasher);
	return digest_equal(&got, &p->dg);
}

static void piece_hash(struct pass *p, const struct piece *piece)
{
	if (!p->hasher || !piece->len || piece->off < p->hashed)
		return;
	assert(piece->off == p->hashed);
	hasher_update(p->hasher, piece->bytes, piece->len);
	p->hashed += piece->len;
}

/* The bytes, where they are not there yet. */
static struct piece *piece_read(struct pass *p, struct piece *piece, bool *ok)
{
	if (!piece->from_file)
		return piece;
	piece = xrealloc(piece, sizeof(*piece) + piece->len);
	*ok = flow_pread(p->flow, piece->bytes, piece->len, piece->off) ==
	      (ssize_t)piece->len;
	return piece;
}

static void piece_run(struct job *job)
{
	struct piece *piece = container_of(job, struct piece, job);
	struct pass *p = piece->pass;
	bool last = piece->last, right = true;

	piece = piece_read(p, piece, &right);
	piece_hash(p, piece);
	if (last)
		right = digest_is_right(p);
	if (!right)
		log_error("what passes through from %s does not have the "
			  "digest asked for; the reply is cut",
			  p->upstream);
	pthread_mutex_lock(&p->mu);
	STAILQ_INSERT_TAIL(&p->held, piece, link);
	p->held_bytes += piece->len;
	p->failed |= !right;
	if (!p->failed)
		show_held(p, last);
	p->done |= last && !p->failed;
	wake_body(p);
	pthread_mutex_unlock(&p->mu);
	pass_unref(p);
}

struct piece *piece_new(struct pass *p, uint64_t off, size_t room)
{
	struct piece *piece = xmalloc(sizeof(*piece) + room);

	memset(piece, 0, sizeof(*piece));
	piece->pass = p;
	piece->off = off;
	return piece;
}

void pass_submit(struct pass *p, struct piece *piece)
{
	pthread_mutex_lock(&p->mu);
	p->queued += piece->len;
	pthread_mutex_unlock(&p->mu);
	pass_ref(p);
	piece->job.lane = JOB_DATA;
	piece->job.run = piece_run;
	job_submit_on(p->strand, &piece->job);
}

/* ---- the serve side ---- */

/* Tell the fetch side to go on, or that the client has gone. */
static void kick(struct pass *p)
{
	struct message *msg = xcalloc(1, sizeof(*msg));

	msg->to = p->handle;
	msg->magic = PASS_MAGIC;
	msg->run = pass_kicked;
	loop_post(mirror_loop(p->mirror), msg);
}

void pass_free(struct pass **pp)
{
	struct pass *p = *pp;

	if (!p)
		return;
	*pp = NULL;
	pthread_mutex_lock(&p->mu);
	p->closed = true;
	p->waiting = false;
	pthread_mutex_unlock(&p->mu);
	kick(p);
	pass_unref(p);
}

void pass_answer_free(struct pass_answer **a)
{
	if (!*a)
		return;
	pass_free(&(*a)->pass);
	free(*a);
	*a = NULL;
}

struct body_pass {
	struct body b;
	struct pass *pass;
	struct handle handle;
	struct piece *piece; /* being sent */
};

static void body_woken(struct message *msg, void *object)
{
	struct body_pass *bp = object;

	free(msg);
	if (bp)
		conn_wake(bp->b.conn);
}

/* The next piece; NULL: *state says why not. */
static struct piece *next_piece(struct body_pass *bp, enum body_state *state)
{
	struct pass *p = bp->pass;
	struct piece *piece;

	pthread_mutex_lock(&p->mu);
	piece = STAILQ_FIRST(&p->shown);
	if (piece) {
		STAILQ_REMOVE_HEAD(&p->shown, link);
	} else if (p->failed) {
		*state = BODY_CUT;
	} else if (p->done) {
		*state = BODY_END;
	} else {
		*state = BODY_WAIT;
		p->waiting = true;
	}
	pthread_mutex_unlock(&p->mu);
	return piece;
}

static void piece_sent(struct body_pass *bp)
{
	struct pass *p = bp->pass;
	uint64_t queued, len = bp->piece->len;

	free(bp->piece);
	bp->piece = NULL;
	pthread_mutex_lock(&p->mu);
	queued = p->queued -= len;
	pthread_mutex_unlock(&p->mu);
	if (queued < PASS_WINDOW_BYTES / 2 &&
	    queued + len >= PASS_WINDOW_BYTES / 2)
		kick(p);
}

static enum body_state pass_send(struct body *b, struct sink *s)
{
	struct body_pass *bp = container_of(b, struct body_pass, b);
	enum body_state state;

	body_waits_no_more(b);
	if (!bp->handle.generation) {
		bp->handle =
		    loop_register(conn_loop(b->conn), bp, BODY_PASS_MAGIC);
		pthread_mutex_lock(&bp->pass->mu);
		bp->pass->body = bp->handle;
		bp->pass->body_loop = conn_loop(b->conn);
		pthread_mutex_unlock(&bp->pass->mu);
	}
	for (;;) {
		struct piece *piece = bp->piece;

		if (!piece)
			piece = bp->piece = next_piece(bp, &state);
		if (!piece) {
			if (state == BODY_WAIT)
				body_waits(b);
			return state;
		}
		piece->sent += sink_memory(s, piece->bytes + piece->sent,
					   piece->len - piece->sent, false);
		if (piece->sent < piece->len)
			return BODY_MORE;
		piece_sent(bp);
		if (sink_budget(s) == 0)
			return BODY_MORE;
	}
}

static void pass_body_free(struct body *b)
{
	struct body_pass *bp = container_of(b, struct body_pass, b);

	body_waits_no_more(b);
	if (bp->handle.generation)
		loop_unregister(conn_loop(b->conn), &bp->handle);
	free(bp->piece);
	pass_free(&bp->pass);
	free(bp);
}

struct body *body_pass(struct pass *p)
{
	static const struct body_ops ops = {pass_send, pass_body_free};
	struct body_pass *bp = xcalloc(1, sizeof(*bp));

	bp->b.ops = &ops;
	bp->pass = p;
	return &bp->b;
}
