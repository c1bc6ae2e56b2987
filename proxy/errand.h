/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_ERRAND_H
#define PROXY_ERRAND_H
/*
 * A small exchange with a URL that the configuration names and that belongs
 * to no upstream: a webhook, Docker Hub's search.  The name is looked up by
 * the resolver, the proxy variables of the environment count, redirects are
 * not followed, and one deadline bounds all of it.
 *
 * All functions and callbacks: fetch loop only.
 */
#include "proxy/dial.h"

struct errand;

/* Borrowed for the duration of errand_start(). */
struct errand_spec {
	const char *url;
	const char *const *headers; /* "Name: value"; may hold secrets */
	size_t n_headers;
	const char *post_body; /* NULL: a GET */
	const char *ca;        /* PEM file; NULL: the system's authorities */
	bool insecure;         /* certificates are not checked */
	size_t answer_max;     /* bytes of the answer that are kept */
	uint64_t timeout_ms;
};

/*
 * The end, once; the errand is freed.  ERR_OK: answered, with `status` and the
 * body (cut at answer_max).  Otherwise `why` says what was wrong, without the
 * URL: ERR_TIMEOUT, ERR_UNAVAILABLE, ERR_BAD_UPSTREAM, ERR_DENIED (an address
 * that is never dialled), ERR_INVALID (no URL).
 */
typedef void errand_cb(void *arg, enum err err, unsigned status,
		       const char *body, size_t len, const struct why *why);

/* Never calls back before it returns. */
struct errand *errand_start(struct dialer *dr, const struct errand_spec *spec,
			    errand_cb *cb, void *arg) MUST_CHECK;
/* No callback follows. */
void errand_cancel(struct errand **e);
/* All that run end with ERR_CANCELED, and none is started any more. */
void errands_end(struct dialer *dr);

#endif
