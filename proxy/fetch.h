/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_FETCH_H
#define PROXY_FETCH_H
/*
 * One HTTP exchange with one URL, on the fetch loop.  Nobody but its files
 * (proxy/fetch_int.h) uses libcurl.  It knows nothing of registries, tokens or
 * redirects: a 3xx or 401 is an answer like any other (proxy/call.h goes on
 * from there).
 *
 * Names are never resolved here: the caller hands over addresses that a
 * resolver has looked up and the policy has judged.  The address really
 * dialled is judged once more before connect(2), and that of a reused
 * connection before its answer is shown.
 *
 * Small exchanges (checks, manifests, tokens) and blob transfers have pools
 * of connections of their own, so that the small never wait behind the big.
 * The number of connections is not limited here: who starts fetches counts
 * them, so that no deadline runs in a queue.
 *
 * All functions and callbacks: fetch loop only.
 */
#include "cache/err.h"
#include "proxy/loop.h"

struct fetcher;
struct fetch;

enum fetch_pool { FETCH_SMALL, FETCH_BLOB };

struct sockaddr;

/* Borrowed for the duration of fetch_start(). */
struct fetch_spec {
	enum fetch_pool pool;
	const char *method;         /* "GET", "HEAD", "POST" */
	const char *url;            /* http or https, complete */
	const char *const *headers; /* "Name: value" */
	size_t n_headers;
	const char *post_body; /* NULL: none */
	/* "host:port:addr,addr" as CURLOPT_RESOLVE takes it, for the target,
	 * or for the proxy when one is used; NULL when the host is an
	 * address. */
	const char *resolve;
	const char *proxy; /* URL; NULL: none (the environment is not read) */
	const char *ca, *client_cert, *client_key; /* paths; NULL: default */
	bool ca_and_system; /* `ca` besides the system's, not instead */
	bool insecure;
	uint64_t connect_ms;    /* to a connection, TLS included */
	uint64_t first_byte_ms; /* from start to the response head */
	uint64_t stall_ms;      /* without a body byte; not while paused */
	uint64_t max_rate;      /* bytes per second; 0 = no limit */
	/* Is this peer allowed?  NULL: any.  Through a proxy it is asked of
	 * the proxy's address. */
	bool (*address_ok)(void *arg, const struct sockaddr *sa);
};

/* A response head.  Lives until the callback returns. */
struct fetch_head;
unsigned fetch_head_status(const struct fetch_head *h);
/* The n-th value (from 0) of a field, any case; NULL if there is none. */
const char *fetch_head_field(const struct fetch_head *h, const char *name,
			     unsigned n);

enum fetch_take {
	FETCH_TOOK,  /* go on */
	FETCH_PAUSE, /* nothing was taken: the same bytes come again after
			fetch_resume() */
	FETCH_STOP,  /* enough: done() follows with ERR_OK */
};

struct fetch_events {
	/* Once, for the final head (1xx are skipped).  false: stop here, as
	 * FETCH_STOP. */
	bool (*head)(void *arg, const struct fetch_head *h);
	enum fetch_take (*data)(void *arg, const void *buf, size_t len);
	/*
	 * Last call; the fetch is freed when it returns.  ERR_OK: the exchange
	 * is complete (length matched, or stopped by us).  ERR_UNAVAILABLE:
	 * no connection, reset, cut short.  ERR_TIMEOUT: a deadline of the
	 * spec.  ERR_DENIED: the address policy.  ERR_BAD_UPSTREAM: not HTTP,
	 * TLS that does not verify, a head without end.
	 */
	void (*done)(void *arg, enum err err, const struct why *why);
};

/* `l` is the fetch loop; user_agent is sent with every exchange. */
struct fetcher *fetcher_new(struct loop *l, const char *user_agent) MUST_CHECK;
/* On the fetch loop, at the end; running fetches end with ERR_CANCELED. */
void fetcher_free(struct fetcher **f);

/* Never calls back before it returns; `arg` goes to address_ok and events. */
struct fetch *fetch_start(struct fetcher *f, const struct fetch_spec *spec,
			  const struct fetch_events *ev, void *arg) MUST_CHECK;
/* After FETCH_PAUSE; data may be delivered before it returns. */
void fetch_resume(struct fetch *f);
/* A new limit, from now on. */
void fetch_set_max_rate(struct fetch *f, uint64_t max_rate);
/* No callback follows.  Not from inside a callback of the same fetch. */
void fetch_cancel(struct fetch **f);

struct fetcher_stats {
	uint64_t started, connections, body_bytes;
	unsigned running[2]; /* by pool */
};
void fetcher_stats(struct fetcher *f, struct fetcher_stats *out);

#endif
