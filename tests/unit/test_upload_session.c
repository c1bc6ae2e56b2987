/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of upload sessions, with uploads of our own that live in memory
 * and do what they are told: wait at a gate, fail.
 */
#include "proxy/upload_session.h"

#include "tests/unit/unit.h"

#include <semaphore.h>
#include <unistd.h>

/* ---- uploads ---- */

struct upload {
	char id[UPLOAD_ID_SIZE];
	char repo[64];
	char bytes[256];
	uint64_t len; /* atomic */
	uint64_t back;
	bool marked, open, there;
};

#define UPLOADS_MAX 8
static struct upload disk[UPLOADS_MAX];
static unsigned n_disk;
static unsigned opened, inside; /* atomic */
static bool gate_shut;          /* atomic: appends and finishes wait */
static enum err fail;           /* atomic, as int */

static void pass_gate(void)
{
	CHECK(__atomic_fetch_add(&inside, 1, __ATOMIC_SEQ_CST) == 0);
	while (__atomic_load_n(&gate_shut, __ATOMIC_SEQ_CST))
		usleep(200);
	__atomic_fetch_sub(&inside, 1, __ATOMIC_SEQ_CST);
}

static enum err failure(void)
{
	return (enum err)__atomic_load_n((int *)&fail, __ATOMIC_SEQ_CST);
}

enum err upload_new(struct cache *c, const char *repo, enum digest_alg alg,
		    struct upload **out, struct why *why)
{
	struct upload *u = &disk[n_disk];

	(void)c;
	(void)alg;
	if (failure())
		return why_set(why, failure(), "as told");
	snprintf(u->id, sizeof(u->id), "id-%u", n_disk++);
	snprintf(u->repo, sizeof(u->repo), "%s", repo);
	u->open = u->there = true;
	*out = u;
	return ERR_OK;
}

enum err upload_open(struct cache *c, const char *id, struct upload **out,
		     struct why *why)
{
	(void)c;
	__atomic_fetch_add(&opened, 1, __ATOMIC_SEQ_CST);
	if (failure())
		return why_set(why, failure(), "as told");
	for (unsigned i = 0; i < n_disk; i++) {
		if (!disk[i].there || strcmp(disk[i].id, id) != 0)
			continue;
		CHECK(!disk[i].open);
		disk[i].open = true;
		*out = &disk[i];
		return ERR_OK;
	}
	return why_set(why, ERR_NOT_FOUND, "none");
}

const char *upload_id(const struct upload *u)
{
	return u->id;
}

const char *upload_repo(const struct upload *u)
{
	return u->repo;
}

uint64_t upload_offset(const struct upload *u)
{
	return __atomic_load_n(&u->len, __ATOMIC_SEQ_CST);
}

enum err upload_look(struct cache *c, const char *id, struct upload_info *out,
		     struct why *why)
{
	(void)c;
	(void)id;
	(void)out;
	return why_set(why, ERR_NOT_FOUND, "nobody asks");
}

/* The index; atomic, as int. */
static enum err full;

enum err upload_check_index(struct upload *u, struct why *why)
{
	enum err err =
	    (enum err)__atomic_load_n((int *)&full, __ATOMIC_SEQ_CST);

	CHECK(u->open && !u->marked);
	return err ? why_set(why, err, "no room") : ERR_OK;
}

enum err upload_append(struct upload *u, const void *buf, size_t len,
		       struct why *why)
{
	pass_gate();
	if (failure())
		return why_set(why, failure(), "as told");
	memcpy(u->bytes + u->len, buf, len);
	__atomic_fetch_add(&u->len, len, __ATOMIC_SEQ_CST);
	return ERR_OK;
}

enum err upload_begin_put(struct upload *u, struct why *why)
{
	(void)why;
	u->back = u->len;
	u->marked = true;
	return ERR_OK;
}

enum err upload_rewind(struct upload *u, struct why *why)
{
	(void)why;
	CHECK(u->marked);
	__atomic_store_n(&u->len, u->back, __ATOMIC_SEQ_CST);
	u->marked = false;
	return ERR_OK;
}

enum err upload_finish(struct upload **u, const struct digest *dg,
		       const struct hosting *h, void (*matched)(void *arg),
		       void *arg, struct why *why)
{
	(void)dg;
	(void)matched;
	(void)arg;
	CHECK(strcmp(h->repo, "team/app") == 0 && h->claims);
	CHECK(h->n_events == 1 && h->events[0].len == 2);
	pass_gate();
	if (failure()) {
		if ((*u)->marked)
			CHECK(!upload_rewind(*u, why));
		return why_set(why, failure(), "as told");
	}
	(*u)->there = (*u)->open = false;
	*u = NULL;
	return ERR_OK;
}

void upload_cancel(struct upload **u)
{
	(*u)->there = (*u)->open = false;
	*u = NULL;
}

void upload_close(struct upload **u)
{
	(*u)->marked = false;
	(*u)->open = false;
	*u = NULL;
}

/* ---- requests, on two loops ---- */

static struct jobs *jobs;
static struct upload_sessions *all;
static struct loop *loops[2];

#define MAGIC 0x1234u

struct client {
	unsigned n;
	struct loop *loop; /* loops[n] */
	struct handle handle;
	struct session_hold *hold;
	char id[UPLOAD_ID_SIZE];
	const char *repo; /* that it asks for; NULL: the right one */
	bool for_bytes;
	/* what became of the last thing; atomic, -1 = nothing yet */
	int got, done;
	unsigned dones, cuts;
	uint64_t offset;
	/* what to do */
	const char *text;
	struct digest dg;
};

static sem_t sync_done;

static void say_done(void *arg)
{
	(void)arg;
	sem_post(&sync_done);
}

static void on(struct client *c, void (*fn)(void *arg))
{
	if (!c->loop)
		c->loop = loops[c->n];
	loop_call(c->loop, fn, c);
	loop_call(c->loop, say_done, NULL);
	sem_wait(&sync_done);
}

static void enter(void *arg)
{
	struct client *c = arg;

	c->got = c->done = -1;
	c->handle = loop_register(c->loop, c, MAGIC);
}

static void leave(void *arg)
{
	struct client *c = arg;

	session_drop(&c->hold);
	if (c->handle.generation)
		loop_unregister(c->loop, &c->handle);
}

static struct client client_on(unsigned loop)
{
	return (struct client){.n = loop};
}

static void cut(void *object)
{
	struct client *c = object;

	__atomic_fetch_add(&c->cuts, 1, __ATOMIC_SEQ_CST);
	leave(c);
}

static struct session_owner owner(struct client *c)
{
	return (struct session_owner){c->loop, c->handle, MAGIC, cut};
}

static void got(void *object, struct session_hold *hold, enum err err,
		const struct why *why)
{
	struct client *c = object;

	CHECK(!hold == !!err && (!err || why->text[0]));
	c->hold = hold;
	if (hold) {
		c->offset = session_offset(hold);
		snprintf(c->id, sizeof(c->id), "%s", session_id(hold));
	}
	__atomic_store_n(&c->got, (int)err, __ATOMIC_SEQ_CST);
}

static void done(void *object, void *arg, enum err err, const struct why *why)
{
	struct client *c = arg;

	(void)why;
	if (object)
		CHECK(object == arg);
	__atomic_store_n(&c->done, (int)err, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&c->dones, 1, __ATOMIC_SEQ_CST);
}

static void begin(void *arg)
{
	struct session_owner o = owner(arg);

	session_begin(all, &o, "team/app", DIGEST_SHA256, got);
}

static void take(void *arg)
{
	struct client *c = arg;
	struct session_owner o = owner(c);

	c->got = -1;
	session_take(all, &o, c->id, c->repo ? c->repo : "team/app",
		     c->for_bytes, got);
}

static void append(void *arg)
{
	struct client *c = arg;

	session_append(c->hold, c->text, strlen(c->text), done, c);
}

static void mark(void *arg)
{
	struct client *c = arg;

	session_mark(c->hold, done, c);
}

static void finish(void *arg)
{
	static const struct slice event = {(const uint8_t *)"{}", 2};
	struct client *c = arg;
	struct hosting h = {
	    .repo = "team/app",
	    .claims = true,
	    .events = &event,
	    .n_events = 1,
	};

	session_finish(c->hold, &c->dg, &h, done, c);
}

static void cancel(void *arg)
{
	struct client *c = arg;

	session_cancel(c->hold, done, c);
}

static int value(const int *v)
{
	return __atomic_load_n(v, __ATOMIC_SEQ_CST);
}

static void wait_unsigned(const unsigned *v, unsigned want)
{
	for (int i = 0; i < 50000; i++) {
		if (__atomic_load_n(v, __ATOMIC_SEQ_CST) == want)
			break;
		usleep(100);
	}
	CHECK(__atomic_load_n(v, __ATOMIC_SEQ_CST) == want);
}

static void wait_got(struct client *c, enum err err)
{
	for (int i = 0; i < 50000 && value(&c->got) < 0; i++)
		usleep(100);
	CHECK(value(&c->got) == (int)err);
}

/* So many jobs are done; the last one came to `err`. */
static void wait_done(struct client *c, unsigned n, enum err err)
{
	wait_unsigned(&c->dones, n);
	CHECK(value(&c->done) == (int)err);
}

static void say(struct client *c, const char *text)
{
	c->text = text;
	on(c, append);
}

static uint64_t looked(const char *id)
{
	struct upload_info info;

	if (session_look(all, id, &info) != ERR_OK)
		return UINT64_MAX;
	CHECK_STR(info.repo, "team/app");
	return info.offset;
}

static void shut(bool on_or_off)
{
	__atomic_store_n(&gate_shut, on_or_off, __ATOMIC_SEQ_CST);
}

static void set_failure(enum err err)
{
	__atomic_store_n((int *)&fail, (int)err, __ATOMIC_SEQ_CST);
}

static void setup(void)
{
	struct jobs_options opt = {.threads = {2, 2, 1}};

	memset(disk, 0, sizeof(disk));
	n_disk = opened = 0;
	set_failure(ERR_OK);
	shut(false);
	jobs = jobs_new(&opt);
	all = sessions_new(NULL, jobs);
	for (int i = 0; i < 2; i++) {
		loops[i] = loop_new("loop");
		loop_start(loops[i]);
	}
}

static void teardown(void)
{
	while (!jobs_idle(jobs))
		usleep(1000);
	for (int i = 0; i < 2; i++)
		loop_stop(loops[i]);
	for (int i = 0; i < 2; i++)
		loop_free(&loops[i]);
	sessions_free(&all);
	jobs_free(&jobs);
	for (unsigned i = 0; i < n_disk; i++)
		CHECK(!disk[i].open);
}

/* A client that has begun a session and holds it. */
static struct client *beginner(struct client *c)
{
	on(c, enter);
	on(c, begin);
	wait_got(c, ERR_OK);
	return c;
}

/* ---- tests ---- */

static void a_session_is_begun_filled_and_finished(void)
{
	struct client a = client_on(0), b = client_on(1);

	setup();
	beginner(&a);
	CHECK(a.offset == 0 && looked(a.id) == 0);
	say(&a, "hello ");
	say(&a, "world");
	wait_done(&a, 2, ERR_OK);
	CHECK(looked(a.id) == 11);
	CHECK(memcmp(disk[0].bytes, "hello world", 11) == 0);
	on(&a, finish);
	wait_done(&a, 3, ERR_OK);
	on(&a, leave);
	CHECK(looked(a.id) == UINT64_MAX);
	on(&b, enter);
	memcpy(b.id, a.id, sizeof(b.id));
	on(&b, take);
	wait_got(&b, ERR_NOT_FOUND);
	on(&b, leave);
	CHECK(a.cuts == 0 && b.cuts == 0);
	teardown();
}

static void it_stays_open_from_request_to_request(void)
{
	struct client a = client_on(0), b = client_on(1);

	setup();
	beginner(&a);
	say(&a, "abc");
	on(&a, leave);
	on(&b, enter);
	memcpy(b.id, a.id, sizeof(b.id));
	on(&b, take);
	wait_got(&b, ERR_OK);
	/* What was queued when nobody else wanted it may be in it or not; what
	 * is in it is what the offset says. */
	CHECK(b.offset == 0 || b.offset == 3);
	CHECK(opened == 0);
	on(&b, leave);
	teardown();
}

static void whoever_asks_takes_over_across_loops(void)
{
	struct client a = client_on(0), b = client_on(1);

	setup();
	beginner(&a);
	say(&a, "12345");
	wait_done(&a, 1, ERR_OK);
	shut(true);
	say(&a, "running");
	wait_unsigned(&inside, 1);
	say(&a, "dropped");
	say(&a, "dropped too");
	on(&b, enter);
	memcpy(b.id, a.id, sizeof(b.id));
	on(&b, take);
	wait_unsigned(&a.cuts, 1);
	usleep(20000);
	CHECK(value(&b.got) == -1); /* the running one is awaited */
	CHECK(looked(a.id) == 5);   /* who only looks is not kept waiting */
	shut(false);
	wait_got(&b, ERR_OK);
	CHECK(b.offset == 12);
	wait_done(&a, 4, ERR_CANCELED);
	say(&b, "!");
	wait_done(&b, 1, ERR_OK);
	CHECK(looked(b.id) == 13);
	CHECK(memcmp(disk[0].bytes, "12345running!", 13) == 0);
	on(&b, leave);
	teardown();
}

static void the_last_of_many_gets_it(void)
{
	struct client a = client_on(0), b = client_on(1), c = client_on(0);

	setup();
	beginner(&a);
	shut(true);
	say(&a, "x");
	wait_unsigned(&inside, 1);
	on(&b, enter);
	on(&c, enter);
	memcpy(b.id, a.id, sizeof(b.id));
	memcpy(c.id, a.id, sizeof(c.id));
	on(&b, take);
	on(&c, take);
	wait_unsigned(&b.cuts, 1);
	shut(false);
	wait_got(&c, ERR_OK);
	CHECK(c.offset == 1);
	CHECK(value(&b.got) == -1);
	on(&c, leave);
	teardown();
}

static void nobody_takes_over_what_is_being_finished(void)
{
	struct client a = client_on(0), b = client_on(1), c = client_on(1);

	setup();
	beginner(&a);
	shut(true);
	on(&a, finish);
	wait_unsigned(&inside, 1);
	on(&b, enter);
	on(&c, enter);
	memcpy(b.id, a.id, sizeof(b.id));
	memcpy(c.id, a.id, sizeof(c.id));
	on(&b, take);
	on(&c, take);
	usleep(20000);
	CHECK(value(&b.got) == -1 && value(&c.got) == -1);
	shut(false);
	wait_done(&a, 1, ERR_OK);
	wait_got(&b, ERR_NOT_FOUND);
	wait_got(&c, ERR_NOT_FOUND);
	CHECK(a.cuts == 0 && b.cuts == 0 && c.cuts == 0);
	on(&a, leave);
	on(&b, leave);
	on(&c, leave);
	teardown();
}

static void after_a_wrong_digest_the_next_one_has_it(void)
{
	struct client a = client_on(0), b = client_on(1), c = client_on(1);

	setup();
	beginner(&a);
	say(&a, "patch");
	wait_done(&a, 1, ERR_OK);
	on(&a, mark);
	say(&a, "wrong");
	wait_done(&a, 3, ERR_OK);
	/* Of a PUT's body nobody is told. */
	CHECK(looked(a.id) == 5);
	set_failure(ERR_MISMATCH);
	shut(true);
	on(&a, finish);
	wait_unsigned(&inside, 1);
	on(&b, enter);
	on(&c, enter);
	memcpy(b.id, a.id, sizeof(b.id));
	memcpy(c.id, a.id, sizeof(c.id));
	on(&b, take);
	on(&c, take);
	shut(false);
	wait_done(&a, 4, ERR_MISMATCH);
	wait_got(&b, ERR_CANCELED); /* c came later */
	wait_got(&c, ERR_OK);
	CHECK(c.offset == 5 && a.cuts == 0);
	on(&a, leave);
	on(&b, leave);
	on(&c, leave);
	teardown();
}

static void a_put_that_broke_off_goes_back(void)
{
	struct client a = client_on(0), b = client_on(0);

	setup();
	beginner(&a);
	say(&a, "patch");
	on(&a, mark);
	say(&a, "half a body");
	wait_done(&a, 3, ERR_OK);
	on(&a, leave);
	CHECK(looked(a.id) == 5);
	on(&b, enter);
	memcpy(b.id, a.id, sizeof(b.id));
	on(&b, take);
	wait_got(&b, ERR_OK);
	CHECK(b.offset == 5);
	on(&b, leave);
	teardown();
}

static void a_cancelled_session_is_gone(void)
{
	struct client a = client_on(0), b = client_on(0);

	setup();
	beginner(&a);
	on(&a, cancel);
	wait_done(&a, 1, ERR_OK);
	CHECK(looked(a.id) == UINT64_MAX && !disk[0].there);
	say(&a, "x");
	wait_done(&a, 2, ERR_NOT_FOUND);
	on(&a, leave);
	on(&b, enter);
	memcpy(b.id, a.id, sizeof(b.id));
	on(&b, take);
	wait_got(&b, ERR_NOT_FOUND);
	on(&b, leave);
	teardown();
}

static void what_cannot_be_begun_or_opened_says_so(void)
{
	struct client a = client_on(0);

	setup();
	set_failure(ERR_NO_SPACE);
	on(&a, enter);
	on(&a, begin);
	wait_got(&a, ERR_NO_SPACE);
	set_failure(ERR_IO);
	snprintf(a.id, sizeof(a.id), "id-7");
	on(&a, take);
	wait_got(&a, ERR_IO);
	set_failure(ERR_OK);
	on(&a, take);
	wait_got(&a, ERR_NOT_FOUND);
	on(&a, leave);
	CHECK(looked("id-7") == UINT64_MAX);
	teardown();
}

/* A PUT that broke off has gone back first.  Who brings none is not asked. */
static void bytes_that_the_index_cannot_record_are_not_taken(void)
{
	struct client a = client_on(0), b = client_on(1);

	setup();
	beginner(&a);
	on(&a, mark);
	wait_done(&a, 1, ERR_OK);
	say(&a, "half");
	wait_done(&a, 2, ERR_OK);
	__atomic_store_n((int *)&full, ERR_NO_SPACE, __ATOMIC_SEQ_CST);
	on(&b, enter);
	memcpy(b.id, a.id, sizeof(b.id));
	b.for_bytes = true;
	on(&b, take);
	wait_got(&b, ERR_NO_SPACE);
	CHECK(looked(a.id) == 0);
	b.for_bytes = false;
	on(&b, take);
	wait_got(&b, ERR_OK);
	on(&b, leave);
	__atomic_store_n((int *)&full, ERR_OK, __ATOMIC_SEQ_CST);
	b.for_bytes = true;
	on(&b, enter);
	on(&b, take);
	wait_got(&b, ERR_OK);
	on(&a, leave);
	on(&b, leave);
	teardown();
}

/* Or else the file would have a hole that nobody knows of. */
static void nothing_is_added_behind_what_could_not_be(void)
{
	struct client a = client_on(0), b = client_on(1);

	setup();
	beginner(&a);
	say(&a, "good");
	wait_done(&a, 1, ERR_OK);
	shut(true);
	set_failure(ERR_NO_SPACE);
	say(&a, "lost");
	wait_unsigned(&inside, 1);
	say(&a, "behind");
	shut(false);
	wait_done(&a, 3, ERR_CANCELED);
	set_failure(ERR_OK);
	say(&a, "later");
	wait_done(&a, 4, ERR_CANCELED);
	on(&a, finish);
	wait_done(&a, 5, ERR_CANCELED);
	CHECK(looked(a.id) == 4);
	on(&b, enter);
	memcpy(b.id, a.id, sizeof(b.id));
	on(&b, take);
	wait_got(&b, ERR_OK);
	CHECK(b.offset == 4);
	say(&b, "!");
	wait_done(&b, 1, ERR_OK);
	on(&b, cancel);
	wait_done(&b, 2, ERR_OK);
	on(&a, leave);
	on(&b, leave);
	teardown();
}

static void after_a_failed_write_it_is_opened_again(void)
{
	struct client a = client_on(0), b = client_on(1);

	setup();
	beginner(&a);
	say(&a, "good");
	wait_done(&a, 1, ERR_OK);
	set_failure(ERR_IO);
	say(&a, "lost");
	wait_done(&a, 2, ERR_IO);
	set_failure(ERR_OK);
	on(&b, enter);
	memcpy(b.id, a.id, sizeof(b.id));
	on(&b, take);
	wait_got(&b, ERR_OK);
	CHECK(b.offset == 4 && opened == 1);
	set_failure(ERR_IO);
	say(&b, "lost");
	wait_done(&b, 1, ERR_IO);
	set_failure(ERR_OK);
	on(&b, cancel);
	wait_done(&b, 2, ERR_OK);
	CHECK(!disk[0].there);
	on(&a, leave);
	on(&b, leave);
	teardown();
}

static void who_goes_before_the_answer_leaves_nothing(void)
{
	struct client a = client_on(0), b = client_on(1);

	setup();
	on(&a, enter);
	on(&a, begin);
	on(&a, leave);
	while (!jobs_idle(jobs))
		usleep(1000);
	on(&b, enter);
	snprintf(b.id, sizeof(b.id), "id-0");
	on(&b, take);
	on(&b, leave);
	while (!jobs_idle(jobs))
		usleep(1000);
	teardown();
}

/* Every client takes, appends what it sees, and leaves: no byte is lost of
 * what was answered, none is twice in it. */
static void many_at_once_keep_order(void)
{
	struct client a = client_on(0), c[16];
	unsigned whole = 0;

	setup();
	beginner(&a);
	on(&a, leave);
	for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
		c[i] = client_on(i % 2);
		memcpy(c[i].id, a.id, sizeof(a.id));
		on(&c[i], enter);
		on(&c[i], take);
	}
	for (unsigned i = 0; i < ARRAY_LEN(c); i++)
		for (int k = 0; k < 200000 && value(&c[i].got) < 0 &&
				!__atomic_load_n(&c[i].cuts, __ATOMIC_SEQ_CST);
		     k++)
			usleep(100);
	/* Two loops: any of them may be the last; one of them is. */
	for (unsigned i = 0; i < ARRAY_LEN(c); i++)
		whole += value(&c[i].got) == ERR_OK &&
			 !__atomic_load_n(&c[i].cuts, __ATOMIC_SEQ_CST);
	CHECK(whole == 1);
	for (unsigned i = 0; i < ARRAY_LEN(c); i++)
		on(&c[i], leave);
	teardown();
}

static void who_asks_in_another_repository_disturbs_nobody(void)
{
	struct client a = client_on(0), b = client_on(1), c = client_on(1);

	setup();
	beginner(&a);
	b.repo = "team/other";
	for (int i = 0; i < 3; i++) {
		on(&b, enter);
		memcpy(b.id, a.id, sizeof(b.id));
		on(&b, take);
		say(&a, "12345");
		wait_got(&b, ERR_NOT_FOUND);
		wait_done(&a, (unsigned)i + 1, ERR_OK);
		on(&b, leave);
	}
	on(&a, leave);

	/* Nor is it known whose it is when it is not open: both ask at once. */
	set_failure(ERR_IO);
	on(&c, enter);
	memcpy(c.id, a.id, sizeof(c.id));
	on(&c, take);
	wait_got(&c, ERR_OK); /* open all the time */
	say(&c, "x");
	wait_done(&c, 1, ERR_IO); /* and closed */
	on(&c, leave);
	set_failure(ERR_OK);
	on(&b, enter);
	on(&c, enter);
	on(&c, take);
	on(&b, take);
	wait_got(&b, ERR_NOT_FOUND);
	wait_got(&c, ERR_OK);
	CHECK(c.offset == 15);
	say(&c, "!");
	wait_done(&c, 2, ERR_OK);
	on(&b, leave);
	on(&c, leave);
	CHECK(a.cuts == 0 && c.cuts == 0);
	teardown();
}

static void a_put_goes_back_for_its_own_repository_only(void)
{
	struct client a = client_on(0), b = client_on(1);

	setup();
	beginner(&a);
	on(&a, mark);
	say(&a, "12345");
	wait_done(&a, 2, ERR_OK);
	on(&b, enter);
	memcpy(b.id, a.id, sizeof(b.id));
	b.repo = "team/other";
	on(&b, take);
	wait_got(&b, ERR_NOT_FOUND);
	CHECK(disk[0].len == 5 && disk[0].marked);
	on(&a, finish);
	wait_done(&a, 3, ERR_OK);
	on(&a, leave);
	on(&b, leave);
	CHECK(a.cuts == 0);
	teardown();
}

int main(void)
{
	sem_init(&sync_done, 0, 0);
	RUN(a_session_is_begun_filled_and_finished);
	RUN(it_stays_open_from_request_to_request);
	RUN(whoever_asks_takes_over_across_loops);
	RUN(the_last_of_many_gets_it);
	RUN(nobody_takes_over_what_is_being_finished);
	RUN(who_asks_in_another_repository_disturbs_nobody);
	RUN(a_put_goes_back_for_its_own_repository_only);
	RUN(after_a_wrong_digest_the_next_one_has_it);
	RUN(a_put_that_broke_off_goes_back);
	RUN(a_cancelled_session_is_gone);
	RUN(what_cannot_be_begun_or_opened_says_so);
	RUN(bytes_that_the_index_cannot_record_are_not_taken);
	RUN(nothing_is_added_behind_what_could_not_be);
	RUN(after_a_failed_write_it_is_opened_again);
	RUN(who_goes_before_the_answer_leaves_nothing);
	RUN(many_at_once_keep_order);
	return unit_done();
}
