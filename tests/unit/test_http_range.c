/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/http_range.h"
#include "tests/unit/unit.h"

#define MAX_RANGES 4

/*
 * Parse and, unless size is UNKNOWN, resolve; then write the outcome as text:
 * "none", "416", "many", or the ranges, with o or s behind open and suffix.
 */
#define UNKNOWN UINT64_MAX

static const char *outcome(const char *value, uint64_t size)
{
	static const char *const forms[] = {"", "o", "s"};
	static char text[256];
	struct http_range r[MAX_RANGES];
	enum http_range_result got;
	size_t len = 0;
	unsigned n;

	got = http_range_parse(span_of(value), r, MAX_RANGES, &n);
	CHECK((got == HTTP_RANGE_OK) == (n > 0));
	if (got == HTTP_RANGE_OK && size != UNKNOWN)
		got = http_range_resolve(r, &n, size);
	if (got == HTTP_RANGE_NONE)
		return "none";
	if (got == HTTP_RANGE_UNSATISFIABLE)
		return "416";
	if (got == HTTP_RANGE_TOO_MANY)
		return "many";
	for (unsigned i = 0; i < n; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
					"%s%" PRIu64 "-%" PRIu64 "%s",
					i ? " " : "", r[i].first, r[i].last,
					forms[r[i].form]);
	return text;
}

static void known_size_gives_clamped_ranges(void)
{
	static const struct {
		const char *value;
		uint64_t size;
		const char *want;
	} rows[] = {
	    {"bytes=0-0", 100, "0-0"},
	    {"bytes=0-99", 100, "0-99"},
	    {"bytes=0-100", 100, "0-99"},
	    {"bytes=99-1000", 100, "99-99"},
	    {"bytes=100-200", 100, "416"},
	    {"bytes=50-", 100, "50-99o"},
	    {"bytes=100-", 100, "416"},
	    {"bytes=-1", 100, "99-99s"},
	    {"bytes=-100", 100, "0-99s"},
	    {"bytes=-500", 100, "0-99s"},
	    {"bytes=-0", 100, "416"},
	    {"bytes=0-", 0, "416"},
	    {"bytes=-1", 0, "416"},
	    {"bytes=5-4", 100, "416"},
	    {"bytes=5-4,6-7", 100, "6-7"},
	    {"bytes=0-1,500-600,4-5", 100, "0-1 4-5"},
	    {"bytes=500-600,200-", 100, "416"},
	    {"bytes=8-9,0-1,0-4", 100, "8-9 0-1 0-4"},
	    {"bytes=0-1,1-2,2-3,3-4", 100, "0-1 1-2 2-3 3-4"},
	    {"bytes=0-1,1-2,2-3,3-4,4-5", 100, "many"},
	    {"bytes=0-1,1-2,2-3,3-4,5-4", 100, "many"},
	    {"bytes=0-1,1-2,2-3,3-4,x", 100, "none"},
	    {"bytes=0-1, \t2-3 ,,4-5,", 100, "0-1 2-3 4-5"},
	    {"Bytes=0-1", 100, "0-1"},
	    {"bytes=00-01", 100, "0-1"},
	    {"bytes=0-18446744073709551616", 100, "0-99"},
	    {"bytes=18446744073709551616-", 100, "416"},
	    {"bytes=99999999999999999999-99999999999999999999", 100, "416"},
	    {"bytes=-99999999999999999999", 100, "0-99s"},
	    {"bytes=9223372036854775806-", INT64_MAX,
	     "9223372036854775806-9223372036854775806o"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		CHECK_STR(outcome(rows[i].value, rows[i].size), rows[i].want);
}

static void other_syntax_is_ignored(void)
{
	static const char *const rows[] = {
	    "",
	    "bytes",
	    "bytes=",
	    "bytes=,",
	    "0-1",
	    "items=0-1",
	    "bytes=-",
	    "bytes=a-b",
	    "bytes=0",
	    "bytes=0 -1",
	    "bytes=0- 1",
	    "bytes=+0-1",
	    "bytes=0x0-1",
	    "bytes =0-1",
	    "bytes=0-1;x",
	    "bytes=0-1-2",
	    "bytes=--1",
	    "bytes 0-1",
	    "bytes:0-1",
	    "bytes=0-1,x",
	    "=0-1",
	    "bytes=\"0-1\"",
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		CHECK_STR(outcome(rows[i], 100), "none");
}

static void unknown_size_keeps_what_was_asked(void)
{
	CHECK_STR(outcome("bytes=5-9,-7,3-", UNKNOWN),
		  "5-9 0-7s 3-18446744073709551615o");
	CHECK_STR(outcome("bytes=5-4", UNKNOWN), "416");
	CHECK_STR(outcome("bytes=-0,9-1", UNKNOWN), "416");
}

static void limit_may_be_1024(void)
{
	static struct http_range r[1024];
	static char text[20000];
	size_t len = (size_t)snprintf(text, sizeof(text), "bytes=");
	unsigned n;

	for (unsigned i = 0; i < 1024; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
					"%u-%u,", 10 * i, 10 * i + 5);
	CHECK(http_range_parse(span_of(text), r, 1024, &n) == HTTP_RANGE_OK);
	CHECK(n == 1024 && r[1023].first == 10230 && r[1023].last == 10235);
	CHECK(http_range_resolve(r, &n, 10231) == HTTP_RANGE_OK);
	CHECK(n == 1024 && r[1023].last == 10230);
	CHECK(http_range_parse(span_of(text), r, 1023, &n) ==
	      HTTP_RANGE_TOO_MANY);
	CHECK(n == 0);
}

static void if_range_wants_the_very_tag(void)
{
	CHECK(http_if_range_matches(span_of("\"sha256:ab\""), "sha256:ab"));
	CHECK(http_if_range_matches(span_of(" sha256:ab "), "sha256:ab"));
	CHECK(!http_if_range_matches(span_of("W/\"sha256:ab\""), "sha256:ab"));
	CHECK(!http_if_range_matches(span_of("\"sha256:ac\""), "sha256:ab"));
	CHECK(!http_if_range_matches(span_of("\"sha256:ab"), "sha256:ab"));
	CHECK(!http_if_range_matches(span_of("*"), "sha256:ab"));
	CHECK(!http_if_range_matches(span_of(""), "sha256:ab"));
	CHECK(!http_if_range_matches(span_of("Sun, 06 Nov 1994 08:49:37 GMT"),
				     "sha256:ab"));
}

static void content_range_is_read(void)
{
	struct http_content_range r;

	CHECK(!http_content_range_parse(span_of("bytes 0-9/100"), &r));
	CHECK(r.first == 0 && r.last == 9 && r.total == 100);
	CHECK(r.has_total && !r.unsatisfied);
	CHECK(!http_content_range_parse(span_of("Bytes 90-99/100"), &r));
	CHECK(r.first == 90 && r.last == 99);
	CHECK(!http_content_range_parse(span_of("bytes 5-6/*"), &r));
	CHECK(!r.has_total && !r.unsatisfied && r.first == 5 && r.last == 6);
	CHECK(!http_content_range_parse(span_of("bytes */7"), &r));
	CHECK(r.has_total && r.unsatisfied && r.total == 7);
}

static void odd_content_range_is_refused(void)
{
	static const char *const rows[] = {
	    "",
	    "bytes",
	    "bytes 0-9",
	    "0-9/100",
	    "items 0-9/100",
	    "bytes=0-9/100",
	    "bytes 9-0/100",
	    "bytes 0-100/100",
	    "bytes 0-0/0",
	    "bytes */*",
	    "bytes -9/100",
	    "bytes 0-/100",
	    "bytes 0 -9/100",
	    "bytes 0-9/ 100",
	    "bytes +0-9/100",
	    "bytes 0-9/",
	    "bytes 0-9/100/",
	    "bytes 0-9223372036854775808/*",
	    "bytes 0-9/99999999999999999999",
	};
	struct http_content_range r;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		CHECK(http_content_range_parse(span_of(rows[i]), &r) ==
		      ERR_INVALID);
}

static void content_range_is_written(void)
{
	char text[HTTP_CONTENT_RANGE_SIZE];

	http_content_range_format(0, 9, 100, text);
	CHECK_STR(text, "bytes 0-9/100");
	http_content_range_format(UINT64_MAX - 2, UINT64_MAX - 1, UINT64_MAX,
				  text);
	CHECK_STR(text, "bytes 18446744073709551613-18446744073709551614/"
			"18446744073709551615");
	http_content_range_format_416(100, text);
	CHECK_STR(text, "bytes */100");
}

int main(void)
{
	RUN(known_size_gives_clamped_ranges);
	RUN(other_syntax_is_ignored);
	RUN(unknown_size_keeps_what_was_asked);
	RUN(limit_may_be_1024);
	RUN(if_range_wants_the_very_tag);
	RUN(content_range_is_read);
	RUN(odd_content_range_is_refused);
	RUN(content_range_is_written);
	return unit_done();
}
