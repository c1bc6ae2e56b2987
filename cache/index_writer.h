/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_INDEX_WRITER_H
#define CACHE_INDEX_WRITER_H
/*
 * The index's writer: the queue of operations, the one thread that takes from
 * it, and what happens when a commit fails.  It knows nothing of LMDB: how a
 * batch is committed is the caller's function.  Only cache/index.c uses it.
 *
 * Turns.  A foreground turn takes all that waits, up to INDEX_BATCH_MAX
 * operations, which share one commit.  A background turn takes a single
 * operation, which by cache/index.h has at most 128 row operations.  Where
 * both wait, turns alternate, so that clients wait for one small commit at
 * most and background work never starves.
 */
#include "cache/index.h"

#define INDEX_BATCH_MAX 256

STAILQ_HEAD(index_ops, index_op);

struct index_writer;

struct index_writer_options {
	/*
	 * Apply the operations of `batch` in order in one transaction, setting
	 * each op->result, and commit.  ERR_NO_SPACE and ERR_IO (with `why`)
	 * mean that nothing of the batch was done.  *wrote: there was anything
	 * to commit.
	 */
	enum err (*commit)(void *arg, struct index_ops *batch, bool *wrote,
			   struct why *why);
	/* Called once a minute or so. */
	void (*each_minute)(void *arg);
	/* Called on the thread before it ends. */
	void (*thread_done)(void *arg);
	void *arg;
	unsigned retry_full_ms;
	index_health_cb *health; /* NULL = nobody */
	void *health_arg;
};

/* Start the thread.  ERR_IO with `why`.  Main thread. */
enum err index_writer_start(const struct index_writer_options *opt,
			    struct index_writer **out,
			    struct why *why) MUST_CHECK;

/* Answer all that is queued, also what those answers queue; end the thread.
 * Main thread, when nobody else submits any more. */
void index_writer_stop(struct index_writer **w);

/* As the functions of the same name in cache/index.h. */
void index_writer_submit(struct index_writer *w, struct index_op *op);
enum err index_writer_submit_wait(struct index_writer *w,
				  struct index_op *op) MUST_CHECK;
enum index_health index_writer_health(struct index_writer *w);
/* Operations that were submitted and are not answered. */
uint64_t index_writer_waiting(struct index_writer *w);

#endif
