/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a running flight begins next.  A plan is made at the end of a turn in
 * which something happened: a seat or a reader came, waits or left, bytes
 * were written, a transfer or a question ended.
 *
 *   the linear fill    from the first byte that is not covered to the next
 *                      one that is; while somebody wanted all of it
 *   gap transfers      for readers far ahead of every transfer
 *   questions          for repositories that need a yes of their own
 *
 * Covered are the bytes that are held, that are with a worker, and that a
 * transfer owns: nobody asks for them again.
 */
#include "proxy/flight_int.h"
#include "proxy/log.h"

static bool has_linear_transfer(const struct flight *f)
{
	for (size_t i = 0; i < FLIGHT_TRANSFERS_MAX; i++)
		if (f->transfers[i].used && f->transfers[i].linear)
			return true;
	return false;
}

static unsigned transfers_used(const struct flight *f)
{
	unsigned n = 0;

	for (size_t i = 0; i < FLIGHT_TRANSFERS_MAX; i++)
		n += f->transfers[i].used;
	return n;
}

/* Held, or with a worker.  The caller releases it. */
static void arrived(const struct flight *f, struct extents *out)
{
	const struct extent *e;

	partial_extents(f->partial, out);
	EXTENT_EACH(e, &f->pending)
	extent_add(out, e->start, e->end);
}

uint64_t flight_arrived_bytes(const struct flight *f)
{
	struct extents set;
	uint64_t total;

	arrived(f, &set);
	total = extent_total(&set);
	extent_release(&set);
	return total;
}

static void covered(const struct flight *f, struct extents *out)
{
	arrived(f, out);
	for (size_t i = 0; i < FLIGHT_TRANSFERS_MAX; i++) {
		const struct transfer *t = &f->transfers[i];
		uint64_t end = MIN(t->end, f->size);

		if (t->used && t->start < end)
			extent_add(out, t->start, end);
	}
}

/*
 * Under whose token?  A repository that has had its yes and has readers; or
 * one that has had it; or one that has not been asked, whose yes the transfer
 * then is.
 */
static struct source *pick_source(struct flight *f)
{
	struct source *best = NULL;
	int best_rank = 0;

	for (unsigned i = 0; i < f->n_sources; i++) {
		struct source *s = f->sources[i];
		bool waits = source_has_seats(f, i) ||
			     flow_source_readers(f->flow, i) > 0;
		int rank = s->state == SOURCE_YES   ? 2 + waits
			   : s->state == SOURCE_NEW ? waits
						    : 0;

		if (rank > best_rank) {
			best = s;
			best_rank = rank;
		}
	}
	return best;
}

/* Start a transfer under this repository's token; it is its question, too, if
 * it has not been asked. */
static void start(struct flight *f, struct source *s, uint64_t first,
		  uint64_t end, bool linear)
{
	if (transfer_start(f, s->number, first, end, linear) &&
	    s->state == SOURCE_NEW)
		s->state = SOURCE_ASKING;
}

/* ---- the linear fill ---- */

static void start_linear(struct flight *f, struct source *s)
{
	struct extents set;
	uint64_t first, end;

	covered(f, &set);
	first = extent_run(&set, 0);
	end = extent_next(&set, first); /* EXTENT_NONE is CALL_OPEN */
	extent_release(&set);
	if (first < f->size)
		start(f, s, first, end, true);
}

/* ---- gaps ---- */

/* Will a running transfer come to this byte soon, or has it come? */
static bool joins(const struct flight *f, uint64_t off)
{
	uint64_t ahead = f->conf->fetch.join_ahead_bytes;

	if (extent_contains(&f->pending, off, off + 1))
		return true;
	for (size_t i = 0; i < FLIGHT_TRANSFERS_MAX; i++) {
		const struct transfer *t = &f->transfers[i];

		/* <=: the next byte to come is nobody else's to ask for. */
		if (t->used && off >= t->start && off < t->end &&
		    (off <= transfer_at(t) || off - transfer_at(t) < ahead))
			return true;
	}
	return false;
}

/* A transfer that would come to `first` later stops there instead. */
static void shorten_others(struct flight *f, uint64_t first)
{
	for (size_t i = 0; i < FLIGHT_TRANSFERS_MAX; i++) {
		struct transfer *t = &f->transfers[i];

		if (t->used && transfer_at(t) < first && first < t->end)
			t->end = first;
	}
}

/* Where a transfer from `first` that is to bring bytes up to `end` stops: at
 * the next byte that has arrived or that another one begins with. */
static uint64_t gap_end(const struct flight *f, uint64_t first, uint64_t end)
{
	struct extents set;

	arrived(f, &set);
	end = MIN(end, extent_next(&set, first));
	extent_release(&set);
	for (size_t i = 0; i < FLIGHT_TRANSFERS_MAX; i++) {
		const struct transfer *t = &f->transfers[i];

		if (t->used && t->start > first)
			end = MIN(end, t->start);
	}
	return end >= f->size ? CALL_OPEN : end;
}

static void start_gap(struct flight *f, struct source *s, uint64_t first,
		      uint64_t want_end)
{
	uint64_t end = gap_end(f, first, want_end);

	if (end <= first || first >= f->size)
		return; /* it has come meanwhile */
	shorten_others(f, first);
	start(f, s, first, end, false);
}

/* One of the places is kept for the linear fill. */
static bool has_room_for_gap(const struct flight *f)
{
	unsigned max = MIN(f->conf->fetch.transfers, FLIGHT_TRANSFERS_MAX);

	return transfers_used(f) - has_linear_transfer(f) + 1 < max;
}

static void start_gaps(struct flight *f)
{
	struct flow_gap *gaps;
	size_t n = flow_gaps(f->flow, &gaps);

	for (size_t i = 0; i < n && has_room_for_gap(f); i++) {
		struct source *s = f->sources[gaps[i].source];

		if (s->state == SOURCE_YES && !joins(f, gaps[i].off))
			start_gap(f, s, gaps[i].off, gaps[i].end);
	}
	free(gaps);
}

/* A range that begins further in, and nothing runs: the transfer that brings
 * it is the question, too, and the linear fill need not come that far. */
static void start_seats(struct flight *f)
{
	const struct seat *seat;

	TAILQ_FOREACH (seat, &f->seats, link) {
		const struct flow_range *r = &seat->range;
		struct source *s = f->sources[seat->source];
		uint64_t end = CALL_OPEN;

		if (transfers_used(f))
			return;
		if (r->shape == FLOW_BOUNDED && r->last < UINT64_MAX)
			end = r->last + 1;
		if ((r->shape == FLOW_BOUNDED || r->shape == FLOW_OPEN_END) &&
		    (s->state == SOURCE_NEW || s->state == SOURCE_YES) &&
		    partial_run(f->partial, r->first) == r->first)
			start_gap(f, s, r->first, end);
	}
}

/*
 * A reply needs the size.  If no answer has told it, the manifest is believed;
 * without one, all of it is fetched and counted.
 */
static void find_size(struct flight *f)
{
	const struct seat *seat;
	struct why why;
	bool yes = false;

	if (f->size != FLOW_SIZE_UNKNOWN || transfers_used(f))
		return;
	TAILQ_FOREACH (seat, &f->seats, link)
		yes |= f->sources[seat->source]->state == SOURCE_YES;
	if (!yes)
		return;
	if (f->size_hint != FLOW_SIZE_UNKNOWN &&
	    flight_learn_size(f, f->size_hint, false, &why))
		flight_answer_seats(f);
	else
		f->linear = true;
	flight_plan_soon(f);
}

/* ---- does anybody want it? ---- */

/* Does anybody ask for all of it?  A repository that has no yes does not
 * start it at another one's expense.  (Open ranges do when they are readers:
 * they may begin past the end.) */
static bool seats_linear(const struct flight *f)
{
	const struct seat *seat;
	bool any = false, entitled = false, any_yes = false;

	for (unsigned i = 0; i < f->n_sources; i++)
		any_yes |= f->sources[i]->state == SOURCE_YES;
	TAILQ_FOREACH (seat, &f->seats, link) {
		if (seat->range.shape != FLOW_WHOLE)
			continue;
		any = true;
		entitled |= f->sources[seat->source]->state == SOURCE_YES;
	}
	return any_yes ? entitled : any;
}

/* All readers have gone: more than half done it is finished anyway, and under
 * half after nobody has come back for a while it is not. */
static bool fills_on(struct flight *f)
{
	uint64_t held, percent = f->conf->fetch.finish_percent;

	if (!f->linear)
		return false;
	held = flight_arrived_bytes(f);
	if (f->size != FLOW_SIZE_UNKNOWN &&
	    held / 100 >= f->size / 100 * percent / 100)
		timer_clear(&f->linger);
	else if (!timer_is_set(&f->linger))
		timer_set(&f->linger, f->up_conf->linger_ms);
	return true;
}

static bool is_wanted(struct flight *f, const struct flow_census *census)
{
	return census->readers > 0 || !TAILQ_EMPTY(&f->seats);
}

void flight_linger_fire(void *arg)
{
	struct flight *f = arg;
	struct flow_census census;
	struct partial_view view;

	if (f->phase != FLIGHT_RUNNING)
		return;
	flow_census(f->flow, &census);
	if (is_wanted(f, &census)) {
		flight_plan_soon(f);
		return;
	}
	partial_view(f->partial, &view);
	log_info("blob of %s: nobody waits any more; %" PRIu64
		 " bytes are kept for the next time",
		 f->upstream, view.held_bytes);
	flight_end(f);
}

/* ---- the plan ---- */

static bool nothing_missing(const struct flight *f)
{
	return f->size != FLOW_SIZE_UNKNOWN &&
	       partial_run(f->partial, 0) >= f->size;
}

static void begin(struct flight *f, struct source *s)
{
	if (s && f->linear && !has_linear_transfer(f))
		start_linear(f, s);
	/* After a mismatch nothing is shown before the whole is proven. */
	if (!f->restarted) {
		start_gaps(f);
		start_seats(f);
	}
	sources_ask(f);
	find_size(f);
}

static void plan_running(struct flight *f)
{
	struct flow_census census;
	struct source *s;
	bool wanted;

	flow_census(f->flow, &census);
	wanted = is_wanted(f, &census);
	if (wanted)
		timer_clear(&f->linger);
	f->linear |=
	    census.linear > 0 || seats_linear(f) || (f->restarted && wanted);
	flight_hash(f);
	if (f->phase != FLIGHT_RUNNING)
		return;
	if (nothing_missing(f)) {
		sources_ask(f);
		return; /* landing.c goes on when the hash has caught up */
	}
	s = pick_source(f);
	if (!wanted && (!fills_on(f) || (!s && !transfers_used(f)))) {
		flight_end(f);
		return;
	}
	if (!f->waiting_retry)
		begin(f, s);
}

static void plan(void *arg)
{
	struct flight *f = arg;

	f->planned = false;
	if (f->phase == FLIGHT_RUNNING)
		plan_running(f);
}

void flight_plan_soon(struct flight *f)
{
	if (f->planned || f->phase == FLIGHT_ENDED)
		return;
	f->planned = true;
	loop_defer(f->all->loop, plan, f);
}

void flight_retry_fire(void *arg)
{
	struct flight *f = arg;

	f->waiting_retry = false;
	flight_plan_soon(f);
}

void flight_poked(struct message *msg, void *object)
{
	struct flight *f = object;

	free(msg);
	if (f)
		flight_plan_soon(f);
}
