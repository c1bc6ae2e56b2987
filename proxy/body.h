/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_BODY_H
#define PROXY_BODY_H
/*
 * The body of a reply: something that can be asked to send its next bytes.
 * Memory, a stored file, a growing file, a multipart of those, or bytes that
 * pass through from an upstream: the connection knows none of them.
 *
 * A body belongs to one connection and its serve loop.  It never blocks: what
 * needs the disk or an upstream is asked of others, the body answers
 * BODY_WAIT and calls conn_wake() when it can go on.
 */
#include "cache/base.h"

/*
 * Where bytes go: the connection's socket, with the rest of this turn's
 * budget.  sink_memory() and sink_file() send at most `len` bytes and at most
 * the budget; they return what was taken, 0 when the socket is full or the
 * budget spent.  `more` says that other bytes follow at once (MSG_MORE).
 * A broken connection also returns 0; the connection knows, the body need not.
 */
struct sink;
size_t sink_memory(struct sink *s, const void *buf, size_t len, bool more);
size_t sink_file(struct sink *s, int fd, uint64_t off, uint64_t len, bool more);
uint64_t sink_budget(const struct sink *s);

enum body_state {
	BODY_MORE, /* there is more to send now: call again when writable */
	BODY_WAIT, /* nothing to send yet: conn_wake() will be called */
	BODY_END,  /* all of it has been taken */
	BODY_CUT,  /* it cannot be completed: cut the connection */
};

struct conn;
struct body;
struct body_ops {
	enum body_state (*send)(struct body *b, struct sink *s);
	/* The connection is done with it, sent or not. */
	void (*free)(struct body *b);
};

/* The first member of every kind of body. */
struct body {
	const struct body_ops *ops;
	struct conn *conn; /* set by conn_reply() */
	/* For the access line: a sum of the time in which an upstream's bytes
	 * were waited for, which lives longer than the body; NULL: no sum. */
	uint64_t *waited_us;
	uint64_t waits_since_us; /* 0: it does not */
};

/* An upstream's bytes are waited for from now on, and no more. */
static inline void body_waits(struct body *b)
{
	b->waits_since_us = now_us();
}
static inline void body_waits_no_more(struct body *b)
{
	if (b->waits_since_us && b->waited_us)
		*b->waited_us += now_us() - b->waits_since_us;
	b->waits_since_us = 0;
}

/* Takes `buf` (from malloc). */
struct body *body_memory(void *STEALS buf, size_t len) MUST_CHECK;

/*
 * [first, last] of a stored blob; takes over the pin.  Each window is brought
 * into the page cache by a worker before sendfile touches it, unless it is
 * there already.
 */
struct blob;
struct jobs;
struct body *body_file(struct jobs *jobs, struct blob *STEALS blob,
		       uint64_t first, uint64_t last) MUST_CHECK;

/* Bodies one after the other, as one; takes them and the array (from
 * malloc). */
struct body *body_chain(struct body **STEALS parts, size_t n) MUST_CHECK;

void body_free(struct body **b);

#endif
