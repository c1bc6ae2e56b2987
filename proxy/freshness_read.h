/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_FRESHNESS_READ_H
#define PROXY_FRESHNESS_READ_H
/*
 * Where the facts of proxy/freshness.h come from: the index, the upstream's
 * configuration, and what the mirror remembers of the last minute.  And, once
 * it is decided that what is held will do, which of it.
 *
 * Of a request whose names are resolved.  Serve loop.
 */
#include "proxy/freshness.h"
#include "proxy/reply.h"
#include "proxy/request.h"

/* What an upstream's configuration and a repository's row say; NULL: it has
 * none.  *f is zeroed by the caller.  Any thread. */
void freshness_of_repo(const struct conf_upstream *up,
		       const struct repo_row *row, struct freshness *f);

/* All facts about the tag r->route.ref; *f is zeroed by the caller. */
void freshness_read_tag(struct request *r, struct freshness *f);

/* Those about the repository, in a snapshot of the caller's. */
void freshness_read_repo(struct request *r, struct index_txn *txn,
			 struct freshness *f);

/*
 * Of a tag's row: the newest held digest that can be pulled whole, else the
 * newest held.  False: nothing is held any more.
 */
bool freshness_pick(struct request *r, const struct tag_row *row,
		    struct digest *out) MUST_CHECK;

/* 403: denied for longer than max_denied.  `unknown` as of reply_err(). */
void freshness_reply_denied(struct request *r, const struct freshness *f,
			    enum api_code unknown);

#endif
