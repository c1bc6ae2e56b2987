/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/journal.h"

#include "tests/unit/index_help.h"
#include "tests/unit/unit.h"

static bool same_text(const char *a, const char *b)
{
	return (!a && !b) || (a && b && strcmp(a, b) == 0);
}

/* Encode and decode; every cut of it, and one byte more, is refused. */
static void check_round_trip(const struct journal_entry *e)
{
	uint8_t buf[JOURNAL_ENTRY_MAX + 1];
	size_t len = journal_entry_encode(e, buf);
	struct journal_entry got;

	CHECK(len <= JOURNAL_ENTRY_MAX);
	CHECK(journal_entry_decode(buf, len, &got) == ERR_OK);
	CHECK(got.kind == e->kind && got.hosted == e->hosted &&
	      got.time_s == e->time_s && got.link == e->link &&
	      got.sparse == e->sparse);
	CHECK(memcmp(&got.dg, &e->dg, sizeof(got.dg)) == 0);
	CHECK(same_text(got.repo, e->repo) && same_text(got.tag, e->tag) &&
	      same_text(got.media_type, e->media_type));
	for (size_t cut = 0; cut < len; cut++)
		CHECK(journal_entry_decode(buf, cut, &got) == ERR_CORRUPT);
	buf[len] = 0;
	CHECK(journal_entry_decode(buf, len + 1, &got) == ERR_CORRUPT);
}

static void each_statement_comes_back(void)
{
	const struct journal_entry entries[] = {
	    {.kind = JOURNAL_REPO, .repo = "a", .hosted = true, .time_s = 7},
	    {.kind = JOURNAL_REPO, .repo = "a/b-c"},
	    {.kind = JOURNAL_LINK,
	     .repo = "team/app",
	     .time_s = UINT64_MAX,
	     .dg = test_digest(1),
	     .link = LINK_MANIFEST,
	     .sparse = true,
	     .media_type = "application/vnd.oci.image.index.v1+json"},
	    {.kind = JOURNAL_LINK,
	     .repo = "team/app",
	     .dg = test_digest(2),
	     .link = LINK_BLOB,
	     .media_type = ""},
	    {.kind = JOURNAL_UNLINK, .repo = "a", .dg = test_digest(3)},
	    {.kind = JOURNAL_TAG,
	     .repo = "a",
	     .tag = "v1",
	     .dg = test_digest(4),
	     .time_s = 9},
	    {.kind = JOURNAL_UNTAG, .repo = "a", .tag = "latest"},
	};

	for (size_t i = 0; i < ARRAY_LEN(entries); i++)
		check_round_trip(&entries[i]);
}

static void the_longest_of_everything_fits(void)
{
	char repo[REPO_NAME_MAX + 1], tag[TAG_MAX + 1], type[MEDIA_TYPE_MAX];
	struct journal_entry e = {.repo = repo, .tag = tag, .time_s = 1};

	memset(repo, 'r', sizeof(repo) - 1);
	memset(tag, 't', sizeof(tag) - 1);
	memset(type, 'm', sizeof(type) - 1);
	repo[sizeof(repo) - 1] = tag[sizeof(tag) - 1] = type[sizeof(type) - 1] =
	    '\0';
	digest_of(DIGEST_SHA512, "x", 1, &e.dg);
	e.kind = JOURNAL_TAG;
	check_round_trip(&e);
	e.kind = JOURNAL_LINK;
	e.link = LINK_MANIFEST;
	e.tag = NULL;
	e.media_type = type;
	check_round_trip(&e);
}

static void no_media_type_is_an_empty_one(void)
{
	struct journal_entry e = {.kind = JOURNAL_LINK,
				  .repo = "a",
				  .dg = test_digest(1),
				  .link = LINK_BLOB};
	uint8_t buf[JOURNAL_ENTRY_MAX];
	struct journal_entry got;
	size_t len = journal_entry_encode(&e, buf);

	CHECK(journal_entry_decode(buf, len, &got) == ERR_OK);
	CHECK_STR(got.media_type, "");
}

static void what_we_never_write_is_refused(void)
{
	const struct journal_entry bad[] = {
	    {.kind = JOURNAL_REPO, .repo = ""},
	    {.kind = JOURNAL_REPO, .repo = "Upper"},
	    {.kind = JOURNAL_REPO, .repo = "../etc"},
	    {.kind = JOURNAL_UNTAG, .repo = "a", .tag = ""},
	    {.kind = JOURNAL_UNTAG, .repo = "a", .tag = "a/b"},
	};
	uint8_t buf[JOURNAL_ENTRY_MAX];
	struct journal_entry got;
	size_t len;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		len = journal_entry_encode(&bad[i], buf);
		CHECK(journal_entry_decode(buf, len, &got) == ERR_CORRUPT);
	}
	len = journal_entry_encode(
	    &(struct journal_entry){.kind = JOURNAL_REPO, .repo = "a"}, buf);
	CHECK(journal_entry_decode(buf, len, &got) == ERR_OK);
	buf[0]++; /* another version */
	CHECK(journal_entry_decode(buf, len, &got) == ERR_CORRUPT);
	buf[0]--;
	buf[1] = JOURNAL_UNTAG + 1;
	CHECK(journal_entry_decode(buf, len, &got) == ERR_CORRUPT);
}

int main(void)
{
	RUN(each_statement_comes_back);
	RUN(the_longest_of_everything_fits);
	RUN(no_media_type_is_an_empty_one);
	RUN(what_we_never_write_is_refused);
	return unit_done();
}
