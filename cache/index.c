/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LMDB as it is used here: one environment with a named database for each
 * table, MDB_NOTLS so that a thread's reader is an object of ours that is
 * reset and renewed, default sync (a commit is durable when it returns), and
 * a map so large that it never has to grow.
 */
#include "cache/index_int.h"

#include "cache/fault.h"
#include "cache/index_dir.h"
#include "cache/index_writer.h"

#include <errno.h>

#define FORMAT 3 /* of the tables as a whole, in meta "version" */
#define BACKGROUND_MAX 128
#define LOCK_HEAD 4096 /* more than LMDB's, before the slots */
#define LOCK_SLOT 64   /* sizeof(MDB_reader) */
#define SCRATCH_KEEP (256 * 1024)

static const char *const table_names[TABLE_COUNT] = {
    [TABLE_META] = "meta",         [TABLE_REPO_NAME] = "repo_name",
    [TABLE_REPO] = "repo",         [TABLE_BLOB] = "blob",
    [TABLE_MANIFEST] = "manifest", [TABLE_TAG] = "tag",
    [TABLE_LINK] = "link",         [TABLE_EDGE] = "edge",
    [TABLE_REFERRER] = "referrer", [TABLE_UPLOAD] = "upload",
    [TABLE_RECENCY] = "recency",   [TABLE_RECENCY_PLACE] = "recency_place",
    [TABLE_TRASH] = "trash",       [TABLE_HOLDER] = "holder",
    [TABLE_GARBAGE] = "garbage",   [TABLE_EVENT] = "event",
    [TABLE_TAG_OF] = "tag_of",     [TABLE_REPO_HELD] = "repo_held",
};

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
	uint64_t before = txn->writes, records = txn->ix->n_records;

	op->result = op->apply(txn, op);
	if (txn->rc)
		return; /* the batch fails, whatever it said */
	assert(op->result == ERR_OK ||
	       (txn->writes == before && txn->ix->n_records == records));
	assert(!op->background || txn->writes - before <= BACKGROUND_MAX);
}

static void raise_to(atomic_uint_least64_t *max, uint64_t v)
{
	if (v > atomic_load(max))
		atomic_store(max, v); /* only the writer stores */
}

static void apply_all(struct index_txn *txn, struct index_ops *batch,
		      uint64_t *n)
{
	struct index_op *op;

	STAILQ_FOREACH (op, batch, link) {
		apply(txn, op);
		++*n;
		if (txn->rc)
			return;
	}
}

static enum err commit_error(const struct index *ix, int rc, struct why *why)
{
	enum err err = classify(ix, rc);

	if (err == ERR_NO_SPACE && rc == EIO)
		rc = ENOSPC; /* what a person should read */
	return why_set(why, err, "commit to the index in %s: %s", ix->dir,
		       mdb_strerror(rc));
}

/* Applied, and in the log if it has one: make it so. */
static int commit_logged(struct index_txn *txn)
{
	int rc = txn->writes ? FAULT(index_commit) : 0;

	if (rc)
		mdb_txn_abort(txn->txn);
	else
		rc = mdb_txn_commit(txn->txn); /* of nothing it syncs nothing */
	if (rc)
		index_log_cut(txn->ix);
	return rc;
}

/* On ERR_OK each op->result holds. */
static enum err commit_batch(struct index *ix, struct index_ops *batch,
			     bool *wrote, struct why *why)
{
	struct index_txn txn = {.ix = ix, .write = true};
	enum err err = ERR_OK;
	uint64_t n = 0;
	int rc = mdb_txn_begin(ix->env, NULL, 0, &txn.txn);

	if (rc)
		return commit_error(ix, rc, why);
	apply_all(&txn, batch, &n);
	if (!txn.rc)
		err = index_log_append(&txn, why);
	if (txn.rc || err != ERR_OK) {
		mdb_txn_abort(txn.txn);
		return txn.rc ? commit_error(ix, txn.rc, why) : err;
	}
	rc = commit_logged(&txn);
	if (rc)
		return commit_error(ix, rc, why);
	*wrote = txn.writes;
	if (!*wrote)
		return ERR_OK;
	(void)FAULT(index_committed); /* it is: only a kill is of use here */
	atomic_fetch_add(&ix->commits, 1);
	atomic_fetch_add(&ix->ops, n);
	raise_to(&ix->batch_max, n);
	return ERR_OK;
}

static void trim(uint8_t **buf, size_t *size)
{
	if (*size <= SCRATCH_KEEP)
		return;
	free(*buf);
	*buf = NULL;
	*size = 0;
}

static enum err writer_commit(void *arg, struct index_ops *batch, bool *wrote,
			      struct why *why)
{
	struct index *ix = arg;
	enum err err;

	index_log_forget(ix);
	err = commit_batch(ix, batch, wrote, why);
	trim(&ix->scratch, &ix->scratch_size);
	trim(&ix->records, &ix->records_size);
	if (err != ERR_OK)
		atomic_fetch_add(&ix->failed, 1);
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

/* Of an index that cannot be read. */
#define MENDS "; 'entrepot rebuild' makes another one"

static enum err open_error(const struct index *ix, int rc, struct why *why)
{
	enum err err;

	if (rc == MDB_INVALID || rc == MDB_VERSION_MISMATCH ||
	    rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND)
		err = ERR_CORRUPT;
	else
		err = classify(ix, rc);
	return why_set(why, err, "cannot open the index in %s: %s%s", ix->dir,
		       mdb_strerror(rc), err == ERR_CORRUPT ? MENDS : "");
}

static unsigned max_readers(const struct index *ix)
{
	return ix->opt.max_readers ? ix->opt.max_readers : 256;
}

static int open_env(struct index *ix)
{
	uint64_t map = ix->opt.map_bytes ? ix->opt.map_bytes : 64 * GIB;
	int rc = mdb_env_create(&ix->env);
	int dead;

	if (rc)
		return rc;
	rc = mdb_env_set_mapsize(ix->env, map);
	if (!rc)
		rc = mdb_env_set_maxreaders(ix->env, max_readers(ix));
	if (!rc)
		rc = mdb_env_set_maxdbs(ix->env, TABLE_COUNT);
	if (!rc)
		rc = mdb_env_open(ix->env, ix->dir, MDB_NOTLS, 0600);
	if (!rc)
		rc = mdb_reader_check(ix->env, &dead);
	return rc;
}

static enum err other_format(const struct index *ix, uint32_t found,
			     struct why *why)
{
	if (found > FORMAT)
		return why_set(why, ERR_CORRUPT,
			       "the index in %s was written by a newer "
			       "entrepot (it has version %" PRIu32
			       ", this one knows %d): run that one",
			       ix->dir, found, FORMAT);
	return why_set(why, ERR_CORRUPT,
		       "the index in %s has version %" PRIu32
		       ", and this entrepot knows %d" MENDS,
		       ix->dir, found, FORMAT);
}

static enum err check_format(struct index_txn *txn, struct why *why)
{
	static const char name[] = "version";
	struct slice key = slice_of(name, sizeof(name) - 1), payload;
	uint8_t format[4];
	uint32_t found;

	switch (index_get(txn, TABLE_META, key, &payload)) {
	case ERR_OK:
		found = payload.len == 4 ? get_be32(payload.ptr) : 0;
		if (found == FORMAT)
			return ERR_OK;
		if (found != FORMAT - 1 || !txn->ix->opt.upgrade)
			return other_format(txn->ix, found, why);
		txn->ix->opt.upgrade(txn);
		break;
	case ERR_NOT_FOUND:
		break;
	default:
		return why_set(
		    why, ERR_CORRUPT,
		    "the index in %s does not tell its version" MENDS,
		    txn->ix->dir);
	}
	put_be32(format, FORMAT);
	index_put(txn, TABLE_META, key, slice_of(format, 4));
	return ERR_OK;
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

	*ixp = NULL;
	index_readers_free(ix);
	if (ix->env)
		mdb_env_close(ix->env);
	pthread_key_delete(ix->reader_key);
	pthread_mutex_destroy(&ix->readers_mu);
	free(ix->scratch);
	free(ix->records);
	free(ix->dir);
	free(ix);
}

static enum err open_all(struct index *ix, struct why *why)
{
	enum err err = index_dir_make(ix->dir, why);
	int rc;

	if (err == ERR_OK)
		err = index_dir_make_lock(
		    ix->dir, LOCK_HEAD + (size_t)max_readers(ix) * LOCK_SLOT,
		    why);
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
	for (int i = 0; i < TABLE_COUNT; i++)
		out->rows[i] = index_rows(txn, (enum index_table)i);
	index_read_end(txn);
	out->commits = atomic_load(&ix->commits);
	out->failed = atomic_load(&ix->failed);
	out->ops = atomic_load(&ix->ops);
	out->batch_max = atomic_load(&ix->batch_max);
	out->corrupt_rows = atomic_load(&ix->corrupt_rows);
	out->used_bytes = used_bytes(ix);
	out->waiting = index_writer_waiting(ix->writer);
}
