/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turns: what a connection does when its socket, its clock or the loop's share
 * of bulk work says so, one phase after the other; and the reading of heads.
 * All that a small request passes through but its handler and its reply is
 * here, in one unit.
 */
#include "proxy/conn_int.h"
#include "proxy/metrics.h"

#include <errno.h>
#include <sys/socket.h>

#define INPUT_FIRST_BYTES 4096
/* The first byte of a TLS record that carries a handshake. */
#define TLS_HANDSHAKE 0x16

/* ---- requests ---- */

static void begin_handling(struct conn *c)
{
	c->phase = CONN_HANDLE;
	c->head_began = false;
	c->request = NULL;
	c->close_after = false;
	c->has_body = false;
	conn_deadline(c, CONN_NEVER);
}

static void refuse(struct conn *c, unsigned status, const char *sentence)
{
	begin_handling(c);
	c->close_after = true;
	c->starting = true;
	request_refuse(c, status, sentence);
	c->starting = false;
	assert(c->phase == CONN_SEND);
}

static void start(struct conn *c)
{
	const struct http_head *head = &c->in->head;
	struct request *request;

	begin_handling(c);
	c->has_body = head->chunked || head->content_length > 0;
	/* Until somebody has read that body, where the next request begins is
	 * unknown. */
	c->close_after = c->has_body || !head->keep_alive;
	c->starting = true;
	request = request_start(c, head);
	c->starting = false;
	c->request = request;
	if (c->phase == CONN_HANDLE)
		conn_watch(c, CONN_WATCH_GONE);
}

/* The bytes in `in` do not make a head yet. */
static void want_more(struct conn *c)
{
	conn_watch(c, CONN_WATCH_READ);
	if (c->head_began)
		return;
	c->head_began = true;
	conn_deadline_in(c, conn_limit(&c->server->conn_limits.head_ms));
}

static uint64_t head_max(const struct conn *c)
{
	uint64_t max = conn_limit(&c->server->conn_limits.max_head_bytes);

	return max > 0 && max < HTTP_HEAD_MAX ? max : HTTP_HEAD_MAX;
}

/* True: a request or a refusal is under way. */
static bool parse(struct conn *c)
{
	struct conn_input *in = c->in;
	struct http_refusal refusal;
	enum http_progress progress;

	/* Clients that try https first wait until we hang up; and they tell
	 * their users what is wrong if they are answered in HTTP. */
	if ((unsigned char)in->bytes[0] == TLS_HANDSHAKE) {
		refuse(c, 400,
		       "this port speaks HTTP, and the client tried HTTPS");
		return true;
	}
	progress = http_head_parse(in->bytes, in->len, &in->scan, &in->head,
				   &in->used, &refusal);
	if ((progress == HTTP_MORE && in->len >= head_max(c)) ||
	    (progress == HTTP_DONE && in->used > head_max(c))) {
		refuse(c, 431, "the request's head is too long");
		return true;
	}
	switch (progress) {
	case HTTP_MORE:
		want_more(c);
		return false;
	case HTTP_REFUSED:
		refuse(c, refusal.status, refusal.text);
		return true;
	case HTTP_DONE:
		break;
	}
	start(c);
	return true;
}

void conn_next(struct conn *c)
{
	struct conn_input *in = c->in;

	conn_reply_release(c, true);
	c->answered = true;
	if (c->close_after || conn_is_draining(c)) {
		conn_linger(c);
		return;
	}
	c->phase = CONN_HEAD;
	in->len -= in->used;
	if (in->len == 0) {
		free(in);
		c->in = NULL;
		conn_deadline_in(c,
				 conn_limit(&c->server->conn_limits.idle_ms));
		return;
	}
	conn_deadline(c, CONN_NEVER);
	memmove(in->bytes, in->bytes + in->used, in->len);
	in->used = 0;
	in->scan = (struct http_scan){0};
}

/* In phase HEAD.  True: go on with the request. */
static bool next_head(struct conn *c, struct conn_turn *turn)
{
	if (!c->in) {
		conn_watch(c, CONN_WATCH_READ);
		return false;
	}
	if (turn->requests == 0) {
		conn_watch(c, CONN_WATCH_WRITE);
		conn_yield(c);
		return false;
	}
	turn->requests--;
	return parse(c);
}

static void go_on(struct conn *c, struct conn_turn *turn)
{
	bool more = true;

	while (more) {
		switch (c->phase) {
		case CONN_HEAD:
			more = next_head(c, turn);
			break;
		case CONN_SEND:
			more = conn_send_some(c, turn);
			break;
		case CONN_BODY:
			more = conn_take_body(c, turn);
			break;
		case CONN_HANDLE:
		case CONN_LINGER:
		case CONN_CLOSED:
			more = false;
			break;
		}
	}
}

void conn_go_on(struct conn *c)
{
	struct conn_turn turn = {
	    .bytes = CONN_TURN_BYTES,
	    .requests = CONN_TURN_REQUESTS,
	};

	go_on(c, &turn);
}

static uint64_t on_bulk(struct bulk *b, uint64_t bytes)
{
	struct conn *c = container_of(b, struct conn, bulk);
	struct conn_turn turn = {
	    .bytes = bytes,
	    .requests = CONN_TURN_REQUESTS,
	};

	assert(c->magic == CONN_MAGIC);
	go_on(c, &turn);
	return bytes - turn.bytes;
}

void conn_yield(struct conn *c)
{
	loop_bulk_queue(c->loop, &c->bulk);
}

/* ---- reading ---- */

static struct conn_input *input_room(struct conn_input *in)
{
	size_t cap = INPUT_FIRST_BYTES;

	if (in && in->len < in->cap)
		return in;
	if (in) {
		/* A full buffer of HTTP_HEAD_MAX is a head or a refusal. */
		assert(in->cap < HTTP_HEAD_MAX);
		cap = MIN(in->cap * 2, (size_t)HTTP_HEAD_MAX);
		in = xrealloc(in, sizeof(*in) + cap + CONN_INPUT_SLACK);
	} else {
		in = xmalloc(sizeof(*in) + cap + CONN_INPUT_SLACK);
		in->scan = (struct http_scan){0};
		in->used = in->len = 0;
	}
	in->cap = cap;
	return in;
}

static void on_readable(struct conn *c)
{
	struct conn_input *in;
	ssize_t n;

	/* A request's head lies in there, and must not move under it. */
	assert(c->phase == CONN_HEAD);
	in = c->in = input_room(c->in);
	n = recv(c->fd, in->bytes + in->len, in->cap - in->len, MSG_DONTWAIT);
	if (n > 0) {
		in->len += (size_t)n;
		conn_go_on(c);
		return;
	}
	if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		conn_close(c);
		return;
	}
	if (in->len == 0) {
		free(in);
		c->in = NULL;
	}
}

/*
 * Something happened while we wait for others: bytes (pipelined, they stay
 * where they are), the peer's FIN, or a reset.
 */
static void on_gone(struct conn *c)
{
	if (conn_peer_left(c))
		conn_break(c);
}

void conn_on_io(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	assert(c->magic == CONN_MAGIC);
	if (c->watch == CONN_WATCH_GONE)
		on_gone(c);
	else if (c->watch == CONN_WATCH_WRITE || c->phase == CONN_BODY)
		conn_yield(c);
	else if (c->phase == CONN_LINGER)
		conn_on_linger(c);
	else
		on_readable(c);
}

/* ---- deadlines ---- */

static void head_too_late(struct conn *c)
{
	if (!c->head_began) {
		conn_close(c); /* idle, or it never said a word */
		return;
	}
	metric_inc(METRIC_DEADLINES, METRIC_DEADLINE_HEAD);
	refuse(c, 408, "the request's head did not arrive in time");
	conn_go_on(c);
}

void conn_on_deadline(struct conn *c)
{
	switch (c->phase) {
	case CONN_HEAD:
		head_too_late(c);
		break;
	case CONN_SEND:
		if (!conn_is_stalled(c))
			break;
		metric_inc(METRIC_DEADLINES, METRIC_DEADLINE_WRITE_STALL);
		conn_break(c);
		break;
	case CONN_BODY:
		conn_body_late(c);
		break;
	case CONN_LINGER:
		conn_close(c);
		break;
	case CONN_HANDLE:
	case CONN_CLOSED:
		break;
	}
}

void conn_turns_init(struct conn *c)
{
	c->bulk.run = on_bulk;
}
