/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_DIAL_WAY_H
#define PROXY_DIAL_WAY_H
/*
 * The way to a URL: straight to its host, or by a proxy.  What dial.c (for an
 * upstream) and errand.c (for nobody's URL) look up and connect to.  Pure.
 */
#include "proxy/environment_proxy.h"
#include "proxy/http_url.h"
#include "proxy/resolve.h"

struct dial_way {
	struct http_url url;
	struct proxy_url proxy; /* text NULL: none */
};

/* Zeroed storage will do, too. */
void dial_way_release(struct dial_way *w);

/* Whom to connect to; lives with w. */
const char *dial_way_host(const struct dial_way *w);
uint16_t dial_way_port(const struct dial_way *w);

/*
 * Where that was looked up: which addresses a fetch may take, as its spec's
 * `resolve` wants them, NULL where the host is an address itself; the caller
 * frees it.  `ok` leaves some out (NULL: none).  ERR_DENIED: all of them.
 */
enum err dial_way_resolve(const struct dial_way *w,
			  const struct resolved *found,
			  bool (*ok)(void *arg, const struct sockaddr *sa),
			  void *arg, char **out) MUST_CHECK;

#endif
