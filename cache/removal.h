/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_REMOVAL_H
#define CACHE_REMOVAL_H
/*
 * Taking a digest out of the store, rows and file, unless somebody needs it.
 * Collection and purges do; each decides again inside the transaction that
 * deletes.
 *
 * A manifest with many children goes in several commits, its edges first and
 * its row last: until then it is what nobody can reach, and its row of garbage
 * leads a later start back to it.  A purge that is cut off between two commits
 * leaves some tags and mirrors that still have it whole, and can be repeated.
 */
#include "cache/cache_int.h"

enum removal_rule {
	/* No link, no edge of a stored manifest, no lease. */
	REMOVE_UNOWNED,
	/* No hosted link, no lease of its own; mirrors' links to a manifest
	 * go too. */
	REMOVE_PURGED,
};

/* Its row of garbage, which goes with it, and whose date its children get. */
struct garbage {
	uint64_t since_s;
	struct digest dg;
	uint64_t repo;
};

/*
 * ERR_OK: gone, or needed (*kept).  ERR_NO_SPACE, ERR_IO: some of its edges
 * may be gone.  Worker; takes the hold.
 */
enum err removal_run(struct cache *c, const struct garbage *g,
		     enum removal_rule rule, bool *kept,
		     struct why *why) MUST_CHECK;

/* In an apply: does anybody need it, by REMOVE_UNOWNED's rule? */
bool removal_needed(struct cache *c, struct index_txn *txn,
		    const struct digest *dg);

/* Tags and repositories that forget a manifest in one commit; each costs at
 * most 5 row operations. */
#define REMOVAL_FORGET_MAX 50

/*
 * In an apply: a mirrored repository no longer has this manifest: what tags
 * hold of it goes, then its link and its place among the referrers.  *left,
 * which counts each, stops at 0.  False: go on in another apply.
 */
bool removal_forget_manifest(struct index_txn *txn, uint64_t repo,
			     const struct digest *dg,
			     unsigned *left) MUST_CHECK;

#endif
