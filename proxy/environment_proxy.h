/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_ENVIRONMENT_PROXY_H
#define PROXY_ENVIRONMENT_PROXY_H
/*
 * The environment's proxy variables, as curl(1) reads them: http_proxy in
 * lower case only (HTTP_PROXY is what a CGI client could set), https_proxy,
 * all_proxy and no_proxy in both, lower case first; empty is unset.
 *
 * Pure functions over strings; any thread.
 */
#include "cache/err.h"

/* Borrowed; NULL: unset. */
struct proxy_environment {
	const char *http, *https, *all, *no;
};

/* From getenv(3).  Main thread, before others start. */
void proxy_environment_read(struct proxy_environment *env);

/* The proxy for a request to `host` (no brackets) and port, as the variable
 * has it; NULL: go there directly. */
const char *proxy_environment_pick(const struct proxy_environment *env,
				   bool https, const char *host, uint16_t port);

/*
 * Does the no_proxy list name this host?  "*" alone is every host; a name is
 * that host and all below it, with or without a dot in front; an address or
 * network ("10.0.0.0/8", "fd00::/8") is compared as one.  An entry may end
 * in ":port" (in brackets before it: IPv6), and then means that port only;
 * curl has no such form, but other programs that read the variable do.
 */
bool proxy_environment_excludes(const char *list, const char *host,
				uint16_t port);

#define PROXY_HOST_MAX 255

/* What a proxy's URL says: where to connect, and what libcurl is told. */
struct proxy_url {
	char host[PROXY_HOST_MAX + 1]; /* without brackets */
	uint16_t port;
	/* With the port always there; names are left to SOCKS proxies.  The
	 * struct owns it; may hold a password. */
	char *text;
};

/*
 * "[scheme://][user[:password]@]host[:port][/]"; no scheme means http, no
 * port 1080 (https: 443; with `web_port` http: 80).  ERR_INVALID: anything
 * else.
 */
enum err proxy_url_parse(const char *text, bool web_port,
			 struct proxy_url *out) MUST_CHECK;
void proxy_url_release(struct proxy_url *url);

#endif
