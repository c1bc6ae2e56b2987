/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_CONN_INT_H
#define PROXY_CONN_INT_H
/*
 * What conn.c (turns, reading heads), conn_wait.c (the socket and the clock),
 * conn_body.c (bodies of requests), conn_send.c (replies) and conn_life.c (the
 * beginning and the end) share.  Everybody else includes conn.h.
 */
#include "proxy/server.h"

#include <event2/event_struct.h>

/* One turn of a connection: so many body bytes, so many pipelined requests;
 * then the others have theirs, and what is left goes on as bulk work of the
 * loop (loop.h). */
#define CONN_TURN_BYTES (256 * KIB)
#define CONN_TURN_REQUESTS 16

#define CONN_MAGIC 0x636f6e6eu
#define CONN_NEVER UINT64_MAX
#define CONN_PEER_MAX 56 /* "[" 45 "]:" 5 NUL */

enum conn_phase {
	CONN_HEAD,
	CONN_HANDLE,
	CONN_BODY,
	CONN_SEND,
	CONN_LINGER,
	CONN_CLOSED
};

/* What the socket is watched for. */
enum conn_watch {
	CONN_WATCH_NOTHING,
	CONN_WATCH_READ,
	/* At its edge: one that stands in the loop's queue of bulk work would
	 * be reported writable in each turn. */
	CONN_WATCH_WRITE,
	/*
	 * The peer's leaving, while we do not read.  EV_CLOSED alone would not
	 * do: libevent reports EPOLLERR (a reset) as readable and writable
	 * only, nobody would take it, and epoll would spin.  Readable at its
	 * edge also fires once per packet that a pipelining peer sends, until
	 * its window is full.
	 */
	CONN_WATCH_GONE
};

/*
 * A head and what came with it.  It exists while there is something in it: an
 * idle connection has none.
 */
struct conn_input {
	struct http_head head; /* its spans point into bytes */
	struct http_scan scan;
	size_t used; /* length of the head that is handled, 0 = none */
	size_t len, cap;
	char bytes[]; /* cap, and CONN_INPUT_SLACK for what is behind a head */
};
#define CONN_INPUT_SLACK ((size_t)2048)

struct conn {
	uint32_t magic;
	int fd;
	enum conn_phase phase;
	enum conn_watch watch;
	LIST_ENTRY(conn) link; /* in serve->conns, until CLOSED */
	struct server *server;
	struct serve *serve;
	struct loop *loop;
	const struct listener_role *role;
	struct event io;
	struct bulk bulk; /* queued: the socket takes more, as far as we know */

	/* `clock` is armed for clock_ms, which may be before the deadline:
	 * moving a deadline away, as each request does, is one assignment. */
	struct event clock;
	uint64_t clock_ms, deadline_ms; /* CONN_NEVER */

	struct conn_input *in;
	bool head_began;         /* the head deadline runs */
	bool answered;           /* some request was, before this one */
	struct request *request; /* NULL in a refusal */
	bool starting;           /* inside request_start() */
	bool has_body;           /* that has not been read */
	bool close_after;
	struct conn_taking *taking; /* conn_body.c's; until the reply is over */

	char *head; /* of the reply; owned */
	size_t head_len, head_at;
	struct body *body;
	bool body_ended;
	bool corked;
	bool wake_queued;
	uint64_t sent; /* bytes of the body */

	/* The last time that the peer took something, and what its kernel had
	 * not yet acknowledged at the last look. */
	uint64_t taken_ms;
	int unacked;

	uint64_t lingered; /* bytes thrown away */
	bool peer_is_loopback;
	char peer[CONN_PEER_MAX];
};

/* What is left of this turn. */
struct conn_turn {
	uint64_t bytes;
	unsigned requests;
};

/* ---- conn.c ---- */

/* Do what can be done now: parse what is buffered, send what may be sent. */
void conn_go_on(struct conn *c);
/* Go on after the others. */
void conn_yield(struct conn *c);

/* The socket has something to say: as conn_watch() wanted it. */
void conn_on_io(evutil_socket_t fd, short what, void *arg);
/* The deadline of its phase has passed. */
void conn_on_deadline(struct conn *c);
void conn_turns_init(struct conn *c);
/* The reply is over, all of it: the next request, or the end. */
void conn_next(struct conn *c);

/* ---- conn_wait.c ---- */

void conn_wait_init(struct conn *c);
/* Nothing is waited for any more. */
void conn_wait_end(struct conn *c);
void conn_watch_anew(struct conn *c, enum conn_watch watch);
void conn_clock_arm(struct conn *c, uint64_t at_ms);

/* Each request says these again, mostly with what holds already: so they are
 * no calls. */
static inline void conn_watch(struct conn *c, enum conn_watch watch)
{
	if (watch != c->watch)
		conn_watch_anew(c, watch);
}

/* CONN_NEVER: none.  Replaces the one before. */
static inline void conn_deadline(struct conn *c, uint64_t at_ms)
{
	c->deadline_ms = at_ms;
	if (at_ms < c->clock_ms)
		conn_clock_arm(c, at_ms);
}

static inline void conn_deadline_in(struct conn *c, uint64_t ms)
{
	uint64_t now = loop_now_ms(c->loop);

	conn_deadline(c, ms < CONN_NEVER - now ? now + ms : CONN_NEVER);
}

/* A member of server->conn_limits; a reload may be writing it. */
static inline uint64_t conn_limit(const uint64_t *option)
{
	return __atomic_load_n(option, __ATOMIC_RELAXED);
}

/* ---- conn_body.c ---- */

/* Take what this turn allows.  True: its phase has changed, go on. */
bool conn_take_body(struct conn *c, struct conn_turn *turn);
/* The body-stall deadline is over. */
void conn_body_late(struct conn *c);

/* ---- conn_life.c ---- */

/* Nothing is under way: close, and free at the end of the turn. */
void conn_close(struct conn *c);
/* The peer has gone, or must go: tell the request, close. */
void conn_break(struct conn *c);
/* While we wait: has the peer gone for good? */
bool conn_peer_left(const struct conn *c);
/* Close so that the peer sees all that was sent: phase LINGER. */
void conn_linger(struct conn *c);
void conn_on_linger(struct conn *c);

/* ---- conn_send.c ---- */

/* Send what this turn allows.  True: the reply is over, go on; false: wait
 * for the socket, for the body, or for nothing any more. */
bool conn_send_some(struct conn *c, struct conn_turn *turn);
/* The write-stall deadline's tick.  True: the peer took nothing for so long
 * that it must go. */
bool conn_is_stalled(struct conn *c);
/* The reply is over or will never be: let go of everything about it. */
void conn_reply_release(struct conn *c, bool whole);

#endif
