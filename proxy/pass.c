/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a pass on the fetch loop.
 *
 *   start ─► [catch up: hash what the client has had from a file] ─► call
 *   (pass_call.c) ─► end
 */
#include "proxy/log.h"
#include "proxy/pass_int.h"
#include "proxy/server.h"

/* What one job reads of the file. */
#define CATCH_UP_STEP (4 * MIB)

/* ---- what the serve side is told ---- */

void piece_send(struct pass *p, bool last)
{
	struct piece *piece = p->filling;

	timer_clear(&p->announce);
	if (!piece && last)
		piece = piece_new(p, p->net, 0);
	if (!piece)
		return;
	p->filling = NULL;
	piece->last = last;
	pass_submit(p, piece);
}

static void announce_fire(void *arg)
{
	piece_send(arg, false);
}

static struct pass_answer *answer_new(struct pass *p, enum err err)
{
	struct pass_answer *a = xcalloc(1, sizeof(*a));

	a->msg.to = p->to;
	a->msg.magic = p->magic;
	a->msg.run = p->run;
	a->err = err;
	a->upstream_us = now_us() - p->since_us;
	return a;
}

/* The client's range within the size that is known now. */
static void settle_range(struct pass *p)
{
	const struct flow_range *r = &p->range;

	if (p->goes_on)
		return;
	p->end = p->size;
	if (r->shape == FLOW_BOUNDED && r->last < p->size)
		p->end = r->last + 1;
}

bool pass_opened(struct pass *p, uint64_t size)
{
	struct pass_answer *a;

	if (p->opened)
		return size == p->size;
	p->opened = true;
	p->size = size;
	settle_range(p);
	a = answer_new(p, ERR_OK);
	a->size = size;
	pass_ref(p); /* the serve side's */
	a->pass = p;
	loop_post(p->home, &a->msg);
	return true;
}

/* ---- the ends ---- */

void pass_end(struct pass *p)
{
	struct handle handle = p->handle; /* the serve side reads p's */

	if (p->over)
		return;
	p->over = true;
	call_cancel(&p->call);
	free(p->filling);
	p->filling = NULL;
	if (p->started) {
		LIST_REMOVE(p, link);
		timer_release(&p->announce);
		timer_release(&p->retry);
		strand_free(&p->strand);
		loop_unregister(mirror_loop(p->mirror), &handle);
	}
	pass_unref(p);
}

void pass_fail(struct pass *p, enum err err, unsigned status,
	       const struct why *why)
{
	struct pass_answer *a;

	if (p->opened) {
		log_debug("a blob that passes through is cut: %s", why->text);
		pass_cut(p);
	} else {
		a = answer_new(p, err);
		a->status = status;
		a->why = *why;
		a->retry_after_s = p->retry_after_s;
		loop_post(p->home, &a->msg);
	}
	pass_end(p);
}

void passes_close(struct flights *all)
{
	struct why why;
	struct pass *p;

	why_set(&why, ERR_CANCELED, "the daemon is stopping");
	while ((p = LIST_FIRST(&all->passes)))
		pass_fail(p, ERR_CANCELED, 0, &why);
}

/* ---- catching up ---- */

/*
 * What the client has had from the file, and what is in the file behind it,
 * goes into the hash: then the hash covers each byte that the client gets.
 */
struct catch_up {
	struct job job;
	struct pass *pass; /* a reference */
	uint64_t end;
	bool failed;
};

static void catch_up_run(struct job *job)
{
	struct catch_up *c = container_of(job, struct catch_up, job);
	struct pass *p = c->pass;
	uint64_t end = MIN(c->end, p->hashed + CATCH_UP_STEP);
	uint8_t *buf = xmalloc(PIECE_BYTES);

	while (!c->failed && p->hashed < end) {
		size_t n = (size_t)MIN(PIECE_BYTES, end - p->hashed);

		c->failed =
		    flow_pread(p->flow, buf, n, p->hashed) != (ssize_t)n;
		if (c->failed)
			break;
		hasher_update(p->hasher, buf, n);
		p->hashed += n;
	}
	free(buf);
}

static void go_on(struct pass *p);

static void catch_up_done(struct job *job, void *object)
{
	struct catch_up *c = container_of(job, struct catch_up, job);
	struct pass *p = object;
	struct why why;

	if (p && c->failed) {
		why_set(&why, ERR_IO, "what was stored cannot be read again");
		pass_fail(p, ERR_IO, 0, &why);
	} else if (p) {
		go_on(p);
	}
	pass_unref(c->pass);
	free(c);
}

static void catch_up(struct pass *p, uint64_t end)
{
	struct catch_up *c = xcalloc(1, sizeof(*c));

	pass_ref(p);
	c->pass = p;
	c->end = end;
	c->job.lane = JOB_DATA;
	c->job.run = catch_up_run;
	c->job.done = catch_up_done;
	c->job.home = mirror_loop(p->mirror);
	c->job.to = p->handle;
	c->job.magic = PASS_MAGIC;
	job_submit_on(p->strand, &c->job);
}

/* What is in the hash and has not been sent comes from the file, too: other
 * bytes than those that were hashed must not leave. */
static void send_prefix(struct pass *p)
{
	struct piece *piece = piece_new(p, p->net, 0);

	piece->from_file = true;
	piece->len = (size_t)(p->hashed - p->net);
	p->net = p->hashed;
	pass_submit(p, piece);
}

/* No job runs now: the hash is ours to look at. */
static void go_on(struct pass *p)
{
	if (p->verify && p->hashed < p->net) {
		catch_up(p, p->net);
		return;
	}
	if (p->verify && p->hashed > p->net)
		send_prefix(p);
	if (p->opened && p->net >= p->end) {
		piece_send(p, true);
		pass_end(p);
	} else {
		pass_call(p);
	}
}

/* ---- opening ---- */

struct pass_start {
	struct message msg;
	struct pass *pass;
};

static void retry_fire(void *arg)
{
	pass_call(arg);
}

static void start_run(struct message *msg, void *object)
{
	struct pass_start *s = container_of(msg, struct pass_start, msg);
	struct pass *p = s->pass;
	struct flights *all = mirror_flights(p->mirror);
	struct why why;

	(void)object;
	free(s);
	if (all->closing) {
		why_set(&why, ERR_CANCELED, "the daemon is stopping");
		pass_fail(p, ERR_CANCELED, 0, &why);
		return;
	}
	p->started = true;
	LIST_INSERT_HEAD(&all->passes, p, link);
	p->handle = loop_register(all->loop, p, PASS_MAGIC);
	p->strand = strand_new(mirror_server(p->mirror)->jobs);
	timer_init(&p->announce, all->loop, announce_fire, p);
	timer_init(&p->retry, all->loop, retry_fire, p);
	p->up = upstream_find(mirror_upstreams(p->mirror), p->upstream);
	if (!p->up || upstream_conf(p->up)->offline) {
		why_set(&why, ERR_UNAVAILABLE,
			"%s is offline or not configured any more",
			p->upstream);
		pass_fail(p, ERR_UNAVAILABLE, 0, &why);
		return;
	}
	if (p->goes_on)
		pass_opened(p, p->size);
	go_on(p);
}

static void set_range(struct pass *p, const struct pass_spec *spec)
{
	p->range = spec->range;
	p->end = UINT64_MAX;
	if (spec->goes_on) {
		p->goes_on = true;
		p->size = spec->size;
		p->end = spec->end;
		p->net = spec->off;
		p->hasher = spec->hasher;
		p->hashed = spec->hashed;
		p->flow = flow_ref(spec->flow);
	} else if (spec->range.shape == FLOW_WHOLE) {
		p->hasher = hasher_new((enum digest_alg)spec->dg.alg);
	} else if (spec->range.shape != FLOW_SUFFIX) {
		p->net = spec->range.first;
		if (spec->range.shape == FLOW_BOUNDED &&
		    spec->range.last < UINT64_MAX)
			p->end = spec->range.last + 1;
	}
	p->verify = p->hasher != NULL;
}

void pass_open(struct mirror *m, const struct pass_spec *spec,
	       struct loop *home, struct handle to, uint32_t magic,
	       void (*run)(struct message *msg, void *object))
{
	struct pass *p = xcalloc(1, sizeof(*p));
	struct pass_start *s = xcalloc(1, sizeof(*s));

	p->refs = 1; /* the fetch side's */
	p->mirror = m;
	p->dg = spec->dg;
	p->conf = server_conf(mirror_server(m));
	snprintf(p->upstream, sizeof(p->upstream), "%s", spec->upstream);
	snprintf(p->repo, sizeof(p->repo), "%s", spec->repo);
	set_range(p, spec);
	p->home = home;
	p->to = to;
	p->magic = magic;
	p->run = run;
	p->since_us = now_us();
	pthread_mutex_init(&p->mu, NULL);
	STAILQ_INIT(&p->held);
	STAILQ_INIT(&p->shown);
	s->pass = p;
	s->msg.run = start_run;
	loop_post(mirror_loop(m), &s->msg);
}

void pass_kicked(struct message *msg, void *object)
{
	struct pass *p = object;
	bool closed;

	free(msg);
	if (!p)
		return;
	pthread_mutex_lock(&p->mu);
	closed = p->closed;
	pthread_mutex_unlock(&p->mu);
	if (closed) {
		pass_end(p);
	} else if (p->paused && p->call) {
		p->paused = false;
		call_resume(p->call);
	}
}
