/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_RESOLVE_H
#define PROXY_RESOLVE_H
/*
 * Name lookups, on threads of their own, because getaddrinfo(3) may take as
 * long as a dead DNS server likes.
 *
 *  - One lookup per name at a time; others wait for the same answer.
 *  - Names whose last lookup failed use at most half of the threads, so that
 *    a dead name never delays a living one.
 *  - A good answer is kept; after `fresh_ms` a new lookup is started and, if
 *    it is not there within `late_ms`, the last good addresses serve.
 *
 * All functions and callbacks: fetch loop only.
 */
#include "cache/err.h"
#include "proxy/address.h"
#include "proxy/loop.h"

#define RESOLVED_MAX 16

struct resolved {
	unsigned n;
	struct sockaddr_storage addr[RESOLVED_MAX];
};

struct resolver;
struct resolution;

struct resolver_options {
	unsigned threads;  /* 0 = 4 */
	uint64_t fresh_ms; /* 0 = 30 s */
	uint64_t late_ms;  /* 0 = 500 ms */
};

struct resolver *resolver_new(struct loop *l,
			      const struct resolver_options *opt) MUST_CHECK;
/* Does not wait for lookups that hang: their threads are left to end with the
 * process. */
void resolver_free(struct resolver **r);

/*
 * Look up `host` (a literal is answered too).  The callback comes once, later
 * than this call, at the latest after timeout_ms: ERR_OK with 1..n addresses;
 * ERR_NOT_FOUND: no such name; ERR_TIMEOUT; ERR_UNAVAILABLE.
 */
typedef void resolve_cb(void *arg, enum err err, const struct resolved *found,
			const struct why *why);
struct resolution *resolve_start(struct resolver *r, const char *host,
				 uint16_t port, uint64_t timeout_ms,
				 resolve_cb *cb, void *arg) MUST_CHECK;
void resolve_cancel(struct resolution **res);

#endif
