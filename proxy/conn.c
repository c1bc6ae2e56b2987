/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/conn_impl.h"
#include "proxy/metrics.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define INPUT_FIRST_BYTES 4096
/* The first byte of a TLS record that carries a handshake. */
#define TLS_HANDSHAKE 0x16

uint64_t conn_limit(const uint64_t *option)
{
	return __atomic_load_n(option, __ATOMIC_RELAXED);
}

/* ---- watching the socket and the clock ---- */

static void on_io(evutil_socket_t fd, short what, void *arg);
static void on_clock(evutil_socket_t fd, short what, void *arg);

void conn_watch(struct conn *c, enum conn_watch watch)
{
	static const short flags[] = {
	    [CONN_WATCH_READ] = EV_READ | EV_PERSIST,
	    [CONN_WATCH_WRITE] = EV_WRITE | EV_ET | EV_PERSIST,
	    [CONN_WATCH_GONE] = EV_READ | EV_ET | EV_PERSIST,
	};
	int rc;

	if (watch == c->watch)
		return;
	if (c->watch != CONN_WATCH_NOTHING)
		event_del(&c->io);
	c->watch = watch;
	if (watch == CONN_WATCH_NOTHING)
		return;
	rc = event_assign(&c->io, loop_base(c->loop), c->fd, flags[watch],
			  on_io, c);
	assert(rc == 0);
	/* epoll_ctl(ADD) wants a little kernel memory and finds it, or the
	 * machine is past help. */
	rc = event_add(&c->io, NULL);
	assert(rc == 0);
	(void)rc;
}

static void clock_arm(struct conn *c, uint64_t at_ms)
{
	uint64_t now = loop_now_ms(c->loop);
	uint64_t ms = at_ms > now ? at_ms - now : 0;
	struct timeval tv;

	ms = MIN(ms, (uint64_t)86400 * 1000);
	tv.tv_sec = (time_t)(ms / 1000);
	tv.tv_usec = (suseconds_t)(ms % 1000 * 1000);
	c->clock_ms = at_ms;
	evtimer_add(&c->clock, &tv);
}

void conn_deadline(struct conn *c, uint64_t at_ms)
{
	c->deadline_ms = at_ms;
	if (at_ms < c->clock_ms)
		clock_arm(c, at_ms);
}

void conn_deadline_in(struct conn *c, uint64_t ms)
{
	uint64_t now = loop_now_ms(c->loop);

	conn_deadline(c, ms < CONN_NEVER - now ? now + ms : CONN_NEVER);
}

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
 * A FIN says only that no request will follow; `shutdown(SHUT_WR)` after the
 * last one is legal, and its sender still gets the reply.  But once a reply
 * has begun and waits for its next bytes, a FIN is almost always a client that
 * has closed, and no write would tell for as long as the wait lasts: there it
 * counts as leaving, so that nobody fetches for it.
 */
bool conn_peer_left(const struct conn *c)
{
	struct tcp_info info;
	socklen_t len = sizeof(int);
	int error = 0;

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 ||
	    error != 0)
		return true;
	len = sizeof(info);
	return c->phase == CONN_SEND &&
	       getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
	       info.tcpi_state == TCP_CLOSE_WAIT;
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

static void on_io(evutil_socket_t fd, short what, void *arg)
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

static void expired(struct conn *c)
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

static void on_clock(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;
	uint64_t at = c->deadline_ms;

	(void)fd;
	(void)what;
	assert(c->magic == CONN_MAGIC);
	c->clock_ms = CONN_NEVER;
	if (at == CONN_NEVER)
		return;
	if (loop_now_ms(c->loop) < at) {
		clock_arm(c, at);
		return;
	}
	c->deadline_ms = CONN_NEVER;
	expired(c);
}

void conn_turns_init(struct conn *c)
{
	c->bulk.run = on_bulk;
	c->clock_ms = c->deadline_ms = CONN_NEVER;
	evtimer_assign(&c->clock, loop_base(c->loop), on_clock, c);
}
