/* SPDX-License-Identifier: Apache-2.0 */
/* What the writer does when commits fail, with commits that fail on demand. */
#include "cache/index_writer.h"

#include "tests/unit/unit.h"

#include <pthread.h>
#include <unistd.h>

/*
 * A pretended disk.  `script` says of each try of a commit what becomes of
 * it: '.' it works, 's' no room, 'e' an error; at its end everything works.
 * `log` shows each try: the operations in it, and its outcome.
 */
struct disk {
	const char *script;
	const char *poison; /* this operation never finds room */
	char log[256];
	char health[64];
	unsigned ended;
	bool hold;    /* until it is false, the first commit waits */
	bool entered; /* it waits */
	pthread_mutex_t mu;
	pthread_cond_t cond;
};

struct named {
	struct index_op op;
	const char *name;
	enum err answer;
	bool silent; /* writes nothing */
	struct disk *disk;
};

static void add(char *log, size_t size, const char *text)
{
	size_t used = strlen(log);

	snprintf(log + used, size - used, "%s", text);
}

static enum err outcome(struct disk *d, bool poisoned)
{
	char c = *d->script ? *d->script++ : '.';

	if (poisoned)
		return ERR_NO_SPACE;
	return c == '.' ? ERR_OK : c == 's' ? ERR_NO_SPACE : ERR_IO;
}

static enum err disk_commit(void *arg, struct index_ops *batch, bool *wrote,
			    struct why *why)
{
	struct disk *d = arg;
	bool poisoned = false;
	struct index_op *op;
	enum err err;

	pthread_mutex_lock(&d->mu);
	d->entered = true;
	pthread_cond_broadcast(&d->cond);
	while (d->hold)
		pthread_cond_wait(&d->cond, &d->mu);
	pthread_mutex_unlock(&d->mu);
	STAILQ_FOREACH (op, batch, link) {
		struct named *n = container_of(op, struct named, op);

		add(d->log, sizeof(d->log), n->name);
		poisoned |= d->poison && strcmp(n->name, d->poison) == 0;
		*wrote |= !n->silent;
		op->result = ERR_OK;
	}
	err = outcome(d, poisoned);
	if (err != ERR_OK) {
		*wrote = false;
		why_set(why, err, "pretended");
	}
	add(d->log, sizeof(d->log),
	    err == ERR_OK   ? ". "
	    : err == ERR_IO ? "! "
			    : "? ");
	return err;
}

static void disk_minute(void *arg UNUSED)
{
}

static void disk_thread_done(void *arg)
{
	struct disk *d = arg;

	d->ended++;
}

static void disk_health(void *arg, enum index_health now,
			const struct why *why UNUSED)
{
	static const char *const names[] = {"ok ", "full ", "failed "};
	struct disk *d = arg;

	add(d->health, sizeof(d->health), names[now]);
}

static enum err no_apply(struct index_txn *txn UNUSED,
			 struct index_op *op UNUSED)
{
	return ERR_OK;
}

static void note_answer(struct index_op *op, enum err err)
{
	struct named *n = container_of(op, struct named, op);

	n->answer = err;
}

static void wake_answer(struct index_op *op, enum err err)
{
	struct named *n = container_of(op, struct named, op);
	struct disk *d = n->disk;

	pthread_mutex_lock(&d->mu);
	n->answer = err;
	pthread_cond_broadcast(&d->cond);
	pthread_mutex_unlock(&d->mu);
}

static struct index_writer *start(struct disk *d, const char *script)
{
	struct index_writer_options opt = {
	    .commit = disk_commit,
	    .each_minute = disk_minute,
	    .thread_done = disk_thread_done,
	    .arg = d,
	    .retry_full_ms = 400,
	    .health = disk_health,
	    .health_arg = d,
	};
	struct index_writer *w = NULL;

	memset(d, 0, sizeof(*d));
	d->script = script;
	pthread_mutex_init(&d->mu, NULL);
	pthread_cond_init(&d->cond, NULL);
	CHECK(index_writer_start(&opt, &w, NULL) == ERR_OK);
	return w;
}

static void stop(struct index_writer *w, struct disk *d)
{
	index_writer_stop(&w);
	CHECK(d->ended == 1);
	pthread_cond_destroy(&d->cond);
	pthread_mutex_destroy(&d->mu);
}

/* Submit `n` operations, the first of them alone in its commit and held there
 * until all are queued; stop, which answers them all. */
static void run_all(struct index_writer *w, struct disk *d, struct named *ops,
		    size_t n)
{
	d->hold = true;
	for (size_t i = 0; i < n; i++) {
		ops[i].op.apply = no_apply;
		ops[i].op.done = note_answer;
		ops[i].answer = ERR_LAST;
		index_writer_submit(w, &ops[i].op);
		pthread_mutex_lock(&d->mu);
		while (!d->entered)
			pthread_cond_wait(&d->cond, &d->mu);
		pthread_mutex_unlock(&d->mu);
	}
	pthread_mutex_lock(&d->mu);
	d->hold = false;
	pthread_cond_broadcast(&d->cond);
	pthread_mutex_unlock(&d->mu);
	stop(w, d);
}

static void a_batch_without_room_is_tried_one_by_one(void)
{
	struct named ops[] = {
	    {.name = "0"}, {.name = "a"}, {.name = "b"}, {.name = "c"}};
	struct disk d;
	struct index_writer *w = start(&d, "");

	d.poison = "b";
	run_all(w, &d, ops, 4);
	CHECK_STR(d.log, "0. abc? a. b? c. ");
	CHECK(ops[1].answer == ERR_OK && ops[3].answer == ERR_OK);
	CHECK(ops[2].answer == ERR_NO_SPACE);
	CHECK_STR(d.health, "");
}

static void a_full_disk_refuses_the_rest_at_once(void)
{
	struct named ops[] = {{.name = "0"}, {.name = "a"}, {.name = "b"}};
	struct disk d;
	struct index_writer *w = start(&d, "s");

	run_all(w, &d, ops, 3);
	CHECK_STR(d.log, "0? ");
	for (int i = 0; i < 3; i++)
		CHECK(ops[i].answer == ERR_NO_SPACE);
	CHECK_STR(d.health, "full ");
}

/* Submit one operation and wait until it is answered. */
static enum err run_one(struct index_writer *w, struct disk *d,
			const char *name, bool silent)
{
	struct named n = {.op = {.apply = no_apply, .done = wake_answer},
			  .name = name,
			  .answer = ERR_LAST,
			  .silent = silent,
			  .disk = d};

	pthread_mutex_lock(&d->mu);
	index_writer_submit(w, &n.op);
	while (n.answer == ERR_LAST)
		pthread_cond_wait(&d->cond, &d->mu);
	pthread_mutex_unlock(&d->mu);
	return n.answer;
}

/* A commit of nothing proves nothing: only one that writes ends it. */
static void a_full_disk_is_tried_again_later(void)
{
	struct disk d;
	struct index_writer *w = start(&d, "ss");

	CHECK(index_writer_health(w) == INDEX_OK);
	CHECK(run_one(w, &d, "a", false) == ERR_NO_SPACE);
	CHECK(run_one(w, &d, "b", false) == ERR_NO_SPACE);
	CHECK(index_writer_health(w) == INDEX_FULL);
	usleep(450000);
	CHECK(run_one(w, &d, "c", false) == ERR_NO_SPACE);
	usleep(450000);
	CHECK(run_one(w, &d, "d", true) == ERR_OK);
	CHECK(index_writer_health(w) == INDEX_FULL);
	CHECK(run_one(w, &d, "e", false) == ERR_OK);
	CHECK(index_writer_health(w) == INDEX_OK);
	CHECK(run_one(w, &d, "f", false) == ERR_OK);
	stop(w, &d);
	CHECK_STR(d.log, "a? c? d. e. f. ");
	CHECK_STR(d.health, "full ok ");
}

static void an_error_that_passes_is_forgiven(void)
{
	struct named ops[] = {{.name = "0"}, {.name = "a"}, {.name = "b"}};
	struct disk d;
	struct index_writer *w = start(&d, ".e.");

	run_all(w, &d, ops, 3);
	CHECK_STR(d.log, "0. ab! ab. ");
	CHECK(ops[1].answer == ERR_OK && ops[2].answer == ERR_OK);
	CHECK_STR(d.health, "");
}

static void an_error_that_stays_fails_the_index_for_good(void)
{
	struct named ops[] = {{.name = "0"}, {.name = "a"}, {.name = "B"}};
	struct disk d;
	struct index_writer *w = start(&d, ".ee");

	ops[2].op.background = true;
	run_all(w, &d, ops, 3);
	CHECK_STR(d.log, "0. B! B! ");
	CHECK(ops[0].answer == ERR_OK);
	CHECK(ops[1].answer == ERR_IO && ops[2].answer == ERR_IO);
	CHECK_STR(d.health, "failed ");
}

static void an_error_among_single_tries_fails_the_rest(void)
{
	struct named ops[] = {
	    {.name = "0"}, {.name = "a"}, {.name = "b"}, {.name = "c"}};
	struct disk d;
	struct index_writer *w = start(&d, ".s.ee");

	run_all(w, &d, ops, 4);
	CHECK_STR(d.log, "0. abc? a. b! b! ");
	CHECK(ops[1].answer == ERR_OK);
	CHECK(ops[2].answer == ERR_IO && ops[3].answer == ERR_IO);
	CHECK_STR(d.health, "failed ");
}

int main(void)
{
	RUN(a_batch_without_room_is_tried_one_by_one);
	RUN(a_full_disk_refuses_the_rest_at_once);
	RUN(a_full_disk_is_tried_again_later);
	RUN(an_error_that_passes_is_forgiven);
	RUN(an_error_that_stays_fails_the_index_for_good);
	RUN(an_error_among_single_tries_fails_the_rest);
	return unit_done();
}
