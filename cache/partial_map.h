/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_PARTIAL_MAP_H
#define CACHE_PARTIAL_MAP_H
/*
 * The map of a partial file: what it holds, as a small file beside it.  Pure;
 * cache/partial.c does the reading and writing.
 *
 * Two slots at fixed places are written in turn, so a torn write leaves the
 * other one:
 *
 *   0                    MAP_SLOT_BYTES            2 * MAP_SLOT_BYTES
 *   | slot of even seq   | slot of odd seq         |
 *
 * A slot, big-endian:
 *
 *    0  4  "EPM1"
 *    4  4  CRC-32C of everything from offset 8 to the end
 *    8  4  length of all of it
 *   12  4  reserved, 0
 *   16  8  sequence number; the valid slot with the higher one counts
 *   24  8  size of the whole blob, or UINT64_MAX
 *   32 16  the boot in which it was written
 *   48 24  which file it speaks of (struct file_id)
 *   72  -  extents written, extents synced (cache/extent.h)
 */
#include "cache/extent.h"

#define MAP_SLOT_BYTES ((size_t)192 * 1024)
#define MAP_HEAD_BYTES 72
/* In each of the two sets: so a slot always has room. */
#define MAP_EXTENTS_MAX 4096

struct boot_id {
	uint8_t bytes[16];
};

/*
 * Names outlive files: after a power loss an old map may stand beside a new
 * file.  The inode and its time of birth (0 where the filesystem has none)
 * tell them apart.
 */
struct file_id {
	uint64_t ino, birth_s, birth_ns;
};

struct partial_map {
	uint64_t seq;
	uint64_t size;
	struct boot_id boot;
	struct file_id file;
	struct extents written, synced;
};

void partial_map_release(struct partial_map *m);

/* Where the slot of sequence number `seq` stands. */
static inline size_t partial_map_offset(uint64_t seq)
{
	return seq % 2 * MAP_SLOT_BYTES;
}

/* Encode into buf[len], where len is partial_map_len(m).  Neither set may
 * have more than MAP_EXTENTS_MAX ranges. */
size_t partial_map_len(const struct partial_map *m);
void partial_map_encode(const struct partial_map *m, uint8_t *buf, size_t len);

/* One slot.  ERR_CORRUPT, and *out empty, for anything else; also a `synced`
 * that is not part of `written`, or bytes past the size.  The caller releases
 * *out. */
enum err partial_map_decode(const uint8_t *buf, size_t len,
			    struct partial_map *out) MUST_CHECK;

/* The better slot of a whole file of `len` bytes.  ERR_NOT_FOUND: neither. */
enum err partial_map_pick(const uint8_t *file, size_t len,
			  struct partial_map *out) MUST_CHECK;

/*
 * What this map vouches for in boot `now` about file `id` of `length` bytes:
 * what was written, if it is the same boot; else what was synced; nothing if
 * it speaks of another file or of bytes that are not there.
 */
const struct extents *partial_map_trusted(const struct partial_map *m,
					  const struct boot_id *now,
					  const struct file_id *id,
					  uint64_t length);

/* "1b4e28ba-2fa1-11d2-883f-0016d3cca427", as the kernel writes it. */
enum err boot_id_parse(const char *text, size_t len,
		       struct boot_id *out) MUST_CHECK;

#endif
