/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/names.h"
#include "tests/unit/unit.h"

/* Lists are char *const *, as the configuration has them. */
#define S(text) ((char[]){text})

static char *const quay_aliases[] = {S("quay.mirror.lan"), S("q:5000")};
static char *const own[] = {S("mirror.lan"), S("mirror.lan:5000")};
static char *const hosted[] = {S("team/**"), S("solo"), S("quay.io/**")};

static const struct names_upstream upstreams[] = {
    {.name = "docker.io"},
    {.name = "quay.io",
     .aliases = quay_aliases,
     .n_aliases = ARRAY_LEN(quay_aliases)},
    {.name = "localhost:5001"},
    {.name = "short"},
};

static bool is_claimed(void *arg, const char *name)
{
	return strcmp(name, (const char *)arg) == 0;
}

static char claimed_name[] = "mine/app";

/* Everything set. */
static const struct names_conf full = {
    .upstreams = upstreams,
    .n_upstreams = ARRAY_LEN(upstreams),
    .own = own,
    .n_own = ARRAY_LEN(own),
    .hosted = hosted,
    .n_hosted = ARRAY_LEN(hosted),
    .default_upstream = "docker.io",
    .claimed = is_claimed,
    .claimed_arg = claimed_name,
};

struct row_case {
	const char *name, *ns;
	int row;
	enum names_kind kind;
	const char *upstream, *repo;
};

#define MIRROR(name, ns, row, up, repo)                                        \
	{                                                                      \
		name, ns, row, NAMES_MIRROR, up, repo                          \
	}
#define HOSTED(name, ns, row)                                                  \
	{                                                                      \
		name, ns, row, NAMES_HOSTED, NULL, name                        \
	}
#define UNKNOWN(name, ns, row)                                                 \
	{                                                                      \
		name, ns, row, NAMES_UNKNOWN, NULL, ""                         \
	}

static void check_rows(const struct names_conf *conf,
		       const struct row_case *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct row_case *want = &cases[i];
		struct names_answer got;

		CHECK(names_resolve(conf, want->name, want->ns, &got) ==
		      ERR_OK);
		if (got.row != want->row)
			fprintf(stderr, "%s ns=%s: row %d, not %d\n",
				want->name, want->ns ? want->ns : "-", got.row,
				want->row);
		CHECK(got.row == want->row);
		CHECK(got.kind == want->kind);
		CHECK(!got.upstream == !want->upstream);
		if (want->upstream)
			CHECK_STR(got.upstream, want->upstream);
		CHECK_STR(got.repo, want->repo);
		CHECK(got.echo_namespace == (got.row == 1));
		CHECK((got.detail.text[0] != '\0') ==
		      (got.kind == NAMES_UNKNOWN));
	}
}

static void row_1_ns_is_a_configured_upstream(void)
{
	static const struct row_case cases[] = {
	    MIRROR("alpine", "docker.io", 1, "docker.io", "library/alpine"),
	    MIRROR("library/alpine", "docker.io", 1, "docker.io",
		   "library/alpine"),
	    MIRROR("org/img", "quay.io", 1, "quay.io", "org/img"),
	    MIRROR("img", "quay.io", 1, "quay.io", "img"),
	    MIRROR("org/img", "QUAY.io:443", 1, "quay.io", "org/img"),
	    MIRROR("org/img", "quay.mirror.lan", 1, "quay.io", "org/img"),
	    MIRROR("org/img", "q:5000", 1, "quay.io", "org/img"),
	    MIRROR("img", "localhost:5001", 1, "localhost:5001", "img"),
	    MIRROR("img", "short", 1, "short", "img"),
	    /* a leading H/ or alias is dropped, once, if something is left */
	    MIRROR("quay.io/org/img", "quay.io", 1, "quay.io", "org/img"),
	    MIRROR("q:5000/org/img", "quay.io", 1, "quay.io", "org/img"),
	    MIRROR("quay.io/quay.io/img", "quay.io", 1, "quay.io",
		   "quay.io/img"),
	    MIRROR("quay.io", "quay.io", 1, "quay.io", "quay.io"),
	    MIRROR("docker.io/alpine", "docker.io", 1, "docker.io",
		   "library/alpine"),
	    MIRROR("index.docker.io/alpine", "registry-1.docker.io", 1,
		   "docker.io", "library/alpine"),
	    /* another upstream's name is only a component there */
	    MIRROR("quay.io/org/img", "docker.io", 1, "docker.io",
		   "quay.io/org/img"),
	    /* ns wins over hosted names */
	    MIRROR("team/app", "docker.io", 1, "docker.io", "team/app"),
	    MIRROR("mine/app", "quay.io", 1, "quay.io", "mine/app"),
	};

	check_rows(&full, cases, ARRAY_LEN(cases));
}

static void row_2_ns_is_not_ours_to_dial(void)
{
	static const struct row_case cases[] = {
	    UNKNOWN("org/img", "ghcr.io", 2),
	    UNKNOWN("team/app", "ghcr.io", 2),
	    UNKNOWN("quay.io/org/img", "ghcr.io", 2),
	    UNKNOWN("org/img", "169.254.169.254", 2),
	    UNKNOWN("org/img", "quay.io:444", 2),
	    UNKNOWN("org/img", "quay.io\r\nX: y", 2),
	    UNKNOWN("org/img", " ", 2),
	    UNKNOWN("org/img", "https://quay.io", 2),
	    UNKNOWN("org/img", "mirror.lan:81", 2),
	};
	struct names_answer got;

	check_rows(&full, cases, ARRAY_LEN(cases));
	CHECK(names_resolve(&full, "a", "ghcr.io", &got) == ERR_OK);
	CHECK(strstr(got.detail.text, "ghcr.io") != NULL);
	CHECK(names_resolve(&full, "a", "x\r\ny", &got) == ERR_OK);
	CHECK(strchr(got.detail.text, '\r') == NULL);
}

static void an_ns_of_ours_or_empty_counts_as_absent(void)
{
	static const struct row_case cases[] = {
	    MIRROR("alpine", "mirror.lan", 6, "docker.io", "library/alpine"),
	    MIRROR("alpine", "Mirror.LAN:443", 6, "docker.io",
		   "library/alpine"),
	    MIRROR("alpine", "mirror.lan:5000", 6, "docker.io",
		   "library/alpine"),
	    MIRROR("quay.io/a/b", "mirror.lan", 3, "quay.io", "a/b"),
	    HOSTED("team/app", "mirror.lan", 4),
	    MIRROR("alpine", "", 6, "docker.io", "library/alpine"),
	};

	check_rows(&full, cases, ARRAY_LEN(cases));
}

static void row_3_the_host_is_in_the_path(void)
{
	static const struct row_case cases[] = {
	    MIRROR("quay.io/org/img", NULL, 3, "quay.io", "org/img"),
	    MIRROR("quay.mirror.lan/org/img", NULL, 3, "quay.io", "org/img"),
	    MIRROR("q:5000/org/img", NULL, 3, "quay.io", "org/img"),
	    MIRROR("docker.io/alpine", NULL, 3, "docker.io", "library/alpine"),
	    MIRROR("docker.io/library/alpine", NULL, 3, "docker.io",
		   "library/alpine"),
	    MIRROR("registry-1.docker.io/alpine", NULL, 3, "docker.io",
		   "library/alpine"),
	    MIRROR("localhost:5001/img", NULL, 3, "localhost:5001", "img"),
	    MIRROR("quay.io:443/img", NULL, 3, "quay.io", "img"),
	    MIRROR("short/img", NULL, 3, "short", "img"),
	};

	check_rows(&full, cases, ARRAY_LEN(cases));
}

static void row_4_hosted_by_pattern_or_claim(void)
{
	static const struct row_case cases[] = {
	    HOSTED("team/app", NULL, 4),
	    HOSTED("team/a/b", NULL, 4),
	    HOSTED("solo", NULL, 4),
	    HOSTED("mine/app", NULL, 4),
	    /* no repository is left, so row 3 does not hold; nor the pattern */
	    MIRROR("quay.io", NULL, 6, "docker.io", "library/quay.io"),
	    MIRROR("team", NULL, 6, "docker.io", "library/team"),
	    MIRROR("mine/app2", NULL, 6, "docker.io", "mine/app2"),
	};

	check_rows(&full, cases, ARRAY_LEN(cases));
}

static void row_5_another_host_is_never_asked_for_at_the_default(void)
{
	static const struct row_case cases[] = {
	    UNKNOWN("ghcr.io/org/img", NULL, 5),
	    UNKNOWN("localhost/img", NULL, 5),
	    UNKNOWN("localhost:5002/img", NULL, 5),
	    UNKNOWN("[::1]:5000/img", NULL, 5),
	    UNKNOWN("v1.2/img", NULL, 5),
	    MIRROR("org/ghcr.io", NULL, 6, "docker.io", "org/ghcr.io"),
	};
	struct names_answer got;

	check_rows(&full, cases, ARRAY_LEN(cases));
	CHECK(names_resolve(&full, "ghcr.io/a/b", NULL, &got) == ERR_OK);
	CHECK(strstr(got.detail.text, "ghcr.io") != NULL);
}

static void row_6_the_default_upstream(void)
{
	static const struct row_case docker[] = {
	    MIRROR("alpine", NULL, 6, "docker.io", "library/alpine"),
	    MIRROR("grafana/grafana", NULL, 6, "docker.io", "grafana/grafana"),
	    MIRROR("library", NULL, 6, "docker.io", "library/library"),
	};
	static const struct row_case quay[] = {
	    MIRROR("alpine", NULL, 6, "quay.io", "alpine"),
	    MIRROR("docker.io/alpine", NULL, 3, "docker.io", "library/alpine"),
	};
	struct names_conf conf = full;

	check_rows(&full, docker, ARRAY_LEN(docker));
	conf.default_upstream = "quay.io";
	check_rows(&conf, quay, ARRAY_LEN(quay));
}

static void row_7_without_a_default_the_rest_is_hosted(void)
{
	static const struct row_case cases[] = {
	    HOSTED("alpine", NULL, 7),
	    HOSTED("any/thing", NULL, 7),
	    HOSTED("ghcr.io/org/img", NULL, 7),
	    HOSTED("team/app", NULL, 4),
	    MIRROR("quay.io/org/img", NULL, 3, "quay.io", "org/img"),
	    MIRROR("alpine", "docker.io", 1, "docker.io", "library/alpine"),
	    UNKNOWN("alpine", "ghcr.io", 2),
	};
	struct names_conf conf = full;

	conf.default_upstream = NULL;
	check_rows(&conf, cases, ARRAY_LEN(cases));
}

static void a_mirror_listener_knows_no_hosted_names(void)
{
	static const struct row_case cases[] = {
	    MIRROR("team/app", NULL, 6, "docker.io", "team/app"),
	    MIRROR("mine/app", NULL, 6, "docker.io", "mine/app"),
	    MIRROR("alpine", NULL, 6, "docker.io", "library/alpine"),
	    MIRROR("quay.io/org/img", NULL, 3, "quay.io", "org/img"),
	    MIRROR("org/img", "quay.io", 1, "quay.io", "org/img"),
	    UNKNOWN("ghcr.io/org/img", NULL, 5),
	};
	struct names_conf conf = full;

	conf.default_upstream = NULL;
	conf.mirror_of = "docker.io";
	check_rows(&conf, cases, ARRAY_LEN(cases));
	conf.default_upstream = "quay.io";
	check_rows(&conf, cases, ARRAY_LEN(cases));
}

static void aliases_need_their_upstream(void)
{
	static const struct row_case cases[] = {
	    UNKNOWN("alpine", "docker.io", 2),
	    UNKNOWN("alpine", "index.docker.io", 2),
	    HOSTED("index.docker.io/alpine", NULL, 7),
	};
	static const struct names_conf none = {0};

	check_rows(&none, cases, ARRAY_LEN(cases));
}

static void a_name_beats_anothers_alias(void)
{
	char *const greedy[] = {S("quay.io")};
	const struct names_upstream ups[] = {
	    {.name = "greedy.lan", .aliases = greedy, .n_aliases = 1},
	    {.name = "quay.io"},
	};
	const struct names_conf conf = {.upstreams = ups, .n_upstreams = 2};
	struct names_answer got;

	CHECK(names_resolve(&conf, "a/b", "quay.io", &got) == ERR_OK);
	CHECK_STR(got.upstream, "quay.io");
}

static void names_that_do_not_fit_are_invalid(void)
{
	struct names_conf conf = full;
	struct names_answer got;
	char name[300];

	snprintf(name, sizeof(name), "%0247d", 0);
	CHECK(names_resolve(&full, name, NULL, &got) == ERR_OK);
	CHECK(strlen(got.repo) == REPO_NAME_MAX);
	snprintf(name, sizeof(name), "%0248d", 0);
	CHECK(names_resolve(&full, name, NULL, &got) == ERR_INVALID);
	CHECK(got.row == 6 && got.detail.text[0]);
	CHECK(names_resolve(&full, name, "docker.io", &got) == ERR_INVALID);
	CHECK(got.row == 1 && got.detail.text[0]);
	CHECK(names_resolve(&full, name, "quay.io", &got) == ERR_OK);
	/* a host with a port is no part of a name */
	CHECK(names_resolve(&full, "q:1/a", "quay.io", &got) == ERR_INVALID);
	conf.default_upstream = NULL;
	CHECK(names_resolve(&conf, "q:1/a", NULL, &got) == ERR_INVALID);
	CHECK(got.row == 7 && got.detail.text[0]);
}

static void row_4_tells_a_claim_from_a_pattern(void)
{
	struct names_answer got;

	CHECK(names_resolve(&full, "mine/app", NULL, &got) == ERR_OK);
	CHECK(got.row == 4 && got.claimed);
	CHECK(names_resolve(&full, "team/app", NULL, &got) == ERR_OK);
	CHECK(got.row == 4 && !got.claimed);
	CHECK(names_resolve(&full, "other/app", NULL, &got) == ERR_OK);
	CHECK(got.row == 6 && !got.claimed);
}

/* A claim is asked of only where row 4 may hold. */
static void a_claim_gives_way_to_the_rows_before_it(void)
{
	struct names_conf conf = full;
	struct names_answer got;

	CHECK(names_resolve(&conf, "mine/app", "docker.io", &got) == ERR_OK);
	CHECK(got.row == 1 && got.kind == NAMES_MIRROR && !got.claimed);
	CHECK(names_resolve(&conf, "mine/app", "mirror.lan", &got) == ERR_OK);
	CHECK(got.row == 4 && got.claimed);
	conf.mirror_of = "docker.io";
	CHECK(names_resolve(&conf, "mine/app", NULL, &got) == ERR_OK);
	CHECK(got.row == 6 && got.kind == NAMES_MIRROR && !got.claimed);
	conf = full;
	conf.claimed_arg = (char[]){"quay.io/org/img"};
	conf.n_hosted = 0;
	CHECK(names_resolve(&conf, "quay.io/org/img", NULL, &got) == ERR_OK);
	CHECK(got.row == 3 && got.kind == NAMES_MIRROR);
	conf.claimed_arg = (char[]){"example.com/img"};
	CHECK(names_resolve(&conf, "example.com/img", NULL, &got) == ERR_OK);
	CHECK(got.row == 4 && got.claimed);
}

static void a_shadow_is_what_row_6_would_give(void)
{
	struct names_conf conf = full;
	struct names_answer got;

	CHECK(names_shadow(&conf, "mine/app", &got));
	CHECK(got.row == 6 && got.kind == NAMES_MIRROR);
	CHECK_STR(got.upstream, "docker.io");
	CHECK_STR(got.repo, "mine/app");
	CHECK(names_shadow(&conf, "mine", &got));
	CHECK_STR(got.repo, "library/mine");

	/* another host's, and none at all */
	CHECK(!names_shadow(&conf, "example.com/img", &got));
	CHECK(got.kind == 0);
	conf.mirror_of = "docker.io";
	CHECK(!names_shadow(&conf, "mine/app", &got));
	conf = full;
	conf.default_upstream = NULL;
	CHECK(!names_shadow(&conf, "mine/app", &got));
	CHECK(got.kind == 0);
}

int main(void)
{
	RUN(row_1_ns_is_a_configured_upstream);
	RUN(row_2_ns_is_not_ours_to_dial);
	RUN(an_ns_of_ours_or_empty_counts_as_absent);
	RUN(row_3_the_host_is_in_the_path);
	RUN(row_4_hosted_by_pattern_or_claim);
	RUN(row_5_another_host_is_never_asked_for_at_the_default);
	RUN(row_6_the_default_upstream);
	RUN(row_7_without_a_default_the_rest_is_hosted);
	RUN(a_mirror_listener_knows_no_hosted_names);
	RUN(aliases_need_their_upstream);
	RUN(a_name_beats_anothers_alias);
	RUN(names_that_do_not_fit_are_invalid);
	RUN(row_4_tells_a_claim_from_a_pattern);
	RUN(a_claim_gives_way_to_the_rows_before_it);
	RUN(a_shadow_is_what_row_6_would_give);
	return unit_done();
}
