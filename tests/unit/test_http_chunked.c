/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/http_chunked.h"
#include "tests/unit/unit.h"

/*
 * Decode text[len] in pieces of `step` bytes.  The payload goes to `out`,
 * NUL-terminated, what was used to *used.
 */
static enum http_progress decode(const char *text, size_t len, size_t step,
				 char *out, size_t *used)
{
	enum http_progress got = HTTP_MORE;
	struct http_refusal refusal = {0, NULL};
	struct http_chunked c;
	size_t at = 0, n = 0, end = 0;
	struct span data;

	http_chunked_init(&c);
	while (got == HTTP_MORE && at < len) {
		size_t more;

		if (at >= end)
			end = MIN(at + step, len);
		got = http_chunked_feed(&c, text + at, end - at, &more, &data,
					&refusal);
		memcpy(out + n, data.ptr, data.len);
		n += data.len;
		at += more;
	}
	out[n] = '\0';
	if (got == HTTP_REFUSED)
		CHECK(refusal.status == 400 && refusal.text);
	else
		CHECK(c.total == n);
	*used = at;
	return got;
}

struct row {
	const char *name, *text;
	enum http_progress want;
	const char *payload;
};

static void check_rows(const struct row *rows, size_t n)
{
	char out[4096];
	size_t used;

	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(rows[i].text);

		for (size_t step = 1; step <= len; step++) {
			enum http_progress got =
			    decode(rows[i].text, len, step, out, &used);

			if (got != rows[i].want)
				fprintf(stderr, "%s: %d by %zu\n", rows[i].name,
					got, step);
			CHECK(got == rows[i].want);
			if (rows[i].payload)
				CHECK_STR(out, rows[i].payload);
		}
	}
}

static void well_formed_bodies_are_decoded(void)
{
	static const struct row rows[] = {
	    {"empty", "0\r\n\r\n", HTTP_DONE, ""},
	    {"one", "5\r\nhello\r\n0\r\n\r\n", HTTP_DONE, "hello"},
	    {"two", "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", HTTP_DONE, "hello"},
	    {"hexadecimal in both cases",
	     "a\r\n0123456789\r\nB\r\n01234567890\r\n0\r\n\r\n", HTTP_DONE,
	     "012345678901234567890"},
	    {"CRLF in the payload", "4\r\n\r\n\r\n\r\n0\r\n\r\n", HTTP_DONE,
	     "\r\n\r\n"},
	    {"leading zeros", "0000000000000005\r\nhello\r\n00\r\n\r\n",
	     HTTP_DONE, "hello"},
	    {"extensions", "5;a;b=c;d=\"e;f\"\r\nhello\r\n0;x\r\n\r\n",
	     HTTP_DONE, "hello"},
	    {"trailers", "0\r\nA: b\r\nC:\r\n\r\n", HTTP_DONE, ""},
	    {"not complete", "5\r\nhello\r\n0\r\n", HTTP_MORE, "hello"},
	};

	check_rows(rows, ARRAY_LEN(rows));
}

static void hygiene_chunks(void)
{
	static const struct row rows[] = {
	    {"0x5", "0x5\r\nhello\r\n0\r\n\r\n", HTTP_REFUSED, ""},
	    {"+5", "+5\r\nhello\r\n0\r\n\r\n", HTTP_REFUSED, ""},
	    {"-5", "-5\r\nhello\r\n0\r\n\r\n", HTTP_REFUSED, ""},
	    {" 5", " 5\r\nhello\r\n0\r\n\r\n", HTTP_REFUSED, ""},
	    {"5 ", "5 \r\nhello\r\n0\r\n\r\n", HTTP_REFUSED, ""},
	    {"5 ;a", "5 ;a\r\nhello\r\n0\r\n\r\n", HTTP_REFUSED, ""},
	    {"no size", "\r\nhello\r\n0\r\n\r\n", HTTP_REFUSED, ""},
	    {"only an extension", ";a\r\nhello\r\n0\r\n\r\n", HTTP_REFUSED, ""},
	    {"no CRLF after the data", "5\r\nhello0\r\n\r\n", HTTP_REFUSED,
	     "hello"},
	    {"other bytes after the data", "5\r\nhelloXX0\r\n\r\n",
	     HTTP_REFUSED, "hello"},
	    {"bare LF after the data", "5\r\nhello\n0\r\n\r\n", HTTP_REFUSED,
	     "hello"},
	    {"bare CR after the data", "5\r\nhello\r0\r\n\r\n", HTTP_REFUSED,
	     "hello"},
	    {"bare LF after the size", "5\nhello\r\n0\r\n\r\n", HTTP_REFUSED,
	     ""},
	    {"bare CR after the size", "5\rhello\r\n0\r\n\r\n", HTTP_REFUSED,
	     ""},
	    {"bare LF in an extension", "5;a\nhello\r\n0\r\n\r\n", HTTP_REFUSED,
	     ""},
	    {"bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n",
	     HTTP_REFUSED, ""},
	    {"control byte in an extension", "5;\001\r\nhello\r\n0\r\n\r\n",
	     HTTP_REFUSED, ""},
	    {"size past 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n",
	     HTTP_REFUSED, ""},
	    {"size past INT64_MAX", "8000000000000000\r\nhello\r\n",
	     HTTP_REFUSED, ""},
	    {"sum past INT64_MAX", "1\r\nx\r\n7fffffffffffffff\r\ny",
	     HTTP_REFUSED, "x"},
	    {"sum past 64 bits", "1\r\nx\r\nffffffffffffffff\r\ny",
	     HTTP_REFUSED, "x"},
	    {"trailer without a colon", "0\r\nA\r\n\r\n", HTTP_REFUSED, ""},
	    {"trailer with a blank before the colon", "0\r\nA : b\r\n\r\n",
	     HTTP_REFUSED, ""},
	    {"trailer without a name", "0\r\n: b\r\n\r\n", HTTP_REFUSED, ""},
	    {"folded trailer", "0\r\nA: b\r\n c\r\n\r\n", HTTP_REFUSED, ""},
	    {"bare LF in a trailer", "0\r\nA: b\n\r\n", HTTP_REFUSED, ""},
	    {"bare CR in a trailer", "0\r\nA: b\rc\r\n\r\n", HTTP_REFUSED, ""},
	    {"bare LF at the end", "0\r\n\n", HTTP_REFUSED, ""},
	    {"bare CR at the end", "0\r\n\rX", HTTP_REFUSED, ""},
	};

	check_rows(rows, ARRAY_LEN(rows));
}

static void control_bytes_are_refused(void)
{
	static const char chunk[] = "5;a\0b\r\nhello\r\n0\r\n\r\n";
	static const char trailer[] = "0\r\nA: \0\r\n\r\n";
	char out[64];
	size_t used;

	CHECK(decode(chunk, sizeof(chunk) - 1, 4, out, &used) == HTTP_REFUSED);
	CHECK(decode(trailer, sizeof(trailer) - 1, 4, out, &used) ==
	      HTTP_REFUSED);
}

static void next_request_stays_untouched(void)
{
	static const char text[] = "2\r\nok\r\n0\r\nA: b\r\n\r\nGET / ...";
	char out[64];
	size_t used;

	for (size_t step = 1; step < sizeof(text); step++) {
		CHECK(decode(text, strlen(text), step, out, &used) ==
		      HTTP_DONE);
		CHECK_STR(text + used, "GET / ...");
		CHECK_STR(out, "ok");
	}
}

/* `count` chunks, each "1;xxx...\r\nx\r\n", then the end. */
static char *with_extensions(size_t count, size_t ext)
{
	char *text = xmalloc(count * (ext + 7) + 6), *p = text;

	for (size_t i = 0; i < count; i++) {
		memcpy(p, "1;", 2);
		memset(p + 2, 'x', ext);
		memcpy(p + 2 + ext, "\r\nx\r\n", 5);
		p += ext + 7;
	}
	memcpy(p, "0\r\n\r\n", 6);
	return text;
}

static void extensions_are_bounded(void)
{
	size_t whole = HTTP_CHUNK_EXT_TOTAL / HTTP_CHUNK_EXT_MAX;
	struct {
		size_t count, ext;
		enum http_progress want;
	} rows[] = {
	    {1, HTTP_CHUNK_EXT_MAX, HTTP_DONE},
	    {1, HTTP_CHUNK_EXT_MAX + 1, HTTP_REFUSED},
	    {whole, HTTP_CHUNK_EXT_MAX, HTTP_DONE},
	    {whole + 1, HTTP_CHUNK_EXT_MAX, HTTP_REFUSED},
	};
	char out[4096];
	size_t used;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *text = with_extensions(rows[i].count, rows[i].ext);

		CHECK(decode(text, strlen(text), 100, out, &used) ==
		      rows[i].want);
		free(text);
	}
}

static void trailers_are_bounded(void)
{
	static char text[2 * HTTP_TRAILER_MAX];
	char out[64];
	size_t used;

	for (int over = 0; over <= 1; over++) {
		/* Counted: the line with its CR, and the last CR. */
		int n = HTTP_TRAILER_MAX - 5 + over;

		snprintf(text, sizeof(text), "0\r\nA: %0*d\r\n\r\n", n, 0);
		CHECK(decode(text, strlen(text), 1000, out, &used) ==
		      (over ? HTTP_REFUSED : HTTP_DONE));
	}
}

int main(void)
{
	RUN(well_formed_bodies_are_decoded);
	RUN(hygiene_chunks);
	RUN(control_bytes_are_refused);
	RUN(next_request_stays_untouched);
	RUN(extensions_are_bounded);
	RUN(trailers_are_bounded);
	return unit_done();
}
