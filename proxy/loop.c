/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/loop.h"

#include "proxy/thread.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/eventfd.h>
#include <unistd.h>

/*
 * A turn of the loop: one epoll_wait, the callbacks it brings (the mailbox is
 * one of them), what they deferred, then bulk work.  Each of the four is
 * bounded, so that none of them starves the others.
 */
#define MAIL_PER_TURN 64
/* The last one in a turn gets at least so much: a system call for the scraps
 * of a budget costs more than it moves. */
#define BULK_LEAST_BYTES (256 * KIB)

struct slot {
	void *object; /* NULL: free */
	uint32_t magic;
	uint32_t generation; /* of the object, or of the next one */
	uint32_t next_free;  /* slot + 1; 0 ends the list */
};

struct deferred {
	void (*fn)(void *arg);
	void *arg;
};

struct loop {
	char name[16];
	struct event_base *base;
	pthread_t thread;
	bool running; /* atomic: between loop_start() and the join */
	void (*on_end)(void *arg);
	void *on_end_arg;

	/* The mailbox.  `mu` guards `queue` and `stopping`. */
	pthread_mutex_t mu;
	STAILQ_HEAD(mail, message) queue;
	bool stopping;
	int wake_fd;
	struct event wake;
	struct mail inbox; /* taken from the queue, not yet run; own thread */

	struct slot *slots;
	uint32_t n_slots, free_slot; /* free_slot: slot + 1, 0 = none */

	struct deferred *deferred;
	size_t n_deferred, cap_deferred;

	TAILQ_HEAD(, bulk) bulk;
	uint64_t bulk_round;

	uint64_t turn_ms; /* 0: not asked for in this turn */
};

static __thread struct loop *current;

struct loop *loop_current(void)
{
	return current;
}

/* Before it starts and after it has ended a loop belongs to whoever holds
 * it: the main thread. */
void loop_assert(const struct loop *l)
{
	assert(current == l || !__atomic_load_n(&l->running, __ATOMIC_ACQUIRE));
	(void)l;
}

struct event_base *loop_base(struct loop *l)
{
	return l->base;
}

uint64_t loop_now_ms(struct loop *l)
{
	/* Taken at the first question and not before epoll_wait, which may
	 * have slept long. */
	if (l->turn_ms == 0)
		l->turn_ms = now_ms();
	return l->turn_ms;
}

/* ---- handles ---- */

static void slots_grow(struct loop *l)
{
	uint32_t n = l->n_slots ? l->n_slots * 2 : 64;

	assert(n > l->n_slots);
	l->slots = xrealloc(l->slots, n * sizeof(*l->slots));
	for (uint32_t i = n; i-- > l->n_slots;) {
		l->slots[i] = (struct slot){
		    .generation = 1,
		    .next_free = l->free_slot,
		};
		l->free_slot = i + 1;
	}
	l->n_slots = n;
}

struct handle loop_register(struct loop *l, void *object, uint32_t magic)
{
	struct slot *slot;
	struct handle h;

	loop_assert(l);
	assert(object && magic != 0);
	if (l->free_slot == 0)
		slots_grow(l);
	h.slot = l->free_slot - 1;
	slot = &l->slots[h.slot];
	l->free_slot = slot->next_free;
	slot->object = object;
	slot->magic = magic;
	h.generation = slot->generation;
	return h;
}

static struct slot *slot_of(struct loop *l, struct handle h)
{
	struct slot *slot;

	if (h.generation == 0 || h.slot >= l->n_slots)
		return NULL;
	slot = &l->slots[h.slot];
	if (!slot->object || slot->generation != h.generation)
		return NULL;
	return slot;
}

void loop_unregister(struct loop *l, struct handle *h)
{
	struct slot *slot;

	loop_assert(l);
	if (h->generation == 0)
		return;
	slot = slot_of(l, *h);
	assert(slot);
	slot->object = NULL;
	if (++slot->generation == 0)
		slot->generation = 1;
	slot->next_free = l->free_slot;
	l->free_slot = h->slot + 1;
	*h = (struct handle){0, 0};
}

void *loop_lookup(struct loop *l, struct handle h, uint32_t magic)
{
	struct slot *slot;

	loop_assert(l);
	slot = slot_of(l, h);
	if (!slot)
		return NULL;
	assert(slot->magic == magic);
	(void)magic;
	return slot->object;
}

/* ---- mailbox ---- */

static void wake(struct loop *l)
{
	uint64_t one = 1;
	ssize_t n;

	do {
		n = write(l->wake_fd, &one, sizeof(one));
	} while (n < 0 && errno == EINTR);
	/* EAGAIN: the counter is full, so the loop wakes anyway. */
	assert(n == (ssize_t)sizeof(one) || errno == EAGAIN);
}

void loop_post(struct loop *l, struct message *msg)
{
	bool was_empty;

	pthread_mutex_lock(&l->mu);
	was_empty = STAILQ_EMPTY(&l->queue);
	STAILQ_INSERT_TAIL(&l->queue, msg, link);
	pthread_mutex_unlock(&l->mu);
	/* Who finds letters in the box knows that the loop has been told. */
	if (was_empty)
		wake(l);
}

struct call {
	struct message msg;
	void (*fn)(void *arg);
	void *arg;
};

static void call_run(struct message *msg, void *object)
{
	struct call *call = container_of(msg, struct call, msg);
	void (*fn)(void *arg) = call->fn;
	void *arg = call->arg;

	(void)object;
	free(call);
	fn(arg);
}

void loop_call(struct loop *l, void (*fn)(void *arg), void *arg)
{
	struct call *call = xcalloc(1, sizeof(*call));

	call->msg.run = call_run;
	call->fn = fn;
	call->arg = arg;
	loop_post(l, &call->msg);
}

static void deliver(struct loop *l, struct message *msg)
{
	void *object = NULL;

	if (msg->magic != 0)
		object = loop_lookup(l, msg->to, msg->magic);
	msg->run(msg, object);
}

static void take_mail(struct loop *l)
{
	pthread_mutex_lock(&l->mu);
	STAILQ_CONCAT(&l->inbox, &l->queue);
	pthread_mutex_unlock(&l->mu);
}

static void on_mail(evutil_socket_t fd, short what, void *arg)
{
	struct loop *l = arg;
	struct message *msg;
	uint64_t count;
	ssize_t n;

	(void)what;
	/* Emptied before the queue is taken: a letter that comes between the
	 * two wakes us once too often, never once too seldom. */
	n = read(fd, &count, sizeof(count));
	assert(n == (ssize_t)sizeof(count) || errno == EAGAIN ||
	       errno == EINTR);
	take_mail(l);
	for (unsigned i = 0; i < MAIL_PER_TURN; i++) {
		msg = STAILQ_FIRST(&l->inbox);
		if (!msg)
			return;
		STAILQ_REMOVE_HEAD(&l->inbox, link);
		deliver(l, msg);
	}
	if (!STAILQ_EMPTY(&l->inbox))
		wake(l);
}

/* ---- deferred calls ---- */

void loop_defer(struct loop *l, void (*fn)(void *arg), void *arg)
{
	loop_assert(l);
	if (l->n_deferred == l->cap_deferred) {
		l->cap_deferred = l->cap_deferred ? l->cap_deferred * 2 : 64;
		l->deferred = xrealloc(l->deferred,
				       l->cap_deferred * sizeof(*l->deferred));
	}
	l->deferred[l->n_deferred++] = (struct deferred){fn, arg};
}

/* What these defer in their turn waits for the next one, or two of them that
 * wake each other would keep the sockets waiting for ever. */
static void run_deferred(struct loop *l)
{
	size_t n = l->n_deferred;

	for (size_t i = 0; i < n; i++) {
		struct deferred d = l->deferred[i];

		d.fn(d.arg);
	}
	l->n_deferred -= n;
	if (l->n_deferred > 0)
		memmove(l->deferred, l->deferred + n,
			l->n_deferred * sizeof(*l->deferred));
}

/* ---- bulk work ---- */

void loop_bulk_queue(struct loop *l, struct bulk *b)
{
	loop_assert(l);
	if (b->queued)
		return;
	b->queued = true;
	b->round = l->bulk_round;
	TAILQ_INSERT_TAIL(&l->bulk, b, link);
}

void loop_bulk_cancel(struct loop *l, struct bulk *b)
{
	loop_assert(l);
	if (!b->queued)
		return;
	b->queued = false;
	TAILQ_REMOVE(&l->bulk, b, link);
}

/* Who queues in this round waits for the next one, or one that can move
 * nothing would run for ever. */
static void run_bulk(struct loop *l)
{
	uint64_t left = LOOP_BULK_BYTES, moved;
	struct bulk *b;

	l->bulk_round++;
	while (left > 0 && (b = TAILQ_FIRST(&l->bulk)) &&
	       b->round != l->bulk_round) {
		loop_bulk_cancel(l, b);
		moved = b->run(b, MAX(left, BULK_LEAST_BYTES));
		left -= MIN(left, moved);
	}
}

/* ---- life ---- */

static struct event_base *base_new(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	if (config) {
		/* Only the loop's own thread touches the base. */
		event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
		event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV);
		event_config_require_features(config,
					      EV_FEATURE_ET | EV_FEATURE_O1);
		base = event_base_new_with_config(config);
		event_config_free(config);
	}
	if (!base) {
		fputs("entrepot: no event loop with epoll\n", stderr);
		abort();
	}
	return base;
}

struct loop *loop_new(const char *name)
{
	struct loop *l = xcalloc(1, sizeof(*l));
	int rc;

	snprintf(l->name, sizeof(l->name), "%s", name);
	pthread_mutex_init(&l->mu, NULL);
	STAILQ_INIT(&l->queue);
	STAILQ_INIT(&l->inbox);
	TAILQ_INIT(&l->bulk);
	l->base = base_new();
	l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (l->wake_fd < 0) {
		perror("entrepot: eventfd");
		abort();
	}
	rc = event_assign(&l->wake, l->base, l->wake_fd, EV_READ | EV_PERSIST,
			  on_mail, l);
	assert(rc == 0);
	rc = event_add(&l->wake, NULL);
	assert(rc == 0);
	(void)rc;
	return l;
}

static bool is_finished(struct loop *l)
{
	bool finished;

	pthread_mutex_lock(&l->mu);
	finished = l->stopping && STAILQ_EMPTY(&l->queue);
	pthread_mutex_unlock(&l->mu);
	return finished && STAILQ_EMPTY(&l->inbox) && l->n_deferred == 0;
}

static void *loop_main(void *arg)
{
	struct loop *l = arg;

	current = l;
	while (!is_finished(l)) {
		int flags = EVLOOP_ONCE;

		if (l->n_deferred > 0 || !TAILQ_EMPTY(&l->bulk))
			flags |= EVLOOP_NONBLOCK;
		l->turn_ms = 0;
		event_base_loop(l->base, flags);
		run_deferred(l);
		run_bulk(l);
	}
	if (l->on_end)
		l->on_end(l->on_end_arg);
	current = NULL;
	return NULL;
}

void loop_on_end(struct loop *l, void (*fn)(void *arg), void *arg)
{
	assert(!l->running);
	l->on_end = fn;
	l->on_end_arg = arg;
}

void loop_start(struct loop *l)
{
	assert(!l->running);
	__atomic_store_n(&l->running, true, __ATOMIC_RELEASE);
	l->thread = thread_start(l->name, loop_main, l);
}

void loop_stop(struct loop *l)
{
	if (!__atomic_load_n(&l->running, __ATOMIC_ACQUIRE))
		return;
	pthread_mutex_lock(&l->mu);
	l->stopping = true;
	pthread_mutex_unlock(&l->mu);
	wake(l);
	thread_join(l->thread);
	l->turn_ms = 0;
	__atomic_store_n(&l->running, false, __ATOMIC_RELEASE);
}

/* Letters of senders that outlive the loop (late `done`s of jobs) free what
 * they carry; some of that may be deferred, or write once more. */
static void flush(struct loop *l)
{
	struct message *msg;

	do {
		take_mail(l);
		while ((msg = STAILQ_FIRST(&l->inbox))) {
			STAILQ_REMOVE_HEAD(&l->inbox, link);
			msg->run(msg, NULL);
		}
		run_deferred(l);
		take_mail(l);
	} while (!STAILQ_EMPTY(&l->inbox) || l->n_deferred > 0);
}

void loop_free(struct loop **loop)
{
	struct loop *l = *loop, *before = current;

	if (!l)
		return;
	assert(!l->running && TAILQ_EMPTY(&l->bulk));
	current = l;
	flush(l);
	current = before;
	event_del(&l->wake);
	event_base_free(l->base);
	close(l->wake_fd);
	pthread_mutex_destroy(&l->mu);
	free(l->slots);
	free(l->deferred);
	free(l);
	*loop = NULL;
}

/* ---- timers ---- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct timer *t = arg;

	(void)fd;
	(void)what;
	t->fire(t->arg);
}

void timer_init(struct timer *t, struct loop *l, void (*fire)(void *arg),
		void *arg)
{
	loop_assert(l);
	t->loop = l;
	t->fire = fire;
	t->arg = arg;
	t->ev = evtimer_new(l->base, on_timer, t);
	assert(t->ev);
}

void timer_set(struct timer *t, uint64_t ms)
{
	struct timeval tv;
	int rc;

	loop_assert(t->loop);
	/* libevent refuses absurd times; a year is never, here. */
	ms = MIN(ms, (uint64_t)365 * 86400 * 1000);
	tv.tv_sec = (time_t)(ms / 1000);
	tv.tv_usec = (suseconds_t)(ms % 1000 * 1000);
	rc = evtimer_add(t->ev, &tv);
	assert(rc == 0);
	(void)rc;
}

void timer_clear(struct timer *t)
{
	loop_assert(t->loop);
	evtimer_del(t->ev);
}

void timer_release(struct timer *t)
{
	if (!t->ev)
		return;
	loop_assert(t->loop);
	event_free(t->ev);
	t->ev = NULL;
}

bool timer_is_set(const struct timer *t)
{
	return t->ev && evtimer_pending(t->ev, NULL);
}
