/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/hosted.h"
#include "tests/unit/temp_cache.h"

#include <sys/wait.h>

#define LEN ((size_t)700000)

static struct temp t;
static struct digest dg;
static uint8_t *bytes;

static void setup(void)
{
	temp_make(&t);
	temp_open(&t);
	bytes = temp_bytes(1, LEN, &dg);
}

static void reopen(void)
{
	index_thread_done(t.c->index);
	temp_close(&t);
	temp_open(&t);
}

static void teardown(void)
{
	index_thread_done(t.c->index);
	temp_close(&t);
	temp_remove(&t);
	free(bytes);
}

static void recover_all(void)
{
	while (cache_recover_step(t.c))
		;
}

static bool recorded(const struct digest *what)
{
	struct blob_row row;

	return store_blob_row(t.c, what, &row) == ERR_OK;
}

/* ---- opening ---- */

static void second_owner_is_told_who_has_it(void)
{
	struct temp other;
	struct why why;
	char pid[32];

	setup();
	other = t;
	CHECK(temp_try(&other, &why) == ERR_BUSY);
	CHECK(!other.c);
	snprintf(pid, sizeof(pid), "in use by process %ld", (long)getpid());
	CHECK(strstr(why.text, pid));
	CHECK(strstr(why.text, "stop that one, or give another folder"));
	teardown();
}

static void folders_are_made_with_their_parents(void)
{
	struct temp deep = {.c = NULL};
	struct stat st;

	temp_make(&t);
	snprintf(deep.dir, sizeof(deep.dir), "%.40s/a/b", t.dir);
	temp_open(&deep);
	CHECK(temp_file(&deep, "blobs/sha256/00", &st));
	CHECK((st.st_mode & 07777) == 0750);
	CHECK(temp_file(&deep, "blobs/sha512/ff", &st));
	CHECK(temp_file(&deep, "partial/sha256", &st));
	temp_close(&deep);
	temp_remove(&t);
}

static void folder_that_cannot_be_made_is_named(void)
{
	struct temp bad = {.c = NULL};
	struct why why;

	snprintf(bad.dir, sizeof(bad.dir), "/proc/self/nothing/here");
	CHECK(temp_try(&bad, &why) == ERR_IO);
	CHECK(strstr(why.text, "/proc/self/nothing/here"));
}

/* /dev/shm is a tmpfs of its own on every Linux that runs this. */
static void folder_on_another_device_is_refused(void)
{
	char target[] = "/dev/shm/test_store.XXXXXX", path[128];
	struct stat here, there;
	struct why why;

	temp_make(&t);
	CHECK(mkdtemp(target) != NULL);
	snprintf(path, sizeof(path), "%s/blobs", t.dir);
	CHECK(symlink(target, path) == 0);
	CHECK(stat(t.dir, &here) == 0 && stat(target, &there) == 0);
	CHECK(here.st_dev != there.st_dev);
	CHECK(temp_try(&t, &why) == ERR_INVALID);
	CHECK(strstr(why.text, "/blobs is on another device"));
	rmdir(target);
	temp_remove(&t);
}

/* ---- publication ---- */

static void published_blob_is_recorded_and_linked(void)
{
	struct repo_row repo;
	struct index_txn *txn;
	struct link_row link;
	struct blob_row row;
	struct stat st;
	char path[PATH_LEN_MAX];
	uint64_t id;

	setup();
	CHECK(temp_store(&t, &dg, bytes, LEN, NULL) == ERR_OK);
	txn = index_read(t.c->index);
	CHECK(blob_get(txn, &dg, &row) == ERR_OK);
	CHECK(row.size == LEN && row.public_yes);
	CHECK(repo_id(txn, "docker.io", "library/test", &id) == ERR_OK);
	CHECK(repo_get(txn, id, &repo) == ERR_OK && repo.kind == REPO_MIRROR);
	CHECK(link_get(txn, id, &dg, &link) == ERR_OK &&
	      link.kind == LINK_BLOB);
	index_read_end(txn);
	CHECK(temp_has(&t, &dg, bytes, LEN));
	CHECK(temp_file(&t, blob_path(&dg, path), &st) && st.st_nlink == 1);
	CHECK((st.st_mode & 07777) == 0640);
	CHECK(!partial_exists(t.c, &dg, "docker.io"));
	CHECK(!temp_file(&t, staged_path(&dg, "docker.io", path), &st));
	CHECK(!temp_file(&t, map_path(path, (char[PATH_LEN_MAX]){0}), &st));
	teardown();
}

static void second_upstream_adds_its_link_and_its_yes(void)
{
	struct publish_repo private = {"a.example", "one", false};
	struct publish_repo public = {"b.example", "two", true};
	struct partial *a, *b;
	struct blob_row row;
	struct index_txn *txn;
	struct link_row link;
	uint64_t id;
	struct why why;

	setup();
	CHECK(partial_open(t.c, &dg, "a.example", &a, NULL) == ERR_OK);
	CHECK(partial_open(t.c, &dg, "b.example", &b, NULL) == ERR_OK);
	CHECK(temp_fill(a, bytes, LEN, 65536, &why) == ERR_OK);
	CHECK(temp_fill(b, bytes, LEN, 65536, &why) == ERR_OK);
	CHECK(partial_publish(a, &private, 1, NULL) == ERR_OK);
	CHECK(store_blob_row(t.c, &dg, &row) == ERR_OK && !row.public_yes);
	CHECK(partial_publish(b, &public, 1, NULL) == ERR_OK); /* EEXIST */
	CHECK(store_blob_row(t.c, &dg, &row) == ERR_OK && row.public_yes);
	txn = index_read(t.c->index);
	CHECK(repo_id(txn, "b.example", "two", &id) == ERR_OK);
	CHECK(link_get(txn, id, &dg, &link) == ERR_OK);
	CHECK(total_get(txn, "blobs") == 1);
	index_read_end(txn);
	partial_close(&a);
	partial_close(&b);
	CHECK(temp_has(&t, &dg, bytes, LEN));
	teardown();
}

/* A name in blobs/ that no record speaks of is what a crash left. */
static void leftover_without_record_is_replaced(void)
{
	char path[PATH_LEN_MAX];
	int fd;

	setup();
	fd = store_open(t.c, blob_path(&dg, path), O_WRONLY | O_CREAT);
	CHECK(write(fd, "wrong", 5) == 5);
	close(fd);
	CHECK(temp_store(&t, &dg, bytes, LEN, NULL) == ERR_OK);
	CHECK(temp_has(&t, &dg, bytes, LEN));
	teardown();
}

/* The size came late, and bytes past it had been on their way. */
static void published_file_has_no_tail(void)
{
	struct partial *p;
	struct why why;

	setup();
	CHECK(partial_open(t.c, &dg, "docker.io", &p, NULL) == ERR_OK);
	CHECK(temp_fill(p, bytes, LEN, 65536, &why) == ERR_OK);
	CHECK(ftruncate(partial_fd(p), LEN + 4096) == 0);
	CHECK(partial_publish(p, NULL, 0, NULL) == ERR_OK);
	partial_close(&p);
	CHECK(temp_has(&t, &dg, bytes, LEN));
	teardown();
}

static void readers_descriptor_outlives_publication(void)
{
	uint8_t *got = xmalloc(LEN);
	struct partial *p;
	struct why why;

	setup();
	CHECK(partial_open(t.c, &dg, "docker.io", &p, NULL) == ERR_OK);
	CHECK(temp_fill(p, bytes, LEN, 65536, &why) == ERR_OK);
	CHECK(partial_publish(p, NULL, 0, NULL) == ERR_OK);
	CHECK(cache_drop_blob(t.c, &dg, NULL) == ERR_OK);
	CHECK(store_pread(partial_fd(p), got, LEN, 0) == (ssize_t)LEN);
	CHECK(memcmp(got, bytes, LEN) == 0);
	partial_close(&p);
	CHECK(!recorded(&dg));
	free(got);
	teardown();
}

static void large_manifest_is_a_file_in_blobs(void)
{
	char path[PATH_LEN_MAX];
	struct stat st;

	setup();
	CHECK(store_small_file(t.c, &dg, bytes, LEN, NULL) == ERR_OK);
	CHECK(temp_file(&t, blob_path(&dg, path), &st));
	CHECK((uint64_t)st.st_size == LEN && st.st_nlink == 1);
	CHECK(!temp_file(&t, staged_path(&dg, "", path), &st));
	/* Again, without a record: replaced; with one: left alone. */
	CHECK(store_small_file(t.c, &dg, bytes, LEN, NULL) == ERR_OK);
	CHECK(temp_store(&t, &dg, bytes, LEN, NULL) == ERR_OK);
	CHECK(temp_file(&t, blob_path(&dg, path), &st));
	CHECK(store_small_file(t.c, &dg, bytes, LEN, NULL) == ERR_OK);
	CHECK(temp_has(&t, &dg, bytes, LEN));
	/* With a record, but the file is gone. */
	CHECK(unlinkat(t.c->data_fd, path, 0) == 0);
	CHECK(store_small_file(t.c, &dg, bytes, LEN, NULL) == ERR_OK);
	CHECK(temp_has(&t, &dg, bytes, LEN));
	CHECK(space_outstanding(t.c->space) == 0);
	teardown();
}

/* ---- removal ---- */

static bool count_row(void *arg, const char *path)
{
	(void)path;
	++*(unsigned *)arg;
	return true;
}

static unsigned trash_rows(void)
{
	struct index_txn *txn;
	unsigned n = 0;

	/* The row's own removal is a later commit. */
	for (unsigned tries = 0; tries < 200; tries++) {
		n = 0;
		txn = index_read(t.c->index);
		CHECK(trash_walk(txn, count_row, &n) == ERR_OK);
		index_read_end(txn);
		if (!n)
			break;
		usleep(10000);
	}
	return n;
}

static void dropped_blob_leaves_nothing(void)
{
	char path[PATH_LEN_MAX];
	struct stat st;
	struct why why;

	setup();
	CHECK(temp_store(&t, &dg, bytes, LEN, NULL) == ERR_OK);
	CHECK(cache_drop_blob(t.c, &dg, NULL) == ERR_OK);
	CHECK(!recorded(&dg));
	CHECK(!temp_file(&t, blob_path(&dg, path), &st));
	CHECK(trash_rows() == 0);
	CHECK(cache_drop_blob(t.c, &dg, &why) == ERR_NOT_FOUND);
	CHECK(temp_store(&t, &dg, bytes, LEN, NULL) == ERR_OK);
	CHECK(temp_has(&t, &dg, bytes, LEN));
	teardown();
}

struct put_trash {
	struct index_op op;
	const char *path;
};

static enum err put_trash_apply(struct index_txn *txn, struct index_op *op)
{
	trash_put(txn, container_of(op, struct put_trash, op)->path);
	return ERR_OK;
}

static void put_trash(const char *path)
{
	struct put_trash p = {.op = {.apply = put_trash_apply}, .path = path};

	CHECK(index_submit_wait(t.c->index, &p.op) == ERR_OK);
}

/* What a crash between commit and unlink leaves. */
static void start_finishes_removals_unless_the_record_came_back(void)
{
	char orphan[PATH_LEN_MAX], back[PATH_LEN_MAX];
	struct digest gone;
	struct stat st;
	int fd;

	setup();
	digest_of(DIGEST_SHA512, "gone", 4, &gone);
	CHECK(temp_store(&t, &dg, bytes, LEN, NULL) == ERR_OK);
	fd = store_open(t.c, blob_path(&gone, orphan), O_WRONLY | O_CREAT);
	close(fd);
	put_trash(orphan);
	put_trash(blob_path(&dg, back));
	put_trash("lock"); /* not a blob: nothing is unlinked */
	reopen();
	CHECK(temp_file(&t, orphan, &st)); /* opening only lists */
	recover_all();
	CHECK(!temp_file(&t, orphan, &st));
	CHECK(temp_file(&t, "lock", &st));
	CHECK(temp_has(&t, &dg, bytes, LEN));
	CHECK(trash_rows() == 0);
	teardown();
}

/* ---- start-up ---- */

/* A staged file of `dg` with these bytes, and a second name in blobs/. */
static void stage_of(const char *host, const uint8_t *with, char *staged)
{
	char path[PATH_LEN_MAX];
	size_t done;
	int fd =
	    store_open(t.c, staged_path(&dg, host, staged), O_WRONLY | O_CREAT);

	CHECK(store_pwrite(fd, with, LEN, 0, &done) == 0);
	close(fd);
	CHECK(linkat(t.c->data_fd, staged, t.c->data_fd, blob_path(&dg, path),
		     0) == 0);
}

static void stage_with_two_links(const uint8_t *with, char *staged)
{
	stage_of("docker.io", with, staged);
}

/* Of a manifest that was pushed when we were killed no row speaks: the next
 * push finds its file, or collection does. */
static void what_is_published_for_nobody_is_collected(void)
{
	static const char *const hosts[] = {"", "docker.io"};
	char staged[PATH_LEN_MAX], path[PATH_LEN_MAX];
	struct stat st;

	for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
		setup();
		stage_of(hosts[i], bytes, staged);
		reopen();
		recover_all();
		CHECK(recorded(&dg) && temp_has(&t, &dg, bytes, LEN));
		cache_set_grace(t.c, 3600 * 1000);
		CHECK(!cache_collect_step(t.c) && recorded(&dg));
		cache_set_grace(t.c, 0);
		while (cache_collect_step(t.c))
			;
		CHECK(!recorded(&dg));
		CHECK(!temp_file(&t, blob_path(&dg, path), &st));
		teardown();

		/* Somebody has come for it. */
		setup();
		stage_of(hosts[i], bytes, staged);
		reopen();
		recover_all();
		CHECK(temp_store(&t, &dg, bytes, LEN, NULL) == ERR_OK);
		cache_set_grace(t.c, 0);
		while (cache_collect_step(t.c))
			;
		CHECK(temp_has(&t, &dg, bytes, LEN));
		teardown();
	}
}

static void two_links_without_record_are_hashed_and_published(void)
{
	char staged[PATH_LEN_MAX];
	struct stat st;

	setup();
	stage_with_two_links(bytes, staged);
	reopen();
	CHECK(partial_exists(t.c, &dg, "docker.io"));
	recover_all();
	CHECK(temp_has(&t, &dg, bytes, LEN));
	CHECK(!temp_file(&t, staged, &st));
	CHECK(!partial_exists(t.c, &dg, "docker.io"));
	teardown();
}

static struct partial *open_docker(void)
{
	struct partial *p = NULL;

	CHECK(partial_open(t.c, &dg, "docker.io", &p, NULL) == ERR_OK);
	return p;
}

static bool holds_all(struct partial *p)
{
	struct partial_view view;

	partial_view(p, &view);
	return view.size == LEN && view.held_bytes == LEN &&
	       partial_run(p, 0) == LEN;
}

static bool is_proven(struct partial *p)
{
	struct partial_view view;

	partial_view(p, &view);
	return view.proven;
}

/* A pull does not wait for recovery, nor recovery for the pull. */
static void two_links_are_readable_before_they_are_hashed(void)
{
	struct publish_repo repo = {"docker.io", "library/test", true};
	char staged[PATH_LEN_MAX];
	struct partial *p;
	uint8_t got[100];

	setup();
	stage_with_two_links(bytes, staged);
	reopen();
	p = open_docker();
	CHECK(holds_all(p) && !is_proven(p));
	CHECK(store_pread(partial_fd(p), got, sizeof(got), LEN - 100) == 100);
	CHECK(memcmp(got, bytes + LEN - 100, 100) == 0);
	CHECK(temp_fill(p, bytes, LEN, LEN, NULL) == ERR_OK);
	CHECK(is_proven(p));
	CHECK(partial_publish(p, &repo, 1, NULL) == ERR_OK);
	recover_all();
	partial_close(&p);
	CHECK(temp_has(&t, &dg, bytes, LEN));
	CHECK(t.events[CACHE_DISCARDED] == 0);
	teardown();
}

static void recovery_hashes_what_a_pull_has_open(void)
{
	struct publish_repo repo = {"docker.io", "library/test", true};
	char staged[PATH_LEN_MAX];
	struct partial *p;

	setup();
	stage_with_two_links(bytes, staged);
	reopen();
	p = open_docker();
	recover_all();
	CHECK(is_proven(p) && recorded(&dg));
	CHECK(partial_publish(p, &repo, 1, NULL) == ERR_OK);
	partial_close(&p);
	CHECK(temp_has(&t, &dg, bytes, LEN));
	teardown();
}

/* It may be a blob's inode. */
static void file_with_two_links_is_never_written(void)
{
	char staged[PATH_LEN_MAX], path[PATH_LEN_MAX];
	struct partial *p;
	struct stat st;

	setup();
	stage_with_two_links(bytes, staged);
	reopen();
	p = open_docker();
	CHECK(partial_write(p, 10, "other", 5, NULL) == ERR_MISMATCH);
	CHECK(partial_write(p, LEN, "more", 4, NULL) == ERR_MISMATCH);
	CHECK(partial_set_size(p, LEN - 1, NULL) == ERR_MISMATCH);
	partial_close(&p);
	CHECK(temp_file(&t, blob_path(&dg, path), &st));
	CHECK(st.st_size == LEN && st.st_nlink == 2);
	recover_all();
	CHECK(temp_has(&t, &dg, bytes, LEN));
	teardown();
}

/* The commit failed, and its link was undone. */
static void complete_file_that_was_not_published_is_still_held(void)
{
	char staged[PATH_LEN_MAX], path[PATH_LEN_MAX];
	struct partial *p;

	setup();
	stage_with_two_links(bytes, staged);
	reopen();
	p = open_docker();
	partial_close(&p);
	CHECK(store_unlink(t.c, blob_path(&dg, path)) == 0);
	reopen();
	p = open_docker();
	CHECK(holds_all(p));
	partial_close(&p);
	recover_all();
	CHECK(temp_store(&t, &dg, bytes, LEN, NULL) == ERR_OK);
	teardown();
}

/* It was found out first by a pull, which has begun anew. */
static void fresh_try_is_left_alone_by_recovery(void)
{
	char staged[PATH_LEN_MAX];
	struct partial *p, *fresh;

	setup();
	bytes[LEN / 2] ^= 1;
	stage_with_two_links(bytes, staged);
	bytes[LEN / 2] ^= 1;
	reopen();
	p = open_docker();
	partial_discard(p);
	fresh = open_docker();
	CHECK(partial_write(fresh, 0, bytes, 1000, NULL) == ERR_OK);
	recover_all();
	CHECK(temp_fill(fresh, bytes, LEN, LEN, NULL) == ERR_OK);
	CHECK(partial_publish(fresh, NULL, 0, NULL) == ERR_OK);
	partial_close(&fresh);
	partial_close(&p);
	CHECK(temp_has(&t, &dg, bytes, LEN));
	teardown();
}

static void end_in_the_midst_of_recovery_loses_nothing(void)
{
	char staged[PATH_LEN_MAX];
	struct partial *p;

	setup();
	free(bytes);
	bytes = temp_bytes(2, 17 * MIB, &dg);
	{
		struct why why;

		p = open_docker();
		CHECK(partial_set_size(p, 17 * MIB, &why) == ERR_OK);
		CHECK(partial_write(p, 0, bytes, 17 * MIB, &why) == ERR_OK);
		partial_close(&p);
	}
	CHECK(linkat(t.c->data_fd, staged_path(&dg, "docker.io", staged),
		     t.c->data_fd, blob_path(&dg, (char[PATH_LEN_MAX]){0}),
		     0) == 0);
	reopen();
	CHECK(cache_recover_step(t.c));
	reopen();
	CHECK(!recorded(&dg));
	recover_all();
	CHECK(temp_has(&t, &dg, bytes, 17 * MIB));
	teardown();
}

static void two_links_with_other_bytes_are_thrown_away(void)
{
	char staged[PATH_LEN_MAX], path[PATH_LEN_MAX];
	struct stat st;

	setup();
	bytes[LEN / 2] ^= 1;
	stage_with_two_links(bytes, staged);
	bytes[LEN / 2] ^= 1;
	reopen();
	recover_all();
	CHECK(t.events[CACHE_DISCARDED] == 1);
	CHECK(!recorded(&dg));
	CHECK(!temp_file(&t, staged, &st));
	CHECK(!temp_file(&t, blob_path(&dg, path), &st));
	CHECK(temp_store(&t, &dg, bytes, LEN, NULL) == ERR_OK);
	CHECK(temp_has(&t, &dg, bytes, LEN));
	teardown();
}

static void two_links_with_record_lose_only_the_staged_name(void)
{
	char staged[PATH_LEN_MAX], path[PATH_LEN_MAX];
	struct stat st;

	setup();
	CHECK(temp_store(&t, &dg, bytes, LEN, NULL) == ERR_OK);
	staged_path(&dg, "docker.io", staged);
	CHECK(linkat(t.c->data_fd, blob_path(&dg, path), t.c->data_fd, staged,
		     0) == 0);
	reopen();
	recover_all();
	CHECK(!temp_file(&t, staged, &st));
	CHECK(temp_has(&t, &dg, bytes, LEN));
	teardown();
}

/* Not at start-up, but a publication that could not unlink. */
static void two_links_met_later_are_published_again(void)
{
	char staged[PATH_LEN_MAX], path[PATH_LEN_MAX];
	struct partial *p;
	struct stat st;

	setup();
	CHECK(temp_store(&t, &dg, bytes, LEN, NULL) == ERR_OK);
	CHECK(linkat(t.c->data_fd, blob_path(&dg, path), t.c->data_fd,
		     staged_path(&dg, "docker.io", staged), 0) == 0);
	p = open_docker();
	CHECK(holds_all(p));
	CHECK(temp_fill(p, bytes, LEN, LEN, NULL) == ERR_OK);
	CHECK(partial_publish(p, NULL, 0, NULL) == ERR_OK);
	partial_close(&p);
	CHECK(!temp_file(&t, staged, &st));
	CHECK(temp_has(&t, &dg, bytes, LEN));
	teardown();
}

static void touch_file(const char *path, time_t when)
{
	struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when}};
	int fd = store_open(t.c, path, O_WRONLY | O_CREAT);

	CHECK(fd >= 0 && futimens(fd, times) == 0);
	close(fd);
}

static void old_partials_and_remains_are_removed(void)
{
	char old[PATH_LEN_MAX], young[PATH_LEN_MAX], small[PATH_LEN_MAX];
	char map[PATH_LEN_MAX];
	time_t now = (time_t)wall_s();
	struct stat st;

	setup();
	touch_file(staged_path(&dg, "old.example", old), now - 8 * 24 * 3600);
	touch_file(map_path(old, map), now - 8 * 24 * 3600);
	touch_file(staged_path(&dg, "young.example", young), now - 3600);
	touch_file(staged_path(&dg, "", small), now);
	touch_file("partial/sha256/README", now - 99 * 24 * 3600);
	reopen();
	recover_all();
	CHECK(!temp_file(&t, old, &st) && !temp_file(&t, map, &st));
	CHECK(!temp_file(&t, small, &st));
	CHECK(temp_file(&t, young, &st));
	CHECK(temp_file(&t, "partial/sha256/README", &st)); /* not ours */
	touch_file(map_path(old, map), now);
	reopen();
	recover_all();
	CHECK(!temp_file(&t, map, &st)); /* a map alone */
	teardown();
}

/* Between the list and its turn somebody has gone on with it. */
static void old_partial_that_is_used_again_stays(void)
{
	char staged[PATH_LEN_MAX];
	struct partial *p;
	struct stat st;

	setup();
	p = open_docker();
	CHECK(partial_write(p, 0, bytes, 1000, NULL) == ERR_OK);
	partial_close(&p);
	touch_file(staged_path(&dg, "docker.io", staged),
		   (time_t)wall_s() - 8 * 24 * 3600);
	for (int open = 0; open < 2; open++) {
		reopen();
		p = open_docker();
		CHECK(partial_run(p, 0) == 1000u * (1 + (unsigned)open));
		CHECK(partial_write(p, partial_run(p, 0), bytes, 1000, NULL) ==
		      ERR_OK);
		if (!open)
			partial_close(&p);
		recover_all();
		CHECK(temp_file(&t, staged, &st));
		if (open)
			partial_close(&p);
	}
	teardown();
}

static void nothing_left_is_said_at_once(void)
{
	setup();
	CHECK(!cache_recover_step(t.c));
	teardown();
}

static void fault_points_have_names(void)
{
	unsigned n = 0;

	while (fault_name(n)) {
		for (unsigned i = 0; i < n; i++)
			CHECK(strcmp(fault_name(i), fault_name(n)) != 0);
		n++;
	}
	CHECK(n == FAULT_POINTS_COUNT);
	CHECK_STR(fault_name(FAULT_publish_link), "publish_link");
}

int main(void)
{
	RUN(second_owner_is_told_who_has_it);
	RUN(folders_are_made_with_their_parents);
	RUN(folder_that_cannot_be_made_is_named);
	RUN(folder_on_another_device_is_refused);
	RUN(published_blob_is_recorded_and_linked);
	RUN(second_upstream_adds_its_link_and_its_yes);
	RUN(leftover_without_record_is_replaced);
	RUN(published_file_has_no_tail);
	RUN(readers_descriptor_outlives_publication);
	RUN(large_manifest_is_a_file_in_blobs);
	RUN(dropped_blob_leaves_nothing);
	RUN(start_finishes_removals_unless_the_record_came_back);
	RUN(two_links_without_record_are_hashed_and_published);
	RUN(what_is_published_for_nobody_is_collected);
	RUN(two_links_are_readable_before_they_are_hashed);
	RUN(recovery_hashes_what_a_pull_has_open);
	RUN(file_with_two_links_is_never_written);
	RUN(complete_file_that_was_not_published_is_still_held);
	RUN(fresh_try_is_left_alone_by_recovery);
	RUN(end_in_the_midst_of_recovery_loses_nothing);
	RUN(two_links_with_other_bytes_are_thrown_away);
	RUN(two_links_with_record_lose_only_the_staged_name);
	RUN(two_links_met_later_are_published_again);
	RUN(old_partials_and_remains_are_removed);
	RUN(old_partial_that_is_used_again_stays);
	RUN(nothing_left_is_said_at_once);
	RUN(fault_points_have_names);
	return unit_done();
}
