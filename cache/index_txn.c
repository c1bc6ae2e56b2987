/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions: each thread's reader, which is reset and renewed, and what
 * readers and an apply do with rows.
 */
#include "cache/index_int.h"

#include "cache/crc.h"

#include <errno.h>

#define VALUE_VERSION 1 /* of the five bytes before each payload */
#define VALUE_HEADER 5  /* version, CRC */

/* ---- values ---- */

static MDB_val val_of(struct slice s)
{
	union {
		const uint8_t *in;
		void *out;
	} cast = {s.ptr}; /* LMDB does not write through it */

	return (MDB_val){.mv_size = s.len, .mv_data = cast.out};
}

static bool unpack(struct index *ix, const MDB_val *val, struct slice *payload)
{
	const uint8_t *p = val->mv_data;

	if (val->mv_size >= VALUE_HEADER && p[0] == VALUE_VERSION) {
		*payload =
		    slice_of(p + VALUE_HEADER, val->mv_size - VALUE_HEADER);
		if (get_be32(p + 1) == crc32c(payload->ptr, payload->len))
			return true;
	}
	atomic_fetch_add(&ix->corrupt_rows, 1);
	*payload = slice_of(NULL, 0);
	return false;
}

void index_note_undecodable(struct index_txn *txn, struct slice payload)
{
	if (payload.ptr)
		atomic_fetch_add(&txn->ix->corrupt_rows, 1);
}

/*
 * A copy, always: `payload` may point into the very page that LMDB is about
 * to rearrange for it.
 */
static struct slice pack(struct index *ix, struct slice payload)
{
	size_t size = VALUE_HEADER + payload.len;

	if (size > ix->scratch_size) {
		ix->scratch = xrealloc(ix->scratch, size);
		ix->scratch_size = size;
	}
	ix->scratch[0] = VALUE_VERSION;
	if (payload.len)
		memcpy(ix->scratch + VALUE_HEADER, payload.ptr, payload.len);
	put_be32(ix->scratch + 1,
		 crc32c(ix->scratch + VALUE_HEADER, payload.len));
	return slice_of(ix->scratch, size);
}

/* ---- reading ---- */

static struct index_txn *reader_new(struct index *ix)
{
	struct index_txn *txn = xcalloc(1, sizeof(*txn));
	int rc;

	txn->ix = ix;
	txn->memo = xcalloc(1, sizeof(*txn->memo));
	rc = pthread_setspecific(ix->reader_key, txn);
	assert(rc == 0);
	(void)rc;
	pthread_mutex_lock(&ix->readers_mu);
	LIST_INSERT_HEAD(&ix->readers, txn, link);
	pthread_mutex_unlock(&ix->readers_mu);
	return txn;
}

struct index_txn *index_read(struct index *ix)
{
	struct index_txn *txn = pthread_getspecific(ix->reader_key);

	if (!txn)
		txn = reader_new(ix);
	assert(!txn->open);
	if (txn->txn)
		txn->rc = mdb_txn_renew(txn->txn);
	else
		txn->rc = mdb_txn_begin(ix->env, NULL, MDB_RDONLY, &txn->txn);
	assert(txn->rc != MDB_READERS_FULL && txn->rc != MDB_BAD_RSLOT &&
	       txn->rc != EINVAL);
	txn->open = true;
	return txn;
}

void index_read_end(struct index_txn *txn)
{
	assert(!txn->write && txn->open);
	if (!txn->rc)
		mdb_txn_reset(txn->txn);
	txn->open = false;
}

static void reader_free(struct index_txn *txn)
{
	assert(!txn->open);
	if (txn->txn)
		mdb_txn_abort(txn->txn);
	free(txn->memo);
	free(txn);
}

void index_readers_free(struct index *ix)
{
	struct index_txn *txn;

	while ((txn = LIST_FIRST(&ix->readers))) {
		LIST_REMOVE(txn, link);
		reader_free(txn);
	}
}

void index_thread_done(struct index *ix)
{
	struct index_txn *txn = pthread_getspecific(ix->reader_key);

	if (!txn)
		return;
	pthread_mutex_lock(&ix->readers_mu);
	LIST_REMOVE(txn, link);
	pthread_mutex_unlock(&ix->readers_mu);
	pthread_setspecific(ix->reader_key, NULL);
	reader_free(txn);
}

uint64_t index_rows(struct index_txn *txn, enum index_table table)
{
	MDB_stat st;

	if (txn->rc || mdb_stat(txn->txn, txn->ix->dbi[table], &st) != 0)
		return 0;
	return st.ms_entries;
}

static enum err look_up(struct index_txn *txn, enum index_table table,
			struct slice key, struct slice *payload)
{
	MDB_val k = val_of(key), val;
	int rc = mdb_get(txn->txn, txn->ix->dbi[table], &k, &val);

	if (rc == MDB_NOTFOUND)
		return ERR_NOT_FOUND;
	if (rc) {
		if (txn->write)
			txn->rc = rc;
		return ERR_IO;
	}
	return unpack(txn->ix, &val, payload) ? ERR_OK : ERR_CORRUPT;
}

enum err index_get(struct index_txn *txn, enum index_table table,
		   struct slice key, struct slice *payload)
{
	struct index_memo_row *row;
	size_t snapshot;
	enum err err;

	assert(txn->write || txn->open);
	if (txn->rc)
		return ERR_IO;
	if (txn->write)
		return look_up(txn, table, key, payload);
	snapshot = mdb_txn_id(txn->txn);
	row = index_memo_place(txn->memo, table, key);
	if (row && index_memo_is(row, snapshot, table, key)) {
		if (!row->missing)
			*payload = row->payload;
		return row->missing ? ERR_NOT_FOUND : ERR_OK;
	}
	err = look_up(txn, table, key, payload);
	if (row && (err == ERR_OK || err == ERR_NOT_FOUND))
		index_memo_keep(row, snapshot, table, key, *payload,
				err == ERR_NOT_FOUND);
	return err;
}

/* Of `prefix` and `from`, the one that sorts last is where to begin. */
static struct slice walk_start(struct slice prefix, struct slice from)
{
	size_t common = MIN(prefix.len, from.len);
	int order = common ? memcmp(prefix.ptr, from.ptr, common) : 0;

	if (order)
		return order > 0 ? prefix : from;
	return prefix.len > from.len ? prefix : from;
}

static bool has_prefix(const MDB_val *key, struct slice prefix)
{
	return key->mv_size >= prefix.len &&
	       (!prefix.len ||
		memcmp(key->mv_data, prefix.ptr, prefix.len) == 0);
}

/*
 * Go to the row behind `key`.  In an apply the callback may have written,
 * which moves rows about: then by a search for the key, of which `seen` is a
 * copy, else by the cursor's own step.
 */
static int walk_next(MDB_cursor *cursor, struct slice seen, bool moved,
		     MDB_val *key, MDB_val *val)
{
	int rc;

	if (!moved)
		return mdb_cursor_get(cursor, key, val, MDB_NEXT);
	*key = val_of(seen);
	rc = mdb_cursor_get(cursor, key, val, MDB_SET_RANGE);
	if (!rc && key->mv_size == seen.len &&
	    memcmp(key->mv_data, seen.ptr, seen.len) == 0)
		rc = mdb_cursor_get(cursor, key, val, MDB_NEXT);
	return rc;
}

static int walk_rows(struct index_txn *txn, MDB_cursor *cursor,
		     struct slice prefix, struct slice start, index_walk_cb *cb,
		     void *arg)
{
	uint8_t copy[INDEX_KEY_MAX];
	MDB_val key = val_of(start), val;
	int rc = mdb_cursor_get(cursor, &key, &val,
				start.len ? MDB_SET_RANGE : MDB_FIRST);

	while (!rc && has_prefix(&key, prefix)) {
		struct slice k = slice_of(key.mv_data, key.mv_size), payload;
		uint64_t writes = txn->writes;

		if (txn->write) {
			memcpy(copy, k.ptr, k.len);
			k.ptr = copy;
		}
		unpack(txn->ix, &val, &payload);
		if (!cb(arg, k, payload))
			return 0;
		if (txn->rc)
			return txn->rc;
		rc = walk_next(cursor, k, txn->writes != writes, &key, &val);
	}
	return rc == MDB_NOTFOUND ? 0 : rc;
}

enum err index_walk(struct index_txn *txn, enum index_table table,
		    struct slice prefix, struct slice from, index_walk_cb *cb,
		    void *arg)
{
	MDB_cursor *cursor;
	int rc;

	assert(txn->write || txn->open);
	if (txn->rc)
		return ERR_IO;
	rc = mdb_cursor_open(txn->txn, txn->ix->dbi[table], &cursor);
	if (!rc) {
		rc = walk_rows(txn, cursor, prefix, walk_start(prefix, from),
			       cb, arg);
		mdb_cursor_close(cursor);
	}
	if (rc && txn->write)
		txn->rc = rc;
	return rc ? ERR_IO : ERR_OK;
}

/* ---- writing, inside an apply ---- */

void index_put(struct index_txn *txn, enum index_table table, struct slice key,
	       struct slice payload)
{
	MDB_val k = val_of(key), val;

	assert(txn->write && key.len && key.len <= INDEX_KEY_MAX);
	if (txn->rc)
		return;
	val = val_of(pack(txn->ix, payload));
	txn->rc = mdb_put(txn->txn, txn->ix->dbi[table], &k, &val, 0);
	txn->writes++;
}

void index_del(struct index_txn *txn, enum index_table table, struct slice key)
{
	MDB_val k = val_of(key);
	int rc;

	assert(txn->write && key.len && key.len <= INDEX_KEY_MAX);
	if (txn->rc)
		return;
	rc = mdb_del(txn->txn, txn->ix->dbi[table], &k, NULL);
	if (rc == MDB_NOTFOUND)
		return;
	txn->rc = rc;
	txn->writes++;
}

uint64_t index_writes(const struct index_txn *txn)
{
	return txn->writes;
}
