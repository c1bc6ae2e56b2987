/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/index_writer.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#define MINUTE_MS 60000

struct index_writer {
	struct index_writer_options opt;
	pthread_t thread;
	_Atomic enum index_health health; /* the thread sets it */
	atomic_uint_fast64_t waiting;

	pthread_mutex_t mu; /* guards the rest; held for moments only */
	pthread_cond_t filled;
	struct index_ops foreground, background;
	bool background_was_last;
	bool stopping;
};

/* ---- the queue ---- */

void index_writer_submit(struct index_writer *w, struct index_op *op)
{
	atomic_fetch_add(&w->waiting, 1);
	pthread_mutex_lock(&w->mu);
	if (op->background)
		STAILQ_INSERT_TAIL(&w->background, op, link);
	else
		STAILQ_INSERT_TAIL(&w->foreground, op, link);
	pthread_cond_signal(&w->filled);
	pthread_mutex_unlock(&w->mu);
}

static bool nothing_waits(const struct index_writer *w)
{
	return STAILQ_EMPTY(&w->foreground) && STAILQ_EMPTY(&w->background);
}

static void move_some(struct index_ops *from, struct index_ops *to, unsigned n)
{
	struct index_op *op;

	while (n-- && (op = STAILQ_FIRST(from))) {
		STAILQ_REMOVE_HEAD(from, link);
		STAILQ_INSERT_TAIL(to, op, link);
	}
}

static void take_turn(struct index_writer *w, struct index_ops *batch)
{
	bool background =
	    !STAILQ_EMPTY(&w->background) &&
	    (STAILQ_EMPTY(&w->foreground) || !w->background_was_last);

	if (background)
		move_some(&w->background, batch, 1);
	else
		move_some(&w->foreground, batch, INDEX_BATCH_MAX);
	w->background_was_last = background;
}

/* Wait for work until `until_ms` and move one turn of it to `batch`, which
 * stays empty if none came.  False once stopped and empty. */
static bool take(struct index_writer *w, uint64_t until_ms,
		 struct index_ops *batch)
{
	struct timespec until = {
	    .tv_sec = (time_t)(until_ms / 1000),
	    .tv_nsec = (long)(until_ms % 1000) * 1000000,
	};
	bool more;

	assert(STAILQ_EMPTY(batch));
	pthread_mutex_lock(&w->mu);
	while (nothing_waits(w) && !w->stopping) {
		if (pthread_cond_timedwait(&w->filled, &w->mu, &until))
			break;
	}
	take_turn(w, batch);
	more = !STAILQ_EMPTY(batch) || !w->stopping;
	pthread_mutex_unlock(&w->mu);
	return more;
}

/* ---- the thread ---- */

/*
 * Commit, and once more after an error that is none of room: a disk that was
 * full for a moment may show as any error.  This trusts no failed sync: the
 * second transaction begins at the last good commit and writes each of its
 * pages anew.
 */
static enum err commit(struct index_writer *w, struct index_ops *batch,
		       bool *wrote, struct why *why)
{
	enum err err = w->opt.commit(w->opt.arg, batch, wrote, why);

	if (err == ERR_IO)
		err = w->opt.commit(w->opt.arg, batch, wrote, why);
	assert(err == ERR_OK || err == ERR_NO_SPACE || err == ERR_IO);
	return err;
}

static void set_results(struct index_ops *batch, enum err err)
{
	struct index_op *op;

	STAILQ_FOREACH (op, batch, link)
		op->result = err;
}

/*
 * A batch found no room.  One operation that asks for much must not take its
 * neighbours down, least of all one that deletes: each gets a transaction of
 * its own.  That is cheap, since one that finds no room ends before any sync.
 * What is told of all: ERR_OK if anything was written, else the last error.
 */
static enum err commit_singly(struct index_writer *w, struct index_ops *batch,
			      bool *any, struct why *why)
{
	struct index_ops todo = STAILQ_HEAD_INITIALIZER(todo);
	enum err err = ERR_OK;

	STAILQ_CONCAT(&todo, batch);
	while (!STAILQ_EMPTY(&todo) && err != ERR_IO) {
		struct index_ops single = STAILQ_HEAD_INITIALIZER(single);
		bool wrote = false;

		move_some(&todo, &single, 1);
		err = commit(w, &single, &wrote, why);
		*any |= err == ERR_OK && wrote;
		if (err != ERR_OK)
			set_results(&single, err);
		STAILQ_CONCAT(batch, &single);
	}
	set_results(&todo, err); /* there are some only after ERR_IO */
	STAILQ_CONCAT(batch, &todo);
	if (err == ERR_IO)
		return err;
	return *any ? ERR_OK : ERR_NO_SPACE;
}

static enum err write_batch(struct index_writer *w, struct index_ops *batch,
			    bool *wrote, struct why *why)
{
	enum err err = commit(w, batch, wrote, why);

	if (err == ERR_NO_SPACE && STAILQ_NEXT(STAILQ_FIRST(batch), link))
		return commit_singly(w, batch, wrote, why);
	if (err != ERR_OK)
		set_results(batch, err);
	return err;
}

static void set_health(struct index_writer *w, enum index_health now,
		       const struct why *why)
{
	if (atomic_exchange(&w->health, now) != now && w->opt.health)
		w->opt.health(w->opt.health_arg, now, why);
}

static void answer(struct index_writer *w, struct index_ops *batch)
{
	struct index_op *op;

	while ((op = STAILQ_FIRST(batch))) {
		STAILQ_REMOVE_HEAD(batch, link);
		op->done(op, op->result); /* may free it */
		atomic_fetch_sub(&w->waiting, 1);
	}
}

/* Commit, or refuse, a batch that is not empty.  *retry_at_ms is when a full
 * index is tried again. */
static void run(struct index_writer *w, struct index_ops *batch,
		uint64_t *retry_at_ms)
{
	enum index_health health = atomic_load(&w->health);
	struct why why = {""};
	bool wrote = false;

	if (health == INDEX_FAILED) {
		set_results(batch, ERR_IO);
		return;
	}
	if (health == INDEX_FULL && now_ms() < *retry_at_ms) {
		set_results(batch, ERR_NO_SPACE);
		return;
	}
	switch (write_batch(w, batch, &wrote, &why)) {
	case ERR_OK:
		if (wrote) /* else it proves nothing */
			set_health(w, INDEX_OK, &why);
		break;
	case ERR_NO_SPACE:
		*retry_at_ms = now_ms() + w->opt.retry_full_ms;
		set_health(w, INDEX_FULL, &why);
		break;
	default:
		set_health(w, INDEX_FAILED, &why);
	}
}

static void *writer_main(void *arg)
{
	struct index_writer *w = arg;
	struct index_ops batch = STAILQ_HEAD_INITIALIZER(batch);
	uint64_t minute_at_ms = now_ms() + MINUTE_MS, retry_at_ms = 0;

	while (take(w, minute_at_ms, &batch)) {
		if (!STAILQ_EMPTY(&batch))
			run(w, &batch, &retry_at_ms);
		answer(w, &batch);
		if (now_ms() >= minute_at_ms) {
			w->opt.each_minute(w->opt.arg);
			minute_at_ms = now_ms() + MINUTE_MS;
		}
	}
	w->opt.thread_done(w->opt.arg);
	return NULL;
}

/* ---- waiting for an answer ---- */

/* A submitter that sleeps; its own op stands in for the caller's. */
struct waiter {
	struct index_op op;
	struct index_op *inner;
	pthread_mutex_t mu; /* guards `answered` */
	pthread_cond_t cond;
	bool answered;
};

static enum err waiter_apply(struct index_txn *txn, struct index_op *op)
{
	struct waiter *w = container_of(op, struct waiter, op);

	return w->inner->apply(txn, w->inner);
}

static void waiter_done(struct index_op *op, enum err err)
{
	struct waiter *w = container_of(op, struct waiter, op);

	pthread_mutex_lock(&w->mu);
	w->inner->result = err;
	w->answered = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->mu);
}

enum err index_writer_submit_wait(struct index_writer *w, struct index_op *op)
{
	struct waiter waiter = {
	    .op = {.apply = waiter_apply,
		   .done = waiter_done,
		   .background = op->background},
	    .inner = op,
	    .mu = PTHREAD_MUTEX_INITIALIZER,
	    .cond = PTHREAD_COND_INITIALIZER,
	};

	assert(!pthread_equal(pthread_self(), w->thread));
	index_writer_submit(w, &waiter.op);
	pthread_mutex_lock(&waiter.mu);
	while (!waiter.answered)
		pthread_cond_wait(&waiter.cond, &waiter.mu);
	pthread_mutex_unlock(&waiter.mu);
	pthread_cond_destroy(&waiter.cond);
	pthread_mutex_destroy(&waiter.mu);
	return op->result;
}

enum index_health index_writer_health(struct index_writer *w)
{
	return atomic_load(&w->health);
}

uint64_t index_writer_waiting(struct index_writer *w)
{
	return atomic_load(&w->waiting);
}

/* ---- starting and stopping ---- */

static struct index_writer *writer_new(const struct index_writer_options *opt)
{
	struct index_writer *w = xcalloc(1, sizeof(*w));
	pthread_condattr_t attr;

	w->opt = *opt;
	STAILQ_INIT(&w->foreground);
	STAILQ_INIT(&w->background);
	pthread_mutex_init(&w->mu, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->filled, &attr);
	pthread_condattr_destroy(&attr);
	return w;
}

static void writer_free(struct index_writer *w)
{
	assert(nothing_waits(w));
	pthread_cond_destroy(&w->filled);
	pthread_mutex_destroy(&w->mu);
	free(w);
}

enum err index_writer_start(const struct index_writer_options *opt,
			    struct index_writer **out, struct why *why)
{
	struct index_writer *w = writer_new(opt);
	sigset_t all, before;
	int rc;

	/* Signals are for the thread that waits for them. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&w->thread, NULL, writer_main, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc) {
		writer_free(w);
		return why_errno(why, rc, "cannot start the index's writer");
	}
	pthread_setname_np(w->thread, "index");
	*out = w;
	return ERR_OK;
}

void index_writer_stop(struct index_writer **wp)
{
	struct index_writer *w = *wp;

	*wp = NULL;
	pthread_mutex_lock(&w->mu);
	w->stopping = true;
	pthread_cond_signal(&w->filled);
	pthread_mutex_unlock(&w->mu);
	pthread_join(w->thread, NULL);
	writer_free(w);
}
