/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/job.h"

#include "proxy/thread.h"

/*
 * One mutex for the pool, its lanes and its strands: jobs are large (256 KiB
 * of hashing, an fsync), so it is taken some thousand times a second at most,
 * and never held while a job runs.
 */
STAILQ_HEAD(job_queue, job);

struct lane {
	struct jobs *jobs;
	struct job_queue queue;
	pthread_cond_t work;
	unsigned waiting; /* here, or in a strand and meant for here */
	pthread_t *threads;
	unsigned n_threads;
};

struct jobs {
	pthread_mutex_t mu; /* everything below but `opt` and the threads */
	struct lane lanes[JOB_LANES];
	unsigned unfinished; /* waiting or running, in all lanes */
	bool stopping;
	struct jobs_options opt;
};

struct strand {
	struct jobs *jobs;
	struct job_queue queue; /* behind the one that is in a lane */
	bool busy;              /* one is in a lane, or runs */
	bool freed;
};

/* Under mu. */
static void put_in_lane(struct jobs *j, struct job *job)
{
	struct lane *lane = &j->lanes[job->lane];

	STAILQ_INSERT_TAIL(&lane->queue, job, link);
	pthread_cond_signal(&lane->work);
}

static void count_in(struct jobs *j, struct job *job)
{
	assert(job->lane < JOB_LANES);
	j->lanes[job->lane].waiting++;
	j->unfinished++;
}

void job_submit(struct jobs *j, struct job *job)
{
	job->strand = NULL;
	pthread_mutex_lock(&j->mu);
	count_in(j, job);
	put_in_lane(j, job);
	pthread_mutex_unlock(&j->mu);
}

void job_submit_on(struct strand *s, struct job *job)
{
	struct jobs *j = s->jobs;

	job->strand = s;
	pthread_mutex_lock(&j->mu);
	assert(!s->freed);
	count_in(j, job);
	if (s->busy) {
		STAILQ_INSERT_TAIL(&s->queue, job, link);
	} else {
		s->busy = true;
		put_in_lane(j, job);
	}
	pthread_mutex_unlock(&j->mu);
}

/* Under mu: the strand's job is over, the next one may go to its lane. */
static void strand_next(struct strand *s)
{
	struct job *job = STAILQ_FIRST(&s->queue);

	if (job) {
		STAILQ_REMOVE_HEAD(&s->queue, link);
		put_in_lane(s->jobs, job);
		return;
	}
	s->busy = false;
	if (s->freed)
		free(s);
}

static void go_home(struct message *msg, void *object)
{
	struct job *job = container_of(msg, struct job, msg);

	job->done(job, object);
}

/* Once it has run with no home, or is on its way home, the job is somebody
 * else's memory. */
static void run(struct job *job)
{
	struct loop *home = job->home;

	job->run(job);
	if (!home)
		return;
	job->msg.to = job->to;
	job->msg.magic = job->magic;
	job->msg.run = go_home;
	loop_post(home, &job->msg);
}

/* Under mu: wait for a job; NULL when there will be no more. */
static struct job *next_job(struct jobs *j, struct lane *lane)
{
	struct job *job;

	while (!(job = STAILQ_FIRST(&lane->queue))) {
		if (j->stopping && j->unfinished == 0)
			return NULL;
		pthread_cond_wait(&lane->work, &j->mu);
	}
	STAILQ_REMOVE_HEAD(&lane->queue, link);
	lane->waiting--;
	return job;
}

/* Under mu.  Any lane may be waiting to hear that nothing can come any more:
 * a strand carries work from lane to lane. */
static void wake_all(struct jobs *j)
{
	for (unsigned i = 0; i < JOB_LANES; i++)
		pthread_cond_broadcast(&j->lanes[i].work);
}

static void *worker(void *arg)
{
	struct lane *lane = arg;
	struct jobs *j = lane->jobs;
	struct strand *s;
	struct job *job;

	pthread_mutex_lock(&j->mu);
	while ((job = next_job(j, lane))) {
		s = job->strand;
		pthread_mutex_unlock(&j->mu);
		run(job);
		pthread_mutex_lock(&j->mu);
		if (s)
			strand_next(s);
		if (--j->unfinished == 0 && j->stopping)
			wake_all(j);
	}
	pthread_mutex_unlock(&j->mu);
	if (j->opt.thread_done)
		j->opt.thread_done(j->opt.thread_done_arg);
	return NULL;
}

static void lane_start(struct jobs *j, enum job_lane which, unsigned n)
{
	static const char *const names[JOB_LANES] = {"data", "sync", "slow"};
	struct lane *lane = &j->lanes[which];
	char name[24];

	assert(n > 0);
	lane->n_threads = n;
	lane->threads = xcalloc(n, sizeof(*lane->threads));
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%s-%u", names[which], i);
		lane->threads[i] = thread_start(name, worker, lane);
	}
}

struct jobs *jobs_new(const struct jobs_options *opt)
{
	struct jobs *j = xcalloc(1, sizeof(*j));

	j->opt = *opt;
	pthread_mutex_init(&j->mu, NULL);
	for (unsigned i = 0; i < JOB_LANES; i++) {
		j->lanes[i].jobs = j;
		STAILQ_INIT(&j->lanes[i].queue);
		pthread_cond_init(&j->lanes[i].work, NULL);
	}
	for (unsigned i = 0; i < JOB_LANES; i++)
		lane_start(j, (enum job_lane)i, opt->threads[i]);
	return j;
}

void jobs_free(struct jobs **jobs)
{
	struct jobs *j = *jobs;

	if (!j)
		return;
	pthread_mutex_lock(&j->mu);
	j->stopping = true;
	wake_all(j);
	pthread_mutex_unlock(&j->mu);
	for (unsigned i = 0; i < JOB_LANES; i++) {
		struct lane *lane = &j->lanes[i];

		for (unsigned k = 0; k < lane->n_threads; k++)
			thread_join(lane->threads[k]);
		free(lane->threads);
	}
	for (unsigned i = 0; i < JOB_LANES; i++)
		pthread_cond_destroy(&j->lanes[i].work);
	pthread_mutex_destroy(&j->mu);
	free(j);
	*jobs = NULL;
}

struct strand *strand_new(struct jobs *j)
{
	struct strand *s = xcalloc(1, sizeof(*s));

	s->jobs = j;
	STAILQ_INIT(&s->queue);
	return s;
}

void strand_free(struct strand **strand)
{
	struct strand *s = *strand;
	struct jobs *j;

	if (!s)
		return;
	*strand = NULL;
	j = s->jobs;
	pthread_mutex_lock(&j->mu);
	s->freed = true;
	if (!s->busy)
		free(s);
	pthread_mutex_unlock(&j->mu);
}

bool jobs_idle(struct jobs *j)
{
	bool idle;

	pthread_mutex_lock(&j->mu);
	idle = j->unfinished == 0;
	pthread_mutex_unlock(&j->mu);
	return idle;
}

unsigned jobs_waiting(struct jobs *j, enum job_lane lane)
{
	unsigned n;

	pthread_mutex_lock(&j->mu);
	n = j->lanes[lane].waiting;
	pthread_mutex_unlock(&j->mu);
	return n;
}
