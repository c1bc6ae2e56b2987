/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_HTTP_ACCEPT_H
#define PROXY_HTTP_ACCEPT_H
/*
 * Which media types an Accept allows, as registry clients mean it: several
 * field lines are one list (dockerd sends six), weights are ignored except
 * q=0, and application/json stands for every kind of manifest.
 *
 * Pure functions.  Any thread.
 */
#include "proxy/http_parse.h"

/*
 * Does the request accept `type` ("type/subtype", lower case)?  Without an
 * Accept, or with none that holds a usable element, everything is accepted.
 * Of the elements that match, the most specific decides (RFC 9110 section
 * 12.5.1), so a refused type stays refused beside a wildcard.
 */
bool http_accepts(const struct http_head *head, const char *type);

/*
 * The same piecemeal, for values that are not in a head: zero the struct,
 * add each field value, ask.
 */
struct http_accept {
	unsigned rank; /* of the most specific match so far; 0: none */
	bool allowed;  /* what that match says */
	bool usable;   /* there was an element that could be read */
};

void http_accept_add(struct http_accept *a, struct span value,
		     const char *type);
bool http_accept_verdict(const struct http_accept *a);

#endif
