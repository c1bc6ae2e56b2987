/* SPDX-License-Identifier: Apache-2.0 */
/* Range, Content-Range and If-Range: never a byte outside the body. */
#include "proxy/http_range.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_RANGES 16

static void resolve(const struct http_range *parsed, unsigned n, uint64_t size)
{
	struct http_range r[MAX_RANGES];
	unsigned kept = n;
	enum http_range_result got;

	memcpy(r, parsed, sizeof(r));
	got = http_range_resolve(r, &kept, size);
	assert((got == HTTP_RANGE_OK) == (kept > 0) && kept <= n);
	for (unsigned i = 0; i < kept; i++) {
		char text[HTTP_CONTENT_RANGE_SIZE];
		struct http_content_range back;

		assert(r[i].first <= r[i].last && r[i].last < size);
		http_content_range_format(r[i].first, r[i].last, size, text);
		assert(!http_content_range_parse(span_of(text), &back));
		assert(back.first == r[i].first && back.last == r[i].last &&
		       back.total == size);
	}
}

static void check_range(struct span value)
{
	static const uint64_t sizes[] = {0, 1, 100, 65536, INT64_MAX};
	struct http_range r[MAX_RANGES] = {{0}}, fewer[2];
	unsigned n, n_fewer;
	enum http_range_result got = http_range_parse(value, r, MAX_RANGES, &n);
	enum http_range_result again =
	    http_range_parse(value, fewer, 2, &n_fewer);

	assert((got == HTTP_RANGE_NONE) == (again == HTTP_RANGE_NONE));
	assert((got == HTTP_RANGE_OK) == (n > 0) && n <= MAX_RANGES);
	assert(n_fewer <= 2);
	for (size_t i = 0; i < ARRAY_LEN(sizes) && n; i++)
		resolve(r, n, sizes[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span value = {(const char *)data, size};
	struct http_content_range cr;

	check_range(value);
	(void)http_if_range_matches(value, "sha256:ab");
	if (!http_content_range_parse(value, &cr)) {
		assert(cr.unsatisfied || cr.first <= cr.last);
		assert(cr.unsatisfied || !cr.has_total || cr.last < cr.total);
		assert(!cr.unsatisfied || cr.has_total);
	}
	return 0;
}
