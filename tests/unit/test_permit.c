/* SPDX-License-Identifier: Apache-2.0 */
/* What of a request tells that it is from this machine, and which origins
 * count; the rest is tested over HTTP. */
#include "proxy/cors.h"
#include "proxy/permit.h"

#include "tests/unit/unit.h"

static void hosts_of_this_machine(void)
{
	static const char *const good[] = {
	    "localhost",      "LocalHost:5000",       "127.0.0.1",
	    "127.0.0.1:5000", "127.255.0.9:1",        "[::1]",
	    "[::1]:80",       "[::ffff:127.0.0.1]:1",
	};
	static const char *const bad[] = {
	    "",
	    "localhost.example",
	    "localhost.",
	    "example.localhost:5000",
	    "[localhost]",
	    "[127.0.0.1",
	    "128.0.0.1",
	    "0.0.0.0:5000",
	    "192.0.2.1:5000",
	    "127.1",
	    "0177.0.0.1",
	    "2130706433",
	    "127.0.0.1.example",
	    "[::]",
	    "[::2]:80",
	    "[::ffff:192.0.2.1]",
	    "[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0001]",
	    "registry:5000",
	};

	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		CHECK(permit_host_is_loopback(span_of(good[i])));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK(!permit_host_is_loopback(span_of(bad[i])));
}

static struct http_head parsed(const char *text)
{
	struct http_refusal refusal;
	struct http_scan scan = {0};
	struct http_head head;
	size_t used;

	CHECK(http_head_parse(text, strlen(text), &scan, &head, &used,
			      &refusal) == HTTP_DONE);
	return head;
}

#define FRONT "PUT /v2/a/manifests/1 HTTP/1.1\r\nHost: localhost:5000\r\n"

static void heads_that_nobody_has_passed_on(void)
{
	static const struct {
		const char *text;
		bool direct;
	} rows[] = {
	    {FRONT "\r\n", true},
	    {FRONT "X-Forward: 1\r\nX-Real: 1\r\nViable: 1\r\n\r\n", true},
	    {"PUT / HTTP/1.0\r\nHost: localhost\r\n\r\n", false},
	    {"PUT / HTTP/1.0\r\n\r\n", false},
	    {"PUT / HTTP/1.1\r\nHost: registry.example\r\n\r\n", false},
	    {"PUT http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", true},
	    {"PUT http://localhost/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
	     false},
	    {"PUT http://a.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
	     false},
	    {FRONT "Forwarded: for=192.0.2.1\r\n\r\n", false},
	    {FRONT "x-forwarded-for: 192.0.2.1\r\n\r\n", false},
	    {FRONT "X-Forwarded-Proto: http\r\n\r\n", false},
	    {FRONT "X-FORWARDED-anything:\r\n\r\n", false},
	    {FRONT "X-Real-IP: 127.0.0.1\r\n\r\n", false},
	    {FRONT "Via: 1.1 proxy\r\n\r\n", false},
	    {FRONT "A: b\r\nvia:\r\n\r\n", false},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct http_head head = parsed(rows[i].text);

		if (!permit_head_doubt(&head) != rows[i].direct)
			fprintf(stderr, "%s", rows[i].text);
		CHECK(!permit_head_doubt(&head) == rows[i].direct);
	}
}

static void origins_are_compared_whole(void)
{
	char *list[] = {(char[]){"https://ui.example"},
			(char[]){"http://127.0.0.1:8080"}};
	struct conf conf = {.cors.origins = {list, 2}};
	char *any[] = {(char[]){"*"}};
	char longest[CORS_ORIGIN_MAX + 2];

	CHECK(cors_allows(&conf, span_of("https://ui.example")));
	CHECK(cors_allows(&conf, span_of("http://127.0.0.1:8080")));
	CHECK(!cors_allows(&conf, span_of("http://ui.example")));
	CHECK(!cors_allows(&conf, span_of("https://ui.example:8443")));
	CHECK(!cors_allows(&conf, span_of("https://ui.example.evil")));
	CHECK(!cors_allows(&conf, span_of("https://evil-ui.example")));
	CHECK(!cors_allows(&conf, span_of("null")));
	CHECK(!cors_allows(&conf, span_of("")));
	conf.cors.origins.n = 0;
	CHECK(!cors_allows(&conf, span_of("https://ui.example")));

	conf.cors.origins = (struct conf_strings){any, 1};
	CHECK(cors_allows(&conf, span_of("https://any.example")));
	CHECK(!cors_allows(&conf, span_of("")));
	CHECK(!cors_allows(&conf, span_of("https://a b")));
	memset(longest, 'a', sizeof(longest));
	CHECK(!cors_allows(&conf, (struct span){longest, CORS_ORIGIN_MAX + 1}));
	CHECK(cors_allows(&conf, (struct span){longest, CORS_ORIGIN_MAX}));
}

int main(void)
{
	RUN(hosts_of_this_machine);
	RUN(heads_that_nobody_has_passed_on);
	RUN(origins_are_compared_whole);
	return unit_done();
}
