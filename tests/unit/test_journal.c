/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal beside the index: what is hosted survives the loss of the index,
 * a torn end, a failed commit, and a kill between the two.
 */
#include "cache/journal.h"

#include "cache/hosted.h"
#include "cache/journal_int.h"
#include "cache/manifest.h"
#include "tests/unit/temp_cache.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

static struct temp t;

/* ---- changes, and waiting for them ---- */

struct answer {
	pthread_mutex_t mu;
	pthread_cond_t cond;
	bool came;
	struct hosted_result res;
};

static void on_answer(void *arg, const struct hosted_result *res)
{
	struct answer *a = arg;

	pthread_mutex_lock(&a->mu);
	a->res = *res;
	a->came = true;
	pthread_cond_signal(&a->cond);
	pthread_mutex_unlock(&a->mu);
}

static enum err wait_for(struct answer *a)
{
	pthread_mutex_lock(&a->mu);
	while (!a->came)
		pthread_cond_wait(&a->cond, &a->mu);
	pthread_mutex_unlock(&a->mu);
	return a->res.err;
}

#define ANSWER                                                                 \
	{                                                                      \
		.mu = PTHREAD_MUTEX_INITIALIZER,                               \
		.cond = PTHREAD_COND_INITIALIZER                               \
	}

/* An index without entries needs nothing; `note` makes it another one. */
static size_t manifest_text(char out[512], const char *note)
{
	return (size_t)snprintf(
	    out, 512,
	    "{\"schemaVersion\":2,\"mediaType\":"
	    "\"application/vnd.oci.image.index.v1+json\","
	    "\"manifests\":[],\"annotations\":{\"note\":\"%s\"}}",
	    note);
}

static void manifest_digest(const char *note, struct digest *dg)
{
	char text[512];

	digest_of(DIGEST_SHA256, text, manifest_text(text, note), dg);
}

static enum err push(const char *repo, const char *tag, const char *note)
{
	struct manifest_facts facts;
	char text[512];
	struct push_manifest m = {
	    .to = {.repo = repo, .claims = true},
	    .facts = &facts,
	    .bytes = text,
	    .len = manifest_text(text, note),
	    .tags = &tag,
	    .n_tags = 1,
	};
	struct answer a = ANSWER;
	enum err err = manifest_parse(text, m.len, m.len, NULL, &facts, NULL);

	CHECK(err == ERR_OK);
	m.media_type = facts.media_type;
	manifest_digest(note, &m.dg);
	cache_push_manifest(t.c, &m, on_answer, &a);
	err = wait_for(&a);
	manifest_facts_release(&facts);
	return err;
}

static enum err delete_tag(const char *repo, const char *tag)
{
	struct hosting h = {.repo = repo};
	struct answer a = ANSWER;

	cache_delete_tag(t.c, &h, tag, on_answer, &a);
	return wait_for(&a);
}

static enum err delete_manifest(const char *repo, const char *note)
{
	struct hosting h = {.repo = repo};
	struct answer a = ANSWER;
	struct digest dg;

	manifest_digest(note, &dg);
	cache_delete_manifest(t.c, &h, &dg, on_answer, &a);
	return wait_for(&a);
}

/* Does this tag lead to that manifest, linked and whole? */
static bool holds(const char *repo, const char *tag, const char *note)
{
	struct index_txn *txn = index_read(t.c->index);
	struct manifest_row manifest;
	struct tag_row row;
	struct link_row link;
	struct digest dg;
	uint64_t id;
	bool found;

	manifest_digest(note, &dg);
	found = repo_id(txn, "", repo, &id) == ERR_OK &&
		tag_get(txn, id, tag, strlen(tag), &row) == ERR_OK &&
		digest_equal(&row.held[0], &dg) &&
		link_get(txn, id, &dg, &link) == ERR_OK && link.hosted &&
		link.kind == LINK_MANIFEST &&
		manifest_get(txn, &dg, &manifest) == ERR_OK &&
		manifest.bytes.ptr;
	index_read_end(txn);
	return found;
}

static bool is_hosted(const char *repo)
{
	struct index_txn *txn = index_read(t.c->index);
	bool found = hosted_is_claimed(txn, repo);

	index_read_end(txn);
	return found;
}

/* ---- the files ---- */

static void tell(void *arg, const char *finding)
{
	unsigned *n = arg;

	fprintf(stderr, "finding: %s\n", finding);
	++*n;
}

static bool is_clean(void)
{
	unsigned n = 0;

	return cache_check(t.c, true, tell, &n) == 0 && n == 0;
}

static void remove_index(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/index/data.mdb", t.dir);
	CHECK(unlink(path) == 0);
	snprintf(path, sizeof(path), "%s/index/lock.mdb", t.dir);
	(void)!unlink(path);
}

static enum err rebuild(unsigned *findings, struct why *why)
{
	struct cache_options opt = {
	    .data = t.dir,
	    .max_inline_bytes = 64 * 1024,
	    .max_open_blobs = 4,
	};

	*findings = 0;
	return cache_rebuild(&opt, true, NULL, tell, findings, why);
}

/* The last log's path, and its size. */
static off_t last_log(char path[128])
{
	uint64_t *v;
	size_t n;
	char name[PATH_LEN_MAX];
	struct stat st = {.st_size = -1};

	CHECK(journal_list(t.c, "log", &v, &n, NULL) == ERR_OK && n > 0);
	if (n) {
		snprintf(path, 128, "%s/%s", t.dir,
			 journal_path(v[n - 1], "log", name));
		(void)!stat(path, &st);
	}
	free(v);
	return st.st_size;
}

static size_t count(const char *suffix)
{
	uint64_t *v;
	size_t n;

	CHECK(journal_list(t.c, suffix, &v, &n, NULL) == ERR_OK);
	free(v);
	return n;
}

/* ---- tests ---- */

static void lost_index_loses_nothing_hosted(void)
{
	unsigned findings;
	struct why why;

	temp_make(&t);
	temp_open(&t);
	CHECK(push("team/app", "v1", "one") == ERR_OK);
	CHECK(push("team/app", "latest", "one") == ERR_OK);
	CHECK(push("team/app", "latest", "two") == ERR_OK);
	CHECK(push("team/gone", "x", "three") == ERR_OK);
	CHECK(delete_tag("team/app", "v1") == ERR_OK);
	CHECK(delete_manifest("team/gone", "three") == ERR_OK);
	temp_close(&t);

	remove_index();
	CHECK(temp_try(&t, &why) == ERR_CORRUPT);
	CHECK(strstr(why.text, "entrepot rebuild"));
	CHECK(rebuild(&findings, &why) == ERR_OK);
	CHECK(findings == 0);
	temp_open(&t);
	CHECK(holds("team/app", "latest", "two"));
	CHECK(!holds("team/app", "v1", "one"));
	CHECK(!holds("team/gone", "x", "three"));
	CHECK(is_hosted("team/gone"));
	CHECK(is_clean());
	/* And it goes on from there. */
	CHECK(push("team/app", "v3", "three") == ERR_OK);
	temp_close(&t);
	temp_open(&t);
	CHECK(holds("team/app", "v3", "three"));
	temp_close(&t);
	temp_remove(&t);
}

static void missing_file_is_found_and_not_linked(void)
{
	char hex[DIGEST_TEXT_MAX], path[256];
	unsigned findings;
	struct digest dg;
	struct why why;

	temp_make(&t);
	temp_open(&t);
	CHECK(push("a", "1", "one") == ERR_OK);
	CHECK(push("a", "2", "two") == ERR_OK);
	temp_close(&t);
	manifest_digest("one", &dg);
	digest_hex(&dg, hex);
	snprintf(path, sizeof(path), "%s/blobs/sha256/%.2s/%s", t.dir, hex,
		 hex);
	CHECK(unlink(path) == 0);
	CHECK(rebuild(&findings, &why) == ERR_OK);
	CHECK(findings == 1);
	temp_open(&t);
	CHECK(!holds("a", "1", "one"));
	CHECK(holds("a", "2", "two"));
	CHECK(is_clean());
	temp_close(&t);
	temp_remove(&t);
}

static void torn_end_is_cut_off(void)
{
	static const char half[] = "\0\0\1\0half a frame";
	char path[128];
	off_t size;
	FILE *f;

	temp_make(&t);
	temp_open(&t);
	CHECK(push("a", "1", "one") == ERR_OK);
	size = last_log(path);
	CHECK(size > 0);
	temp_close(&t);
	f = fopen(path, "a");
	CHECK(f && fwrite(half, 1, sizeof(half), f) == sizeof(half));
	fclose(f);
	temp_open(&t);
	CHECK(last_log(path) == size);
	CHECK(push("a", "2", "two") == ERR_OK);
	CHECK(last_log(path) > size);
	temp_close(&t);
	temp_open(&t);
	CHECK(holds("a", "2", "two") && is_clean());
	temp_close(&t);
	temp_remove(&t);
}

static void damage_in_the_middle_is_told(void)
{
	struct why why;
	char path[128];
	FILE *f;

	temp_make(&t);
	temp_open(&t);
	CHECK(push("a", "1", "one") == ERR_OK);
	CHECK(push("a", "2", "two") == ERR_OK);
	(void)last_log(path);
	temp_close(&t);
	f = fopen(path, "r+");
	CHECK(f && fseek(f, 30, SEEK_SET) == 0 && fputc('!', f) != EOF);
	fclose(f);
	CHECK(temp_try(&t, &why) == ERR_CORRUPT);
	CHECK(strstr(why.text, ".log is damaged at byte 0"));
	temp_remove(&t);
}

static void snapshot_takes_the_logs_place(void)
{
	char tag[16], note[16];
	unsigned findings;
	struct why why;

	temp_make(&t);
	temp_open(&t);
	for (int i = 0; i < 600; i++) {
		snprintf(tag, sizeof(tag), "t%d", i);
		snprintf(note, sizeof(note), "n%d", i % 7);
		CHECK(push(i % 2 ? "odd/app" : "even/app", tag, note) ==
		      ERR_OK);
	}
	temp_close(&t);
	temp_open(&t); /* and a second log, so that the first can go */
	cache_journal(t.c)->worth_bytes = 1;
	CHECK(!journal_snapshot_step(cache_journal(t.c)) || count("snap") == 0);
	while (journal_snapshot_step(cache_journal(t.c)))
		CHECK(delete_tag("odd/app", "t1") == ERR_OK ||
		      !holds("odd/app", "t1", "n1"));
	CHECK(count("snap") == 1);
	CHECK(push("odd/app", "after", "after") == ERR_OK);
	temp_close(&t);
	CHECK(rebuild(&findings, &why) == ERR_OK);
	CHECK(findings == 0);
	temp_open(&t);
	CHECK(holds("odd/app", "after", "after"));
	CHECK(!holds("odd/app", "t1", "n1"));
	for (int i = 2; i < 600; i++) {
		snprintf(tag, sizeof(tag), "t%d", i);
		snprintf(note, sizeof(note), "n%d", i % 7);
		CHECK(holds(i % 2 ? "odd/app" : "even/app", tag, note));
	}
	CHECK(is_clean());
	temp_close(&t);
	temp_remove(&t);
}

static void unfinished_rebuild_leaves_the_index(void)
{
	char path[128];
	unsigned findings;
	struct why why;

	temp_make(&t);
	temp_open(&t);
	CHECK(push("a", "1", "one") == ERR_OK);
	temp_close(&t);
	snprintf(path, sizeof(path), "%s/index.new", t.dir);
	CHECK(mkdir(path, 0750) == 0);
	temp_open(&t);
	CHECK(holds("a", "1", "one"));
	temp_close(&t);
	CHECK(rebuild(&findings, &why) == ERR_OK);
	CHECK(access(path, F_OK) != 0);
	temp_open(&t);
	CHECK(holds("a", "1", "one") && is_clean());
	temp_close(&t);
	temp_remove(&t);
}

#ifdef FAULT_POINTS

/* Push in a process of its own with this fault, which is read once in the
 * life of a process; its exit status, or -1 when it was killed. */
static int push_with(const char *fault, const char *note)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		setenv("ENTREPOT_FAULT", fault, 1);
		execl("/proc/self/exe", "test_journal", t.dir, note, NULL);
		_exit(ERR_LAST);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int be_the_pusher(const char *dir, const char *note)
{
	enum err err;

	snprintf(t.dir, sizeof(t.dir), "%s", dir);
	temp_open(&t);
	err = push("a", "1", note);
	temp_close(&t);
	return (int)err;
}

static void failed_commit_is_cut_off(void)
{
	char path[128];
	off_t size;

	temp_make(&t);
	CHECK(push_with("", "one") == ERR_OK);
	temp_open(&t);
	size = last_log(path);
	temp_close(&t);
	CHECK(push_with("index_commit:1+:enospc", "two") == ERR_NO_SPACE);
	temp_open(&t);
	CHECK(last_log(path) == size);
	CHECK(holds("a", "1", "one"));
	CHECK(is_clean());
	temp_close(&t);
	temp_remove(&t);
}

/* How a push ends with each of these. */
static const struct {
	const char *fault;
	int status;
} ends[] = {
    {"journal_write:1:kill", -1},
    {"journal_sync:1:kill", -1},
    {"index_commit:1:kill", -1},
    {"index_committed:1:kill", -1},
    /* The writer tries once more. */
    {"journal_write:1:eio", ERR_OK},
    {"journal_sync:1:eio", ERR_OK},
    {"index_commit:1:eio", ERR_OK},
    {"journal_write:1+:eio", ERR_IO},
    {"journal_sync:1+:eio", ERR_IO},
    {"index_commit:1+:eio", ERR_IO},
    {"index_commit:1+:eio,journal_cut:1+:eio", ERR_IO},
    {"journal_write:1+:enospc", ERR_NO_SPACE},
};

/* Whole, or not there; and nothing needs a hand. */
static void push_is_whole_or_not_there(void)
{
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		bool cut = !strstr(ends[i].fault, "journal_cut");

		temp_make(&t);
		CHECK(push_with("", "one") == ERR_OK);
		CHECK(push_with(ends[i].fault, "two") == ends[i].status);
		temp_open(&t);
		CHECK(holds("a", "1", "one") || holds("a", "1", "two"));
		if (ends[i].status == ERR_OK)
			CHECK(holds("a", "1", "two"));
		if (ends[i].status > 0 && cut)
			CHECK(holds("a", "1", "one"));
		CHECK(is_clean());
		CHECK(push("a", "1", "three") == ERR_OK);
		CHECK(holds("a", "1", "three"));
		temp_close(&t);
		temp_remove(&t);
	}
}

static void killed_before_the_first_log_is_made(void)
{
	temp_make(&t);
	CHECK(push_with("journal_create:1:kill", "one") == -1);
	temp_open(&t);
	CHECK(!holds("a", "1", "one") && is_clean());
	CHECK(push("a", "1", "one") == ERR_OK);
	temp_close(&t);
	temp_remove(&t);
}

#endif

int main(int argc, char **argv)
{
#ifdef FAULT_POINTS
	if (argc == 3)
		return be_the_pusher(argv[1], argv[2]);
#endif
	(void)argc;
	(void)argv;
	RUN(lost_index_loses_nothing_hosted);
	RUN(missing_file_is_found_and_not_linked);
	RUN(torn_end_is_cut_off);
	RUN(damage_in_the_middle_is_told);
	RUN(snapshot_takes_the_logs_place);
	RUN(unfinished_rebuild_leaves_the_index);
#ifdef FAULT_POINTS
	RUN(failed_commit_is_cut_off);
	RUN(push_is_whole_or_not_there);
	RUN(killed_before_the_first_log_is_made);
#endif
	return unit_done();
}
