/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_JOURNAL_FILE_H
#define CACHE_JOURNAL_FILE_H
/*
 * The journal's files as bytes.  Only the journal*.c files use it.
 *
 *   <first sequence, 16 hex>.log    frames, each one batch
 *   <sequence, 16 hex>.snap         frames with first = 0, then an empty one
 *
 * A frame is one batch of records, whole or not there:
 *
 *   length:32 crc32c:32  first:64 n:32  (length:32 payload) * n
 *   `length` is of what the CRC covers: first, n and the records
 */
#include "cache/cache_int.h"
#include "cache/journal.h"

#define JOURNAL_FRAME_HEAD 8         /* length, CRC */
#define JOURNAL_FRAME_MIN 12         /* first, n */
#define JOURNAL_FRAME_MAX (64 * MIB) /* no batch comes near */
/* No sequence comes near; so sums do not overflow. */
#define JOURNAL_SEQ_MAX (UINT64_MAX / 2)

/* Write a frame's head (JOURNAL_FRAME_HEAD + JOURNAL_FRAME_MIN bytes) for
 * these records, which follow it. */
void journal_frame_head(uint8_t *head, uint64_t first, uint32_t n,
			const void *records, size_t len);

/* A frame that was read; `records` is borrowed. */
struct journal_frame {
	uint64_t first;
	uint32_t n;
	struct slice records;
};

/*
 * Take a frame off the front of `rest`.  False: what is there is no whole
 * frame, and `rest` is untouched; it may be empty.  Pure.
 */
bool journal_frame_take(struct slice *rest,
			struct journal_frame *out) MUST_CHECK;
/* The next record of a frame; false at the end, or if it breaks off. */
bool journal_record_take(struct slice *records, struct slice *out) MUST_CHECK;

/*
 * Skip to the first whole frame whose `first` is in [min, max].  False: there
 * is none, and `rest` is untouched.  At a place where no frame begins, that is
 * how a torn tail is told from damage: nothing whole comes behind a tail, and
 * whatever has lost a bit, a length too, has whole frames behind it.  Pure.
 */
bool journal_frame_find(struct slice *rest, uint64_t min,
			uint64_t max) MUST_CHECK;

/* The sequence in a file's name "<16 hex>.<suffix>"; false: no such name. */
bool journal_name_parse(const char *name, const char *suffix, uint64_t *seq);
/* "journal/<16 hex>.<suffix>" into out[PATH_LEN_MAX]; returns it. */
char *journal_path(uint64_t seq, const char *suffix, char *out);

/* The sequences of all files with that suffix, in order; *v is malloc'd. */
enum err journal_list(struct cache *c, const char *suffix, uint64_t **v,
		      size_t *n, struct why *why) MUST_CHECK;

/* ERR_CORRUPT, with what mends a damaged journal behind the sentence. */
enum err journal_damaged(struct why *why, const char *fmt, ...)
    PRINTF_LIKE(2, 3) MUST_CHECK;

/* A whole regular file of at most `max` bytes in memory; *buf is malloc'd. */
enum err journal_read(struct cache *c, const char *path, uint64_t max,
		      uint8_t **buf, size_t *len, struct why *why) MUST_CHECK;

#endif
