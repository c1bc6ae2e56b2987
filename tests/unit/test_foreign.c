/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/foreign.h"
#include "tests/unit/unit.h"

#define HEX "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define DIGEST "sha256:" HEX

static void names_of_images(void)
{
	static const struct {
		const char *text, *name, *tag; /* name NULL = none */
		bool digest;
	} rows[] = {
	    {"1", "", "1", false},
	    {"latest", "", "latest", false},
	    {"v1.0-x_Y", "", "v1.0-x_Y", false},
	    {"app:1", "app", "1", false},
	    {"team/app:1", "team/app", "1", false},
	    {"team/app", "team/app", "latest", false},
	    {"docker.io/library/app:1", "docker.io/library/app", "1", false},
	    {"localhost:5000/app:1", "localhost:5000/app", "1", false},
	    {"localhost:5000/app", "localhost:5000/app", "latest", false},
	    {"team/app@" DIGEST, "team/app", "", true},
	    {"app@" DIGEST, "app", "", true},
	    {"team/app:1@" DIGEST, "team/app", "1", true},
	    {"", NULL, NULL, false},
	    {":", NULL, NULL, false},
	    {":1", NULL, NULL, false},
	    {"app:", NULL, NULL, false},
	    {"../app:1", NULL, NULL, false},
	    {"team/../app:1", NULL, NULL, false},
	    {"/app:1", NULL, NULL, false},
	    {"team//app:1", NULL, NULL, false},
	    {"Team/app:1", NULL, NULL, false},
	    {"team/app:-1", NULL, NULL, false},
	    {"team/app:1:2", NULL, NULL, false},
	    {"a b", NULL, NULL, false},
	    {"app\n:1", NULL, NULL, false},
	    {"@" DIGEST, NULL, NULL, false},
	    {"app@", NULL, NULL, false},
	    {"app@sha256:0", NULL, NULL, false},
	    {"app@" DIGEST "@" DIGEST, NULL, NULL, false},
	};
	char name[REPO_PATH_MAX + 1], tag[TAG_MAX + 1];
	struct digest dg;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		enum err err = foreign_ref_parse(rows[i].text, name, tag, &dg);

		if (!rows[i].name) {
			if (err != ERR_INVALID)
				fprintf(stderr, "%s\n", rows[i].text);
			CHECK(err == ERR_INVALID);
			continue;
		}
		CHECK(err == ERR_OK);
		CHECK_STR(name, rows[i].name);
		CHECK_STR(tag, rows[i].tag);
		CHECK(!!dg.alg == rows[i].digest);
	}
}

static void links(void)
{
	static const struct {
		const char *text;
		bool good;
	} rows[] = {
	    {DIGEST, true},
	    {DIGEST "\n", true},
	    {DIGEST "\r\n", true},
	    {" " DIGEST, false},
	    {"", false},
	    {"\n", false},
	    {HEX, false},
	    {"sha256:../../../../etc/passwd", false},
	    {"SHA256:" HEX, false},
	    {DIGEST "0", false},
	    {DIGEST "\nmore", false},
	};
	struct digest dg;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		CHECK((foreign_link_parse(rows[i].text, strlen(rows[i].text),
					  &dg) == ERR_OK) == rows[i].good);
	CHECK(foreign_link_parse(DIGEST "\0", sizeof(DIGEST), &dg) != ERR_OK);
}

int main(void)
{
	RUN(names_of_images);
	RUN(links);
	return unit_done();
}
