/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_DIAL_H
#define PROXY_DIAL_H
/*
 * A fetch of one URL on behalf of one upstream: chooses the proxy, looks the
 * host up, judges its addresses and
 * fetches with the upstream's TLS and deadlines.
 *
 * All functions and callbacks: fetch loop only.
 */
#include "proxy/address.h"
#include "proxy/environment_proxy.h"
#include "proxy/fetch.h"
#include "proxy/http_url.h"
#include "proxy/resolve.h"
#include "proxy/upstream.h"

/* What dials share; storage of the caller's. */
struct dialer {
	struct loop *loop;
	struct fetcher *fetcher;
	struct resolver *resolver;
	struct proxy_environment env;
	LIST_HEAD(, errand) errands; /* errand.c's */
};

/* Why this URL is dialled, which says how far it is trusted. */
enum dial_role {
	DIAL_ENDPOINT, /* the operator wrote it: any address but a forbidden */
	DIAL_REDIRECT, /* an upstream's answer led here */
	DIAL_REALM,    /* a challenge did */
};

/* Borrowed for the duration of dial_start(). */
struct dial_spec {
	struct upstream *up;
	enum dial_role role;
	const struct http_url *url;
	/* The host is the endpoint's own: it gets the client certificate. */
	bool own_host;
	/* enum address_class of the endpoint, past which a redirect or realm
	 * needs redirect_allow; ENDPOINT_CLASS_UNKNOWN counts as public. */
	int limit;
	enum fetch_pool pool;
	const char *method;
	const char *const *headers;
	size_t n_headers;
	const char *post_body; /* NULL: none */
	uint64_t max_rate;     /* bytes per second; 0 = no limit */
};

struct dial;

/*
 * Never calls back before it returns; events as in proxy/fetch.h, whose
 * `done` may be the only one.  Its `why` names no upstream, but for
 * ERR_DENIED, which is a whole sentence.  head and data may be called by
 * libcurl: no other dial or call may be started or ended from them.
 */
struct dial *dial_start(struct dialer *dr, const struct dial_spec *spec,
			const struct fetch_events *ev, void *arg) MUST_CHECK;
void dial_resume(struct dial *d);
void dial_set_max_rate(struct dial *d, uint64_t max_rate);
/* Not from inside its head or data. */
void dial_cancel(struct dial **d);

/* enum address_class of what answers, from `head` on.  Through a proxy that
 * of the name: an address in the URL, or public. */
int dial_class(const struct dial *d);

#endif
