/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_JOB_H
#define PROXY_JOB_H
/*
 * Workers: threads that may wait for the disk, in three lanes that cannot
 * starve each other.
 *
 *   DATA  writing, hashing and read-ahead of blob bytes
 *   SYNC  open, fsync, link, unlink, commits that are waited for
 *   SLOW  re-hash, recovery, bcrypt, credential helpers
 *
 * A strand runs its jobs one at a time, in the order submitted, whatever lane
 * each of them names.
 */
#include "proxy/loop.h"

enum job_lane { JOB_DATA, JOB_SYNC, JOB_SLOW, JOB_LANES };

struct jobs;
struct strand;

/*
 * Embedded in the caller's struct, which lives until `done` (or, with no
 * `home`, until `run` returns: then `run` owns it).  `done` runs on `home`:
 * if `to` names an object of that loop that has gone, object is NULL and
 * `done` only frees.
 */
struct job {
	struct message msg; /* the pool's, for the way home */
	STAILQ_ENTRY(job) link;
	enum job_lane lane;
	void (*run)(struct job *job); /* worker */
	struct loop *home;            /* NULL: no `done` */
	struct handle to;
	uint32_t magic;
	void (*done)(struct job *job, void *object); /* home loop */
	struct strand *strand;                       /* the pool's */
};

struct jobs_options {
	unsigned threads[JOB_LANES];
	void (*thread_done)(void *arg); /* each worker, as it ends */
	void *thread_done_arg;
};

struct jobs *jobs_new(const struct jobs_options *opt) MUST_CHECK;
/* Run what is queued, join.  Main thread, after the loops have stopped
 * submitting; `done`s are still posted. */
void jobs_free(struct jobs **j);

/* Any thread. */
void job_submit(struct jobs *j, struct job *job);
void job_submit_on(struct strand *s, struct job *job);

struct strand *strand_new(struct jobs *j) MUST_CHECK;
/* Freed once its last job has run.  Any thread. */
void strand_free(struct strand **s);

/* Does no job wait or run?  Then every `done` has been posted.  Any thread. */
bool jobs_idle(struct jobs *j);

/* Jobs waiting in a lane, for metrics.  Any thread. */
unsigned jobs_waiting(struct jobs *j, enum job_lane lane);

#endif
