/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_LEASE_H
#define CACHE_LEASE_H
/*
 * Leases: who has been told that a blob exists may rely on it for the grace
 * period.  Every answer that tells a pusher so (HEAD, mount, the end of an
 * upload) leases the digest; collection, purges and eviction leave leased
 * blobs alone, so that the manifest which follows finds them.
 *
 * In memory only.  The period restarts with the process: for one grace period
 * after leases_new() everything counts as leased.
 */
#include "cache/digest.h"

struct leases;

/* `grace_ms` from now on, also for leases that are running.  Any thread. */
struct leases *leases_new(uint64_t grace_ms) MUST_CHECK;
void leases_free(struct leases **l);
void leases_set_grace(struct leases *l, uint64_t grace_ms);
uint64_t leases_grace(struct leases *l);

/* From now on for the grace period.  Any thread; takes a mutex for moments. */
void lease_take(struct leases *l, const struct digest *dg);

/*
 * Does somebody rely on dg?  Any thread; the index's writer asks it inside the
 * transaction that removes, so that a lease taken after the answer that named
 * a row has either been seen, or belongs to a request which will find no row.
 */
bool lease_has(struct leases *l, const struct digest *dg);

/*
 * The same without what everything has after a start: is dg itself leased?
 * For purges, which somebody asks for by name, and which must not wait for a
 * grace period to pass first.
 */
bool lease_is_taken(struct leases *l, const struct digest *dg);

#endif
