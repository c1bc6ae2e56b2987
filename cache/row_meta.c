/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/row_meta.h"

#include "cache/key.h"
#include "cache/row.h"

static struct slice name_key(struct key *k, const char *name)
{
	key_start(k);
	key_bytes(k, name, strlen(name));
	return key_slice(k);
}

enum err meta_get(struct index_txn *txn, const char *name, uint64_t *out)
{
	struct slice payload;
	struct key k;
	enum err err = index_get(txn, TABLE_META, name_key(&k, name), &payload);

	*out = 0;
	if (err != ERR_OK)
		return err;
	if (payload.len != 8)
		return ERR_CORRUPT;
	*out = get_be64(payload.ptr);
	return ERR_OK;
}

void meta_put(struct index_txn *txn, const char *name, uint64_t v)
{
	uint8_t bytes[8];
	struct key k;

	put_be64(bytes, v);
	index_put(txn, TABLE_META, name_key(&k, name), slice_of(bytes, 8));
}

static void total_name(const char *name, char *out, size_t size)
{
	int n = snprintf(out, size, "total/%s", name);

	assert(n > 0 && (size_t)n < size);
}

uint64_t total_get(struct index_txn *txn, const char *name)
{
	char full[64];
	uint64_t v;

	total_name(name, full, sizeof(full));
	return meta_get(txn, full, &v) == ERR_OK ? v : 0;
}

void total_add(struct index_txn *txn, const char *name, int64_t delta)
{
	uint64_t v = total_get(txn, name), sum;
	char full[64];

	if (!delta)
		return;
	if (__builtin_add_overflow(v, delta, &sum))
		sum = 0;
	total_name(name, full, sizeof(full));
	meta_put(txn, full, sum);
}
