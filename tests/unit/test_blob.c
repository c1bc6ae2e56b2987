/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/temp_cache.h"

#include <linux/magic.h>
#include <pthread.h>
#include <sys/vfs.h>

#define LEN ((size_t)100000)
#define BLOBS 8

static struct temp t;
static struct digest dg[BLOBS];
static uint8_t *bytes[BLOBS];

static void setup(void)
{
	temp_make(&t);
	temp_open(&t);
	for (unsigned i = 0; i < BLOBS; i++) {
		struct why why;

		bytes[i] = temp_bytes(i + 1, LEN, &dg[i]);
		if (temp_store(&t, &dg[i], bytes[i], LEN, &why) != ERR_OK)
			abort();
	}
}

static void teardown(void)
{
	index_thread_done(t.c->index);
	temp_close(&t);
	temp_remove(&t);
	for (unsigned i = 0; i < BLOBS; i++)
		free(bytes[i]);
}

static void next_hit_after_publication_opens_nothing(void)
{
	struct blob *b;

	setup();
	b = blob_pin_hot(t.c, &dg[BLOBS - 1]);
	CHECK(b);
	CHECK(blob_size(b) == LEN);
	CHECK(digest_equal(blob_digest(b), &dg[BLOBS - 1]));
	blob_unpin(&b);
	CHECK(!b);
	teardown();
}

/* Four descriptors are kept (temp_cache.h); pinned ones count, and stay. */
static void least_recent_descriptors_are_closed(void)
{
	struct blob *first, *b;

	setup();
	CHECK(!blob_pin_hot(t.c, &dg[0]));
	CHECK(blob_pin(t.c, &dg[0], &first, NULL) == ERR_OK);
	for (unsigned i = 1; i < BLOBS; i++) {
		CHECK(blob_pin(t.c, &dg[i], &b, NULL) == ERR_OK);
		blob_unpin(&b);
	}
	CHECK(!blob_pin_hot(t.c, &dg[BLOBS - 4]));
	b = blob_pin_hot(t.c, &dg[BLOBS - 3]);
	CHECK(b);
	blob_unpin(&b);
	b = blob_pin_hot(t.c, &dg[0]);
	CHECK(b == first);
	blob_unpin(&b);
	blob_unpin(&first);
	teardown();
}

static void everybody_has_the_same_descriptor(void)
{
	struct blob *a, *b, *c;

	setup();
	CHECK(blob_pin(t.c, &dg[0], &a, NULL) == ERR_OK);
	CHECK(blob_pin(t.c, &dg[0], &b, NULL) == ERR_OK);
	c = blob_repin(b);
	CHECK(a == b && b == c);
	blob_unpin(&a);
	blob_unpin(&b);
	CHECK(temp_has(&t, &dg[0], bytes[0], LEN));
	CHECK(blob_fd(c) >= 0);
	blob_unpin(&c);
	teardown();
}

static void what_is_not_recorded_is_not_found(void)
{
	struct digest other;
	struct blob *b;
	struct why why;

	setup();
	digest_of(DIGEST_SHA256, "other", 5, &other);
	CHECK(blob_pin(t.c, &other, &b, &why) == ERR_NOT_FOUND);
	CHECK(!b && strstr(why.text, "is not stored here"));
	CHECK(t.events[CACHE_CORRUPT_BLOB] == 0);
	teardown();
}

static void check_dropped(unsigned i)
{
	char path[PATH_LEN_MAX];
	struct blob_row row;
	struct blob *b;
	struct stat st;
	struct why why;

	CHECK(blob_pin(t.c, &dg[i], &b, &why) == ERR_CORRUPT);
	CHECK(t.events[CACHE_CORRUPT_BLOB] == 1);
	CHECK(store_blob_row(t.c, &dg[i], &row) == ERR_NOT_FOUND);
	CHECK(blob_pin(t.c, &dg[i], &b, &why) == ERR_NOT_FOUND);
	CHECK(!temp_file(&t, blob_path(&dg[i], path), &st));
	CHECK(temp_store(&t, &dg[i], bytes[i], LEN, &why) == ERR_OK);
	CHECK(temp_has(&t, &dg[i], bytes[i], LEN));
}

static void missing_file_drops_the_record(void)
{
	char path[PATH_LEN_MAX];

	setup();
	CHECK(unlinkat(t.c->data_fd, blob_path(&dg[0], path), 0) == 0);
	check_dropped(0);
	teardown();
}

static void file_of_another_length_drops_the_record(void)
{
	char path[PATH_LEN_MAX];
	int fd;

	setup();
	fd = store_open(t.c, blob_path(&dg[0], path), O_WRONLY);
	CHECK(ftruncate(fd, LEN - 1) == 0);
	close(fd);
	check_dropped(0);
	teardown();
}

static void file_that_cannot_be_opened_changes_nothing(void)
{
	char path[PATH_LEN_MAX];
	struct blob_row row;
	struct blob *b;
	struct stat st;

	setup();
	CHECK(unlinkat(t.c->data_fd, blob_path(&dg[0], path), 0) == 0);
	CHECK(symlinkat("nowhere", t.c->data_fd, path) == 0); /* ELOOP */
	CHECK(blob_pin(t.c, &dg[0], &b, NULL) == ERR_IO);
	CHECK(store_blob_row(t.c, &dg[0], &row) == ERR_OK);
	CHECK(temp_file(&t, path, &st));
	CHECK(t.events[CACHE_CORRUPT_BLOB] == 0);
	teardown();
}

static void removal_leaves_the_bytes_to_those_who_have_them_pinned(void)
{
	uint8_t got[LEN];
	struct blob *b;

	setup();
	CHECK(blob_pin(t.c, &dg[0], &b, NULL) == ERR_OK);
	CHECK(cache_drop_blob(t.c, &dg[0], NULL) == ERR_OK);
	CHECK(!blob_pin_hot(t.c, &dg[0]));
	CHECK(store_pread(blob_fd(b), got, LEN, 0) == (ssize_t)LEN);
	CHECK(memcmp(got, bytes[0], LEN) == 0);
	blob_unpin(&b);
	teardown();
}

/* tmpfs has nowhere else to keep it. */
static bool in_memory(int fd)
{
	struct statfs fs;

	CHECK(fstatfs(fd, &fs) == 0);
	return fs.f_type == TMPFS_MAGIC;
}

static void resident_is_what_was_just_written_or_warmed(void)
{
	enum resident now;
	struct blob *b;

	setup();
	CHECK(blob_pin(t.c, &dg[0], &b, NULL) == ERR_OK);
	file_warm(blob_fd(b), 0, LEN);
	now = file_resident(blob_fd(b), 0, LEN);
	CHECK(now == RESIDENT_YES || now == RESIDENT_DONT_KNOW);
	CHECK(file_resident(blob_fd(b), 10, 0) == RESIDENT_YES);
	if (now == RESIDENT_YES) {
		CHECK(file_resident(blob_fd(b), 5000, 90000) == RESIDENT_YES);
		CHECK(fdatasync(blob_fd(b)) == 0);
		posix_fadvise(blob_fd(b), 0, 0, POSIX_FADV_DONTNEED);
		CHECK(file_resident(blob_fd(b), 0, LEN) ==
		      (in_memory(blob_fd(b)) ? RESIDENT_YES : RESIDENT_NO));
		file_warm(blob_fd(b), 8192, 4096);
		CHECK(file_resident(blob_fd(b), 8192, 4096) == RESIDENT_YES);
	}
	CHECK(file_resident(-1, 0, 4096) == RESIDENT_DONT_KNOW);
	blob_unpin(&b);
	teardown();
}

/* ---- threads ---- */

struct user {
	unsigned seed;
	bool right;
};

/* Whoever shares a partial that another thread publishes, and a third removes
 * at once, is told so, and begins anew. */
static bool store_again(unsigned n)
{
	struct why why = {""};

	for (unsigned tries = 0; tries < 10; tries++) {
		if (temp_store(&t, &dg[n], bytes[n], LEN, &why) == ERR_OK)
			return true;
		if (!strstr(why.text, "was removed meanwhile"))
			break;
	}
	fprintf(stderr, "%s\n", why.text);
	return false;
}

/* Pins, reads, drops and stores again; others do the same. */
static void *use(void *arg)
{
	struct user *u = arg;
	uint8_t got[64];

	for (unsigned i = 0; i < 120; i++) {
		unsigned n = (i * 7 + u->seed) % BLOBS;
		struct blob *b;
		enum err err = blob_pin(t.c, &dg[n], &b, NULL);

		if (err == ERR_OK) {
			u->right =
			    u->right && blob_size(b) == LEN &&
			    store_pread(blob_fd(b), got, 64, 5000) == 64 &&
			    memcmp(got, bytes[n] + 5000, 64) == 0;
			blob_unpin(&b);
		} else if (err != ERR_NOT_FOUND) {
			u->right = false;
		}
		if (i % 5 == u->seed % 5) {
			err = cache_drop_blob(t.c, &dg[n], NULL);
			if (err != ERR_OK && err != ERR_NOT_FOUND)
				u->right = false;
			if (!store_again(n))
				u->right = false;
		}
	}
	index_thread_done(t.c->index);
	return NULL;
}

static void nobody_sees_wrong_bytes_while_blobs_come_and_go(void)
{
	pthread_t threads[4];
	struct user users[4];

	setup();
	for (unsigned i = 0; i < 4; i++) {
		users[i] = (struct user){i, true};
		pthread_create(&threads[i], NULL, use, &users[i]);
	}
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		CHECK(users[i].right);
	}
	CHECK(t.events[CACHE_CORRUPT_BLOB] == 0);
	for (unsigned i = 0; i < BLOBS; i++)
		CHECK(temp_has(&t, &dg[i], bytes[i], LEN));
	teardown();
}

int main(void)
{
	RUN(next_hit_after_publication_opens_nothing);
	RUN(least_recent_descriptors_are_closed);
	RUN(everybody_has_the_same_descriptor);
	RUN(what_is_not_recorded_is_not_found);
	RUN(missing_file_drops_the_record);
	RUN(file_of_another_length_drops_the_record);
	RUN(file_that_cannot_be_opened_changes_nothing);
	RUN(removal_leaves_the_bytes_to_those_who_have_them_pinned);
	RUN(resident_is_what_was_just_written_or_warmed);
	RUN(nobody_sees_wrong_bytes_while_blobs_come_and_go);
	return unit_done();
}
