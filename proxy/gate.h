/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_GATE_H
#define PROXY_GATE_H
/*
 * So many at once, the others in line: first come, first served.  The gate
 * only counts; who leaves it wakes those that may now enter.
 *
 *   gate_enter: false -> in line ... gate_next() returns the ticket: it is in
 *   gate_leave: out, or out of the line
 *
 * Zeroed storage is a fresh ticket.  One thread.
 */
#include "cache/base.h"

struct gate_ticket {
	TAILQ_ENTRY(gate_ticket) link;
	struct gate *gate; /* NULL: neither in nor in line */
	bool in;
};

struct gate {
	unsigned running;
	TAILQ_HEAD(, gate_ticket) line;
};

static inline void gate_init(struct gate *g)
{
	g->running = 0;
	TAILQ_INIT(&g->line);
}

/* True: `t` is in now.  False: it waits. */
static inline bool gate_enter(struct gate *g, unsigned limit,
			      struct gate_ticket *t)
{
	assert(!t->gate);
	t->gate = g;
	t->in = g->running < limit && TAILQ_EMPTY(&g->line);
	if (t->in)
		g->running++;
	else
		TAILQ_INSERT_TAIL(&g->line, t, link);
	return t->in;
}

/* Does nothing for a ticket that is neither in nor in line. */
static inline void gate_leave(struct gate_ticket *t)
{
	struct gate *g = t->gate;

	if (!g)
		return;
	if (t->in)
		g->running--;
	else
		TAILQ_REMOVE(&g->line, t, link);
	t->gate = NULL;
	t->in = false;
}

/* Let the next in line in; NULL: nobody waits, or no room. */
static inline struct gate_ticket *gate_next(struct gate *g, unsigned limit)
{
	struct gate_ticket *t = TAILQ_FIRST(&g->line);

	if (!t || g->running >= limit)
		return NULL;
	TAILQ_REMOVE(&g->line, t, link);
	t->in = true;
	g->running++;
	return t;
}

#endif
