/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/flight.h"

#include "proxy/flight_int.h"
#include "proxy/metrics.h"
#include "proxy/server.h"

/* ---- the table ---- */

static size_t bucket_of(const struct digest *dg)
{
	return digest_hash(dg) % FLIGHT_BUCKETS;
}

static struct flight *flight_find(struct flights *all, const char *upstream,
				  const struct digest *dg)
{
	struct flight *f;

	LIST_FOREACH (f, &all->buckets[bucket_of(dg)], link)
		if (digest_equal(&f->dg, dg) &&
		    strcmp(f->upstream, upstream) == 0)
			return f;
	return NULL;
}

struct flight *flight_next_same(struct flights *all, const struct digest *dg,
				struct flight *after)
{
	struct flight *f = after ? LIST_NEXT(after, link)
				 : LIST_FIRST(&all->buckets[bucket_of(dg)]);

	while (f && !digest_equal(&f->dg, dg))
		f = LIST_NEXT(f, link);
	return f;
}

/* ---- digests that came wrong twice ---- */

static bool is_bad(struct flights *all, const char *upstream,
		   const struct digest *dg)
{
	uint64_t now = loop_now_ms(all->loop);
	struct bad_digest *bad, *next;
	bool found = false;

	for (bad = LIST_FIRST(&all->bad); bad; bad = next) {
		next = LIST_NEXT(bad, link);
		if (bad->until_ms <= now) {
			LIST_REMOVE(bad, link);
			free(bad);
		} else if (digest_equal(&bad->dg, dg) &&
			   strcmp(bad->upstream, upstream) == 0) {
			found = true;
		}
	}
	return found;
}

void flight_mark_bad(struct flight *f)
{
	struct bad_digest *bad = xcalloc(1, sizeof(*bad));

	snprintf(bad->upstream, sizeof(bad->upstream), "%s", f->upstream);
	bad->dg = f->dg;
	bad->until_ms =
	    loop_now_ms(f->all->loop) + f->up_conf->mismatch_hold_ms;
	LIST_INSERT_HEAD(&f->all->bad, bad, link);
}

/* ---- answers ---- */

static struct flight_answer *answer_new(const struct seat *seat, enum err err)
{
	struct flight_answer *a = xcalloc(1, sizeof(*a));

	a->msg.to = seat->to;
	a->msg.magic = seat->magic;
	a->msg.run = seat->run;
	a->err = err;
	a->joined = seat->joined;
	a->upstream_us = now_us() - seat->since_us;
	return a;
}

void flight_answer_free(struct flight_answer **a)
{
	if (!*a)
		return;
	flow_reader_free(&(*a)->reader);
	free(*a);
	*a = NULL;
}

static void seat_refuse(const struct seat *seat, enum err err, unsigned status,
			uint64_t retry_after_s, const struct why *why)
{
	struct flight_answer *a = answer_new(seat, err);

	a->status = status;
	a->retry_after_s = retry_after_s;
	if (why)
		a->why = *why;
	loop_post(seat->home, &a->msg);
}

void flight_refuse_seats(struct flight *f, int source, enum err err,
			 unsigned status, uint64_t retry_after_s,
			 const struct why *why)
{
	struct seat *seat, *next;

	TAILQ_FOREACH_SAFE(seat, &f->seats, link, next)
	{
		if (source >= 0 && seat->source != (unsigned)source)
			continue;
		TAILQ_REMOVE(&f->seats, seat, link);
		seat_refuse(seat, err, status, retry_after_s, why);
		free(seat);
	}
}

/* After a mismatch no client is promised anything before the proof. */
static bool may_answer(struct flight *f)
{
	struct partial_view view;

	if (!f->flow || f->size == FLOW_SIZE_UNKNOWN ||
	    f->phase == FLIGHT_RESTARTING)
		return false;
	if (!f->restarted)
		return true;
	partial_view(f->partial, &view);
	return view.proven;
}

void flight_answer_seats(struct flight *f)
{
	struct flight_answer *a;
	struct seat *seat, *next;

	if (!may_answer(f))
		return;
	TAILQ_FOREACH_SAFE(seat, &f->seats, link, next)
	{
		if (f->sources[seat->source]->state != SOURCE_YES)
			continue;
		TAILQ_REMOVE(&f->seats, seat, link);
		a = answer_new(seat, ERR_OK);
		a->reader = flow_reader_new(f->flow, &seat->range, seat->source,
					    seat->declared);
		loop_post(seat->home, &a->msg);
		free(seat);
	}
}

/* A head that says so is a whole answer, with no last byte to hold back. */
static bool is_wrongly_empty(const struct flight *f, uint64_t size)
{
	struct digest none;

	digest_of((enum digest_alg)f->dg.alg, "", 0, &none);
	return size == 0 && !digest_equal(&f->dg, &none);
}

bool flight_learn_size(struct flight *f, uint64_t size, bool told,
		       struct why *why)
{
	if (is_wrongly_empty(f, size)) {
		why_set(why, ERR_BAD_UPSTREAM,
			"%s says that the blob is empty, which its digest "
			"is not of",
			f->upstream);
		return false;
	}
	if (f->size != FLOW_SIZE_UNKNOWN && f->size != size) {
		why_set(why, ERR_BAD_UPSTREAM,
			"%s says that the blob has %" PRIu64
			" bytes, and it was %" PRIu64 " before",
			f->upstream, size, f->size);
		return false;
	}
	if (f->size != size) {
		if (partial_set_size(f->partial, size, why) != ERR_OK)
			return false;
		f->size = size;
		flow_set_size(f->flow, size);
	}
	f->size_told |= told;
	return true;
}

bool flight_is_stored(struct flights *all, const struct digest *dg)
{
	struct cache *cache = mirror_server(all->mirror)->cache;
	struct index_txn *txn = index_read(cache_index(cache));
	struct blob_row row;
	bool found = blob_get(txn, dg, &row) == ERR_OK;

	index_read_end(txn);
	return found;
}

/* ---- beginning ---- */

static void count_running(struct flights *all, int n)
{
	__atomic_add_fetch(&all->running, (unsigned)n, __ATOMIC_RELAXED);
	metric_add(METRIC_FLIGHTS, n, 0, 0, 0);
}

/* Takes the reference to the configuration. */
static struct flight *flight_new(struct flights *all,
				 const struct flight_ask *ask,
				 struct upstream *up, struct conf *conf,
				 const struct conf_upstream *up_conf)
{
	struct flight *f = xcalloc(1, sizeof(*f));

	f->magic = FLIGHT_MAGIC;
	f->all = all;
	f->handle = loop_register(all->loop, f, FLIGHT_MAGIC);
	snprintf(f->upstream, sizeof(f->upstream), "%s", ask->upstream);
	f->metric = metric_upstream(f->upstream);
	f->dg = ask->dg;
	f->size = FLOW_SIZE_UNKNOWN;
	f->size_hint = ask->size_hint;
	f->up = up;
	f->conf = conf;
	f->up_conf = up_conf;
	TAILQ_INIT(&f->seats);
	extent_init(&f->pending);
	timer_init(&f->retry, all->loop, flight_retry_fire, f);
	timer_init(&f->linger, all->loop, flight_linger_fire, f);
	LIST_INSERT_HEAD(&all->buckets[bucket_of(&f->dg)], f, link);
	count_running(all, 1);
	metric_inc(METRIC_FLIGHTS_STARTED, 0);
	return f;
}

struct join {
	struct message msg;
	struct mirror *mirror;
	struct flight_ask ask;
	char upstream[REPO_HOST_MAX + 1], repo[REPO_NAME_MAX + 1];
	struct seat *seat;
};

/* The flight of this digest at this upstream; a new one is put in the table.
 * NULL: the upstream cannot be asked. */
static struct flight *join_flight(struct flights *all, struct join *j,
				  struct why *why)
{
	struct flight *f = flight_find(all, j->upstream, &j->ask.dg);
	const struct conf_upstream *up_conf;
	struct upstream *up;
	struct conf *conf;

	if (f)
		return f;
	/* A reload may have come to one of the two, and not yet to the other.
	 */
	conf = server_conf(mirror_server(all->mirror));
	up_conf = conf_upstream_find(conf, j->upstream, strlen(j->upstream));
	up = upstream_find(mirror_upstreams(j->mirror), j->upstream);
	if (up && up_conf && !up_conf->offline)
		return flight_new(all, &j->ask, up, conf, up_conf);
	why_set(why, ERR_UNAVAILABLE,
		up && up_conf
		    ? "%s is switched to offline, and this blob is not held"
		    : "%s is not configured any more",
		j->upstream);
	conf_unref(&conf);
	return NULL;
}

/* Takes the seat. */
static void sit_down(struct flight *f, struct join *j)
{
	struct seat *seat = j->seat;
	struct source *s;
	bool is_new = !f->strand;

	seat->joined = !is_new;
	if (seat->joined)
		metric_inc(METRIC_FLIGHTS_JOINED, 0);
	if (f->size_hint == FLOW_SIZE_UNKNOWN && !f->restarted)
		f->size_hint = j->ask.size_hint;
	seat->source = source_of(f, j->repo);
	s = f->sources[seat->source];
	if (s->state == SOURCE_REFUSED) {
		s->state = SOURCE_NEW; /* a later request may ask again */
	} else if (j->ask.allowed) {
		s->state = SOURCE_YES;
		s->recorded = true;
	}
	TAILQ_INSERT_TAIL(&f->seats, seat, link);
	if (is_new)
		flight_open(f);
	/* No plan is made while it lands, but a repository's own yes counts. */
	if (f->phase == FLIGHT_PUBLISHING || f->phase == FLIGHT_COMPARING)
		sources_ask(f);
	flight_answer_seats(f);
	flight_plan_soon(f);
}

static void join_run(struct message *msg, void *object)
{
	struct join *j = container_of(msg, struct join, msg);
	struct flights *all = mirror_flights(j->mirror);
	struct seat *seat = j->seat;
	struct why why = {{0}};
	struct flight *f;

	(void)object;
	if (all->closing) {
		why_set(&why, ERR_CANCELED, "the daemon is stopping");
		seat_refuse(seat, ERR_CANCELED, 0, 0, &why);
	} else if (flight_is_stored(all, &j->ask.dg)) {
		seat_refuse(seat, ERR_EXISTS, 0, 0, &why);
	} else if (is_bad(all, j->upstream, &j->ask.dg)) {
		why_set(&why, ERR_MISMATCH,
			"%s sent other bytes than this digest's, twice",
			j->upstream);
		seat_refuse(seat, ERR_MISMATCH, 0, 0, &why);
	} else if (!(f = join_flight(all, j, &why))) {
		seat_refuse(seat, ERR_UNAVAILABLE, 0, 0, &why);
	} else {
		sit_down(f, j);
		seat = NULL;
	}
	free(seat);
	free(j);
}

void flight_join(struct mirror *m, const struct flight_ask *ask,
		 struct loop *home, struct handle to, uint32_t magic,
		 void (*run)(struct message *msg, void *object))
{
	struct join *j = xcalloc(1, sizeof(*j));

	j->msg.run = join_run;
	j->mirror = m;
	j->ask = *ask;
	snprintf(j->upstream, sizeof(j->upstream), "%s", ask->upstream);
	snprintf(j->repo, sizeof(j->repo), "%s", ask->repo);
	j->ask.upstream = j->upstream;
	j->ask.repo = j->repo;
	j->seat = xcalloc(1, sizeof(*j->seat));
	j->seat->range = ask->range;
	j->seat->declared = ask->size_hint;
	j->seat->since_us = now_us();
	j->seat->home = home;
	j->seat->to = to;
	j->seat->magic = magic;
	j->seat->run = run;
	loop_post(mirror_loop(m), &j->msg);
}

/* ---- the end ---- */

static void flight_free(void *arg)
{
	struct flight *f = arg;

	assert(f->phase == FLIGHT_ENDED && !f->jobs_out);
	loop_unregister(f->all->loop, &f->handle);
	assert(TAILQ_EMPTY(&f->seats));
	for (size_t i = 0; i < FLIGHT_TRANSFERS_MAX; i++)
		timer_release(&f->transfers[i].announce);
	for (unsigned i = 0; i < f->n_sources; i++)
		free(f->sources[i]);
	free(f->sources);
	timer_release(&f->retry);
	timer_release(&f->linger);
	extent_release(&f->pending);
	strand_free(&f->strand);
	flow_unref(&f->flow);
	conf_unref(&f->conf);
	free(f);
}

void flight_job_start(struct flight *f)
{
	f->jobs_out++;
}

bool flight_job_home(struct flight *f)
{
	if (!f)
		return false; /* the loop is being freed */
	assert(f->jobs_out);
	f->jobs_out--;
	if (f->phase != FLIGHT_ENDED)
		return true;
	if (!f->jobs_out)
		loop_defer(f->all->loop, flight_free, f);
	return false;
}

void flight_end(struct flight *f)
{
	struct why why;

	if (f->phase == FLIGHT_ENDED)
		return;
	f->phase = FLIGHT_ENDED;
	LIST_REMOVE(f, link);
	count_running(f->all, -1);
	timer_clear(&f->retry);
	timer_clear(&f->linger);
	transfers_stop(f);
	for (unsigned i = 0; i < f->n_sources; i++)
		if (f->sources[i]->ask)
			call_cancel(&f->sources[i]->ask);
	/* Whoever still waits looks again: it is stored, or tried afresh. */
	why_set(&why, ERR_EXISTS, "the transfer has ended");
	flight_refuse_seats(f, -1, ERR_EXISTS, 0, 0, &why);
	if (!f->jobs_out)
		loop_defer(f->all->loop, flight_free, f);
}

void flight_fail(struct flight *f, enum err err, unsigned status,
		 uint64_t retry_after_s, const struct why *why)
{
	flight_refuse_seats(f, -1, err, status, retry_after_s, why);
	if (f->flow)
		flow_fail(f->flow, err, why);
	flight_end(f);
}

struct flights *flights_new(struct mirror *m)
{
	struct flights *all = xcalloc(1, sizeof(*all));

	all->mirror = m;
	all->loop = mirror_loop(m);
	for (size_t i = 0; i < FLIGHT_BUCKETS; i++)
		LIST_INIT(&all->buckets[i]);
	LIST_INIT(&all->bad);
	LIST_INIT(&all->passes);
	TAILQ_INIT(&all->paused);
	return all;
}

void flights_close(struct flights *all)
{
	struct why why;
	struct flight *f;

	all->closing = true;
	why_set(&why, ERR_CANCELED, "the daemon is stopping");
	for (size_t i = 0; i < FLIGHT_BUCKETS; i++)
		while ((f = LIST_FIRST(&all->buckets[i])))
			flight_fail(f, ERR_CANCELED, 0, 0, &why);
	passes_close(all);
}

void flights_free(struct flights **allp)
{
	struct flights *all = *allp;
	struct bad_digest *bad;

	if (!all)
		return;
	*allp = NULL;
	while ((bad = LIST_FIRST(&all->bad))) {
		LIST_REMOVE(bad, link);
		free(bad);
	}
	chunks_free(all);
	free(all);
}

unsigned flights_running(struct flights *all)
{
	return __atomic_load_n(&all->running, __ATOMIC_RELAXED);
}
