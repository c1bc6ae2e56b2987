/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_CONN_H
#define PROXY_CONN_H
/*
 * One client connection on one serve loop: recv, the strict head parser, one
 * request at a time, sendmsg and sendfile, deadlines.
 *
 * Phases, and what is legal in each
 *
 *   HEAD      reading a head.  Deadline: `idle` until its first byte, then
 *             `head`, absolute: a byte now and then does not extend it.
 *   HANDLE    the request is with request.c.  Reading has stopped (pipelined
 *             bytes stay in the socket); only the peer's leaving is watched.
 *             A half-close is not leaving: such a peer still reads.
 *             -> conn_reply()
 *   BODY      request.c asked for the request's body (conn_read_body); it is
 *             read as its taker has room.  Deadline: `body_stall` since the
 *             last byte while the taker has room; none while it has not, but
 *             then the peer's leaving is watched.  At its end HANDLE again.
 *             A reply may come before the end: the rest is thrown away.
 *   SEND      head and body go out.  Deadline: `write_stall` since the last
 *             byte the peer took; none while the body waits, but then a peer
 *             that has closed its side counts as gone.  -> conn_wake()
 *   LINGER    an early reply to a body we will not read, or a last reply:
 *             shutdown(SHUT_WR), discard what comes, bounded in time and
 *             bytes, then close, so that the client sees the reply and not a
 *             reset.
 *   CLOSED    freed at the end of the loop turn.
 *
 * A turn sends at most CONN_TURN_BYTES.  A longer reply goes on as bulk work of
 * its loop, as do bodies of requests, and the loop shares out how much of that
 * each of its turns does, so that small requests keep their latency beside
 * large downloads and uploads.
 */
#include "proxy/body.h"
#include "proxy/http_parse.h"
#include "proxy/loop.h"

struct conn;
struct request;
struct server;

/* What the connection layer needs of the configuration; refreshed by
 * SIGHUP, read when each deadline is set. */
struct conn_limits {
	uint64_t head_ms, idle_ms, write_stall_ms, linger_ms; /* atomic */
	uint64_t body_stall_ms;                               /* atomic */
	uint64_t max_head_bytes; /* atomic; 0, or past it: HTTP_HEAD_MAX */
};

/* How one listener's connections differ. */
struct listener_role {
	const char *mirror_of; /* NULL: every row of names.h's table */
	bool metrics_only;
};

/*
 * Take over an accepted socket (non-blocking, TCP_NODELAY set on it or on its
 * listener), which the caller has counted in the serve loop's n_conns.  Serve
 * loop's thread.  `role` outlives it.
 */
void conn_accept(struct server *srv, struct loop *l, int fd,
		 const struct listener_role *role);

/* ---- what request.c and the handlers call, on the loop ---- */

/*
 * The reply: `head` (the complete head, with its final empty line; copied)
 * and the body (NULL: none; for HEAD the head only).  Exactly once for each
 * request, in phase HANDLE.  `close`: the connection ends after it (the head
 * says so already).  When the last byte is taken or the connection breaks,
 * request_sent() is called.
 */
void conn_reply(struct conn *c, const char *head, size_t head_len,
		struct body *STEALS body, bool close);
/* A body that answered BODY_WAIT can go on.  Cheap; any number of times. */
void conn_wake(struct conn *c);

/*
 * Who takes the body of a request.  `room` lends *len > 0 bytes of memory to
 * fill, at once or not at all, or NULL with no room now: then nothing is read
 * until conn_resume_body().  `took` says how many of them were filled (payload
 * only; the chunked coding is taken off).  At the end exactly one of
 *   `end`     the body is whole
 *   `broken`  it will not be, and `status` is what to answer: 400 (the framing
 *             is wrong, or the peer closed its side early), 408 (it stalled
 *             past its deadline), 413 (it is longer than was allowed)
 * and neither once a reply was sent, or request_gone() was called: a peer that
 * has gone gets no answer.  Own loop; callbacks may call conn_reply().
 */
struct body_taker {
	void *(*room)(struct request *r, size_t *len);
	void (*took)(struct request *r, size_t len);
	void (*end)(struct request *r);
	void (*broken)(struct request *r, unsigned status,
		       const char *sentence);
};

/*
 * Read the body, in phase HANDLE, at most once.  A client that waits for
 * "100 Continue" gets it now.  With neither a length nor chunks `end` is
 * called at once (from the end of this turn).  `taker` is static memory.
 * A body of more than `max_bytes` is `broken` with status 413 (before a byte
 * of it is taken, where its length says so).
 */
void conn_read_body(struct conn *c, const struct body_taker *taker,
		    uint64_t max_bytes);
/* There is room again.  Cheap; any number of times. */
void conn_resume_body(struct conn *c);
/* Payload bytes of the body that were taken; 0 before conn_read_body(). */
uint64_t conn_body_taken(const struct conn *c);

/* End the connection here and now, in the middle of whatever it is: the
 * request that runs hears of it as of a peer that has gone.  Not from inside
 * request_start(). */
void conn_cut(struct conn *c);

struct loop *conn_loop(struct conn *c);
struct server *conn_server(struct conn *c);
const struct listener_role *conn_role(const struct conn *c);
/* The peer, "192.0.2.1:4711" or "[2001:db8::1]:4711"; lives with c. */
const char *conn_peer(const struct conn *c);
bool conn_peer_is_loopback(const struct conn *c);
/* Bytes of the running reply's body that the socket took. */
uint64_t conn_sent(const struct conn *c);
/* Does this request have a body we have not read? (405 and close) */
bool conn_has_body(const struct conn *c);

/* ---- what request.c provides to the connection ---- */

/* A head was read: handle it.  `head` and what it points to live until
 * request_sent() or request_gone().  May call conn_reply() at once. */
struct request *request_start(struct conn *c, const struct http_head *head);
/* The head was refused by the parser, or late: answer with this status. */
void request_refuse(struct conn *c, unsigned status, const char *sentence);
/* The reply is over: `whole` if the peer's kernel took all of it.  The
 * request is freed. */
void request_sent(struct request *r, bool whole, uint64_t body_bytes);
/* The peer has gone before conn_reply() was called.  The request is freed
 * after it has let go of what it waits for. */
void request_gone(struct request *r);

/* ---- all connections of a loop ---- */

/* Finish: idle ones close now, busy ones after their reply (which says
 * Connection: close from now on).  Own loop. */
void conns_drain(struct server *srv, struct loop *l);
/* Own loop, at the end: cut what is left. */
void conns_cut(struct server *srv, struct loop *l);
/* Is the server draining? (Connection: close)  Any thread. */
bool conn_is_draining(const struct conn *c);

#endif
