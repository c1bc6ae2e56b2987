/* SPDX-License-Identifier: Apache-2.0 */
/* Every small grammar over the same bytes: pieces lie inside, copies fit. */
#include "proxy/http_date.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(struct span piece, struct span whole)
{
	assert(piece.ptr >= whole.ptr && piece.len <= whole.len);
	assert((size_t)(piece.ptr - whole.ptr) <= whole.len - piece.len);
}

static void check_walks(struct span value)
{
	struct span rest = value, a, b;

	while (http_list_next(&rest, &a)) {
		check_inside(a, value);
		assert(a.len > 0 && span_trim(a).len == a.len);
	}
	rest = value;
	while (http_param_next(&rest, &a, &b)) {
		check_inside(a, value);
		check_inside(b, value);
	}
	rest = value;
	while (http_query_next(&rest, &a, &b)) {
		check_inside(a, value);
		check_inside(b, value);
		assert(!memchr(a.ptr, '&', a.len) &&
		       !memchr(a.ptr, '=', a.len));
	}
	if (http_query_find(value, "tag", &a))
		check_inside(a, value);
	if (http_link_find(value, "next", &a))
		check_inside(a, value);
}

static void check_copies(struct span value)
{
	char small[8], *big = malloc(value.len + 1);
	size_t len;

	assert(big);
	if (!http_percent_decode(value, big, value.len + 1, &len))
		assert(len <= value.len && strlen(big) == len);
	if (!http_percent_decode(value, small, sizeof(small), &len))
		assert(strlen(small) == len);
	/* One byte more than the bytes is always room enough. */
	assert(http_percent_decode(value, big, value.len + 1, &len) !=
	       ERR_TOO_BIG);
	assert(http_unquote(value, big, value.len + 1) != ERR_TOO_BIG);
	assert(http_media_type(value, big, value.len + 1) != ERR_TOO_BIG);
	if (!http_unquote(value, small, sizeof(small)))
		assert(strlen(small) <= value.len);
	if (!http_media_type(value, small, sizeof(small)))
		assert(strchr(small, '/'));
	free(big);
}

static void check_numbers(struct span value)
{
	char text[HTTP_DATE_SIZE];
	uint64_t n, w;
	uint32_t s;
	time_t t, again;

	(void)http_etag_listed(value, "sha256:ab");
	if (!http_ratelimit(value, &n, &w))
		assert(value.len > 0);
	if (!http_retry_after(value, 1795478400, 600, &s))
		assert(s <= 600);
	if (!http_date_parse(value, 1795478400, &t) && t >= 0) {
		http_date_format(t, text);
		assert(!http_date_parse(span_of(text), 0, &again));
		assert(t == again);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span value = {(const char *)data, size};

	check_walks(value);
	check_copies(value);
	check_numbers(value);
	return 0;
}
