/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_CHECK_H
#define CACHE_CHECK_H
/*
 * What the two halves of the checker share: cache/check.c reads the tables,
 * cache/check_files.c compares them with the files.
 */
#include "cache/cache_int.h"

struct check {
	struct cache *cache;
	struct index_txn *txn; /* check.c: the one snapshot it works in */
	const char *table;     /* being walked */
	bool rehash;
	cache_check_cb *cb;
	void *arg;
	uint64_t findings;
	uint64_t blobs, blob_bytes, events; /* counted */
};

void check_finding(struct check *c, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Blob rows without their files, files without a row.  Takes snapshots of its
 * own, and none while it touches a file. */
void check_files(struct check *c);

#endif
