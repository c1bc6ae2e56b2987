/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/job.h"
#include "proxy/thread.h"
#include "tests/unit/unit.h"

#include <semaphore.h>
#include <signal.h>
#include <unistd.h>

#define MAGIC 0x6a6fu

static sem_t done;
static unsigned threads_done; /* atomic */

static void note_thread_done(void *arg)
{
	(void)arg;
	__atomic_fetch_add(&threads_done, 1, __ATOMIC_RELAXED);
}

static struct jobs *pool(void)
{
	struct jobs_options opt = {
	    .threads = {2, 1, 1},
	    .thread_done = note_thread_done,
	};

	return jobs_new(&opt);
}

static void post_done(struct job *job)
{
	(void)job;
	sem_post(&done);
}

static sem_t gate, entered;

static void wait_at_gate(struct job *job)
{
	(void)job;
	sem_post(&entered);
	sem_wait(&gate);
}

static void a_stuck_lane_does_not_stop_the_others(void)
{
	struct jobs *j = pool();
	struct job stuck[3] = {{.lane = JOB_DATA, .run = wait_at_gate},
			       {.lane = JOB_DATA, .run = wait_at_gate},
			       {.lane = JOB_DATA, .run = wait_at_gate}};
	struct job sync = {.lane = JOB_SYNC, .run = post_done};
	struct job slow = {.lane = JOB_SLOW, .run = post_done};

	for (unsigned i = 0; i < 3; i++)
		job_submit(j, &stuck[i]);
	sem_wait(&entered);
	sem_wait(&entered);
	CHECK(jobs_waiting(j, JOB_DATA) == 1);
	CHECK(jobs_waiting(j, JOB_SYNC) == 0);
	job_submit(j, &sync);
	job_submit(j, &slow);
	sem_wait(&done);
	sem_wait(&done);
	for (unsigned i = 0; i < 3; i++)
		sem_post(&gate);
	__atomic_store_n(&threads_done, 0, __ATOMIC_RELAXED);
	jobs_free(&j);
	CHECK(j == NULL);
	CHECK(__atomic_load_n(&threads_done, __ATOMIC_RELAXED) == 4);
	sem_wait(&entered);
}

struct numbered {
	struct job job;
	unsigned n;
	struct strand *frees;
};

#define STRAND_JOBS 300
static unsigned next_in_strand, strand_errors; /* the strand orders them */
static int running;                            /* atomic */

static void run_numbered(struct job *job)
{
	struct numbered *n = container_of(job, struct numbered, job);

	if (__atomic_fetch_add(&running, 1, __ATOMIC_RELAXED) != 0)
		strand_errors++;
	if (n->n != next_in_strand++)
		strand_errors++;
	if (n->n % 50 == 0)
		usleep(500);
	__atomic_fetch_sub(&running, 1, __ATOMIC_RELAXED);
	if (n->frees)
		strand_free(&n->frees);
	free(n);
}

static void a_strand_runs_one_at_a_time_in_order_across_lanes(void)
{
	struct jobs *j = pool();
	struct strand *s = strand_new(j), *other = strand_new(j);

	next_in_strand = 0;
	for (unsigned i = 0; i < STRAND_JOBS; i++) {
		struct numbered *n = xcalloc(1, sizeof(*n));

		n->n = i;
		n->job.lane = (enum job_lane)(i % JOB_LANES);
		n->job.run = run_numbered;
		job_submit_on(s, &n->job);
	}
	strand_free(&s);
	CHECK(s == NULL);
	strand_free(&other); /* one that never had work */
	jobs_free(&j);       /* runs what is queued */
	CHECK(next_in_strand == STRAND_JOBS);
	CHECK(strand_errors == 0);
}

static void a_job_may_free_its_own_strand(void)
{
	struct jobs *j = pool();
	struct strand *s = strand_new(j);
	struct numbered *n = xcalloc(1, sizeof(*n));

	next_in_strand = 0;
	n->job.lane = JOB_SLOW;
	n->job.run = run_numbered;
	n->frees = s;
	job_submit_on(s, &n->job);
	jobs_free(&j);
	CHECK(next_in_strand == 1);
}

struct homing {
	struct job job;
	bool ran;     /* on the worker */
	void *object; /* on the loop */
	struct loop *at;
	unsigned order;
};
static unsigned came_home;

static void run_homing(struct job *job)
{
	container_of(job, struct homing, job)->ran = loop_current() == NULL;
}

static void homing_done(struct job *job, void *object)
{
	struct homing *h = container_of(job, struct homing, job);

	h->object = object;
	h->at = loop_current();
	h->order = came_home++;
	sem_post(&done);
}

static void done_runs_on_the_home_loop_with_its_object(void)
{
	struct jobs *j = pool();
	struct loop *l = loop_new("home");
	struct strand *s = strand_new(j);
	int thing = 0;
	struct handle alive = loop_register(l, &thing, MAGIC);
	struct handle gone = loop_register(l, &thing, MAGIC);
	struct homing h[3] = {{.job = {.to = alive, .magic = MAGIC}},
			      {.job = {.to = gone, .magic = MAGIC}},
			      {.job = {.magic = 0}}};

	loop_unregister(l, &gone);
	loop_start(l);
	for (unsigned i = 0; i < 3; i++) {
		h[i].job.lane = JOB_DATA;
		h[i].job.run = run_homing;
		h[i].job.done = homing_done;
		h[i].job.home = l;
		job_submit_on(s, &h[i].job);
	}
	for (unsigned i = 0; i < 3; i++)
		sem_wait(&done);
	loop_stop(l);
	CHECK(h[0].ran && h[0].object == &thing && h[0].at == l);
	CHECK(h[1].ran && h[1].object == NULL && h[1].at == l);
	CHECK(h[2].ran && h[2].object == NULL && h[2].at == l);
	CHECK(h[0].order == 0 && h[1].order == 1 && h[2].order == 2);
	strand_free(&s);
	loop_unregister(l, &alive);
	jobs_free(&j);
	loop_free(&l);
}

static void done_of_a_late_job_is_told_that_all_is_over(void)
{
	struct jobs *j = pool();
	struct loop *l = loop_new("home");
	int thing = 0;
	struct handle alive = loop_register(l, &thing, MAGIC);
	struct homing h = {.job = {.to = alive, .magic = MAGIC}};

	h.job.lane = JOB_SLOW;
	h.job.run = run_homing;
	h.job.done = homing_done;
	h.job.home = l;
	job_submit(j, &h.job);
	jobs_free(&j);
	loop_free(&l);
	sem_wait(&done);
	CHECK(h.ran && h.object == NULL);
}

static bool all_blocked;

static void look_at_signals(struct job *job)
{
	sigset_t set;

	(void)job;
	pthread_sigmask(SIG_BLOCK, NULL, &set);
	all_blocked = sigismember(&set, SIGTERM) && sigismember(&set, SIGHUP) &&
		      sigismember(&set, SIGINT);
}

static void workers_take_no_signals(void)
{
	struct jobs *j = pool();
	struct job job = {.lane = JOB_SYNC, .run = look_at_signals};
	sigset_t set;

	job_submit(j, &job);
	jobs_free(&j);
	CHECK(all_blocked);
	pthread_sigmask(SIG_BLOCK, NULL, &set);
	CHECK(!sigismember(&set, SIGTERM));
}

int main(void)
{
	sem_init(&done, 0, 0);
	sem_init(&gate, 0, 0);
	sem_init(&entered, 0, 0);
	RUN(a_stuck_lane_does_not_stop_the_others);
	RUN(a_strand_runs_one_at_a_time_in_order_across_lanes);
	RUN(a_job_may_free_its_own_strand);
	RUN(done_runs_on_the_home_loop_with_its_object);
	RUN(done_of_a_late_job_is_told_that_all_is_over);
	RUN(workers_take_no_signals);
	return unit_done();
}
