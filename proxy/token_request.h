/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_TOKEN_REQUEST_H
#define PROXY_TOKEN_REQUEST_H
/*
 * One request to an upstream's token server: whether its realm may be asked,
 * GET or POST, the deadline, what the answer means.  upstream_token.c keeps
 * what it brings.
 *
 *   START -> in line at the upstream's gate -> SENT -> (the other method) ->
 * done
 *
 * Fetch loop.
 */
#include "proxy/upstream_token.h"

struct token_requests; /* those of one mirror; they share the gates */
struct token_request;

struct token_requests *token_requests_new(struct dialer *dr) MUST_CHECK;
/* When none is under way. */
void token_requests_free(struct token_requests **t);

/*
 * Last call; the request is freed before it.  ERR_OK: the token is the
 * callee's, and good for `life_s`.  Others as of token_ask(), with `why`.
 */
typedef void token_request_cb(void *arg, enum err err, char *STEALS token,
			      uint64_t life_s, const struct why *why);

/* The callback comes once, later than this call; `spec` is copied. */
struct token_request *token_request_start(struct token_requests *all,
					  const struct token_spec *spec,
					  token_request_cb *cb,
					  void *arg) MUST_CHECK;
/* No callback follows. */
void token_request_cancel(struct token_request **r);

#endif
