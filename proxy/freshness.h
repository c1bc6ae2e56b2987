/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_FRESHNESS_H
#define PROXY_FRESHNESS_H
/*
 * How stale a tag may be: two decisions over plain facts.  How long somebody
 * who was denied may still have what is held, too.
 *
 *   freshness_decide()   before anybody is asked
 *   freshness_after()    with upstream's answer, or when it is too late
 *
 * Pure; any thread.
 */
#include "cache/row.h"

struct freshness {
	uint64_t now_ms;
	/* what the index holds */
	bool known;         /* there is a tag row */
	struct tag_row row; /* if known */
	bool seen_held;     /* row.seen is linked and stored here */
	bool held;          /* any digest of the row is */
	uint64_t denied_ms, denied_checked_ms; /* of the repository; 0 = none */
	/* the upstream's configuration */
	uint64_t check_ms;      /* for this tag */
	uint64_t deny_check_ms; /* for the repository */
	uint64_t max_stale_ms, max_denied_ms;
	bool follow; /* "gone": "follow" */
	bool offline;
	bool out; /* it is known that asking fails now */
};

enum freshness_step {
	FRESHNESS_HIT,    /* answer with row.seen (offline: what is held) */
	FRESHNESS_ASK,    /* ask, and wait for as long as it takes */
	FRESHNESS_LATE,   /* ask; after the freshness deadline: stale */
	FRESHNESS_STALE,  /* answer with what is held, and say so */
	FRESHNESS_GONE,   /* 404: upstream has said so */
	FRESHNESS_DENIED, /* 403: upstream has said so, for too long */
	FRESHNESS_FAIL,   /* freshness_after(): the failure goes out */
};

/* Why an answer is stale. */
enum stale_reason {
	STALE_NOT,
	STALE_OUT,     /* asking failed a moment ago */
	STALE_GONE,    /* upstream has dropped the tag; we keep it */
	STALE_DENIED,  /* upstream lets us no longer have it */
	STALE_FAILURE, /* this check failed, or is too late */
};

enum freshness_step freshness_decide(const struct freshness *f,
				     enum stale_reason *reason);

/*
 * The check has come back with `err` (ERR_OK apart), or ERR_TIMEOUT when the
 * deadline has passed.
 */
enum freshness_step freshness_after(const struct freshness *f, enum err err,
				    enum stale_reason *reason);

/*
 * A digest that is held in a repository which upstream denies: HIT, serve it;
 * ASK, ask first, and nothing but a yes opens it; DENIED.
 */
enum freshness_step freshness_of_digest(const struct freshness *f);

/* Milliseconds since `then_ms`.  A time that lies ahead is a clock that was
 * set back: as old as can be, but for the seconds that clocks slew by. */
uint64_t freshness_age_ms(uint64_t now_ms, uint64_t then_ms);

#endif
