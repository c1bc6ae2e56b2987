/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/event.h"
#include "cache/upload_int.h"
#include "tests/unit/index_help.h"
#include "tests/unit/upload_help.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#define LEN ((size_t)700000)

static struct temp t;
static struct digest dg;
static uint8_t *bytes;

static void begin(void)
{
	temp_make(&t);
	temp_open(&t);
	bytes = temp_bytes(7, LEN, &dg);
}

static void say(void *arg UNUSED, const char *finding)
{
	fprintf(stderr, "finding: %s\n", finding);
}

static void end(void)
{
	while (cache_recover_step(t.c))
		;
	CHECK(cache_check(t.c, true, say, NULL) == 0);
	temp_close(&t);
	temp_remove(&t);
	free(bytes);
}

static void restart(void)
{
	temp_close(&t);
	temp_open(&t);
}

static struct upload *start(void)
{
	struct upload *u = NULL;
	struct why why = {""};

	CHECK(upload_new(t.c, REPO, DIGEST_SHA256, &u, &why) == ERR_OK);
	if (!u) {
		fprintf(stderr, "%s\n", why.text);
		abort();
	}
	return u;
}

static struct upload *open_again(const char *id)
{
	struct upload *u = NULL;
	struct why why = {""};

	if (upload_open(t.c, id, &u, &why) != ERR_OK) {
		fprintf(stderr, "%s\n", why.text);
		abort();
	}
	return u;
}

static void keep_id(const struct upload *u, char *id)
{
	snprintf(id, UPLOAD_ID_SIZE, "%s", upload_id(u));
}

/* A session of so many bytes; `id` may be NULL. */
static struct upload *start_sent(size_t len, char *id)
{
	struct upload *u = start();

	if (id)
		keep_id(u, id);
	CHECK(upload_send(u, bytes, 0, len, NULL) == ERR_OK);
	return u;
}

/* And it is closed again. */
static void start_with(size_t len, char *id)
{
	struct upload *u = start_sent(len, id);

	upload_close(&u);
}

static struct upload *open_at(const char *id, uint64_t offset)
{
	struct upload *u = open_again(id);

	CHECK(upload_offset(u) == offset);
	return u;
}

/* Whether it is open or not. */
static void expect_told(const char *id, uint64_t offset)
{
	struct upload_info info;

	CHECK(upload_look(t.c, id, &info, NULL) == ERR_OK);
	CHECK(info.offset == offset);
	CHECK_STR(info.repo, REPO);
}

/* The bytes from there on, and the end. */
static void end_with(struct upload *u, size_t from)
{
	CHECK(upload_send(u, bytes, from, LEN, NULL) == ERR_OK);
	CHECK(upload_end(&u, &dg, NULL) == ERR_OK);
	CHECK(temp_has(&t, &dg, bytes, LEN));
}

static void cancel(const char *id)
{
	struct upload *u = open_again(id);

	upload_cancel(&u);
	CHECK(!u);
}

static unsigned files_in_uploads(void)
{
	char *path = xasprintf("%s/uploads", t.dir);
	DIR *dir = opendir(path);
	struct dirent *entry;
	unsigned n = 0;

	while (dir && (entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	closedir(dir);
	free(path);
	return n;
}

static uint64_t file_size(const char *id)
{
	char path[PATH_LEN_MAX];
	struct stat st;

	if (temp_file(&t, upload_path(id, path), &st) ||
	    temp_file(&t, upload_put_path(id, path), &st))
		return (uint64_t)st.st_size;
	return UINT64_MAX;
}

/* Change a session's row behind its back. */
struct change_row {
	const char *id;
	void (*change)(struct upload_row *row);
};

static enum err change_row_apply(struct index_txn *txn, void *arg)
{
	struct change_row *c = arg;
	struct upload_row row;
	enum err err = upload_get(txn, c->id, &row);

	if (err != ERR_OK)
		return err;
	c->change(&row);
	upload_put(txn, c->id, &row);
	return ERR_OK;
}

static void change_row(const char *id, void (*change)(struct upload_row *row))
{
	struct change_row c = {id, change};

	CHECK(test_write(t.c->index, change_row_apply, &c) == ERR_OK);
}

/* ---- the way through ---- */

static void a_finished_upload_is_stored_linked_and_told_of(void)
{
	struct index_txn *txn;
	struct upload *u;
	struct upload_row row;
	struct why why = {""};
	char id[UPLOAD_ID_SIZE];

	begin();
	u = start();
	keep_id(u, id);
	CHECK_STR(upload_repo(u), REPO);
	CHECK(upload_send(u, bytes, 0, LEN, &why) == ERR_OK);
	CHECK(upload_offset(u) == LEN);
	CHECK(upload_end(&u, &dg, &why) == ERR_OK);
	CHECK(!u);
	CHECK_STR(why.text, "");
	CHECK(temp_has(&t, &dg, bytes, LEN));
	CHECK(upload_is_linked(t.c, REPO, &dg));
	CHECK(upload_read_row(t.c, id, &row) == ERR_NOT_FOUND);
	CHECK(files_in_uploads() == 0);
	txn = index_read(t.c->index);
	CHECK(hosted_is_claimed(txn, REPO));
	CHECK(event_count(txn) == 1);
	index_read_end(txn);
	CHECK(upload_open(t.c, id, &u, &why) == ERR_NOT_FOUND);
	end();
}

static void what_is_finished_is_leased(void)
{
	struct upload *u;

	begin();
	usleep(300 * 1000); /* so that not all counts as leased */
	cache_set_grace(t.c, 250);
	CHECK(!lease_has(t.c->leases, &dg));
	u = start_sent(LEN, NULL);
	cache_set_grace(t.c, 250);
	CHECK(upload_end(&u, &dg, NULL) == ERR_OK);
	CHECK(lease_has(t.c->leases, &dg));
	end();
}

static void no_bytes_are_a_blob_too(void)
{
	struct upload *u;
	struct digest empty;

	begin();
	digest_of(DIGEST_SHA256, "", 0, &empty);
	u = start();
	CHECK(upload_end(&u, &empty, NULL) == ERR_OK);
	CHECK(temp_has(&t, &empty, (const uint8_t *)"", 0));
	CHECK(upload_is_linked(t.c, REPO, &empty));
	u = start();
	CHECK(upload_begin_put(u, NULL) == ERR_OK);
	CHECK(upload_end(&u, &empty, NULL) == ERR_OK);
	CHECK(files_in_uploads() == 0);
	end();
}

static void the_end_may_ask_for_another_algorithm(void)
{
	struct digest long_dg;
	struct upload *u;

	begin();
	digest_of(DIGEST_SHA512, bytes, LEN, &long_dg);
	u = start_sent(LEN, NULL);
	CHECK(upload_end(&u, &long_dg, NULL) == ERR_OK);
	CHECK(temp_has(&t, &long_dg, bytes, LEN));
	end();
}

struct matched {
	char id[UPLOAD_ID_SIZE];
	unsigned calls;
};

static void note_matched(void *arg)
{
	struct matched *m = arg;
	char path[PATH_LEN_MAX];
	struct stat st;

	CHECK(temp_file(&t, upload_proven_path(m->id, &dg, path), &st));
	CHECK(st.st_nlink == 1);
	m->calls++;
}

static void matched_is_called_once_the_name_tells_the_digest(void)
{
	struct hosting h = upload_hosting();
	struct matched m = {"", 0};
	struct upload *u;
	struct digest wrong;

	begin();
	digest_of(DIGEST_SHA256, "wrong", 5, &wrong);
	u = start_sent(LEN, m.id);
	CHECK(upload_finish(&u, &wrong, &h, note_matched, &m, NULL) ==
	      ERR_MISMATCH);
	CHECK(m.calls == 0);
	CHECK(upload_finish(&u, &dg, &h, note_matched, &m, NULL) == ERR_OK);
	CHECK(m.calls == 1);
	end();
}

/* ---- sessions ---- */

static void a_session_survives_a_restart(void)
{
	char id[UPLOAD_ID_SIZE];

	begin();
	start_with(300000, id);
	restart();
	expect_told(id, 300000);
	end_with(open_at(id, 300000), 300000);
	end();
}

static uint64_t count_commits(void)
{
	struct index_stats stats;

	index_stats(t.c->index, &stats);
	return stats.commits;
}

static void a_session_that_ends_at_once_costs_one_commit(void)
{
	uint64_t before;
	struct upload *u;

	begin();
	before = count_commits();
	u = start_sent(LEN, NULL);
	expect_told(upload_id(u), LEN);
	CHECK(count_commits() == before);
	CHECK(upload_end(&u, &dg, NULL) == ERR_OK);
	CHECK(count_commits() == before + 1);
	u = start();
	upload_cancel(&u);
	CHECK(files_in_uploads() == 0);
	end();
}

static void as_it_is(struct upload_row *row UNUSED)
{
}

/* As a kill leaves it that comes before there is a row. */
static void its_file_tells_of_a_session_without_a_row(void)
{
	char id[UPLOAD_ID_SIZE];
	struct upload *u;

	begin();
	start_with(300000, id);
	CHECK(upload_row_drop_wait(t.c, id) == ERR_OK);
	CHECK(cache_check(t.c, true, say, NULL) == 0);
	expect_told(id, 300000);
	restart();
	change_row(id, as_it_is); /* so there is one */
	CHECK(upload_row_drop_wait(t.c, id) == ERR_OK);
	u = open_at(id, 300000);
	CHECK_STR(upload_repo(u), REPO);
	end_with(u, 300000);
	end();
}

/* Nothing of it was synced. */
static void without_a_row_it_does_not_survive_another_boot(void)
{
	struct boot_id now;
	char id[UPLOAD_ID_SIZE];
	struct upload *u;

	begin();
	now = t.c->boot;
	memset(&t.c->boot, 0xee, sizeof(t.c->boot));
	start_with(300000, id);
	t.c->boot = now;
	CHECK(upload_row_drop_wait(t.c, id) == ERR_OK);
	CHECK(upload_open(t.c, id, &u, NULL) == ERR_NOT_FOUND);
	restart();
	CHECK(files_in_uploads() == 0);
	end();
}

/* Its file stays where it cannot be unlinked, and is no session's. */
static void what_is_given_up_does_not_come_back(void)
{
	char id[UPLOAD_ID_SIZE], from[PATH_LEN_MAX];
	struct upload *u;
	int at;

	begin();
	at = t.c->data_fd;
	u = start();
	keep_id(u, id);
	CHECK(linkat(at, upload_path(id, from), at, "uploads/kept", 0) == 0);
	upload_cancel(&u);
	CHECK(renameat(at, "uploads/kept", at, from) == 0);
	CHECK(upload_open(t.c, id, &u, NULL) == ERR_NOT_FOUND);
	restart();
	CHECK(files_in_uploads() == 0);
	end();
}

static void a_session_has_one_owner(void)
{
	struct upload *u, *other = NULL;
	struct upload_info info;
	char id[UPLOAD_ID_SIZE];

	begin();
	u = start_sent(5, id);
	CHECK(upload_open(t.c, id, &other, NULL) == ERR_BUSY);
	CHECK(!other);
	expect_told(id, 5);
	upload_close(&u);
	cancel(id);
	CHECK(upload_open(t.c, id, &u, NULL) == ERR_NOT_FOUND);
	CHECK(upload_look(t.c, id, &info, NULL) == ERR_NOT_FOUND);
	CHECK(files_in_uploads() == 0);
	end();
}

static void ids_that_are_none_are_not_found(void)
{
	static const char *const ids[] = {
	    "",
	    "x",
	    "../../blobs/sha256",
	    "01234567-89ab-4def-8123-456789abcdef",
	    "01234567-89AB-4def-8123-456789abcdef",
	    "01234567-89ab-4def-8123-456789abcdef0",
	    "01234567-89ab-4def-8123-456789abcdef@put",
	};
	struct upload_info info;
	struct upload *u;

	begin();
	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		CHECK(upload_open(t.c, ids[i], &u, NULL) == ERR_NOT_FOUND);
		CHECK(upload_look(t.c, ids[i], &info, NULL) == ERR_NOT_FOUND);
	}
	end();
}

static void names_of_files_are_read_back(void)
{
	static const char id[] = "01234567-89ab-4def-8123-456789abcdef";
	char path[PATH_LEN_MAX], got[UPLOAD_ID_SIZE], bad[PATH_LEN_MAX];
	struct digest digests[2], found;

	digest_of(DIGEST_SHA256, "a", 1, &digests[0]);
	digest_of(DIGEST_SHA512, "a", 1, &digests[1]);
	for (int i = 0; i < 2; i++) {
		upload_proven_path(id, &digests[i], path);
		CHECK(upload_name_parse(path + 8, got, &found) == ERR_OK);
		CHECK_STR(got, id);
		CHECK(digest_equal(&found, &digests[i]));
		snprintf(bad, sizeof(bad), "%s0", path + 8);
		CHECK(upload_name_parse(bad, got, &found) == ERR_INVALID);
	}
	CHECK(upload_name_parse(upload_put_path(id, path) + 8, got, &found) ==
	      ERR_OK);
	CHECK(!found.alg);
	CHECK(upload_name_parse(upload_path(id, path) + 8, got, &found) ==
	      ERR_OK);
	CHECK_STR(got, id);
	snprintf(bad, sizeof(bad), "%s@", id);
	CHECK(upload_name_parse(bad, got, &found) == ERR_INVALID);
	snprintf(bad, sizeof(bad), "%s@putt", id);
	CHECK(upload_name_parse(bad, got, &found) == ERR_INVALID);
}

/* ---- a PUT with a body ---- */

static void a_put_that_broke_off_goes_back_to_where_it_began(size_t at)
{
	char id[UPLOAD_ID_SIZE];
	struct upload *u;

	begin();
	u = start_sent(at, id);
	CHECK(upload_begin_put(u, NULL) == ERR_OK);
	CHECK(upload_send(u, bytes, at, LEN - 5, NULL) == ERR_OK);
	CHECK(upload_rewind(u, NULL) == ERR_OK);
	CHECK(upload_offset(u) == at && file_size(id) == at);
	/* Again, and the process ends in the midst of it. */
	CHECK(upload_begin_put(u, NULL) == ERR_OK);
	CHECK(upload_send(u, bytes, at, LEN - 7, NULL) == ERR_OK);
	upload_close(&u);
	restart();
	expect_told(id, at);
	u = open_at(id, at);
	CHECK(file_size(id) == at);
	CHECK(upload_begin_put(u, NULL) == ERR_OK);
	end_with(u, at);
	end();
}

static void a_put_goes_back_to_the_first_byte(void)
{
	a_put_that_broke_off_goes_back_to_where_it_began(0);
}

static void a_put_goes_back_to_a_later_byte(void)
{
	a_put_that_broke_off_goes_back_to_where_it_began(200000);
}

static void after_a_put_that_broke_off_other_bytes_count(size_t at)
{
	char id[UPLOAD_ID_SIZE];
	struct upload *u;

	begin();
	u = start_sent(at, id);
	CHECK(upload_begin_put(u, NULL) == ERR_OK);
	CHECK(upload_send(u, bytes, at, at + 1000, NULL) == ERR_OK);
	CHECK(upload_rewind(u, NULL) == ERR_OK);
	CHECK(upload_send(u, bytes, at, at + 300000, NULL) == ERR_OK);
	upload_close(&u);
	restart();
	end_with(open_at(id, at + 300000), at + 300000);
	end();
}

static void after_a_put_at_0_a_patch_counts(void)
{
	after_a_put_that_broke_off_other_bytes_count(0);
}

static void after_a_put_further_on_a_patch_counts(void)
{
	after_a_put_that_broke_off_other_bytes_count(200000);
}

static void wrong_bytes_of_a_put_are_taken_back(void)
{
	struct why why = {""};
	struct digest wrong;
	struct upload *u;
	char text[DIGEST_TEXT_MAX];

	begin();
	digest_of(DIGEST_SHA256, "wrong", 5, &wrong);
	u = start_sent(100000, NULL);
	CHECK(upload_begin_put(u, NULL) == ERR_OK);
	CHECK(upload_send(u, bytes, 100000, LEN, NULL) == ERR_OK);
	CHECK(upload_end(&u, &wrong, &why) == ERR_MISMATCH);
	CHECK(strstr(why.text, digest_text(&wrong, text)));
	CHECK(strstr(why.text, digest_text(&dg, text)));
	CHECK(u && upload_offset(u) == 100000);
	/* Sent by PATCH, they stay. */
	CHECK(upload_send(u, bytes, 100000, LEN, NULL) == ERR_OK);
	CHECK(upload_end(&u, &wrong, NULL) == ERR_MISMATCH);
	CHECK(u && upload_offset(u) == LEN);
	CHECK(upload_end(&u, &dg, NULL) == ERR_OK);
	CHECK(temp_has(&t, &dg, bytes, LEN));
	end();
}

/* ---- another boot ---- */

static void as_of_another_boot(struct upload_row *row)
{
	memset(row->boot, 0xee, sizeof(row->boot));
	row->synced = 250000;
}

static void after_another_boot_what_was_synced_counts(void)
{
	char id[UPLOAD_ID_SIZE];
	struct upload *u;

	begin();
	start_with(600000, id);
	change_row(id, as_of_another_boot);
	expect_told(id, 250000);
	u = open_at(id, 250000);
	CHECK(file_size(id) == 250000);
	/* From here on this boot's bytes count. */
	CHECK(upload_send(u, bytes, 250000, 650000, NULL) == ERR_OK);
	upload_close(&u);
	restart();
	end_with(open_at(id, 650000), 650000);
	end();
}

/* A PUT counted on bytes that were lost: it begins before them now, whatever
 * comes next. */
static void after_another_boot_a_put_begins_at_what_is_left(bool patch)
{
	char id[UPLOAD_ID_SIZE];
	struct upload *u;

	begin();
	u = start_sent(400000, id);
	CHECK(upload_begin_put(u, NULL) == ERR_OK);
	CHECK(upload_send(u, bytes, 400000, 500000, NULL) == ERR_OK);
	upload_close(&u);
	change_row(id, as_of_another_boot);
	u = open_at(id, 250000);
	if (!patch)
		CHECK(upload_begin_put(u, NULL) == ERR_OK);
	CHECK(upload_send(u, bytes, 250000, 600000, NULL) == ERR_OK);
	upload_close(&u);
	restart();
	u = open_at(id, patch ? 600000 : 250000);
	upload_cancel(&u);
	end();
}

static void after_another_boot_puts_and_patches_go_on(void)
{
	after_another_boot_a_put_begins_at_what_is_left(false);
	after_another_boot_a_put_begins_at_what_is_left(true);
}

static void each_64_mib_are_synced_and_marked(void)
{
	struct upload_row row;
	struct upload *u;
	char id[UPLOAD_ID_SIZE];
	struct digest big;
	uint8_t *mib = temp_bytes(9, MIB, &big);
	struct hasher *h = hasher_new(DIGEST_SHA256);

	begin();
	u = start();
	keep_id(u, id);
	for (unsigned i = 0; i < 66; i++) {
		CHECK(upload_append(u, mib, MIB, NULL) == ERR_OK);
		hasher_update(h, mib, MIB);
		if (i == 64) { /* a re-opened one catches up in steps */
			upload_close(&u);
			u = open_again(id);
		}
	}
	upload_close(&u);
	restart(); /* what is in the background is committed */
	CHECK(upload_read_row(t.c, id, &row) == ERR_OK);
	CHECK(row.synced == 64 * MIB);
	u = open_again(id);
	hasher_final(h, &big);
	CHECK(upload_end(&u, &big, NULL) == ERR_OK);
	hasher_free(&h);
	free(mib);
	end();
}

/* ---- what is stored already ---- */

static ino_t inode_of_blob(void)
{
	char path[PATH_LEN_MAX];
	struct stat st;

	CHECK(temp_file(&t, blob_path(&dg, path), &st));
	CHECK(st.st_nlink == 1);
	return st.st_ino;
}

static void push_whole(void)
{
	end_with(start(), 0);
}

static void a_stored_blob_is_not_stored_twice(void)
{
	ino_t before;

	begin();
	CHECK(temp_store(&t, &dg, bytes, LEN, NULL) == ERR_OK);
	before = inode_of_blob();
	CHECK(!upload_is_linked(t.c, REPO, &dg));
	push_whole();
	CHECK(inode_of_blob() == before);
	CHECK(upload_is_linked(t.c, REPO, &dg));
	push_whole();
	CHECK(inode_of_blob() == before);
	CHECK(files_in_uploads() == 0);
	end();
}

static void a_file_that_nothing_speaks_of_is_replaced(void)
{
	char path[PATH_LEN_MAX];
	int fd;

	begin();
	fd = store_open(t.c, blob_path(&dg, path), O_WRONLY | O_CREAT);
	CHECK(write(fd, "junk", 4) == 4);
	close(fd);
	push_whole();
	CHECK(temp_has(&t, &dg, bytes, LEN));
	end();
}

static void a_damaged_file_is_replaced(void)
{
	char path[PATH_LEN_MAX];

	begin();
	push_whole();
	CHECK(unlinkat(t.c->data_fd, blob_path(&dg, path), 0) == 0);
	push_whole();
	CHECK(temp_has(&t, &dg, bytes, LEN));
	end();
}

struct pusher {
	pthread_t thread;
	pthread_barrier_t *together;
	bool mirror;
	enum err err;
};

static void *push_one(void *arg)
{
	struct pusher *p = arg;
	struct upload *u;

	pthread_barrier_wait(p->together);
	if (p->mirror) {
		p->err = temp_store(&t, &dg, bytes, LEN, NULL);
	} else {
		p->err = upload_new(t.c, REPO, DIGEST_SHA256, &u, NULL);
		if (p->err == ERR_OK)
			p->err = upload_send(u, bytes, 0, LEN, NULL);
		if (p->err == ERR_OK)
			p->err = upload_end(&u, &dg, NULL);
	}
	index_thread_done(t.c->index);
	return NULL;
}

static void many_may_finish_the_same_digest_at_once(void)
{
	struct pusher p[5];
	pthread_barrier_t together;

	begin();
	pthread_barrier_init(&together, NULL, ARRAY_LEN(p));
	for (size_t i = 0; i < ARRAY_LEN(p); i++) {
		p[i] = (struct pusher){.together = &together, .mirror = i == 0};
		pthread_create(&p[i].thread, NULL, push_one, &p[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(p); i++) {
		pthread_join(p[i].thread, NULL);
		CHECK(p[i].err == ERR_OK);
	}
	pthread_barrier_destroy(&together);
	inode_of_blob();
	CHECK(temp_has(&t, &dg, bytes, LEN));
	CHECK(upload_is_linked(t.c, REPO, &dg));
	CHECK(files_in_uploads() == 0);
	end();
}

/* ---- refusals ---- */

static void a_name_that_is_not_hosted_is_not_claimed_by_all(void)
{
	struct hosting h = upload_hosting();
	struct why why = {""};
	struct upload *u;

	begin();
	h.claims = false;
	u = start_sent(LEN, NULL);
	CHECK(upload_finish(&u, &dg, &h, NULL, NULL, &why) == ERR_DENIED);
	CHECK(u && upload_offset(u) == LEN);
	CHECK(!temp_has(&t, &dg, bytes, LEN));
	CHECK(upload_end(&u, &dg, NULL) == ERR_OK);
	CHECK(temp_has(&t, &dg, bytes, LEN));
	end();
}

static void without_room_the_session_stands(void)
{
	struct upload *u, *other;
	struct why why = {""};

	begin();
	u = start_sent(200000, NULL);
	upload_close(&u); /* gives its reservation back */
	u = start_sent(0, NULL);
	cache_set_min_free(t.c, UINT64_MAX / 2);
	CHECK(upload_append(u, bytes, 1000, &why) == ERR_NO_SPACE);
	CHECK(why.text[0]);
	CHECK(upload_offset(u) == 0);
	CHECK(upload_new(t.c, REPO, DIGEST_SHA256, &other, &why) ==
	      ERR_NO_SPACE);
	CHECK(!other);
	cache_set_min_free(t.c, 0);
	end_with(u, 0);
	end();
}

/* More than there is room for in any map; nothing of it stays. */
static enum err put_huge(struct index_txn *txn, void *arg UNUSED)
{
	uint8_t *zeros = xcalloc(1, 80 * MIB);

	index_put(txn, TABLE_MANIFEST, test_text("huge"),
		  slice_of(zeros, 80 * MIB));
	free(zeros);
	return ERR_OK;
}

#define RETRY_FULL_MS 400

static void fill_index(void)
{
	CHECK(test_write(t.c->index, put_huge, NULL) == ERR_NO_SPACE);
	CHECK(index_health(t.c->index) == INDEX_FULL);
}

static void expect_no_room(struct upload *u)
{
	struct why why = {""};

	CHECK(upload_check_index(u, &why) == ERR_NO_SPACE);
	CHECK_STR(why.text, INDEX_NO_ROOM);
}

/* With a row or without, the end of it would be refused: so it is told before
 * bytes come, until a try finds room. */
static void a_full_index_is_told_before_bytes_come(bool has_row)
{
	struct upload *u, *other = NULL;
	struct why why = {""};

	begin();
	t.retry_full_ms = RETRY_FULL_MS;
	restart();
	u = start();
	if (has_row)
		CHECK(upload_have_row(u, NULL) == ERR_OK);
	CHECK(upload_check_index(u, NULL) == ERR_OK);
	fill_index();
	expect_no_room(u);
	expect_no_room(u);
	CHECK(upload_new(t.c, REPO, DIGEST_SHA256, &other, &why) ==
	      ERR_NO_SPACE);
	CHECK_STR(why.text, INDEX_NO_ROOM);
	CHECK(upload_end(&u, &dg, NULL) == ERR_MISMATCH);
	usleep((RETRY_FULL_MS + 100) * 1000);
	CHECK(upload_check_index(u, NULL) == ERR_OK);
	CHECK(index_health(t.c->index) == INDEX_OK);
	CHECK(upload_send(u, bytes, 0, LEN, NULL) == ERR_OK);
	fill_index();
	CHECK(upload_end(&u, &dg, &why) == ERR_NO_SPACE);
	CHECK_STR(why.text, INDEX_NO_ROOM);
	usleep((RETRY_FULL_MS + 100) * 1000);
	CHECK(upload_end(&u, &dg, NULL) == ERR_OK);
	end();
}

static void full_indexes_are_told_before_bytes_come(void)
{
	a_full_index_is_told_before_bytes_come(false);
	a_full_index_is_told_before_bytes_come(true);
}

static void what_was_half_written_is_cut_off(void)
{
	struct rlimit before, now;
	char id[UPLOAD_ID_SIZE];
	struct upload *u;

	begin();
	signal(SIGXFSZ, SIG_IGN);
	u = start_sent(100000, id);
	CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
	now = before;
	now.rlim_cur = 150000;
	CHECK(setrlimit(RLIMIT_FSIZE, &now) == 0);
	CHECK(upload_append(u, bytes + 100000, 100000, NULL) == ERR_IO);
	CHECK(upload_offset(u) == 100000 && file_size(id) == 100000);
	CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
	end_with(u, 100000);
	end();
}

/* ---- expiry and leftovers ---- */

static void make_old(struct upload_row *row)
{
	row->touched_s -= 1000;
}

static void what_nobody_comes_back_for_expires(void)
{
	char old[UPLOAD_ID_SIZE], young[UPLOAD_ID_SIZE], busy[UPLOAD_ID_SIZE];
	char at[UPLOAD_ID_SIZE] = "";
	struct upload_info info;
	struct upload *u;

	begin();
	start_with(0, old);
	start_with(0, young);
	start_with(0, busy);
	u = open_again(busy);
	change_row(old, make_old);
	change_row(busy, make_old);
	CHECK(!uploads_expire(t.c, 2000, 10, at));
	CHECK(upload_look(t.c, old, &info, NULL) == ERR_OK);
	CHECK(!uploads_expire(t.c, 500, 10, at));
	CHECK(upload_look(t.c, old, &info, NULL) == ERR_NOT_FOUND);
	CHECK(upload_look(t.c, young, &info, NULL) == ERR_OK);
	CHECK(upload_look(t.c, busy, &info, NULL) == ERR_OK);
	CHECK(files_in_uploads() == 2);
	/* Its owner gives it back: it was touched now. */
	upload_close(&u);
	CHECK(!uploads_expire(t.c, UINT64_MAX, 10, at) && !*at);
	end();
}

static void start_old(char *id)
{
	start_with(0, id);
	change_row(id, make_old);
}

static void few_expire_at_a_time(void)
{
	char id[UPLOAD_ID_SIZE], at[UPLOAD_ID_SIZE] = "";

	begin();
	for (unsigned i = 0; i < 5; i++)
		start_old(id);
	CHECK(uploads_expire(t.c, 500, 2, at));
	CHECK(files_in_uploads() == 3 && upload_id_valid(at));
	CHECK(uploads_expire(t.c, 500, 2, at));
	CHECK(!uploads_expire(t.c, 500, 2, at));
	CHECK(files_in_uploads() == 0 && !*at);
	end();
}

/* However many there are, a piece is a piece; and what it has passed is not
 * looked at again. */
static void one_piece_looks_at_few_and_the_next_goes_on(void)
{
	char id[UPLOAD_ID_SIZE], at[UPLOAD_ID_SIZE] = "";
	char last[UPLOAD_ID_SIZE] = "";
	struct upload *u;
	unsigned pieces = 1;

	begin();
	for (unsigned i = 0; i < 140; i++) {
		u = start();
		keep_id(u, id);
		if (strcmp(id, last) > 0)
			memcpy(last, id, sizeof(last));
		upload_close(&u);
	}
	change_row(last, make_old);
	while (uploads_expire(t.c, 500, 1, at)) {
		CHECK(strcmp(at, last) < 0 && files_in_uploads() == 140);
		pieces++;
	}
	CHECK(pieces == 3 && !*at);
	CHECK(files_in_uploads() == 139);
	/* What has come before the place where it stands is the next walk's. */
	CHECK(uploads_expire(t.c, 500, 1, at));
	do {
		start_old(id);
		if (strcmp(id, at) < 0)
			break;
		cancel(id);
	} while (true);
	while (uploads_expire(t.c, 500, 1, at))
		;
	CHECK(files_in_uploads() == 140);
	while (uploads_expire(t.c, 500, 1, at))
		;
	CHECK(files_in_uploads() == 139);
	end();
}

static void there_are_no_more_than_there_may_be(void)
{
	char id[UPLOAD_ID_SIZE];
	struct upload *u;
	struct why why;

	begin();
	uploads_set_max(t.c, 2);
	start_with(0, id);
	u = start();
	upload_close(&u);
	CHECK(upload_new(t.c, REPO, DIGEST_SHA256, &u, &why) == ERR_LIMITED);
	CHECK(!u);
	CHECK(strstr(why.text,
		     "\"uploads.max\" allows 2 unfinished uploads, and"));
	CHECK(files_in_uploads() == 2);
	cancel(id);
	u = start();
	upload_close(&u);
	/* A lower bound takes nothing away. */
	uploads_set_max(t.c, 1);
	CHECK(files_in_uploads() == 2);
	CHECK(upload_new(t.c, REPO, DIGEST_SHA256, &u, &why) == ERR_LIMITED);
	CHECK(strstr(why.text, "allows 1 unfinished upload, and"));
	uploads_set_max(t.c, 3);
	u = start();
	upload_close(&u);
	end();
}

static void closing_dates_the_session(void)
{
	char id[UPLOAD_ID_SIZE];
	struct upload_row row;
	struct upload *u;

	begin();
	start_with(0, id);
	change_row(id, make_old);
	u = open_again(id);
	upload_close(&u);
	restart();
	CHECK(upload_read_row(t.c, id, &row) == ERR_OK);
	CHECK(row.touched_s + 500 > wall_s());
	end();
}

static void a_start_removes_half_sessions(void)
{
	char id[UPLOAD_ID_SIZE], path[PATH_LEN_MAX];
	struct upload_row row;
	struct upload *u;
	int fd;

	begin();
	start_with(0, id);
	CHECK(unlinkat(t.c->data_fd, upload_path(id, path), 0) == 0);
	upload_path("01234567-89ab-4def-8123-456789abcdef", path);
	fd = store_open(t.c, path, O_WRONLY | O_CREAT);
	close(fd);
	CHECK(upload_open(t.c, id, &u, NULL) == ERR_NOT_FOUND);
	restart();
	CHECK(files_in_uploads() == 0);
	restart();
	CHECK(upload_read_row(t.c, id, &row) == ERR_NOT_FOUND);
	end();
}

/* As a kill just before the commit leaves it. */
static void a_matched_upload_is_published_by_the_start(bool linked, bool whole)
{
	char id[UPLOAD_ID_SIZE], from[PATH_LEN_MAX], to[PATH_LEN_MAX];
	struct upload_row row;
	struct upload *u;
	int at;

	begin();
	start_with(whole ? LEN : LEN - 1, id);
	at = t.c->data_fd;
	CHECK(renameat(at, upload_path(id, from), at,
		       upload_proven_path(id, &dg, to)) == 0);
	if (linked)
		CHECK(linkat(at, to, at, blob_path(&dg, from), 0) == 0);
	restart();
	CHECK(upload_open(t.c, id, &u, NULL) == ERR_NOT_FOUND);
	while (cache_recover_step(t.c))
		;
	CHECK(temp_has(&t, &dg, bytes, LEN) == whole);
	CHECK(!upload_is_linked(t.c, REPO, &dg));
	CHECK(files_in_uploads() == 0);
	restart();
	CHECK(upload_read_row(t.c, id, &row) == ERR_NOT_FOUND);
	push_whole();
	CHECK(upload_is_linked(t.c, REPO, &dg));
	end();
}

static void matched_uploads_are_published_by_the_start(void)
{
	a_matched_upload_is_published_by_the_start(false, true);
	a_matched_upload_is_published_by_the_start(true, true);
	a_matched_upload_is_published_by_the_start(true, false);
}

static void note_text(void *arg, const char *finding)
{
	snprintf(arg, 256, "%s", finding);
}

static void the_checker_knows_what_belongs_there(void)
{
	static const char *const names[] = {
	    "uploads/readme",
	    "uploads/01234567-89ab-4def-8123-456789abcdef",
	};
	struct upload *u;
	char text[256];

	begin();
	u = start();
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		int fd = store_open(t.c, names[i], O_WRONLY | O_CREAT);

		close(fd);
		CHECK(cache_check(t.c, true, note_text, text) == 1);
		CHECK(strstr(text, names[i]));
		CHECK(unlinkat(t.c->data_fd, names[i], 0) == 0);
	}
	upload_close(&u);
	end();
}

int main(void)
{
	RUN(a_finished_upload_is_stored_linked_and_told_of);
	RUN(what_is_finished_is_leased);
	RUN(no_bytes_are_a_blob_too);
	RUN(the_end_may_ask_for_another_algorithm);
	RUN(matched_is_called_once_the_name_tells_the_digest);
	RUN(a_session_survives_a_restart);
	RUN(a_session_that_ends_at_once_costs_one_commit);
	RUN(its_file_tells_of_a_session_without_a_row);
	RUN(without_a_row_it_does_not_survive_another_boot);
	RUN(what_is_given_up_does_not_come_back);
	RUN(a_session_has_one_owner);
	RUN(ids_that_are_none_are_not_found);
	RUN(names_of_files_are_read_back);
	RUN(a_put_goes_back_to_the_first_byte);
	RUN(a_put_goes_back_to_a_later_byte);
	RUN(after_a_put_at_0_a_patch_counts);
	RUN(after_a_put_further_on_a_patch_counts);
	RUN(wrong_bytes_of_a_put_are_taken_back);
	RUN(after_another_boot_what_was_synced_counts);
	RUN(after_another_boot_puts_and_patches_go_on);
	RUN(each_64_mib_are_synced_and_marked);
	RUN(a_stored_blob_is_not_stored_twice);
	RUN(a_file_that_nothing_speaks_of_is_replaced);
	RUN(a_damaged_file_is_replaced);
	RUN(many_may_finish_the_same_digest_at_once);
	RUN(a_name_that_is_not_hosted_is_not_claimed_by_all);
	RUN(without_room_the_session_stands);
	RUN(full_indexes_are_told_before_bytes_come);
	RUN(what_was_half_written_is_cut_off);
	RUN(what_nobody_comes_back_for_expires);
	RUN(few_expire_at_a_time);
	RUN(one_piece_looks_at_few_and_the_next_goes_on);
	RUN(there_are_no_more_than_there_may_be);
	RUN(closing_dates_the_session);
	RUN(a_start_removes_half_sessions);
	RUN(matched_uploads_are_published_by_the_start);
	RUN(the_checker_knows_what_belongs_there);
	return unit_done();
}
