/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_ROW_META_H
#define CACHE_ROW_META_H
/*
 * Numbers by name in the table `meta`.  Only the row_*.c files, event.c and
 * check.c use it.
 *
 *   repo/next      the id that the next repository gets
 *   recency/next   the position that the next touch gets
 *   total/<name>   see total_get()
 *   event/next     the sequence that the next event gets
 *   event/at/<receiver>   what a receiver was told of
 *   journal/last   see index_log_put(); the index keeps it
 */
#include "cache/index.h"

/* ERR_OK, ERR_NOT_FOUND, ERR_CORRUPT; *out is 0 unless ERR_OK. */
enum err meta_get(struct index_txn *txn, const char *name,
		  uint64_t *out) MUST_CHECK;
void meta_put(struct index_txn *txn, const char *name, uint64_t v);

/* Add to a total.  One that would fall below zero was wrong before; it stays
 * at zero, and the checker counts. */
void total_add(struct index_txn *txn, const char *name, int64_t delta);

#endif
