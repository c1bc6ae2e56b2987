/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_CORS_H
#define PROXY_CORS_H
/*
 * Web pages of other origins (the Fetch standard, "CORS protocol"): which of
 * them a browser may let at our replies, by the option "cors".  An origin
 * that is allowed is answered with itself, never with "*", so that replies
 * with a login follow the same way.  Serve loop.
 */
#include "proxy/request.h"

/* Longer ones belong to nobody. */
#define CORS_ORIGIN_MAX 512

/* Is this an origin that `conf` allows?  Pure; any thread. */
bool cors_allows(const struct conf *conf, struct span origin);

/*
 * The Origin of a request, if it has one that is not allowed: then *out is it
 * (the first of several, which no browser sends).  False: none, or allowed.
 */
bool cors_is_foreign(const struct request *r, struct span *out);

/*
 * Fields for every reply, errors too: a page sees a 401 or 404 only if they
 * are there.  Between reply_begin() and reply_send().
 */
void cors_add(struct request *r);

/*
 * Does a browser ask whether a page may send such a request?  It is answered
 * on every path, whether there is something or not, and whoever asks: a
 * preflight carries no login.
 */
bool cors_is_preflight(const struct request *r);

/* Answer OPTIONS: 204, the methods of this path, and of a preflight what the
 * page may send. */
void cors_reply_options(struct request *r, unsigned methods);

#endif
