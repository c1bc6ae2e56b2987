/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_BLOB_H
#define CACHE_BLOB_H
/*
 * Open blob files, pinned while somebody sends from them.  A shared LRU keeps
 * the descriptors of hot blobs, so that a hit opens nothing.
 *
 *   blob_pin_hot (loop, may say no) -> blob_fd, blob_size -> blob_unpin
 *   blob_pin (worker, opens)        -> the same
 */
#include "cache/cache.h"

struct blob;

/* The blob if its descriptor is open already, with one more pin; else NULL.
 * Loop; no I/O. */
struct blob *blob_pin_hot(struct cache *c, const struct digest *dg);

/*
 * Open blob `dg` for reading and pin it; removal leaves the bytes alone until
 * blob_unpin(), because the descriptor stays.
 *
 * ERR_OK sets *out (caller owns one pin).  ERR_NOT_FOUND: not in the index.
 * ERR_CORRUPT: indexed, but ENOENT twice or another length; the record is
 * dropped and the event reported, so that the next request fetches again.
 * ERR_IO (EMFILE, EIO, EACCES): nothing changes; the caller may try again.
 *
 * Worker; opens a file.
 */
enum err blob_pin(struct cache *c, const struct digest *dg, struct blob **out,
		  struct why *why) MUST_CHECK;

/* One more pin on what the caller has pinned already.  Any thread. */
struct blob *blob_repin(struct blob *b);
/* Give a pin back, leaving NULL.  May close a descriptor: any thread. */
void blob_unpin(struct blob **b);

int blob_fd(const struct blob *b);
uint64_t blob_size(const struct blob *b);
const struct digest *blob_digest(const struct blob *b);

/*
 * Are bytes [off, off+len) in the page cache?  YES, NO, or DONT_KNOW where
 * the kernel cannot say without reading (cachestat(2) is from Linux 6.5).
 * Never blocks; loop.  Works on any descriptor.
 */
enum resident { RESIDENT_YES, RESIDENT_NO, RESIDENT_DONT_KNOW };
enum resident file_resident(int fd, uint64_t off, uint64_t len);

/* Bring [off, off+len) into the page cache and return when it is there.
 * Worker. */
void file_warm(int fd, uint64_t off, uint64_t len);

#endif
