/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of a session's row.  Each reads it in the transaction and changes
 * the fields that are its own, so that a mark from the background undoes
 * nothing that was committed before it and brings back no row.
 */
#include "cache/upload_int.h"

struct row_op {
	struct index_op op;
	char id[UPLOAD_ID_SIZE];
	/* Of the row, what this operation is about. */
	struct upload_row row;
	/* Of a beginning. */
	struct cache *c;
	uint64_t max_rows;
	bool newborn; /* it was one until its row is committed */
};

static struct row_op *row_op_new(const char *id)
{
	struct row_op *r = xcalloc(1, sizeof(*r));

	snprintf(r->id, sizeof(r->id), "%s", id);
	return r;
}

static void free_op(struct index_op *op, enum err err UNUSED)
{
	free(container_of(op, struct row_op, op));
}

static enum err too_many(uint64_t max, struct why *why)
{
	return why_set(why, ERR_LIMITED,
		       "\"uploads.max\" allows %" PRIu64
		       " unfinished upload%s, and so many there are; "
		       "\"uploads.expire\" says how long each may stay",
		       max, plural(max));
}

static enum err finish(struct cache *c, struct row_op *STEALS r,
		       struct why *why)
{
	enum err err = index_submit_wait(c->index, &r->op);

	if (err == ERR_LIMITED)
		err = too_many(r->max_rows, why);
	else if (err == ERR_NO_SPACE)
		err = why_set(why, err, INDEX_NO_ROOM);
	else if (err != ERR_OK)
		err = why_set(why, ERR_IO,
			      "the index does not record upload %s: %s", r->id,
			      err_name(err));
	free(r);
	return err;
}

/* There may be one already that had not been committed when it was looked for:
 * nothing is taken from it. */
static enum err begin_apply(struct index_txn *txn, struct index_op *op)
{
	struct row_op *r = container_of(op, struct row_op, op);
	struct upload_row row = r->row, old;

	if (upload_get(txn, r->id, &old) == ERR_OK) {
		row.synced = MAX(old.synced, row.synced);
		row.touched_s = MAX(old.touched_s, row.touched_s);
	} else if (upload_rows(txn) + uploads_newborn(r->c) >= r->max_rows) {
		/* Here, and no sooner: the rows of sessions that have ended go
		 * by operations that came before. */
		return ERR_LIMITED;
	}
	upload_put(txn, r->id, &row);
	return ERR_OK;
}

static void begin_done(struct index_op *op, enum err err UNUSED)
{
	struct row_op *r = container_of(op, struct row_op, op);

	if (r->newborn)
		uploads_newborn_end(r->c);
	free(r);
}

enum err upload_row_begin(struct cache *c, const char *id,
			  const struct upload_row *row, bool bounded,
			  struct why *why)
{
	struct row_op *r = row_op_new(id);

	r->op.apply = begin_apply;
	r->c = c;
	r->row = *row;
	r->max_rows = bounded ? uploads_max(c) : UINT64_MAX;
	return finish(c, r, why);
}

void upload_row_begin_soon(struct cache *c, const char *id,
			   const struct upload_row *row, bool newborn)
{
	struct row_op *r = row_op_new(id);

	r->op.apply = begin_apply;
	r->op.done = begin_done;
	r->c = c;
	r->row = *row;
	r->max_rows = UINT64_MAX;
	r->newborn = newborn;
	index_submit(c->index, &r->op);
}

static enum err in_put_apply(struct index_txn *txn, struct index_op *op)
{
	struct row_op *r = container_of(op, struct row_op, op);
	struct upload_row row;
	enum err err = upload_get(txn, r->id, &row);

	if (err != ERR_OK)
		return err;
	row.in_put = r->row.in_put;
	row.put_at = r->row.put_at;
	upload_put(txn, r->id, &row);
	return ERR_OK;
}

enum err upload_row_in_put(struct cache *c, const char *id, bool in_put,
			   uint64_t put_at, struct why *why)
{
	struct row_op *r = row_op_new(id);

	r->op.apply = in_put_apply;
	r->row.in_put = in_put;
	r->row.put_at = put_at;
	return finish(c, r, why);
}

static enum err boot_apply(struct index_txn *txn, struct index_op *op)
{
	struct row_op *r = container_of(op, struct row_op, op);
	struct upload_row row;
	enum err err = upload_get(txn, r->id, &row);

	if (err != ERR_OK)
		return err;
	row.synced = MIN(row.synced, r->row.synced);
	row.put_at = MIN(row.put_at, r->row.synced);
	memcpy(row.boot, r->row.boot, sizeof(row.boot));
	upload_put(txn, r->id, &row);
	return ERR_OK;
}

enum err upload_row_boot(struct cache *c, const char *id, uint64_t synced,
			 struct why *why)
{
	struct row_op *r = row_op_new(id);

	r->op.apply = boot_apply;
	r->row.synced = synced;
	memcpy(r->row.boot, c->boot.bytes, sizeof(r->row.boot));
	return finish(c, r, why);
}

static enum err mark_apply(struct index_txn *txn, struct index_op *op)
{
	struct row_op *r = container_of(op, struct row_op, op);
	struct upload_row row;
	enum err err = upload_get(txn, r->id, &row);

	if (err != ERR_OK)
		return err;
	row.synced = MAX(row.synced, r->row.synced);
	row.touched_s = MAX(row.touched_s, r->row.touched_s);
	upload_put(txn, r->id, &row);
	return ERR_OK;
}

void upload_row_mark(struct cache *c, const char *id, uint64_t synced)
{
	struct row_op *r = row_op_new(id);

	r->op.apply = mark_apply;
	r->op.done = free_op;
	r->op.background = true;
	r->row.synced = synced;
	r->row.touched_s = wall_s();
	index_submit(c->index, &r->op);
}

static enum err touch_apply(struct index_txn *txn, struct index_op *op)
{
	enum err err = mark_apply(txn, op);

	return err == ERR_NOT_FOUND ? ERR_OK : err;
}

enum err upload_row_touch(struct cache *c, const char *id, struct why *why)
{
	struct row_op *r = row_op_new(id);

	r->op.apply = touch_apply;
	r->row.touched_s = wall_s();
	return finish(c, r, why);
}

static enum err drop_apply(struct index_txn *txn, struct index_op *op)
{
	upload_del(txn, container_of(op, struct row_op, op)->id);
	return ERR_OK;
}

/* A row that stays leads to no file: nobody finds a session by it, and the
 * next start drops it. */
void upload_row_drop(struct cache *c, const char *id)
{
	struct row_op *r;

	if (FAULT(upload_row_drop))
		return;
	r = row_op_new(id);
	r->op.apply = drop_apply;
	r->op.done = free_op;
	index_submit(c->index, &r->op);
}

enum err upload_row_drop_wait(struct cache *c, const char *id)
{
	struct row_op *r = row_op_new(id);

	r->op.apply = drop_apply;
	return finish(c, r, NULL);
}
