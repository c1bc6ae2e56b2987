/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies of requests: phase BODY.
 *
 *   socket ──payload──────────────────────► the taker's room
 *      └──── chunk sizes, and what came ──► in->bytes ──copy──► room
 *            with a head or behind a chunk
 *
 * Payload whose length is known (Content-Length, or the rest of a chunk) is
 * received where its taker wants it; only what lies around it, and as much
 * payload as a read for that brings along, passes through the connection's
 * own buffer, behind the head.  What is left there at the end is the next
 * request's.
 */
#include "proxy/conn_int.h"

#include "proxy/http_chunked.h"
#include "proxy/metrics.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

static const char hundred[] = "HTTP/1.1 100 Continue\r\n\r\n";
#define HUNDRED_LEN (sizeof(hundred) - 1)

struct conn_taking {
	const struct body_taker *taker;
	uint64_t max;
	uint64_t taken;
	bool began;
	bool chunked, over;
	uint64_t left; /* with a length */
	struct http_chunked chunks;
	size_t head_len;     /* bytes of `in` that stay as they are */
	size_t to_say, said; /* of the 100 */
};

/* What a step of the body comes to. */
enum step {
	STEP_ON,    /* something moved */
	STEP_TIRED, /* the turn is over, or the socket is empty */
	STEP_FULL,  /* the taker has no room */
	STEP_LOST   /* the phase has changed, or the connection ended */
};

/* ---- ends ---- */

/* In either way the request is with its handler again. */
static struct request *hand_back(struct conn *c)
{
	c->phase = CONN_HANDLE;
	conn_watch(c, CONN_WATCH_GONE);
	conn_deadline(c, CONN_NEVER);
	return c->request;
}

static void end(struct conn *c)
{
	const struct body_taker *taker = c->taking->taker;

	c->has_body = false;
	c->close_after = !c->in->head.keep_alive;
	taker->end(hand_back(c));
}

static enum step broken(struct conn *c, unsigned status, const char *sentence)
{
	const struct body_taker *taker = c->taking->taker;

	/* Where the next request begins will never be known. */
	c->has_body = c->close_after = true;
	taker->broken(hand_back(c), status, sentence);
	return STEP_LOST;
}

static enum step too_big(struct conn *c)
{
	return broken(c, 413, "the request's body is too big");
}

void conn_body_late(struct conn *c)
{
	metric_inc(METRIC_DEADLINES, METRIC_DEADLINE_BODY_STALL);
	(void)broken(c, 408, "nothing came of the request's body for too long");
}

/* ---- framing ---- */

/* Payload that comes next, with nothing else between. */
static uint64_t payload_left(const struct conn_taking *t)
{
	return t->chunked ? http_chunked_left(&t->chunks) : t->left;
}

static size_t buffered(const struct conn *c)
{
	return c->in->len - c->in->used;
}

/* n bytes of payload are in `room`. */
static enum step took(struct conn *c, void *room, size_t n)
{
	struct conn_taking *t = c->taking;
	struct http_refusal refusal;
	struct span data;
	size_t used = n;

	if (t->chunked) {
		(void)!http_chunked_feed(&t->chunks, room, n, &used, &data,
					 &refusal);
		assert(used == n && data.len == n);
	} else {
		t->left -= n;
		t->over = t->left == 0;
	}
	t->taken += n;
	t->taker->took(c->request, n);
	return c->phase == CONN_BODY ? STEP_ON : STEP_LOST;
}

/* Byte by byte, so that it stops where payload begins. */
static enum step feed_framing(struct conn *c)
{
	struct conn_taking *t = c->taking;
	struct conn_input *in = c->in;
	struct http_refusal refusal;
	struct span data;
	size_t used;

	while (in->used < in->len && !t->over && !payload_left(t)) {
		switch (http_chunked_feed(&t->chunks, in->bytes + in->used, 1,
					  &used, &data, &refusal)) {
		case HTTP_DONE:
			t->over = true;
			break;
		case HTTP_REFUSED:
			return broken(c, refusal.status, refusal.text);
		case HTTP_MORE:
			break;
		}
		in->used += used;
	}
	return t->chunks.announced > t->max ? too_big(c) : STEP_ON;
}

/* ---- receiving ---- */

static enum step receive(struct conn *c, struct iovec *iov, int n_iov,
			 size_t *got)
{
	ssize_t n = readv(c->fd, iov, n_iov);

	*got = n > 0 ? (size_t)n : 0;
	if (n > 0)
		return STEP_ON;
	if (n == 0)
		return broken(c, 400, "the request ended before its body did");
	if (errno == EAGAIN || errno == EINTR)
		return STEP_TIRED;
	conn_break(c);
	return STEP_LOST;
}

/* The free end of the connection's own buffer, all of which has been used. */
static struct iovec own_room(struct conn *c)
{
	struct conn_input *in = c->in;

	in->len = in->used = c->taking->head_len;
	return (struct iovec){in->bytes + in->len,
			      in->cap + CONN_INPUT_SLACK - in->len};
}

static enum step read_framing(struct conn *c, struct conn_turn *turn)
{
	struct iovec iov = own_room(c);
	enum step step;
	size_t got;

	step = receive(c, &iov, 1, &got);
	if (step != STEP_ON)
		return step;
	c->in->len += got;
	turn->bytes -= MIN(turn->bytes, (uint64_t)got);
	return STEP_ON;
}

/* Into the taker's room; behind a chunk also what follows it. */
static enum step read_payload(struct conn *c, void *room, size_t len,
			      struct conn_turn *turn)
{
	struct iovec iov[2] = {{room, MIN(len, turn->bytes)}};
	bool chunked = c->taking->chunked;
	size_t got, direct, asked = iov[0].iov_len;
	enum step step;

	if (chunked && asked == payload_left(c->taking))
		iov[1] = own_room(c);
	step = receive(c, iov, iov[1].iov_len > 0 ? 2 : 1, &got);
	if (step != STEP_ON)
		return step;
	direct = MIN(got, asked);
	c->in->len += got - direct;
	turn->bytes -= direct;
	step = took(c, room, direct);
	/* A short read has emptied the socket. */
	if (step == STEP_ON && got < asked && !c->taking->over)
		return STEP_TIRED;
	return step;
}

static enum step take_payload(struct conn *c, struct conn_turn *turn)
{
	uint64_t left = payload_left(c->taking);
	struct conn_input *in = c->in;
	size_t len = 0;
	void *room = c->taking->taker->room(c->request, &len);

	if (c->phase != CONN_BODY)
		return STEP_LOST;
	if (!room)
		return STEP_FULL;
	assert(len > 0);
	len = (size_t)MIN(left, (uint64_t)len);
	if (!buffered(c))
		return read_payload(c, room, len, turn);
	len = MIN(len, buffered(c));
	memcpy(room, in->bytes + in->used, len);
	in->used += len;
	return took(c, room, len);
}

/* ---- steps ---- */

/* A client that has sent some of the body already does not wait for it. */
static void begin(struct conn *c)
{
	struct conn_taking *t = c->taking;

	t->began = true;
	t->head_len = c->in->used;
	if (c->in->head.expect_continue && !buffered(c))
		t->to_say = HUNDRED_LEN;
}

/* False: the socket has no room for it now, or the connection ended. */
static bool say_continue(struct conn *c)
{
	struct conn_taking *t = c->taking;
	ssize_t n;

	if (t->said == t->to_say)
		return true;
	n = send(c->fd, hundred + t->said, t->to_say - t->said,
		 MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		conn_break(c);
		return false;
	}
	t->said += (size_t)MAX(n, 0);
	if (t->said == t->to_say)
		return true;
	conn_watch(c, CONN_WATCH_WRITE);
	conn_deadline_in(c, conn_limit(&c->server->conn_limits.body_stall_ms));
	return false;
}

static enum step step(struct conn *c, struct conn_turn *turn)
{
	if (payload_left(c->taking) && (buffered(c) || turn->bytes))
		return take_payload(c, turn);
	if (c->taking->chunked && buffered(c))
		return feed_framing(c);
	if (turn->bytes == 0)
		return STEP_TIRED;
	return read_framing(c, turn);
}

static void wait_for_bytes(struct conn *c)
{
	conn_watch(c, CONN_WATCH_READ);
	conn_deadline_in(c, conn_limit(&c->server->conn_limits.body_stall_ms));
}

bool conn_take_body(struct conn *c, struct conn_turn *turn)
{
	struct conn_taking *t = c->taking;
	enum step s = STEP_ON;

	if (!t->began && t->left > t->max) {
		(void)too_big(c);
		return true;
	}
	if (!t->began)
		begin(c);
	if (!say_continue(c))
		return false;
	while (s == STEP_ON && !t->over)
		s = step(c, turn);
	switch (s) {
	case STEP_ON:
		end(c);
		return true;
	case STEP_LOST:
		return c->phase != CONN_CLOSED;
	case STEP_TIRED:
		wait_for_bytes(c);
		return false;
	case STEP_FULL:
		break;
	}
	conn_watch(c, CONN_WATCH_GONE);
	conn_deadline(c, CONN_NEVER);
	return false;
}

/* ---- for the handlers ---- */

void conn_read_body(struct conn *c, const struct body_taker *taker,
		    uint64_t max_bytes)
{
	const struct http_head *head = &c->in->head;
	struct conn_taking *t = xcalloc(1, sizeof(*t));

	assert(c->magic == CONN_MAGIC);
	assert(c->phase == CONN_HANDLE && !c->taking);
	loop_assert(c->loop);
	c->taking = t;
	t->taker = taker;
	t->max = max_bytes;
	t->chunked = head->chunked;
	t->left = head->content_length;
	t->over = !t->chunked && t->left == 0;
	http_chunked_init(&t->chunks);
	c->phase = CONN_BODY;
	/* Inside request_start() the turn goes on by itself. */
	if (!c->starting)
		conn_wake(c);
}

void conn_resume_body(struct conn *c)
{
	assert(c->magic == CONN_MAGIC);
	loop_assert(c->loop);
	if (c->phase == CONN_BODY)
		conn_wake(c);
}

bool conn_has_body(const struct conn *c)
{
	return c->has_body;
}

uint64_t conn_body_taken(const struct conn *c)
{
	return c->taking ? c->taking->taken : 0;
}
