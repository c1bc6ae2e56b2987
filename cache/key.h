/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_KEY_H
#define CACHE_KEY_H
/*
 * Keys of the index.  Integers are big-endian; a digest is its algorithm's
 * byte and its hash, whose length that byte implies, so no key is the
 * beginning of another one by accident.
 *
 *   meta           name of a counter, as text
 *   repo_name      host NUL name
 *   repo_held      host NUL name
 *   repo           id:64
 *   blob           digest
 *   manifest       digest
 *   tag            id:64 tag
 *   link           id:64 digest
 *   edge           child parent
 *   referrer       id:64 subject digest
 *   recency        position:64
 *   recency_place  digest
 *   trash          path below the data folder
 *   upload         id as text
 *   holder         digest kind:8 id:64    (kind 1 hosted, 2 mirror)
 *   garbage        since:64 digest id:64   (id 0 = no repository)
 *   tag_of         id:64 digest tag
 *   event          sequence:64
 *
 *   key_start(&k);
 *   key_u64(&k, repo);
 *   key_digest(&k, dg);
 *   index_get(txn, TABLE_LINK, key_slice(&k), &payload);
 */
#include "cache/digest.h"
#include "cache/index.h"

struct key {
	size_t len;
	uint8_t bytes[INDEX_KEY_MAX];
};

/* Only the length: the rest is written before it is read. */
#define key_start(k) ((k)->len = 0)

/* Append.  Running over is our own mistake: callers have checked names. */
void key_u64(struct key *k, uint64_t v);
void key_digest(struct key *k, const struct digest *dg);
void key_bytes(struct key *k, const void *ptr, size_t len);

static inline struct slice key_slice(const struct key *k)
{
	return slice_of(k->bytes, k->len);
}

/*
 * Take a part off the front of `rest`.  False if it does not begin with one;
 * stored keys may be damaged.
 */
bool key_take_u64(struct slice *rest, uint64_t *out) MUST_CHECK;
bool key_take_digest(struct slice *rest, struct digest *out) MUST_CHECK;

#endif
