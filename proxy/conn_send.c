/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/conn_int.h"
#include "proxy/sink.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

/* ---- the write-stall deadline ---- */

/*
 * A kernel says "writable" only when a good part of its buffer is free, which
 * for a slow but living reader can take longer than the deadline.  So the
 * deadline ticks some times in its length and looks at what the peer has
 * acknowledged.
 */
#define STALL_TICKS 4

static uint64_t stall_ms(const struct conn *c)
{
	return conn_limit(&c->server->conn_limits.write_stall_ms);
}

static void stall_tick(struct conn *c)
{
	uint64_t tick = stall_ms(c) / STALL_TICKS;

	conn_deadline(c, loop_now_ms(c->loop) + MAX(tick, 1));
}

static void note_taken(struct conn *c)
{
	c->taken_ms = loop_now_ms(c->loop);
	c->unacked = -1;
}

bool conn_is_stalled(struct conn *c)
{
	uint64_t now = loop_now_ms(c->loop);
	int unacked = 0;

	if (ioctl(c->fd, SIOCOUTQ, &unacked) == 0 && unacked != c->unacked) {
		/* The first look only says where it stands. */
		if (c->unacked >= 0)
			c->taken_ms = now;
		c->unacked = unacked;
	}
	if (now - c->taken_ms >= stall_ms(c))
		return true;
	stall_tick(c);
	return false;
}

/* ---- sending ---- */

static struct sink sink_open(struct conn *c, const struct conn_turn *turn)
{
	return (struct sink){
	    .fd = c->fd,
	    .budget = turn->bytes,
	    .head = c->head + c->head_at,
	    .head_len = c->head_len - c->head_at,
	    .corked = c->corked,
	};
}

static void sink_close(struct conn *c, const struct sink *s,
		       struct conn_turn *turn)
{
	size_t head_at = c->head_len - s->head_len;

	if (s->sent > 0 || head_at > c->head_at)
		note_taken(c);
	c->head_at = head_at;
	c->sent += s->sent;
	c->corked = s->corked;
	turn->bytes = s->budget;
}

static enum body_state send_body(struct conn *c, struct sink *s)
{
	enum body_state state = BODY_END;

	if (c->body && !c->body_ended)
		state = c->body->ops->send(c->body, s);
	if (state == BODY_END)
		c->body_ended = true;
	/* Whose body is cut before its head has left gets neither. */
	if (state == BODY_CUT)
		return BODY_CUT;
	/* A head never waits for its body's first byte. */
	sink_head(s, false);
	if (s->broken)
		return BODY_CUT;
	return s->head_len > 0 ? BODY_MORE : state;
}

bool conn_send_some(struct conn *c, struct conn_turn *turn)
{
	struct sink s = sink_open(c, turn);
	enum body_state state = send_body(c, &s);

	if (state == BODY_END || state == BODY_WAIT)
		sink_uncork(&s);
	sink_close(c, &s, turn);
	switch (state) {
	case BODY_END:
		conn_next(c);
		return true;
	case BODY_CUT:
		conn_break(c);
		return false;
	case BODY_WAIT:
		/* Others have deadlines for what the body waits for. */
		conn_watch(c, CONN_WATCH_GONE);
		conn_deadline(c, CONN_NEVER);
		if (conn_peer_left(c)) /* its FIN came before the wait */
			conn_break(c);
		return false;
	case BODY_MORE:
		break;
	}
	if (c->watch != CONN_WATCH_WRITE)
		note_taken(c); /* what came before was not the peer's doing */
	conn_watch(c, CONN_WATCH_WRITE);
	stall_tick(c);
	if (!s.full)
		conn_yield(c); /* no edge would come */
	return false;
}

void conn_reply_release(struct conn *c, bool whole)
{
	struct request *request = c->request;

	c->request = NULL;
	body_free(&c->body);
	free(c->taking);
	c->taking = NULL;
	free(c->head);
	c->head = NULL;
	c->head_len = c->head_at = 0;
	if (request)
		request_sent(request, whole, c->sent);
}

/* ---- for the handlers and the bodies ---- */

static void on_wake(void *arg)
{
	struct conn *c = arg;

	c->wake_queued = false;
	/* One that waits for its socket has been woken for nothing. */
	if ((c->phase == CONN_SEND && c->watch != CONN_WATCH_WRITE) ||
	    (c->phase == CONN_BODY && c->watch != CONN_WATCH_READ))
		conn_go_on(c);
}

/* At the end of the turn: who wakes us is in the middle of something, and
 * sending may well free what it holds. */
void conn_wake(struct conn *c)
{
	assert(c->magic == CONN_MAGIC);
	loop_assert(c->loop);
	if ((c->phase != CONN_SEND && c->phase != CONN_BODY) || c->wake_queued)
		return;
	c->wake_queued = true;
	loop_defer(c->loop, on_wake, c);
}

void conn_reply(struct conn *c, const char *head, size_t head_len,
		struct body *body, bool close)
{
	assert(c->magic == CONN_MAGIC);
	assert(c->phase == CONN_HANDLE || c->phase == CONN_BODY);
	assert(head_len > 0);
	loop_assert(c->loop);
	/* What more comes of the body is nobody's until LINGER. */
	if (c->phase == CONN_BODY)
		conn_watch(c, CONN_WATCH_GONE);
	c->phase = CONN_SEND;
	c->close_after = c->close_after || close;
	c->head = xmemdup(head, head_len);
	c->head_len = head_len;
	c->head_at = 0;
	c->body = body;
	c->body_ended = false;
	c->sent = 0;
	if (body)
		body->conn = c;
	/* Inside request_start() the turn goes on by itself. */
	if (!c->starting)
		conn_wake(c);
}

uint64_t conn_sent(const struct conn *c)
{
	return c->sent;
}
