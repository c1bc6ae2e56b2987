/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots, which stand for the logs that they replace: what is in them while
 * changes go on, what is made of one that is damaged, and when none is made.
 */
#include "cache/key.h"
#include "tests/unit/rebuild_help.h"

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

/* The path of a snapshot with so many tags; the cache is closed. */
static char *snapshot_of_tags(unsigned n)
{
	c = open_cache(64 * 1024);
	push_many_tags(n);
	take_snapshot();
	cache_close(&c);
	return journal_file(".snap");
}

static void damaged_snapshot_is_read_around(void)
{
	char *snap = snapshot_of_tags(600);

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
	char *snap = snapshot_of_tags(300);

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
	expect_rebuilt(true);
	CHECK(tag_is("v1", &dg));
	free(log);
	close_cache(&c);
}

/* Right bytes, which mean nothing: as of a newer program's row. */
static enum err make_tag_unreadable(struct index_txn *txn, void *arg UNUSED)
{
	struct key k;
	uint64_t id;
	enum err err = repo_id(txn, "", REPO, &id);

	key_start(&k);
	key_u64(&k, id);
	key_bytes(&k, "t7", 2);
	if (err == ERR_OK)
		index_put(txn, TABLE_TAG, key_slice(&k), test_text("\2rot"));
	return err;
}

/* One bit of a value in the index's file, which LMDB does not look at. */
static void rot_in_index(const char *text)
{
	char *path = in_data("index/data.mdb"), *bytes, *at;
	unsigned hits = 0;
	size_t len;

	bytes = read_whole(path, &len);
	at = bytes;
	while (
	    (at = memmem(at, (size_t)(bytes + len - at), text, strlen(text)))) {
		spoil_at(path, at++ - bytes);
		hits++;
	}
	CHECK(hits);
	free(bytes);
	free(path);
}

/* The journal has what the index cannot read: it stays, and the index can be
 * made again from it. */
static void expect_the_logs_stay(void)
{
	char *log, *unnamed = in_data("journal/snapshot.new");
	struct why why = {""};

	take_snapshot();
	cache_close(&c);
	log = journal_file(".log");
	CHECK(renew(&why) == ERR_CORRUPT);
	CHECK(strstr(why.text, "a row of the index") &&
	      strstr(why.text, "'entrepot rebuild'"));
	CHECK(beside("journal.lost-") == 0);
	CHECK(access(unnamed, F_OK) != 0 && access(log, F_OK) == 0);
	expect_rebuilt(true);
	CHECK(count_tags(10) == 10);
	expect_it_goes_on();
	free(log);
	free(unnamed);
	close_cache(&c);
}

static void row_that_means_nothing_keeps_the_logs(void)
{
	c = open_cache(64 * 1024);
	push_many_tags(10);
	CHECK(test_write(c->index, make_tag_unreadable, NULL) == ERR_OK);
	expect_the_logs_stay();
}

static void row_that_has_rotted_keeps_the_logs(void)
{
	c = open_cache(64 * 1024);
	push_many_tags(10);
	cache_close(&c);
	rot_in_index("application/vnd.oci.image.manifest.v1+json");
	open_again();
	expect_the_logs_stay();
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
	expect_rebuilt(true);
	expect_sound(c);
	collect_all(c);
	CHECK(!has_file(c, &second) && !has_file(c, &first));
	CHECK(count_tags(300) == 300);
	expect_sound(c);
	close_cache(&c);
}

int main(void)
{
	RUN(damaged_snapshot_is_read_around);
	RUN(snapshot_that_ends_early_is_told);
	RUN(snapshot_of_less_than_all_is_not_made);
	RUN(row_that_means_nothing_keeps_the_logs);
	RUN(row_that_has_rotted_keeps_the_logs);
	RUN(snapshot_has_its_sequence_when_it_is_whole);
	RUN(name_that_was_released_during_a_snapshot);
	return unit_done();
}
