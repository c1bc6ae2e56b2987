/* SPDX-License-Identifier: Apache-2.0 */
/* The two tables that are worked off: files to unlink, and digests by when
 * they were last wanted. */
#include "cache/key.h"
#include "cache/row.h"
#include "cache/row_code.h"
#include "cache/row_meta.h"

void trash_put(struct index_txn *txn, const char *path)
{
	index_put(txn, TABLE_TRASH, slice_of(path, strlen(path)),
		  slice_of(NULL, 0));
}

void trash_del(struct index_txn *txn, const char *path)
{
	index_del(txn, TABLE_TRASH, slice_of(path, strlen(path)));
}

struct trash_walk {
	trash_walk_cb *cb;
	void *arg;
};

static bool trash_row(void *arg, struct slice key, struct slice payload)
{
	char path[INDEX_KEY_MAX + 1];
	struct trash_walk *w = arg;

	if (!payload.ptr || memchr(key.ptr, 0, key.len))
		return true;
	memcpy(path, key.ptr, key.len);
	path[key.len] = '\0';
	return w->cb(w->arg, path);
}

enum err trash_walk(struct index_txn *txn, trash_walk_cb *cb, void *arg)
{
	struct trash_walk w = {.cb = cb, .arg = arg};

	return index_walk(txn, TABLE_TRASH, slice_of(NULL, 0),
			  slice_of(NULL, 0), trash_row, &w);
}

static struct slice place_key(struct key *k, const struct digest *dg)
{
	key_start(k);
	key_digest(k, dg);
	return key_slice(k);
}

static struct slice position_key(struct key *k, uint64_t position)
{
	key_start(k);
	key_u64(k, position);
	return key_slice(k);
}

/* Take it out of the queue; its place is the caller's to delete or renew. */
static void leave_queue(struct index_txn *txn, const struct key *place)
{
	struct slice payload;
	uint64_t position;
	struct key k;

	if (index_get(txn, TABLE_RECENCY_PLACE, key_slice(place), &payload) ==
		ERR_OK &&
	    key_take_u64(&payload, &position))
		index_del(txn, TABLE_RECENCY, position_key(&k, position));
}

void recency_del(struct index_txn *txn, const struct digest *dg)
{
	struct key place;

	place_key(&place, dg);
	leave_queue(txn, &place);
	index_del(txn, TABLE_RECENCY_PLACE, key_slice(&place));
}

bool recency_has(struct index_txn *txn, const struct digest *dg)
{
	struct slice payload;
	struct key place;

	return index_get(txn, TABLE_RECENCY_PLACE, place_key(&place, dg),
			 &payload) == ERR_OK;
}

static bool note_last(void *arg, struct slice key, struct slice payload UNUSED)
{
	uint64_t *last = arg;

	(void)!key_take_u64(&key, last);
	return true;
}

/* The counter, or, should it be lost, one past what is there. */
static uint64_t next_position(struct index_txn *txn)
{
	uint64_t last = 0;

	if (meta_get(txn, "recency/next", &last) == ERR_OK)
		return last;
	if (index_walk(txn, TABLE_RECENCY, slice_of(NULL, 0), slice_of(NULL, 0),
		       note_last, &last) != ERR_OK)
		return 0; /* the transaction has failed */
	return last + 1;
}

void recency_touch(struct index_txn *txn, const struct digest *dg)
{
	uint64_t position = next_position(txn);
	struct key k, place;
	struct slice at;

	place_key(&place, dg);
	leave_queue(txn, &place);
	at = position_key(&k, position);
	index_put(txn, TABLE_RECENCY, at, key_slice(&place));
	index_put(txn, TABLE_RECENCY_PLACE, key_slice(&place), at);
	meta_put(txn, "recency/next", position + 1);
}

struct recency_walk {
	recency_walk_cb *cb;
	void *arg;
};

static bool recency_row(void *arg, struct slice key, struct slice payload)
{
	struct recency_walk *w = arg;
	uint64_t position;
	struct digest dg;

	if (!key_take_u64(&key, &position) || !key_take_digest(&payload, &dg))
		return true;
	return w->cb(w->arg, position, &dg);
}

enum err recency_walk(struct index_txn *txn, recency_walk_cb *cb, void *arg)
{
	struct recency_walk w = {.cb = cb, .arg = arg};

	return index_walk(txn, TABLE_RECENCY, slice_of(NULL, 0),
			  slice_of(NULL, 0), recency_row, &w);
}
