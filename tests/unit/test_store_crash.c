/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store is killed, or its disk fails, while it works; then it is opened
 * again and everything is looked at.  Killed at moments that the clock picks
 * in any build, and at each fault point, at each passage, where these are
 * compiled in.
 *
 * Every opening is in a process of its own: the one that forks never has the
 * store open.
 */
#include "tests/unit/crash_help.h"
#include "tests/unit/temp_cache.h"

#define LEN ((size_t)2500000)
#define SMALL_LEN ((size_t)200000)

enum { WHOLE, DROPPED, BROKEN_OFF, SMALL, COUNT };

static struct temp t;
static struct digest dg[COUNT];
static uint8_t *bytes[COUNT];

static size_t len_of(unsigned i)
{
	return i == SMALL ? SMALL_LEN : LEN;
}

/* ---- what is done ---- */

/* As a large manifest's bytes are stored. */
static enum err store_small(void)
{
	return store_small_file(t.c, &dg[SMALL], bytes[SMALL], SMALL_LEN, NULL);
}

/* Opened, written to `upto`, and closed. */
static enum err store_part(unsigned i, size_t upto)
{
	struct partial *p;
	enum err err = partial_open(t.c, &dg[i], "docker.io", &p, NULL);

	if (err != ERR_OK)
		return err;
	for (size_t at = 0; err == ERR_OK && at < upto; at += 100000)
		err = partial_write(p, at, bytes[i] + at,
				    MIN(upto - at, 100000), NULL);
	partial_close(&p);
	return err;
}

static enum err store_whole(unsigned i)
{
	return temp_store(&t, &dg[i], bytes[i], LEN, NULL);
}

static void discard_one(void)
{
	struct partial *p;

	if (partial_open(t.c, &dg[BROKEN_OFF], "quay.io", &p, NULL) != ERR_OK)
		return;
	if (partial_write(p, 0, bytes[BROKEN_OFF], 5000, NULL) == ERR_OK)
		partial_discard(p);
	partial_close(&p);
}

static void recover_all(void)
{
	while (cache_recover_step(t.c))
		;
}

/* Every operation that has a disk order; results are the verifier's matter. */
static void work(void)
{
	if (temp_try(&t, NULL) != ERR_OK)
		return;
	recover_all();
	(void)!store_part(WHOLE, LEN / 2);
	(void)!store_whole(WHOLE);
	(void)!store_small();
	(void)!store_part(BROKEN_OFF, LEN / 3);
	discard_one();
	(void)!store_whole(DROPPED);
	(void)!cache_drop_blob(t.c, &dg[DROPPED], NULL);
	temp_close(&t);
}

/* ---- what must be true ---- */

static void say(void *arg, const char *finding)
{
	fprintf(stderr, "finding: %s\n", finding);
	++*(unsigned *)arg;
}

/* Nothing wrong is recorded, and what is not recorded is not there. */
static void check_consistent(void)
{
	for (unsigned i = 0; i < COUNT; i++) {
		char path[PATH_LEN_MAX];
		struct blob_row row;
		struct stat st;
		enum err err = store_blob_row(t.c, &dg[i], &row);

		if (err == ERR_OK)
			CHECK(temp_has(&t, &dg[i], bytes[i], len_of(i)));
		else
			CHECK(err == ERR_NOT_FOUND &&
			      !temp_file(&t, blob_path(&dg[i], path), &st));
	}
}

static void check_usable(void)
{
	unsigned findings = 0;

	CHECK(store_whole(WHOLE) == ERR_OK);
	CHECK(store_whole(BROKEN_OFF) == ERR_OK);
	CHECK(store_whole(DROPPED) == ERR_OK);
	CHECK(store_small() == ERR_OK);
	for (unsigned i = 0; i < COUNT; i++)
		CHECK(temp_has(&t, &dg[i], bytes[i], len_of(i)));
	CHECK(cache_drop_blob(t.c, &dg[DROPPED], NULL) == ERR_OK);
	CHECK(cache_check(t.c, true, say, &findings) == 0);
	CHECK(findings == 0);
}

static void verify(void)
{
	temp_open(&t);
	recover_all();
	check_consistent();
	check_usable();
	index_thread_done(t.c->index);
	temp_close(&t);
	/* Once more, as the next start finds it. */
	temp_open(&t);
	CHECK(!cache_recover_step(t.c));
	CHECK(!partial_exists(t.c, &dg[WHOLE], "docker.io"));
	check_consistent();
	index_thread_done(t.c->index);
	temp_close(&t);
}

/* ---- before and after ---- */

static void begin(void)
{
	temp_make_fast(&t);
}

static void end(const char *when)
{
	int status = crash_child(verify, NULL, 0);

	if (status != 0)
		fprintf(stderr, "  after %s\n", when);
	CHECK(status == 0);
	temp_remove(&t);
}

static void work_twice(void)
{
	work();
	work();
}

static void killed_at_any_moment_it_recovers(void)
{
	for (unsigned i = 0; i < 15; i++) {
		char when[64];
		int status;

		begin();
		status = crash_child(work_twice, NULL, 2000 + i * 7000);
		CHECK(status == 0 || crash_killed(status));
		snprintf(when, sizeof(when), "a kill after %u us",
			 2000 + i * 7000);
		end(when);
	}
}

static void without_a_fault_all_is_stored(void)
{
	begin();
	CHECK(crash_child(work, NULL, 0) == 0);
	end("no fault");
}

#ifdef FAULT_POINTS

#define PASSAGES 8

/* What the first start leaves to do, for the points of recovery. */
static bool is_recovery(unsigned point)
{
	return point == FAULT_recover_read || point == FAULT_recover_map ||
	       point == FAULT_recover_unlink;
}

/* Points that only hosted content passes: test_upload_crash, test_journal. */
static bool is_hosted(unsigned point)
{
	const char *name = fault_name(point);

	return strncmp(name, "upload_", 7) == 0 ||
	       strncmp(name, "journal_", 8) == 0 ||
	       strncmp(name, "snapshot_", 9) == 0 ||
	       point == FAULT_publish_staged_dir;
}

static void prepare(unsigned point)
{
	if (point == FAULT_recover_read)
		CHECK(crash_killed(
		    crash_child(work, "publish_commit:1:kill", 0)));
	if (point == FAULT_recover_map || point == FAULT_recover_unlink)
		CHECK(crash_killed(crash_child(work, "small_sync:1:kill", 0)));
}

static const struct crash_scene scene = {begin, prepare, work, end};

static void killed_at_each_point_it_recovers(void)
{
	for (unsigned i = 0; i < FAULT_POINTS_COUNT; i++) {
		bool reached = true;
		unsigned n = 0;

		if (is_hosted(i))
			continue;
		while (reached && n < PASSAGES)
			reached = crash_at(&scene, i, ++n, "kill");
		if (n == 1 && !reached)
			fprintf(stderr, "%s is never passed\n", fault_name(i));
		CHECK(n > 1 || reached);
	}
}

static void failing_at_each_point_it_stays_whole(void)
{
	static const char *const actions[] = {"enospc", "eio"};

	for (unsigned i = 0; i < FAULT_POINTS_COUNT; i++)
		for (unsigned n = 1; n <= 2 && !is_hosted(i); n++)
			for (unsigned a = 0; a < ARRAY_LEN(actions); a++)
				CHECK(!crash_at(&scene, i, n, actions[a]));
}

/* A crash in the midst of recovering from a crash. */
static void killed_twice_it_recovers(void)
{
	for (unsigned i = 0; i < FAULT_POINTS_COUNT; i++) {
		char fault[64];

		if (!is_recovery(i) && i != FAULT_publish_unlink &&
		    i != FAULT_publish_link && i != FAULT_publish_commit)
			continue;
		begin();
		CHECK(crash_killed(
		    crash_child(work, "publish_dir_sync:1:kill", 0)));
		snprintf(fault, sizeof(fault), "%s:1:kill", fault_name(i));
		crash_child(work, fault, 0);
		end(fault);
	}
}

#endif

int main(void)
{
	/* Once: a sanitizer makes their making longer than the test. */
	for (unsigned i = 0; i < COUNT; i++)
		bytes[i] = temp_bytes(100 + i, len_of(i), &dg[i]);
	RUN(without_a_fault_all_is_stored);
	RUN(killed_at_any_moment_it_recovers);
#ifdef FAULT_POINTS
	RUN(killed_at_each_point_it_recovers);
	RUN(failing_at_each_point_it_stays_whole);
	RUN(killed_twice_it_recovers);
#endif
	for (unsigned i = 0; i < COUNT; i++)
		free(bytes[i]);
	return unit_done();
}
