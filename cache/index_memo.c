/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/index_memo.h"

static uint64_t mix(uint64_t h, uint64_t word)
{
	h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
	return h ^ (h >> 29);
}

/* Eight bytes at a time: keys are digests and short names.  Who makes two
 * names fall on one place has both looked up each time. */
static uint64_t hash(enum index_table table, struct slice key)
{
	uint64_t h = (uint64_t)table << 8 | key.len, word;
	const uint8_t *p = key.ptr;
	size_t left = key.len;

	for (; left >= sizeof(word); left -= sizeof(word), p += sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		h = mix(h, word);
	}
	word = 0;
	memcpy(&word, p, left);
	return mix(h, word);
}

struct index_memo_row *index_memo_place(struct index_memo *memo,
					enum index_table table,
					struct slice key)
{
	if (key.len > INDEX_MEMO_KEY_MAX)
		return NULL;
	return &memo->rows[hash(table, key) % INDEX_MEMO_ROWS];
}

void index_memo_keep(struct index_memo_row *row, size_t snapshot,
		     enum index_table table, struct slice key,
		     struct slice payload, bool missing)
{
	row->snapshot = snapshot;
	row->payload = payload;
	row->table = (uint8_t)table;
	row->missing = missing;
	row->key_len = (uint8_t)key.len;
	memcpy(row->key, key.ptr, key.len);
}
