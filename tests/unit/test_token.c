/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/upstream_token.h"
#include "tests/unit/unit.h"

/* "token|seconds", or what is wrong. */
static const char *parsed(const char *body)
{
	static char text[256];
	struct why why = {{0}};
	uint64_t seconds;
	char *token;

	if (token_answer_parse(body, strlen(body), &token, &seconds, &why))
		return "none";
	snprintf(text, sizeof(text), "%s|%" PRIu64, token, seconds);
	free(token);
	return text;
}

static void answers_of_token_servers(void)
{
	static const struct {
		const char *body, *want;
	} rows[] = {
	    {"{\"token\": \"t\"}", "t|60"},
	    {"{\"access_token\": \"a\"}", "a|60"},
	    {"{\"token\": \"t\", \"access_token\": \"a\"}", "a|60"},
	    {"{\"token\": \"t\", \"access_token\": \"\"}", "t|60"},
	    {"{\"token\": \"t\", \"access_token\": null}", "t|60"},
	    {"{\"token\": \"t\", \"expires_in\": 300}", "t|300"},
	    {"{\"token\": \"t\", \"expires_in\": 59}", "t|60"},
	    {"{\"token\": \"t\", \"expires_in\": 0}", "t|60"},
	    {"{\"token\": \"t\", \"expires_in\": -5}", "t|60"},
	    {"{\"token\": \"t\", \"expires_in\": 90.5}", "t|90"},
	    {"{\"token\": \"t\", \"expires_in\": \"300\"}", "t|60"},
	    {"{\"token\": \"t\", \"expires_in\": 1e300}", "t|604800"},
	    {"{\"token\": \"t\", \"issued_at\": \"1999\"}", "t|60"},
	    {"", "none"},
	    {"[]", "none"},
	    {"{}", "none"},
	    {"{\"token\": \"\"}", "none"},
	    {"{\"token\": 5}", "none"},
	    {"{\"token\": \"a b\"}", "none"},
	    {"{\"token\": \"a\\r\\nX: y\"}", "none"},
	    {"{\"token\": \"a\\u0000b\"}", "none"},
	    {"{\"token\": \"\xc3\xa9\"}", "none"},
	    {"{\"token\": \"t\"", "none"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		CHECK_STR(parsed(rows[i].body), rows[i].want);
}

static char *get_url(const char *realm, const char *service, const char *scope,
		     const struct credential *cred)
{
	struct http_url url;
	char *text;

	if (http_url_parse(span_of(realm), &url))
		return xstrdup("?");
	text = token_get_url(&url, service, scope, cred);
	http_url_release(&url);
	return text;
}

static void get_asks_with_a_query(void)
{
	static char user[] = "me@x";
	struct credential cred = {.username = user};
	char *text;

	text = get_url("https://a/t", "s t", "repository:a/b:pull", NULL);
	CHECK_STR(text, "https://a/t?service=s%20t&scope="
			"repository%3Aa%2Fb%3Apull");
	free(text);
	text = get_url("https://a/t?x=y", "", " one  two ", &cred);
	CHECK_STR(text, "https://a/t?x=y&scope=one&scope=two&account=me%40x");
	free(text);
	text = get_url("https://a/t", "", "", NULL);
	CHECK_STR(text, "https://a/t");
	free(text);
}

static void post_asks_with_a_form(void)
{
	static char user[] = "u", password[] = "p&w", refresh[] = "r+t";
	struct credential login = {.username = user, .password = password};
	struct credential identity = {.username = user,
				      .identity_token = refresh};
	char *text;

	text = token_post_form("s", "a b", &login);
	CHECK_STR(text, "grant_type=password&username=u&password=p%26w&"
			"service=s&client_id=entrepot&scope=a%20b");
	free(text);
	text = token_post_form("s", "", &identity);
	CHECK_STR(text, "grant_type=refresh_token&refresh_token=r%2Bt&"
			"service=s&client_id=entrepot");
	free(text);
}

static void basic_is_base64(void)
{
	static const struct {
		const char *user, *password, *want;
	} rows[] = {
	    {"", "", "Basic Og=="},
	    {"a", "", "Basic YTo="},
	    {"a", "b", "Basic YTpi"},
	    {"Aladdin", "open sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
	    {"\xff\xfe", "\xfd", "Basic //46/Q=="},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *text = credential_basic(rows[i].user, rows[i].password);

		CHECK_STR(text, rows[i].want);
		free(text);
	}
}

static bool trusted(const struct conf_upstream *conf, const char *own,
		    const char *realm)
{
	struct http_url a, b;
	bool yes;

	if (http_url_parse(span_of(own), &a))
		return false;
	if (http_url_parse(span_of(realm), &b)) {
		http_url_release(&a);
		return false;
	}
	yes = token_realm_trusted(conf, &a, &b);
	http_url_release(&a);
	http_url_release(&b);
	return yes;
}

static void realms_are_trusted_by_host(void)
{
	static char hub[] = "auth.docker.io", port[] = "auth.corp:8443";
	char *hosts[] = {hub, port};
	struct conf_upstream conf = {.token_realms = {hosts, 2}};
	const char *own = "https://registry-1.docker.io/v2/";

	CHECK(trusted(&conf, own, "https://registry-1.docker.io/token"));
	CHECK(trusted(&conf, own, "https://REGISTRY-1.docker.io:444/token"));
	CHECK(trusted(&conf, own, "https://auth.docker.io/token"));
	CHECK(trusted(&conf, own, "https://auth.corp:8443/token"));
	CHECK(!trusted(&conf, own, "https://auth.corp/token"));
	CHECK(!trusted(&conf, own, "https://docker.io/token"));
	CHECK(!trusted(&conf, own, "https://auth.docker.io.evil/token"));
	CHECK(!trusted(&conf, own, "https://evil/auth.docker.io"));
}

int main(void)
{
	RUN(answers_of_token_servers);
	RUN(get_asks_with_a_query);
	RUN(post_asks_with_a_form);
	RUN(basic_is_base64);
	RUN(realms_are_trusted_by_host);
	return unit_done();
}
