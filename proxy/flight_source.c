/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The repositories of a flight.  Each needs its own upstream's yes: the
 * transfer that runs under its token is one; who comes later asks for
 * bytes=0-0, and the answer is cut after its head.
 */
#include "proxy/flight_int.h"
#include "proxy/server.h"

/* Refused, and nobody is left who would have to know. */
static bool is_spent(const struct flight *f, unsigned number)
{
	const struct source *s = f->sources[number];

	if (s->state != SOURCE_REFUSED || s->ask ||
	    source_has_seats(f, number) ||
	    (f->flow && flow_source_readers(f->flow, number)))
		return false;
	for (size_t i = 0; i < FLIGHT_TRANSFERS_MAX; i++)
		if (f->transfers[i].used && f->transfers[i].source == number)
			return false;
	return true;
}

/* Clients invent names: the places of those that were refused are used
 * again. */
static struct source *new_source(struct flight *f)
{
	unsigned i = 0;

	while (i < f->n_sources && !is_spent(f, i))
		i++;
	if (i == f->n_sources) {
		f->sources = xrealloc(f->sources,
				      (f->n_sources + 1) * sizeof(*f->sources));
		f->sources[f->n_sources++] = xmalloc(sizeof(struct source));
	}
	memset(f->sources[i], 0, sizeof(struct source));
	f->sources[i]->number = i;
	return f->sources[i];
}

unsigned source_of(struct flight *f, const char *repo)
{
	struct source *s;

	for (unsigned i = 0; i < f->n_sources; i++)
		if (strcmp(f->sources[i]->repo, repo) == 0)
			return i;
	s = new_source(f);
	snprintf(s->repo, sizeof(s->repo), "%s", repo);
	s->flight = f;
	return s->number;
}

bool source_has_seats(const struct flight *f, unsigned source)
{
	const struct seat *seat;

	TAILQ_FOREACH (seat, &f->seats, link)
		if (seat->source == source)
			return true;
	return false;
}

/* If it was not recorded, the next request asks again. */
static void yes_recorded(void *arg, enum err err, const struct why *why)
{
	(void)arg;
	(void)err;
	(void)why;
}

/* So that a fill that is interrupted, by our end too, is gone on with under
 * this yes. */
static void record_yes(struct source *s)
{
	struct flight *f = s->flight;

	if (s->recorded)
		return;
	s->recorded = true;
	cache_note_yes(mirror_server(f->all->mirror)->cache, f->upstream,
		       s->repo, &f->dg, LINK_BLOB, NULL, s->public_yes,
		       yes_recorded, NULL);
}

void source_yes(struct source *s, bool authorized)
{
	s->state = SOURCE_YES;
	s->public_yes |= !authorized;
	record_yes(s);
	flight_answer_seats(s->flight);
	flight_plan_soon(s->flight);
}

void source_refused(struct source *s, enum err err, unsigned status,
		    uint64_t retry_after_s, const struct why *why)
{
	struct flight *f = s->flight;

	s->state = SOURCE_REFUSED;
	flight_refuse_seats(f, (int)s->number, err, status, retry_after_s, why);
	if (f->flow)
		flow_fail_source(f->flow, s->number, err, why);
	flight_plan_soon(f);
}

void source_unasked(struct source *s)
{
	if (s->state == SOURCE_ASKING && !s->ask)
		s->state = SOURCE_NEW;
}

/* ---- the question ---- */

/* Any of them says that the blob is there. */
static bool heard_yes(struct source *s, const struct call_head *h)
{
	uint64_t size = h->status == 200 ? h->length : h->range_total;

	if (size != CALL_LENGTH_UNKNOWN &&
	    !flight_learn_size(s->flight, size, true, &s->why)) {
		s->err = ERR_BAD_UPSTREAM;
		return false;
	}
	source_yes(s, h->authorized);
	return true;
}

static void heard_no(struct source *s, const struct call_head *h)
{
	const char *upstream = s->flight->upstream;

	s->status = h->status;
	s->retry_after_s = h->has_retry_after ? h->retry_after_s : 0;
	switch (h->status) {
	case 401:
	case 403:
	case 451:
		s->err = why_set(&s->why, ERR_DENIED,
				 "%s is private or does not exist at %s",
				 s->repo, upstream);
		break;
	case 404:
		s->err =
		    why_set(&s->why, ERR_NOT_FOUND,
			    "the blob is not in %s at %s", s->repo, upstream);
		break;
	case 429:
		s->err = why_set(&s->why, ERR_LIMITED,
				 "%s limits our requests (429)", upstream);
		break;
	default:
		s->err =
		    why_set(&s->why, ERR_UNAVAILABLE,
			    "%s answered %u for a blob", upstream, h->status);
	}
	/* What another host thinks of us says nothing of the repository. */
	if (!h->from_registry && s->err != ERR_LIMITED)
		s->err = why_set(&s->why, ERR_UNAVAILABLE,
				 "%s answered %u for a blob where it had "
				 "redirected to",
				 upstream, h->status);
}

static bool ask_head(void *arg, const struct call_head *h)
{
	struct source *s = arg;

	if (h->status == 200 || h->status == 206 || h->status == 416)
		heard_yes(s, h);
	else
		heard_no(s, h);
	return false;
}

static enum fetch_take ask_data(void *arg, const void *buf, size_t len)
{
	(void)arg;
	(void)buf;
	(void)len;
	return FETCH_STOP;
}

static void ask_done(void *arg, enum err err, bool had_head,
		     const struct why *why)
{
	struct source *s = arg;
	struct flight *f = s->flight;

	(void)had_head;
	s->ask = NULL;
	if (s->state != SOURCE_YES) {
		if (err) {
			s->err = err;
			s->why = *why;
		}
		source_refused(s, s->err, s->status, s->retry_after_s, &s->why);
	}
	flight_answer_seats(f);
	flight_plan_soon(f);
}

void source_ask(struct source *s)
{
	static const struct call_events events = {
	    .head = ask_head,
	    .data = ask_data,
	    .done = ask_done,
	};
	struct flight *f = s->flight;
	char reference[DIGEST_TEXT_MAX];
	struct call_spec spec = {
	    .up = f->up,
	    .repo = s->repo,
	    .what = CALL_BLOB,
	    .reference = digest_text(&f->dg, reference),
	    .ranged = true,
	    .first = 0,
	    .last = 0,
	};

	s->state = SOURCE_ASKING;
	s->err = ERR_UNAVAILABLE;
	s->status = 0;
	s->retry_after_s = 0;
	s->ask = call_start(mirror_caller(f->all->mirror), &spec, &events, s);
}

void sources_ask(struct flight *f)
{
	for (unsigned i = 0; i < f->n_sources; i++)
		if (f->sources[i]->state == SOURCE_NEW &&
		    source_has_seats(f, i))
			source_ask(f->sources[i]);
}
