/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_HTTP_URL_H
#define PROXY_HTTP_URL_H
/*
 * URLs that upstreams name: redirect targets and token realms.  They are
 * taken apart and put together again here, so that what the policy has judged
 * and what libcurl is told are the same host.
 *
 * Pure functions over foreign bytes.  Any thread.
 */
#include "proxy/http_field.h"

#define HTTP_URL_MAX 16384
#define HTTP_URL_HOST_MAX 255

struct http_url {
	char *text; /* normal form; the struct owns it */
	bool https;
	bool v6;                          /* host is an IPv6 address */
	char host[HTTP_URL_HOST_MAX + 1]; /* lower case, without brackets */
	uint16_t port;
	const char *target; /* in text: path and query, begins with '/' */
};

/*
 * An absolute http or https URL.  A fragment is dropped; blanks and bytes
 * past ASCII in the path, which some servers send, are escaped.
 *
 * ERR_INVALID: another scheme, a user, a bad host or port, a control byte, or
 * a host that looks like an address and is none ("127.1", "0x7f000001": they
 * are read differently by different readers).  ERR_TOO_BIG: too long.
 * ERR_OK: the caller calls http_url_release().
 */
enum err http_url_parse(struct span text, struct http_url *out) MUST_CHECK;

/* The same for a reference relative to `base` (RFC 3986 section 5.2; dot
 * segments are left to who fetches it). */
enum err http_url_join(const struct http_url *base, struct span reference,
		       struct http_url *out) MUST_CHECK;
void http_url_release(struct http_url *url);

/* Same scheme, host and port? */
bool http_url_same_origin(const struct http_url *a, const struct http_url *b);

/* Escape `text` for a query value or a form field; the caller frees it. */
char *http_url_escape(const char *text) MUST_CHECK;

#endif
