/* SPDX-License-Identifier: Apache-2.0 */
/* A batch's records for the log, on the writer thread. */
#include "cache/index_int.h"

static struct slice log_last_name(void)
{
	static const char name[] = "journal/last";

	return slice_of(name, sizeof(name) - 1);
}

void index_log_put(struct index_txn *txn, const void *record, size_t len)
{
	struct index *ix = txn->ix;
	size_t need = ix->records_len + 4 + len;

	assert(txn->write && len <= UINT32_MAX);
	if (txn->rc || !ix->opt.log)
		return;
	if (need > ix->records_size) {
		ix->records_size = MAX(need, 2 * ix->records_size);
		ix->records = xrealloc(ix->records, ix->records_size);
	}
	put_be32(ix->records + ix->records_len, (uint32_t)len);
	memcpy(ix->records + ix->records_len + 4, record, len);
	ix->records_len = need;
	ix->n_records++;
}

uint64_t index_log_last(struct index_txn *txn)
{
	struct slice payload;

	if (index_get(txn, TABLE_META, log_last_name(), &payload) != ERR_OK ||
	    payload.len != 8)
		return 0;
	return get_be64(payload.ptr);
}

void index_log_set_last(struct index_txn *txn, uint64_t seq)
{
	uint8_t last[8];

	put_be64(last, seq);
	index_put(txn, TABLE_META, log_last_name(), slice_of(last, 8));
}

void index_log_forget(struct index *ix)
{
	ix->records_len = 0;
	ix->n_records = 0;
}

/* Have the batch's records in the log, and its last sequence in this very
 * transaction. */
enum err index_log_append(struct index_txn *txn, struct why *why)
{
	const struct index *ix = txn->ix;
	uint64_t first = index_log_last(txn) + 1;

	if (!ix->n_records)
		return ERR_OK;
	index_log_set_last(txn, first + ix->n_records - 1);
	if (txn->rc)
		return ERR_OK; /* the caller sees it */
	return ix->opt.log->append(ix->opt.log->arg, ix->records,
				   ix->records_len, first, ix->n_records, why);
}

void index_log_cut(const struct index *ix)
{
	if (ix->n_records)
		ix->opt.log->cut(ix->opt.log->arg);
}
