/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is made of a journal or an index that is damaged, cut off, or lost:
 * everything that was acknowledged and can be read, nothing else, a word about
 * the rest, and a store that goes on.  Of snapshots: test_snapshot.c.
 */
#include "tests/unit/rebuild_help.h"

/* Three images, each in five frames or fewer. */
struct three {
	struct digest dg[3]; /* tagged v0, v1, v2 */
	off_t end[3];        /* where the log ended after each */
	char *log;
};

/* The cache is closed. */
static void push_three(struct three *p)
{
	c = open_cache(64 * 1024);
	for (unsigned i = 0; i < 3; i++) {
		char tag[8];

		snprintf(tag, sizeof(tag), "v%u", i);
		p->dg[i] = push_image(c, REPO, tag, 2 * i, 2 * i + 1);
		p->log = journal_file(".log");
		p->end[i] = size_of(p->log);
		if (i < 2)
			free(p->log);
	}
	cache_close(&c);
}

static void done_with(struct three *p)
{
	free(p->log);
	close_cache(&c);
}

static bool has_all(const struct three *p)
{
	return tag_is("v0", &p->dg[0]) && tag_is("v1", &p->dg[1]) &&
	       tag_is("v2", &p->dg[2]);
}

/* ---- a log that is damaged ---- */

/* `at`: from the end of the first image's records. */
static void expect_read_around(long at)
{
	struct three p;

	push_three(&p);
	spoil_at(p.log, (long)p.end[0] + at);
	expect_refused("rebuild journal");
	CHECK(size_of(p.log) == p.end[2]);
	remove_index();
	expect_refused("'entrepot rebuild'");
	CHECK(rebuild(false) == ERR_OK);
	CHECK(strstr(told, ".log is damaged") && strstr(told, "no records"));
	open_again();
	CHECK(tag_is("v0", &p.dg[0]) && tag_is("v2", &p.dg[2]));
	CHECK(beside("journal.lost-") == 1);
	expect_it_goes_on();
	/* And what is there now is whole. */
	cache_close(&c);
	expect_rebuilt(true);
	CHECK(tag_is("v0", &p.dg[0]) && tag_is("v2", &p.dg[2]));
	done_with(&p);
}

static void damage_in_the_middle_is_read_around(void)
{
	expect_read_around(40);
}

/* Nothing says any more where the next frame begins. */
static void length_that_is_damaged_is_no_torn_tail(void)
{
	expect_read_around(0);
	expect_read_around(3);
}

static void index_mends_the_journal(void)
{
	struct three p;
	struct why why;

	push_three(&p);
	spoil_at(p.log, (long)p.end[0] + 40);
	expect_refused("rebuild journal");
	CHECK(renew(&why) == ERR_OK);
	open_again();
	CHECK(has_all(&p));
	expect_it_goes_on();
	cache_close(&c);
	remove_index();
	expect_rebuilt(true);
	CHECK(has_all(&p) && has_tag("goes-on"));
	expect_sound(c);
	done_with(&p);
}

/* The last record was acknowledged: the index says so.  It is not cut off. */
static void damage_of_the_last_is_no_torn_tail_either(void)
{
	struct three p;
	struct why why;

	push_three(&p);
	spoil_at(p.log, (long)p.end[2] - 3);
	expect_refused("rebuild journal");
	CHECK(size_of(p.log) == p.end[2]);
	CHECK(renew(&why) == ERR_OK);
	open_again();
	CHECK(tag_is("v2", &p.dg[2]));
	expect_it_goes_on();
	done_with(&p);
}

static void journal_that_is_lost_comes_from_the_index(void)
{
	struct three p;
	struct why why;

	push_three(&p);
	CHECK(unlink(p.log) == 0);
	expect_refused("rebuild journal");
	CHECK(renew(&why) == ERR_OK && n_told == 0);
	remove_index();
	expect_rebuilt(true);
	CHECK(has_all(&p));
	expect_it_goes_on();
	done_with(&p);
}

static void lost_index_is_told_at_every_start(void)
{
	struct three p;
	struct why why;

	push_three(&p);
	remove_index();
	for (unsigned i = 0; i < 3; i++)
		expect_refused("'entrepot rebuild'");
	CHECK(renew(&why) == ERR_CORRUPT);
	CHECK(strstr(why.text, "no index"));
	expect_rebuilt(false);
	CHECK(tag_is("v2", &p.dg[2]));
	done_with(&p);
}

static void log_that_has_gone_is_missed(void)
{
	struct digest one, two;
	char *first;

	c = open_cache(64 * 1024);
	one = push_image(c, REPO, "v1", 1, 2);
	cache_close(&c);
	first = journal_file(".log");
	/* As after a sync that failed: another log goes on. */
	open_again();
	close(cache_journal(c)->fd);
	cache_journal(c)->fd = -1;
	two = push_image(c, REPO, "v2", 3, 4);
	cache_close(&c);
	CHECK(unlink(first) == 0);
	remove_index();
	CHECK(rebuild(false) == ERR_OK);
	CHECK(strstr(told, "no records from 1 to"));
	open_again();
	CHECK(tag_is("v2", &two) && !has_tag("v1"));
	CHECK(!has_manifest(c, REPO, &one));
	expect_it_goes_on();
	free(first);
	close_cache(&c);
}

/* ---- what a file says ---- */

static void rotten_bytes_do_not_come_back(void)
{
	struct digest layer = blob_digest(1);
	struct three p;
	char *path;

	push_three(&p);
	path = blob_file(&layer);
	spoil_at(path, 2);
	CHECK(rebuild(true) == ERR_OK);
	CHECK(n_told == 3); /* the file, the link, and who names it */
	open_again();
	CHECK(!has_blob(c, REPO, &layer));
	CHECK(has_manifest(c, REPO, &p.dg[1]));
	CHECK(upload(c, REPO, 1).alg && has_blob(c, REPO, &layer));
	expect_sound(c);
	free(path);
	done_with(&p);
}

/* Even if it is JSON still, and nobody asked for all to be read. */
static void manifest_of_other_bytes_is_not_linked(void)
{
	struct three p;
	char *path, *bytes, *seven;
	size_t len;

	push_three(&p);
	path = blob_file(&p.dg[2]);
	bytes = read_whole(path, &len);
	bytes[len] = '\0';
	seven = strstr(bytes, "\"size\":7");
	CHECK(seven);
	seven[7] = '8';
	write_whole(path, bytes, len);
	CHECK(rebuild(false) == ERR_OK);
	CHECK(n_told == 1 && strstr(told, "another digest"));
	open_again();
	CHECK(!has_manifest(c, REPO, &p.dg[2]) && !has_tag("v2"));
	CHECK(tag_is("v1", &p.dg[1]));
	free(bytes);
	free(path);
	done_with(&p);
}

static void tag_that_cannot_be_moved_is_told(void)
{
	struct digest old, new;
	char *path;

	c = open_cache(64 * 1024);
	old = push_image(c, REPO, "latest", 1, 2);
	new = push_image(c, REPO, "latest", 3, 4);
	cache_close(&c);
	path = blob_file(&new);
	CHECK(unlink(path) == 0);
	CHECK(rebuild(false) == ERR_OK && n_told == 1);
	open_again();
	CHECK(strstr(told, "a tag that it was given stays as it was"));
	CHECK(tag_is("latest", &old));
	expect_sound(c);
	free(path);
	close_cache(&c);
}

static void what_was_deleted_is_not_missed(void)
{
	struct digest dg;

	c = open_cache(64 * 1024);
	push_image(c, REPO, "v1", 1, 2);
	dg = push_image(c, REPO, "v2", 3, 4);
	CHECK(remove_manifest(c, REPO, &dg).err == ERR_OK);
	collect_all(c);
	CHECK(!has_file(c, &dg));
	cache_close(&c);
	CHECK(rebuild(true) == ERR_OK);
	CHECK_STR(told, "");
	open_again();
	CHECK(has_tag("v1") && !has_tag("v2"));
	expect_sound(c);
	close_cache(&c);
}

static void remains_of_a_rebuild_are_in_nobodys_way(void)
{
	struct three p;
	char *folder, *file;

	push_three(&p);
	folder = in_data("index.new");
	file = in_data("index.new/probe");
	CHECK(mkdir(folder, 0700) == 0);
	write_whole(file, "x", 1);
	expect_rebuilt(false);
	CHECK(access(folder, F_OK) != 0 && beside("index.lost-") == 1);
	CHECK(tag_is("v2", &p.dg[2]));
	free(folder);
	free(file);
	done_with(&p);
}

/* ---- a model ---- */

static void empty_journal(void)
{
	char *folder = in_data("journal");
	DIR *dir = opendir(folder);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		(void)!unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	free(folder);
}

#define STEPS 24
#define MODEL_TAGS 4

struct model {
	off_t end[STEPS + 1]; /* of the log after so many steps */
	struct digest tag[STEPS + 1][MODEL_TAGS];

	char *log, *bytes; /* after all */
	size_t len;
};

static const char *const model_tags[MODEL_TAGS] = {"a", "b", "c", "d"};

static void one_step(struct model *m, unsigned i, unsigned *dice)
{
	unsigned t = (*dice = *dice * 1103515245 + 12345) >> 16;
	char *log;

	memcpy(m->tag[i + 1], m->tag[i], sizeof(m->tag[i]));
	if (i % 5 == 4 && m->tag[i][t % MODEL_TAGS].alg) {
		CHECK(remove_tag(c, REPO, model_tags[t % MODEL_TAGS]).err ==
		      ERR_OK);
		m->tag[i + 1][t % MODEL_TAGS].alg = 0;
	} else {
		m->tag[i + 1][t % MODEL_TAGS] = push_image(
		    c, REPO, model_tags[t % MODEL_TAGS], t % 7, 7 + t % 5);
	}
	log = journal_file(".log");
	m->end[i + 1] = size_of(log);
	free(log);
}

static bool is_state(const struct digest want[MODEL_TAGS])
{
	for (unsigned t = 0; t < MODEL_TAGS; t++)
		if (want[t].alg ? !tag_is(model_tags[t], &want[t])
				: has_tag(model_tags[t]))
			return false;
	return true;
}

/* Cut at `at`, it is what it was after the last step that is whole, or what a
 * part of the next has made of it. */
static void expect_prefix(const struct model *m, off_t at)
{
	unsigned i = 0;

	while (i < STEPS && m->end[i + 1] <= at)
		i++;
	CHECK(is_state(m->tag[i]) || (i < STEPS && is_state(m->tag[i + 1])));
}

/* All steps are gone, the cache is closed. */
static struct model *model_new(unsigned *dice)
{
	struct model *m = xcalloc(1, sizeof(*m));

	c = open_cache(64 * 1024);
	for (unsigned i = 0; i < STEPS; i++)
		one_step(m, i, dice);
	cache_close(&c);
	m->log = journal_file(".log");
	m->bytes = read_whole(m->log, &m->len);
	return m;
}

static void model_free(struct model **m)
{
	free((*m)->bytes);
	free((*m)->log);
	free(*m);
	*m = NULL;
	test_dir_remove();
}

static void log_that_ends_anywhere(void)
{
	unsigned dice = 1;
	struct model *m = model_new(&dice);

	for (size_t at = 0; at <= m->len; at += at + 97 < m->len ? 97 : 1) {
		write_whole(m->log, m->bytes, at);
		expect_rebuilt(false);
		expect_prefix(m, (off_t)at);
		CHECK(check_cache(c, false) == 0);
		cache_close(&c);
	}
	model_free(&m);
}

/* One bit, anywhere: told, or of no consequence; and there is a way on. */
static void log_with_one_bit_wrong(void)
{
	unsigned dice = 7;
	struct model *m = model_new(&dice);
	struct why why;

	for (unsigned i = 0; i < 40; i++) {
		size_t at = (dice = dice * 1103515245 + 12345) % m->len;

		write_whole(m->log, m->bytes, m->len);
		spoil_at(m->log, (long)at);
		CHECK(try_open(&why) == ERR_CORRUPT);
		CHECK(size_of(m->log) == (off_t)m->len);
		if (i % 2) {
			CHECK(renew(&why) == ERR_OK);
		} else {
			CHECK(rebuild(false) == ERR_OK);
			CHECK(at >= (size_t)m->end[STEPS - 1] || n_told > 0);
		}
		open_again();
		CHECK(!(i % 2) || is_state(m->tag[STEPS]));
		CHECK(check_cache(c, false) == 0);
		cache_close(&c);
		CHECK(rebuild(false) == ERR_OK && n_told == 0);
		/* As it was, for the next. */
		empty_journal();
		write_whole(m->log, m->bytes, m->len);
		CHECK(rebuild(false) == ERR_OK && n_told == 0);
	}
	model_free(&m);
}

int main(void)
{
	RUN(damage_in_the_middle_is_read_around);
	RUN(length_that_is_damaged_is_no_torn_tail);
	RUN(index_mends_the_journal);
	RUN(damage_of_the_last_is_no_torn_tail_either);
	RUN(journal_that_is_lost_comes_from_the_index);
	RUN(lost_index_is_told_at_every_start);
	RUN(log_that_has_gone_is_missed);
	RUN(rotten_bytes_do_not_come_back);
	RUN(manifest_of_other_bytes_is_not_linked);
	RUN(tag_that_cannot_be_moved_is_told);
	RUN(what_was_deleted_is_not_missed);
	RUN(remains_of_a_rebuild_are_in_nobodys_way);
	RUN(log_that_ends_anywhere);
	RUN(log_with_one_bit_wrong);
	return unit_done();
}
