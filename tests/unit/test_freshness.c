/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/freshness.h"

#include "unit.h"

/* Milliseconds; the scenes speak of seconds. */
#define NOW 1000000000u
#define NEVER UINT64_MAX

/* Which facts a case starts from, and what it expects. */
enum held { NOTHING, OLD_HELD, SEEN_HELD };

struct scene {
	const char *name;
	enum held held;
	uint64_t age_s;
	uint64_t check_ms;
	unsigned flags;
	uint64_t max_stale_ms;
	/* of the repository; 0 = never denied */
	uint64_t denied_ago_s, denied_checked_ago_s;
	enum freshness_step want;
	enum stale_reason reason;
};
#define GONE 1u
#define FOLLOW 2u
#define OFFLINE 4u
#define OUT 8u
#define UNKNOWN_TAG 16u

static struct freshness facts(const struct scene *s)
{
	struct freshness f = {
	    .now_ms = NOW,
	    .known = !(s->flags & UNKNOWN_TAG),
	    .row.checked_ms = NOW - s->age_s * 1000,
	    .row.state = s->flags & GONE ? TAG_GONE : TAG_PRESENT,
	    .seen_held = s->held == SEEN_HELD,
	    .held = s->held != NOTHING,
	    .check_ms = s->check_ms,
	    .deny_check_ms = 60000,
	    .max_stale_ms = s->max_stale_ms ? s->max_stale_ms : NEVER,
	    .max_denied_ms = 3600 * 1000,
	    .follow = s->flags & FOLLOW,
	    .offline = s->flags & OFFLINE,
	    .out = s->flags & OUT,
	};

	if (s->denied_ago_s) {
		f.denied_ms = NOW - s->denied_ago_s * 1000;
		f.denied_checked_ms = NOW - s->denied_checked_ago_s * 1000;
	}
	return f;
}

static const struct scene scenes[] = {
    {"within its check period", SEEN_HELD, 59, 60000, 0, 0, 0, 0, FRESHNESS_HIT,
     STALE_NOT},
    {"the period is over", SEEN_HELD, 60, 60000, 0, 0, 0, 0, FRESHNESS_LATE,
     STALE_NOT},
    {"always", SEEN_HELD, 0, 0, 0, 0, 0, 0, FRESHNESS_LATE, STALE_NOT},
    {"never", SEEN_HELD, 999999, NEVER, 0, 0, 0, 0, FRESHNESS_HIT, STALE_NOT},
    {"never, but the new one was not fetched", OLD_HELD, 5, NEVER, 0, 0, 0, 0,
     FRESHNESS_LATE, STALE_NOT},
    {"seen, not held, checked just now", OLD_HELD, 1, 60000, 0, 0, 0, 0,
     FRESHNESS_LATE, STALE_NOT},
    {"never heard of", NOTHING, 0, 60000, UNKNOWN_TAG, 0, 0, 0, FRESHNESS_ASK,
     STALE_NOT},
    {"nothing held: upstream out or not, ask", NOTHING, 1, 60000, OUT, 0, 0, 0,
     FRESHNESS_ASK, STALE_NOT},
    {"out", SEEN_HELD, 61, 60000, OUT, 0, 0, 0, FRESHNESS_STALE, STALE_OUT},
    {"out, but fresh", SEEN_HELD, 59, 60000, OUT, 0, 0, 0, FRESHNESS_HIT,
     STALE_NOT},
    {"past max_stale nothing is served without an answer", SEEN_HELD, 600,
     60000, OUT, 600000, 0, 0, FRESHNESS_ASK, STALE_NOT},
    {"just before max_stale", SEEN_HELD, 599, 60000, OUT, 600000, 0, 0,
     FRESHNESS_STALE, STALE_OUT},
    {"gone, kept", SEEN_HELD, 5, 60000, GONE, 0, 0, 0, FRESHNESS_STALE,
     STALE_GONE},
    {"gone, kept, to be checked again", SEEN_HELD, 61, 60000, GONE, 0, 0, 0,
     FRESHNESS_LATE, STALE_NOT},
    {"gone, followed", SEEN_HELD, 5, 60000, GONE | FOLLOW, 0, 0, 0,
     FRESHNESS_GONE, STALE_NOT},
    {"gone, nothing held", NOTHING, 5, 60000, GONE, 0, 0, 0, FRESHNESS_ASK,
     STALE_NOT},
    {"offline, old", SEEN_HELD, 9999, 60000, OFFLINE, 0, 0, 0, FRESHNESS_HIT,
     STALE_NOT},
    {"offline, older one held", OLD_HELD, 9999, 60000, OFFLINE, 0, 0, 0,
     FRESHNESS_HIT, STALE_NOT},
    {"offline, nothing held", NOTHING, 0, 60000, OFFLINE | UNKNOWN_TAG, 0, 0, 0,
     FRESHNESS_ASK, STALE_NOT},
    {"denied a while ago, asked just now", SEEN_HELD, 900, 60000, 0, 0, 600, 10,
     FRESHNESS_STALE, STALE_DENIED},
    {"denied a while ago, to be asked again", SEEN_HELD, 900, 60000, 0, 0, 600,
     60, FRESHNESS_LATE, STALE_NOT},
    {"denied, this tag checked since", SEEN_HELD, 5, 60000, 0, 0, 600, 10,
     FRESHNESS_HIT, STALE_NOT},
    {"denied for too long, asked just now", SEEN_HELD, 5, 60000, 0, 0, 3600, 10,
     FRESHNESS_DENIED, STALE_NOT},
    {"denied for too long, to be asked again", SEEN_HELD, 5, 60000, 0, 0, 3600,
     60, FRESHNESS_ASK, STALE_NOT},
    {"denied for too long, offline", SEEN_HELD, 5, 60000, OFFLINE, 0, 3600, 60,
     FRESHNESS_DENIED, STALE_NOT},
    {"denied just now, nothing held", NOTHING, 0, 60000, UNKNOWN_TAG, 0, 10, 5,
     FRESHNESS_ASK, STALE_NOT},
};

static void decides_by_the_table(void)
{
	for (size_t i = 0; i < ARRAY_LEN(scenes); i++) {
		struct freshness f = facts(&scenes[i]);
		enum stale_reason reason = STALE_FAILURE;
		enum freshness_step step = freshness_decide(&f, &reason);

		if (step != scenes[i].want || reason != scenes[i].reason)
			fprintf(stderr, "%s: step %d, reason %d\n",
				scenes[i].name, (int)step, (int)reason);
		CHECK(step == scenes[i].want);
		CHECK(reason == scenes[i].reason);
	}
}

static const struct answer {
	const char *name;
	enum err err;
	struct scene facts; /* want and reason are of the answer */
} answers[] = {
    {"an outage with something held",
     ERR_UNAVAILABLE,
     {NULL, SEEN_HELD, 100, 0, 0, 0, 0, 0, FRESHNESS_STALE, STALE_FAILURE}},
    {"an outage with an older one held",
     ERR_TIMEOUT,
     {NULL, OLD_HELD, 100, 0, 0, 0, 0, 0, FRESHNESS_STALE, STALE_FAILURE}},
    {"an outage with nothing held",
     ERR_UNAVAILABLE,
     {NULL, NOTHING, 0, 0, UNKNOWN_TAG, 0, 0, 0, FRESHNESS_FAIL, STALE_NOT}},
    {"an outage past max_stale",
     ERR_BAD_UPSTREAM,
     {NULL, SEEN_HELD, 100, 0, 0, 99000, 0, 0, FRESHNESS_FAIL, STALE_NOT}},
    {"a limit with something held",
     ERR_LIMITED,
     {NULL, SEEN_HELD, 100, 0, 0, 0, 0, 0, FRESHNESS_STALE, STALE_FAILURE}},
    {"a limit with nothing held",
     ERR_LIMITED,
     {NULL, NOTHING, 0, 0, 0, 0, 0, 0, FRESHNESS_FAIL, STALE_NOT}},
    {"wrong bytes with something held",
     ERR_MISMATCH,
     {NULL, SEEN_HELD, 100, 0, 0, 0, 0, 0, FRESHNESS_STALE, STALE_FAILURE}},
    {"404 keeps the tag",
     ERR_NOT_FOUND,
     {NULL, SEEN_HELD, 100, 0, 0, 0, 0, 0, FRESHNESS_STALE, STALE_GONE}},
    {"404 is followed",
     ERR_NOT_FOUND,
     {NULL, SEEN_HELD, 100, 0, FOLLOW, 0, 0, 0, FRESHNESS_GONE, STALE_NOT}},
    {"404 with nothing held",
     ERR_NOT_FOUND,
     {NULL, NOTHING, 0, 0, 0, 0, 0, 0, FRESHNESS_GONE, STALE_NOT}},
    {"404 is no failure that max_stale bounds",
     ERR_NOT_FOUND,
     {NULL, SEEN_HELD, 100, 0, 0, 99000, 0, 0, FRESHNESS_STALE, STALE_GONE}},
    {"the first denial",
     ERR_DENIED,
     {NULL, SEEN_HELD, 100, 0, 0, 0, 0, 0, FRESHNESS_STALE, STALE_DENIED}},
    {"denied with nothing held",
     ERR_DENIED,
     {NULL, NOTHING, 0, 0, 0, 0, 0, 0, FRESHNESS_DENIED, STALE_NOT}},
    {"denied within max_denied",
     ERR_DENIED,
     {NULL, SEEN_HELD, 100, 0, 0, 0, 3599, 60, FRESHNESS_STALE, STALE_DENIED}},
    {"denied past max_denied",
     ERR_DENIED,
     {NULL, SEEN_HELD, 100, 0, 0, 0, 3600, 60, FRESHNESS_DENIED, STALE_NOT}},
    {"an outage lifts no denial",
     ERR_UNAVAILABLE,
     {NULL, SEEN_HELD, 100, 0, 0, 0, 3600, 60, FRESHNESS_DENIED, STALE_NOT}},
};

static void judges_answers_by_the_table(void)
{
	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		const struct scene *s = &answers[i].facts;
		struct freshness f = facts(s);
		enum stale_reason reason = STALE_OUT;
		enum freshness_step step =
		    freshness_after(&f, answers[i].err, &reason);

		if (step != s->want || reason != s->reason)
			fprintf(stderr, "%s: step %d, reason %d\n",
				answers[i].name, (int)step, (int)reason);
		CHECK(step == s->want);
		CHECK(reason == s->reason);
	}
}

static void max_denied_zero_denies_at_once(void)
{
	struct scene s = {.held = SEEN_HELD, .age_s = 5};
	struct freshness f = facts(&s);
	enum stale_reason reason;

	f.max_denied_ms = 0;
	CHECK(freshness_after(&f, ERR_DENIED, &reason) == FRESHNESS_DENIED);
	f.max_denied_ms = NEVER;
	f.denied_ms = 1;
	CHECK(freshness_after(&f, ERR_DENIED, &reason) == FRESHNESS_STALE);
}

static void digests_of_denied_repositories_close_late(void)
{
	struct scene s = {.held = SEEN_HELD, .age_s = 5};
	struct freshness f = facts(&s);

	CHECK(freshness_of_digest(&f) == FRESHNESS_HIT);
	f.denied_ms = f.denied_checked_ms = NOW - 3599999;
	CHECK(freshness_of_digest(&f) == FRESHNESS_HIT);
	f.denied_ms = NOW - 3600000;
	CHECK(freshness_of_digest(&f) == FRESHNESS_ASK);
	f.denied_checked_ms = NOW - 59999;
	CHECK(freshness_of_digest(&f) == FRESHNESS_DENIED);
}

static void clocks_that_were_set_back_make_old(void)
{
	CHECK(freshness_age_ms(NOW, NOW) == 0);
	CHECK(freshness_age_ms(NOW, NOW - 3000) == 3000);
	CHECK(freshness_age_ms(NOW, NOW + 2000) == 0);
	CHECK(freshness_age_ms(NOW, NOW + 2001) == UINT64_MAX);
	CHECK(freshness_age_ms(NOW, 0) == NOW);
}

int main(void)
{
	RUN(decides_by_the_table);
	RUN(judges_answers_by_the_table);
	RUN(max_denied_zero_denies_at_once);
	RUN(digests_of_denied_repositories_close_late);
	RUN(clocks_that_were_set_back_make_old);
	return unit_done();
}
