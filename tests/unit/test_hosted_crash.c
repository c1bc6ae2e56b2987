/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hosted content is pushed, moved, deleted, collected, and the process is
 * killed, or its disk fails; then it is opened again.  What was acknowledged
 * is there, whole; the step under way has been done or has not.  Killed at
 * moments that the clock picks in any build, and at each fault point, at each
 * passage, where these are compiled in.
 *
 * Every opening is in a process of its own: the one that forks never has the
 * store open.
 */
#include "tests/unit/hosted_help.h"
#include "tests/unit/unit.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* Image one is blobs 1 and 2, image two 1 and 3; the tag is "v1". */
enum { NONE, ONE, TWO };

/* What is hosted after each step. */
static const struct state {
	bool one, two;
	int tag;
} states[] = {
    {false, false, NONE}, /* nothing yet */
    {false, false, NONE}, /* the blobs of image one are there */
    {true, false, ONE},   /* it is pushed */
    {true, false, ONE},   /* blob 3 is there */
    {true, true, TWO},    /* image two is pushed to the same tag */
    {false, true, TWO},   /* image one is deleted */
    {false, true, TWO},   /* and collected */
    {false, true, NONE},  /* the tag is deleted */
    {false, true, NONE},  /* a mirror's blob came and was purged */
    {false, false, NONE}, /* image two is deleted */
    {false, false, NONE}, /* all is collected */
};

#define STEPS (ARRAY_LEN(states) - 1)

static atomic_uint *acknowledged; /* steps; shared with the children */
static struct cache *c;

static bool open_again(void)
{
	struct cache_options opt = {
	    .max_inline_bytes = 64 * 1024,
	    .max_open_blobs = 4,
	    .event = ignore_event,
	    .index = {.map_bytes = 64 * MIB},
	};
	char *data = test_path("data");
	enum err err;

	opt.data = data;
	err = cache_open(&opt, &c, NULL);
	free(data);
	if (err != ERR_OK)
		return false;
	while (cache_recover_step(c))
		;
	cache_set_grace(c, 0);
	return true;
}

static struct digest image_digest(unsigned layer)
{
	char *text = image_of(1, layer, NULL);
	struct digest dg = text_digest(text);

	free(text);
	return dg;
}

/* ---- the steps ---- */

static bool push_to_tag(unsigned layer)
{
	char *text = image_of(1, layer, NULL);
	enum err err = push(c, "team/app", "v1", text).err;

	free(text);
	return err == ERR_OK;
}

static bool delete_image(unsigned layer)
{
	struct digest dg = image_digest(layer);

	return remove_manifest(c, "team/app", &dg).err == ERR_OK;
}

static bool purge_fetched(void)
{
	struct publish_repo repo = {HOST, "app", true};
	struct digest dg = blob_digest(7);
	struct outcome o = OUTCOME;
	struct hosting h = {.repo = "app"};
	struct partial *p;
	bool more = true, done;
	char text[32];
	size_t len = blob_text(7, text);

	if (partial_open(c, &dg, HOST, &p, NULL) != ERR_OK)
		return false;
	done = partial_set_size(p, len, NULL) == ERR_OK &&
	       partial_write(p, 0, text, len, NULL) == ERR_OK &&
	       partial_hash(p, MIB, &more, NULL) == ERR_OK &&
	       partial_publish(p, &repo, 1, NULL) == ERR_OK;
	partial_close(&p);
	if (!done)
		return false;
	cache_purge_blob(c, HOST, &h, &dg, came_out, &o);
	return result_of(&o).err == ERR_OK;
}

static bool step(unsigned n)
{
	switch (n) {
	case 1:
		return try_upload(c, "team/app", 1) == ERR_OK &&
		       try_upload(c, "team/app", 2) == ERR_OK;
	case 2:
		return push_to_tag(2);
	case 3:
		return try_upload(c, "team/app", 3) == ERR_OK;
	case 4:
		return push_to_tag(3);
	case 5:
		return delete_image(2);
	case 7:
		return remove_tag(c, "team/app", "v1").err == ERR_OK;
	case 8:
		return purge_fetched();
	case 9:
		return delete_image(3);
	default:
		collect_all(c);
		return true;
	}
}

static void work(void)
{
	if (!open_again())
		return;
	for (unsigned n = 1; n <= STEPS && step(n); n++)
		atomic_store(acknowledged, n);
	index_thread_done(c->index);
	cache_close(&c);
}

/* ---- what must be true ---- */

static bool is_state(const struct state *s)
{
	struct digest one = image_digest(2), two = image_digest(3);
	struct digest tag = tag_digest(c, "team/app", "v1");
	int held = !tag.alg ? NONE : digest_equal(&tag, &one) ? ONE : TWO;

	return has_manifest(c, "team/app", &one) == s->one &&
	       has_manifest(c, "team/app", &two) == s->two && held == s->tag;
}

/* The checker, with rehash, looks at every row, child and file. */
static void verify(void)
{
	unsigned done = atomic_load(acknowledged);
	struct digest dg;

	CHECK(open_again());
	CHECK(is_state(&states[done]) ||
	      (done < STEPS && is_state(&states[done + 1])));
	expect_sound(c);
	collect_all(c);
	expect_sound(c);
	for (unsigned layer = 2; layer <= 3; layer++) {
		dg = image_digest(layer);
		CHECK(has_rows(c, &dg) == has_file(c, &dg));
		dg = blob_digest(layer); /* needed for its image's sake only */
		CHECK(has_rows(c, &dg) == has_file(c, &dg));
	}
	push_image(c, "team/app", "again", 1, 2); /* and all goes on */
	expect_sound(c);
	index_thread_done(c->index);
	cache_close(&c);
}

/* ---- processes ---- */

static int in_child(void (*run)(void), const char *fault,
		    unsigned kill_after_us)
{
	int status = -1;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (child == 0) {
		if (fault)
			setenv("ENTREPOT_FAULT", fault, 1);
		unit_failed_checks = 0;
		run();
		_exit(unit_failed_checks ? 1 : 0);
	}
	if (kill_after_us) {
		usleep(kill_after_us);
		kill(child, SIGKILL);
	}
	while (waitpid(child, &status, 0) != child)
		;
	return status;
}

static bool was_killed(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static bool run_once(const char *fault, unsigned kill_after_us)
{
	int status, after;

	test_dir_make();
	atomic_store(acknowledged, 0);
	status = in_child(work, fault, kill_after_us);
	CHECK(status == 0 || was_killed(status));
	after = in_child(verify, NULL, 0);
	if (after != 0)
		fprintf(stderr, "  after %s, or a kill after %u us\n",
			fault ? fault : "no fault", kill_after_us);
	CHECK(after == 0);
	test_dir_remove();
	return was_killed(status);
}

static void without_a_fault_every_step_is_taken(void)
{
	CHECK(!run_once(NULL, 0));
	CHECK(atomic_load(acknowledged) == STEPS);
}

static void killed_at_any_moment_nothing_acknowledged_is_lost(void)
{
	for (unsigned i = 0; i < 12; i++)
		run_once(NULL, 4000 + i * 2500);
}

#ifdef FAULT_POINTS

#define PASSAGES 40

/* Those that this work passes at all. */
static const enum fault_point points[] = {
    FAULT_publish_link, FAULT_publish_dir_sync, FAULT_publish_commit,
    FAULT_index_commit, FAULT_index_committed,  FAULT_small_write,
    FAULT_small_sync,   FAULT_small_unlink,     FAULT_drop_unlink,
    FAULT_drop_sync,    FAULT_drop_row,
};

static void killed_at_each_point_nothing_acknowledged_is_lost(void)
{
	for (size_t i = 0; i < ARRAY_LEN(points); i++) {
		bool reached = true;
		char fault[64];
		unsigned n = 0;

		while (reached && n < PASSAGES) {
			snprintf(fault, sizeof(fault), "%s:%u:kill",
				 fault_name(points[i]), ++n);
			reached = run_once(fault, 0);
		}
		CHECK(n > 1 || reached);
	}
}

static void failing_at_each_point_nothing_is_half_done(void)
{
	static const char *const actions[] = {"enospc", "eio"};

	for (size_t i = 0; i < ARRAY_LEN(points); i++)
		for (unsigned n = 1; n <= 3; n++)
			for (size_t a = 0; a < ARRAY_LEN(actions); a++) {
				char fault[64];

				snprintf(fault, sizeof(fault), "%s:%u:%s",
					 fault_name(points[i]), n, actions[a]);
				CHECK(!run_once(fault, 0));
			}
}

#endif

int main(void)
{
	acknowledged = mmap(NULL, sizeof(*acknowledged), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (acknowledged == MAP_FAILED)
		return 1;
	RUN(without_a_fault_every_step_is_taken);
	RUN(killed_at_any_moment_nothing_acknowledged_is_lost);
#ifdef FAULT_POINTS
	RUN(killed_at_each_point_nothing_acknowledged_is_lost);
	RUN(failing_at_each_point_nothing_is_half_done);
#endif
	return unit_done();
}
