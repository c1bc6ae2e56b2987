/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One ranged GET of a flight: what its answer's head means, its bytes, and
 * what becomes of the flight when it ends.
 */
#include "proxy/flight_int.h"
#include "proxy/log.h"
#include "proxy/metrics.h"

/* ---- the call's callbacks ---- */

/* A size that an answer tells; CALL_LENGTH_UNKNOWN if it does not. */
static uint64_t told_size(const struct call_head *h)
{
	return h->status == 206 ? h->range_total : h->length;
}

/* An answer that makes no sense. */
static bool bad(struct transfer *t)
{
	t->bad = true;
	return false;
}

static bool learn_size(struct transfer *t, uint64_t size, bool told)
{
	if (flight_learn_size(t->flight, size, told, &t->why))
		return true;
	t->contradicts = true;
	return bad(t);
}

static void opened(struct transfer *t, const struct call_head *h)
{
	t->opened = true;
	t->authorized = h->authorized;
}

/* Only bytes are an answer that a client may be promised something on: an
 * upstream that breaks before the first of them is an error, not a cut. */
static void say_yes(struct transfer *t)
{
	if (t->said_yes)
		return;
	t->said_yes = true;
	source_yes(t->flight->sources[t->source], t->authorized);
}

/* The answer has bytes in it. */
static bool open_body(struct transfer *t, const struct call_head *h)
{
	struct flight *f = t->flight;
	uint64_t size = told_size(h);

	if (h->status == 206 &&
	    (!t->ranged || !h->has_range || h->range_first != t->start)) {
		why_set(&t->why, ERR_BAD_UPSTREAM,
			"%s answered another range than it was asked for",
			f->upstream);
		return bad(t);
	}
	if (size != CALL_LENGTH_UNKNOWN) {
		if (!learn_size(t, size, true))
			return false;
	} else if (f->size == FLOW_SIZE_UNKNOWN &&
		   f->size_hint != FLOW_SIZE_UNKNOWN &&
		   !learn_size(t, f->size_hint, false)) {
		return false;
	}
	if (h->status == 200)
		t->pos = 0; /* all of it: what was not asked for is skipped */
	t->answer_end = h->status == 206 ? h->range_last + 1 : h->length;
	opened(t, h);
	return true;
}

/* 416: there are no such bytes, but the size is known now, and that the
 * repository has the blob. */
static bool beyond_the_end(struct transfer *t, const struct call_head *h)
{
	if (t->start < h->range_total) {
		why_set(&t->why, ERR_BAD_UPSTREAM,
			"%s refuses a range of a blob that has these bytes",
			t->flight->upstream);
		return bad(t);
	}
	if (!learn_size(t, h->range_total, true))
		return false;
	t->end = t->pos;
	opened(t, h);
	say_yes(t);
	return false;
}

static bool transfer_head(void *arg, const struct call_head *h)
{
	struct transfer *t = arg;

	t->endpoint = h->endpoint;
	if (h->status == 200 || h->status == 206)
		return open_body(t, h);
	if (h->status == 416 && h->has_range &&
	    h->range_total != CALL_LENGTH_UNKNOWN && t->ranged)
		return beyond_the_end(t, h);
	t->status = h->status;
	t->from_registry = h->from_registry;
	t->retry_after_s = h->has_retry_after ? h->retry_after_s : 0;
	return false;
}

static enum fetch_take transfer_data(void *arg, const void *buf, size_t len)
{
	struct transfer *t = arg;
	const uint8_t *p = buf;
	bool more = false; /* comes than is wanted */

	if (transfer_must_pause(t, len))
		return FETCH_PAUSE;
	say_yes(t);
	if (t->pos < t->start) { /* a 200 to a range */
		size_t skip = (size_t)MIN(len, t->start - t->pos);

		t->pos += skip;
		p += skip;
		len -= skip;
	}
	if (t->pos >= t->start && len > t->end - t->pos) {
		len = (size_t)(t->end - t->pos);
		more = true;
	}
	transfer_take(t, p, len);
	/* An answer that ends here leaves its connection for the next one. */
	return t->pos == t->end && (more || t->answer_end != t->end)
		   ? FETCH_STOP
		   : FETCH_TOOK;
}

/* ---- how it ended ---- */

static bool is_refusal(unsigned status)
{
	return status == 401 || status == 403 || status == 404 || status == 451;
}

static void ended_refused(struct transfer *t)
{
	struct flight *f = t->flight;
	struct source *s = f->sources[t->source];
	struct why why;
	enum err err = t->status == 404 ? ERR_NOT_FOUND : ERR_DENIED;

	if (err == ERR_NOT_FOUND)
		why_set(&why, err, "the blob is not in %s at %s", s->repo,
			f->upstream);
	else
		why_set(&why, err, "%s is private or does not exist at %s",
			s->repo, f->upstream);
	source_refused(s, err, t->status, 0, &why);
}

/* 0 breaks: retry_min; each further one doubles it. */
static uint64_t back_off_ms(const struct flight *f)
{
	uint64_t ms = f->up_conf->retry_min_ms;

	for (unsigned i = 1; i < f->breaks && ms < f->up_conf->retry_max_ms;
	     i++)
		ms *= 2;
	return MIN(ms, f->up_conf->retry_max_ms);
}

/* Has anything come since the last break? */
static bool has_progress(struct flight *f)
{
	uint64_t held = flight_arrived_bytes(f);
	bool more;

	more = held > f->break_marker;
	f->break_marker = held;
	return more;
}

/*
 * No endpoint takes a connection, and of this blob nobody has had a byte that
 * would be in vain: an error soon lets the client ask somebody else.  Long
 * enough for an upstream that is just being started again.
 */
static bool unreached_too_long(struct transfer *t, enum err err,
			       uint64_t wait_ms)
{
	struct flight *f = t->flight;
	uint64_t now = now_ms();

	if (err != ERR_UNAVAILABLE || t->endpoint >= 0 ||
	    flight_arrived_bytes(f) > 0) {
		f->unreached_ms = 0;
		return false;
	}
	if (!f->unreached_ms)
		f->unreached_ms = now;
	return now - f->unreached_ms + wait_ms > f->up_conf->unreached_ms;
}

static void give_up(struct transfer *t, enum err err, const struct why *why)
{
	struct flight *f = t->flight;

	/* What is held may be what is wrong. */
	if (t->contradicts && !f->size_told)
		flight_mismatch(f, why);
	else
		flight_fail(f, err, t->status, t->retry_after_s, why);
}

/* A break: go on after a while, elsewhere if possible, or give up. */
static void broke(struct transfer *t, enum err err, const struct why *why)
{
	struct flight *f = t->flight;
	const struct conf_upstream *up = f->up_conf;
	uint64_t wait_ms;

	log_debug("blob of %s: %s", f->upstream, why->text);
	f->breaks = has_progress(f) ? 1 : f->breaks + 1;
	f->avoid = t->endpoint >= 0 && t->endpoint < 32 && up->endpoints.n > 1
		       ? 1u << t->endpoint
		       : 0;
	wait_ms = MAX(back_off_ms(f),
		      MIN(t->retry_after_s, UINT64_MAX / 1000) * 1000);
	if (f->breaks > up->retries ||
	    wait_ms > MAX(up->retry_max_ms, up->first_byte_ms) ||
	    unreached_too_long(t, err, wait_ms)) {
		give_up(t, err, why);
		return;
	}
	metric_inc(METRIC_UPSTREAM_RETRIES, f->metric);
	f->waiting_retry = true;
	timer_set(&f->retry, wait_ms);
}

static void ended_status(struct transfer *t)
{
	struct why why;
	enum err err = t->status == 429 ? ERR_LIMITED : ERR_UNAVAILABLE;

	if (t->from_registry && is_refusal(t->status)) {
		ended_refused(t);
		return;
	}
	why_set(&why, err, "%s answered %u for a blob%s", t->flight->upstream,
		t->status,
		t->from_registry ? "" : " where it had redirected to");
	broke(t, err, &why);
}

/* Has everything that was asked for come? */
static bool came_whole(struct transfer *t)
{
	uint64_t end = MIN(t->end, t->flight->size);

	if (!t->opened)
		return false;
	if (end == FLOW_SIZE_UNKNOWN) { /* no length: its end is the size */
		if (!learn_size(t, t->pos, true))
			return false;
		flight_answer_seats(t->flight);
		return true;
	}
	return t->pos >= end;
}

static void judge(struct transfer *t, enum err err, const struct why *why)
{
	struct flight *f = t->flight;
	struct why cut;

	if (t->status) {
		ended_status(t);
	} else if (err == ERR_DENIED) {
		source_refused(f->sources[t->source], err, 403, 0, why);
	} else if (err) {
		broke(t, err, why);
	} else if (!t->bad && came_whole(t)) {
		say_yes(t); /* of an empty blob */
	} else if (t->bad) {
		broke(t, ERR_BAD_UPSTREAM, &t->why);
	} else {
		why_set(&cut, ERR_UNAVAILABLE,
			"%s ended a blob early, at byte %" PRIu64, f->upstream,
			t->pos);
		broke(t, ERR_UNAVAILABLE, &cut);
	}
}

static void transfer_done(void *arg, enum err err, bool had_head,
			  const struct why *why)
{
	struct transfer *t = arg;

	(void)had_head;
	t->call = NULL;
	transfer_unpause(t);
	chunk_send(t);
	t->used = false;
	source_unasked(t->flight->sources[t->source]);
	flight_plan_soon(t->flight);
	judge(t, err, why);
}

static const struct call_events transfer_events = {
    .head = transfer_head,
    .data = transfer_data,
    .done = transfer_done,
};

/* ---- start and stop ---- */

static struct transfer *free_transfer(struct flight *f)
{
	for (size_t i = 0; i < FLIGHT_TRANSFERS_MAX; i++)
		if (!f->transfers[i].used)
			return &f->transfers[i];
	return NULL;
}

bool transfer_start(struct flight *f, unsigned source, uint64_t start,
		    uint64_t end, bool linear)
{
	char reference[DIGEST_TEXT_MAX];
	struct transfer *t = free_transfer(f);
	struct call_spec spec = {
	    .up = f->up,
	    .repo = f->sources[source]->repo,
	    .what = CALL_BLOB,
	    .reference = digest_text(&f->dg, reference),
	    .ranged = start > 0 || end != CALL_OPEN,
	    .first = start,
	    .last = end == CALL_OPEN ? CALL_OPEN : end - 1,
	    .avoid_endpoints = f->avoid,
	};

	if (!t)
		return false;
	timer_release(&t->announce);
	memset(t, 0, sizeof(*t));
	t->flight = f;
	t->used = true;
	t->linear = linear;
	t->source = source;
	t->ranged = spec.ranged;
	t->start = t->pos = start;
	t->end = end;
	t->answer_end = UINT64_MAX;
	t->endpoint = -1;
	timer_init(&t->announce, f->all->loop, chunk_announce_fire, t);
	t->call = call_start(mirror_caller(f->all->mirror), &spec,
			     &transfer_events, t);
	return true;
}

/* Drop what has not been given to a worker, and hang up. */
static void transfer_stop(struct transfer *t)
{
	if (!t->used)
		return;
	call_cancel(&t->call);
	transfer_unpause(t);
	chunk_drop(t);
	t->used = false;
	source_unasked(t->flight->sources[t->source]);
}

void transfers_stop(struct flight *f)
{
	for (size_t i = 0; i < FLIGHT_TRANSFERS_MAX; i++)
		transfer_stop(&f->transfers[i]);
}
