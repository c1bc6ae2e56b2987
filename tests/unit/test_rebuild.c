/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is made of a journal or an index that is damaged, cut off, or lost:
 * everything that was acknowledged and can be read, nothing else, a word about
 * the rest, and a store that goes on.
 */
#include "cache/journal_int.h"
#include "cache/key.h"
#include "tests/unit/hosted_help.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#define REPO "team/app"

static struct cache *c;

/* ---- files ---- */

static char *in_data(const char *path)
{
	char *data = test_path("data"), *whole = xasprintf("%s/%s", data, path);

	free(data);
	return whole;
}

static char *blob_file(const struct digest *dg)
{
	char path[PATH_LEN_MAX];

	return in_data(blob_path(dg, path));
}

/* The one file of journal/ with this ending; the caller frees it. */
static char *journal_file(const char *ending)
{
	char *folder = in_data("journal"), *found = NULL;
	DIR *dir = opendir(folder);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		const char *dot = strrchr(entry->d_name, '.');

		if (dot && strcmp(dot, ending) == 0) {
			CHECK(!found);
			free(found);
			found = xasprintf("%s/%s", folder, entry->d_name);
		}
	}
	if (dir)
		closedir(dir);
	CHECK(found);
	free(folder);
	return found;
}

static off_t size_of(const char *path)
{
	struct stat st = {.st_size = -1};

	(void)!stat(path, &st);
	return st.st_size;
}

static char *read_whole(const char *path, size_t *len)
{
	FILE *f = fopen(path, "r");
	char *bytes;

	*len = (size_t)size_of(path);
	bytes = xmalloc(*len + 1);
	CHECK(f && fread(bytes, 1, *len, f) == *len);
	fclose(f);
	return bytes;
}

static void write_whole(const char *path, const char *bytes, size_t len)
{
	FILE *f = fopen(path, "w");

	CHECK(f && fwrite(bytes, 1, len, f) == len);
	fclose(f);
}

static void spoil_at(const char *path, long at)
{
	FILE *f = fopen(path, "r+");
	int byte;

	CHECK(f && fseek(f, at, SEEK_SET) == 0);
	byte = fgetc(f);
	CHECK(byte != EOF && fseek(f, at, SEEK_SET) == 0);
	CHECK(fputc(byte ^ 0x40, f) != EOF);
	fclose(f);
}

static void remove_index(void)
{
	char *path = in_data("index/data.mdb");

	CHECK(unlink(path) == 0);
	free(path);
}

/* How many names begin so. */
static unsigned beside(const char *begin)
{
	char *data = test_path("data");
	DIR *dir = opendir(data);
	struct dirent *entry;
	unsigned n = 0;

	while (dir && (entry = readdir(dir)))
		n += strncmp(entry->d_name, begin, strlen(begin)) == 0;
	if (dir)
		closedir(dir);
	free(data);
	return n;
}

/* ---- opening and mending ---- */

static const char *data_path(void)
{
	static char path[PATH_LEN_MAX];
	char *data = test_path("data");

	snprintf(path, sizeof(path), "%s", data);
	free(data);
	return path;
}

static struct cache_options options(void)
{
	return (struct cache_options){
	    .data = data_path(),
	    .max_inline_bytes = 64 * 1024,
	    .max_open_blobs = 4,
	    .event = ignore_event,
	    .index = {.map_bytes = 64 * MIB},
	};
}

static enum err try_open(struct why *why)
{
	struct cache_options opt = options();

	return cache_open(&opt, &c, why);
}

static void open_again(void)
{
	struct why why = {""};

	if (try_open(&why) != ERR_OK) {
		fprintf(stderr, "cache_open: %s\n", why.text);
		exit(1);
	}
}

static unsigned n_told;
static char told[8192];

static void tell(void *arg UNUSED, const char *finding)
{
	size_t used = strlen(told);

	snprintf(told + used, sizeof(told) - used, "%s\n", finding);
	n_told++;
}

static enum err rebuild(bool rehash)
{
	struct cache_options opt = options();
	struct why why = {""};
	enum err err;

	n_told = 0;
	told[0] = '\0';
	err = cache_rebuild(&opt, rehash, NULL, tell, NULL, &why);
	if (err != ERR_OK)
		fprintf(stderr, "rebuild: %s\n", why.text);
	return err;
}

static enum err renew(struct why *why)
{
	struct cache_options opt = options();

	n_told = 0;
	told[0] = '\0';
	return cache_renew_journal(&opt, tell, NULL, why);
}

static bool tag_is(const char *tag, const struct digest *dg)
{
	struct digest held = tag_digest(c, REPO, tag);

	return held.alg && digest_equal(&held, dg) && has_manifest(c, REPO, dg);
}

static bool has_tag(const char *tag)
{
	return tag_digest(c, REPO, tag).alg != 0;
}

/* It takes pushes, and they are there after the next start too. */
static void expect_it_goes_on(void)
{
	struct digest dg = push_image(c, REPO, "goes-on", 901, 902);

	expect_sound(c);
	cache_close(&c);
	open_again();
	CHECK(tag_is("goes-on", &dg));
	expect_sound(c);
}

/* Three images, each in five frames or fewer; where the log ended after each.
 * The cache is closed. */
static void push_three(struct digest dg[3], off_t end[3])
{
	c = open_cache(64 * 1024);
	for (unsigned i = 0; i < 3; i++) {
		char tag[8], *log;

		snprintf(tag, sizeof(tag), "v%u", i);
		dg[i] = push_image(c, REPO, tag, 2 * i, 2 * i + 1);
		log = journal_file(".log");
		end[i] = size_of(log);
		free(log);
	}
	cache_close(&c);
}

/* ---- a log that is damaged ---- */

/* `at`: from the end of the first image's records. */
static void expect_read_around(long at)
{
	struct digest dg[3];
	struct why why;
	off_t end[3];
	char *log;

	push_three(dg, end);
	log = journal_file(".log");
	spoil_at(log, (long)end[0] + at);
	CHECK(try_open(&why) == ERR_CORRUPT);
	CHECK(strstr(why.text, "rebuild journal"));
	CHECK(size_of(log) == end[2]);
	remove_index();
	CHECK(try_open(&why) == ERR_CORRUPT);
	CHECK(rebuild(false) == ERR_OK);
	CHECK(strstr(told, ".log is damaged") && strstr(told, "no records"));
	open_again();
	CHECK(tag_is("v0", &dg[0]) && tag_is("v2", &dg[2]));
	CHECK(beside("journal.lost-") == 1);
	expect_it_goes_on();
	/* And what is there now is whole. */
	cache_close(&c);
	CHECK(rebuild(true) == ERR_OK && n_told == 0);
	open_again();
	CHECK(tag_is("v0", &dg[0]) && tag_is("v2", &dg[2]));
	free(log);
	close_cache(&c);
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
	struct digest dg[3];
	struct why why;
	off_t end[3];
	char *log;

	push_three(dg, end);
	log = journal_file(".log");
	spoil_at(log, (long)end[0] + 40);
	CHECK(try_open(&why) == ERR_CORRUPT);
	CHECK(renew(&why) == ERR_OK);
	open_again();
	for (unsigned i = 0; i < 3; i++) {
		char tag[8];

		snprintf(tag, sizeof(tag), "v%u", i);
		CHECK(tag_is(tag, &dg[i]));
	}
	expect_it_goes_on();
	cache_close(&c);
	remove_index();
	CHECK(rebuild(true) == ERR_OK && n_told == 0);
	open_again();
	CHECK(tag_is("v0", &dg[0]) && tag_is("v1", &dg[1]));
	CHECK(tag_is("v2", &dg[2]) && has_tag("goes-on"));
	expect_sound(c);
	free(log);
	close_cache(&c);
}

/* The last record was acknowledged: the index says so.  It is not cut off. */
static void damage_of_the_last_is_no_torn_tail_either(void)
{
	struct digest dg[3];
	struct why why;
	off_t end[3];
	char *log;

	push_three(dg, end);
	log = journal_file(".log");
	spoil_at(log, (long)end[2] - 3);
	CHECK(try_open(&why) == ERR_CORRUPT);
	CHECK(strstr(why.text, "rebuild journal"));
	CHECK(size_of(log) == end[2]);
	CHECK(renew(&why) == ERR_OK);
	open_again();
	CHECK(tag_is("v2", &dg[2]));
	expect_it_goes_on();
	free(log);
	close_cache(&c);
}

static void journal_that_is_lost_comes_from_the_index(void)
{
	struct digest dg[3];
	struct why why;
	off_t end[3];
	char *log;

	push_three(dg, end);
	log = journal_file(".log");
	CHECK(unlink(log) == 0);
	CHECK(try_open(&why) == ERR_CORRUPT);
	CHECK(strstr(why.text, "rebuild journal"));
	CHECK(renew(&why) == ERR_OK && n_told == 0);
	remove_index();
	CHECK(rebuild(true) == ERR_OK && n_told == 0);
	open_again();
	CHECK(tag_is("v0", &dg[0]) && tag_is("v1", &dg[1]));
	CHECK(tag_is("v2", &dg[2]));
	expect_it_goes_on();
	free(log);
	close_cache(&c);
}

static void lost_index_is_told_at_every_start(void)
{
	struct digest dg[3];
	struct why why;
	off_t end[3];

	push_three(dg, end);
	remove_index();
	for (unsigned i = 0; i < 3; i++) {
		CHECK(try_open(&why) == ERR_CORRUPT);
		CHECK(strstr(why.text, "'entrepot rebuild'"));
	}
	CHECK(renew(&why) == ERR_CORRUPT);
	CHECK(strstr(why.text, "no index"));
	CHECK(rebuild(false) == ERR_OK && n_told == 0);
	open_again();
	CHECK(tag_is("v2", &dg[2]));
	close_cache(&c);
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
	struct digest dg[3], layer = blob_digest(1);
	off_t end[3];
	char *path;

	push_three(dg, end);
	path = blob_file(&layer);
	spoil_at(path, 2);
	CHECK(rebuild(true) == ERR_OK);
	CHECK(n_told == 3); /* the file, the link, and who names it */
	open_again();
	CHECK(!has_blob(c, REPO, &layer));
	CHECK(has_manifest(c, REPO, &dg[1]));
	CHECK(upload(c, REPO, 1).alg && has_blob(c, REPO, &layer));
	expect_sound(c);
	free(path);
	close_cache(&c);
}

/* Even if it is JSON still, and nobody asked for all to be read. */
static void manifest_of_other_bytes_is_not_linked(void)
{
	struct digest dg[3];
	off_t end[3];
	char *path, *bytes, *seven;
	size_t len;

	push_three(dg, end);
	path = blob_file(&dg[2]);
	bytes = read_whole(path, &len);
	bytes[len] = '\0';
	seven = strstr(bytes, "\"size\":7");
	CHECK(seven);
	seven[7] = '8';
	write_whole(path, bytes, len);
	CHECK(rebuild(false) == ERR_OK);
	CHECK(n_told == 1 && strstr(told, "another digest"));
	open_again();
	CHECK(!has_manifest(c, REPO, &dg[2]) && !has_tag("v2"));
	CHECK(tag_is("v1", &dg[1]));
	free(bytes);
	free(path);
	close_cache(&c);
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
	struct digest dg[3];
	off_t end[3];
	char *folder, *file;

	push_three(dg, end);
	folder = in_data("index.new");
	file = in_data("index.new/probe");
	CHECK(mkdir(folder, 0700) == 0);
	write_whole(file, "x", 1);
	CHECK(rebuild(false) == ERR_OK);
	CHECK(access(folder, F_OK) != 0 && beside("index.lost-") == 1);
	open_again();
	CHECK(tag_is("v2", &dg[2]));
	free(folder);
	free(file);
	close_cache(&c);
}

/* ---- snapshots ---- */

static void take_snapshot(void)
{
	cache_journal(c)->worth_bytes = 1;
	while (journal_snapshot_step(cache_journal(c)))
		;
}

/* More than a page. */
static void push_many_tags(unsigned n)
{
	char *text = image_of(1, 2, NULL), tag[16];

	upload(c, REPO, 1);
	upload(c, REPO, 2);
	for (unsigned i = 0; i < n; i++) {
		snprintf(tag, sizeof(tag), "t%u", i);
		CHECK(push(c, REPO, tag, text).err == ERR_OK);
	}
	free(text);
}

static unsigned count_tags(unsigned n)
{
	unsigned found = 0;
	char tag[16];

	for (unsigned i = 0; i < n; i++) {
		snprintf(tag, sizeof(tag), "t%u", i);
		found += has_tag(tag);
	}
	return found;
}

static void damaged_snapshot_is_read_around(void)
{
	char *snap;

	c = open_cache(64 * 1024);
	push_many_tags(600);
	take_snapshot();
	cache_close(&c);
	snap = journal_file(".snap");
	spoil_at(snap, size_of(snap) / 2);
	/* With the index it is not read at all, and can be mended. */
	open_again();
	cache_close(&c);
	remove_index();
	CHECK(rebuild(false) == ERR_OK);
	CHECK(strstr(told, ".snap is damaged"));
	open_again();
	CHECK(count_tags(600) >= 300 && count_tags(600) < 600);
	expect_it_goes_on();
	free(snap);
	close_cache(&c);
}

/* Nothing says that these were all pages. */
static void snapshot_that_ends_early_is_told(void)
{
	char *snap;

	c = open_cache(64 * 1024);
	push_many_tags(300);
	take_snapshot();
	cache_close(&c);
	snap = journal_file(".snap");
	CHECK(truncate(snap, size_of(snap) - (JOURNAL_FRAME_HEAD +
					      JOURNAL_FRAME_MIN)) == 0);
	remove_index();
	CHECK(rebuild(false) == ERR_OK);
	CHECK(n_told == 1 && strstr(told, ".snap is damaged at its end"));
	open_again();
	CHECK(count_tags(300) == 300);
	expect_it_goes_on();
	free(snap);
	close_cache(&c);
}

static enum err forget_repo(struct index_txn *txn, void *arg UNUSED)
{
	struct key k;
	uint64_t id;
	enum err err = repo_id(txn, "", REPO, &id);

	key_start(&k);
	key_u64(&k, id);
	if (err == ERR_OK)
		index_del(txn, TABLE_REPO, key_slice(&k));
	return err;
}

/* The logs are all that still tells of it. */
static void snapshot_of_less_than_all_is_not_made(void)
{
	struct digest dg;
	char *log;

	c = open_cache(64 * 1024);
	push_image(c, "a/before", "v1", 1, 2);
	dg = push_image(c, REPO, "v1", 3, 4);
	CHECK(test_write(c->index, forget_repo, NULL) == ERR_OK);
	take_snapshot();
	cache_close(&c);
	log = journal_file(".log");
	remove_index();
	CHECK(rebuild(true) == ERR_OK && n_told == 0);
	open_again();
	CHECK(tag_is("v1", &dg));
	free(log);
	close_cache(&c);
}

static enum err note_order(void *arg, uint64_t seq,
			   const struct journal_entry *e)
{
	unsigned *v = arg;

	if (e && !seq) {
		CHECK(v[1] == 0);
		v[0]++;
	} else if (!e) {
		v[1]++;
	} else {
		CHECK(v[1] == 1);
		v[2]++;
	}
	return ERR_OK;
}

/* Half of it would be an index that has all, and has not. */
static void snapshot_has_its_sequence_when_it_is_whole(void)
{
	unsigned v[3] = {0};
	struct journal_replaying r = {.cb = note_order, .arg = v};
	struct why why = {""};

	c = open_cache(64 * 1024);
	push_many_tags(300);
	take_snapshot();
	push_image(c, REPO, "behind", 3, 4);
	CHECK(journal_replay(c, &r, &why) == ERR_OK);
	CHECK(v[0] > 300 && v[1] == 1 && v[2] > 0);
	CHECK(r.last == journal_last(cache_journal(c)));
	close_cache(&c);
}

static enum err release_repo(const char *name)
{
	struct outcome o = OUTCOME;

	cache_release_repo(c, name, came_out, &o);
	return result_of(&o).err;
}

/*
 * The pages have the second life of a name, the logs behind them both; the
 * first one's end is not to leave a link that nobody can delete.
 */
static void name_that_was_released_during_a_snapshot(void)
{
	struct digest first, second;

	c = open_cache(64 * 1024);
	push_many_tags(300); /* the first page ends within */
	first = push_image(c, "z/last", "v1", 11, 12);
	cache_journal(c)->worth_bytes = 1;
	CHECK(journal_snapshot_step(cache_journal(c)));
	CHECK(remove_manifest(c, "z/last", &first).err == ERR_OK);
	for (unsigned n = 11; n <= 12; n++) {
		struct digest dg = blob_digest(n);

		CHECK(remove_blob(c, "z/last", &dg).err == ERR_OK);
	}
	CHECK(release_repo("z/last") == ERR_OK);
	second = push_image(c, "z/last", "v1", 13, 14);
	while (journal_snapshot_step(cache_journal(c)))
		;
	CHECK(remove_manifest(c, "z/last", &second).err == ERR_OK);
	cache_close(&c);
	free(journal_file(".snap"));
	remove_index();
	CHECK(rebuild(true) == ERR_OK && n_told == 0);
	open_again();
	expect_sound(c);
	collect_all(c);
	CHECK(!has_file(c, &second) && !has_file(c, &first));
	CHECK(count_tags(300) == 300);
	expect_sound(c);
	close_cache(&c);
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

static void log_that_ends_anywhere(void)
{
	struct model *m = xcalloc(1, sizeof(*m));
	unsigned dice = 1;
	char *log, *bytes;
	size_t len;

	c = open_cache(64 * 1024);
	for (unsigned i = 0; i < STEPS; i++)
		one_step(m, i, &dice);
	cache_close(&c);
	log = journal_file(".log");
	bytes = read_whole(log, &len);
	for (size_t at = 0; at <= len; at += at + 97 < len ? 97 : 1) {
		write_whole(log, bytes, at);
		CHECK(rebuild(false) == ERR_OK && n_told == 0);
		open_again();
		expect_prefix(m, (off_t)at);
		CHECK(check_cache(c, false) == 0);
		cache_close(&c);
	}
	free(bytes);
	free(log);
	free(m);
	test_dir_remove();
}

/* One bit, anywhere: told, or of no consequence; and there is a way on. */
static void log_with_one_bit_wrong(void)
{
	struct model *m = xcalloc(1, sizeof(*m));
	unsigned dice = 7;
	char *log, *bytes;
	struct why why;
	size_t len;

	c = open_cache(64 * 1024);
	for (unsigned i = 0; i < STEPS; i++)
		one_step(m, i, &dice);
	cache_close(&c);
	log = journal_file(".log");
	bytes = read_whole(log, &len);
	for (unsigned i = 0; i < 40; i++) {
		size_t at = (dice = dice * 1103515245 + 12345) % len;

		write_whole(log, bytes, len);
		spoil_at(log, (long)at);
		CHECK(try_open(&why) == ERR_CORRUPT);
		CHECK(size_of(log) == (off_t)len);
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
		write_whole(log, bytes, len);
		CHECK(rebuild(false) == ERR_OK && n_told == 0);
	}
	free(bytes);
	free(log);
	free(m);
	test_dir_remove();
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
	RUN(damaged_snapshot_is_read_around);
	RUN(snapshot_that_ends_early_is_told);
	RUN(snapshot_of_less_than_all_is_not_made);
	RUN(snapshot_has_its_sequence_when_it_is_whole);
	RUN(name_that_was_released_during_a_snapshot);
	RUN(log_that_ends_anywhere);
	RUN(log_with_one_bit_wrong);
	return unit_done();
}
