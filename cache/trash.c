/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How blobs go: one commit deletes the record and adds a trash row; then, if
 * no record has come back, the file is unlinked (who reads it keeps his
 * descriptor); then the row goes in a later commit.  Killed anywhere, either
 * the record stands, or the row tells start-up what to unlink.
 */
#include "cache/cache_int.h"
#include "cache/hosted.h"

/* ---- the later commit ---- */

struct trash_op {
	struct index_op op;
	char path[PATH_LEN_MAX];
};

static enum err row_apply(struct index_txn *txn, struct index_op *op)
{
	trash_del(txn, container_of(op, struct trash_op, op)->path);
	return ERR_OK;
}

/* A row that stays is done again at the next start, to no effect.  Not in the
 * background: it must not overtake the row of the next removal. */
static void row_done(struct index_op *op, enum err err UNUSED)
{
	free(container_of(op, struct trash_op, op));
}

static void drop_row(struct cache *c, const char *path)
{
	struct trash_op *t;

	if (FAULT(drop_row))
		return;
	t = xcalloc(1, sizeof(*t));
	t->op.apply = row_apply;
	t->op.done = row_done;
	snprintf(t->path, sizeof(t->path), "%s", path);
	index_submit(c->index, &t->op);
}

/* ---- the file ---- */

/* With the hold.  The folder is synced before the row goes, or a power loss
 * could bring back a file that nothing speaks of. */
static void finish_held(struct cache *c, const struct digest *dg,
			const char *path)
{
	char dir[PATH_LEN_MAX];
	struct blob_row row;
	int error;

	if (store_blob_row(c, dg, &row) == ERR_NOT_FOUND) {
		error = FAULT(drop_unlink);
		if (!error)
			error = store_unlink(c, path);
		if (!error)
			error = FAULT(drop_sync);
		if (!error)
			error = store_sync_dir(c, blob_dir_path(dg, dir));
		if (error)
			return;
	}
	drop_row(c, path);
}

void trash_held(struct cache *c, const struct digest *dg)
{
	char path[PATH_LEN_MAX];

	blobs_forget(c, dg);
	finish_held(c, dg, blob_path(dg, path));
}

void trash_finish(struct cache *c, const char *path)
{
	struct hold hold;
	struct digest dg;

	if (blob_path_parse(path, &dg) != ERR_OK) {
		drop_row(c, path); /* no path of ours: nothing is unlinked */
		return;
	}
	hold_wait(c->holds, &hold, &dg);
	finish_held(c, &dg, path);
	hold_release(c->holds, &hold);
}

/* ---- the record ---- */

struct drop_op {
	struct index_op op;
	const struct digest *dg;
	const char *path;
};

static enum err drop_apply(struct index_txn *txn, struct index_op *op)
{
	struct drop_op *d = container_of(op, struct drop_op, op);
	struct blob_row row;

	if (blob_get(txn, d->dg, &row) == ERR_NOT_FOUND)
		return ERR_NOT_FOUND;
	if (hosted_has(txn, d->dg))
		return ERR_BUSY;
	blob_del(txn, d->dg);
	recency_del(txn, d->dg);
	trash_put(txn, d->path);
	return ERR_OK;
}

enum err trash_drop_held(struct cache *c, const struct digest *dg,
			 struct why *why)
{
	char path[PATH_LEN_MAX];
	struct drop_op d = {
	    .op = {.apply = drop_apply},
	    .dg = dg,
	    .path = blob_path(dg, path),
	};
	int error = FAULT(drop_commit);
	enum err err;

	if (error)
		return store_error(why, error, "remove", path);
	err = index_submit_wait(c->index, &d.op);
	if (err == ERR_NOT_FOUND)
		return why_set(why, err, "there is no %s", path);
	if (err == ERR_BUSY)
		return why_set(why, err, "%s is hosted and stays recorded",
			       path);
	if (err != ERR_OK)
		return why_set(why, err == ERR_NO_SPACE ? err : ERR_IO,
			       "the index does not drop %s: %s", path,
			       err_name(err));
	trash_held(c, dg);
	return ERR_OK;
}

enum err cache_drop_blob(struct cache *c, const struct digest *dg,
			 struct why *why)
{
	struct hold hold;
	enum err err;

	hold_wait(c->holds, &hold, dg);
	err = trash_drop_held(c, dg, why);
	hold_release(c->holds, &hold);
	return err;
}
