/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/partial_int.h"
#include "tests/unit/temp_cache.h"

#include <pthread.h>
#include <sys/wait.h>

#define LEN ((size_t)3 * 1024 * 1024 + 12345)

static struct temp t;
static struct digest dg;
static uint8_t *bytes;

static void setup(void)
{
	temp_make(&t);
	temp_open(&t);
	bytes = temp_bytes(1, LEN, &dg);
}

static void teardown(void)
{
	index_thread_done(t.c->index);
	temp_close(&t);
	temp_remove(&t);
	free(bytes);
}

static struct partial *open_it(void)
{
	struct partial *p = NULL;
	struct why why;

	if (partial_open(t.c, &dg, "docker.io", &p, &why) != ERR_OK) {
		fprintf(stderr, "%s\n", why.text);
		abort();
	}
	return p;
}

static struct partial_view view_of(struct partial *p)
{
	struct partial_view v;

	partial_view(p, &v);
	return v;
}

static enum err write_at(struct partial *p, size_t from, size_t to)
{
	return partial_write(p, from, bytes + from, to - from, NULL);
}

static void written_in_order_it_is_hashed_from_memory(void)
{
	struct partial *p;

	setup();
	p = open_it();
	CHECK(view_of(p).size == PARTIAL_SIZE_UNKNOWN);
	CHECK(write_at(p, 0, 1000) == ERR_OK);
	CHECK(view_of(p).hashed == 1000 && view_of(p).held_bytes == 1000);
	CHECK(partial_run(p, 0) == 1000 && partial_run(p, 1000) == 1000);
	CHECK(write_at(p, 1000, LEN) == ERR_OK);
	CHECK(view_of(p).hashed == LEN && !view_of(p).proven);
	CHECK(partial_set_size(p, LEN, NULL) == ERR_OK);
	CHECK(view_of(p).proven && !view_of(p).mismatch);
	partial_close(&p);
	teardown();
}

static void written_out_of_order_the_hash_catches_up(void)
{
	struct partial *p;
	bool more;

	setup();
	p = open_it();
	CHECK(partial_set_size(p, LEN, NULL) == ERR_OK);
	CHECK(write_at(p, 2000000, LEN) == ERR_OK);
	CHECK(view_of(p).hashed == 0);
	CHECK(partial_next(p, 0) == 2000000 && partial_run(p, 0) == 0);
	CHECK(write_at(p, 0, 1000000) == ERR_OK);
	CHECK(view_of(p).hashed == 1000000);
	CHECK(partial_hash(p, 1 * MIB, &more, NULL) == ERR_OK && !more);
	CHECK(write_at(p, 1000000, 2000000) == ERR_OK);
	CHECK(view_of(p).hashed == 2000000);
	CHECK(partial_hash(p, 4096, &more, NULL) == ERR_OK && more);
	CHECK(view_of(p).hashed == 2004096);
	CHECK(partial_hash(p, UINT64_MAX, &more, NULL) == ERR_OK && !more);
	CHECK(view_of(p).proven);
	partial_close(&p);
	teardown();
}

/* What one transfer brought, another brings again. */
static void overlap_is_compared(void)
{
	struct partial *p;
	struct why why;

	setup();
	p = open_it();
	CHECK(write_at(p, 1000, 2000) == ERR_OK);
	CHECK(write_at(p, 4000, 5000) == ERR_OK);
	CHECK(write_at(p, 0, 6000) == ERR_OK);
	CHECK(view_of(p).held_bytes == 6000 && view_of(p).hashed == 6000);
	bytes[1500] ^= 1;
	CHECK(partial_write(p, 1000, bytes + 1000, 9000, &why) == ERR_MISMATCH);
	CHECK(strstr(why.text, "other bytes than before"));
	bytes[1500] ^= 1;
	CHECK(partial_run(p, 0) == 6000);
	CHECK(write_at(p, 6000, LEN) == ERR_OK);
	CHECK(partial_set_size(p, LEN, NULL) == ERR_OK);
	CHECK(view_of(p).proven);
	partial_close(&p);
	teardown();
}

static void wrong_bytes_are_a_mismatch(void)
{
	struct partial *p;

	setup();
	p = open_it();
	bytes[LEN / 2] ^= 1;
	CHECK(partial_set_size(p, LEN, NULL) == ERR_OK);
	CHECK(write_at(p, 0, LEN) == ERR_OK);
	CHECK(view_of(p).mismatch && !view_of(p).proven);
	partial_discard(p);
	CHECK(!partial_exists(t.c, &dg, "docker.io"));
	partial_close(&p);
	teardown();
}

static void sizes_that_disagree_are_a_mismatch(void)
{
	struct partial *p;

	setup();
	p = open_it();
	CHECK(write_at(p, 0, 5000) == ERR_OK);
	CHECK(partial_set_size(p, 4999, NULL) == ERR_MISMATCH);
	CHECK(view_of(p).size == PARTIAL_SIZE_UNKNOWN);
	CHECK(partial_set_size(p, 6000, NULL) == ERR_OK);
	CHECK(partial_set_size(p, 6000, NULL) == ERR_OK);
	CHECK(partial_set_size(p, 6001, NULL) == ERR_MISMATCH);
	CHECK(write_at(p, 5000, 6001) == ERR_MISMATCH);
	CHECK(partial_write(p, UINT64_MAX - 1, bytes, 10, NULL) ==
	      ERR_MISMATCH);
	CHECK(view_of(p).held_bytes == 5000);
	partial_close(&p);
	teardown();
}

static void empty_blob_is_proven_by_its_size(void)
{
	struct partial *p;

	setup();
	digest_of(DIGEST_SHA512, "", 0, &dg);
	p = open_it();
	CHECK(partial_set_size(p, 0, NULL) == ERR_OK);
	CHECK(view_of(p).proven);
	CHECK(partial_publish(p, NULL, 0, NULL) == ERR_OK);
	partial_close(&p);
	CHECK(temp_has(&t, &dg, bytes, 0));
	teardown();
}

static void close_keeps_what_is_held(void)
{
	struct partial *p;
	struct why why;

	setup();
	p = open_it();
	CHECK(partial_set_size(p, LEN, NULL) == ERR_OK);
	CHECK(write_at(p, 100, 777) == ERR_OK);
	CHECK(write_at(p, 2000000, 2500000) == ERR_OK);
	partial_close(&p);
	CHECK(partial_exists(t.c, &dg, "docker.io"));
	CHECK(!partial_exists(t.c, &dg, "quay.io"));
	temp_close(&t);
	temp_open(&t);
	CHECK(partial_exists(t.c, &dg, "docker.io"));
	p = open_it();
	CHECK(view_of(p).size == LEN && view_of(p).hashed == 0);
	CHECK(view_of(p).held_bytes == 677 + 500000);
	CHECK(partial_next(p, 0) == 100 && partial_run(p, 100) == 777);
	CHECK(partial_next(p, 777) == 2000000);
	CHECK(temp_fill(p, bytes, LEN, 100000, &why) == ERR_OK);
	CHECK(view_of(p).proven);
	partial_close(&p);
	teardown();
}

static void nothing_held_leaves_no_file(void)
{
	char path[PATH_LEN_MAX];
	struct partial *p;
	struct stat st;

	setup();
	p = open_it();
	CHECK(temp_file(&t, staged_path(&dg, "docker.io", path), &st));
	partial_close(&p);
	CHECK(!temp_file(&t, path, &st));
	CHECK(!partial_exists(t.c, &dg, "docker.io"));
	teardown();
}

/* In another process, which ends as if killed: 1 MiB that a close synced, then
 * another 1 MiB, then a little. */
static void write_and_die(void)
{
	pid_t child = fork();
	int status = 1;

	if (child == 0) {
		struct partial *p;

		temp_open(&t);
		p = open_it();
		if (write_at(p, 0, 1 * MIB) != ERR_OK)
			_exit(1);
		partial_close(&p);
		p = open_it();
		if (write_at(p, 1 * MIB, 2 * MIB) != ERR_OK ||
		    write_at(p, 2 * MIB, 2 * MIB + 1000) != ERR_OK)
			_exit(1);
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void crash_of_ours_loses_nothing_that_was_held(void)
{
	struct partial *p;

	temp_make(&t);
	bytes = temp_bytes(1, LEN, &dg);
	write_and_die();
	temp_open(&t);
	p = open_it();
	CHECK(view_of(p).held_bytes == 2 * MIB + 1000);
	CHECK(partial_run(p, 0) == 2 * MIB + 1000);
	partial_close(&p);
	teardown();
}

static void after_another_boot_only_what_was_synced_counts(void)
{
	struct partial *p;

	temp_make(&t);
	bytes = temp_bytes(1, LEN, &dg);
	write_and_die();
	temp_open(&t);
	t.c->boot.bytes[3] ^= 1;
	p = open_it();
	CHECK(view_of(p).held_bytes == 1 * MIB);
	CHECK(partial_run(p, 0) == 1 * MIB);
	partial_close(&p);
	teardown();
}

static void map_of_another_file_is_not_believed(void)
{
	char path[PATH_LEN_MAX], copy[PATH_LEN_MAX + 8];
	struct partial *p;
	struct stat st;
	int fd;

	setup();
	p = open_it();
	CHECK(write_at(p, 0, 2 * MIB) == ERR_OK);
	partial_close(&p);
	/* The same name and length, another inode: as if one of two unlinks
	 * had not reached the disk. */
	staged_path(&dg, "docker.io", path);
	snprintf(copy, sizeof(copy), "%s-", path);
	fd = store_open(t.c, copy, O_RDWR | O_CREAT);
	CHECK(ftruncate(fd, 2 * MIB) == 0);
	close(fd);
	CHECK(renameat(t.c->data_fd, copy, t.c->data_fd, path) == 0);
	p = open_it();
	CHECK(view_of(p).held_bytes == 0);
	CHECK(fstat(partial_fd(p), &st) == 0 && st.st_size == 0);
	partial_close(&p);
	teardown();
}

/* Two flights one after the other: the first one's readers are still there. */
static void second_opener_shares_the_first_ones_file(void)
{
	struct partial *a, *b;

	setup();
	a = open_it();
	CHECK(write_at(a, 0, 1000) == ERR_OK);
	b = open_it();
	CHECK(partial_run(b, 0) == 1000);
	CHECK(write_at(b, 1000, 2000) == ERR_OK);
	partial_close(&a);
	CHECK(partial_run(b, 0) == 2000);
	partial_close(&b);
	teardown();
}

static void discarded_bytes_stay_readable_and_a_new_start_is_empty(void)
{
	struct partial *old, *new;
	uint8_t got[1000];

	setup();
	old = open_it();
	CHECK(write_at(old, 0, 1000) == ERR_OK);
	partial_discard(old);
	new = open_it();
	CHECK(new != old &&view_of(new).held_bytes == 0);
	CHECK(write_at(new, 0, 500) == ERR_OK);
	CHECK(store_pread(partial_fd(old), got, 1000, 0) == 1000);
	CHECK(memcmp(got, bytes, 1000) == 0);
	CHECK(write_at(old, 1000, 2000) == ERR_IO);
	partial_discard(old); /* once more does nothing to the new one */
	partial_close(&old);
	CHECK(partial_exists(t.c, &dg, "docker.io"));
	partial_close(&new);
	new = open_it();
	CHECK(view_of(new).held_bytes == 500);
	partial_close(&new);
	teardown();
}

static void two_upstreams_are_two_partials(void)
{
	struct partial *a, *b;

	setup();
	a = open_it();
	CHECK(partial_open(t.c, &dg, "reg.example:5000", &b, NULL) == ERR_OK);
	CHECK(write_at(a, 0, 1000) == ERR_OK);
	CHECK(view_of(b).held_bytes == 0);
	CHECK(partial_fd(a) != partial_fd(b));
	partial_close(&a);
	partial_close(&b);
	teardown();
}

static void below_min_free_nothing_is_made(void)
{
	struct partial *p;
	struct why why;

	temp_make(&t);
	t.min_free = UINT64_MAX / 2;
	temp_open(&t);
	bytes = temp_bytes(1, LEN, &dg);
	CHECK(partial_open(t.c, &dg, "docker.io", &p, &why) == ERR_NO_SPACE);
	CHECK(!p && strstr(why.text, "min_free"));
	CHECK(!partial_exists(t.c, &dg, "docker.io"));
	teardown();
}

/* Room that ends half way: what is held stays usable. */
static void room_that_ends_is_no_space(void)
{
	struct partial *p;
	struct why why;

	setup();
	p = open_it();
	CHECK(write_at(p, 0, 1000) == ERR_OK);
	space_end(t.c->space, &p->share);
	space_free(&t.c->space);
	t.c->space = space_new(t.c->data_fd, UINT64_MAX / 2);
	CHECK(partial_write(p, 1000, bytes + 1000, 1000, &why) == ERR_NO_SPACE);
	CHECK(strstr(why.text, "min_free"));
	CHECK(partial_run(p, 0) == 1000 && view_of(p).hashed == 1000);
	partial_close(&p);
	teardown();
}

static void too_many_pieces_are_refused_but_holes_can_be_filled(void)
{
	struct partial *p;
	struct why why;

	setup();
	p = open_it();
	for (size_t i = 0; i < PARTIAL_EXTENTS_MAX; i++)
		if (write_at(p, 1 + 4 * i, 3 + 4 * i) != ERR_OK)
			abort();
	CHECK(partial_write(p, LEN - 100, bytes, 10, &why) == ERR_NO_SPACE);
	CHECK(strstr(why.text, "more than 4096 pieces"));
	CHECK(write_at(p, 3, 5) == ERR_OK);
	CHECK(partial_run(p, 1) == 7);
	partial_close(&p);
	teardown();
}

static void hasher_copy_stands_where_the_hash_does(void)
{
	struct digest got;
	struct partial *p;
	struct hasher *h;
	uint64_t at;

	setup();
	p = open_it();
	CHECK(write_at(p, 0, 123456) == ERR_OK);
	h = partial_hasher(p, &at);
	CHECK(at == 123456);
	hasher_update(h, bytes + at, LEN - at);
	hasher_final(h, &got);
	CHECK(digest_equal(&got, &dg));
	hasher_free(&h);
	partial_close(&p);
	teardown();
}

/* A name is a file name whatever an upstream is called. */
static void any_host_is_a_safe_and_distinct_file_name(void)
{
	static const char *const hosts[] = {
	    "a",        "a.map", "a%2Emap",  "..", ".",    "x/../../y",
	    "reg:5000", "A",     "\xc3\xa4", "%h", "long-"};
	char paths[ARRAY_LEN(hosts)][PATH_LEN_MAX], map[PATH_LEN_MAX];
	char host[REPO_HOST_MAX + 1];
	struct digest back;
	bool is_map;

	digest_of(DIGEST_SHA512, "x", 1, &dg);
	for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
		const char *name;

		memset(host, 'h', sizeof(host) - 1);
		host[sizeof(host) - 1] = '\0';
		name = strrchr(staged_path(&dg,
					   strcmp(hosts[i], "long-") == 0
					       ? host
					       : hosts[i],
					   paths[i]),
			       '/') +
		       1;
		CHECK(strlen(map_path(name, map)) <= 255);
		CHECK(strncmp(paths[i], "partial/sha512/", 15) == 0);
		CHECK(strchr(paths[i] + 15, '/') == NULL);
		CHECK(staged_name_parse("sha512", name, &is_map, &back) ==
		      ERR_OK);
		CHECK(!is_map && digest_equal(&back, &dg));
		CHECK(staged_name_parse("sha512", map, &is_map, &back) ==
			  ERR_OK &&
		      is_map);
		for (size_t j = 0; j < i; j++)
			CHECK(strcmp(paths[i], paths[j]) != 0);
	}
	CHECK(staged_name_parse("sha256", "lost+found", &is_map, &back) ==
	      ERR_INVALID);
	CHECK(blob_path_parse("blobs/sha256/../../etc", &back) == ERR_INVALID);
	blob_path(&dg, map);
	CHECK(blob_path_parse(map, &back) == ERR_OK &&
	      digest_equal(&back, &dg));
	map[13] ^= 1; /* the folder is not the digest's */
	CHECK(blob_path_parse(map, &back) == ERR_INVALID);
}

/* ---- threads ---- */

struct follower {
	struct partial *p;
	bool right;
};

/* As a reader follows: what is announced can be read, and is right. */
static void *follow(void *arg)
{
	struct follower *f = arg;
	uint8_t *got = xmalloc(LEN);
	uint64_t at = 0;

	while (at < LEN && f->right) {
		uint64_t run = partial_run(f->p, at), hashed;
		size_t n = (size_t)(run - at);
		struct hasher *h = partial_hasher(f->p, &hashed);

		hasher_free(&h);
		f->right =
		    store_pread(partial_fd(f->p), got, n, at) == (ssize_t)n &&
		    memcmp(got, bytes + at, n) == 0 && hashed <= LEN;
		at = run;
	}
	free(got);
	return NULL;
}

static void readers_follow_while_it_grows_and_is_published(void)
{
	struct follower f[3];
	pthread_t threads[3];
	struct partial *p;
	struct why why;

	setup();
	p = open_it();
	for (unsigned i = 0; i < 3; i++) {
		f[i] = (struct follower){p, true};
		pthread_create(&threads[i], NULL, follow, &f[i]);
	}
	CHECK(temp_fill(p, bytes, LEN, 16384, &why) == ERR_OK);
	CHECK(partial_publish(p, NULL, 0, NULL) == ERR_OK);
	for (unsigned i = 0; i < 3; i++) {
		pthread_join(threads[i], NULL);
		CHECK(f[i].right);
	}
	partial_close(&p);
	teardown();
}

struct rival {
	size_t from, step;
	bool fine;
};

static void *open_write_close(void *arg)
{
	struct rival *r = arg;

	for (size_t at = r->from; at < LEN; at += r->step) {
		size_t end = MIN(at + 65536, LEN);
		struct partial *p = open_it();

		r->fine = r->fine && write_at(p, at, end) == ERR_OK;
		partial_close(&p);
	}
	return NULL;
}

static void openers_and_closers_at_once_lose_nothing(void)
{
	struct rival r[4];
	pthread_t threads[4];
	struct partial *p;
	bool more;

	setup();
	for (unsigned i = 0; i < 4; i++) {
		r[i] = (struct rival){i * 65536, (size_t)4 * 65536, true};
		pthread_create(&threads[i], NULL, open_write_close, &r[i]);
	}
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		CHECK(r[i].fine);
	}
	p = open_it();
	CHECK(view_of(p).held_bytes == LEN);
	CHECK(partial_set_size(p, LEN, NULL) == ERR_OK);
	CHECK(partial_hash(p, UINT64_MAX, &more, NULL) == ERR_OK);
	CHECK(view_of(p).proven);
	partial_close(&p);
	teardown();
}

int main(void)
{
	RUN(written_in_order_it_is_hashed_from_memory);
	RUN(written_out_of_order_the_hash_catches_up);
	RUN(overlap_is_compared);
	RUN(wrong_bytes_are_a_mismatch);
	RUN(sizes_that_disagree_are_a_mismatch);
	RUN(empty_blob_is_proven_by_its_size);
	RUN(close_keeps_what_is_held);
	RUN(nothing_held_leaves_no_file);
	RUN(crash_of_ours_loses_nothing_that_was_held);
	RUN(after_another_boot_only_what_was_synced_counts);
	RUN(map_of_another_file_is_not_believed);
	RUN(second_opener_shares_the_first_ones_file);
	RUN(discarded_bytes_stay_readable_and_a_new_start_is_empty);
	RUN(two_upstreams_are_two_partials);
	RUN(below_min_free_nothing_is_made);
	RUN(room_that_ends_is_no_space);
	RUN(too_many_pieces_are_refused_but_holes_can_be_filled);
	RUN(hasher_copy_stands_where_the_hash_does);
	RUN(any_host_is_a_safe_and_distinct_file_name);
	RUN(readers_follow_while_it_grows_and_is_published);
	RUN(openers_and_closers_at_once_lose_nothing);
	return unit_done();
}
