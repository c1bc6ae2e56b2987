/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/flow.h"

#include <pthread.h>
#include <unistd.h>

/* The readers of one request. */
struct party {
	unsigned readers; /* under flow->mu */
	bool had_bytes;   /* was shown some: may not be shown others */
};

struct flow_reader {
	TAILQ_ENTRY(flow_reader) link; /* flow->readers, under flow->mu */
	struct flow *flow;
	struct party *party; /* constant */
	struct flow_range range;
	unsigned source;
	int fd; /* of the last READY look; own loop */

	/* under flow->mu */
	bool waiting; /* a message is owed */
	uint64_t want, want_end;
	uint64_t ask_end;   /* constant */
	uint64_t told_size; /* constant: what its reply's head says */
	uint64_t declared;  /* constant: what a manifest says */
	enum err err;       /* not OK: cut */
	struct why why;

	struct loop *home;
	struct handle to;
	uint32_t magic;
	void (*run)(struct message *msg, void *object);
};

struct flow {
	unsigned refs; /* atomic */
	struct jobs *jobs;
	struct digest dg;
	uint64_t hold_bytes; /* constant */

	/* where pokes go; constant */
	struct loop *fetch;
	struct handle flight;
	uint32_t flight_magic;
	void (*poke)(struct message *msg, void *object);

	pthread_mutex_t mu; /* guards all below and the readers' shared part */
	TAILQ_HEAD(, flow_reader) readers; /* oldest first */
	struct partial *partial;
	struct partial *old; /* before a restart: cut readers may send still */
	struct blob *blob;   /* after flow_switch() */
	uint64_t size;
	bool proven, distrust, spilled, poked;
};

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

/* ---- what may be shown ---- */

/* The end of what `r` may be shown, were all of it held. */
static uint64_t shown_end(const struct flow *f, const struct flow_reader *r)
{
	uint64_t end;

	if (f->proven || f->blob)
		return f->size;
	if (f->distrust)
		return 0;
	if (!flow_completes(&r->range))
		return f->size;
	end = MIN(f->size, r->declared);
	if (end == FLOW_SIZE_UNKNOWN || end <= f->hold_bytes)
		return 0;
	return end - f->hold_bytes;
}

/* The end of what may be sent from `off`; <= off if nothing. */
static uint64_t ready_end(struct flow *f, const struct flow_reader *r,
			  uint64_t off)
{
	uint64_t end = shown_end(f, r);

	if (end <= off || f->blob)
		return end;
	return MIN(end, partial_run(f->partial, off));
}

/* ---- messages ---- */

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
		if (r->err || f->spilled || ready_end(f, r, r->want) > r->want)
			wake_reader(r);
	}
}

/* Tell the flight, unless it has been told and has not looked since. */
static void poke_flight(struct flow *f)
{
	struct message *msg;

	if (f->poked)
		return;
	f->poked = true;
	msg = xcalloc(1, sizeof(*msg));
	msg->to = f->flight;
	msg->magic = f->flight_magic;
	msg->run = f->poke;
	loop_post(f->fetch, msg);
}

/* ---- the flight's side ---- */

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

/* ---- the reader's side ---- */

static struct flow_reader *reader_alloc(struct flow *f,
					const struct flow_range *range,
					unsigned source)
{
	struct flow_reader *r = xcalloc(1, sizeof(*r));

	r->flow = flow_ref(f);
	r->range = *range;
	r->source = source;
	r->fd = -1;
	return r;
}

/* Under mu. */
static void reader_enter(struct flow_reader *r, struct party *party)
{
	r->party = party;
	party->readers++;
	TAILQ_INSERT_TAIL(&r->flow->readers, r, link);
}

struct flow_reader *flow_reader_new(struct flow *f, const struct flow_range *r,
				    unsigned source, uint64_t declared)
{
	struct flow_reader *reader = reader_alloc(f, r, source);

	reader->declared = declared;

	pthread_mutex_lock(&f->mu);
	reader->told_size = f->size;
	reader_enter(reader, xcalloc(1, sizeof(struct party)));
	pthread_mutex_unlock(&f->mu);
	return reader;
}

struct flow_reader *flow_reader_more(const struct flow_reader *r,
				     const struct flow_range *range,
				     uint64_t ask_end)
{
	struct flow_reader *more = reader_alloc(r->flow, range, r->source);

	more->ask_end = ask_end;
	more->declared = r->declared;
	pthread_mutex_lock(&r->flow->mu);
	more->told_size = r->told_size;
	/* It may have been cut meanwhile, and nobody would say so again. */
	more->err = r->err;
	more->why = r->why;
	reader_enter(more, r->party);
	pthread_mutex_unlock(&r->flow->mu);
	return more;
}

void flow_reader_home(struct flow_reader *r, struct loop *home,
		      struct handle to, uint32_t magic,
		      void (*run)(struct message *msg, void *object))
{
	pthread_mutex_lock(&r->flow->mu);
	r->home = home;
	r->to = to;
	r->magic = magic;
	r->run = run;
	pthread_mutex_unlock(&r->flow->mu);
}

static enum flow_state look_locked(struct flow *f, struct flow_reader *r,
				   uint64_t off, uint64_t want_end,
				   uint64_t *end)
{
	uint64_t ready;

	if (r->err)
		return FLOW_FAILED;
	ready = MIN(ready_end(f, r, off), want_end);
	if (ready > off) {
		*end = ready;
		r->party->had_bytes = true;
		r->fd = f->blob ? blob_fd(f->blob) : partial_fd(f->partial);
		return FLOW_READY;
	}
	if (f->spilled)
		return FLOW_SPILLED;
	r->waiting = true;
	r->want = off;
	r->want_end = want_end;
	/* The linear fill comes to a whole reader by itself. */
	if (r->range.shape != FLOW_WHOLE && partial_run(f->partial, off) == off)
		poke_flight(f);
	return FLOW_WAITS;
}

enum flow_state flow_look(struct flow_reader *r, uint64_t off,
			  uint64_t want_end, uint64_t *end)
{
	struct flow *f = r->flow;
	enum flow_state state;

	pthread_mutex_lock(&f->mu);
	assert(r->home);
	state = look_locked(f, r, off, want_end, end);
	pthread_mutex_unlock(&f->mu);
	return state;
}

int flow_fd(const struct flow_reader *r)
{
	return r->fd;
}

uint64_t flow_size(const struct flow_reader *r)
{
	return r->told_size;
}

const struct digest *flow_digest(const struct flow_reader *r)
{
	return &r->flow->dg;
}

bool flow_is_whole(const struct flow_reader *r)
{
	return r->range.shape == FLOW_WHOLE;
}

enum err flow_error(struct flow_reader *r, struct why *why)
{
	enum err err;

	pthread_mutex_lock(&r->flow->mu);
	err = r->err;
	*why = r->why;
	pthread_mutex_unlock(&r->flow->mu);
	return err;
}

struct hasher *flow_hasher(struct flow_reader *r, uint64_t *at)
{
	struct flow *f = r->flow;
	struct hasher *h = NULL;

	pthread_mutex_lock(&f->mu);
	if (!f->distrust)
		h = partial_hasher(f->partial, at);
	pthread_mutex_unlock(&f->mu);
	if (h)
		return h;
	*at = 0;
	return hasher_new((enum digest_alg)f->dg.alg);
}

ssize_t flow_pread(struct flow *f, void *buf, size_t len, uint64_t off)
{
	int fd;

	pthread_mutex_lock(&f->mu);
	fd = partial_fd(f->partial); /* open as long as the flow is there */
	pthread_mutex_unlock(&f->mu);
	return pread(fd, buf, len, (off_t)off);
}

struct flow *flow_of(struct flow_reader *r)
{
	return r->flow;
}

void flow_reader_free(struct flow_reader **rp)
{
	struct flow_reader *r = *rp;
	struct flow *f;

	if (!r)
		return;
	*rp = NULL;
	f = r->flow;
	pthread_mutex_lock(&f->mu);
	TAILQ_REMOVE(&f->readers, r, link);
	if (--r->party->readers == 0)
		free(r->party);
	poke_flight(f);
	pthread_mutex_unlock(&f->mu);
	flow_unref(&f);
	free(r);
}
