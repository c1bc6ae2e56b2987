/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/http_challenge.h"
#include "tests/unit/unit.h"

/* Up to two fields; the outcome as "Scheme|realm|service|scope|error". */
static const char *outcome(const char *one, const char *two)
{
	static const char *const schemes[] = {"none", "Basic", "Bearer"};
	static struct http_challenge ch;
	static char text[4096];

	http_challenge_init(&ch);
	http_challenge_add(&ch, span_of(one));
	if (two)
		http_challenge_add(&ch, span_of(two));
	snprintf(text, sizeof(text), "%s|%s|%s|%s|%s", schemes[ch.scheme],
		 ch.realm, ch.service, ch.scope, ch.error);
	return text;
}

static void challenges_of_registries(void)
{
	static const struct {
		const char *one, *two, *want;
	} rows[] = {
	    {"Bearer realm=\"https://auth.docker.io/token\","
	     "service=\"registry.docker.io\","
	     "scope=\"repository:library/a:pull,push\","
	     "error=\"insufficient_scope\"",
	     NULL,
	     "Bearer|https://auth.docker.io/token|registry.docker.io|"
	     "repository:library/a:pull,push|insufficient_scope"},
	    {"Bearer realm=\"https://gcr.io/v2/token\",service=gcr.io", NULL,
	     "Bearer|https://gcr.io/v2/token|gcr.io||"},
	    {"Bearer realm=\"https://p.pkg.dev/v2/token\"", NULL,
	     "Bearer|https://p.pkg.dev/v2/token|||"},
	    {"Basic realm=\"Registry Realm\"", NULL, "Basic|Registry Realm|||"},
	    {"Basic realm=\"x\"", "Bearer realm=\"y\"", "Bearer|y|||"},
	    {"Bearer realm=\"y\"", "Basic realm=\"x\"", "Bearer|y|||"},
	    {"Basic realm=\"x\", Bearer realm=\"y\",service=\"s\"", NULL,
	     "Bearer|y|s||"},
	    {"Bearer realm=\"y\",service=\"s\", Basic realm=\"x\"", NULL,
	     "Bearer|y|s||"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		CHECK_STR(outcome(rows[i].one, rows[i].two), rows[i].want);
}

static void odd_grammar_is_understood(void)
{
	static const struct {
		const char *value, *want;
	} rows[] = {
	    {"", "none||||"},
	    {"Bearer", "none||||"},
	    {"Basic", "Basic||||"},
	    {"bEARER REALM=\"r\",Service=\"s\",SCOPE=\"c\"", "Bearer|r|s|c|"},
	    {"Bearer realm = \"r\" , service\t=\ts", "Bearer|r|s||"},
	    {"Bearer realm=https://a.b/c?d=e,service=s",
	     "Bearer|https://a.b/c?d=e|s||"},
	    {"Bearer realm=\"a,b\\\"c\\\\d\"", "Bearer|a,b\"c\\d|||"},
	    {"Bearer realm=\"r\" service=\"s\"", "Bearer|r|s||"},
	    {",, Bearer ,realm=\"r\",,service=s,", "Bearer|r|s||"},
	    {"Bearer realm=\"r\",realm=\"q\"", "Bearer|r|||"},
	    {"Bearer realm=\"r\",service=,scope=c", "Bearer|r||c|"},
	    {"Bearer realm=\"r\",x=\"realm=q\"", "Bearer|r|||"},
	    {"Negotiate, Basic realm=\"r\"", "Basic|r|||"},
	    {"Negotiate YII+/a==, Basic realm=\"r\"", "Basic|r|||"},
	    {"Negotiate YII/a, Bearer realm=\"r\"", "Bearer|r|||"},
	    {"Digest realm=\"d\", nonce=\"n\", Bearer realm=\"r\"",
	     "Bearer|r|||"},
	    {"Basic realm=\"a\", Basic realm=\"b\"", "Basic|a|||"},
	    {"Bearer realm=\"a\", Bearer realm=\"b\"", "Bearer|a|||"},
	    {"Bearer scope=\"c\", Bearer realm=\"b\"", "Bearer|b|||"},
	    {"@@@ ,\"x\" Bearer realm=\"r\"", "Bearer|r|||"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		CHECK_STR(outcome(rows[i].value, NULL), rows[i].want);
}

static void broken_challenge_is_passed_over(void)
{
	static const char *const rows[] = {
	    "Bearer realm=\"r",
	    "Bearer realm=\"r\\\"",
	    "Bearer realm=\"",
	    "Bearer realm=\"\"",
	    "Bearer realm=",
	    "Bearer service=s",
	    "Bearer realm=a\"b\"",
	    "Bearer realm=\"a\001b\"",
	    "Bearer realm=\"r\",scope=\"a\177\"",
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CHECK_STR(outcome(rows[i], NULL), "none||||");
		CHECK_STR(outcome(rows[i], "Basic realm=\"x\""), "Basic|x|||");
	}
}

static void nul_is_passed_over(void)
{
	static const char text[] = "Bearer realm=\"a\0b\"";
	struct http_challenge ch;

	http_challenge_init(&ch);
	http_challenge_add(&ch, (struct span){text, sizeof(text) - 1});
	CHECK(ch.scheme == HTTP_AUTH_NONE && !ch.realm[0]);
}

static void lengths_are_checked(void)
{
	static const struct {
		const char *name;
		size_t size;
	} rows[] = {
	    {"realm", sizeof(((struct http_challenge *)0)->realm)},
	    {"service", sizeof(((struct http_challenge *)0)->service)},
	    {"scope", sizeof(((struct http_challenge *)0)->scope)},
	    {"error", sizeof(((struct http_challenge *)0)->error)},
	};
	struct http_challenge ch;
	char text[4096];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (int over = 0; over <= 1; over++) {
			snprintf(text, sizeof(text),
				 "Bearer %s=\"%0*d\",realm=\"r\"", rows[i].name,
				 (int)rows[i].size - 1 + over, 0);
			http_challenge_init(&ch);
			http_challenge_add(&ch, span_of(text));
			CHECK((ch.scheme == HTTP_AUTH_BEARER) == !over);
		}
	}
}

int main(void)
{
	RUN(challenges_of_registries);
	RUN(odd_grammar_is_understood);
	RUN(broken_challenge_is_passed_over);
	RUN(nul_is_passed_over);
	RUN(lengths_are_checked);
	return unit_done();
}
