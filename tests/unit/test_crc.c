/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/crc.h"

#include "tests/unit/unit.h"

static void crc_of_published_vectors(void)
{
	uint8_t buf[32];

	/* RFC 3720, B.4. */
	memset(buf, 0, sizeof(buf));
	CHECK(crc32c(buf, 32) == 0x8a9136aa);
	memset(buf, 0xff, sizeof(buf));
	CHECK(crc32c(buf, 32) == 0x62a8ab43);
	for (int i = 0; i < 32; i++)
		buf[i] = (uint8_t)i;
	CHECK(crc32c(buf, 32) == 0x46dd794e);
	for (int i = 0; i < 32; i++)
		buf[i] = (uint8_t)(31 - i);
	CHECK(crc32c(buf, 32) == 0x113fdb5c);
	CHECK(crc32c("123456789", 9) == 0xe3069283);
	CHECK(crc32c("", 0) == 0);
}

static void crc_by_table_of_published_vectors(void)
{
	uint8_t zeros[32] = {0};

	CHECK(crc32c_by_table(zeros, 32) == 0x8a9136aa);
	CHECK(crc32c_by_table("123456789", 9) == 0xe3069283);
	CHECK(crc32c_by_table("", 0) == 0);
}

static void both_ways_agree_at_every_length_and_alignment(void)
{
	uint8_t buf[400];
	uint32_t seed = 1;

	for (size_t i = 0; i < sizeof(buf); i++) {
		seed = seed * 1664525 + 1013904223;
		buf[i] = (uint8_t)(seed >> 24);
	}
	for (size_t at = 0; at < 9; at++) {
		for (size_t len = 0; len <= 300; len++)
			CHECK(crc32c(buf + at, len) ==
			      crc32c_by_table(buf + at, len));
	}
}

static void one_flipped_bit_changes_the_crc(void)
{
	uint8_t buf[64] = "a row";
	uint32_t before = crc32c(buf, sizeof(buf));

	for (size_t bit = 0; bit < 8 * sizeof(buf); bit++) {
		buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
		CHECK(crc32c(buf, sizeof(buf)) != before);
		buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

int main(void)
{
	RUN(crc_of_published_vectors);
	RUN(crc_by_table_of_published_vectors);
	RUN(both_ways_agree_at_every_length_and_alignment);
	RUN(one_flipped_bit_changes_the_crc);
	return unit_done();
}
