/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/flow_int.h"

struct flow *flow_new(struct jobs *jobs, struct partial *p,
		      const struct digest *dg, uint64_t hold_bytes,
		      struct loop *fetch, struct handle flight, uint32_t magic,
		      void (*poke)(struct message *msg, void *object))
{
	struct flow *f = xcalloc(1, sizeof(*f));
	struct partial_view view;

	f->refs = 1;
	f->jobs = jobs;
	f->dg = *dg;
	f->hold_bytes = hold_bytes;
	f->fetch = fetch;
	f->flight = flight;
	f->flight_magic = magic;
	f->poke = poke;
	f->partial = p;
	pthread_mutex_init(&f->mu, NULL);
	TAILQ_INIT(&f->readers);
	partial_view(p, &view);
	f->size = view.size;
	f->proven = view.proven;
	return f;
}

struct flow *flow_ref(struct flow *f)
{
	__atomic_add_fetch(&f->refs, 1, __ATOMIC_RELAXED);
	return f;
}

struct close_job {
	struct job job;
	struct partial *partial;
};

static void close_run(struct job *job)
{
	struct close_job *cj = container_of(job, struct close_job, job);

	partial_close(&cj->partial);
	free(cj);
}

void flow_close_partial(struct jobs *jobs, struct partial *p)
{
	struct close_job *cj = xcalloc(1, sizeof(*cj));

	cj->job.lane = JOB_SYNC;
	cj->job.run = close_run;
	cj->partial = p;
	job_submit(jobs, &cj->job);
}

static void flow_free(struct flow *f)
{
	assert(TAILQ_EMPTY(&f->readers));
	if (f->old)
		flow_close_partial(f->jobs, f->old);
	flow_close_partial(f->jobs, f->partial);
	if (f->blob)
		blob_unpin(&f->blob);
	pthread_mutex_destroy(&f->mu);
	free(f);
}

void flow_unref(struct flow **fp)
{
	struct flow *f = *fp;

	*fp = NULL;
	if (f && __atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL) == 0)
		flow_free(f);
}

/* ---- waking readers ---- */

static void wake_reader(struct flow_reader *r)
{
	struct message *msg = xcalloc(1, sizeof(*msg));

	r->waiting = false;
	msg->to = r->to;
	msg->magic = r->magic;
	msg->run = r->run;
	loop_post(r->home, msg);
}

/* Wake those who wait and need not wait any more.  Under mu. */
static void wake_ready(struct flow *f)
{
	struct flow_reader *r;

	TAILQ_FOREACH (r, &f->readers, link) {
		if (!r->waiting)
			continue;
		if (r->err || f->spilled ||
		    flow_ready_end(f, r, r->want) > r->want)
			wake_reader(r);
	}
}

/* ---- what the flight has to say ---- */

static void fail_reader(struct flow_reader *r, enum err err,
			const struct why *why)
{
	assert(err != ERR_OK);
	if (r->err)
		return;
	r->err = err;
	r->why = *why;
	if (r->waiting)
		wake_reader(r);
}

/* What their replies' heads say cannot be kept. */
static void fail_other_sizes(struct flow *f, uint64_t size)
{
	struct flow_reader *r;
	struct why why;

	why_set(&why, ERR_MISMATCH,
		"the upstream changed its mind on the size");
	TAILQ_FOREACH (r, &f->readers, link)
		if (r->told_size != size)
			fail_reader(r, ERR_MISMATCH, &why);
}

void flow_set_size(struct flow *f, uint64_t size)
{
	pthread_mutex_lock(&f->mu);
	f->size = size;
	fail_other_sizes(f, size);
	wake_ready(f);
	pthread_mutex_unlock(&f->mu);
}

void flow_announce(struct flow *f)
{
	pthread_mutex_lock(&f->mu);
	wake_ready(f);
	pthread_mutex_unlock(&f->mu);
}

void flow_prove(struct flow *f)
{
	pthread_mutex_lock(&f->mu);
	f->proven = true;
	wake_ready(f);
	pthread_mutex_unlock(&f->mu);
}

void flow_fail(struct flow *f, enum err err, const struct why *why)
{
	struct flow_reader *r;

	pthread_mutex_lock(&f->mu);
	TAILQ_FOREACH (r, &f->readers, link)
		fail_reader(r, err, why);
	pthread_mutex_unlock(&f->mu);
}

void flow_fail_source(struct flow *f, unsigned source, enum err err,
		      const struct why *why)
{
	struct flow_reader *r;

	pthread_mutex_lock(&f->mu);
	TAILQ_FOREACH (r, &f->readers, link)
		if (r->source == source)
			fail_reader(r, err, why);
	pthread_mutex_unlock(&f->mu);
}

void flow_distrust(struct flow *f, const struct why *why)
{
	struct flow_reader *r;

	pthread_mutex_lock(&f->mu);
	f->distrust = true;
	f->proven = false;
	TAILQ_FOREACH (r, &f->readers, link)
		if (r->party->had_bytes)
			fail_reader(r, ERR_MISMATCH, why);
	pthread_mutex_unlock(&f->mu);
}

void flow_restart(struct flow *f, struct partial *fresh)
{
	pthread_mutex_lock(&f->mu);
	assert(f->distrust && !f->old); /* one fresh try only */
	f->old = f->partial;
	f->partial = fresh;
	f->proven = false;
	f->size = FLOW_SIZE_UNKNOWN;
	pthread_mutex_unlock(&f->mu);
}

void flow_switch(struct flow *f, struct blob *blob)
{
	pthread_mutex_lock(&f->mu);
	assert(!f->blob);
	f->blob = blob;
	f->size = blob_size(blob);
	fail_other_sizes(f, f->size);
	wake_ready(f);
	pthread_mutex_unlock(&f->mu);
}

void flow_spill(struct flow *f)
{
	pthread_mutex_lock(&f->mu);
	f->spilled = true;
	wake_ready(f);
	pthread_mutex_unlock(&f->mu);
}

/* ---- what the flight asks ---- */

/* Does the linear fill serve it?  Not one who asked for bytes past the end. */
static bool is_linear(const struct flow_reader *r)
{
	return r->range.shape == FLOW_WHOLE ||
	       (r->range.shape == FLOW_OPEN_END &&
		r->range.first < r->told_size);
}

void flow_census(struct flow *f, struct flow_census *out)
{
	struct flow_reader *r;

	memset(out, 0, sizeof(*out));
	pthread_mutex_lock(&f->mu);
	f->poked = false; /* from now on a change is news again */
	TAILQ_FOREACH (r, &f->readers, link) {
		if (r->err)
			continue;
		out->readers++;
		out->linear += is_linear(r);
	}
	pthread_mutex_unlock(&f->mu);
}

unsigned flow_source_readers(struct flow *f, unsigned source)
{
	struct flow_reader *r;
	unsigned n = 0;

	pthread_mutex_lock(&f->mu);
	TAILQ_FOREACH (r, &f->readers, link)
		n += !r->err && r->source == source;
	pthread_mutex_unlock(&f->mu);
	return n;
}

static bool waits_at_gap(struct flow *f, const struct flow_reader *r)
{
	return r->waiting && r->range.shape != FLOW_WHOLE &&
	       partial_run(f->partial, r->want) == r->want;
}

size_t flow_gaps(struct flow *f, struct flow_gap **out)
{
	struct flow_reader *r;
	size_t n = 0, max = 0;

	*out = NULL;
	pthread_mutex_lock(&f->mu);
	TAILQ_FOREACH (r, &f->readers, link) {
		if (!waits_at_gap(f, r))
			continue;
		if (n == max) {
			max = max ? max * 2 : 16;
			*out = xrealloc(*out, max * sizeof(**out));
		}
		(*out)[n++] = (struct flow_gap){
		    .off = r->want,
		    .end = MAX(r->want_end, r->ask_end),
		    .source = r->source,
		};
	}
	pthread_mutex_unlock(&f->mu);
	return n;
}
