/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The upstream's side of a pass.
 *
 *   start ─► [catch up: hash what the client has had from a file] ─► call
 *     call: head ─► the answer to the request; data ─► pieces
 *     a break ─► call again, from the next byte, a bounded number of times
 */
#include "proxy/log.h"
#include "proxy/pass_int.h"
#include "proxy/server.h"

#define PIECE_BYTES ((size_t)64 * 1024)
/* What one job reads of the file. */
#define CATCH_UP_STEP (4 * MIB)

/* ---- the ends ---- */

static void piece_send(struct pass *p, bool last)
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

/* Everything on the fetch side is over. */
static void pass_end(struct pass *p)
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

static void pass_fail(struct pass *p, enum err err, unsigned status,
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

/* ---- heads ---- */

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

static bool opened(struct pass *p, uint64_t size)
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

/* The size is known: now the last bytes can be asked for. */
static bool probed(struct pass *p, uint64_t size)
{
	if (size == CALL_LENGTH_UNKNOWN)
		return false;
	p->net = size - MIN(p->range.suffix, size);
	opened(p, size);
	return false;
}

/* The answer's bytes begin at `at`; those before the next wanted one are
 * skipped (a server that does not know ranges). */
static bool open_body(struct pass *p, uint64_t at, uint64_t size)
{
	if (size == CALL_LENGTH_UNKNOWN || at > p->net || !opened(p, size)) {
		p->status = 0; /* no refusal, but no answer either */
		return false;
	}
	p->at = at;
	return true;
}

static bool pass_head(void *arg, const struct call_head *h)
{
	struct pass *p = arg;
	uint64_t size = h->status == 200 ? h->length : h->range_total;

	p->status = h->status;
	p->from_registry = h->from_registry;
	p->retry_after_s = h->has_retry_after ? h->retry_after_s : 0;
	if (h->status != 200 && !h->has_range)
		return false;
	if (h->status == 416 && size != CALL_LENGTH_UNKNOWN && !p->opened) {
		opened(p, size); /* whose reply is a 416, too */
		return false;
	}
	if (h->status != 200 && h->status != 206)
		return false;
	if (p->probing)
		return probed(p, size);
	return open_body(p, h->status == 200 ? 0 : h->range_first, size);
}

/* ---- bytes ---- */

static void gather(struct pass *p, const uint8_t *buf, size_t len)
{
	while (len) {
		size_t n;

		if (!p->filling) {
			p->filling = piece_new(p, p->net, PIECE_BYTES);
			timer_set(&p->announce, p->conf->fetch.announce_ms);
		}
		n = MIN(len, PIECE_BYTES - p->filling->len);
		memcpy(p->filling->bytes + p->filling->len, buf, n);
		p->filling->len += n;
		p->net += n;
		buf += n;
		len -= n;
		if (p->filling->len == PIECE_BYTES)
			piece_send(p, false);
	}
}

static bool must_pause(struct pass *p)
{
	pthread_mutex_lock(&p->mu);
	p->paused = p->queued >= PASS_WINDOW_BYTES;
	pthread_mutex_unlock(&p->mu);
	return p->paused;
}

static enum fetch_take pass_data(void *arg, const void *buf, size_t len)
{
	struct pass *p = arg;
	const uint8_t *b = buf;
	size_t skip = (size_t)MIN(len, p->net - p->at);
	bool more = false;

	if (must_pause(p)) {
		piece_send(p, false);
		return FETCH_PAUSE;
	}
	p->at += len;
	b += skip;
	len -= skip;
	if (len > p->end - p->net) {
		len = (size_t)(p->end - p->net);
		more = true;
	}
	gather(p, b, len);
	return more ? FETCH_STOP : FETCH_TOOK;
}

/* ---- how it ended ---- */

static void pass_call(struct pass *p);

static void retry_fire(void *arg)
{
	pass_call(arg);
}

static enum err refusal(struct pass *p, struct why *why)
{
	switch (p->status) {
	case 404:
		return why_set(why, ERR_NOT_FOUND,
			       "the blob is not in %s at %s", p->repo,
			       p->upstream);
	case 401:
	case 403:
	case 451:
		return why_set(why, ERR_DENIED,
			       "%s is private or does not exist at %s", p->repo,
			       p->upstream);
	case 429:
		return why_set(why, ERR_LIMITED, "%s limits our requests (429)",
			       p->upstream);
	default:
		return why_set(why, ERR_UNAVAILABLE,
			       "%s answered %u for a blob", p->upstream,
			       p->status);
	}
}

/* The call is over and not all has come. */
static void broke(struct pass *p, enum err err, const struct why *why)
{
	const struct conf_upstream *up = upstream_conf(p->up);

	piece_send(p, false);
	p->breaks = p->net > p->progress ? 1 : p->breaks + 1;
	p->progress = p->net;
	/* Who has had nothing yet can be told of an error. */
	if (!p->opened || err == ERR_CANCELED || p->breaks > up->retries)
		pass_fail(p, err, p->status, why);
	else
		timer_set(&p->retry, up->retry_min_ms);
}

static void pass_done(void *arg, enum err err, bool had_head,
		      const struct why *why)
{
	struct pass *p = arg;
	struct why ours = *why;

	(void)had_head;
	p->call = NULL;
	if (p->opened && p->net >= p->end) {
		piece_send(p, true);
		pass_end(p);
		return;
	}
	if (!err && p->probing && p->opened) {
		p->probing = false;
		pass_call(p);
		return;
	}
	if (!err && p->status && p->status != 200 && p->status != 206)
		err = refusal(p, &ours);
	else if (!err)
		err = why_set(&ours, ERR_UNAVAILABLE,
			      "%s ended a blob early, or answered another "
			      "range than it was asked for",
			      p->upstream);
	broke(p, err, &ours);
}

static void pass_call(struct pass *p)
{
	static const struct call_events events = {
	    .head = pass_head,
	    .data = pass_data,
	    .done = pass_done,
	};
	char reference[DIGEST_TEXT_MAX];
	struct call_spec spec = {
	    .up = p->up,
	    .repo = p->repo,
	    .what = CALL_BLOB,
	    .reference = digest_text(&p->dg, reference),
	    .first = p->net,
	    .last = p->end == UINT64_MAX ? CALL_OPEN : p->end - 1,
	};

	p->status = 0;
	spec.ranged = p->net > 0 || spec.last != CALL_OPEN;
	if (p->range.shape == FLOW_SUFFIX && !p->opened) {
		/* Its size is asked for first: a suffix is no range of ours. */
		p->probing = true;
		spec.ranged = true;
		spec.first = spec.last = 0;
	}
	p->ranged = spec.ranged;
	p->call = call_start(mirror_caller(p->mirror), &spec, &events, p);
}

/* ---- catching up ---- */

/*
 * What the client has had from the file, and what is in the file behind it,
 * goes into the hash: then the hash covers each byte that the client gets.
 */
struct catch_up {
	struct job job;
	struct pass *pass; /* a reference */
	uint64_t off, end;
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
		opened(p, p->size);
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
