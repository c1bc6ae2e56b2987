/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/path.h"
#include "cache/row.h"
#include "cache/row_code.h"

static enum err decode(struct slice payload, struct upload_row *out)
{
	struct slice boot;
	struct row_in in;

	row_in_begin(&in, payload);
	row_in_text(&in, out->repo, sizeof(out->repo));
	out->started_s = row_in_u64(&in);
	out->touched_s = row_in_u64(&in);
	out->synced = row_in_u64(&in);
	out->in_put = row_in_enum(&in, 0, 1);
	out->put_at = row_in_u64(&in);
	out->alg = row_in_enum(&in, DIGEST_SHA256, DIGEST_SHA512);
	boot = row_in_bytes(&in);
	if (row_in_end(&in) != ERR_OK || boot.len != sizeof(out->boot))
		return ERR_CORRUPT;
	memcpy(out->boot, boot.ptr, sizeof(out->boot));
	return ERR_OK;
}

/* `id` comes from a request. */
enum err upload_get(struct index_txn *txn, const char *id,
		    struct upload_row *out)
{
	struct slice payload;
	enum err err;

	if (!upload_id_valid(id))
		return ERR_NOT_FOUND;
	err = index_get(txn, TABLE_UPLOAD, slice_of(id, strlen(id)), &payload);
	return err == ERR_OK ? decode(payload, out) : err;
}

void upload_put(struct index_txn *txn, const char *id,
		const struct upload_row *row)
{
	struct row_out out;

	assert(upload_id_valid(id));
	row_out_begin(&out);
	row_out_bytes(&out, row->repo, strlen(row->repo));
	row_out_u64(&out, row->started_s);
	row_out_u64(&out, row->touched_s);
	row_out_u64(&out, row->synced);
	row_out_u8(&out, row->in_put);
	row_out_u64(&out, row->put_at);
	row_out_u8(&out, row->alg);
	row_out_bytes(&out, row->boot, sizeof(row->boot));
	row_out_put(&out, txn, TABLE_UPLOAD, slice_of(id, strlen(id)));
}

void upload_del(struct index_txn *txn, const char *id)
{
	index_del(txn, TABLE_UPLOAD, slice_of(id, strlen(id)));
}

uint64_t upload_rows(struct index_txn *txn)
{
	return index_rows(txn, TABLE_UPLOAD);
}

struct upload_walk {
	const char *last;
	upload_walk_cb *cb;
	void *arg;
};

static bool upload_row(void *arg, struct slice key, struct slice payload)
{
	struct upload_walk *w = arg;
	char id[UPLOAD_ID_SIZE];
	struct upload_row row;

	if (key.len != UPLOAD_ID_SIZE - 1)
		return true;
	memcpy(id, key.ptr, key.len);
	id[key.len] = '\0';
	if (!upload_id_valid(id) || decode(payload, &row) != ERR_OK ||
	    strcmp(id, w->last) == 0)
		return true;
	return w->cb(w->arg, id, &row);
}

enum err upload_walk(struct index_txn *txn, const char *last,
		     upload_walk_cb *cb, void *arg)
{
	struct upload_walk w = {.last = last, .cb = cb, .arg = arg};

	return index_walk(txn, TABLE_UPLOAD, slice_of(NULL, 0),
			  slice_of(last, strlen(last)), upload_row, &w);
}
