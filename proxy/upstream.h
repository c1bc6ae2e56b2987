/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_UPSTREAM_H
#define PROXY_UPSTREAM_H
/*
 * One upstream registry as it is running: its configuration now, and what we
 * have learnt of it (which endpoints answer, rate limits, tokens).  The state
 * survives a reload of the configuration; it is keyed by the upstream's name.
 *
 * Owned by the fetch loop.  The few facts that serve loops ask for are atomic
 * and marked so.
 */
#include "proxy/conf.h"
#include "proxy/loop.h"

struct upstream;
struct upstreams; /* all of them */

/* Fetch loop, unless said otherwise; the main thread may make and free them
 * while that loop does not run.  A struct upstream lives as long as the
 * upstreams do, so whoever found one may keep it. */
struct upstreams *upstreams_new(struct loop *l, struct conf *conf) MUST_CHECK;
void upstreams_free(struct upstreams **u);
/* Take over a new configuration: new ones appear, changed ones change, those
 * that are gone are found no more. */
void upstreams_reload(struct upstreams *u, struct conf *conf);
/* The configuration they were last given; borrowed, until the next one. */
const struct conf *upstreams_conf(const struct upstreams *u);
struct upstream *upstream_find(struct upstreams *u, const char *name);

const char *upstream_name(const struct upstream *up);
/* Valid until the loop turn ends. */
const struct conf_upstream *upstream_conf(const struct upstream *up);
bool upstream_has_credentials(const struct upstream *up);

/* ---- endpoints: tried in order, with a circuit breaker each ---- */

/* The index of the endpoint to use: the first whose breaker is closed and
 * that is not in the bit mask `avoid`; a half-open one for one trial; with
 * all of them open or avoided, the one that opened first (somebody has to
 * try), or -1 if `avoid` names them all. */
int upstream_pick(struct upstream *up, uint32_t avoid);
void upstream_endpoint_ok(struct upstream *up, int endpoint);
void upstream_endpoint_failed(struct upstream *up, int endpoint);
/* It was picked, but nothing was learnt of it: the next may try. */
void upstream_endpoint_untried(struct upstream *up, int endpoint);
/* The class of the address an endpoint was last dialled at. */
#define ENDPOINT_CLASS_UNKNOWN (-1)
int upstream_endpoint_class(const struct upstream *up, int endpoint);
void upstream_set_endpoint_class(struct upstream *up, int endpoint, int cls);

/* ---- facts from answers ---- */

/* After a timeout or a failed connection: stale answers are immediate for
 * `stale_hold` (30 s).  Cleared by any answer.  `why`, a whole sentence, is
 * logged once an outage, and once a minute at most. */
void upstream_note_outage(struct upstream *up, const struct why *why);
void upstream_note_answer(struct upstream *up);
bool upstream_is_out(const struct upstream *up); /* any thread */

/* 429: until when manifest GETs / tag checks are not sent; 0 = free.  By
 * credential: anonymous or ours. */
enum limit_kind { LIMIT_GET, LIMIT_CHECK };
void upstream_note_limit(struct upstream *up, enum limit_kind kind,
			 bool anonymous, uint64_t retry_after_s);
/* How long to wait still, 0 = go ahead. */
uint64_t upstream_limited_ms(const struct upstream *up, enum limit_kind kind,
			     bool anonymous);

/* ratelimit-limit / -remaining / docker-ratelimit-source as last seen. */
struct upstream_quota {
	bool known;
	uint64_t limit, remaining, window_s;
	char source[64];
};
void upstream_note_quota(struct upstream *up, const struct upstream_quota *q);
void upstream_quota(const struct upstream *up,
		    struct upstream_quota *out); /* any thread */

#endif
