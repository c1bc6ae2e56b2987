/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/index.h"

#include "tests/unit/index_help.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct index *open_with(const struct index_options *opt)
{
	char *dir = test_path("index");
	struct index *ix = NULL;
	struct why why = {""};

	if (index_open(dir, opt, &ix, &why) != ERR_OK) {
		fprintf(stderr, "index_open: %s\n", why.text);
		exit(1);
	}
	free(dir);
	return ix;
}

static struct index *open_index(void)
{
	return open_with(&(struct index_options){0});
}

static void close_index(struct index *ix)
{
	index_close(&ix);
	CHECK(ix == NULL);
}

struct pair {
	const char *key, *value;
};

static enum err put_pair(struct index_txn *txn, void *arg)
{
	struct pair *p = arg;

	index_put(txn, TABLE_BLOB, test_text(p->key), test_text(p->value));
	return ERR_OK;
}

static enum err del_pair(struct index_txn *txn, void *arg)
{
	struct pair *p = arg;

	index_del(txn, TABLE_BLOB, test_text(p->key));
	return ERR_OK;
}

static enum err put(struct index *ix, const char *key, const char *value)
{
	struct pair p = {key, value};

	return test_write(ix, put_pair, &p);
}

/* Is `value` under `key` in this snapshot?  NULL = is nothing there? */
static bool has(struct index_txn *txn, const char *key, const char *value)
{
	struct slice payload;
	enum err err = index_get(txn, TABLE_BLOB, test_text(key), &payload);

	if (!value)
		return err == ERR_NOT_FOUND;
	return err == ERR_OK && payload.len == strlen(value) &&
	       memcmp(payload.ptr, value, payload.len) == 0;
}

static bool now_has(struct index *ix, const char *key, const char *value)
{
	struct index_txn *txn = index_read(ix);
	bool found = has(txn, key, value);

	index_read_end(txn);
	return found;
}

static void what_is_put_is_there_after_reopening(void)
{
	struct pair a = {"a", NULL};
	struct index *ix;

	test_dir_make();
	ix = open_index();
	CHECK(put(ix, "a", "one") == ERR_OK);
	CHECK(put(ix, "b", "") == ERR_OK);
	CHECK(now_has(ix, "a", "one"));
	CHECK(now_has(ix, "b", ""));
	CHECK(now_has(ix, "c", NULL));
	close_index(ix);
	ix = open_index();
	CHECK(now_has(ix, "a", "one"));
	CHECK(test_write(ix, del_pair, &a) == ERR_OK);
	CHECK(test_write(ix, del_pair, &a) == ERR_OK);
	CHECK(now_has(ix, "a", NULL));
	close_index(ix);
	test_dir_remove();
}

/* ---- what a reader has looked up before ---- */

#define MEMO_KEYS 300

/* Some keys are longer than a reader remembers; some rows share a place. */
static struct slice memo_key(unsigned i, char *out)
{
	size_t len = 4 + i % 11 * 11;

	memset(out, 'k', len);
	memcpy(out, &i, sizeof(i));
	return slice_of(out, len);
}

static enum index_table memo_table(unsigned i)
{
	return i % 2 ? TABLE_BLOB : TABLE_TAG;
}

struct memo_write {
	unsigned at, value; /* 0: delete */
};

static enum err memo_apply(struct index_txn *txn, void *arg)
{
	struct memo_write *w = arg;
	char bytes[INDEX_KEY_MAX];
	struct slice key = memo_key(w->at / 2, bytes);

	if (w->value)
		index_put(txn, memo_table(w->at), key,
			  slice_of(&w->value, sizeof(w->value)));
	else
		index_del(txn, memo_table(w->at), key);
	return ERR_OK;
}

static void check_memo_row(struct index *ix, unsigned at, unsigned value)
{
	struct index_txn *txn = index_read(ix);
	char bytes[INDEX_KEY_MAX];
	struct slice payload;
	unsigned found = 0;
	enum err err =
	    index_get(txn, memo_table(at), memo_key(at / 2, bytes), &payload);

	CHECK(err == (value ? ERR_OK : ERR_NOT_FOUND));
	if (err == ERR_OK)
		memcpy(&found, payload.ptr, sizeof(found));
	CHECK(found == value);
	index_read_end(txn);
}

static void what_was_looked_up_before_is_as_of_the_last_commit(void)
{
	unsigned model[MEMO_KEYS] = {0};
	struct index *ix;

	test_dir_make();
	ix = open_index();
	srand(7);
	for (unsigned round = 1; round <= 400; round++) {
		struct memo_write w = {(unsigned)rand() % MEMO_KEYS,
				       rand() % 3 ? round : 0};

		check_memo_row(ix, w.at, model[w.at]);
		CHECK(test_write(ix, memo_apply, &w) == ERR_OK);
		model[w.at] = w.value;
		check_memo_row(ix, w.at, model[w.at]);
		for (unsigned i = 0; i < 60; i++) {
			unsigned at = (unsigned)rand() % MEMO_KEYS;

			check_memo_row(ix, at, model[at]);
		}
	}
	close_index(ix);
	test_dir_remove();
}

struct reader_thread {
	struct index *ix;
	bool saw_old, saw_new;
	sem_t opened, go_on;
};

static void *read_old(void *arg)
{
	struct reader_thread *r = arg;
	struct index_txn *txn = index_read(r->ix);

	sem_post(&r->opened);
	sem_wait(&r->go_on);
	r->saw_old = has(txn, "k", "old");
	index_read_end(txn);
	r->saw_new = now_has(r->ix, "k", "new");
	index_thread_done(r->ix);
	return NULL;
}

static void a_snapshot_does_not_see_later_commits(void)
{
	struct reader_thread r = {0};
	pthread_t thread;

	test_dir_make();
	sem_init(&r.opened, 0, 0);
	sem_init(&r.go_on, 0, 0);
	r.ix = open_index();
	CHECK(put(r.ix, "k", "old") == ERR_OK);
	pthread_create(&thread, NULL, read_old, &r);
	sem_wait(&r.opened);
	CHECK(put(r.ix, "k", "new") == ERR_OK);
	CHECK(now_has(r.ix, "k", "new"));
	sem_post(&r.go_on);
	pthread_join(thread, NULL);
	CHECK(r.saw_old);
	CHECK(r.saw_new);
	close_index(r.ix);
	test_dir_remove();
}

static void *read_once(void *arg)
{
	index_read_end(index_read(arg));
	index_thread_done(arg);
	return NULL;
}

/* More threads, one after the other, than there are slots. */
static void a_thread_that_is_done_gives_its_slot_back(void)
{
	struct index_options opt = {.max_readers = 3};
	struct index *ix;

	test_dir_make();
	ix = open_with(&opt);
	for (int i = 0; i < 12; i++) {
		pthread_t thread;

		pthread_create(&thread, NULL, read_once, ix);
		pthread_join(thread, NULL);
	}
	CHECK(now_has(ix, "k", NULL));
	index_thread_done(ix);
	CHECK(now_has(ix, "k", NULL));
	close_index(ix);
	test_dir_remove();
}

struct walked {
	char keys[256];
	const char *stop_at, *del_at;
	struct index_txn *txn;
};

static bool note_key(void *arg, struct slice key, struct slice payload)
{
	struct walked *w = arg;
	size_t used = strlen(w->keys);
	char text[32];

	CHECK(payload.ptr != NULL);
	snprintf(text, sizeof(text), "%.*s", (int)key.len,
		 (const char *)key.ptr);
	snprintf(w->keys + used, sizeof(w->keys) - used, "%s ", text);
	if (w->del_at && strcmp(text, w->del_at) == 0)
		index_del(w->txn, TABLE_BLOB, key);
	return !w->stop_at || strcmp(text, w->stop_at) != 0;
}

static const char *walk(struct index *ix, struct walked *w, const char *prefix,
			const char *from)
{
	struct index_txn *txn = index_read(ix);

	CHECK(index_walk(txn, TABLE_BLOB, test_text(prefix), test_text(from),
			 note_key, w) == ERR_OK);
	index_read_end(txn);
	return w->keys;
}

static void put_walk_keys(struct index *ix)
{
	static const char *const keys[] = {"b2", "a", "c1", "b", "b1", "b3"};

	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		CHECK(put(ix, keys[i], "x") == ERR_OK);
}

static void a_walk_goes_in_order_within_its_prefix(void)
{
	struct index *ix;

	test_dir_make();
	ix = open_index();
	CHECK_STR(walk(ix, &(struct walked){.keys = ""}, "", ""), "");
	put_walk_keys(ix);
	CHECK_STR(walk(ix, &(struct walked){.keys = ""}, "", ""),
		  "a b b1 b2 b3 c1 ");
	CHECK_STR(walk(ix, &(struct walked){.keys = ""}, "b", ""),
		  "b b1 b2 b3 ");
	CHECK_STR(walk(ix, &(struct walked){.keys = ""}, "b", "b2"), "b2 b3 ");
	CHECK_STR(walk(ix, &(struct walked){.keys = ""}, "b", "a"),
		  "b b1 b2 b3 ");
	CHECK_STR(walk(ix, &(struct walked){.keys = ""}, "b", "c"), "");
	CHECK_STR(walk(ix, &(struct walked){.keys = ""}, "", "b11"),
		  "b2 b3 c1 ");
	CHECK_STR(walk(ix, &(struct walked){.keys = ""}, "d", ""), "");
	CHECK_STR(
	    walk(ix, &(struct walked){.keys = "", .stop_at = "b1"}, "b", ""),
	    "b b1 ");
	close_index(ix);
	test_dir_remove();
}

static enum err walk_and_delete(struct index_txn *txn, void *arg)
{
	struct walked *w = arg;

	w->keys[0] = '\0';
	w->txn = txn;
	return index_walk(txn, TABLE_BLOB, test_text("b"), test_text(""),
			  note_key, w);
}

static void a_walk_in_an_apply_may_delete_what_it_stands_on(void)
{
	struct walked w = {.keys = "", .del_at = "b1"};
	struct index *ix;

	test_dir_make();
	ix = open_index();
	put_walk_keys(ix);
	CHECK(test_write(ix, walk_and_delete, &w) == ERR_OK);
	CHECK_STR(w.keys, "b b1 b2 b3 ");
	CHECK_STR(walk(ix, &(struct walked){.keys = ""}, "", ""),
		  "a b b2 b3 c1 ");
	close_index(ix);
	test_dir_remove();
}

/* ---- batches: the writer is held inside an apply while others queue ---- */

struct gate {
	sem_t entered, open;
};

static enum err wait_at_gate(struct index_txn *txn UNUSED, void *arg)
{
	struct gate *g = arg;

	sem_post(&g->entered);
	sem_wait(&g->open);
	return ERR_OK;
}

static sem_t all_done;
static char order[128];
static unsigned n_done;

/* Runs on the writer thread only, until all_done is posted for the last. */
static void note_done(struct index_op *op, enum err err)
{
	struct test_op *t = container_of(op, struct test_op, op);
	struct pair *p = t->arg;
	size_t used = strlen(order);

	snprintf(order + used, sizeof(order) - used, "%s%s ",
		 p ? p->key : "gate", err == ERR_OK ? "" : err_name(err));
	n_done++;
	sem_post(&all_done);
}

static enum err refuse(struct index_txn *txn UNUSED, void *arg UNUSED)
{
	return ERR_EXISTS;
}

static void gate_done(struct index_op *op UNUSED, enum err err)
{
	CHECK(err == ERR_OK);
}

/* Queue `ops` behind a commit that is under way, and wait for them all. */
static void run_behind_gate(struct index *ix, struct test_op *ops, size_t n)
{
	struct gate g;
	struct test_op gate = {
	    .op = {.apply = test_op_apply, .done = gate_done},
	    .fn = wait_at_gate,
	    .arg = &g};

	sem_init(&g.entered, 0, 0);
	sem_init(&g.open, 0, 0);
	sem_init(&all_done, 0, 0);
	order[0] = '\0';
	index_submit(ix, &gate.op);
	sem_wait(&g.entered);
	for (size_t i = 0; i < n; i++) {
		ops[i].op.apply = test_op_apply;
		ops[i].op.done = note_done;
		index_submit(ix, &ops[i].op);
	}
	sem_post(&g.open);
	for (size_t i = 0; i < n; i++)
		sem_wait(&all_done);
}

static void what_queues_shares_one_commit(void)
{
	struct pair pairs[20];
	struct test_op ops[20] = {0};
	struct index_stats stats;
	char keys[20][16];
	struct index *ix;

	test_dir_make();
	ix = open_index();
	for (int i = 0; i < 20; i++) {
		snprintf(keys[i], sizeof(keys[i]), "%02d", i);
		pairs[i] = (struct pair){keys[i], "v"};
		ops[i].fn = put_pair;
		ops[i].arg = &pairs[i];
	}
	run_behind_gate(ix, ops, 20);
	CHECK_STR(order, "00 01 02 03 04 05 06 07 08 09 "
			 "10 11 12 13 14 15 16 17 18 19 ");
	index_stats(ix, &stats);
	CHECK(stats.commits == 1); /* the gate wrote nothing */
	CHECK(stats.ops == 20);
	CHECK(stats.batch_max == 20);
	CHECK(stats.rows[TABLE_BLOB] == 20);
	CHECK(stats.used_bytes > 0);
	close_index(ix);
	test_dir_remove();
}

static void an_op_that_declines_disturbs_no_neighbour(void)
{
	struct pair pairs[] = {{"a", "1"}, {"b", "2"}, {"c", "3"}};
	struct test_op ops[3] = {{.fn = put_pair, .arg = &pairs[0]},
				 {.fn = refuse, .arg = &pairs[1]},
				 {.fn = put_pair, .arg = &pairs[2]}};
	struct index *ix;

	test_dir_make();
	ix = open_index();
	run_behind_gate(ix, ops, 3);
	CHECK_STR(order, "a bexists c ");
	CHECK(now_has(ix, "a", "1"));
	CHECK(now_has(ix, "b", NULL));
	CHECK(now_has(ix, "c", "3"));
	close_index(ix);
	test_dir_remove();
}

static void background_never_runs_twice_while_foreground_waits(void)
{
	struct pair pairs[] = {{"B1", ""}, {"B2", ""}, {"B3", ""},
			       {"f1", ""}, {"f2", ""}, {"f3", ""}};
	struct test_op ops[6] = {0};
	struct index *ix;

	test_dir_make();
	ix = open_index();
	for (int i = 0; i < 6; i++) {
		ops[i].fn = put_pair;
		ops[i].arg = &pairs[i];
		ops[i].op.background = i < 3;
	}
	run_behind_gate(ix, ops, 6);
	CHECK_STR(order, "B1 f1 f2 f3 B2 B3 ");
	close_index(ix);
	test_dir_remove();
}

struct submitter {
	struct index *ix;
	int id;
	int failures;
};

static void *submit_many(void *arg)
{
	struct submitter *s = arg;
	char key[16];

	for (int i = 0; i < 60; i++) {
		snprintf(key, sizeof(key), "%d.%d", s->id, i);
		/* What begins after the answer sees the change. */
		if (put(s->ix, key, "v") != ERR_OK || !now_has(s->ix, key, "v"))
			s->failures++;
	}
	index_thread_done(s->ix);
	return NULL;
}

static void many_threads_write_and_see_their_writes(void)
{
	struct submitter s[8];
	struct index_stats stats;
	pthread_t threads[8];
	struct index *ix;

	test_dir_make();
	ix = open_index();
	for (int i = 0; i < 8; i++) {
		s[i] = (struct submitter){ix, i, 0};
		pthread_create(&threads[i], NULL, submit_many, &s[i]);
	}
	for (int i = 0; i < 8; i++) {
		pthread_join(threads[i], NULL);
		CHECK(s[i].failures == 0);
	}
	index_stats(ix, &stats);
	CHECK(stats.rows[TABLE_BLOB] == 480);
	CHECK(stats.ops == 480);
	CHECK(stats.commits <= 480);
	close_index(ix);
	test_dir_remove();
}

/* ---- crashes, rot, and no room ---- */

static void write_until_killed(int fd)
{
	struct index *ix = open_index();
	uint32_t n = 0;
	char key[16];

	for (;;) {
		snprintf(key, sizeof(key), "%08u", n);
		if (put(ix, key, "kept") != ERR_OK ||
		    write(fd, &n, sizeof(n)) != (ssize_t)sizeof(n))
			_exit(1);
		n++;
	}
}

static void check_all_up_to(uint32_t last)
{
	struct index *ix = open_index();
	char key[16];

	for (uint32_t n = 0; n <= last; n++) {
		snprintf(key, sizeof(key), "%08u", n);
		CHECK(now_has(ix, key, "kept"));
	}
	CHECK(put(ix, "after", "the crash") == ERR_OK);
	close_index(ix);
}

static void what_was_acknowledged_survives_kill_9(void)
{
	for (unsigned round = 0; round < 5; round++) {
		uint32_t n, last = 0;
		int fds[2], status;
		pid_t pid;

		test_dir_make();
		CHECK(pipe(fds) == 0);
		pid = fork();
		if (pid == 0) {
			close(fds[0]);
			write_until_killed(fds[1]);
		}
		close(fds[1]);
		while (last < 50 + 37 * round &&
		       read(fds[0], &n, sizeof(n)) == (ssize_t)sizeof(n))
			last = n;
		kill(pid, SIGKILL);
		while (read(fds[0], &n, sizeof(n)) == (ssize_t)sizeof(n))
			last = n;
		CHECK(waitpid(pid, &status, 0) == pid);
		CHECK(WIFSIGNALED(status) && last > 0);
		close(fds[0]);
		check_all_up_to(last);
		test_dir_remove();
	}
}

/* Change every copy of `text` in the index's file. */
static unsigned damage(const char *text)
{
	char *path = test_path("index/data.mdb");
	int fd = open(path, O_RDWR);
	size_t len = strlen(text);
	unsigned hits = 0;
	struct stat st;
	char *bytes;

	CHECK(fd >= 0 && fstat(fd, &st) == 0);
	bytes = xmalloc((size_t)st.st_size);
	CHECK(read(fd, bytes, (size_t)st.st_size) == st.st_size);
	for (off_t i = 0; i + (off_t)len <= st.st_size; i++) {
		if (memcmp(bytes + i, text, len) != 0)
			continue;
		CHECK(pwrite(fd, "#", 1, i) == 1);
		hits++;
	}
	close(fd);
	free(bytes);
	free(path);
	return hits;
}

static bool count_rows(void *arg, struct slice key UNUSED, struct slice payload)
{
	unsigned *counts = arg;

	counts[payload.ptr != NULL]++;
	return true;
}

static void a_value_that_has_rotted_is_told(void)
{
	unsigned counts[2] = {0};
	struct index_stats stats;
	struct index_txn *txn;
	struct slice payload;
	struct index *ix;

	test_dir_make();
	ix = open_index();
	CHECK(put(ix, "good", "payload of the good") == ERR_OK);
	CHECK(put(ix, "bad", "payload of the bad") == ERR_OK);
	close_index(ix);
	CHECK(damage("payload of the bad") > 0);
	ix = open_index();
	txn = index_read(ix);
	CHECK(index_get(txn, TABLE_BLOB, test_text("bad"), &payload) ==
	      ERR_CORRUPT);
	CHECK(has(txn, "good", "payload of the good"));
	CHECK(index_walk(txn, TABLE_BLOB, test_text(""), test_text(""),
			 count_rows, counts) == ERR_OK);
	index_read_end(txn);
	CHECK(counts[0] == 1 && counts[1] == 1);
	index_stats(ix, &stats);
	CHECK(stats.corrupt_rows == 2);
	CHECK(put(ix, "bad", "new") == ERR_OK);
	CHECK(now_has(ix, "bad", "new"));
	close_index(ix);
	test_dir_remove();
}

struct health_log {
	char text[128];
};

/* Writer thread; read when it is quiet. */
static void note_health(void *arg, enum index_health now, const struct why *why)
{
	static const char *const names[] = {"ok ", "full ", "failed "};
	struct health_log *log = arg;
	size_t used = strlen(log->text);

	CHECK((now == INDEX_OK) == (why->text[0] == '\0'));
	snprintf(log->text + used, sizeof(log->text) - used, "%s", names[now]);
}

struct bulk {
	unsigned id;
	size_t len;
};

static enum err put_bulk(struct index_txn *txn, void *arg)
{
	const struct bulk *b = arg;
	uint8_t *bytes = xcalloc(1, b->len);
	uint8_t key[4];

	put_be32(key, b->id);
	index_put(txn, TABLE_MANIFEST, slice_of(key, 4),
		  slice_of(bytes, b->len));
	free(bytes);
	return ERR_OK;
}

static enum err del_bulk(struct index_txn *txn, void *arg)
{
	const struct bulk *b = arg;
	uint8_t key[4];

	put_be32(key, b->id);
	index_del(txn, TABLE_MANIFEST, slice_of(key, 4));
	return ERR_OK;
}

/* Put rows of `len` bytes until there is no room; how many went in. */
static unsigned fill(struct index *ix, size_t len)
{
	struct bulk b = {0, len};

	while (b.id < 100000 && test_write(ix, put_bulk, &b) == ERR_OK)
		b.id++;
	return b.id;
}

static void a_full_index_refuses_at_once_and_recovers(void)
{
	struct health_log log = {""};
	struct index_options opt = {.map_bytes = MIB,
				    .retry_full_ms = 500,
				    .health = note_health,
				    .health_arg = &log};
	struct bulk b = {0, 100};
	struct index_stats stats;
	struct index *ix;
	unsigned n;

	test_dir_make();
	ix = open_with(&opt);
	n = fill(ix, 3000);
	CHECK(n > 50 && n < 400);
	CHECK(index_health(ix) == INDEX_FULL);
	CHECK_STR(log.text, "full ");
	index_stats(ix, &stats);
	CHECK(stats.commits == n && stats.failed > 0);
	/* Too early for another try, even of a delete. */
	CHECK(test_write(ix, del_bulk, &b) == ERR_NO_SPACE);
	for (b.id = 0; b.id < n; b.id++) {
		usleep(b.id ? 0 : 600000);
		CHECK(test_write(ix, del_bulk, &b) == ERR_OK);
		CHECK(index_health(ix) == INDEX_OK);
	}
	CHECK_STR(log.text, "full ok ");
	b.id = 7;
	CHECK(test_write(ix, put_bulk, &b) == ERR_OK);
	close_index(ix);
	test_dir_remove();
}

static enum err put_huge(struct index_txn *txn, void *arg)
{
	struct pair *p = arg;
	struct bulk b = {1, 2 * MIB};

	index_put(txn, TABLE_BLOB, test_text(p->key), test_text("x"));
	return put_bulk(txn, &b);
}

static void an_op_too_big_for_the_map_fails_alone(void)
{
	struct index_options opt = {.map_bytes = MIB};
	struct pair pairs[] = {{"a", "1"}, {"b", "2"}, {"c", "3"}};
	struct test_op ops[3] = {{.fn = put_pair, .arg = &pairs[0]},
				 {.fn = put_huge, .arg = &pairs[1]},
				 {.fn = put_pair, .arg = &pairs[2]}};
	struct index *ix;

	test_dir_make();
	ix = open_with(&opt);
	run_behind_gate(ix, ops, 3);
	CHECK_STR(order, "a bno space c ");
	CHECK(now_has(ix, "a", "1"));
	CHECK(now_has(ix, "b", NULL));
	CHECK(now_has(ix, "c", "3"));
	CHECK(index_health(ix) == INDEX_OK);
	close_index(ix);
	test_dir_remove();
}

/* ---- opening ---- */

static void write_file(const char *below, const void *bytes, size_t len)
{
	char *path = test_path(below);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	CHECK(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
	close(fd);
	free(path);
}

static enum err try_open(struct why *why)
{
	struct index_options opt = {0};
	char *dir = test_path("index");
	struct index *ix = NULL;
	enum err err = index_open(dir, &opt, &ix, why);

	if (err == ERR_OK)
		index_close(&ix);
	free(dir);
	return err;
}

static void a_file_that_is_no_index_is_refused(void)
{
	char *dir, bytes[20000];
	struct why why = {""};

	memset(bytes, 'x', sizeof(bytes));
	test_dir_make();
	dir = test_path("index");
	CHECK(mkdir(dir, 0700) == 0);
	write_file("index/data.mdb", bytes, sizeof(bytes));
	CHECK(try_open(&why) == ERR_CORRUPT);
	CHECK(strstr(why.text, dir) != NULL);
	free(dir);
	test_dir_remove();
}

static void a_file_whose_making_was_cut_off_is_made_again(void)
{
	static const char zeros[8192];
	struct index *ix;
	char *dir;

	test_dir_make();
	dir = test_path("index");
	CHECK(mkdir(dir, 0700) == 0);
	write_file("index/data.mdb", zeros, sizeof(zeros));
	CHECK(try_open(NULL) == ERR_OK);
	write_file("index/data.mdb", "short", 5);
	ix = open_index();
	CHECK(put(ix, "k", "v") == ERR_OK);
	close_index(ix);
	ix = open_index();
	CHECK(now_has(ix, "k", "v"));
	close_index(ix);
	free(dir);
	test_dir_remove();
}

static enum err put_version(struct index_txn *txn, void *arg)
{
	index_put(txn, TABLE_META, test_text("version"), slice_of(arg, 4));
	return ERR_OK;
}

/* And it is said what to do. */
static void expect_version_refused(uint8_t last, const char *text)
{
	uint8_t version[4] = {0, 0, 0, last};
	struct why why = {""};
	struct index *ix;

	test_dir_make();
	ix = open_index();
	CHECK(test_write(ix, put_version, version) == ERR_OK);
	close_index(ix);
	CHECK(try_open(&why) == ERR_CORRUPT);
	CHECK(strstr(why.text, "version") && strstr(why.text, text));
	test_dir_remove();
}

static void another_version_of_an_index_is_refused(void)
{
	expect_version_refused(99, "a newer entrepot");
	expect_version_refused(0, "'entrepot rebuild' makes another one");
}

static void what_is_no_index_is_refused(void)
{
	char *path, *bytes = xcalloc(1, 64 * 1024);
	struct why why = {""};
	FILE *f;

	test_dir_make();
	close_index(open_index());
	path = test_path("index/data.mdb");
	f = fopen(path, "r+");
	CHECK(f && fwrite(bytes, 64 * 1024, 1, f) == 1);
	fclose(f);
	CHECK(try_open(&why) == ERR_CORRUPT);
	CHECK(strstr(why.text, "'entrepot rebuild' makes another one"));
	free(bytes);
	free(path);
	test_dir_remove();
}

static void a_folder_without_a_parent_is_refused(void)
{
	struct index_options opt = {0};
	struct index *ix = NULL;
	struct why why = {""};

	CHECK(index_open("/nonexistent/index", &opt, &ix, &why) != ERR_OK);
	CHECK(ix == NULL && why.text[0]);
}

/* ---- the log ---- */

/* What a log was given, as text: "<first>:<records> " and, of a cut, "cut ". */
struct test_log {
	char text[256];
	enum err answer;
};

static enum err log_append(void *arg, const void *records, size_t len,
			   uint64_t first, size_t n, struct why *why)
{
	struct test_log *log = arg;
	const uint8_t *at = records, *end = at + len;
	char *text = log->text + strlen(log->text);
	size_t room = sizeof(log->text) - strlen(log->text);
	int used = snprintf(text, room, "%u:", (unsigned)first);

	for (size_t i = 0; i < n; i++) {
		uint32_t record_len = get_be32(at);

		used += snprintf(text + used, room - (size_t)used, "%.*s,",
				 (int)record_len, (const char *)at + 4);
		at += 4 + record_len;
	}
	CHECK(at == end);
	snprintf(text + used, room - (size_t)used, " ");
	return log->answer == ERR_OK
		   ? ERR_OK
		   : why_set(why, log->answer, "the log is broken");
}

static void log_cut(void *arg)
{
	struct test_log *log = arg;
	size_t used = strlen(log->text);

	snprintf(log->text + used, sizeof(log->text) - used, "cut ");
}

/* Put a row and log its key. */
static enum err put_logged(struct index_txn *txn, void *arg)
{
	struct pair *p = arg;

	index_put(txn, TABLE_BLOB, test_text(p->key), test_text(p->value));
	index_log_put(txn, p->key, strlen(p->key));
	return ERR_OK;
}

static enum err log_twice(struct index_txn *txn, void *arg UNUSED)
{
	index_log_put(txn, "x", 1);
	index_log_put(txn, "y", 1);
	return ERR_OK;
}

static uint64_t log_last(struct index *ix)
{
	struct index_txn *txn = index_read(ix);
	uint64_t last = index_log_last(txn);

	index_read_end(txn);
	return last;
}

static void what_is_logged_comes_before_its_commit(void)
{
	struct test_log seen = {.answer = ERR_OK};
	struct index_log log = {log_append, log_cut, &seen};
	struct pair a = {"a", "1"}, b = {"b", "2"};
	struct index *ix;

	test_dir_make();
	ix = open_with(&(struct index_options){.log = &log});
	CHECK(log_last(ix) == 0);
	CHECK(test_write(ix, put_logged, &a) == ERR_OK);
	CHECK(put(ix, "unlogged", "0") == ERR_OK);
	CHECK(test_write(ix, log_twice, NULL) == ERR_OK);
	CHECK(log_last(ix) == 3);
	close_index(ix);
	ix = open_with(&(struct index_options){.log = &log});
	CHECK(test_write(ix, put_logged, &b) == ERR_OK);
	CHECK(log_last(ix) == 4);
	CHECK_STR(seen.text, "1:a, 2:x,y, 4:b, ");
	close_index(ix);
	test_dir_remove();
}

static void a_log_that_finds_no_room_undoes_the_batch(void)
{
	struct test_log seen = {.answer = ERR_NO_SPACE};
	struct index_log log = {log_append, log_cut, &seen};
	struct pair a = {"a", "1"};
	struct index *ix;

	test_dir_make();
	ix =
	    open_with(&(struct index_options){.log = &log, .retry_full_ms = 1});
	CHECK(test_write(ix, put_logged, &a) == ERR_NO_SPACE);
	CHECK(now_has(ix, "a", NULL) && log_last(ix) == 0);
	CHECK(index_health(ix) == INDEX_FULL);
	CHECK_STR(seen.text, "1:a, ");
	seen.answer = ERR_OK;
	usleep(5000);
	CHECK(test_write(ix, put_logged, &a) == ERR_OK);
	CHECK(now_has(ix, "a", "1") && log_last(ix) == 1);
	CHECK_STR(seen.text, "1:a, 1:a, ");
	close_index(ix);
	test_dir_remove();
}

/* Without fault points only the way that does not fail is gone. */
static void a_record_without_a_commit_is_cut_off(void)
{
	struct test_log seen = {.answer = ERR_OK};
	struct index_log log = {log_append, log_cut, &seen};
	struct index *ix;

	test_dir_make();
	setenv("ENTREPOT_FAULT", "index_commit:1:enospc", 1);
	ix =
	    open_with(&(struct index_options){.log = &log, .retry_full_ms = 1});
#ifdef FAULT_POINTS
	CHECK(test_write(ix, put_logged, &(struct pair){"a", "1"}) ==
	      ERR_NO_SPACE);
	CHECK(log_last(ix) == 0);
	CHECK_STR(seen.text, "1:a, cut ");
	seen.text[0] = '\0';
	usleep(5000);
#endif
	CHECK(test_write(ix, put_logged, &(struct pair){"a", "1"}) == ERR_OK);
	CHECK(log_last(ix) == 1);
	CHECK_STR(seen.text, "1:a, ");
	close_index(ix);
	unsetenv("ENTREPOT_FAULT");
	test_dir_remove();
}

int main(void)
{
	/* First: fault points are armed once, when one is first passed. */
	RUN(a_record_without_a_commit_is_cut_off);
	RUN(what_is_put_is_there_after_reopening);
	RUN(what_was_looked_up_before_is_as_of_the_last_commit);
	RUN(a_snapshot_does_not_see_later_commits);
	RUN(a_thread_that_is_done_gives_its_slot_back);
	RUN(a_walk_goes_in_order_within_its_prefix);
	RUN(a_walk_in_an_apply_may_delete_what_it_stands_on);
	RUN(what_queues_shares_one_commit);
	RUN(an_op_that_declines_disturbs_no_neighbour);
	RUN(background_never_runs_twice_while_foreground_waits);
	RUN(many_threads_write_and_see_their_writes);
	RUN(what_was_acknowledged_survives_kill_9);
	RUN(a_value_that_has_rotted_is_told);
	RUN(a_full_index_refuses_at_once_and_recovers);
	RUN(an_op_too_big_for_the_map_fails_alone);
	RUN(a_file_that_is_no_index_is_refused);
	RUN(a_file_whose_making_was_cut_off_is_made_again);
	RUN(another_version_of_an_index_is_refused);
	RUN(what_is_no_index_is_refused);
	RUN(a_folder_without_a_parent_is_refused);
	RUN(what_is_logged_comes_before_its_commit);
	RUN(a_log_that_finds_no_room_undoes_the_batch);
	return unit_done();
}
