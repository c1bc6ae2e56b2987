/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/upstream.h"

#include "proxy/log.h"
#include "proxy/metrics.h"

#include <pthread.h>

#define ENDPOINTS_MAX 32
/* An upstream that comes and goes fills no log. */
#define COMPLAIN_MS 60000

struct endpoint {
	char *text; /* the URL whose state this is */
	unsigned failures;
	uint64_t open_until_ms; /* the breaker is open; 0 = closed */
	uint64_t opened_ms;
	bool trial; /* half-open: one call is trying it */
	int class;  /* enum address_class, or unknown */
};

struct upstream {
	LIST_ENTRY(upstream) link;
	struct upstreams *all;
	char *name;
	struct conf *conf; /* keeps up_conf alive */
	const struct conf_upstream *up_conf;
	bool gone; /* no longer configured */

	struct endpoint endpoints[ENDPOINTS_MAX];
	unsigned n_endpoints;

	uint64_t out_until_ms; /* atomic */
	bool told_out;         /* an outage is in the log */
	uint64_t told_out_ms;
	uint64_t limited_until_ms[2][2]; /* [kind][anonymous] */

	pthread_mutex_t mu; /* guards quota */
	struct upstream_quota quota;
};

struct upstreams {
	struct loop *loop;
	struct conf *conf;
	LIST_HEAD(, upstream) list;
};

/* ---- endpoints ---- */

/* Take over the configured endpoints; what is known of a URL stays. */
static void set_endpoints(struct upstream *up)
{
	struct endpoint old[ENDPOINTS_MAX];
	unsigned n_old = up->n_endpoints;
	const struct conf_urls *urls = &up->up_conf->endpoints;

	memcpy(old, up->endpoints, sizeof(old));
	memset(up->endpoints, 0, sizeof(up->endpoints));
	up->n_endpoints = (unsigned)MIN(urls->n, ENDPOINTS_MAX);
	for (unsigned i = 0; i < up->n_endpoints; i++) {
		struct endpoint *e = &up->endpoints[i];

		e->class = ENDPOINT_CLASS_UNKNOWN;
		for (unsigned k = 0; k < n_old; k++)
			if (old[k].text &&
			    strcmp(old[k].text, urls->v[i].text) == 0) {
				*e = old[k];
				old[k].text = NULL;
				break;
			}
		if (!e->text)
			e->text = xstrdup(urls->v[i].text);
	}
	for (unsigned k = 0; k < n_old; k++)
		free(old[k].text);
}

static bool may_try(const struct endpoint *e, uint64_t now)
{
	return !e->open_until_ms || (now >= e->open_until_ms && !e->trial);
}

int upstream_pick(struct upstream *up, uint32_t avoid)
{
	uint64_t now = loop_now_ms(up->all->loop);
	int oldest = -1;

	for (unsigned i = 0; i < up->n_endpoints; i++) {
		struct endpoint *e = &up->endpoints[i];

		if (avoid & (1u << i))
			continue;
		if (may_try(e, now)) {
			e->trial = e->open_until_ms != 0;
			return (int)i;
		}
		if (oldest < 0 ||
		    e->opened_ms < up->endpoints[oldest].opened_ms)
			oldest = (int)i;
	}
	return oldest;
}

void upstream_endpoint_ok(struct upstream *up, int endpoint)
{
	struct endpoint *e = &up->endpoints[endpoint];

	assert(endpoint >= 0 && endpoint < ENDPOINTS_MAX);
	e->failures = 0;
	e->open_until_ms = 0;
	e->trial = false;
}

void upstream_endpoint_failed(struct upstream *up, int endpoint)
{
	struct endpoint *e = &up->endpoints[endpoint];
	uint64_t now = loop_now_ms(up->all->loop);

	assert(endpoint >= 0 && endpoint < ENDPOINTS_MAX);
	e->failures++;
	e->trial = false;
	if (e->failures < up->up_conf->breaker_failures)
		return;
	e->opened_ms = now;
	e->open_until_ms = now + up->up_conf->breaker_hold_ms;
}

void upstream_endpoint_untried(struct upstream *up, int endpoint)
{
	assert(endpoint >= 0 && endpoint < ENDPOINTS_MAX);
	up->endpoints[endpoint].trial = false;
}

int upstream_endpoint_class(const struct upstream *up, int endpoint)
{
	assert(endpoint >= 0 && endpoint < ENDPOINTS_MAX);
	return up->endpoints[endpoint].class;
}

void upstream_set_endpoint_class(struct upstream *up, int endpoint, int cls)
{
	assert(endpoint >= 0 && endpoint < ENDPOINTS_MAX);
	up->endpoints[endpoint].class = cls;
}

/* ---- facts ---- */

void upstream_note_outage(struct upstream *up, const struct why *why)
{
	uint64_t now = now_ms();

	__atomic_store_n(&up->out_until_ms, now + up->up_conf->stale_hold_ms,
			 __ATOMIC_RELAXED);
	if (up->told_out ||
	    (up->told_out_ms && now - up->told_out_ms < COMPLAIN_MS))
		return;
	up->told_out = true;
	up->told_out_ms = now;
	log_warn("%s; what is held is served, tags as stale", why->text);
}

void upstream_note_answer(struct upstream *up)
{
	__atomic_store_n(&up->out_until_ms, 0, __ATOMIC_RELAXED);
	if (!up->told_out)
		return;
	up->told_out = false;
	log_info("%s answers again", up->name);
}

bool upstream_is_out(const struct upstream *up)
{
	return __atomic_load_n(&up->out_until_ms, __ATOMIC_RELAXED) > now_ms();
}

void upstream_note_limit(struct upstream *up, enum limit_kind kind,
			 bool anonymous, uint64_t retry_after_s)
{
	uint64_t ms = MIN(retry_after_s, UINT64_MAX / 1000) * 1000;

	ms = ms ? MIN(ms, up->up_conf->quota_max_ms)
		: up->up_conf->quota_hold_ms;
	up->limited_until_ms[kind][anonymous] = now_ms() + ms;
}

uint64_t upstream_limited_ms(const struct upstream *up, enum limit_kind kind,
			     bool anonymous)
{
	uint64_t until = up->limited_until_ms[kind][anonymous];
	uint64_t now = now_ms();

	return until > now ? until - now : 0;
}

void upstream_note_quota(struct upstream *up, const struct upstream_quota *q)
{
	pthread_mutex_lock(&up->mu);
	up->quota = *q;
	pthread_mutex_unlock(&up->mu);
	if (q->known) {
		unsigned label = metric_upstream(up->name);

		metric_set(METRIC_RATELIMIT_LIMIT, (int64_t)q->limit, label);
		metric_set(METRIC_RATELIMIT_REMAINING, (int64_t)q->remaining,
			   label);
	}
}

void upstream_quota(const struct upstream *cup, struct upstream_quota *out)
{
	struct upstream *up = (struct upstream *)(uintptr_t)cup;

	pthread_mutex_lock(&up->mu);
	*out = up->quota;
	pthread_mutex_unlock(&up->mu);
}

/* ---- all of them ---- */

const char *upstream_name(const struct upstream *up)
{
	return up->name;
}

const struct conf_upstream *upstream_conf(const struct upstream *up)
{
	return up->up_conf;
}

bool upstream_has_credentials(const struct upstream *up)
{
	return up->up_conf->credentials != CONF_CRED_NONE;
}

static struct upstream *find(struct upstreams *u, const char *name)
{
	struct upstream *up;

	LIST_FOREACH (up, &u->list, link)
		if (strcmp(up->name, name) == 0)
			return up;
	return NULL;
}

const struct conf *upstreams_conf(const struct upstreams *u)
{
	return u->conf;
}

struct upstream *upstream_find(struct upstreams *u, const char *name)
{
	struct upstream *up = find(u, name);

	return up && !up->gone ? up : NULL;
}

static struct upstream *upstream_new(struct upstreams *u, const char *name)
{
	struct upstream *up = xcalloc(1, sizeof(*up));

	up->all = u;
	up->name = xstrdup(name);
	pthread_mutex_init(&up->mu, NULL);
	LIST_INSERT_HEAD(&u->list, up, link);
	return up;
}

/* The configuration a call began with may still be used in this turn. */
static void unref_later(void *arg)
{
	struct conf *conf = arg;

	conf_unref(&conf);
}

static void set_conf(struct upstream *up, struct conf *conf,
		     const struct conf_upstream *up_conf)
{
	if (up->conf)
		loop_defer(up->all->loop, unref_later, up->conf);
	up->conf = conf_ref(conf);
	up->up_conf = up_conf;
	up->gone = false;
	set_endpoints(up);
}

void upstreams_reload(struct upstreams *u, struct conf *conf)
{
	struct upstream *up;

	if (u->conf)
		loop_defer(u->loop, unref_later, u->conf);
	u->conf = conf_ref(conf);
	LIST_FOREACH (up, &u->list, link)
		up->gone = true;
	for (size_t i = 0; i < conf->upstreams.n; i++) {
		const struct conf_upstream *c = &conf->upstreams.v[i];

		up = find(u, c->name);
		if (!up)
			up = upstream_new(u, c->name);
		set_conf(up, conf, c);
	}
}

struct upstreams *upstreams_new(struct loop *l, struct conf *conf)
{
	struct upstreams *u = xcalloc(1, sizeof(*u));

	u->loop = l;
	LIST_INIT(&u->list);
	upstreams_reload(u, conf);
	return u;
}

void upstreams_free(struct upstreams **uptr)
{
	struct upstreams *u = *uptr;
	struct upstream *up;

	if (!u)
		return;
	*uptr = NULL;
	while ((up = LIST_FIRST(&u->list))) {
		LIST_REMOVE(up, link);
		for (unsigned i = 0; i < up->n_endpoints; i++)
			free(up->endpoints[i].text);
		pthread_mutex_destroy(&up->mu);
		conf_unref(&up->conf);
		free(up->name);
		free(up);
	}
	conf_unref(&u->conf);
	free(u);
}
