/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The map beside a partial file, as it comes from a disk.  Each input is read
 * as it is, and again with its length and CRC made right, so that what lies
 * behind them is reached.  What must hold: a slot that is accepted is encoded
 * to the same bytes, and vouches for nothing past its size or the file's end.
 */
#include "cache/crc.h"
#include "cache/partial_map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void check_trust(const struct partial_map *m, uint64_t length)
{
	static const struct boot_id another;
	const struct boot_id *boots[] = {&m->boot, &another};

	for (size_t i = 0; i < ARRAY_LEN(boots); i++) {
		const struct extents *set =
		    partial_map_trusted(m, boots[i], &m->file, length);
		const struct extent *e;

		EXTENT_EACH(e, set)
		{
			require(e->start < e->end);
			require(e->end <= length && e->end <= m->size);
			require(extent_contains(&m->written, e->start, e->end));
		}
	}
}

static void try_slot(const uint8_t *buf, size_t len)
{
	struct partial_map m;
	uint8_t *again;
	size_t n;

	if (partial_map_decode(buf, len, &m) != ERR_OK) {
		require(m.written.n == 0 && m.synced.n == 0);
		return;
	}
	n = partial_map_len(&m);
	require(n <= len);
	again = xmalloc(n);
	partial_map_encode(&m, again, n);
	require(memcmp(again, buf, n) == 0);
	check_trust(&m, m.size);
	check_trust(&m, extent_total(&m.written));
	free(again);
	partial_map_release(&m);
}

static void try_repaired(const uint8_t *data, size_t size)
{
	uint8_t *copy = xmemdup(data, size);

	memcpy(copy, "EPM1", 4);
	put_be32(copy + 8, (uint32_t)size);
	put_be32(copy + 12, 0);
	put_be32(copy + 4, crc32c(copy + 8, size - 8));
	try_slot(copy, size);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct partial_map m;
	struct boot_id id;

	try_slot(data, size);
	if (size >= MAP_HEAD_BYTES)
		try_repaired(data, size);
	if (partial_map_pick(data, size, &m) == ERR_OK)
		partial_map_release(&m);
	(void)!boot_id_parse((const char *)data, size, &id);
	return 0;
}
