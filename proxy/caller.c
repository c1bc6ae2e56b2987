/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What calls share: the fetcher and the resolver, tokens and credentials,
 * what each upstream's endpoints are known to ask for, and the end of the
 * turn, where calls go on that a callback of libcurl could not.
 */
#include "proxy/call_int.h"

#include "proxy/errand.h"
#include "proxy/metrics.h"

#ifndef ENTREPOT_VERSION
#define ENTREPOT_VERSION "0"
#endif

/* ---- peers ---- */

struct peer *caller_peer(struct caller *c, struct upstream *up)
{
	struct peer *p;

	LIST_FOREACH (p, &c->peers, link)
		if (p->up == up)
			return p;
	p = xcalloc(1, sizeof(*p));
	p->up = up;
	p->metric = metric_upstream(upstream_name(up));
	for (size_t i = 0; i < CALL_ENDPOINTS; i++) {
		gate_init(&p->gates[i][FETCH_SMALL]);
		gate_init(&p->gates[i][FETCH_BLOB]);
	}
	LIST_INIT(&p->blobs);
	LIST_INSERT_HEAD(&c->peers, p, link);
	return p;
}

const struct http_challenge *peer_challenge(struct peer *p, int endpoint,
					    const char *url)
{
	/* A reload may have put another endpoint in its place. */
	if (!p->known[endpoint].url || strcmp(p->known[endpoint].url, url) != 0)
		return NULL;
	return p->known[endpoint].challenge;
}

void peer_learn(struct peer *p, int endpoint, const char *url,
		const struct http_challenge *ch)
{
	free(p->known[endpoint].url);
	free(p->known[endpoint].challenge);
	p->known[endpoint].url = ch ? xstrdup(url) : NULL;
	p->known[endpoint].challenge = ch ? xmemdup(ch, sizeof(*ch)) : NULL;
}

static void peer_free(struct peer *p)
{
	for (int i = 0; i < CALL_ENDPOINTS; i++)
		peer_learn(p, i, NULL, NULL);
	LIST_REMOVE(p, link);
	free(p);
}

uint64_t peer_rate(const struct peer *p)
{
	uint64_t rate = upstream_conf(p->up)->max_rate_bytes;

	if (rate == CONF_UNLIMITED)
		return 0;
	return MAX(rate / MAX(p->n_blobs, 1), 1);
}

void peer_share_rate(struct peer *p)
{
	struct call *c;

	LIST_FOREACH (c, &p->blobs, blob_link)
		if (c->dial)
			dial_set_max_rate(c->dial, peer_rate(p));
}

/* ---- the end of the turn ---- */

static void turn_run(void *arg)
{
	struct turn *turn = arg;
	struct caller *cr = turn->caller;
	struct call *c, *last;

	turn->queued = false;
	if (!cr) {
		free(turn);
		return;
	}
	/* What they start in their turn waits for the next one. */
	last = TAILQ_LAST(&cr->ready, call_line);
	while ((c = TAILQ_FIRST(&cr->ready))) {
		bool is_last = c == last;

		TAILQ_REMOVE(&cr->ready, c, ready_link);
		c->is_ready = false;
		if (c->over)
			call_free(c);
		else
			call_step(c);
		if (is_last)
			break;
	}
}

void turn_soon(struct caller *c)
{
	if (c->turn->queued)
		return;
	c->turn->queued = true;
	loop_defer(c->loop, turn_run, c->turn);
}

/* ---- life ---- */

struct caller *caller_new(struct loop *l, struct upstreams *ups,
			  struct jobs *jobs)
{
	struct caller *c = xcalloc(1, sizeof(*c));
	const struct conf *conf = upstreams_conf(ups);
	struct resolver_options opt = {
	    .threads = conf->workers.resolve,
	    .fresh_ms = conf->fetch.resolve_keep_ms,
	    .late_ms = conf->fetch.resolve_late_ms,
	};

	c->loop = l;
	c->fetcher = fetcher_new(l, "entrepot/" ENTREPOT_VERSION);
	c->resolver = resolver_new(l, &opt);
	c->dialer.loop = l;
	c->dialer.fetcher = c->fetcher;
	c->dialer.resolver = c->resolver;
	proxy_environment_read(&c->dialer.env);
	c->credentials = credentials_new(l, jobs);
	c->tokens = tokens_new(&c->dialer);
	LIST_INIT(&c->dialer.errands);
	LIST_INIT(&c->peers);
	LIST_INIT(&c->calls);
	TAILQ_INIT(&c->ready);
	c->turn = xcalloc(1, sizeof(*c->turn));
	c->turn->caller = c;
	return c;
}

void caller_free(struct caller **cp)
{
	struct caller *c = *cp;
	struct peer *p;

	if (!c)
		return;
	errands_end(&c->dialer);
	call_end_all(c);
	*cp = NULL;
	tokens_free(&c->tokens);
	credentials_free(&c->credentials);
	fetcher_free(&c->fetcher);
	resolver_free(&c->resolver);
	while ((p = LIST_FIRST(&c->peers)))
		peer_free(p);
	c->turn->caller = NULL;
	if (!c->turn->queued)
		free(c->turn);
	free(c);
}

struct fetcher *caller_fetcher(struct caller *c)
{
	return c->fetcher;
}

struct dialer *caller_dialer(struct caller *c)
{
	return &c->dialer;
}
