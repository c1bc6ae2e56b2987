/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/extent.h"
#include "tests/unit/unit.h"

/* The model: one flag a byte. */
#define MODEL_BYTES 96

static void model_set(bool *model, uint64_t start, uint64_t end, bool value)
{
	for (uint64_t i = start; i < end; i++)
		model[i] = value;
}

static uint64_t model_next(const bool *model, uint64_t off, bool value)
{
	while (off < MODEL_BYTES && model[off] != value)
		off++;
	return off;
}

static bool well_formed(const struct extents *set)
{
	for (size_t i = 0; i < set->n; i++) {
		if (set->v[i].start >= set->v[i].end)
			return false;
		if (i && set->v[i - 1].end >= set->v[i].start)
			return false;
	}
	return true;
}

static bool agrees_at(const struct extents *set, const bool *model,
		      uint64_t off)
{
	uint64_t next = model_next(model, off, true);
	uint64_t hole = model_next(model, off, false);
	uint64_t hole_end = model_next(model, hole, true);
	struct extent gap = {0, 0};
	bool found = extent_gap(set, off, MODEL_BYTES, &gap);

	if (extent_run(set, off) != hole)
		return false;
	if (extent_next(set, off) != (next < MODEL_BYTES ? next : EXTENT_NONE))
		return false;
	if (found != (hole < MODEL_BYTES))
		return false;
	return !found || (gap.start == hole && gap.end == hole_end);
}

static bool agrees_between(const struct extents *set, const bool *model,
			   uint64_t start, uint64_t end)
{
	uint64_t held = 0;

	for (uint64_t i = start; i < end; i++)
		held += model[i];
	return extent_contains(set, start, end) == (held == end - start) &&
	       extent_overlaps(set, start, end) == (held > 0) &&
	       extent_total_within(set, start, end) == held;
}

static bool survives_storage(const struct extents *set)
{
	uint8_t buf[4 + 16 * MODEL_BYTES];
	struct extents back;
	size_t len = extent_encode(set, buf, sizeof(buf)), used = 0;
	bool same;

	if (len != extent_encoded_len(set) ||
	    extent_decode(buf, sizeof(buf), &back, &used) != ERR_OK)
		return false;
	same = used == len && extent_equal(set, &back);
	extent_release(&back);
	return same;
}

static bool agrees(const struct extents *set, const bool *model)
{
	for (uint64_t off = 0; off <= MODEL_BYTES; off++)
		if (!agrees_at(set, model, off))
			return false;
	for (uint64_t start = 0; start < MODEL_BYTES; start += 5)
		for (uint64_t end = start; end <= MODEL_BYTES; end += 3)
			if (!agrees_between(set, model, start, end))
				return false;
	return well_formed(set) && survives_storage(set);
}

static void random_changes_agree_with_a_bitmap(void)
{
	unsigned seed = 3;

	for (int round = 0; round < 100; round++) {
		bool model[MODEL_BYTES + 1] = {false};
		struct extents set = {0};
		unsigned wrong = 0;

		for (int step = 0; step < 80; step++) {
			uint64_t start = (uint64_t)rand_r(&seed) % MODEL_BYTES;
			uint64_t len = (uint64_t)rand_r(&seed) % 9;
			uint64_t end = MIN(start + len, MODEL_BYTES);
			bool put = rand_r(&seed) % 5 > 1;

			model_set(model, start, end, put);
			if (put)
				extent_add(&set, start, end);
			else
				extent_remove(&set, start, end);
			wrong += !agrees(&set, model);
		}
		CHECK(wrong == 0);
		extent_release(&set);
	}
}

static void touching_ranges_become_one(void)
{
	struct extents set = {0};

	extent_add(&set, 8, 14);
	extent_add(&set, 4, 8);
	CHECK(set.n == 1);
	CHECK(set.v[0].start == 4 && set.v[0].end == 14);
	extent_add(&set, 20, 30);
	extent_add(&set, 40, 50);
	CHECK(set.n == 3);
	extent_add(&set, 10, 45);
	CHECK(set.n == 1);
	CHECK(set.v[0].start == 4 && set.v[0].end == 50);
	extent_remove(&set, 10, 12);
	CHECK(set.n == 2);
	CHECK(extent_total(&set) == 44);
	extent_release(&set);
}

static void empty_ranges_change_nothing(void)
{
	struct extents set = {0};
	struct extent gap;

	extent_add(&set, 5, 5);
	extent_remove(&set, 5, 5);
	CHECK(set.n == 0);
	CHECK(extent_contains(&set, 7, 7));
	CHECK(!extent_overlaps(&set, 7, 7));
	CHECK(extent_total(&set) == 0);
	CHECK(extent_run(&set, 3) == 3);
	CHECK(extent_next(&set, 3) == EXTENT_NONE);
	CHECK(!extent_gap(&set, 0, 0, &gap));
	CHECK(extent_gap(&set, 0, 9, &gap) && gap.start == 0 && gap.end == 9);
	extent_remove(&set, 0, 100);
	CHECK(set.n == 0);
	extent_release(&set);
}

static void offsets_reach_to_the_end_of_uint64(void)
{
	struct extents set = {0};

	extent_add(&set, UINT64_MAX - 5, UINT64_MAX);
	CHECK(extent_total(&set) == 5);
	CHECK(extent_run(&set, UINT64_MAX - 3) == UINT64_MAX);
	CHECK(extent_run(&set, UINT64_MAX) == UINT64_MAX);
	CHECK(extent_next(&set, 0) == UINT64_MAX - 5);
	extent_add(&set, 0, UINT64_MAX);
	CHECK(set.n == 1 && extent_total(&set) == UINT64_MAX);
	extent_remove(&set, 1, UINT64_MAX);
	CHECK(extent_total(&set) == 1);
	extent_release(&set);
}

static void copies_are_independent(void)
{
	struct extents a = {0}, b = {0};
	const struct extent *it;
	uint64_t sum = 0;

	extent_add(&a, 1, 3);
	extent_add(&a, 7, 9);
	extent_add(&b, 100, 200);
	extent_copy(&b, &a);
	CHECK(extent_equal(&a, &b));
	extent_add(&b, 3, 4);
	CHECK(!extent_equal(&a, &b));
	EXTENT_EACH(it, &a)
	sum = sum * 10 + it->start;
	CHECK(sum == 17);
	extent_clear(&a);
	CHECK(a.n == 0 && !extent_contains(&a, 1, 2));
	extent_copy(&b, &a);
	CHECK(extent_equal(&a, &b));
	extent_release(&a);
	extent_release(&b);
}

static void a_short_buffer_takes_nothing(void)
{
	struct extents set = {0};
	uint8_t buf[40], before[40];

	memset(buf, 0xee, sizeof(buf));
	memcpy(before, buf, sizeof(buf));
	extent_add(&set, 1, 2);
	extent_add(&set, 4, 6);
	CHECK(extent_encoded_len(&set) == 36);
	CHECK(extent_encode(&set, buf, 35) == 0);
	CHECK(memcmp(buf, before, sizeof(buf)) == 0);
	CHECK(extent_encode(&set, buf, 36) == 36);
	extent_release(&set);
}

static enum err decode_pairs(uint32_t count, const uint64_t *v, size_t n)
{
	uint8_t buf[256];
	struct extents set;
	size_t used;
	enum err err;

	put_be32(buf, count);
	for (size_t i = 0; i < n; i++)
		put_be64(buf + 4 + 8 * i, v[i]);
	err = extent_decode(buf, 4 + 8 * n, &set, &used);
	if (err)
		CHECK(set.v == NULL && set.n == 0);
	extent_release(&set);
	return err;
}

static void stored_bytes_that_are_wrong_are_corrupt(void)
{
	struct extents set;
	size_t used;

	CHECK(decode_pairs(0, NULL, 0) == ERR_OK);
	CHECK(decode_pairs(1, (uint64_t[]){3, 4}, 2) == ERR_OK);
	CHECK(decode_pairs(2, (uint64_t[]){3, 4, 5, 6}, 4) == ERR_OK);
	CHECK(decode_pairs(2, (uint64_t[]){3, 4, 5, 6}, 3) == ERR_CORRUPT);
	CHECK(decode_pairs(UINT32_MAX, (uint64_t[]){3, 4}, 2) == ERR_CORRUPT);
	CHECK(decode_pairs(1, (uint64_t[]){4, 4}, 2) == ERR_CORRUPT);
	CHECK(decode_pairs(1, (uint64_t[]){4, 3}, 2) == ERR_CORRUPT);
	CHECK(decode_pairs(2, (uint64_t[]){3, 5, 5, 6}, 4) == ERR_CORRUPT);
	CHECK(decode_pairs(2, (uint64_t[]){5, 6, 3, 4}, 4) == ERR_CORRUPT);
	CHECK(extent_decode((const uint8_t *)"\0\0\0", 3, &set, &used) ==
	      ERR_CORRUPT);
	CHECK(extent_decode(NULL, 0, &set, &used) == ERR_CORRUPT);
}

int main(void)
{
	RUN(random_changes_agree_with_a_bitmap);
	RUN(touching_ranges_become_one);
	RUN(empty_ranges_change_nothing);
	RUN(offsets_reach_to_the_end_of_uint64);
	RUN(copies_are_independent);
	RUN(a_short_buffer_takes_nothing);
	RUN(stored_bytes_that_are_wrong_are_corrupt);
	return unit_done();
}
