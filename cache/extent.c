/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/extent.h"

#define COUNT_BYTES 4
#define RANGE_BYTES 16

void extent_init(struct extents *set)
{
	memset(set, 0, sizeof(*set));
}

void extent_release(struct extents *set)
{
	free(set->v);
	extent_init(set);
}

void extent_clear(struct extents *set)
{
	set->n = 0;
}

static void reserve(struct extents *set, size_t n)
{
	uint64_t bytes;

	if (n <= set->cap)
		return;
	set->cap = MAX(n, set->cap * 2);
	if (!size_mul(set->cap, sizeof(*set->v), &bytes))
		abort();
	set->v = xrealloc(set->v, bytes);
}

void extent_copy(struct extents *to, const struct extents *from)
{
	if (to == from)
		return;
	reserve(to, from->n);
	if (from->n)
		memcpy(to->v, from->v, from->n * sizeof(*from->v));
	to->n = from->n;
}

/* Index of the first range whose end is at or beyond `off`; n if none. */
static size_t first_ending_at(const struct extents *set, uint64_t off)
{
	size_t lo = 0, hi = set->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (set->v[mid].end < off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Index of the first range that has a byte at or beyond `off`; n if none. */
static size_t first_beyond(const struct extents *set, uint64_t off)
{
	size_t i = first_ending_at(set, off);

	return i < set->n && set->v[i].end == off ? i + 1 : i;
}

/* Replace the `old` ranges at index `i` by the `n_put` ranges at `put`. */
static void splice(struct extents *set, size_t i, size_t old,
		   const struct extent *put, size_t n_put)
{
	reserve(set, set->n - old + n_put);
	if (old != n_put && set->n > i + old)
		memmove(set->v + i + n_put, set->v + i + old,
			(set->n - i - old) * sizeof(*set->v));
	if (n_put)
		memcpy(set->v + i, put, n_put * sizeof(*put));
	set->n = set->n - old + n_put;
}

void extent_add(struct extents *set, uint64_t start, uint64_t end)
{
	struct extent merged = {start, end};
	size_t i, last;

	assert(start <= end);
	if (start == end)
		return;
	i = first_ending_at(set, start);
	for (last = i; last < set->n && set->v[last].start <= end; last++) {
		merged.start = MIN(merged.start, set->v[last].start);
		merged.end = MAX(merged.end, set->v[last].end);
	}
	splice(set, i, last - i, &merged, 1);
}

void extent_remove(struct extents *set, uint64_t start, uint64_t end)
{
	struct extent rest[2];
	size_t i, last, n_rest = 0;

	assert(start <= end);
	if (start == end)
		return;
	i = first_beyond(set, start);
	for (last = i; last < set->n && set->v[last].start < end; last++) {
		const struct extent *cut = &set->v[last];

		if (cut->start < start)
			rest[n_rest++] = (struct extent){cut->start, start};
		if (cut->end > end)
			rest[n_rest++] = (struct extent){end, cut->end};
	}
	if (last > i)
		splice(set, i, last - i, rest, n_rest);
}

bool extent_contains(const struct extents *set, uint64_t start, uint64_t end)
{
	assert(start <= end);
	return start == end || extent_run(set, start) >= end;
}

bool extent_overlaps(const struct extents *set, uint64_t start, uint64_t end)
{
	assert(start <= end);
	return start != end && extent_next(set, start) < end;
}

uint64_t extent_run(const struct extents *set, uint64_t off)
{
	size_t i = first_beyond(set, off);

	if (i == set->n || set->v[i].start > off)
		return off;
	return set->v[i].end;
}

uint64_t extent_next(const struct extents *set, uint64_t off)
{
	size_t i = first_beyond(set, off);

	if (i == set->n)
		return EXTENT_NONE;
	return MAX(off, set->v[i].start);
}

bool extent_gap(const struct extents *set, uint64_t from, uint64_t limit,
		struct extent *gap)
{
	uint64_t start = extent_run(set, from);

	if (start >= limit)
		return false;
	gap->start = start;
	gap->end = MIN(limit, extent_next(set, start));
	return true;
}

uint64_t extent_total(const struct extents *set)
{
	return extent_total_within(set, 0, UINT64_MAX);
}

uint64_t extent_total_within(const struct extents *set, uint64_t start,
			     uint64_t end)
{
	uint64_t total = 0;

	assert(start <= end);
	for (size_t i = first_beyond(set, start); i < set->n; i++) {
		const struct extent *range = &set->v[i];

		if (range->start >= end)
			break;
		total += MIN(range->end, end) - MAX(range->start, start);
	}
	return total;
}

bool extent_equal(const struct extents *a, const struct extents *b)
{
	return a->n == b->n &&
	       (!a->n || memcmp(a->v, b->v, a->n * sizeof(*a->v)) == 0);
}

size_t extent_encoded_len(const struct extents *set)
{
	return COUNT_BYTES + set->n * RANGE_BYTES;
}

size_t extent_encode(const struct extents *set, uint8_t *buf, size_t len)
{
	size_t need = extent_encoded_len(set);
	uint8_t *p = buf;

	if (need > len || set->n > UINT32_MAX)
		return 0;
	put_be32(p, (uint32_t)set->n);
	p += COUNT_BYTES;
	for (size_t i = 0; i < set->n; i++, p += RANGE_BYTES) {
		put_be64(p, set->v[i].start);
		put_be64(p + 8, set->v[i].end);
	}
	return need;
}

enum err extent_decode(const uint8_t *buf, size_t len, struct extents *out,
		       size_t *used)
{
	const uint8_t *p;
	size_t n;

	extent_init(out);
	if (len < COUNT_BYTES)
		return ERR_CORRUPT;
	n = get_be32(buf);
	if (n > (len - COUNT_BYTES) / RANGE_BYTES)
		return ERR_CORRUPT;
	reserve(out, n);
	for (p = buf + COUNT_BYTES; out->n < n; p += RANGE_BYTES) {
		struct extent range = {get_be64(p), get_be64(p + 8)};

		if (range.start >= range.end ||
		    (out->n && out->v[out->n - 1].end >= range.start)) {
			extent_release(out);
			return ERR_CORRUPT;
		}
		out->v[out->n++] = range;
	}
	*used = COUNT_BYTES + n * RANGE_BYTES;
	return ERR_OK;
}
