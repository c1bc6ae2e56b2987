/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/http_url.h"
#include "tests/unit/unit.h"

static void urls_have_a_normal_form(void)
{
	static const struct {
		const char *text, *want, *host;
		unsigned port;
	} rows[] = {
	    {"https://A.Example", "https://a.example/", "a.example", 443},
	    {"HTTP://a:80/x", "http://a/x", "a", 80},
	    {"http://a:443/x", "http://a:443/x", "a", 443},
	    {"http://a:/x", "http://a/x", "a", 80},
	    {" http://a/x ", "http://a/x", "a", 80},
	    {"https://a.b.?q=/", "https://a.b/?q=/", "a.b", 443},
	    {"https://a/p?x=1&y=%20#frag", "https://a/p?x=1&y=%20", "a", 443},
	    {"https://a/b c|\xc3\xa9", "https://a/b%20c%7C%C3%A9", "a", 443},
	    {"https://my_bucket.s3.example/", "https://my_bucket.s3.example/",
	     "my_bucket.s3.example", 443},
	    {"http://127.0.0.1:5000/", "http://127.0.0.1:5000/", "127.0.0.1",
	     5000},
	    {"http://[::1]:5000/", "http://[::1]:5000/", "::1", 5000},
	    {"http://[2001:DB8:0:0::1]/a", "http://[2001:db8::1]/a",
	     "2001:db8::1", 80},
	    {"http://a?q", "http://a/?q", "a", 80},
	};
	struct http_url url;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CHECK(http_url_parse(span_of(rows[i].text), &url) == ERR_OK);
		CHECK_STR(url.text, rows[i].want);
		CHECK_STR(url.host, rows[i].host);
		CHECK(url.port == rows[i].port);
		http_url_release(&url);
	}
}

static void what_readers_disagree_on_is_refused(void)
{
	static const char *const bad[] = {
	    "",
	    "a.example/x",
	    "/x",
	    "ftp://a/",
	    "file:///etc/passwd",
	    "http:a",
	    "http:///x",
	    "http://",
	    "http://u@a/",
	    "http://u:p@a/",
	    "http://a\\@b/",
	    "http://a\\b",
	    "http://a b/",
	    "http://a:0/",
	    "http://a:65536/",
	    "http://a:8x/",
	    "http://a:80:80/",
	    "http://[::1/",
	    "http://[::1]x/",
	    "http://[fe80::1%25lo]/",
	    "http://127.1/",
	    "http://2130706433/",
	    "http://0x7f000001/",
	    "http://0x7f.1/",
	    "http://1.2.3.4.5/",
	    "http://0177.0.0.1/",
	    "http://a..b/",
	    "http://.a/",
	    "http://-a/",
	    "http://a%2eb/",
	    "http://a/x\r\nHost: b",
	    "http://a/\x01",
	    "http://\xc3\xa9.example/",
	};
	struct http_url url;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		bool refused =
		    http_url_parse(span_of(bad[i]), &url) == ERR_INVALID;

		if (!refused)
			fprintf(stderr, "%s\n", bad[i]);
		CHECK(refused);
	}
	CHECK(http_url_parse((struct span){"http://a/\0b", 11}, &url) ==
	      ERR_INVALID);
}

static void too_long_is_too_big(void)
{
	static char text[HTTP_URL_MAX + 2];
	struct http_url url;

	memset(text, 'a', sizeof(text) - 1);
	memcpy(text, "http://a/", 9);
	CHECK(http_url_parse(span_of(text), &url) == ERR_TOO_BIG);
}

static void references_are_relative_to_a_base(void)
{
	static const struct {
		const char *ref, *want;
	} rows[] = {
	    {"http://b/x", "http://b/x"},
	    {"//b:9/x", "https://b:9/x"},
	    {"/x?y", "https://a:5/x?y"},
	    {"x", "https://a:5/p/x"},
	    {"x?y=http://z", "https://a:5/p/x?y=http://z"},
	    {"?y", "https://a:5/p/q?y"},
	    {"./x:y", "https://a:5/p/./x:y"},
	    {"x#f", "https://a:5/p/x"},
	};
	static const char *const bad[] = {
	    "", "#f", "ftp://x", "data:x", "javascript:x", "//u@b/", "x\ny"};
	struct http_url base, url;

	CHECK(http_url_parse(span_of("https://a:5/p/q?r=/s"), &base) == ERR_OK);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CHECK(http_url_join(&base, span_of(rows[i].ref), &url) ==
		      ERR_OK);
		CHECK_STR(url.text, rows[i].want);
		http_url_release(&url);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK(http_url_join(&base, span_of(bad[i]), &url) ==
		      ERR_INVALID);
	http_url_release(&base);
}

static bool same(const char *a, const char *b)
{
	struct http_url one, two;
	bool yes;

	if (http_url_parse(span_of(a), &one) ||
	    http_url_parse(span_of(b), &two))
		return false;
	yes = http_url_same_origin(&one, &two);
	http_url_release(&one);
	http_url_release(&two);
	return yes;
}

static void origins_are_scheme_host_and_port(void)
{
	CHECK(same("https://a/x", "https://A:443/y"));
	CHECK(!same("https://a", "http://a:443"));
	CHECK(!same("http://a", "http://a:81"));
	CHECK(!same("http://a", "http://b"));
}

static void values_are_escaped(void)
{
	char *text = http_url_escape("a b&c=d/:+~\xff");

	CHECK_STR(text, "a%20b%26c%3Dd%2F%3A%2B~%FF");
	free(text);
}

int main(void)
{
	RUN(urls_have_a_normal_form);
	RUN(what_readers_disagree_on_is_refused);
	RUN(too_long_is_too_big);
	RUN(references_are_relative_to_a_base);
	RUN(origins_are_scheme_host_and_port);
	RUN(values_are_escaped);
	return unit_done();
}
