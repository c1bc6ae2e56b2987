/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A flight's dealings with the disk apart from writing: opening its partial,
 * letting the hash catch up, publication, and what happens when the bytes are
 * wrong or the disk refuses.  Each is a job on the flight's strand, so none
 * overtakes a write.
 */
#include "proxy/flight_int.h"
#include "proxy/log.h"
#include "proxy/metrics.h"
#include "proxy/server.h"

#include <unistd.h>

/* How much one hash job reads: short enough to let writes in between. */
#define HASH_STEP (4 * MIB)
#define COMPARE_STEP ((size_t)256 * 1024)

struct land {
	struct job job;
	struct flight *flight; /* until it is submitted */
	struct server *server;
	struct cache *cache;
	struct flow *flow;       /* keeps the partial alive; NULL: opening */
	struct partial *partial; /* in or out */
	struct digest dg;
	char host[REPO_HOST_MAX + 1];
	enum err err;
	struct why why;
	bool more;
	struct publish_repo *repos;
	size_t n_repos;
	struct extents held;
	struct blob *blob;
};

static struct land *land_new(struct flight *f, enum job_lane lane,
			     void (*run)(struct job *job),
			     void (*done)(struct job *job, void *object))
{
	struct land *l = xcalloc(1, sizeof(*l));

	l->job.lane = lane;
	l->job.run = run;
	l->job.done = done;
	l->job.home = f->all->loop;
	l->job.to = f->handle;
	l->job.magic = FLIGHT_MAGIC;
	l->flight = f;
	l->server = mirror_server(f->all->mirror);
	l->cache = l->server->cache;
	l->flow = f->flow ? flow_ref(f->flow) : NULL;
	l->partial = f->partial;
	l->dg = f->dg;
	snprintf(l->host, sizeof(l->host), "%s", f->upstream);
	return l;
}

static void land_submit(struct land *l)
{
	flight_job_start(l->flight);
	job_submit_on(l->flight->strand, &l->job);
}

static void land_free(struct land *l)
{
	for (size_t i = 0; i < l->n_repos; i++) {
		free((void *)(uintptr_t)l->repos[i].host);
		free((void *)(uintptr_t)l->repos[i].name);
	}
	free(l->repos);
	extent_release(&l->held);
	if (l->blob)
		blob_unpin(&l->blob);
	flow_unref(&l->flow);
	free(l);
}

static struct land *land_of(struct job *job)
{
	return container_of(job, struct land, job);
}

/* Does the answer still concern what the flight is doing? */
static bool is_current(const struct flight *f, const struct land *l,
		       enum flight_phase phase)
{
	return f->phase == phase && f->partial == l->partial;
}

static struct jobs *jobs_of(const struct flight *f)
{
	return mirror_server(f->all->mirror)->jobs;
}

/* A disk that is full is full for every blob: it is said once a minute. */
static void complain(struct flight *f, const struct why *why)
{
	static const uint64_t pause_ms = 60 * 1000;
	struct flights *all = f->all;
	uint64_t now = loop_now_ms(all->loop);

	if (all->complained_ms && now - all->complained_ms < pause_ms)
		return;
	all->complained_ms = now;
	log_warn("blobs pass through and are not stored, for instance one "
		 "of %s: %s",
		 f->upstream, why->text);
}

/* ---- opening ---- */

static void compare_if_stored(struct flight *f);

static void open_run(struct job *job)
{
	struct land *l = land_of(job);

	l->partial = NULL;
	l->err = partial_open(l->cache, &l->dg, l->host, &l->partial, &l->why);
}

static void opened(struct flight *f, struct partial *p)
{
	struct partial_view view;

	f->partial = p;
	f->flow = flow_new(jobs_of(f), p, &f->dg, f->conf->fetch.holdback_bytes,
			   f->all->loop, f->handle, FLIGHT_MAGIC, flight_poked);
	partial_view(p, &view);
	f->size = view.size;
	f->break_marker = view.held_bytes;
	f->phase = FLIGHT_RUNNING;
	compare_if_stored(f);
	flight_answer_seats(f); /* those whose yes is known from before */
	flight_plan_soon(f);
}

/* Nobody is there any more who would use it. */
static void close_opened(struct land *l)
{
	struct server *server = l->server;

	if (l->partial)
		flow_close_partial(server->jobs, l->partial);
	l->partial = NULL;
}

static void open_home(struct job *job, void *object)
{
	struct land *l = land_of(job);
	struct flight *f = object;

	if (!flight_job_home(f)) {
		close_opened(l);
	} else if (l->err) {
		complain(f, &l->why);
		flight_fail(f, l->err, 0, 0, &l->why);
	} else {
		opened(f, l->partial);
	}
	land_free(l);
}

void flight_open(struct flight *f)
{
	f->strand = strand_new(jobs_of(f));
	land_submit(land_new(f, JOB_SYNC, open_run, open_home));
}

/* ---- stored by another flight ---- */

/* Compare what another flight of this digest holds with the blob. */
static bool same_bytes(const struct land *l, int a, int b)
{
	uint8_t *x = xmalloc(COMPARE_STEP), *y = xmalloc(COMPARE_STEP);
	bool same = true;

	for (size_t i = 0; same && i < l->held.n; i++) {
		uint64_t off = l->held.v[i].start, end = l->held.v[i].end;

		while (same && off < end) {
			size_t n = (size_t)MIN(COMPARE_STEP, end - off);

			same = pread(a, x, n, (off_t)off) == (ssize_t)n &&
			       pread(b, y, n, (off_t)off) == (ssize_t)n &&
			       memcmp(x, y, n) == 0;
			off += n;
		}
	}
	free(x);
	free(y);
	return same;
}

/* ERR_OK with a blob: equal.  ERR_MISMATCH: not.  Others: it cannot be told,
 * and nothing has happened. */
static void compare_run(struct job *job)
{
	struct land *l = land_of(job);

	l->err = blob_pin(l->cache, &l->dg, &l->blob, &l->why);
	if (l->err)
		return;
	partial_extents(l->partial, &l->held);
	if (!same_bytes(l, partial_fd(l->partial), blob_fd(l->blob)))
		l->err = why_set(&l->why, ERR_MISMATCH,
				 "%s sends other bytes than another upstream "
				 "for the same digest",
				 l->host);
	partial_discard(l->partial);
}

static void compare_home(struct job *job, void *object)
{
	struct land *l = land_of(job);
	struct flight *f = object;

	if (!flight_job_home(f)) {
		land_free(l);
		return;
	}
	if (l->err == ERR_MISMATCH) {
		flight_fail(f, l->err, 0, 0, &l->why);
	} else if (l->err) {
		f->phase = FLIGHT_RUNNING; /* as if it were not stored */
		flight_plan_soon(f);
	} else {
		flow_switch(f->flow, l->blob);
		l->blob = NULL;
		flight_end(f);
	}
	land_free(l);
}

/* The same digest was under way from another upstream, or from before: the
 * readers go on from the file, if what they have had is the same. */
static void compare(struct flight *f)
{
	f->phase = FLIGHT_COMPARING;
	transfers_stop(f);
	timer_clear(&f->linger);
	land_submit(land_new(f, JOB_SLOW, compare_run, compare_home));
}

static void compare_if_stored(struct flight *f)
{
	if (flight_is_stored(f->all, &f->dg))
		compare(f);
}

static void switch_others(struct flight *done)
{
	struct flight *f = flight_next_same(done->all, &done->dg, NULL);

	for (; f; f = flight_next_same(done->all, &done->dg, f))
		if (f != done && f->phase == FLIGHT_RUNNING)
			compare(f);
}

/* ---- publication ---- */

static void publish_run(struct job *job)
{
	struct land *l = land_of(job);

	l->err = partial_publish(l->partial, l->repos, l->n_repos, &l->why);
}

static void publish_home(struct job *job, void *object)
{
	struct land *l = land_of(job);
	struct flight *f = object;

	if (flight_job_home(f)) {
		if (l->err) {
			log_warn("a blob of %s is served but not kept: %s",
				 f->upstream, l->why.text);
			flight_refuse_seats(f, -1, l->err, 0, 0, &l->why);
		} else {
			switch_others(f);
		}
		flight_end(f);
	}
	land_free(l);
}

/* Is this repository marked public? */
static bool is_public(struct flight *f, const struct source *s)
{
	struct index_txn *txn;
	struct repo_row row;
	uint64_t id;
	bool yes;

	if (s->public_yes)
		return true;
	txn = index_read(cache_index(mirror_server(f->all->mirror)->cache));
	yes = repo_id(txn, f->upstream, s->repo, &id) == ERR_OK &&
	      repo_get(txn, id, &row) == ERR_OK && row.visibility == VIS_PUBLIC;
	index_read_end(txn);
	return yes;
}

static void publish(struct flight *f)
{
	struct land *l = land_new(f, JOB_SYNC, publish_run, publish_home);

	f->phase = FLIGHT_PUBLISHING;
	transfers_stop(f);
	timer_clear(&f->linger);
	flow_prove(f->flow);
	flight_answer_seats(f);
	l->repos = xcalloc(f->n_sources, sizeof(*l->repos));
	for (unsigned i = 0; i < f->n_sources; i++) {
		const struct source *s = f->sources[i];

		if (s->state != SOURCE_YES)
			continue;
		l->repos[l->n_repos].host = xstrdup(f->upstream);
		l->repos[l->n_repos].name = xstrdup(s->repo);
		l->repos[l->n_repos++].public_yes = is_public(f, s);
	}
	land_submit(l);
}

/* ---- the hash ---- */

static void hash_run(struct job *job)
{
	struct land *l = land_of(job);
	struct partial_view view;

	l->err = partial_hash(l->partial, HASH_STEP, &l->more, &l->why);
	if (l->err)
		return;
	partial_view(l->partial, &view);
	if (view.proven)
		flow_prove(l->flow);
}

static void hash_home(struct job *job, void *object)
{
	struct land *l = land_of(job);
	struct flight *f = object;

	if (flight_job_home(f) && is_current(f, l, FLIGHT_RUNNING)) {
		f->hashing = false;
		if (l->err == ERR_CORRUPT)
			flight_mismatch(f, &l->why);
		else if (l->err)
			flight_spill(f, l->err, &l->why);
		else
			flight_plan_soon(f);
	}
	land_free(l);
}

/* Is there something to hash that will be needed?  Ranges here and there need
 * no hash before they add up to the whole. */
static bool hash_is_behind(struct flight *f, const struct partial_view *view)
{
	uint64_t run = partial_run(f->partial, view->hashed);

	return run > view->hashed && (f->linear || run >= f->size);
}

void flight_hash(struct flight *f)
{
	struct partial_view view;
	struct why why;

	partial_view(f->partial, &view);
	if (view.mismatch) {
		why_set(&why, ERR_MISMATCH,
			"%s sent bytes that do not have the digest asked for",
			f->upstream);
		flight_mismatch(f, &why);
	} else if (view.proven) {
		publish(f);
	} else if (!f->hashing && hash_is_behind(f, &view)) {
		f->hashing = true;
		land_submit(land_new(f, JOB_DATA, hash_run, hash_home));
	}
}

/* ---- wrong bytes ---- */

static void restart_run(struct job *job)
{
	struct land *l = land_of(job);

	partial_discard(l->partial);
	l->partial = NULL;
	l->err = partial_open(l->cache, &l->dg, l->host, &l->partial, &l->why);
}

static void restart_home(struct job *job, void *object)
{
	struct land *l = land_of(job);
	struct flight *f = object;

	if (!flight_job_home(f)) {
		close_opened(l);
	} else if (l->err) {
		flight_spill(f, l->err, &l->why);
	} else {
		f->partial = l->partial;
		f->size = f->size_hint = FLOW_SIZE_UNKNOWN;
		f->size_told = false;
		f->breaks = 0;
		f->unreached_ms = 0;
		f->break_marker = 0;
		f->phase = FLIGHT_RUNNING;
		flow_restart(f->flow, l->partial);
		compare_if_stored(f);
		flight_plan_soon(f);
	}
	land_free(l);
}

static void discard_run(struct job *job)
{
	partial_discard(land_of(job)->partial);
}

static void discard_home(struct job *job, void *object)
{
	flight_job_home(object);
	land_free(land_of(job));
}

void flight_mismatch(struct flight *f, const struct why *why)
{
	if (f->phase != FLIGHT_RUNNING)
		return;
	metric_add(METRIC_UPSTREAM_ERRORS, 1, f->metric, METRIC_ERROR_DIGEST,
		   0);
	flow_distrust(f->flow, why);
	transfers_stop(f);
	timer_clear(&f->retry);
	f->waiting_retry = f->hashing = false;
	if (!f->restarted) {
		log_warn("%s; the blob is fetched afresh", why->text);
		f->restarted = true;
		f->phase = FLIGHT_RESTARTING;
		land_submit(land_new(f, JOB_SYNC, restart_run, restart_home));
		return;
	}
	log_error("%s, twice; it is not asked for again for a while",
		  why->text);
	flight_mark_bad(f);
	land_submit(land_new(f, JOB_SYNC, discard_run, discard_home));
	flight_fail(f, ERR_MISMATCH, 0, 0, why);
}

/* ---- no room, or a disk that fails ---- */

/* What is held is of no use without the rest, and takes the room that is
 * missing.  Readers keep the descriptor. */
void flight_spill(struct flight *f, enum err err, const struct why *why)
{
	if (f->phase == FLIGHT_ENDED)
		return;
	complain(f, why);
	flight_refuse_seats(f, -1, err, 0, 0, why);
	flow_spill(f->flow);
	transfers_stop(f);
	land_submit(land_new(f, JOB_SYNC, discard_run, discard_home));
	flight_end(f);
}
