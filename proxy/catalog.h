/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_CATALOG_H
#define PROXY_CATALOG_H
/*
 * All repositories that anybody may pull from here, in the order of the names
 * by which they pull: for the catalog and for search.
 */
#include "cache/cache.h"
#include "proxy/conf.h"

/* May anybody see what is held of this mirrored repository?  Without asking
 * its upstream: what was never asked about is not, where credentials are. */
bool catalog_is_public(const struct conf_upstream *up,
		       const struct repo_row *repo);

/*
 * Call `cb` with each name after `after` (exclusive; "" = from the first) until
 * it returns false.  Hosted repositories and mirrored ones of configured
 * upstreams that hold something; never private ones.  Snapshots are renewed on
 * the way.  ERR_OK, ERR_IO.  Worker.
 */
typedef bool catalog_cb(void *arg, const char *name);
enum err catalog_walk(struct cache *c, const struct conf *conf,
		      const char *after, catalog_cb *cb, void *arg) MUST_CHECK;

#endif
