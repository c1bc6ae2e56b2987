/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/key.h"
#include "cache/row.h"
#include "cache/row_code.h"

static struct slice digest_key(struct key *k, const struct digest *dg)
{
	key_start(k);
	key_digest(k, dg);
	return key_slice(k);
}

enum err manifest_get(struct index_txn *txn, const struct digest *dg,
		      struct manifest_row *out)
{
	struct slice payload;
	struct row_in in;
	struct key k;
	bool inline_bytes;
	enum err err =
	    index_get(txn, TABLE_MANIFEST, digest_key(&k, dg), &payload);

	if (err != ERR_OK)
		return err;
	row_in_begin(&in, payload);
	out->public_yes = row_in_enum(&in, 0, 1);
	out->size = row_in_u64(&in);
	out->created_s = row_in_u64(&in);
	out->media_type = row_in_bytes(&in);
	out->artifact_type = row_in_bytes(&in);
	row_in_digest(&in, &out->subject);
	out->children = row_in_bytes(&in);
	inline_bytes = row_in_enum(&in, 0, 1);
	out->bytes = row_in_bytes(&in);
	if (inline_bytes ? out->bytes.len != out->size : out->bytes.len != 0)
		return ERR_CORRUPT;
	if (!inline_bytes)
		out->bytes.ptr = NULL;
	return row_in_end(&in);
}

void manifest_put(struct index_txn *txn, const struct digest *dg,
		  const struct manifest_row *row)
{
	struct row_out out;
	struct key k;

	row_out_begin(&out);
	row_out_u8(&out, row->public_yes);
	row_out_u64(&out, row->size);
	row_out_u64(&out, row->created_s);
	row_out_bytes(&out, row->media_type.ptr, row->media_type.len);
	row_out_bytes(&out, row->artifact_type.ptr, row->artifact_type.len);
	row_out_digest(&out, &row->subject);
	row_out_bytes(&out, row->children.ptr, row->children.len);
	row_out_u8(&out, row->bytes.ptr != NULL);
	row_out_bytes(&out, row->bytes.ptr, row->bytes.len);
	row_out_put(&out, txn, TABLE_MANIFEST, digest_key(&k, dg));
}

void manifest_del(struct index_txn *txn, const struct digest *dg)
{
	struct key k;

	index_del(txn, TABLE_MANIFEST, digest_key(&k, dg));
}

static void referrer_key(struct key *k, uint64_t repo,
			 const struct digest *subject)
{
	key_start(k);
	key_u64(k, repo);
	key_digest(k, subject);
}

void referrer_put(struct index_txn *txn, uint64_t repo,
		  const struct digest *subject, const struct digest *dg,
		  struct slice descriptor)
{
	struct row_out out;
	struct key k;

	referrer_key(&k, repo, subject);
	key_digest(&k, dg);
	row_out_begin(&out);
	row_out_bytes(&out, descriptor.ptr, descriptor.len);
	row_out_put(&out, txn, TABLE_REFERRER, key_slice(&k));
}

void referrer_del(struct index_txn *txn, uint64_t repo,
		  const struct digest *subject, const struct digest *dg)
{
	struct key k;

	referrer_key(&k, repo, subject);
	key_digest(&k, dg);
	index_del(txn, TABLE_REFERRER, key_slice(&k));
}

struct referrer_walk {
	size_t prefix_len;
	const struct digest *last; /* passed over; NULL = none */
	referrer_walk_cb *cb;
	void *arg;
};

/* Rows that do not decode are the checker's business, here as in all walks. */
static bool referrer_row(void *arg, struct slice key, struct slice payload)
{
	struct referrer_walk *w = arg;
	struct slice rest =
	    slice_of(key.ptr + w->prefix_len, key.len - w->prefix_len);
	struct slice descriptor;
	struct digest dg;
	struct row_in in;

	row_in_begin(&in, payload);
	descriptor = row_in_bytes(&in);
	if (row_in_end(&in) != ERR_OK || !key_take_digest(&rest, &dg) ||
	    (w->last && digest_equal(w->last, &dg)))
		return true;
	return w->cb(w->arg, &dg, descriptor);
}

enum err referrer_walk(struct index_txn *txn, uint64_t repo,
		       const struct digest *subject, const struct digest *last,
		       referrer_walk_cb *cb, void *arg)
{
	struct referrer_walk w = {.last = last, .cb = cb, .arg = arg};
	struct key k, from;

	referrer_key(&k, repo, subject);
	w.prefix_len = k.len;
	from = k;
	if (last)
		key_digest(&from, last);
	return index_walk(txn, TABLE_REFERRER, key_slice(&k), key_slice(&from),
			  referrer_row, &w);
}
