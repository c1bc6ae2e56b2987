/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_UPSTREAM_TOKEN_H
#define PROXY_UPSTREAM_TOKEN_H
/*
 * Bearer tokens of upstreams' token servers (the Docker registry's
 * "token authentication specification").
 *
 * Kept by realm, service, set of scopes and credential until they expire;
 * one request at a time for each, others wait for its answer.  The lifetime
 * counts on our own clock from receipt, less a tenth.
 *
 * Fetch loop.
 */
#include "proxy/credential.h"
#include "proxy/dial.h"

struct tokens;
struct token_ask;

/* Borrowed for the duration of a call. */
struct token_spec {
	struct upstream *up;
	const struct http_url *own; /* the registry that challenged */
	int limit;                  /* the class of its address; see dial.h */
	const char *realm, *service;
	const char *scope; /* one or more, by blanks; "" = none */
	/* NULL or none: anonymous. */
	const struct credential *cred;
};

struct tokens *tokens_new(struct dialer *dr) MUST_CHECK;
/* Nobody asks any more. */
void tokens_free(struct tokens **t);

/* A token that is still good, or NULL.  Valid until the turn ends. */
const char *token_cached(struct tokens *t, const struct token_spec *spec);

/* The registry has refused this token: do not hand it out again. */
void token_forget(struct tokens *t, const struct token_spec *spec,
		  const char *token);

/*
 * Ask the token server.  The callback comes once, later than this call.
 * ERR_DENIED: it refuses (401, 403); ERR_LIMITED: 429; ERR_UNAVAILABLE,
 * ERR_TIMEOUT: not reached, 5xx; ERR_BAD_UPSTREAM: no token in the answer, or
 * the realm is not one that may be asked or trusted with the credentials.
 * `why` names the upstream.
 */
typedef void token_cb(void *arg, enum err err, const char *token,
		      const struct why *why);
struct token_ask *token_ask(struct tokens *t, const struct token_spec *spec,
			    token_cb *cb, void *arg) MUST_CHECK;
void token_cancel(struct token_ask **ask);

/* ---- token_text.c: pure ---- */

#define TOKEN_LIFE_MIN_S 60
#define TOKEN_LIFE_MAX_S (7 * 24 * 3600)
#define TOKEN_TEXT_MAX 16384

/*
 * A token server's body: `access_token` is preferred to `token`; expires_in
 * is held to the limits above, 60 if it is missing.  ERR_INVALID: not JSON,
 * no token, or one with bytes that no header may hold.
 */
enum err token_answer_parse(const char *body, size_t len, char **token,
			    uint64_t *expires_s, struct why *why) MUST_CHECK;

/* May the credentials for an upstream, asked at `own`, go to this realm? */
bool token_realm_trusted(const struct conf_upstream *conf,
			 const struct http_url *own,
			 const struct http_url *realm);

/* The URL to GET, and the form to POST; the caller frees them. */
char *token_get_url(const struct http_url *realm, const char *service,
		    const char *scope,
		    const struct credential *cred) MUST_CHECK;
char *token_post_form(const char *service, const char *scope,
		      const struct credential *cred) MUST_CHECK;

/* What a token is kept under.  Secrets stand in it as their hash; the caller
 * frees it. */
char *token_key(const struct token_spec *spec) MUST_CHECK;

/* "Basic <base64 of user:password>"; the caller wipes and frees it. */
char *credential_basic(const char *username, const char *password) MUST_CHECK;

#endif
