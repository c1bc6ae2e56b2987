/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes on their way from a transfer to the partial, cut into chunks that
 * workers write and hash in order.
 *
 *   transfer_take() fills a chunk ──full, 2 ms old, or the end──► job
 *                                                       partial_write()
 *   chunk_home() ◄── flow_announce(): readers go on ◄────────┘
 *
 * Memory is bounded by pausing transfers: `memory_fill` for one flight,
 * `memory_total` for all, uploads included.  A flight that has no chunk at all
 * may always have one, so none waits for another one's disk; and who is paused
 * has a chunk with a worker, whose coming home resumes it.
 */
#include "proxy/backlog.h"
#include "proxy/flight_int.h"

struct chunk {
	struct job job;
	struct flights *all;
	struct flow *flow; /* keeps the partial open */
	struct partial *partial;
	uint64_t off;
	size_t len, want, room; /* it goes once it has what it wants */
	enum err err;
	struct why why;
	uint8_t *bytes;
};

static size_t full_room(const struct flight *f)
{
	return (size_t)f->conf->fetch.announce_bytes;
}

/* ---- memory ---- */

static struct chunk *chunk_alloc(struct flights *all, size_t room)
{
	struct chunk *c;

	if (all->n_spare && room <= all->spare[all->n_spare - 1]->room)
		return all->spare[--all->n_spare];
	c = xcalloc(1, sizeof(*c));
	c->bytes = xmalloc(room);
	c->room = room;
	return c;
}

static struct chunk *chunk_new(struct flight *f, uint64_t off, size_t want)
{
	struct chunk *c = chunk_alloc(f->all, want);

	c->all = f->all;
	c->flow = flow_ref(f->flow);
	c->partial = f->partial;
	c->off = off;
	c->len = 0;
	c->want = want;
	c->err = ERR_OK;
	f->queued += c->room;
	f->all->queued += c->room;
	backlog_add(c->room);
	return c;
}

static void chunk_free(struct chunk *c)
{
	free(c->bytes);
	free(c);
}

/* Full-sized chunks are kept for the next one; others are not worth it.  `f`
 * is NULL if it has gone. */
static void chunk_release(struct chunk *c, struct flight *f)
{
	struct flights *all = c->all;

	all->queued -= c->room;
	backlog_sub(c->room);
	if (f)
		f->queued -= c->room;
	flow_unref(&c->flow);
	if (f && c->room == full_room(f) && all->n_spare < FLIGHT_SPARE_CHUNKS)
		all->spare[all->n_spare++] = c;
	else
		chunk_free(c);
}

void chunks_free(struct flights *all)
{
	while (all->n_spare)
		chunk_free(all->spare[--all->n_spare]);
}

/* ---- pausing ---- */

static bool has_room(const struct flight *f, uint64_t fill_bytes)
{
	size_t more = full_room(f);

	return f->queued == 0 ||
	       (f->queued + more <= fill_bytes &&
		backlog_bytes() + more <= f->conf->cache.memory_total_bytes);
}

bool transfer_must_pause(struct transfer *t, size_t len)
{
	struct flight *f = t->flight;

	if (t->chunk && t->chunk->want - t->chunk->len >= len)
		return false;
	if (has_room(f, f->conf->cache.memory_fill_bytes))
		return false;
	chunk_send(t); /* what waits must not wait for itself */
	if (!t->paused)
		TAILQ_INSERT_TAIL(&f->all->paused, t, link);
	t->paused = true;
	return true;
}

void transfer_unpause(struct transfer *t)
{
	if (!t->paused)
		return;
	t->paused = false;
	TAILQ_REMOVE(&t->flight->all->paused, t, link);
}

/* Half of the flight's memory is free again. */
static bool may_resume(const struct transfer *t)
{
	return has_room(t->flight,
			t->flight->conf->cache.memory_fill_bytes / 2);
}

/* Each of them is looked at once: those that pause again go to the end. */
static void resume_paused(struct flights *all)
{
	struct transfer *t;
	unsigned n = 0;

	TAILQ_FOREACH (t, &all->paused, link)
		n++;
	while (n-- && (t = TAILQ_FIRST(&all->paused))) {
		TAILQ_REMOVE(&all->paused, t, link);
		if (may_resume(t)) {
			t->paused = false;
			call_resume(t->call);
		} else {
			TAILQ_INSERT_TAIL(&all->paused, t, link);
		}
	}
}

/* ---- with a worker, and home ---- */

static void chunk_write(struct job *job)
{
	struct chunk *c = container_of(job, struct chunk, job);
	struct partial_view view;

	c->err = partial_write(c->partial, c->off, c->bytes, c->len, &c->why);
	if (c->err)
		return;
	partial_view(c->partial, &view);
	if (view.proven)
		flow_prove(c->flow);
	else if (!view.mismatch)
		flow_announce(c->flow);
}

static void chunk_home(struct job *job, void *object)
{
	struct chunk *c = container_of(job, struct chunk, job);
	struct flight *f = object;
	struct flights *all = c->all;
	struct why why = c->why;
	enum err err = c->err;
	bool current = f && f->partial == c->partial;

	if (f)
		extent_remove(&f->pending, c->off, c->off + c->len);
	chunk_release(c, f);
	if (flight_job_home(f) && current && f->phase == FLIGHT_RUNNING) {
		if (err == ERR_MISMATCH)
			flight_mismatch(f, &why);
		else if (err)
			flight_spill(f, err, &why);
		flight_plan_soon(f);
	}
	resume_paused(all);
}

void chunk_send(struct transfer *t)
{
	struct flight *f = t->flight;
	struct chunk *c = t->chunk;

	timer_clear(&t->announce);
	if (!c)
		return;
	t->chunk = NULL;
	extent_add(&f->pending, c->off, c->off + c->len);
	memset(&c->job, 0, sizeof(c->job));
	c->job.lane = JOB_DATA;
	c->job.run = chunk_write;
	c->job.home = f->all->loop;
	c->job.to = f->handle;
	c->job.magic = FLIGHT_MAGIC;
	c->job.done = chunk_home;
	flight_job_start(f);
	job_submit_on(f->strand, &c->job);
}

void chunk_announce_fire(void *arg)
{
	chunk_send(arg);
}

void chunk_drop(struct transfer *t)
{
	timer_clear(&t->announce);
	if (t->chunk)
		chunk_release(t->chunk, t->flight);
	t->chunk = NULL;
}

/* ---- from the network ---- */

/*
 * How large a chunk at t->pos should be: no larger than what can come, and up
 * to where a full one would begin.  Writes that begin and end there have the
 * page cache in large folios, which are sent with less work.
 */
static size_t wanted(const struct transfer *t)
{
	uint64_t end = MIN(t->end, t->flight->size);
	uint64_t full = full_room(t->flight);
	uint64_t want = full - t->pos % full;

	if (end > t->pos)
		want = MIN(want, end - t->pos);
	return (size_t)want;
}

void transfer_take(struct transfer *t, const uint8_t *buf, size_t len)
{
	struct flight *f = t->flight;

	while (len) {
		struct chunk *c = t->chunk;
		size_t n;

		if (!c) {
			c = t->chunk = chunk_new(f, t->pos, wanted(t));
			timer_set(&t->announce, f->conf->fetch.announce_ms);
		}
		n = MIN(len, c->want - c->len);
		memcpy(c->bytes + c->len, buf, n);
		c->len += n;
		t->pos += n;
		buf += n;
		len -= n;
		if (c->len == c->want)
			chunk_send(t);
	}
}
