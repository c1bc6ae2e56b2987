/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_RESOLVE_INT_H
#define PROXY_RESOLVE_INT_H
/*
 *   fetch loop                          resolver threads
 *   resolution ─► lookup (one a name) ──► queue ──► getaddrinfo(3)
 *        ◄── answered by lookup_home() ◄── message ──┘
 *
 * The table of lookups and everything in it belong to the fetch loop; the
 * queue, behind its mutex, holds tasks that carry their own copy of the name.
 *
 * A name not yet known to fail may hang all the same.  After `late_ms` its
 * thread is written off, and another one takes the place: of n threads that
 * are not late, n/2 at least are for names that have not failed.
 *
 * resolve.c is the left side, resolve_queue.c the right one.
 */
#include "proxy/resolve.h"

struct resolve_queue;

/* One call of getaddrinfo(3). */
struct resolve_task {
	struct message msg; /* the way home, by its `run` */
	STAILQ_ENTRY(resolve_task) link;
	struct resolve_queue *queue;
	char *host;
	bool failing;       /* its name did the last time */
	bool running, late; /* in getaddrinfo(3); under the queue's mu */
	struct resolved found;
	int error; /* EAI_* */
};

/*
 * Start `threads` threads.  What they have done comes home to `l`, as long as
 * the queue is not closed.
 */
struct resolve_queue *resolve_queue_new(struct loop *l, struct resolver *rs,
					unsigned threads) MUST_CHECK;
/* What still waits is dropped, what runs is not waited for: the last thread
 * frees the queue. */
void resolve_queue_close(struct resolve_queue **q);

/* Look this up; takes the task (and task->host) until it comes home. */
void resolve_queue_put(struct resolve_queue *q, struct resolve_task *STEALS t);

/*
 * It is late.  If it hangs in getaddrinfo(3) its thread is written off, and
 * true is returned; false: it waits in the queue, or is on its way home.
 */
bool resolve_queue_late(struct resolve_queue *q, struct resolve_task *t);

/* Of a task that has come home: the resolver, unless it has gone. */
struct resolver *resolve_task_resolver(struct resolve_task *t);
void resolve_task_free(struct resolve_task *t);

#endif
