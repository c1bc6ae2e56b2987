/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_PARTIAL_H
#define CACHE_PARTIAL_H
/*
 * A blob on its way in: the sparse file partial/<alg>/<hex>@<host>, the map
 * of what is written and what is synced, and the hash that runs in order
 * behind the fill.
 *
 *   partial_open -> partial_write*, partial_hash*  -> partial_publish
 *                                                  -> partial_discard
 *                                                  -> partial_close (kept)
 *
 * Only workers write, and only one at a time for one partial (the caller's
 * strand sees to that).  partial_view() and partial_fd() may be used from any
 * thread: readers follow the growing file by them.
 *
 * The map file `<...>.map` holds, in two slots written in turn with a
 * sequence number and a CRC, the size if known, this boot's id, the extents
 * written and the extents synced.  After a crash of ours the written ones
 * count (the kernel has the bytes); after another boot only the synced ones.
 * It is written after the bytes it speaks of and before they are held, so that
 * no reader has seen what a crash of ours loses, and at close.  A file with two
 * links is complete and may be a blob's inode: all of it is held from the
 * start, and it is never written or cut.
 */
#include "cache/cache.h"
#include "cache/extent.h"

#define PARTIAL_SIZE_UNKNOWN UINT64_MAX
#define PARTIAL_EXTENTS_MAX 4096

struct partial;

/*
 * Open or make the partial of (dg, host).  What its map vouches for is held;
 * the hash starts at zero and catches up by partial_hash().
 * ERR_NO_SPACE: below min_free, nothing is made.  ERR_IO.  Worker.
 *
 * Where it is open already (the readers of a flight that has ended, start-up's
 * recovery), the same partial is given with one more user: each closes it
 * once, and writers take turns.
 */
enum err partial_open(struct cache *c, const struct digest *dg,
		      const char *host, struct partial **out,
		      struct why *why) MUST_CHECK;

/*
 * Tell the size once known.  ERR_MISMATCH: another size was told before, or
 * bytes are held beyond it; the caller discards.  Any thread.
 */
enum err partial_set_size(struct partial *p, uint64_t size,
			  struct why *why) MUST_CHECK;

/*
 * Write bytes at `off`; on ERR_OK they are part of the held extents before
 * this returns, hashed too if they continue the hash (the part of them that
 * was held already is compared, not written: a difference is ERR_MISMATCH).
 * Room is reserved in steps before it is written: ERR_NO_SPACE, with the
 * numbers in `why`, leaves what is held usable.  ERR_IO likewise.  Every
 * 8 MiB the kernel is told to begin writing back, every 64 MiB it is synced
 * and the map says so.  Worker.
 */
enum err partial_write(struct partial *p, uint64_t off, const void *buf,
		       size_t len, struct why *why) MUST_CHECK;

/*
 * Let the hash catch up over held bytes, at most `max_bytes` of reading.
 * *more: there is more to do now.  ERR_IO, ERR_CORRUPT (a held byte cannot be
 * read).  Worker.
 */
enum err partial_hash(struct partial *p, uint64_t max_bytes, bool *more,
		      struct why *why) MUST_CHECK;

/* What readers and the flight go by; a copy taken under a mutex. */
struct partial_view {
	uint64_t size;       /* or PARTIAL_SIZE_UNKNOWN */
	uint64_t held_bytes; /* in all */
	uint64_t hashed;     /* bytes [0, hashed) went into the hash */
	bool proven;         /* all hashed, and the digest is right */
	bool mismatch;       /* all hashed, and it is wrong */
};
void partial_view(struct partial *p, struct partial_view *out);
/* The first byte >= off that is not held. */
uint64_t partial_run(struct partial *p, uint64_t off);
/* The first held byte >= off, or UINT64_MAX. */
uint64_t partial_next(struct partial *p, uint64_t off);
/* A copy of the held extents.  Caller releases it. */
void partial_extents(struct partial *p, struct extents *out);
/* A copy of the running hash, which stands at *at; the caller frees it.  For
 * a reader that goes on without the disk. */
struct hasher *partial_hasher(struct partial *p, uint64_t *at);
/* For sendfile and pread; valid while the partial is open (the caller counts
 * its readers). */
int partial_fd(const struct partial *p);

/*
 * The digest is proven: make it a blob.  Take the hold of dg; unless it is
 * stored already: fdatasync, link(2) into blobs/ (EEXIST: what no record
 * speaks of goes, and link again), fsync the folder; one commit of the blob
 * row, and link(repo, dg) for each of the `n` repositories (of none, it is
 * collected unless somebody comes for it); unlink the staged name and its map;
 * release the hold.  ERR_NO_SPACE, ERR_IO: links are undone,
 * bytes stay readable through the descriptor; a failed fsync discards the file.
 * partial_fd() stays valid until partial_close().  Worker; waits for the
 * commit.
 */
struct publish_repo {
	const char *host, *name;
	bool public_yes;
};
enum err partial_publish(struct partial *p, const struct publish_repo *repos,
			 size_t n, struct why *why) MUST_CHECK;

/* Throw the bytes away: unlink file and map.  The descriptor stays open for
 * readers until partial_close().  Worker. */
void partial_discard(struct partial *p);

/* Sync what is held, write the map a last time and close; a file that holds
 * nothing goes.  Worker, when nobody reads by this user's leave. */
void partial_close(struct partial **p);

/* Does a partial of (dg, host) exist from before?  In memory; loop. */
bool partial_exists(struct cache *c, const struct digest *dg, const char *host);

#endif
