/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uploads are killed, or their disk fails, while they run; then the store is
 * opened again.  What was acknowledged is there, byte for byte; what was not
 * can be gone on with, from an offset that tells the truth, or is gone.
 *
 * Every opening is in a process of its own; what the one that died has been
 * told is in memory shared with the one that looks.
 */
#include "tests/unit/crash_help.h"
#include "tests/unit/upload_help.h"

#include <sys/mman.h>

#define LEN ((size_t)350000)
#define AT ((size_t)120000) /* where the later PUT begins */
#define BIG_MIB 66

/* How each content is sent. */
enum { PATCHED, WHOLE_PUT, LATER_PUT, BROKEN_PUT, CANCELED, KEPT, COUNT };

/* What its client knows. */
struct seen {
	char id[UPLOAD_ID_SIZE]; /* "" = was never told of one */
	uint64_t offset;         /* bytes that were taken */
	bool put;                /* a PUT had begun, at put_at */
	uint64_t put_at;
	bool ending;       /* so the session may be gone */
	bool acknowledged; /* 201 */
};

static struct temp t;
static struct digest dg[COUNT];
static uint8_t *bytes[COUNT];
static struct seen *seen; /* [COUNT], shared */
static bool with_big;

/* ---- what is done ---- */

/* A failed append leaves the session as it was: the same bytes again.  After
 * a failed sync there is none. */
static enum err append(unsigned i, struct upload *u, size_t from, size_t to)
{
	enum err err = upload_append(u, bytes[i] + from, to - from, NULL);

	if (err != ERR_OK) {
		CHECK(upload_offset(u) == from);
		err = upload_append(u, bytes[i] + from, to - from, NULL);
	}
	if (err == ERR_OK)
		seen[i].offset = to;
	return err;
}

static enum err send(unsigned i, struct upload *u, size_t from, size_t to)
{
	enum err err = ERR_OK;

	for (size_t at = from; err == ERR_OK && at < to; at += 60000)
		err = append(i, u, at, MIN(to, at + 60000));
	return err;
}

static struct upload *start(unsigned i)
{
	struct upload *u;

	if (upload_new(t.c, REPO, DIGEST_SHA256, &u, NULL) != ERR_OK)
		return NULL;
	memset(&seen[i], 0, sizeof(seen[i]));
	memcpy(seen[i].id, upload_id(u), UPLOAD_ID_SIZE);
	return u;
}

static enum err begin_put(unsigned i, struct upload *u)
{
	enum err err = upload_begin_put(u, NULL);

	if (err == ERR_OK) {
		seen[i].put = true;
		seen[i].put_at = upload_offset(u);
	}
	return err;
}

static enum err finish(unsigned i, struct upload **u)
{
	enum err err;

	seen[i].ending = true;
	err = upload_end(u, &dg[i], NULL);
	if (err == ERR_OK)
		seen[i].acknowledged = true;
	return err;
}

/* A client that sends the rest as a PUT, again if it has to. */
static void put_rest(unsigned i, struct upload **u)
{
	for (int tries = 0; *u && tries < 2; tries++) {
		if (begin_put(i, *u) == ERR_OK &&
		    send(i, *u, upload_offset(*u), LEN) == ERR_OK)
			(void)!finish(i, u);
	}
	if (*u)
		upload_close(u);
}

/* From whatever there is. */
static void put_or_patch(unsigned i, struct upload **u)
{
	if (i == PATCHED || i == KEPT) {
		if (send(i, *u, upload_offset(*u), LEN) == ERR_OK)
			(void)!finish(i, u);
		if (*u)
			(void)!finish(i, u);
		if (*u)
			upload_close(u);
	} else {
		put_rest(i, u);
	}
}

static void push(unsigned i)
{
	struct upload *u = start(i);

	if (!u)
		return;
	if (i == LATER_PUT)
		(void)!send(i, u, 0, AT);
	if (i == BROKEN_PUT && begin_put(i, u) == ERR_OK) {
		(void)!send(i, u, 0, AT);
		(void)!upload_rewind(u, NULL);
	}
	put_or_patch(i, &u);
}

static void keep(void)
{
	struct upload *u = start(KEPT);

	if (!u)
		return;
	(void)!send(KEPT, u, 0, AT);
	upload_close(&u);
}

static void cancel(void)
{
	struct upload *u = start(CANCELED);

	if (!u)
		return;
	(void)!send(CANCELED, u, 0, AT);
	seen[CANCELED].ending = true;
	upload_cancel(&u);
}

/* Past the sync in the midst of a large one. */
static void push_big(void)
{
	uint8_t *mib = xcalloc(1, MIB);
	struct upload *u;
	enum err err;

	err = upload_new(t.c, REPO, DIGEST_SHA256, &u, NULL);
	for (unsigned i = 0; err == ERR_OK && i < BIG_MIB; i++)
		err = upload_append(u, mib, MIB, NULL);
	if (u)
		upload_close(&u);
	free(mib);
}

static void recover_all(void)
{
	while (cache_recover_step(t.c))
		;
}

static void work(void)
{
	if (temp_try(&t, NULL) != ERR_OK)
		return;
	recover_all();
	push(WHOLE_PUT);
	push(PATCHED);
	push(LATER_PUT);
	keep();
	push(BROKEN_PUT);
	cancel();
	if (with_big)
		push_big();
	temp_close(&t);
}

/* ---- what must be true ---- */

static void say(void *arg, const char *finding)
{
	fprintf(stderr, "finding: %s\n", finding);
	++*(unsigned *)arg;
}

static void check_sound(void)
{
	unsigned findings = 0;

	cache_check(t.c, true, say, &findings);
	CHECK(findings == 0);
}

/* Nothing half-made is visible, and what was told of is there. */
static void check_told(unsigned i)
{
	char path[PATH_LEN_MAX];
	struct blob_row row;
	struct stat st;
	enum err err = store_blob_row(t.c, &dg[i], &row);
	bool linked = upload_is_linked(t.c, REPO, &dg[i]);

	if (err == ERR_OK)
		CHECK(temp_has(&t, &dg[i], bytes[i], LEN));
	else
		CHECK(err == ERR_NOT_FOUND && !linked &&
		      !temp_file(&t, blob_path(&dg[i], path), &st));
	if (seen[i].acknowledged)
		CHECK(linked);
}

/* Where the session stands: the bytes that were taken and perhaps those that
 * were on their way, but none of a PUT that broke off. */
static void check_offset(const struct seen *s, uint64_t offset)
{
	if (s->put)
		CHECK(offset == s->put_at);
	else
		CHECK(offset >= s->offset);
	CHECK(offset <= LEN);
}

/* Its client comes back for it.  That the digest is right in the end shows
 * that the offset told the truth. */
static void go_on(unsigned i)
{
	struct seen s = seen[i];
	struct upload_info info;
	struct upload *u;
	enum err err;

	if (!s.id[0] || s.acknowledged)
		return;
	err = upload_open(t.c, s.id, &u, NULL);
	CHECK(err == ERR_OK || (err == ERR_NOT_FOUND && s.ending));
	if (err != ERR_OK)
		return;
	CHECK(upload_look(t.c, s.id, &info, NULL) == ERR_OK);
	CHECK(info.offset == upload_offset(u));
	if (!s.ending)
		check_offset(&s, upload_offset(u));
	if (i == CANCELED) {
		upload_cancel(&u);
		return;
	}
	put_or_patch(i, &u);
	CHECK(seen[i].acknowledged);
}

static void check_usable(void)
{
	for (unsigned i = 0; i < COUNT; i++) {
		if (i == CANCELED)
			continue;
		if (!seen[i].acknowledged)
			push(i);
		CHECK(seen[i].acknowledged);
		check_told(i);
		CHECK(temp_has(&t, &dg[i], bytes[i], LEN));
	}
}

static void verify(void)
{
	temp_open(&t);
	check_sound();
	recover_all();
	check_sound();
	for (unsigned i = 0; i < COUNT; i++)
		check_told(i);
	for (unsigned i = 0; i < COUNT; i++)
		go_on(i);
	check_usable();
	check_sound();
	index_thread_done(t.c->index);
	temp_close(&t);
	/* Once more, as the next start finds it. */
	temp_open(&t);
	CHECK(!cache_recover_step(t.c));
	check_sound();
	index_thread_done(t.c->index);
	temp_close(&t);
}

/* ---- before and after ---- */

static void begin(void)
{
	temp_make_fast(&t);
	seen = mmap(NULL, COUNT * sizeof(*seen), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (seen == MAP_FAILED)
		abort();
}

static void end(const char *when)
{
	int status = crash_child(verify, NULL, 0);

	if (status != 0)
		fprintf(stderr, "  after %s\n", when);
	CHECK(status == 0);
	temp_remove(&t);
	munmap(seen, COUNT * sizeof(*seen));
}

static void without_a_fault_all_is_stored(void)
{
	begin();
	CHECK(crash_child(work, NULL, 0) == 0);
	for (unsigned i = 0; i < COUNT; i++)
		CHECK(seen[i].acknowledged == (i != CANCELED && i != KEPT));
	end("no fault");
}

static void killed_at_any_moment_it_recovers(void)
{
	for (unsigned i = 0; i < 15; i++) {
		char when[64];
		int status;

		begin();
		status = crash_child(work, NULL, 1500 + i * 2500);
		CHECK(status == 0 || crash_killed(status));
		snprintf(when, sizeof(when), "a kill after %u us",
			 1500 + i * 2500);
		end(when);
	}
}

#ifdef FAULT_POINTS

#define PASSAGES 6

/* The points that uploads pass. */
static bool is_mine(unsigned point)
{
	const char *name = fault_name(point);

	return strncmp(name, "upload_", 7) == 0 ||
	       (strncmp(name, "publish_", 8) == 0 &&
		point != FAULT_publish_map) ||
	       (strncmp(name, "journal_", 8) == 0 &&
		point != FAULT_journal_cut) ||
	       strncmp(name, "index_", 6) == 0 || point == FAULT_recover_read ||
	       point == FAULT_recover_unlink;
}

/* What the first start leaves to do, for the points of recovery. */
static void prepare(unsigned point)
{
	with_big = point == FAULT_upload_sync || point == FAULT_upload_mark;
	if (point == FAULT_recover_read)
		CHECK(crash_killed(
		    crash_child(work, "publish_commit:1:kill", 0)));
	if (point == FAULT_recover_unlink)
		CHECK(crash_killed(
		    crash_child(work, "publish_unlink:1:kill", 0)));
}

static const struct crash_scene scene = {begin, prepare, work, end};

static void killed_at_each_point_it_recovers(void)
{
	for (unsigned i = 0; i < FAULT_POINTS_COUNT; i++) {
		bool reached = is_mine(i);
		unsigned n = 0;

		while (reached && n < PASSAGES)
			reached = crash_at(&scene, i, ++n, "kill");
		if (n == 1 && !reached)
			fprintf(stderr, "%s is never passed\n", fault_name(i));
		CHECK(n != 1 || reached);
	}
}

static void failing_at_each_point_it_stays_whole(void)
{
	static const char *const actions[] = {"enospc", "eio"};

	for (unsigned i = 0; i < FAULT_POINTS_COUNT; i++)
		for (unsigned n = 1; n <= 3 && is_mine(i); n++)
			for (unsigned a = 0; a < ARRAY_LEN(actions); a++)
				CHECK(!crash_at(&scene, i, n, actions[a]));
}

/* A crash in the midst of recovering from a crash. */
static void killed_twice_it_recovers(void)
{
	static const char *const first[] = {
	    "publish_dir_sync:1:kill", "publish_link:1:kill",
	    "publish_commit:1:kill", "index_committed:2:kill"};

	for (unsigned i = 0; i < FAULT_POINTS_COUNT; i++)
		for (unsigned f = 0; f < ARRAY_LEN(first) && is_mine(i); f++) {
			char fault[64];

			begin();
			CHECK(crash_killed(crash_child(work, first[f], 0)));
			snprintf(fault, sizeof(fault), "%s:1:kill",
				 fault_name(i));
			crash_child(work, fault, 0);
			end(fault);
		}
}

#endif

int main(void)
{
	/* Once: a sanitizer makes their making longer than the test. */
	for (unsigned i = 0; i < COUNT; i++)
		bytes[i] = temp_bytes(200 + i, LEN, &dg[i]);
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
