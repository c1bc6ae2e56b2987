/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/environment_proxy.h"
#include "tests/unit/unit.h"

static void no_proxy_is_read_as_curl_does(void)
{
	static const struct {
		const char *list, *host;
		bool excluded;
	} rows[] = {
	    {"*", "any.example", true},
	    {"*,x", "any.example", false},
	    {"example.com", "example.com", true},
	    {"example.com", "EXAMPLE.com", true},
	    {"example.com", "www.example.com", true},
	    {"example.com", "nonexample.com", false},
	    {".example.com", "www.example.com", true},
	    {".example.com", "example.com", true},
	    {"example.com.", "example.com", true},
	    {"example.com", "example.com.", true},
	    {"www.example.com", "example.com", false},
	    {"a,b , example.com", "example.com", true},
	    {"a b\texample.com", "example.com", true},
	    {",,example.com,,", "example.com", true},
	    {"", "example.com", false},
	    {".", "example.com", false},
	    {"10.0.0.1", "10.0.0.1", true},
	    {"10.0.0.1", "10.0.0.10", false},
	    {"10.0.0.0/8", "10.200.3.4", true},
	    {"10.0.0.0/8", "11.0.0.1", false},
	    {"192.168.4.0/22", "192.168.7.255", true},
	    {"192.168.4.0/22", "192.168.8.0", false},
	    {"10.0.0.0/33", "10.0.0.0", false},
	    {"10.0.0.0/x", "10.0.0.0", false},
	    {"10.0.0.0/", "10.0.0.0", false},
	    {"10.0.0.0/8", "10.example", false},
	    {"0.1", "10.0.0.1", false},
	    {"::1", "::1", true},
	    {"[::1]", "::1", true},
	    {"fd00::/8", "fd12::9", true},
	    {"fd00::/8", "fe12::9", false},
	    {"fd00::/8", "10.0.0.1", false},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		bool got =
		    proxy_environment_excludes(rows[i].list, rows[i].host, 443);

		if (got != rows[i].excluded)
			fprintf(stderr, "%s %s\n", rows[i].list, rows[i].host);
		CHECK(got == rows[i].excluded);
	}
}

static void a_port_narrows_an_entry(void)
{
	CHECK(proxy_environment_excludes("a.b:5000", "a.b", 5000));
	CHECK(!proxy_environment_excludes("a.b:5000", "a.b", 443));
	CHECK(!proxy_environment_excludes("a.b:", "a.b", 443));
	CHECK(proxy_environment_excludes("10.0.0.1:80", "10.0.0.1", 80));
	CHECK(!proxy_environment_excludes("10.0.0.1:80", "10.0.0.1", 81));
	CHECK(proxy_environment_excludes("[::1]:80", "::1", 80));
	CHECK(!proxy_environment_excludes("[::1]:80", "::1", 81));
}

static void the_scheme_chooses_the_variable(void)
{
	struct proxy_environment env = {"h", "s", "a", "skip.me"};

	CHECK_STR(proxy_environment_pick(&env, false, "x", 80), "h");
	CHECK_STR(proxy_environment_pick(&env, true, "x", 443), "s");
	CHECK(!proxy_environment_pick(&env, true, "skip.me", 443));
	env.http = env.https = NULL;
	CHECK_STR(proxy_environment_pick(&env, false, "x", 80), "a");
	CHECK_STR(proxy_environment_pick(&env, true, "x", 443), "a");
	env.all = env.no = NULL;
	CHECK(!proxy_environment_pick(&env, true, "x", 443));
}

static void variables_are_read_lower_case_first(void)
{
	struct proxy_environment env;

	setenv("http_proxy", "", 1);
	setenv("HTTP_PROXY", "http://cgi.example", 1);
	setenv("https_proxy", "http://lower.example", 1);
	setenv("HTTPS_PROXY", "http://upper.example", 1);
	setenv("all_proxy", "", 1);
	setenv("ALL_PROXY", "socks5://all.example", 1);
	unsetenv("no_proxy");
	setenv("NO_PROXY", "x", 1);
	proxy_environment_read(&env);
	CHECK(!env.http);
	CHECK_STR(env.https, "http://lower.example");
	CHECK_STR(env.all, "socks5://all.example");
	CHECK_STR(env.no, "x");
}

static void proxy_urls_are_taken_apart(void)
{
	static const struct {
		const char *text;
		bool web_port;
		const char *host, *told;
		unsigned port;
	} rows[] = {
	    {"p.example", false, "p.example", "http://p.example:1080", 1080},
	    {"p.example:3128", false, "p.example", "http://p.example:3128",
	     3128},
	    {"http://P.example/", false, "p.example", "http://p.example:1080",
	     1080},
	    {"http://p.example", true, "p.example", "http://p.example:80", 80},
	    {"https://p.example", true, "p.example", "https://p.example:443",
	     443},
	    {"http://u:p%40@p.example:8", false, "p.example",
	     "http://u:p%40@p.example:8", 8},
	    {"http://u:a@b@p.example:8", false, "p.example",
	     "http://u:a@b@p.example:8", 8},
	    {"socks5://p.example", true, "p.example",
	     "socks5h://p.example:1080", 1080},
	    {"socks4://p.example:9", false, "p.example",
	     "socks4a://p.example:9", 9},
	    {"http://[::1]:3128", false, "::1", "http://[::1]:3128", 3128},
	};
	static const char *const bad[] = {
	    "",
	    "http://",
	    "ftp://p",
	    "http://p:0",
	    "http://p:",
	    "http://p:70000",
	    "http://p:80x",
	    "http://[::1",
	    "http://a b",
	    "http://p\r\n",
	    "http://[::1]80",
	    "http://a b@p",
	    "http://a\tb@p:1",
	};
	struct proxy_url url;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CHECK(proxy_url_parse(rows[i].text, rows[i].web_port, &url) ==
		      ERR_OK);
		CHECK_STR(url.host, rows[i].host);
		CHECK_STR(url.text, rows[i].told);
		CHECK(url.port == rows[i].port);
		proxy_url_release(&url);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK(proxy_url_parse(bad[i], false, &url) == ERR_INVALID);
}

int main(void)
{
	RUN(no_proxy_is_read_as_curl_does);
	RUN(a_port_narrows_an_entry);
	RUN(the_scheme_chooses_the_variable);
	RUN(variables_are_read_lower_case_first);
	RUN(proxy_urls_are_taken_apart);
	return unit_done();
}
