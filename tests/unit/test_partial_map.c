/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/partial_map.h"
#include "tests/unit/unit.h"

static const struct boot_id boot = {{1, 2, 3}}, other_boot = {{9}};
static const struct file_id file = {77, 1700000000, 5};

/* written {[0,100) [200,300)}, synced {[0,50)} of 1000 bytes */
static struct partial_map sample(uint64_t seq)
{
	struct partial_map m = {
	    .seq = seq, .size = 1000, .boot = boot, .file = file};

	extent_add(&m.written, 0, 100);
	extent_add(&m.written, 200, 300);
	extent_add(&m.synced, 0, 50);
	return m;
}

static uint8_t *encoded(const struct partial_map *m, size_t *len)
{
	uint8_t *buf;

	*len = partial_map_len(m);
	buf = xmalloc(*len);
	partial_map_encode(m, buf, *len);
	return buf;
}

static void what_is_encoded_is_decoded(void)
{
	struct partial_map m = sample(7), back;
	size_t len;
	uint8_t *buf = encoded(&m, &len);

	CHECK(partial_map_decode(buf, len, &back) == ERR_OK);
	CHECK(back.seq == 7 && back.size == 1000);
	CHECK(memcmp(&back.boot, &boot, sizeof(boot)) == 0);
	CHECK(memcmp(&back.file, &file, sizeof(file)) == 0);
	CHECK(extent_equal(&back.written, &m.written));
	CHECK(extent_equal(&back.synced, &m.synced));
	partial_map_release(&back);
	partial_map_release(&m);
	free(buf);
}

static void any_changed_byte_or_cut_is_corrupt(void)
{
	struct partial_map m = sample(7), back;
	size_t len;
	uint8_t *buf = encoded(&m, &len);

	for (size_t i = 0; i < len; i++) {
		uint8_t was = buf[i];

		buf[i] ^= 0x10;
		CHECK(partial_map_decode(buf, len, &back) == ERR_CORRUPT);
		CHECK(back.written.n == 0 && back.synced.n == 0);
		buf[i] = was;
		CHECK(partial_map_decode(buf, i, &back) == ERR_CORRUPT);
	}
	partial_map_release(&m);
	free(buf);
}

static enum err decode_again(struct partial_map *m)
{
	struct partial_map back;
	size_t len;
	uint8_t *buf = encoded(m, &len);
	enum err err = partial_map_decode(buf, len, &back);

	partial_map_release(&back);
	partial_map_release(m);
	free(buf);
	return err;
}

static void claims_that_contradict_themselves_are_corrupt(void)
{
	struct partial_map m = sample(1);

	extent_add(&m.synced, 60, 120); /* synced, but never written */
	CHECK(decode_again(&m) == ERR_CORRUPT);
	m = sample(1);
	m.size = 299; /* held past the end */
	CHECK(decode_again(&m) == ERR_CORRUPT);
	m = sample(1);
	m.size = 300;
	CHECK(decode_again(&m) == ERR_OK);
}

/* Both slots as they lie in the file. */
static uint8_t *two_slots(uint64_t even, uint64_t odd, size_t *len)
{
	uint8_t *whole = xcalloc(2, MAP_SLOT_BYTES);
	uint64_t seqs[] = {even, odd};

	for (size_t i = 0; i < 2; i++) {
		struct partial_map m = sample(seqs[i]);

		*len = partial_map_len(&m);
		partial_map_encode(&m, whole + partial_map_offset(seqs[i]),
				   *len);
		partial_map_release(&m);
	}
	*len += MAP_SLOT_BYTES;
	return whole;
}

static uint64_t picked(const uint8_t *whole, size_t len)
{
	struct partial_map m;
	uint64_t seq;

	if (partial_map_pick(whole, len, &m) != ERR_OK)
		return 0;
	seq = m.seq;
	partial_map_release(&m);
	return seq;
}

static void newer_slot_counts_and_a_torn_one_does_not(void)
{
	size_t len;
	uint8_t *whole = two_slots(8, 9, &len);

	CHECK(picked(whole, len) == 9);
	CHECK(picked(whole, MAP_SLOT_BYTES) == 8);
	CHECK(picked(whole, len - 1) == 8); /* the odd one is cut */
	whole[MAP_SLOT_BYTES + 20] ^= 1;
	CHECK(picked(whole, len) == 8);
	whole[20] ^= 1;
	CHECK(picked(whole, len) == 0);
	CHECK(picked(whole, 0) == 0);
	free(whole);
	whole = two_slots(10, 9, &len);
	CHECK(picked(whole, len) == 10);
	whole[0] ^= 1;
	CHECK(picked(whole, len) == 9);
	free(whole);
}

static void another_boot_trusts_only_what_is_synced(void)
{
	struct file_id successor = file;
	struct partial_map m = sample(1);

	CHECK(partial_map_trusted(&m, &boot, &file, 300) == &m.written);
	CHECK(partial_map_trusted(&m, &other_boot, &file, 300) == &m.synced);
	/* A file that lost its end holds nothing for certain. */
	CHECK(partial_map_trusted(&m, &boot, &file, 299)->n == 0);
	CHECK(partial_map_trusted(&m, &other_boot, &file, 49)->n == 0);
	/* The same inode number, born later. */
	successor.birth_ns++;
	CHECK(partial_map_trusted(&m, &boot, &successor, 300)->n == 0);
	partial_map_release(&m);
}

static void fullest_map_fits_its_slot(void)
{
	struct partial_map m = {.seq = 1, .size = UINT64_MAX};

	for (uint64_t i = 0; i < MAP_EXTENTS_MAX; i++) {
		extent_add(&m.written, 10 * i, 10 * i + 5);
		extent_add(&m.synced, 10 * i, 10 * i + 5);
	}
	CHECK(partial_map_len(&m) <= MAP_SLOT_BYTES);
	CHECK(decode_again(&m) == ERR_OK);
}

static void boot_ids_are_read_as_the_kernel_writes_them(void)
{
	static const char text[] = "1b4e28ba-2fa1-11d2-883f-0016d3cca427\n";
	struct boot_id id;

	CHECK(boot_id_parse(text, strlen(text), &id) == ERR_OK);
	CHECK(id.bytes[0] == 0x1b && id.bytes[1] == 0x4e &&
	      id.bytes[15] == 0x27);
	CHECK(boot_id_parse(text, 20, &id) == ERR_INVALID);
	CHECK(boot_id_parse("xyz", 3, &id) == ERR_INVALID);
	CHECK(boot_id_parse("", 0, &id) == ERR_INVALID);
}

int main(void)
{
	RUN(what_is_encoded_is_decoded);
	RUN(any_changed_byte_or_cut_is_corrupt);
	RUN(claims_that_contradict_themselves_are_corrupt);
	RUN(newer_slot_counts_and_a_torn_one_does_not);
	RUN(another_boot_trusts_only_what_is_synced);
	RUN(fullest_map_fits_its_slot);
	RUN(boot_ids_are_read_as_the_kernel_writes_them);
	return unit_done();
}
