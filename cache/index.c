/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LMDB as it is used here: one environment with a named database for each
 * table, MDB_NOTLS so that a thread's reader is an object of ours that is
 * reset and renewed, default sync (a commit is durable when it returns), and
 * a map so large that it never has to grow.
 */
#include "cache/index.h"

#include "cache/crc.h"
#include "cache/fault.h"
#include "cache/index_dir.h"
#include "cache/index_writer.h"

#include <errno.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#define FORMAT 1        /* of the tables as a whole, in meta "version" */
#define VALUE_VERSION 1 /* of the five bytes before each payload */
#define VALUE_HEADER 5  /* version, CRC */
#define BACKGROUND_MAX 128
#define SCRATCH_KEEP (256 * 1024)

static const char *const table_names[TABLE_COUNT] = {
    [TABLE_META] = "meta",         [TABLE_REPO_NAME] = "repo_name",
    [TABLE_REPO] = "repo",         [TABLE_BLOB] = "blob",
    [TABLE_MANIFEST] = "manifest", [TABLE_TAG] = "tag",
    [TABLE_LINK] = "link",         [TABLE_EDGE] = "edge",
    [TABLE_REFERRER] = "referrer", [TABLE_UPLOAD] = "upload",
    [TABLE_RECENCY] = "recency",   [TABLE_RECENCY_PLACE] = "recency_place",
    [TABLE_TRASH] = "trash",
};

struct index_txn {
	struct index *ix;
	MDB_txn *txn;
	bool write;
	bool open; /* a reader's: between index_read and index_read_end */
	/*
	 * The first LMDB error.  In a write transaction: everything after it
	 * does nothing.  In a snapshot: there is none to be had, because a
	 * failed write of LMDB's own meta page closes the environment to new
	 * readers too; every look-up is ERR_IO then.
	 */
	int rc;
	uint64_t writes;
	LIST_ENTRY(index_txn) link; /* index->readers */
};

struct index {
	MDB_env *env;
	MDB_dbi dbi[TABLE_COUNT];
	char *dir;
	struct index_options opt;

	pthread_key_t reader_key;   /* this thread's struct index_txn */
	pthread_mutex_t readers_mu; /* guards `readers` */
	LIST_HEAD(, index_txn) readers;

	struct index_writer *writer;
	uint8_t *scratch; /* the writer's: a value on its way in */
	size_t scratch_size;

	atomic_uint_least64_t commits, failed, ops, batch_max, corrupt_rows;
};

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
	free(txn);
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

enum err index_get(struct index_txn *txn, enum index_table table,
		   struct slice key, struct slice *payload)
{
	MDB_val k = val_of(key), val;
	int rc;

	assert(txn->write || txn->open);
	if (txn->rc)
		return ERR_IO;
	rc = mdb_get(txn->txn, txn->ix->dbi[table], &k, &val);
	if (rc == MDB_NOTFOUND)
		return ERR_NOT_FOUND;
	if (rc) {
		if (txn->write)
			txn->rc = rc;
		return ERR_IO;
	}
	return unpack(txn->ix, &val, payload) ? ERR_OK : ERR_CORRUPT;
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

/* ---- committing, on the writer thread ---- */

/*
 * What an LMDB error means to whoever waits.  LMDB reports a short write, the
 * first sign of a full disk, as plain EIO: so EIO is looked into.
 */
static enum err classify(const struct index *ix, int rc)
{
	switch (rc) {
	case 0:
		return ERR_OK;
	case MDB_MAP_FULL:
	case ENOSPC:
	case EDQUOT:
		return ERR_NO_SPACE;
	case EIO:
		return index_dir_has_room(ix->dir) ? ERR_IO : ERR_NO_SPACE;
	default:
		return ERR_IO;
	}
}

static void apply(struct index_txn *txn, struct index_op *op)
{
	uint64_t before = txn->writes;

	op->result = op->apply(txn, op);
	if (txn->rc)
		return; /* the batch fails, whatever it said */
	assert(op->result == ERR_OK || txn->writes == before);
	assert(!op->background || txn->writes - before <= BACKGROUND_MAX);
}

static void raise_to(atomic_uint_least64_t *max, uint64_t v)
{
	if (v > atomic_load(max))
		atomic_store(max, v); /* only the writer stores */
}

/* Returns LMDB's error; on 0 each op->result holds. */
static int commit_batch(struct index *ix, struct index_ops *batch, bool *wrote)
{
	struct index_txn txn = {.ix = ix, .write = true};
	struct index_op *op;
	uint64_t n = 0;
	int rc = mdb_txn_begin(ix->env, NULL, 0, &txn.txn);

	if (rc)
		return rc;
	STAILQ_FOREACH (op, batch, link) {
		apply(&txn, op);
		n++;
		if (txn.rc) {
			mdb_txn_abort(txn.txn);
			return txn.rc;
		}
	}
	rc = txn.writes ? FAULT(index_commit) : 0;
	if (rc) {
		mdb_txn_abort(txn.txn);
		return rc;
	}
	rc = mdb_txn_commit(txn.txn); /* of nothing it syncs nothing */
	*wrote = !rc && txn.writes;
	if (!*wrote)
		return rc;
	(void)FAULT(index_committed); /* it is: only a kill is of use here */
	atomic_fetch_add(&ix->commits, 1);
	atomic_fetch_add(&ix->ops, n);
	raise_to(&ix->batch_max, n);
	return 0;
}

static void trim_scratch(struct index *ix)
{
	if (ix->scratch_size <= SCRATCH_KEEP)
		return;
	free(ix->scratch);
	ix->scratch = NULL;
	ix->scratch_size = 0;
}

static enum err writer_commit(void *arg, struct index_ops *batch, bool *wrote,
			      struct why *why)
{
	struct index *ix = arg;
	int rc = commit_batch(ix, batch, wrote);
	enum err err;

	trim_scratch(ix);
	err = classify(ix, rc);
	if (err == ERR_NO_SPACE && rc == EIO)
		rc = ENOSPC; /* what a person should read */
	if (err != ERR_OK)
		why_set(why, err, "commit to the index in %s: %s", ix->dir,
			mdb_strerror(rc));
	return err;
}

/* A reader whose process died keeps its snapshot's pages from reuse. */
static void writer_each_minute(void *arg)
{
	struct index *ix = arg;
	int dead;

	mdb_reader_check(ix->env, &dead);
}

static void writer_thread_done(void *arg)
{
	index_thread_done(arg); /* a `done` may have read */
}

void index_submit(struct index *ix, struct index_op *op)
{
	index_writer_submit(ix->writer, op);
}

enum err index_submit_wait(struct index *ix, struct index_op *op)
{
	return index_writer_submit_wait(ix->writer, op);
}

/* ---- opening and closing ---- */

static enum err open_error(const struct index *ix, int rc, struct why *why)
{
	enum err err;

	if (rc == MDB_INVALID || rc == MDB_VERSION_MISMATCH ||
	    rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND)
		err = ERR_CORRUPT;
	else
		err = classify(ix, rc);
	return why_set(why, err, "cannot open the index in %s: %s", ix->dir,
		       mdb_strerror(rc));
}

static int open_env(struct index *ix)
{
	unsigned readers = ix->opt.max_readers ? ix->opt.max_readers : 256;
	uint64_t map = ix->opt.map_bytes ? ix->opt.map_bytes : 64 * GIB;
	int rc = mdb_env_create(&ix->env);
	int dead;

	if (rc)
		return rc;
	rc = mdb_env_set_mapsize(ix->env, map);
	if (!rc)
		rc = mdb_env_set_maxreaders(ix->env, readers);
	if (!rc)
		rc = mdb_env_set_maxdbs(ix->env, TABLE_COUNT);
	if (!rc)
		rc = mdb_env_open(ix->env, ix->dir, MDB_NOTLS, 0600);
	if (!rc)
		rc = mdb_reader_check(ix->env, &dead);
	return rc;
}

static enum err check_format(struct index_txn *txn, struct why *why)
{
	static const char name[] = "version";
	struct slice key = slice_of(name, sizeof(name) - 1), payload;
	uint8_t format[4];

	switch (index_get(txn, TABLE_META, key, &payload)) {
	case ERR_OK:
		if (payload.len == 4 && get_be32(payload.ptr) == FORMAT)
			return ERR_OK;
		return why_set(why, ERR_CORRUPT,
			       "the index in %s is of another version than %d",
			       txn->ix->dir, FORMAT);
	case ERR_NOT_FOUND:
		put_be32(format, FORMAT);
		index_put(txn, TABLE_META, key, slice_of(format, 4));
		return ERR_OK;
	default:
		return why_set(why, ERR_CORRUPT,
			       "the index in %s does not tell its version",
			       txn->ix->dir);
	}
}

/* An index that has its tables already is not written to: it opens on a full
 * disk too. */
static enum err open_tables(struct index *ix, struct why *why)
{
	struct index_txn txn = {.ix = ix, .write = true};
	enum err err = ERR_OK;
	int rc = mdb_txn_begin(ix->env, NULL, 0, &txn.txn);

	if (rc)
		return open_error(ix, rc, why);
	for (int i = 0; !rc && i < TABLE_COUNT; i++)
		rc = mdb_dbi_open(txn.txn, table_names[i], MDB_CREATE,
				  &ix->dbi[i]);
	txn.rc = rc;
	if (!rc)
		err = check_format(&txn, why);
	if (txn.rc || err != ERR_OK) {
		mdb_txn_abort(txn.txn);
		return txn.rc ? open_error(ix, txn.rc, why) : err;
	}
	rc = mdb_txn_commit(txn.txn);
	if (rc)
		return open_error(ix, rc, why);
	return txn.writes ? index_dir_sync(ix->dir, why) : ERR_OK;
}

static enum err start_writer(struct index *ix, struct why *why)
{
	struct index_writer_options opt = {
	    .commit = writer_commit,
	    .each_minute = writer_each_minute,
	    .thread_done = writer_thread_done,
	    .arg = ix,
	    .retry_full_ms = ix->opt.retry_full_ms,
	    .health = ix->opt.health,
	    .health_arg = ix->opt.health_arg,
	};

	return index_writer_start(&opt, &ix->writer, why);
}

static void release(struct index **ixp)
{
	struct index *ix = *ixp;
	struct index_txn *txn;

	*ixp = NULL;
	while ((txn = LIST_FIRST(&ix->readers))) {
		LIST_REMOVE(txn, link);
		reader_free(txn);
	}
	if (ix->env)
		mdb_env_close(ix->env);
	pthread_key_delete(ix->reader_key);
	pthread_mutex_destroy(&ix->readers_mu);
	free(ix->scratch);
	free(ix->dir);
	free(ix);
}

static enum err open_all(struct index *ix, struct why *why)
{
	enum err err = index_dir_make(ix->dir, why);
	int rc;

	if (err != ERR_OK)
		return err;
	index_dir_remove_unborn(ix->dir);
	rc = open_env(ix);
	if (rc)
		return open_error(ix, rc, why);
	/* Our keys are made for LMDB's compiled-in limit, Debian's 511. */
	assert(mdb_env_get_maxkeysize(ix->env) >= INDEX_KEY_MAX);
	err = open_tables(ix, why);
	if (err != ERR_OK)
		return err;
	return start_writer(ix, why);
}

enum err index_open(const char *dir, const struct index_options *opt,
		    struct index **out, struct why *why)
{
	struct index *ix = xcalloc(1, sizeof(*ix));
	enum err err;
	int rc;

	ix->dir = xstrdup(dir);
	ix->opt = *opt;
	if (!ix->opt.retry_full_ms)
		ix->opt.retry_full_ms = 5000;
	LIST_INIT(&ix->readers);
	pthread_mutex_init(&ix->readers_mu, NULL);
	rc = pthread_key_create(&ix->reader_key, NULL);
	assert(rc == 0);
	(void)rc;
	err = open_all(ix, why);
	if (err != ERR_OK) {
		release(&ix);
		return err;
	}
	*out = ix;
	return ERR_OK;
}

void index_close(struct index **ix)
{
	index_writer_stop(&(*ix)->writer);
	release(ix);
}

/* ---- how it is ---- */

enum index_health index_health(struct index *ix)
{
	return index_writer_health(ix->writer);
}

const char *index_table_name(enum index_table table)
{
	assert(table < TABLE_COUNT);
	return table_names[table];
}

static uint64_t used_bytes(struct index *ix)
{
	MDB_envinfo info;
	MDB_stat st;

	mdb_env_info(ix->env, &info);
	mdb_env_stat(ix->env, &st);
	return ((uint64_t)info.me_last_pgno + 1) * st.ms_psize;
}

void index_stats(struct index *ix, struct index_stats *out)
{
	struct index_txn *txn = index_read(ix);

	memset(out, 0, sizeof(*out));
	for (int i = 0; !txn->rc && i < TABLE_COUNT; i++) {
		MDB_stat st;

		if (mdb_stat(txn->txn, ix->dbi[i], &st) == 0)
			out->rows[i] = st.ms_entries;
	}
	index_read_end(txn);
	out->commits = atomic_load(&ix->commits);
	out->failed = atomic_load(&ix->failed);
	out->ops = atomic_load(&ix->ops);
	out->batch_max = atomic_load(&ix->batch_max);
	out->corrupt_rows = atomic_load(&ix->corrupt_rows);
	out->used_bytes = used_bytes(ix);
}
