/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/flow_int.h"

#include <unistd.h>

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

uint64_t flow_ready_end(struct flow *f, const struct flow_reader *r,
			uint64_t off)
{
	uint64_t end = shown_end(f, r);

	if (end <= off || f->blob)
		return end;
	return MIN(end, partial_run(f->partial, off));
}

/* ---- coming and going ---- */

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

/* ---- looking ---- */

static enum flow_state look_locked(struct flow *f, struct flow_reader *r,
				   uint64_t off, uint64_t want_end,
				   uint64_t *end)
{
	uint64_t ready;

	if (r->err)
		return FLOW_FAILED;
	ready = MIN(flow_ready_end(f, r, off), want_end);
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
