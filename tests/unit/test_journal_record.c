/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records in frames that are whole, and yet not ours to read: bytes that are
 * no statement, frames of another number of records than they say, and what a
 * newer program has written.
 */
#include "tests/unit/rebuild_help.h"

/* ---- frames ---- */

#define NO_STATEMENT "\1\1NOT A NAME"
#define NEWER "\2\1of a newer program"

struct frame {
	uint8_t buf[4096];
	size_t len; /* of the records */
	uint32_t n;
};

#define FRAME_HEAD (JOURNAL_FRAME_HEAD + JOURNAL_FRAME_MIN)

static void add_bytes(struct frame *f, const void *bytes, size_t len)
{
	uint8_t *at = f->buf + FRAME_HEAD + f->len;

	put_be32(at, (uint32_t)len);
	memcpy(at + 4, bytes, len);
	f->len += 4 + len;
	f->n++;
}

static void add_tag(struct frame *f, const char *tag, const struct digest *dg)
{
	struct journal_entry e = {.kind = JOURNAL_TAG,
				  .repo = REPO,
				  .tag = tag,
				  .dg = *dg,
				  .time_s = 1};
	uint8_t payload[JOURNAL_ENTRY_MAX];

	add_bytes(f, payload, journal_entry_encode(&e, payload));
}

static void append_frame(const char *path, struct frame *f, uint64_t first)
{
	FILE *file = fopen(path, "a");
	size_t len = FRAME_HEAD + f->len;

	journal_frame_head(f->buf, first, f->n, f->buf + FRAME_HEAD, f->len);
	CHECK(file && fwrite(f->buf, 1, len, file) == len);
	fclose(file);
}

/* A snapshot's, before all that it has. */
static void prepend_frame(const char *path, struct frame *f)
{
	size_t len;
	char *bytes = read_whole(path, &len);
	FILE *file;

	CHECK(truncate(path, 0) == 0);
	append_frame(path, f, 0);
	file = fopen(path, "a");
	CHECK(file && fwrite(bytes, 1, len, file) == len);
	fclose(file);
	free(bytes);
}

/* ---- one image, and a file of the journal ---- */

struct store_at {
	struct digest dg; /* tagged v1 */
	uint64_t last;
	char *path;
	off_t size;
};

/* The cache is closed.  With a snapshot, it is all that tells of v1. */
static struct store_at make_store(const char *suffix)
{
	struct store_at s;

	c = open_cache(64 * 1024);
	s.dg = push_image(c, REPO, "v1", 1, 2);
	s.last = journal_last(cache_journal(c));
	cache_journal(c)->worth_bytes = 1;
	while (strcmp(suffix, ".snap") == 0 &&
	       journal_snapshot_step(cache_journal(c)))
		;
	cache_close(&c);
	s.path = journal_file(suffix);
	s.size = size_of(s.path);
	return s;
}

static void done_with(struct store_at *s)
{
	free(s->path);
	close_cache(&c);
}

static const char *name_of(const struct store_at *s)
{
	return strrchr(s->path, '/') + 1;
}

/* ---- what is no statement ---- */

/* In the middle of three: the file and the record are named, those around it
 * are read. */
static void expect_named_and_read_around(bool with_index)
{
	struct store_at s = make_store(".log");
	struct frame f = {.n = 0};
	struct why why = {""};
	char *which = xasprintf("record %" PRIu64 " in journal/%s cannot be "
				"read",
				s.last + 2, name_of(&s));

	add_tag(&f, "before", &s.dg);
	add_bytes(&f, NO_STATEMENT, strlen(NO_STATEMENT));
	add_tag(&f, "behind", &s.dg);
	append_frame(s.path, &f, s.last + 1);
	expect_refused(which);
	expect_refused("'entrepot rebuild journal'");
	CHECK(size_of(s.path) > s.size);
	if (!with_index)
		remove_index();
	CHECK((with_index ? renew(&why) : rebuild(false)) == ERR_OK);
	CHECK(n_told == 1 && strstr(told, which));
	CHECK(beside("journal.lost-") == 1);
	open_again();
	CHECK(tag_is("v1", &s.dg));
	CHECK(tag_is("before", &s.dg) && tag_is("behind", &s.dg));
	expect_it_goes_on();
	free(which);
	done_with(&s);
}

static void index_goes_on_around_what_is_no_statement(void)
{
	expect_named_and_read_around(true);
}

static void rebuild_goes_on_around_what_is_no_statement(void)
{
	expect_named_and_read_around(false);
}

static void snapshot_with_what_is_no_statement_is_read_around(void)
{
	struct store_at s = make_store(".snap");
	struct frame f = {.n = 0};

	add_bytes(&f, NO_STATEMENT, strlen(NO_STATEMENT));
	prepend_frame(s.path, &f);
	remove_index();
	CHECK(rebuild(false) == ERR_OK);
	CHECK(n_told == 1 && strstr(told, name_of(&s)));
	CHECK(strstr(told, "has a record that cannot be read"));
	open_again();
	CHECK(tag_is("v1", &s.dg));
	expect_it_goes_on();
	done_with(&s);
}

/* Nobody wrote such a frame, so nobody knows what it means. */
static void frame_of_another_number_of_records_is_told(void)
{
	static const int wrong[] = {-1, 1};

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct store_at s = make_store(".log");
		struct frame f = {.n = 0};

		add_tag(&f, "one", &s.dg);
		add_tag(&f, "two", &s.dg);
		f.n += (uint32_t)wrong[i];
		append_frame(s.path, &f, s.last + 1);
		expect_refused(name_of(&s));
		CHECK(rebuild(false) == ERR_OK);
		CHECK(n_told == 1 && strstr(told, name_of(&s)));
		open_again();
		CHECK(tag_is("v1", &s.dg) && tag_is("one", &s.dg));
		expect_it_goes_on();
		done_with(&s);
	}
}

/* ---- of a newer program ---- */

static unsigned n_files;

static void count_file(void *arg UNUSED, uint64_t done UNUSED,
		       uint64_t of UNUSED)
{
	n_files++;
}

static void expect_newer(enum err err, const struct why *why,
			 const struct store_at *s)
{
	CHECK(err == ERR_INVALID);
	CHECK(strstr(why->text, name_of(s)));
	CHECK(strstr(why->text, "newer entrepot") &&
	      strstr(why->text, "version 2"));
	CHECK(beside("journal.lost-") == 0 && beside("index.lost-") == 0);
}

/* Before a file is read, which takes hours where there are many. */
static void expect_not_rebuilt(const struct store_at *s)
{
	struct cache_options opt = options();
	struct why why = {""};
	enum err err;

	n_files = 0;
	err = cache_rebuild(&opt, true, count_file, tell, NULL, &why);
	expect_newer(err, &why, s);
	CHECK(n_files == 0);
}

static void newer_log_is_left_to_its_program(void)
{
	struct store_at s = make_store(".log");
	struct frame f = {.n = 0};
	struct why why = {""};
	off_t size;

	add_tag(&f, "before", &s.dg);
	add_bytes(&f, NEWER, strlen(NEWER));
	append_frame(s.path, &f, s.last + 1);
	size = size_of(s.path);
	expect_newer(try_open(&why), &why, &s);
	expect_newer(renew(&why), &why, &s);
	expect_not_rebuilt(&s);
	CHECK(size_of(s.path) == size);
	/* And with its program gone again, what it wrote too, all is as it
	 * was. */
	CHECK(truncate(s.path, s.size) == 0);
	open_again();
	CHECK(tag_is("v1", &s.dg));
	expect_it_goes_on();
	done_with(&s);
}

static void newer_snapshot_is_left_to_its_program(void)
{
	struct store_at s = make_store(".snap");
	struct frame f = {.n = 0};
	off_t size;

	add_bytes(&f, NEWER, strlen(NEWER));
	prepend_frame(s.path, &f);
	size = size_of(s.path);
	remove_index();
	expect_not_rebuilt(&s);
	CHECK(size_of(s.path) == size);
	test_dir_remove();
	free(s.path);
}

int main(void)
{
	RUN(index_goes_on_around_what_is_no_statement);
	RUN(rebuild_goes_on_around_what_is_no_statement);
	RUN(snapshot_with_what_is_no_statement_is_read_around);
	RUN(frame_of_another_number_of_records_is_told);
	RUN(newer_log_is_left_to_its_program);
	RUN(newer_snapshot_is_left_to_its_program);
	return unit_done();
}
