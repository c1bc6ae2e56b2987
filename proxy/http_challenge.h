/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_HTTP_CHALLENGE_H
#define PROXY_HTTP_CHALLENGE_H
/*
 * WWW-Authenticate as upstreams really send it (RFC 9110 section 11.6.1 and
 * worse): several fields, several challenges in one, any case, quoted or bare
 * values, commas and escapes inside quotes, token68, blanks for commas.
 *
 * Pure functions into the caller's storage.  Any thread.
 */
#include "proxy/http_field.h"

enum http_auth_scheme {
	HTTP_AUTH_NONE, /* no challenge that we can answer */
	HTTP_AUTH_BASIC,
	HTTP_AUTH_BEARER,
};

/* Absent parameters are empty strings.  No value holds a control byte. */
struct http_challenge {
	enum http_auth_scheme scheme;
	char realm[1024];
	char service[256];
	char scope[2048];
	char error[64];
};

void http_challenge_init(struct http_challenge *ch);

/*
 * Read one WWW-Authenticate value; call it for each field in turn.  *ch keeps
 * the first Bearer, else the first Basic.  A challenge is passed over if a
 * quote does not end, a value is too long for its field or holds a control
 * byte, or a Bearer has no realm.
 */
void http_challenge_add(struct http_challenge *ch, struct span value);

#endif
