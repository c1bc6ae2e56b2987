/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/partial_map.h"
#include "cache/crc.h"

#define CRC_AT 4
#define CRC_FROM 8

static const uint8_t magic[4] = {'E', 'P', 'M', '1'};

_Static_assert(MAP_HEAD_BYTES + 2 * (4 + 16 * MAP_EXTENTS_MAX) <=
		   MAP_SLOT_BYTES,
	       "a slot holds two full sets");

void partial_map_release(struct partial_map *m)
{
	extent_release(&m->written);
	extent_release(&m->synced);
}

size_t partial_map_len(const struct partial_map *m)
{
	assert(m->written.n <= MAP_EXTENTS_MAX);
	assert(m->synced.n <= MAP_EXTENTS_MAX);
	return MAP_HEAD_BYTES + extent_encoded_len(&m->written) +
	       extent_encoded_len(&m->synced);
}

void partial_map_encode(const struct partial_map *m, uint8_t *buf, size_t len)
{
	size_t at = MAP_HEAD_BYTES;

	assert(len == partial_map_len(m));
	memcpy(buf, magic, sizeof(magic));
	put_be32(buf + 8, (uint32_t)len);
	put_be32(buf + 12, 0);
	put_be64(buf + 16, m->seq);
	put_be64(buf + 24, m->size);
	memcpy(buf + 32, m->boot.bytes, sizeof(m->boot.bytes));
	put_be64(buf + 48, m->file.ino);
	put_be64(buf + 56, m->file.birth_s);
	put_be64(buf + 64, m->file.birth_ns);
	at += extent_encode(&m->written, buf + at, len - at);
	at += extent_encode(&m->synced, buf + at, len - at);
	assert(at == len);
	put_be32(buf + CRC_AT, crc32c(buf + CRC_FROM, len - CRC_FROM));
}

/* The length that the slot gives itself, or 0 if it is not one. */
static size_t slot_len(const uint8_t *buf, size_t len)
{
	size_t told;

	if (len < MAP_HEAD_BYTES || memcmp(buf, magic, sizeof(magic)) != 0)
		return 0;
	told = get_be32(buf + 8);
	if (told < MAP_HEAD_BYTES || told > len || told > MAP_SLOT_BYTES ||
	    get_be32(buf + 12) != 0)
		return 0;
	if (get_be32(buf + CRC_AT) != crc32c(buf + CRC_FROM, told - CRC_FROM))
		return 0;
	return told;
}

static uint64_t end_of(const struct extents *set)
{
	return set->n ? set->v[set->n - 1].end : 0;
}

static bool sensible(const struct partial_map *m)
{
	const struct extent *e;

	if (m->written.n > MAP_EXTENTS_MAX || m->synced.n > MAP_EXTENTS_MAX)
		return false;
	if (end_of(&m->written) > m->size)
		return false;
	EXTENT_EACH(e, &m->synced)
	if (!extent_contains(&m->written, e->start, e->end))
		return false;
	return true;
}

static enum err decode_sets(const uint8_t *buf, size_t len,
			    struct partial_map *m)
{
	size_t used, more;

	if (extent_decode(buf, len, &m->written, &used) != ERR_OK)
		return ERR_CORRUPT;
	if (extent_decode(buf + used, len - used, &m->synced, &more) != ERR_OK)
		return ERR_CORRUPT;
	return used + more == len && sensible(m) ? ERR_OK : ERR_CORRUPT;
}

enum err partial_map_decode(const uint8_t *buf, size_t len,
			    struct partial_map *out)
{
	size_t told = slot_len(buf, len);

	memset(out, 0, sizeof(*out));
	if (!told)
		return ERR_CORRUPT;
	out->seq = get_be64(buf + 16);
	out->size = get_be64(buf + 24);
	memcpy(out->boot.bytes, buf + 32, sizeof(out->boot.bytes));
	out->file.ino = get_be64(buf + 48);
	out->file.birth_s = get_be64(buf + 56);
	out->file.birth_ns = get_be64(buf + 64);
	if (decode_sets(buf + MAP_HEAD_BYTES, told - MAP_HEAD_BYTES, out) !=
	    ERR_OK) {
		partial_map_release(out);
		memset(out, 0, sizeof(*out));
		return ERR_CORRUPT;
	}
	return ERR_OK;
}

enum err partial_map_pick(const uint8_t *file, size_t len,
			  struct partial_map *out)
{
	size_t rest = len > MAP_SLOT_BYTES ? len - MAP_SLOT_BYTES : 0;
	struct partial_map odd;
	bool have_even, have_odd;

	have_even =
	    partial_map_decode(file, MIN(len, MAP_SLOT_BYTES), out) == ERR_OK;
	have_odd = rest && partial_map_decode(file + MAP_SLOT_BYTES, rest,
					      &odd) == ERR_OK;
	if (!have_odd)
		return have_even ? ERR_OK : ERR_NOT_FOUND;
	if (have_even && out->seq > odd.seq) {
		partial_map_release(&odd);
		return ERR_OK;
	}
	partial_map_release(out);
	*out = odd;
	return ERR_OK;
}

const struct extents *partial_map_trusted(const struct partial_map *m,
					  const struct boot_id *now,
					  const struct file_id *id,
					  uint64_t length)
{
	static const struct extents nothing;
	const struct extents *set = &m->synced;

	if (memcmp(&m->boot, now, sizeof(*now)) == 0)
		set = &m->written;
	if (memcmp(&m->file, id, sizeof(*id)) != 0 || end_of(set) > length)
		return &nothing;
	return set;
}

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

enum err boot_id_parse(const char *text, size_t len, struct boot_id *out)
{
	struct boot_id id = {{0}};
	size_t digits = 0;

	for (size_t i = 0; i < len; i++) {
		int v = nibble(text[i]);

		if (text[i] == '-' || text[i] == '\n')
			continue;
		if (v < 0 || digits == 2 * sizeof(id.bytes))
			return ERR_INVALID;
		id.bytes[digits / 2] |= (uint8_t)(digits % 2 ? v : v << 4);
		digits++;
	}
	if (digits != 2 * sizeof(id.bytes))
		return ERR_INVALID;
	*out = id;
	return ERR_OK;
}
