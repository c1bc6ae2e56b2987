/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_LOOP_H
#define PROXY_LOOP_H
/*
 * A thread with a libevent base and a mailbox.  Serve loops, the fetch loop
 * and the acceptor are each one of these.
 *
 * Crossing threads is a message to a mailbox that carries a handle (slot and
 * generation), never a bare pointer: the object may have gone when the
 * message arrives, and then `run` is called with NULL so that the message can
 * give back what it carries.
 *
 * What a callback may see is freed at the end of the loop turn: loop_defer().
 */
#include "cache/base.h"

struct event_base;
struct event;
struct loop;

/* Names one object of one loop; a plain value, copied into messages. */
struct handle {
	uint32_t slot;
	uint32_t generation; /* 0: names nothing */
};

struct message {
	STAILQ_ENTRY(message) link;
	struct handle to;
	uint32_t magic; /* of the object `to` names; 0 = no object */
	/* The receiving loop's thread.  `object` is NULL if it has gone (or
	 * `to` names nothing).  `run` owns the message's memory. */
	void (*run)(struct message *msg, void *object);
};

/* Make a loop and its base; `name` (up to 15 bytes) becomes the thread's.
 * Aborts if the kernel refuses an eventfd: start-up only. */
struct loop *loop_new(const char *name) MUST_CHECK;
/* Start its thread, which runs until loop_stop(). */
void loop_start(struct loop *l);
/* Have `fn(arg)` called on the loop's thread as it ends, after everything
 * else, to give back what belongs to the thread.  Before loop_start(). */
void loop_on_end(struct loop *l, void (*fn)(void *arg), void *arg);
/* Ask it to end after the mailbox is empty and join it.  Main thread. */
void loop_stop(struct loop *l);
/* After loop_stop().  Messages that are left are run with NULL objects. */
void loop_free(struct loop **l);

struct event_base *loop_base(struct loop *l);
/* The loop of the calling thread, or NULL. */
struct loop *loop_current(void);
/* Asserts that the calling thread is l's. */
void loop_assert(const struct loop *l);
/* Monotonic milliseconds as of this turn of the loop; cheap. */
uint64_t loop_now_ms(struct loop *l);

/* Register an object, so that messages can name it.  Own loop. */
struct handle loop_register(struct loop *l, void *object, uint32_t magic);
void loop_unregister(struct loop *l, struct handle *h);
/* NULL if it has gone; asserts on a wrong magic.  Own loop. */
void *loop_lookup(struct loop *l, struct handle h, uint32_t magic);

/* Queue a message; first in, first out from each sender.  Any thread. */
void loop_post(struct loop *l, struct message *STEALS msg);

/* Post a call: run `fn(arg)` on the loop, whatever lives.  Any thread. */
void loop_call(struct loop *l, void (*fn)(void *arg), void *arg);

/* Run `fn(arg)` at the end of this turn, after every callback.  Own loop. */
void loop_defer(struct loop *l, void (*fn)(void *arg), void *arg);

/*
 * Bulk work, as the bytes of downloads: what would keep the loop from its
 * small requests stands in one queue, and each turn of the loop moves about
 * LOOP_BULK_BYTES of it, first come first served.  So a turn is as short beside
 * sixty downloads as beside one, and one alone still gets long calls.
 *
 * Embed; set `run` once.  It is given what it may move and returns what it
 * has; if there is more, it queues itself again, behind the others.  It may
 * queue and cancel whatever it likes, and defer the end of its own memory.
 */
#define LOOP_BULK_BYTES (2 * MIB)
struct bulk {
	TAILQ_ENTRY(bulk) link;
	bool queued;
	uint64_t round; /* in which it was queued */
	uint64_t (*run)(struct bulk *b, uint64_t bytes);
};
/* No effect on one that is queued.  Own loop. */
void loop_bulk_queue(struct loop *l, struct bulk *b);
/* Before the memory goes; no effect on one that is not.  Own loop. */
void loop_bulk_cancel(struct loop *l, struct bulk *b);

/*
 * One-shot timers.  Embed; timer_init once, timer_set as often as wanted
 * (re-arms), timer_clear before the memory goes.  Own loop.
 */
struct timer {
	struct event *ev;
	struct loop *loop;
	void (*fire)(void *arg);
	void *arg;
};
void timer_init(struct timer *t, struct loop *l, void (*fire)(void *arg),
		void *arg);
void timer_set(struct timer *t, uint64_t ms);
void timer_clear(struct timer *t); /* stop; may be set again */
void timer_release(struct timer *t);
bool timer_is_set(const struct timer *t);

#endif
