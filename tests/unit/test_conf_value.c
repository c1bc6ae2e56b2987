/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/conf_value.h"

#include <arpa/inet.h>

#include "tests/unit/unit.h"

static void durations(void)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = {
	    {"250ms", 250},
	    {"0s", 0},
	    {"90s", 90000},
	    {"5m", 300000},
	    {"24h", 86400000},
	    {"7d", 604800000},
	    {"36500d", CONF_DURATION_MAX_MS},
	};
	static const char *const bad[] = {
	    "",
	    "s",
	    "5",
	    "5 s",
	    " 5s",
	    "5s ",
	    "-5s",
	    "+5s",
	    "1.5s",
	    "5S",
	    "5M",
	    "1h30m",
	    "5sec",
	    "0x5s",
	    "36501d",
	    "18446744073709551616ms",
	    "18446744073709551615d",
	};
	uint64_t ms;

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		ms = 1;
		CHECK(conf_duration_parse(good[i].text, &ms));
		CHECK(ms == good[i].ms);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		ms = 77;
		CHECK(!conf_duration_parse(bad[i], &ms));
		CHECK(ms == 77);
	}
}

static void sizes(void)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
	    {"0", 0},
	    {"1024", 1024},
	    {"64K", 65536},
	    {"4M", 4 * MIB},
	    {"10G", 10 * GIB},
	    {"1T", 1024 * GIB},
	    {"8191P", 8191 * MIB * GIB},
	    {"9223372036854775807", INT64_MAX},
	};
	static const char *const bad[] = {
	    "",
	    "K",
	    "10k",
	    "10GB",
	    "10GiB",
	    "-1",
	    "1.5G",
	    " 1G",
	    "8192P",
	    "9223372036854775808",
	    "18446744073709551616",
	    "99999999999999999999G",
	};
	uint64_t bytes;

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		bytes = 1;
		CHECK(conf_size_parse(good[i].text, &bytes));
		CHECK(bytes == good[i].bytes);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		bytes = 77;
		CHECK(!conf_size_parse(bad[i], &bytes));
		CHECK(bytes == 77);
	}
}

static void listen_addresses(void)
{
	static const char *const bad[] = {
	    "",
	    "5000",
	    ":5000",
	    "127.0.0.1",
	    "127.0.0.1:",
	    "127.0.0.1:65536",
	    "127.0.0.1:5000x",
	    "[::1]",
	    "[::1]:",
	    "::1:5000",
	    "[::1]5000",
	    "host.example:5000",
	    "256.0.0.1:1",
	    "127.0.0.1:+5",
	    "127.0.0.1: 5",
	    "[127.0.0.1]:5",
	    "[::1:5000",
	};
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct conf_listen l;

	CHECK(conf_listen_parse("127.0.0.1:5000", &l));
	memcpy(&v4, &l.addr, sizeof(v4));
	CHECK(l.addr_len == sizeof(v4) && v4.sin_family == AF_INET);
	CHECK(v4.sin_port == htons(5000));
	CHECK(v4.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
	conf_listen_release(&l);

	CHECK(conf_listen_parse("localhost:0", &l));
	memcpy(&v4, &l.addr, sizeof(v4));
	CHECK(v4.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
	CHECK(v4.sin_port == 0);
	conf_listen_release(&l);

	CHECK(conf_listen_parse("[::]:65535", &l));
	memcpy(&v6, &l.addr, sizeof(v6));
	CHECK(l.addr_len == sizeof(v6) && v6.sin6_family == AF_INET6);
	CHECK(v6.sin6_port == htons(65535));
	CHECK(IN6_IS_ADDR_UNSPECIFIED(&v6.sin6_addr));
	conf_listen_release(&l);

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK(!conf_listen_parse(bad[i], &l));
}

static void urls_are_normalised(void)
{
	static const struct {
		const char *text, *normal, *host, *path;
		uint16_t port;
	} good[] = {
	    {"https://a.example", "https://a.example", "a.example", "", 443},
	    {"HTTPS://A.Example:443/", "https://a.example", "a.example", "",
	     443},
	    {"http://a.example:443", "http://a.example:443", "a.example", "",
	     443},
	    {"http://a:5000/x/y/", "http://a:5000/x/y", "a", "/x/y", 5000},
	    {"http://[::1]:80", "http://[::1]", "::1", "", 80},
	    {"https://10.0.0.1/v2%2Fx", "https://10.0.0.1/v2%2Fx", "10.0.0.1",
	     "/v2%2Fx", 443},
	};
	struct conf_url url;

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		CHECK(conf_url_parse(good[i].text, "http https", &url));
		CHECK_STR(url.text, good[i].normal);
		CHECK_STR(url.host, good[i].host);
		CHECK_STR(url.path, good[i].path);
		CHECK(url.port == good[i].port);
		CHECK(url.https == (strcmp(url.scheme, "https") == 0));
		conf_url_release(&url);
	}
}

static void urls_with_more_than_a_place_are_refused(void)
{
	static const char *const bad[] = {
	    "",
	    "a.example",
	    "://a",
	    "https:/a",
	    "https://",
	    "https:///x",
	    "ftp://a",
	    "socks5://a",
	    "http https://a",
	    "https://user@a",
	    "https://user:secret@a",
	    "https://a?x",
	    "https://a/x?y",
	    "https://a/#x",
	    "https://a:0",
	    "https://a:",
	    "https://a:65536",
	    "https://a b",
	    "https://a//",
	    "https://a//b",
	    "https://a/../b",
	    "https://a/./b",
	    "https://a/x\\y",
	    "https://a/x\ny",
	    "https://-a",
	    "https://[::1",
	    "https://[10.0.0.1]",
	    "https://::1/",
	};
	struct conf_url url;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK(!conf_url_parse(bad[i], "http https", &url));
}

/* The address `text` as a sockaddr. */
static const struct sockaddr *addr_of(const char *text)
{
	static union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} a;

	memset(&a, 0, sizeof(a));
	if (inet_pton(AF_INET, text, &a.v4.sin_addr) == 1)
		a.any.sa_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &a.v6.sin6_addr) == 1)
		a.any.sa_family = AF_INET6;
	return &a.any;
}

static void redirect_targets(void)
{
	static const struct {
		const char *allow, *host;
		uint16_t port;
		const char *addr; /* NULL: only the name is known */
		bool want;
	} rows[] = {
	    {"cdn.example", "cdn.example", 443, "10.0.0.1", true},
	    {"CDN.example", "cdn.example", 443, NULL, true},
	    {"cdn.example", "a.cdn.example", 443, NULL, false},
	    {"cdn.example:9000", "cdn.example", 9000, NULL, true},
	    {"cdn.example:9000", "cdn.example", 443, NULL, false},
	    {"cdn.example:443", "cdn.example", 80, NULL, false},
	    {"*.cdn.example", "a.b.cdn.example", 80, NULL, true},
	    {"*.cdn.example", "cdn.example", 80, NULL, false},
	    {"*.cdn.example", "xcdn.example", 80, NULL, false},
	    {"*.cdn.example", ".cdn.example", 80, NULL, false},
	    {"10.0.0.0/8", "any.example", 80, "10.255.0.1", true},
	    {"10.0.0.0/8", "any.example", 80, "11.0.0.1", false},
	    {"10.0.0.0/8", "any.example", 80, NULL, false},
	    {"10.0.0.0/8", "10.1.2.3", 80, NULL, true},
	    {"10.0.0.0/8", "any.example", 80, "::ffff:10.1.2.3", true},
	    {"10.0.0.0/8", "any.example", 80, "a00::1", false},
	    {"192.0.2.128/25", "x", 80, "192.0.2.200", true},
	    {"192.0.2.128/25", "x", 80, "192.0.2.127", false},
	    {"0.0.0.0/0", "x", 80, "203.0.113.9", true},
	    {"192.0.2.7", "x", 80, "192.0.2.7", true},
	    {"192.0.2.7", "x", 80, "192.0.2.8", false},
	    {"192.0.2.7:80", "x", 81, "192.0.2.7", false},
	    {"fd00::/8", "x", 80, "fd12::1", true},
	    {"fd00::/8", "x", 80, "fe80::1", false},
	    {"::1", "x", 80, "::1", true},
	    {"[::1]:5000", "x", 5000, "::1", true},
	    {"[::1]:5000", "x", 5001, "::1", false},
	};
	static const char *const bad[] = {
	    "",
	    "*",
	    "*.",
	    "a/8",
	    "10.0.0.0/33",
	    "10.0.0.1/8",
	    "fd00::/129",
	    "10.0.0.0/",
	    "*.10.0.0.1",
	    "http://a",
	    "a:0",
	    "a b",
	    "10.0.0.0/8:80",
	};
	struct conf_allow allow;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CHECK(conf_allow_parse(rows[i].allow, &allow));
		if (conf_allow_matches(&allow, rows[i].host, rows[i].port,
				       rows[i].addr ? addr_of(rows[i].addr)
						    : NULL) != rows[i].want) {
			fprintf(stderr, "row %zu: %s\n", i, rows[i].allow);
			CHECK(!"the wanted answer");
		}
		conf_allow_release(&allow);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK(!conf_allow_parse(bad[i], &allow));
}

int main(void)
{
	RUN(durations);
	RUN(sizes);
	RUN(listen_addresses);
	RUN(urls_are_normalised);
	RUN(urls_with_more_than_a_place_are_refused);
	RUN(redirect_targets);
	return unit_done();
}
