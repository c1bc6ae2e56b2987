/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/key.h"
#include "cache/row.h"
#include "cache/row_code.h"
#include "cache/row_meta.h"

static struct slice digest_key(struct key *k, const struct digest *dg)
{
	key_start(k);
	key_digest(k, dg);
	return key_slice(k);
}

enum err blob_get(struct index_txn *txn, const struct digest *dg,
		  struct blob_row *out)
{
	struct slice payload;
	struct row_in in;
	struct key k;
	enum err err = index_get(txn, TABLE_BLOB, digest_key(&k, dg), &payload);

	if (err != ERR_OK)
		return err;
	row_in_begin(&in, payload);
	out->size = row_in_u64(&in);
	out->created_s = row_in_u64(&in);
	out->verified_s = row_in_u64(&in);
	out->public_yes = row_in_enum(&in, 0, 1);
	return row_in_end(&in);
}

/* The row's part in the totals, before and after a change.  Of a row that
 * does not decode only its being there is known. */
static void count(struct index_txn *txn, const struct digest *dg, int64_t blobs,
		  uint64_t bytes)
{
	struct blob_row old = {0};
	enum err err = blob_get(txn, dg, &old);

	if (err == ERR_OK || err == ERR_CORRUPT)
		blobs--;
	if (err != ERR_OK)
		old.size = 0;
	total_add(txn, "blobs", blobs);
	total_add(txn, "blob_bytes", (int64_t)(bytes - old.size));
}

void blob_put(struct index_txn *txn, const struct digest *dg,
	      const struct blob_row *row)
{
	struct row_out out;
	struct key k;

	count(txn, dg, 1, row->size);
	row_out_begin(&out);
	row_out_u64(&out, row->size);
	row_out_u64(&out, row->created_s);
	row_out_u64(&out, row->verified_s);
	row_out_u8(&out, row->public_yes);
	row_out_put(&out, txn, TABLE_BLOB, digest_key(&k, dg));
}

void blob_del(struct index_txn *txn, const struct digest *dg)
{
	struct key k;

	count(txn, dg, 0, 0);
	index_del(txn, TABLE_BLOB, digest_key(&k, dg));
}
