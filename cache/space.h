/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_SPACE_H
#define CACHE_SPACE_H
/*
 * Room on the disk.  min_free_bytes of it stay free, whoever fills the rest:
 * bytes are reserved before they are written, so that many fills at once
 * cannot each count the same free room.
 *
 *   space_take -> write -> space_spend -> ... -> space_end (the rest)
 *
 * The kernel counts what has been written; `outstanding` is what has been
 * promised and is not written yet.
 */
#include "cache/err.h"

/* Reservations are made in steps of this, so that asking is rare. */
#define SPACE_STEP (16 * MIB)

struct space;

/* `fd`: any descriptor on the filesystem; borrowed. */
struct space *space_new(int fd, uint64_t min_free_bytes) MUST_CHECK;
void space_free(struct space **s);
/* From now on; what is reserved stays so.  Any thread. */
void space_set_min_free(struct space *s, uint64_t bytes);

/* Pure: does `want` fit, so that min_free stays? */
bool space_fits(uint64_t free_bytes, uint64_t min_free, uint64_t outstanding,
		uint64_t want);

/* Is there room at all?  ERR_NO_SPACE, with the numbers in `why`; ERR_IO: the
 * filesystem does not say.  Any thread that may call statvfs(3). */
enum err space_check(struct space *s, struct why *why) MUST_CHECK;

/* One writer's reservation; all zero has none. */
struct space_share {
	uint64_t left;
};

/*
 * Have at least `bytes` reserved: another step when they run out, or just
 * what is needed when a step does not fit.  Errors as above.  The writer says
 * by space_spend() how much it has written.
 */
enum err space_take(struct space *s, struct space_share *share, uint64_t bytes,
		    struct why *why) MUST_CHECK;
void space_spend(struct space *s, struct space_share *share, uint64_t bytes);
/* Give back what is left. */
void space_end(struct space *s, struct space_share *share);

/* Reserved by all and not yet written. */
uint64_t space_outstanding(struct space *s);

#endif
