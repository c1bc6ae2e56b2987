/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_EXTENT_H
#define CACHE_EXTENT_H
/*
 * A set of bytes of one file, as an ordered array of disjoint half-open
 * ranges [start, end).  It is what a sparse partial file knows about itself:
 * which bytes were written, which were synced, which a transfer owns.
 *
 *      0        4        8            14
 *      |--------|        |============|         {[8, 14)}
 *      add [4, 8)  ->  touching ranges become one: {[4, 14)}
 *
 * Between two ranges there is always at least one byte that is in neither, so
 * two sets hold the same bytes exactly when their arrays are equal.
 *
 * A set has no lock; its owner's guards it.  Offsets come from our own
 * arithmetic and are asserted (start <= end); only extent_decode() reads
 * foreign bytes.  The byte at UINT64_MAX cannot be in a set, because its end
 * would not be a number; UINT64_MAX therefore serves as "none".
 */
#include "cache/err.h"

#define EXTENT_NONE UINT64_MAX

struct extent {
	uint64_t start, end;
};

/* Read freely; change only by the functions below.  All zero is empty. */
struct extents {
	struct extent *v;
	size_t n, cap;
};

void extent_init(struct extents *set);
void extent_release(struct extents *set);
/* Empty the set, and keep its memory. */
void extent_clear(struct extents *set);
/* Make `to` hold what `from` holds. */
void extent_copy(struct extents *to, const struct extents *from);

/*
 * Put [start, end) in or take it out; start == end does nothing.  O(log n)
 * to find, O(n) to move what lies behind.
 */
void extent_add(struct extents *set, uint64_t start, uint64_t end);
void extent_remove(struct extents *set, uint64_t start, uint64_t end);

/* Is every byte of [start, end) in the set?  True where it has none. */
bool extent_contains(const struct extents *set, uint64_t start, uint64_t end);
/* Is at least one byte of [start, end) in the set? */
bool extent_overlaps(const struct extents *set, uint64_t start, uint64_t end);

/* The first byte >= off that is not in the set: where reading must stop. */
uint64_t extent_run(const struct extents *set, uint64_t off);
/* The first byte >= off that is in the set, or EXTENT_NONE. */
uint64_t extent_next(const struct extents *set, uint64_t off);
/*
 * The first hole within [from, limit): true sets *gap to it, cut to these
 * bounds; false if there is none.
 */
bool extent_gap(const struct extents *set, uint64_t from, uint64_t limit,
		struct extent *gap);

/* Bytes in the set; those of them within [start, end). */
uint64_t extent_total(const struct extents *set);
uint64_t extent_total_within(const struct extents *set, uint64_t start,
			     uint64_t end);

bool extent_equal(const struct extents *a, const struct extents *b);

/* Walk in ascending order; the body must not change the set. */
#define EXTENT_EACH(it, set)                                                   \
	for ((it) = (set)->v; (it) && (it) != (set)->v + (set)->n; (it)++)

/*
 * Stored form, big-endian: a 32-bit count, then 64-bit start and end of each
 * range in order.
 *
 * extent_encode() returns the bytes written, or 0 if they are more than `len`
 * (and then writes nothing).  extent_decode() reads one set from the front of
 * `buf` and sets *used to its length; the caller owns *out.  ERR_CORRUPT: cut
 * short, or ranges that are empty, unordered or touching; *out is empty then.
 * It allocates no more than `len` bytes.
 */
size_t extent_encoded_len(const struct extents *set);
size_t extent_encode(const struct extents *set, uint8_t *buf, size_t len);
enum err extent_decode(const uint8_t *buf, size_t len, struct extents *out,
		       size_t *used) MUST_CHECK;

#endif
