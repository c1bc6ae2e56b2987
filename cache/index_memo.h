/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_INDEX_MEMO_H
#define CACHE_INDEX_MEMO_H
/*
 * What one reader has looked up in the newest snapshot: a request for a cached
 * manifest reads seven rows, and the next one mostly the same.
 *
 * A row is found again only in the snapshot it was found in, which LMDB numbers
 * by the commit that made it.  Its bytes stay in the map for as long: pages of
 * the newest snapshot are not used again before a later commit has freed them.
 * Nothing is said of a row whose CRC was wrong, or of one with a long key.
 *
 * Each thread has its own; no lock.
 */
#include "cache/index.h"

#define INDEX_MEMO_ROWS 128 /* a power of two */
#define INDEX_MEMO_KEY_MAX 96

struct index_memo_row {
	size_t snapshot; /* mdb_txn_id(); 0: none */
	struct slice payload;
	uint8_t table, missing, key_len;
	uint8_t key[INDEX_MEMO_KEY_MAX];
};

struct index_memo {
	struct index_memo_row rows[INDEX_MEMO_ROWS];
};

/* Where a row with this key is, or would be.  NULL: the key is too long. */
struct index_memo_row *index_memo_place(struct index_memo *memo,
					enum index_table table,
					struct slice key);

static inline bool index_memo_is(const struct index_memo_row *row,
				 size_t snapshot, enum index_table table,
				 struct slice key)
{
	return row->snapshot == snapshot && row->table == table &&
	       row->key_len == key.len &&
	       memcmp(row->key, key.ptr, key.len) == 0;
}

/* Keep what was found; payload.ptr NULL with `missing`: no such row. */
void index_memo_keep(struct index_memo_row *row, size_t snapshot,
		     enum index_table table, struct slice key,
		     struct slice payload, bool missing);

#endif
