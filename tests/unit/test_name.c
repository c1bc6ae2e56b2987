/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/name.h"
#include "tests/unit/unit.h"

#define LEN(s) (s), strlen(s)

static char *repeat(char c, size_t n, char *out)
{
	memset(out, c, n);
	out[n] = '\0';
	return out;
}

static void names_follow_the_grammar(void)
{
	static const char *const good[] = {
	    "a",         "alpine",        "library/alpine",
	    "a/b/c/d/e", "a.b",           "a_b",
	    "a__b",      "a-b",           "a---b",
	    "0",         "quay.io/org/x", "manifests/blobs/tags",
	    "a.b_c",     "a__b--c/d.e",   "v2",
	};
	static const char *const bad[] = {
	    "",    "/",    "a/",   "/a",    "a//b",   "A",        "a/B",
	    ".a",  "a.",   "a..b", "a___b", "_a",     "a_",       "-a",
	    "a-",  "a.-b", "a._b", "a-_b",  "a b",    "a:b",      "a@b",
	    "a\n", "é",    "a/.",  "a/..",  "a/_oci", "_catalog",
	};

	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		CHECK(repo_name_valid(LEN(good[i])));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK(!repo_name_valid(LEN(bad[i])));
	CHECK(!repo_name_valid("a\0b", 3));
	CHECK(!repo_name_valid("a\0", 2));
}

static void names_end_at_255_bytes(void)
{
	char text[300];

	CHECK(repo_name_valid(repeat('a', 255, text), 255));
	CHECK(!repo_name_valid(repeat('a', 256, text), 256));
}

static void tags_follow_the_grammar(void)
{
	char text[300];

	CHECK(tag_valid(LEN("latest")));
	CHECK(tag_valid(LEN("V1.2_3-x")));
	CHECK(tag_valid(LEN("_")));
	CHECK(tag_valid(LEN("3")));
	CHECK(tag_valid(repeat('x', 128, text), 128));
	CHECK(!tag_valid(repeat('x', 129, text), 129));
	CHECK(!tag_valid(LEN("")));
	CHECK(!tag_valid(LEN(".a")));
	CHECK(!tag_valid(LEN("-a")));
	CHECK(!tag_valid(LEN("a:b")));
	CHECK(!tag_valid(LEN("a/b")));
	CHECK(!tag_valid(LEN("a+b")));
	CHECK(!tag_valid("a\0", 2));
}

static const char *normal(const char *text)
{
	static char out[HOST_MAX + 1];

	return host_normalise(LEN(text), out) == ERR_OK ? out : "refused";
}

static void hosts_have_one_form(void)
{
	CHECK_STR(normal("quay.io"), "quay.io");
	CHECK_STR(normal("Quay.IO"), "quay.io");
	CHECK_STR(normal("quay.io:443"), "quay.io");
	CHECK_STR(normal("localhost:5001"), "localhost:5001");
	CHECK_STR(normal("LOCALHOST"), "localhost");
	CHECK_STR(normal("10.0.0.1:80"), "10.0.0.1:80");
	CHECK_STR(normal("[::1]"), "[::1]");
	CHECK_STR(normal("[::1]:5000"), "[::1]:5000");
	CHECK_STR(normal("[0:0:0:0:0:0:0:1]:443"), "[::1]");
	CHECK_STR(normal("[2001:DB8::A]"), "[2001:db8::a]");
	CHECK_STR(normal("a-b.c:65535"), "a-b.c:65535");
}

static void hosts_that_are_none_are_refused(void)
{
	static const char *const bad[] = {
	    "",         ":",
	    ":5000",    "a:",
	    "a:0",      "a:05",
	    "a:65536",  "a:999999",
	    "a:5x",     "a..b",
	    ".a",       "a.",
	    "-a",       "a-",
	    "a_b",      "a/b",
	    "a b",      "a@b",
	    "http://a", "[::1",
	    "[]",       "[:::]",
	    "::1",      "[::1]5000",
	    "[::1]:",   "[fe80::1%eth0]",
	    "[",        "a\r\nb",
	    "a:1:2",    "[a.b]",
	};
	char text[300], out[HOST_MAX + 1] = "untouched";

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK(host_normalise(LEN(bad[i]), out) == ERR_INVALID);
	CHECK(host_normalise("a\0b", 3, out) == ERR_INVALID);
	CHECK(host_normalise("[::1\0]", 6, out) == ERR_INVALID);
	CHECK(host_normalise(repeat('a', 64, text), 64, out) == ERR_INVALID);
	CHECK(host_normalise(repeat('a', 256, text), 256, out) == ERR_INVALID);
	CHECK_STR(out, "untouched");
}

static void paths_may_begin_with_a_host(void)
{
	char text[600];

	CHECK(repo_path_valid(LEN("alpine")));
	CHECK(repo_path_valid(LEN("quay.io/org/img")));
	CHECK(repo_path_valid(LEN("localhost:5001/img")));
	CHECK(repo_path_valid(LEN("[::1]:5000/a/b")));
	CHECK(!repo_path_valid(LEN("localhost:5001")));
	CHECK(!repo_path_valid(LEN("localhost:5001/")));
	CHECK(!repo_path_valid(LEN("a/localhost:5001/b")));
	CHECK(!repo_path_valid(LEN("Team/img")));
	memcpy(text, "quay.io/", 8);
	CHECK(repo_path_valid(text, (repeat('a', 255, text + 8), 263)));
	CHECK(!repo_path_valid(text, (repeat('a', 256, text + 8), 264)));
	memcpy(text, "quayxio/", 8);
	CHECK(!repo_path_valid(text, (repeat('a', 255, text + 8), 263)));
}

static void first_components_that_look_like_hosts(void)
{
	CHECK(component_is_host(LEN("quay.io")));
	CHECK(component_is_host(LEN("a:1")));
	CHECK(component_is_host(LEN("localhost")));
	CHECK(!component_is_host(LEN("localhosts")));
	CHECK(!component_is_host(LEN("library")));
	CHECK(repo_first_component(LEN("a/b")) == 1);
	CHECK(repo_first_component(LEN("abc")) == 3);
	CHECK(repo_first_component("", 0) == 0);
}

static void name_patterns_match_components(void)
{
	static const struct {
		const char *pattern, *name;
		bool matches;
	} cases[] = {
	    {"team/**", "team/a", true},
	    {"team/**", "team/a/b/c", true},
	    {"team/**", "team", false},
	    {"team/**", "teams/a", false},
	    {"team/*", "team/a", true},
	    {"team/*", "team/a/b", false},
	    {"*", "a", true},
	    {"*", "a/b", false},
	    {"**", "a", true},
	    {"**", "a/b/c", true},
	    {"**/base", "a/base", true},
	    {"**/base", "a/b/base", true},
	    {"**/base", "base", false},
	    {"**/base", "a/base/c", false},
	    {"*/x/*", "a/x/b", true},
	    {"*/x/*", "a/y/b", false},
	    {"**/x/**", "x/x/x", true},
	    {"**/x/**", "x/x", false},
	    {"**/x/**", "a/b/x/c/d", true},
	    {"**/x/**/y", "a/x/x/y/x/y", true},
	    {"**/x/**/y", "a/x/y", false},
	    {"**/*", "a", false},
	    {"**/*", "a/b", true},
	    {"**/**", "a/b/c", true},
	    {"acme", "acme", true},
	    {"acme", "acme/a", false},
	    {"acme/a", "acme", false},
	    {"acme/a", "acme/ab", false},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CHECK(name_pattern_check(cases[i].pattern, NULL) == ERR_OK);
		if (name_pattern_match(cases[i].pattern, cases[i].name) !=
		    cases[i].matches)
			fprintf(stderr, "%s ~ %s\n", cases[i].pattern,
				cases[i].name);
		CHECK(name_pattern_match(cases[i].pattern, cases[i].name) ==
		      cases[i].matches);
	}
}

/* The definition itself, without regard for time. */
static bool slow_match(const char *p, const char *s)
{
	size_t pn = strcspn(p, "/"), sn = strcspn(s, "/");
	bool stars = pn == 2 && p[0] == '*';

	if (!stars && !(pn == 1 && *p == '*') &&
	    (pn != sn || memcmp(p, s, pn) != 0))
		return false;
	if (stars && s[sn] && slow_match(p, s + sn + 1))
		return true;
	if (!p[pn] || !s[sn])
		return !p[pn] && !s[sn];
	return slow_match(p + pn + 1, s + sn + 1);
}

static void join_random(unsigned *seed, const char *const *words, size_t n,
			char *out)
{
	int count = 1 + rand_r(seed) % 6;

	*out = '\0';
	for (int i = 0; i < count; i++)
		out += snprintf(out, 8, "%s%s", i ? "/" : "",
				words[(size_t)rand_r(seed) % n]);
}

static void name_patterns_match_as_defined(void)
{
	static const char *const parts[] = {"*", "**", "**", "a", "b"};
	static const char *const words[] = {"a", "b", "c"};
	char pattern[64], name[64];
	unsigned seed = 7, matched = 0, differ = 0;

	for (int i = 0; i < 50000; i++) {
		bool got;

		join_random(&seed, parts, ARRAY_LEN(parts), pattern);
		join_random(&seed, words, ARRAY_LEN(words), name);
		got = name_pattern_match(pattern, name);
		matched += got;
		differ += got != slow_match(pattern, name);
	}
	CHECK(differ == 0);
	CHECK(matched > 1000);
}

static void hostile_patterns_cost_no_time(void)
{
	char pattern[NAME_PATTERN_MAX + 1], name[REPO_NAME_MAX + 1];
	uint64_t begin = now_ms();
	size_t n = 0;

	for (; n + 3 < sizeof(pattern) - 2; n += 3)
		memcpy(pattern + n, "**/", 3);
	memcpy(pattern + n, "b", 2);
	for (n = 0; n + 2 < sizeof(name) - 2; n += 2)
		memcpy(name + n, "a/", 2);
	memcpy(name + n, "a", 2);
	for (int i = 0; i < 1000; i++)
		CHECK(!name_pattern_match(pattern, name));
	memset(pattern, '*', 200);
	for (n = 0; n < 200; n += 2)
		pattern[n] = 'a';
	pattern[200] = '\0';
	for (int i = 0; i < 1000; i++)
		CHECK(!tag_pattern_match(pattern, repeat('a', 99, name)));
	CHECK(now_ms() - begin < 5000);
}

static void bad_name_patterns_are_explained(void)
{
	static const char *const bad[] = {
	    "", "/", "team/", "***", "team-*", "Team/**", "a//b", "a/**b", "?",
	};
	char text[300];
	struct why why;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		why.text[0] = '\0';
		CHECK(name_pattern_check(bad[i], &why) == ERR_INVALID);
		CHECK(why.text[0] != '\0');
	}
	CHECK(name_pattern_check("team-*", &why) == ERR_INVALID);
	CHECK(strstr(why.text, "team-*") != NULL);
	CHECK(name_pattern_check(repeat('a', 256, text), &why) == ERR_INVALID);
}

static void tag_patterns_match_runs(void)
{
	CHECK(tag_pattern_match("v*", "v"));
	CHECK(tag_pattern_match("v*", "v1.2"));
	CHECK(!tag_pattern_match("v*", "1v"));
	CHECK(tag_pattern_match("*", "anything"));
	CHECK(tag_pattern_match("*-alpine", "3.1-alpine"));
	CHECK(!tag_pattern_match("*-alpine", "3.1-alpine3"));
	CHECK(tag_pattern_match("*-alpine*", "3.1-alpine3"));
	CHECK(tag_pattern_match("a*b*c", "axbbxc"));
	CHECK(!tag_pattern_match("a*b*c", "axxc"));
	CHECK(tag_pattern_match("*ab", "aab"));
	CHECK(tag_pattern_match("latest", "latest"));
	CHECK(!tag_pattern_match("latest", "latest1"));
	CHECK(!tag_pattern_match("latest", "lates"));
	CHECK(!tag_pattern_match("LATEST", "latest"));
}

static void bad_tag_patterns_are_explained(void)
{
	struct why why = {""};

	CHECK(tag_pattern_check("v*", &why) == ERR_OK);
	CHECK(tag_pattern_check("*", &why) == ERR_OK);
	CHECK(tag_pattern_check("v?", &why) == ERR_INVALID);
	CHECK(strstr(why.text, "v?") != NULL);
	CHECK(tag_pattern_check("", &why) == ERR_INVALID);
	CHECK(tag_pattern_check("a/b", &why) == ERR_INVALID);
	CHECK(tag_pattern_check("[0-9]", &why) == ERR_INVALID);
}

int main(void)
{
	RUN(names_follow_the_grammar);
	RUN(names_end_at_255_bytes);
	RUN(tags_follow_the_grammar);
	RUN(hosts_have_one_form);
	RUN(hosts_that_are_none_are_refused);
	RUN(paths_may_begin_with_a_host);
	RUN(first_components_that_look_like_hosts);
	RUN(name_patterns_match_components);
	RUN(name_patterns_match_as_defined);
	RUN(hostile_patterns_cost_no_time);
	RUN(bad_name_patterns_are_explained);
	RUN(tag_patterns_match_runs);
	RUN(bad_tag_patterns_are_explained);
	return unit_done();
}
