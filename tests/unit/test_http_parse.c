/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/http_parse.h"
#include "tests/unit/unit.h"

/* Parse `text` at once; 0 is HTTP_MORE, 200 HTTP_DONE, else the refusal. */
static unsigned parse(const char *text, size_t len, struct http_head *head,
		      size_t *used)
{
	struct http_scan scan = {0};
	struct http_refusal refusal = {0, NULL};

	switch (http_head_parse(text, len, &scan, head, used, &refusal)) {
	case HTTP_MORE:
		return 0;
	case HTTP_DONE:
		return 200;
	case HTTP_REFUSED:
		break;
	}
	CHECK(refusal.text && refusal.text[0]);
	return refusal.status;
}

/* The same, a byte more each time, in a buffer that moves. */
static unsigned parse_trickling(const char *text, size_t len)
{
	struct http_scan scan = {0};
	struct http_refusal refusal = {0, NULL};
	static struct http_head head;
	size_t used;

	for (size_t n = 1; n <= len; n++) {
		char *copy = xmemdup(text, n);
		enum http_progress got =
		    http_head_parse(copy, n, &scan, &head, &used, &refusal);

		free(copy);
		if (got == HTTP_DONE)
			return 200;
		if (got == HTTP_REFUSED)
			return refusal.status;
	}
	return 0;
}

struct row {
	const char *name;
	const char *text;
	size_t len; /* 0: up to the NUL */
	unsigned want;
};

static void check_rows(const struct row *rows, size_t n)
{
	static struct http_head head;
	size_t used;

	for (size_t i = 0; i < n; i++) {
		size_t len = rows[i].len ? rows[i].len : strlen(rows[i].text);
		unsigned got = parse(rows[i].text, len, &head, &used);
		unsigned again = parse_trickling(rows[i].text, len);

		if (got != rows[i].want || again != rows[i].want)
			fprintf(stderr, "%s: %u and %u, not %u\n", rows[i].name,
				got, again, rows[i].want);
		CHECK(got == rows[i].want);
		CHECK(again == rows[i].want);
	}
}

#define PUT "PUT /put HTTP/1.1\r\nHost: h\r\n"
#define GET "GET /v2/ HTTP/1.1\r\nHost: h\r\n"
/* A literal and its length, for rows with a NUL inside. */
#define WITH_NUL(text) text, sizeof(text) - 1

static void hygiene_framing_that_could_be_read_two_ways(void)
{
	static const struct row rows[] = {
	    {"Content-Length and Transfer-Encoding",
	     PUT "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 0,
	     400},
	    {"Transfer-Encoding and Content-Length",
	     PUT "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 0,
	     400},
	    {"Content-Length and a coding we lack",
	     PUT "Transfer-Encoding: gzip\r\nContent-Length: 5\r\n\r\n", 0,
	     400},
	    {"two different Content-Length",
	     PUT "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 0, 400},
	    {"two equal Content-Length",
	     PUT "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 0, 400},
	    {"Content-Length as a list", PUT "Content-Length: 5, 5\r\n\r\n", 0,
	     400},
	    {"Content-Length with a space before the colon",
	     PUT "Content-Length : 5\r\n\r\n", 0, 400},
	    {"Content-Length with a tab before the colon",
	     PUT "Content-Length\t: 5\r\n\r\n", 0, 400},
	    {"Transfer-Encoding: xchunked",
	     PUT "Transfer-Encoding: xchunked\r\n\r\n", 0, 501},
	    {"Transfer-Encoding: identity",
	     PUT "Transfer-Encoding: identity\r\n\r\n", 0, 501},
	    {"Transfer-Encoding: gzip", PUT "Transfer-Encoding: gzip\r\n\r\n",
	     0, 501},
	    {"Transfer-Encoding: gzip, chunked",
	     PUT "Transfer-Encoding: gzip, chunked\r\n\r\n", 0, 501},
	    {"Transfer-Encoding: chunked, chunked",
	     PUT "Transfer-Encoding: chunked, chunked\r\n\r\n", 0, 501},
	    {"Transfer-Encoding: chunked;a=b",
	     PUT "Transfer-Encoding: chunked;a=b\r\n\r\n", 0, 501},
	    {"Transfer-Encoding: \"chunked\"",
	     PUT "Transfer-Encoding: \"chunked\"\r\n\r\n", 0, 501},
	    {"Transfer-Encoding twice",
	     PUT "Transfer-Encoding: chunked\r\n"
		 "Transfer-Encoding: chunked\r\n\r\n",
	     0, 400},
	    {"Transfer-Encoding: chunked and identity",
	     PUT "Transfer-Encoding: chunked\r\n"
		 "Transfer-Encoding: identity\r\n\r\n",
	     0, 400},
	    {"Transfer-Encoding empty", PUT "Transfer-Encoding:\r\n\r\n", 0,
	     400},
	    {"Transfer-Encoding empty, request in the body",
	     PUT "Transfer-Encoding: \r\n\r\nGET / HTTP/1.1\r\n\r\n", 0, 400},
	    {"Transfer-Encoding in HTTP/1.0",
	     "PUT / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
	     0, 400},
	    {"Transfer-Encoding: Chunked in any case",
	     PUT "transfer-encoding: Chunked\r\n\r\n", 0, 200},
	};

	check_rows(rows, ARRAY_LEN(rows));
}

static void hygiene_content_length_is_plain_digits(void)
{
	static const struct row rows[] = {
	    {"+5", PUT "Content-Length: +5\r\n\r\n", 0, 400},
	    {"-5", PUT "Content-Length: -5\r\n\r\n", 0, 400},
	    {"0x5", PUT "Content-Length: 0x5\r\n\r\n", 0, 400},
	    {"5 5", PUT "Content-Length: 5 5\r\n\r\n", 0, 400},
	    {"5a", PUT "Content-Length: 5a\r\n\r\n", 0, 400},
	    {"5.0", PUT "Content-Length: 5.0\r\n\r\n", 0, 400},
	    {"empty", PUT "Content-Length:\r\n\r\n", 0, 400},
	    {"quoted", PUT "Content-Length: \"5\"\r\n\r\n", 0, 400},
	    {"2^64", PUT "Content-Length: 18446744073709551616\r\n\r\n", 0,
	     400},
	    {"2^64 + 5", PUT "Content-Length: 18446744073709551621\r\n\r\n", 0,
	     400},
	    {"2^63", PUT "Content-Length: 9223372036854775808\r\n\r\n", 0, 400},
	    {"2^63 - 1", PUT "Content-Length: 9223372036854775807\r\n\r\n", 0,
	     200},
	    {"leading zeros", PUT "Content-Length: 005\r\n\r\n", 0, 200},
	    {"blanks around it", PUT "Content-Length: \t 5 \t\r\n\r\n", 0, 200},
	    {"NUL in Content-Length",
	     WITH_NUL(PUT "Content-Length: 5\0\r\n\r\n"), 400},
	};

	check_rows(rows, ARRAY_LEN(rows));
}

static void hygiene_lines_and_bytes(void)
{
	static const struct row rows[] = {
	    {"obs-fold with a space", GET "X: a\r\n b\r\n\r\n", 0, 400},
	    {"obs-fold with a tab", GET "X: a\r\n\tb\r\n\r\n", 0, 400},
	    {"fold before the first field",
	     "GET / HTTP/1.1\r\n Host: h\r\n\r\n", 0, 400},
	    {"bare LF line ends", "GET / HTTP/1.1\nHost: h\n\n", 0, 400},
	    {"bare LF after a field", "GET / HTTP/1.1\r\nHost: h\n\r\n", 0,
	     400},
	    {"bare LF as the empty line", "GET / HTTP/1.1\r\nHost: h\r\n\n", 0,
	     400},
	    {"bare CR in a value", GET "X: a\rb\r\n\r\n", 0, 400},
	    {"bare CR twice", GET "X: a\r\r\n\r\n", 0, 400},
	    {"bare CR in the request line", "GET /\r HTTP/1.1\r\n\r\n", 0, 400},
	    {"NUL in a value", WITH_NUL(GET "X: a\0b\r\n\r\n"), 400},
	    {"NUL in a name", WITH_NUL(GET "X\0: a\r\n\r\n"), 400},
	    {"NUL in the target", WITH_NUL("GET /\0 HTTP/1.1\r\n\r\n"), 400},
	    {"control byte in a value", GET "X: a\001b\r\n\r\n", 0, 400},
	    {"DEL in a value", GET "X: a\177b\r\n\r\n", 0, 400},
	    {"escape byte in the target", "GET /\033 HTTP/1.1\r\n\r\n", 0, 400},
	    {"tab in a value", GET "X: a\tb\r\n\r\n", 0, 200},
	    {"UTF-8 in a value", GET "X: \303\244\r\n\r\n", 0, 200},
	    {"no colon", GET "X\r\n\r\n", 0, 400},
	    {"no name", GET ": a\r\n\r\n", 0, 400},
	    {"blank inside a name", GET "X Y: a\r\n\r\n", 0, 400},
	    {"UTF-8 in a name", GET "X\303\244: a\r\n\r\n", 0, 400},
	    {"colon in a name's place", GET "X(Y): a\r\n\r\n", 0, 400},
	    {"a TLS hello", "\026\003\001\002", 0, 400},
	};

	check_rows(rows, ARRAY_LEN(rows));
}

static void hygiene_host(void)
{
	static const struct row rows[] = {
	    {"no Host", "GET / HTTP/1.1\r\n\r\n", 0, 400},
	    {"no Host in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", 0, 200},
	    {"two Hosts", GET "Host: i\r\n\r\n", 0, 400},
	    {"two equal Hosts", GET "Host: h\r\n\r\n", 0, 400},
	    {"two Hosts in HTTP/1.0",
	     "GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n", 0, 400},
	    {"empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 0, 400},
	    {"Host with a blank", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 0,
	     400},
	    {"Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 0, 400},
	    {"Host with a user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 0, 400},
	    {"Host with a port", "GET / HTTP/1.1\r\nHost: a:5000\r\n\r\n", 0,
	     200},
	    {"Host in IPv6", "GET / HTTP/1.1\r\nHost: [::1]:5000\r\n\r\n", 0,
	     200},
	    {"absolute-form without Host", "GET http://h/ HTTP/1.1\r\n\r\n", 0,
	     400},
	};

	check_rows(rows, ARRAY_LEN(rows));
}

static void hygiene_request_line(void)
{
	static const struct row rows[] = {
	    {"HTTP/2.0", "GET / HTTP/2.0\r\nHost: h\r\n\r\n", 0, 505},
	    {"the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0,
	     505},
	    {"HTTP/0.9 by name", "GET / HTTP/0.9\r\n\r\n", 0, 505},
	    {"HTTP/0.9, refused at its line", "GET /\r\n", 0, 400},
	    {"HTTP/1.2", "GET / HTTP/1.2\r\nHost: h\r\n\r\n", 0, 200},
	    {"HTTP/1.10", "GET / HTTP/1.10\r\nHost: h\r\n\r\n", 0, 400},
	    {"HTTP/1", "GET / HTTP/1\r\nHost: h\r\n\r\n", 0, 400},
	    {"HTTP/01.1", "GET / HTTP/01.1\r\nHost: h\r\n\r\n", 0, 400},
	    {"http/1.1", "GET / http/1.1\r\nHost: h\r\n\r\n", 0, 400},
	    {"two spaces after the method",
	     "GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 0, 400},
	    {"two spaces after the target",
	     "GET /  HTTP/1.1\r\nHost: h\r\n\r\n", 0, 400},
	    {"a space at the end", "GET / HTTP/1.1 \r\nHost: h\r\n\r\n", 0,
	     400},
	    {"a space at the start", " GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0,
	     400},
	    {"a space in the target", "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", 0,
	     400},
	    {"a tab for the space", "GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", 0,
	     400},
	    {"a method that is no token", "G(T / HTTP/1.1\r\nHost: h\r\n\r\n",
	     0, 400},
	    {"a target without a slash", "GET v2/ HTTP/1.1\r\nHost: h\r\n\r\n",
	     0, 400},
	    {"asterisk with GET", "GET * HTTP/1.1\r\nHost: h\r\n\r\n", 0, 400},
	    {"authority-form", "CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", 0,
	     400},
	    {"another scheme", "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 0,
	     400},
	    {"a user in the target",
	     "GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n", 0, 400},
	    {"no host in the target",
	     "GET http:///x HTTP/1.1\r\nHost: h\r\n\r\n", 0, 400},
	    {"a fragment", "GET /#x HTTP/1.1\r\nHost: h\r\n\r\n", 0, 400},
	    {"a backslash", "GET /\\x HTTP/1.1\r\nHost: h\r\n\r\n", 0, 400},
	    {"UTF-8 in the target", "GET /\303\244 HTTP/1.1\r\nHost: h\r\n\r\n",
	     0, 400},
	    {"one empty line before", "\r\n" GET "\r\n", 0, 200},
	    {"two empty lines before", "\r\n\r\n" GET "\r\n", 0, 400},
	    {"a bare LF before", "\n" GET "\r\n", 0, 400},
	    {"only the empty line", "\r\n", 0, 0},
	    {"not complete", GET "X: y\r\n", 0, 0},
	};

	check_rows(rows, ARRAY_LEN(rows));
}

static void hygiene_expect(void)
{
	static const struct row rows[] = {
	    {"100-continue", PUT "Expect: 100-Continue\r\n\r\n", 0, 200},
	    {"another", PUT "Expect: 200-maybe\r\n\r\n", 0, 417},
	    {"empty", PUT "Expect:\r\n\r\n", 0, 417},
	    {"one more", PUT "Expect: 100-continue, x\r\n\r\n", 0, 417},
	};

	check_rows(rows, ARRAY_LEN(rows));
}

static void known_method_is_told_from_a_lower_case_one(void)
{
	static const struct {
		const char *name;
		enum http_method want;
	} rows[] = {
	    {"GET", HTTP_GET},         {"HEAD", HTTP_HEAD},
	    {"POST", HTTP_POST},       {"PUT", HTTP_PUT},
	    {"PATCH", HTTP_PATCH},     {"DELETE", HTTP_DELETE},
	    {"OPTIONS", HTTP_OPTIONS}, {"get", HTTP_OTHER},
	    {"GETS", HTTP_OTHER},      {"TRACE", HTTP_OTHER},
	    {"OTHER", HTTP_OTHER},     {"M-SEARCH", HTTP_OTHER},
	};
	static struct http_head head;
	char text[64];
	size_t used;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		snprintf(text, sizeof(text), "%s / HTTP/1.1\r\nHost: h\r\n\r\n",
			 rows[i].name);
		CHECK(parse(text, strlen(text), &head, &used) == 200);
		CHECK(head.method == rows[i].want);
		CHECK(span_is(head.method_name, rows[i].name));
	}
	CHECK_STR(http_method_name(HTTP_PATCH), "PATCH");
	CHECK_STR(http_method_name(HTTP_OTHER), "OTHER");
}

static void head_is_cut_into_its_parts(void)
{
	static const char text[] =
	    "GET /v2/a/tags/list?n=5&last=x?y HTTP/1.1\r\n"
	    "Host: r.example:5000\r\n"
	    "Accept: a/b\r\n"
	    "X-Empty:\r\n"
	    "ACCEPT: \t c/d \t\r\n"
	    "\r\n"
	    "GET /next";
	static struct http_head head;
	struct span value;
	unsigned at = 0;
	size_t used;

	CHECK(parse(text, strlen(text), &head, &used) == 200);
	CHECK_STR(text + used, "GET /next");
	CHECK(head.method == HTTP_GET && head.minor == 1);
	CHECK(span_is(head.target, "/v2/a/tags/list?n=5&last=x?y"));
	CHECK(span_is(head.path, "/v2/a/tags/list"));
	CHECK(span_is(head.query, "n=5&last=x?y"));
	CHECK(span_is(head.host, "r.example:5000"));
	CHECK(head.n_headers == 4 && head.keep_alive);
	CHECK(!head.has_length && !head.chunked && !head.expect_continue);
	CHECK(span_is(http_head_find(&head, "accept"), "a/b"));
	CHECK(!http_head_find(&head, "accept-encoding").ptr);
	value = http_head_find(&head, "x-empty");
	CHECK(value.ptr && !value.len);
	CHECK(http_head_count(&head, "Accept") == 2);
	CHECK(http_head_next(&head, "Accept", &at, &value));
	CHECK(span_is(value, "a/b"));
	CHECK(http_head_next(&head, "Accept", &at, &value));
	CHECK(span_is(value, "c/d"));
	CHECK(!http_head_next(&head, "Accept", &at, &value));
}

static void target_forms_give_path_query_and_host(void)
{
	static const struct {
		const char *method, *target, *path, *query, *host;
	} rows[] = {
	    {"GET", "/", "/", NULL, "h"},
	    {"GET", "/?", "/", "", "h"},
	    {"GET", "//x", "//x", NULL, "h"},
	    {"GET", "/v2/%41+b", "/v2/%41+b", NULL, "h"},
	    {"GET", "http://o:1/x?y", "/x", "y", "o:1"},
	    {"GET", "HTTPS://o/x", "/x", NULL, "o"},
	    {"GET", "http://o", "/", NULL, "o"},
	    {"GET", "http://o?y", "/", "y", "o"},
	    {"GET", "/x?u=http://o/p", "/x", "u=http://o/p", "h"},
	    {"OPTIONS", "*", "*", NULL, "h"},
	    {"OPTIONS", "/x", "/x", NULL, "h"},
	};
	static struct http_head head;
	char text[128];
	size_t used;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		snprintf(text, sizeof(text),
			 "%s %s HTTP/1.1\r\nHost: h\r\n\r\n", rows[i].method,
			 rows[i].target);
		CHECK(parse(text, strlen(text), &head, &used) == 200);
		CHECK(span_is(head.path, rows[i].path));
		CHECK(span_is(head.host, rows[i].host));
		CHECK(!head.query.ptr == !rows[i].query);
		if (rows[i].query)
			CHECK(span_is(head.query, rows[i].query));
	}
}

static void connection_options_decide_on_keep_alive(void)
{
	static const struct {
		const char *version, *fields;
		bool want;
	} rows[] = {
	    {"1.1", "", true},
	    {"1.0", "", false},
	    {"1.1", "Connection: close\r\n", false},
	    {"1.1", "Connection: CLOSE\r\n", false},
	    {"1.1", "Connection: foo, close\r\n", false},
	    {"1.1", "Connection: foo\r\nConnection: ,close\r\n", false},
	    {"1.1", "Connection: closed\r\n", true},
	    {"1.0", "Connection: Keep-Alive\r\n", true},
	    {"1.0", "Connection: keep-alive, close\r\n", false},
	    {"1.9", "", true},
	};
	static struct http_head head;
	char text[128];
	size_t used;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		snprintf(text, sizeof(text),
			 "GET / HTTP/%s\r\nHost: h\r\n%s\r\n", rows[i].version,
			 rows[i].fields);
		CHECK(parse(text, strlen(text), &head, &used) == 200);
		CHECK(head.keep_alive == rows[i].want);
	}
}

static void body_of_any_method_is_framed(void)
{
	static const char *const methods[] = {"GET", "HEAD", "DELETE", "PUT"};
	static struct http_head head;
	char text[160];
	size_t used;

	for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
		snprintf(text, sizeof(text),
			 "%s / HTTP/1.1\r\nHost: h\r\nContent-Length: 28\r\n"
			 "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
			 methods[i]);
		CHECK(parse(text, strlen(text), &head, &used) == 200);
		CHECK(head.has_length && head.content_length == 28);
		CHECK(!head.chunked && !strncmp(text + used, "GET ", 4));
	}
	CHECK(parse(WITH_NUL(PUT "Transfer-Encoding: chunked\r\n\r\n"), &head,
		    &used) == 200);
	CHECK(head.chunked && !head.has_length);
}

static void expectation_counts_only_with_a_body(void)
{
	static const struct {
		const char *version, *fields;
		bool want;
	} rows[] = {
	    {"1.1", "Content-Length: 5\r\n", true},
	    {"1.1", "Transfer-Encoding: chunked\r\n", true},
	    {"1.1", "Content-Length: 0\r\n", false},
	    {"1.1", "", false},
	    {"1.0", "Content-Length: 5\r\n", false},
	};
	static struct http_head head;
	char text[160];
	size_t used;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		snprintf(text, sizeof(text),
			 "PUT / HTTP/%s\r\nHost: h\r\n%s"
			 "Expect: 100-continue\r\n\r\n",
			 rows[i].version, rows[i].fields);
		CHECK(parse(text, strlen(text), &head, &used) == 200);
		CHECK(head.expect_continue == rows[i].want);
	}
}

/* A head of `total` bytes whose request line has `line` of them. */
static char *long_head(size_t line, size_t total)
{
	static const char after[] = " HTTP/1.1\r\nHost: h\r\nX: ";
	char *text = xmalloc(total);
	size_t before = line - strlen(" HTTP/1.1\r\n");

	memset(text, 'x', total);
	memcpy(text, "GET /", 5);
	memcpy(text + before, after, strlen(after));
	memcpy(text + total - 4, "\r\n\r\n", 4);
	return text;
}

static void limits_are_met_to_the_byte(void)
{
	static const struct {
		size_t line, total;
		unsigned want, want_without_end;
	} rows[] = {
	    {100, HTTP_HEAD_MAX, 200, 0},
	    {100, HTTP_HEAD_MAX + 1, 431, 431},
	    {100, 100 * 1024, 431, 431},
	    {HTTP_REQUEST_LINE_MAX, 20000, 200, 0},
	    {HTTP_REQUEST_LINE_MAX + 1, 20000, 414, 414},
	    {60000, 61000, 414, 414},
	    {99000, 100000, 414, 414},
	};
	static struct http_head head;
	size_t used;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		size_t total = rows[i].total;
		char *text = long_head(rows[i].line, total);

		CHECK(parse(text, total, &head, &used) == rows[i].want);
		CHECK(parse(text, total - 1, &head, &used) ==
		      rows[i].want_without_end);
		CHECK(parse_trickling(text, MIN(total, 17000)) ==
		      (rows[i].want == 414 ? 414 : 0));
		free(text);
	}
}

static void fields_are_counted(void)
{
	static struct http_head head;
	char text[4096];
	size_t used;

	for (unsigned n = HTTP_HEADERS_MAX - 1; n <= HTTP_HEADERS_MAX; n++) {
		size_t len = (size_t)snprintf(text, sizeof(text), GET);

		for (unsigned i = 0; i < n; i++)
			len += (size_t)snprintf(text + len, sizeof(text) - len,
						"X%u: y\r\n", i);
		len += (size_t)snprintf(text + len, sizeof(text) - len, "\r\n");
		CHECK(parse(text, len, &head, &used) ==
		      (n < HTTP_HEADERS_MAX ? 200 : 431));
	}
}

static void search_goes_on_where_it_stopped(void)
{
	static const char text[] = GET "X: y\r\n\r\n";
	struct http_scan scan = {0};
	struct http_refusal refusal;
	static struct http_head head;
	size_t used, half = 30;

	CHECK(http_head_parse(text, half, &scan, &head, &used, &refusal) ==
	      HTTP_MORE);
	CHECK(scan.at == half);
	CHECK(scan.line_end == strlen("GET /v2/ HTTP/1.1\r\n"));
	CHECK(http_head_parse(text, strlen(text), &scan, &head, &used,
			      &refusal) == HTTP_DONE);
	CHECK(used == strlen(text) && head.n_headers == 2);
}

int main(void)
{
	RUN(hygiene_framing_that_could_be_read_two_ways);
	RUN(hygiene_content_length_is_plain_digits);
	RUN(hygiene_lines_and_bytes);
	RUN(hygiene_host);
	RUN(hygiene_request_line);
	RUN(hygiene_expect);
	RUN(known_method_is_told_from_a_lower_case_one);
	RUN(head_is_cut_into_its_parts);
	RUN(target_forms_give_path_query_and_host);
	RUN(connection_options_decide_on_keep_alive);
	RUN(body_of_any_method_is_framed);
	RUN(expectation_counts_only_with_a_body);
	RUN(limits_are_met_to_the_byte);
	RUN(fields_are_counted);
	RUN(search_goes_on_where_it_stopped);
	return unit_done();
}
