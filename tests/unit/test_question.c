/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions to upstreams, over the real cache and loops.  proxy/call.h is
 * played by this file: a script says what each call is answered, and a call
 * that no line of the script expects is a failure.
 */
#include "cache/manifest.h"
#include "proxy/flight.h"
#include "proxy/mirror.h"
#include "proxy/question.h"
#include "proxy/server.h"

#include <ftw.h>
#include <pthread.h>
#include <unistd.h>

#include "unit.h"

#define OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define OCI_INDEX "application/vnd.oci.image.index.v1+json"

/* ---- the script ---- */

struct line {
	const char *key; /* "HEAD manifest v1", "GET blob sha256:...", with
			    " anon" behind it when without credentials */
	enum err err;
	unsigned status;
	const char *type, *body, *next;
	const struct digest *dg; /* Docker-Content-Digest */
	uint64_t length;         /* of a HEAD; 0 = unknown */
	uint64_t retry_after_s;
	uint64_t range_total;
	bool authorized, redirected;
	unsigned delay_ms;
	unsigned called;
};

static struct line *script; /* ends with a line without key */
static unsigned unexpected, calls;
static pthread_mutex_t script_mu = PTHREAD_MUTEX_INITIALIZER;

/* Lines of the same key are used one after the other; the last one stays. */
static struct line *script_find(const char *key)
{
	struct line *found = NULL;

	pthread_mutex_lock(&script_mu);
	calls++;
	for (struct line *l = script; l && l->key; l++)
		if (strcmp(l->key, key) == 0) {
			found = l;
			if (!l->called)
				break;
		}
	if (found)
		found->called++;
	else
		unexpected++;
	pthread_mutex_unlock(&script_mu);
	if (!found)
		fprintf(stderr, "unexpected call: %s\n", key);
	return found;
}

static void play(struct line *lines)
{
	pthread_mutex_lock(&script_mu);
	script = lines;
	unexpected = calls = 0;
	pthread_mutex_unlock(&script_mu);
}

static unsigned calls_made(void)
{
	unsigned n;

	pthread_mutex_lock(&script_mu);
	n = calls;
	pthread_mutex_unlock(&script_mu);
	return n;
}

/* ---- proxy/call.h, played ---- */

struct caller {
	struct loop *loop;
};

struct call {
	struct loop *loop;
	struct timer timer;
	const struct line *line;
	size_t max_body;
	const struct call_events *ev;
	call_small_cb *cb;
	void *arg;
	struct upstream *up;
	bool is_head;
};
struct call_small;

static struct caller the_caller;

struct caller *caller_new(struct loop *l, struct upstreams *ups,
			  struct jobs *jobs)
{
	(void)ups;
	(void)jobs;
	the_caller.loop = l;
	return &the_caller;
}

void caller_free(struct caller **c)
{
	*c = NULL;
}

/* Nobody is told of anything here. */
struct dialer *caller_dialer(struct caller *c)
{
	(void)c;
	return NULL;
}

struct fetcher *caller_fetcher(struct caller *c)
{
	(void)c;
	return NULL;
}

static void call_free(void *arg)
{
	struct call *c = arg;

	timer_release(&c->timer);
	free(c);
}

static struct call_head head_of(const struct call *c)
{
	const struct line *l = c->line;
	size_t len = l->body ? strlen(l->body) : 0;
	struct call_head h = {
	    .status = l->status,
	    .content_type = l->type ? l->type : "",
	    .has_digest = l->dg != NULL,
	    .length = len         ? len
		      : l->length ? l->length
				  : CALL_LENGTH_UNKNOWN,
	    .has_range = l->range_total != 0,
	    .range_total = l->range_total,
	    .next = l->next,
	    .has_retry_after = l->retry_after_s != 0,
	    .retry_after_s = l->retry_after_s,
	    .from_registry = !l->redirected,
	    .authorized = l->authorized,
	};

	if (l->dg)
		h.digest = *l->dg;
	return h;
}

static void call_fire(void *arg)
{
	struct call *c = arg;
	struct call_head h = head_of(c);
	struct call_answer answer = {&h, c->line->body, 0};
	struct why why = {"the wire is cut"};
	enum err err = c->line->err;

	answer.len = c->line->body ? strlen(c->line->body) : 0;
	if (!err && c->cb && answer.len > c->max_body)
		err = ERR_TOO_BIG;
	if (err == ERR_TIMEOUT || err == ERR_UNAVAILABLE)
		upstream_note_outage(c->up, &why);
	else
		upstream_note_answer(c->up);
	if (c->cb) {
		c->cb(c->arg, err, err ? NULL : &answer, &why);
	} else if (err) {
		c->ev->done(c->arg, err, false, &why);
	} else {
		CHECK(!c->ev->head(c->arg, &h));
		c->ev->done(c->arg, ERR_OK, true, &why);
	}
	loop_defer(c->loop, call_free, c);
}

static void key_of(const struct call_spec *spec, char *out, size_t size)
{
	static const char *const whats[] = {"manifest", "blob", "tags",
					    "referrers"};

	snprintf(out, size, "%s %s %s%s%s%s", spec->head ? "HEAD" : "GET",
		 whats[spec->what], spec->reference, spec->query ? "?" : "",
		 spec->query ? spec->query : "",
		 spec->anonymous ? " anon" : "");
}

static struct call *start(struct caller *caller, const struct call_spec *spec)
{
	static const struct line nothing = {.status = 599};
	struct call *c = xcalloc(1, sizeof(*c));
	char key[512];

	key_of(spec, key, sizeof(key));
	CHECK(spec->what != CALL_BLOB || (spec->ranged && !spec->last));
	c->loop = caller->loop;
	c->up = spec->up;
	c->is_head = spec->head;
	c->line = script_find(key);
	if (!c->line)
		c->line = &nothing;
	timer_init(&c->timer, c->loop, call_fire, c);
	timer_set(&c->timer, c->line->delay_ms);
	return c;
}

struct call *call_start(struct caller *caller, const struct call_spec *spec,
			const struct call_events *ev, void *arg)
{
	struct call *c = start(caller, spec);

	c->ev = ev;
	c->arg = arg;
	return c;
}

void call_resume(struct call *c)
{
	(void)c;
}

void call_cancel(struct call **c)
{
	timer_clear(&(*c)->timer);
	loop_defer((*c)->loop, call_free, *c);
	*c = NULL;
}

struct call_small *call_small_start(struct caller *caller,
				    const struct call_spec *spec,
				    size_t max_body, call_small_cb *cb,
				    void *arg)
{
	struct call *c = start(caller, spec);

	c->cb = cb;
	c->arg = arg;
	c->max_body = max_body;
	return (struct call_small *)c;
}

void call_small_cancel(struct call_small **c)
{
	struct call *call = (struct call *)*c;

	call_cancel(&call);
	*c = NULL;
}

/* ---- the rest of the daemon, as far as mirror.c knows it ---- */

static struct conf *the_conf;

struct conf *server_conf(struct server *s)
{
	(void)s;
	return conf_ref(the_conf);
}

struct flights {
	bool closed;
};

struct flights *flights_new(struct mirror *m)
{
	(void)m;
	return xcalloc(1, sizeof(struct flights));
}

void flights_close(struct flights *f)
{
	f->closed = true;
}

void flights_free(struct flights **f)
{
	CHECK((*f)->closed);
	free(*f);
	*f = NULL;
}

/* ---- set-up ---- */

static const char conf_text[] =
    "{\"upstreams\": {"
    "\"up.test\": {\"first_byte\": \"3s\"},"
    "\"follow.test\": {\"gone\": \"follow\"},"
    "\"cred.test\": {\"username\": \"u\", \"password\": \"p\"},"
    "\"off.test\": {\"offline\": true}},"
    "\"cache\": {\"manifest_max\": \"64K\"}}";

static char folder[64];
static struct server server;
static struct mirror *mirror;
static struct loop *home;

static void *workers_index;
static void worker_done(void *arg)
{
	(void)arg;
	index_thread_done(workers_index);
}

static void event(void *arg, enum cache_event what, const struct digest *dg,
		  const struct why *why)
{
	(void)arg;
	(void)what;
	(void)dg;
	(void)why;
}

static void open_all(void)
{
	struct cache_options opt = {
	    .data = folder,
	    .max_inline_bytes = 4096,
	    .max_open_blobs = 4,
	    .index = {.map_bytes = 64 * MIB},
	    .event = event,
	};
	struct jobs_options jobs = {.threads = {1, 2, 1},
				    .thread_done = worker_done};
	struct why why = {{0}};

	snprintf(folder, sizeof(folder), "/tmp/question-XXXXXX");
	if (!mkdtemp(folder) ||
	    conf_load_text("test", conf_text, strlen(conf_text), NULL,
			   &the_conf, NULL, &why) ||
	    cache_open(&opt, &server.cache, &why)) {
		fprintf(stderr, "set-up: %s\n", why.text);
		abort();
	}
	workers_index = cache_index(server.cache);
	server.jobs = jobs_new(&jobs);
	home = loop_new("home");
	loop_start(home);
	mirror = mirror_new(&server);
	mirror_start(mirror);
}

static int remove_one(const char *path, const struct stat *st, int flag,
		      struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void remove_tree(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void close_all(void)
{
	mirror_free(&mirror);
	loop_stop(home);
	loop_free(&home);
	jobs_free(&server.jobs);
	index_thread_done(cache_index(server.cache));
	cache_close(&server.cache);
	conf_unref(&the_conf);
	remove_tree(folder);
}

/* ---- asking ---- */

#define ANSWERS_MAX 64
static struct mirror_answer *answers[ANSWERS_MAX];
static unsigned n_answers;
static pthread_mutex_t answers_mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t answered = PTHREAD_COND_INITIALIZER;

static void answer_run(struct message *msg, void *object)
{
	(void)object;
	pthread_mutex_lock(&answers_mu);
	answers[n_answers++] = container_of(msg, struct mirror_answer, msg);
	pthread_cond_signal(&answered);
	pthread_mutex_unlock(&answers_mu);
}

static void ask_one(const struct mirror_ask *ask)
{
	mirror_ask(mirror, ask, home, (struct handle){0, 0}, 0, answer_run);
}

static void wait_for(unsigned n)
{
	pthread_mutex_lock(&answers_mu);
	while (n_answers < n)
		pthread_cond_wait(&answered, &answers_mu);
	pthread_mutex_unlock(&answers_mu);
}

static void forget_answers(void)
{
	for (unsigned i = 0; i < n_answers; i++)
		mirror_answer_free(&answers[i]);
	n_answers = 0;
}

/* Ask, and look at the answer until the next one. */
static const struct mirror_answer *ask(const struct mirror_ask *a)
{
	forget_answers();
	ask_one(a);
	wait_for(1);
	return answers[0];
}

static const struct mirror_answer *ask_for(enum ask_kind kind,
					   const char *upstream,
					   const char *repo,
					   const char *reference)
{
	struct mirror_ask a = {.kind = kind,
			       .upstream = upstream,
			       .repo = repo,
			       .reference = reference};

	return ask(&a);
}

/* Is the answer's sentence one that names its upstream? */
static bool names(const struct mirror_answer *a, const char *upstream)
{
	return strstr(a->why.text, upstream) != NULL;
}

/* ---- contents ---- */

struct content {
	char *bytes;
	size_t len;
	struct digest dg;
	char text[DIGEST_TEXT_MAX];
	/* keys of calls for it */
	char head[256], head_anon[256], get[256];
	char get_blob[256], get_blob_anon[256];
};

static void content_init(struct content *c, char *STEALS bytes)
{
	c->bytes = bytes;
	c->len = strlen(bytes);
	digest_of(DIGEST_SHA256, bytes, c->len, &c->dg);
	digest_text(&c->dg, c->text);
	snprintf(c->head, sizeof(c->head), "HEAD manifest %s", c->text);
	snprintf(c->head_anon, sizeof(c->head_anon), "HEAD manifest %s anon",
		 c->text);
	snprintf(c->get, sizeof(c->get), "GET manifest %s", c->text);
	snprintf(c->get_blob, sizeof(c->get_blob), "GET blob %s", c->text);
	snprintf(c->get_blob_anon, sizeof(c->get_blob_anon), "GET blob %s anon",
		 c->text);
}

/* A manifest that no other one equals. */
static void manifest_init(struct content *c, const char *mark)
{
	struct digest config;
	char text[DIGEST_TEXT_MAX];

	digest_of(DIGEST_SHA256, mark, strlen(mark), &config);
	content_init(
	    c, xasprintf("{\"schemaVersion\":2,\"mediaType\":\"" OCI_MANIFEST
			 "\",\"config\":{\"mediaType\":\"application/"
			 "vnd.oci.image.config.v1+json\",\"digest\":\"%s\","
			 "\"size\":%zu},\"layers\":[]}",
			 digest_text(&config, text), strlen(mark)));
}

static void content_release(struct content *c)
{
	free(c->bytes);
}

static bool get_repo(const char *host, const char *name, struct repo_row *out)
{
	struct index_txn *txn = index_read(cache_index(server.cache));
	uint64_t id;
	bool found = repo_id(txn, host, name, &id) == ERR_OK &&
		     repo_get(txn, id, out) == ERR_OK;

	index_read_end(txn);
	return found;
}

static bool get_tag(const char *host, const char *name, const char *tag,
		    struct tag_row *out)
{
	struct index_txn *txn = index_read(cache_index(server.cache));
	uint64_t id;
	bool found = repo_id(txn, host, name, &id) == ERR_OK &&
		     tag_get(txn, id, tag, strlen(tag), out) == ERR_OK;

	index_read_end(txn);
	return found;
}

static bool has_link(const char *host, const char *name,
		     const struct digest *dg, enum link_kind kind)
{
	struct index_txn *txn = index_read(cache_index(server.cache));
	struct link_row link;
	uint64_t id;
	bool found = repo_id(txn, host, name, &id) == ERR_OK &&
		     link_get(txn, id, dg, &link) == ERR_OK &&
		     link.kind == kind;

	index_read_end(txn);
	return found;
}

#define HEAD_OK(tag, m)                                                        \
	{                                                                      \
		.key = "HEAD manifest " tag, .status = 200,                    \
		.type = OCI_MANIFEST, .dg = &(m).dg, .length = (m).len         \
	}
#define GET_OK(m)                                                              \
	{                                                                      \
		.key = (m).get, .status = 200, .type = OCI_MANIFEST,           \
		.dg = &(m).dg, .body = (m).bytes                               \
	}

/* Bring a tag in, so that the next check finds something held. */
static void pull(const char *upstream, const char *repo, const char *tag,
		 const struct content *m)
{
	char key[256];
	struct line lines[] = {{.key = key,
				.status = 200,
				.type = OCI_MANIFEST,
				.dg = &m->dg,
				.length = m->len},
			       GET_OK(*m),
			       {0}};

	snprintf(key, sizeof(key), "HEAD manifest %s", tag);
	play(lines);
	CHECK(ask_for(ASK_TAG, upstream, repo, tag)->stored);
	play(NULL);
}

/* ---- tags ---- */

static void new_tag_is_fetched_by_digest_and_stored(void)
{
	struct content m;
	struct tag_row tag;
	const struct mirror_answer *a;

	manifest_init(&m, "new tag");
	struct line lines[] = {HEAD_OK("v1", m), GET_OK(m), {0}};
	play(lines);
	a = ask_for(ASK_TAG, "up.test", "a/new", "v1");
	CHECK(a->err == ERR_OK);
	CHECK(a->asked && a->fetched && a->stored && !a->joined);
	CHECK(digest_equal(&a->digest, &m.dg));
	CHECK(a->size == m.len && !a->body);
	CHECK_STR(a->media_type, OCI_MANIFEST);
	CHECK(get_tag("up.test", "a/new", "v1", &tag));
	CHECK(digest_equal(&tag.held[0], &m.dg));
	CHECK(digest_equal(&tag.seen, &m.dg));
	CHECK(has_link("up.test", "a/new", &m.dg, LINK_MANIFEST));
	CHECK(!unexpected && calls_made() == 2);
	content_release(&m);
}

static void held_digest_is_not_fetched_again(void)
{
	struct content m;
	struct tag_row tag;
	const struct mirror_answer *a;

	manifest_init(&m, "held");
	pull("up.test", "a/held", "v1", &m);
	struct line lines[] = {HEAD_OK("v1", m), HEAD_OK("v2", m), {0}};
	play(lines);
	a = ask_for(ASK_TAG, "up.test", "a/held", "v1");
	CHECK(a->err == ERR_OK && a->asked && a->stored && !a->fetched);
	CHECK(digest_equal(&a->digest, &m.dg) && a->size == m.len);
	/* held however it came: by another tag */
	a = ask_for(ASK_TAG, "up.test", "a/held", "v2");
	CHECK(a->err == ERR_OK && a->stored && !a->fetched);
	CHECK(get_tag("up.test", "a/held", "v2", &tag));
	CHECK(digest_equal(&tag.held[0], &m.dg));
	CHECK(!unexpected && calls_made() == 2);
	content_release(&m);
}

static void concurrent_checks_are_one(void)
{
	struct content m;
	struct mirror_ask a = {.kind = ASK_TAG,
			       .upstream = "up.test",
			       .repo = "a/many",
			       .reference = "v1"};
	unsigned joined = 0;

	manifest_init(&m, "many");
	struct line lines[] = {HEAD_OK("v1", m), GET_OK(m), {0}};
	lines[0].delay_ms = 50;
	play(lines);
	forget_answers();
	for (int i = 0; i < 10; i++)
		ask_one(&a);
	wait_for(10);
	for (int i = 0; i < 10; i++) {
		CHECK(answers[i]->err == ERR_OK && answers[i]->stored);
		CHECK(answers[i]->upstream_us >= 40000);
		joined += answers[i]->joined;
	}
	CHECK(joined == 9);
	CHECK(!unexpected && calls_made() == 2);
	content_release(&m);
}

static void clients_head_of_what_is_not_held_fetches_nothing(void)
{
	struct content m;
	struct tag_row tag;
	const struct mirror_answer *a;
	struct mirror_ask head = {.kind = ASK_TAG,
				  .upstream = "up.test",
				  .repo = "a/head",
				  .reference = "v1",
				  .head_only = true};

	manifest_init(&m, "head only");
	struct line lines[] = {HEAD_OK("v1", m), {0}};
	play(lines);
	a = ask(&head);
	CHECK(a->err == ERR_OK && !a->stored && !a->fetched);
	CHECK(digest_equal(&a->digest, &m.dg) && a->size == m.len);
	CHECK_STR(a->media_type, OCI_MANIFEST);
	/* seen, so that a GET by digest holds it; not held */
	CHECK(get_tag("up.test", "a/head", "v1", &tag));
	CHECK(digest_equal(&tag.seen, &m.dg) && !tag.held[0].alg);
	CHECK(!unexpected && calls_made() == 1);
	content_release(&m);
}

static void head_that_says_too_little_is_fetched(void)
{
	struct content m;
	struct mirror_ask head = {.kind = ASK_TAG,
				  .upstream = "up.test",
				  .repo = "a/headless",
				  .reference = "v1",
				  .head_only = true};

	manifest_init(&m, "says too little");
	struct line lines[] = {HEAD_OK("v1", m), GET_OK(m), {0}};
	lines[0].length = 0;
	play(lines);
	CHECK(ask(&head)->stored);
	CHECK(!unexpected && calls_made() == 2);
	content_release(&m);
}

static void head_and_get_of_one_tag_share_a_check(void)
{
	struct content m;
	struct mirror_ask a = {.kind = ASK_TAG,
			       .upstream = "up.test",
			       .repo = "a/both",
			       .reference = "v1",
			       .head_only = true};

	manifest_init(&m, "both");
	struct line lines[] = {HEAD_OK("v1", m), GET_OK(m), {0}};
	lines[0].delay_ms = lines[1].delay_ms = 30;
	play(lines);
	forget_answers();
	ask_one(&a);
	a.head_only = false;
	ask_one(&a);
	wait_for(2);
	CHECK(answers[0]->err == ERR_OK && !answers[0]->stored);
	CHECK(answers[1]->err == ERR_OK && answers[1]->stored);
	CHECK(!answers[0]->joined && answers[1]->joined);
	CHECK(!unexpected && calls_made() == 2);
	content_release(&m);
}

static void tag_is_fetched_by_tag_where_head_is_of_no_use(void)
{
	struct content m;

	manifest_init(&m, "by tag");
	struct line refused[] = {
	    {.key = "HEAD manifest v1", .status = 405},
	    {.key = "GET manifest v1", .status = 200, .body = m.bytes},
	    {0}};
	play(refused);
	CHECK(ask_for(ASK_TAG, "up.test", "a/refused", "v1")->stored);
	CHECK(!unexpected && calls_made() == 2);
	CHECK(ask_for(ASK_TAG, "up.test", "a/refused", "v1")->stored);
	CHECK(!unexpected && calls_made() == 4);
	struct line silent[] = {
	    {.key = "HEAD manifest v1", .status = 200, .type = OCI_MANIFEST},
	    {.key = "GET manifest v1",
	     .status = 200,
	     .type = OCI_MANIFEST,
	     .dg = &m.dg,
	     .body = m.bytes},
	    {0}};
	play(silent);
	CHECK(ask_for(ASK_TAG, "up.test", "a/silent", "v1")->stored);
	CHECK(!unexpected && calls_made() == 2);
	struct line moved[] = {
	    HEAD_OK("v1", m),
	    {.key = m.get, .status = 404},
	    {.key = "GET manifest v1", .status = 200, .body = m.bytes},
	    {0}};
	play(moved);
	CHECK(ask_for(ASK_TAG, "up.test", "a/moved", "v1")->stored);
	CHECK(!unexpected && calls_made() == 3);
	content_release(&m);
}

static void missing_tag_is_remembered_for_a_while(void)
{
	struct line lines[] = {{.key = "HEAD manifest no", .status = 404}, {0}};
	struct mirror_ask again = {.kind = ASK_TAG,
				   .upstream = "up.test",
				   .repo = "a/missing",
				   .reference = "no",
				   .forget = true};
	const struct mirror_answer *a;

	play(lines);
	a = ask_for(ASK_TAG, "up.test", "a/missing", "no");
	CHECK(a->err == ERR_NOT_FOUND && a->status == 404 && a->asked);
	CHECK(names(a, "up.test"));
	a = ask_for(ASK_TAG, "up.test", "a/missing", "no");
	CHECK(a->err == ERR_NOT_FOUND && !a->asked && !a->upstream_us);
	CHECK(names(a, "up.test"));
	CHECK(calls_made() == 1);
	CHECK(ask(&again)->asked);
	CHECK(calls_made() == 2);
}

static void gone_tag_is_kept_or_dropped_as_configured(void)
{
	struct content m;
	struct tag_row tag;
	struct line lines[] = {{.key = "HEAD manifest v1", .status = 404}, {0}};

	manifest_init(&m, "gone");
	pull("up.test", "a/gone", "v1", &m);
	pull("follow.test", "a/gone", "v1", &m);
	play(lines);
	CHECK(ask_for(ASK_TAG, "up.test", "a/gone", "v1")->err ==
	      ERR_NOT_FOUND);
	CHECK(get_tag("up.test", "a/gone", "v1", &tag));
	CHECK(tag.state == TAG_GONE && digest_equal(&tag.held[0], &m.dg));
	CHECK(!mirror_tag_is_out(mirror, "up.test", "a/gone", "v1"));
	CHECK(ask_for(ASK_TAG, "follow.test", "a/gone", "v1")->err ==
	      ERR_NOT_FOUND);
	CHECK(!get_tag("follow.test", "a/gone", "v1", &tag));
	content_release(&m);
}

/* ---- what is refused ---- */

static void wrong_bytes_are_never_stored(void)
{
	struct content m, other;
	const struct mirror_answer *a;

	manifest_init(&m, "right");
	manifest_init(&other, "wrong");
	struct line by_digest[] = {HEAD_OK("v1", m), GET_OK(m), {0}};
	by_digest[1].body = other.bytes;
	play(by_digest);
	a = ask_for(ASK_TAG, "up.test", "a/wrong", "v1");
	CHECK(a->err == ERR_MISMATCH && !a->stored && names(a, "up.test"));
	struct line by_tag[] = {{.key = "HEAD manifest v1", .status = 405},
				{.key = "GET manifest v1",
				 .status = 200,
				 .dg = &m.dg,
				 .body = other.bytes},
				{0}};
	play(by_tag);
	a = ask_for(ASK_TAG, "up.test", "a/wrong", "v1");
	CHECK(a->err == ERR_BAD_UPSTREAM && names(a, "up.test"));
	CHECK(!has_link("up.test", "a/wrong", &m.dg, LINK_MANIFEST));
	CHECK(!has_link("up.test", "a/wrong", &other.dg, LINK_MANIFEST));
	content_release(&m);
	content_release(&other);
}

static void type_must_be_the_bodys(void)
{
	struct content m;
	const struct mirror_answer *a;

	manifest_init(&m, "types");
	struct line lines[] = {GET_OK(m), {0}};
	lines[0].type = OCI_INDEX;
	play(lines);
	a = ask_for(ASK_MANIFEST, "up.test", "a/types", m.text);
	CHECK(a->err == ERR_BAD_UPSTREAM && !a->stored && names(a, "up.test"));
	/* storage behind a redirect knows no types */
	struct line storage[] = {GET_OK(m), {0}};
	storage[0].type = "application/octet-stream";
	storage[0].redirected = true;
	play(storage);
	a = ask_for(ASK_MANIFEST, "up.test", "a/types", m.text);
	CHECK(a->err == ERR_OK && a->stored);
	CHECK_STR(a->media_type, OCI_MANIFEST);
	content_release(&m);
}

static void schema_1_is_refused(void)
{
	struct content m;
	const struct mirror_answer *a;

	content_init(&m, xstrdup("{\"schemaVersion\":1,\"name\":\"x\","
				 "\"tag\":\"y\",\"fsLayers\":[],"
				 "\"history\":[]}"));
	struct line lines[] = {GET_OK(m), {0}};
	lines[0].type =
	    "application/vnd.docker.distribution.manifest.v1+prettyjws";
	play(lines);
	a = ask_for(ASK_MANIFEST, "up.test", "a/old", m.text);
	CHECK(a->err == ERR_BAD_UPSTREAM && !a->stored);
	content_release(&m);
}

static void manifest_past_the_limit_is_too_big(void)
{
	struct content m;
	char *bytes = xmalloc(70000);
	const struct mirror_answer *a;

	memset(bytes, ' ', 69999);
	bytes[0] = '{';
	bytes[69998] = '}';
	bytes[69999] = '\0';
	content_init(&m, bytes);
	struct line lines[] = {GET_OK(m), {0}};
	play(lines);
	a = ask_for(ASK_MANIFEST, "up.test", "a/big", m.text);
	CHECK(a->err == ERR_TOO_BIG && names(a, "up.test"));
	content_release(&m);
}

static void error_status_puts_the_tag_out_and_an_answer_clears_it(void)
{
	struct content m;
	const struct mirror_answer *a;

	manifest_init(&m, "out");
	pull("up.test", "a/out", "v1", &m);
	CHECK(!mirror_tag_is_out(mirror, "up.test", "a/out", "v1"));
	struct line bad[] = {{.key = "HEAD manifest v1", .status = 503},
			     {.key = "HEAD manifest v2", .status = 503},
			     {0}};
	play(bad);
	/* nothing held, nothing stale to answer with */
	CHECK(ask_for(ASK_TAG, "up.test", "a/out", "v2")->err ==
	      ERR_UNAVAILABLE);
	a = ask_for(ASK_TAG, "up.test", "a/out", "v1");
	CHECK(a->err == ERR_UNAVAILABLE && a->status == 503);
	CHECK(names(a, "up.test"));
	CHECK(mirror_tag_is_out(mirror, "up.test", "a/out", "v1"));
	CHECK(!mirror_tag_is_out(mirror, "up.test", "a/out", "v2"));
	CHECK(!mirror_is_out(mirror, "up.test"));
	struct line good[] = {HEAD_OK("v1", m), {0}};
	play(good);
	CHECK(ask_for(ASK_TAG, "up.test", "a/out", "v1")->err == ERR_OK);
	CHECK(!mirror_tag_is_out(mirror, "up.test", "a/out", "v1"));
	struct line cut[] = {{.key = "HEAD manifest v1", .err = ERR_TIMEOUT},
			     {0}};
	play(cut);
	a = ask_for(ASK_TAG, "up.test", "a/out", "v1");
	CHECK(a->err == ERR_TIMEOUT && names(a, "up.test"));
	CHECK(!mirror_tag_is_out(mirror, "up.test", "a/out", "v1"));
	CHECK(mirror_is_out(mirror, "up.test"));
	CHECK(!mirror_is_out(mirror, "cred.test"));
	CHECK(!mirror_is_out(mirror, "unknown.test"));
	content_release(&m);
}

static void offline_and_unknown_upstreams_are_not_asked(void)
{
	const struct mirror_answer *a;

	play(NULL);
	a = ask_for(ASK_TAG, "off.test", "a/b", "v1");
	CHECK(a->err == ERR_UNAVAILABLE && !a->asked);
	CHECK(names(a, "upstreams.\"off.test\".offline"));
	a = ask_for(ASK_TAG, "unknown.test", "a/b", "v1");
	CHECK(a->err == ERR_UNAVAILABLE && names(a, "unknown.test"));
	CHECK(calls_made() == 0);
}

static void denial_is_dated_and_cleared(void)
{
	struct content m;
	struct repo_row repo;
	const struct mirror_answer *a;

	manifest_init(&m, "denied");
	struct line denied[] = {{.key = "HEAD manifest v1", .status = 403},
				{.key = "GET manifest v1", .status = 403},
				{0}};
	play(denied);
	a = ask_for(ASK_TAG, "up.test", "a/denied", "v1");
	CHECK(a->err == ERR_DENIED && a->status == 403 && names(a, "up.test"));
	CHECK(!get_repo("up.test", "a/denied", &repo));
	pull("up.test", "a/denied", "v1", &m);
	play(denied);
	CHECK(ask_for(ASK_TAG, "up.test", "a/denied", "v1")->err == ERR_DENIED);
	CHECK(get_repo("up.test", "a/denied", &repo) && repo.denied_ms);
	CHECK(!mirror_tag_is_out(mirror, "up.test", "a/denied", "v1"));
	struct line good[] = {HEAD_OK("v1", m), {0}};
	play(good);
	CHECK(ask_for(ASK_TAG, "up.test", "a/denied", "v1")->stored);
	CHECK(get_repo("up.test", "a/denied", &repo) && !repo.denied_ms);
	content_release(&m);
}

/* ---- 429 ---- */

/* The limits are the upstream's, so these have one to themselves. */
static void limit_on_checks_is_answered_from_memory(void)
{
	struct content m;
	const struct mirror_answer *a;
	struct line lines[] = {
	    {.key = "HEAD manifest v1", .status = 429, .retry_after_s = 2},
	    {0}};

	manifest_init(&m, "limited");
	pull("follow.test", "a/limited", "v1", &m);
	play(lines);
	a = ask_for(ASK_TAG, "follow.test", "a/limited", "v1");
	CHECK(a->err == ERR_LIMITED && a->retry_after_s == 2 && a->asked);
	CHECK(names(a, "follow.test"));
	a = ask_for(ASK_TAG, "follow.test", "a/limited", "v1");
	CHECK(a->err == ERR_LIMITED && a->retry_after_s >= 1 && !a->asked);
	CHECK(calls_made() == 1);
	/* not manifests by digest */
	struct line other[] = {GET_OK(m), {0}};
	play(other);
	CHECK(ask_for(ASK_MANIFEST, "follow.test", "a/other", m.text)->stored);
	CHECK(!unexpected && calls_made() == 1);
	content_release(&m);
}

static void limit_that_fits_the_deadline_is_waited_for(void)
{
	struct content m;
	const struct mirror_answer *a;

	manifest_init(&m, "patience");
	struct line lines[] = {
	    {.key = m.get, .status = 429, .retry_after_s = 1}, GET_OK(m), {0}};
	play(lines);
	a = ask_for(ASK_MANIFEST, "up.test", "a/patience", m.text);
	CHECK(a->err == ERR_OK && a->stored && a->upstream_us > 800000);
	CHECK(!unexpected && calls_made() == 2);
	content_release(&m);
}

static void limit_past_the_deadline_is_answered(void)
{
	struct content m;
	const struct mirror_answer *a;

	manifest_init(&m, "no patience");
	struct line lines[] = {
	    {.key = m.get, .status = 429, .retry_after_s = 4}, {0}};
	play(lines);
	a = ask_for(ASK_MANIFEST, "up.test", "a/impatient", m.text);
	CHECK(a->err == ERR_LIMITED && a->retry_after_s == 4);
	CHECK(a->status == 429 && names(a, "up.test"));
	a = ask_for(ASK_MANIFEST, "up.test", "a/impatient", m.text);
	CHECK(a->err == ERR_LIMITED && !a->asked);
	CHECK(calls_made() == 1);
	content_release(&m);
}

/* ---- by digest, yes ---- */

static void misses_of_one_digest_are_one_get(void)
{
	struct content m;
	struct mirror_ask a = {
	    .kind = ASK_MANIFEST, .upstream = "cred.test", .repo = "a/digest"};

	manifest_init(&m, "digest");
	a.reference = m.text;
	struct line lines[] = {GET_OK(m), {0}};
	lines[0].delay_ms = 30;
	play(lines);
	forget_answers();
	for (int i = 0; i < 5; i++)
		ask_one(&a);
	wait_for(5);
	for (int i = 0; i < 5; i++)
		CHECK(answers[i]->err == ERR_OK && answers[i]->stored);
	/* what came too late for the question is in the index */
	CHECK(ask(&a)->stored && !answers[0]->asked);
	CHECK(!unexpected && calls_made() == 1);
	a.reference = "sha256:12";
	CHECK(ask(&a)->err == ERR_INVALID);
	content_release(&m);
}

static void yes_is_linked_and_a_no_is_not(void)
{
	struct content m, blob;
	const struct mirror_answer *a;

	manifest_init(&m, "yes");
	content_init(&blob, xstrdup("a blob"));
	struct line lines[] = {
	    {.key = m.head,
	     .status = 200,
	     .type = OCI_MANIFEST,
	     .dg = &m.dg,
	     .length = m.len},
	    {.key = blob.get_blob, .status = 206, .range_total = 6},
	    {0}};
	play(lines);
	a = ask_for(ASK_YES_MANIFEST, "up.test", "a/yes", m.text);
	CHECK(a->err == ERR_OK && a->stored && a->size == m.len);
	CHECK(has_link("up.test", "a/yes", &m.dg, LINK_MANIFEST));
	a = ask_for(ASK_YES_BLOB, "up.test", "a/yes", blob.text);
	CHECK(a->err == ERR_OK && a->size == 6);
	CHECK(has_link("up.test", "a/yes", &blob.dg, LINK_BLOB));
	CHECK(!unexpected && calls_made() == 2);
	struct line no[] = {{.key = m.head, .status = 404},
			    {.key = blob.get_blob, .status = 401},
			    {0}};
	play(no);
	a = ask_for(ASK_YES_MANIFEST, "up.test", "a/no", m.text);
	CHECK(a->err == ERR_NOT_FOUND && names(a, "up.test"));
	a = ask_for(ASK_YES_BLOB, "up.test", "a/no", blob.text);
	CHECK(a->err == ERR_DENIED && names(a, "up.test"));
	CHECK(!has_link("up.test", "a/no", &m.dg, LINK_MANIFEST));
	CHECK(!has_link("up.test", "a/no", &blob.dg, LINK_BLOB));
	struct line empty[] = {{.key = blob.get_blob, .status = 416}, {0}};
	play(empty);
	CHECK(ask_for(ASK_YES_BLOB, "up.test", "a/416", blob.text)->err ==
	      ERR_OK);
	content_release(&m);
	content_release(&blob);
}

/* ---- public or private ---- */

/* Ask for a manifest that was had with credentials; `anonymous` is what
 * asking without them brings, `again` what asking with them then does. */
static enum visibility mark_of(const char *repo, const struct line *anonymous,
			       const struct line *again)
{
	struct content m;
	struct repo_row row;
	const struct mirror_answer *a;
	bool asks = anonymous->status || anonymous->err;

	manifest_init(&m, repo);
	struct line lines[] = {GET_OK(m), *anonymous, *again, {0}};
	lines[0].authorized = asks;
	lines[1].key = m.head_anon;
	lines[2].key = again->status || again->err ? m.head : NULL;
	play(lines);
	a = ask_for(ASK_MANIFEST, "cred.test", repo, m.text);
	CHECK(a->err == ERR_OK && a->stored);
	CHECK(!unexpected &&
	      calls_made() == 1u + asks + (lines[2].key != NULL));
	CHECK(get_repo("cred.test", repo, &row));
	CHECK(row.visibility == a->visibility);
	content_release(&m);
	return row.visibility;
}

static enum visibility mark_after(const char *repo,
				  const struct line *anonymous)
{
	return mark_of(repo, anonymous, &(struct line){0});
}

static void repositories_are_marked_by_asking_anonymously(void)
{
	struct content other;

	CHECK(mark_after("v/ok", &(struct line){.status = 200}) == VIS_PUBLIC);
	CHECK(mark_after("v/401", &(struct line){.status = 401}) ==
	      VIS_PRIVATE);
	/* missing for others, or for everybody by now? */
	CHECK(mark_of("v/404", &(struct line){.status = 404},
		      &(struct line){.status = 200}) == VIS_PRIVATE);
	CHECK(mark_of("v/404-twice", &(struct line){.status = 404},
		      &(struct line){.status = 404}) == VIS_UNKNOWN);
	CHECK(mark_of("v/404-cut", &(struct line){.status = 404},
		      &(struct line){.err = ERR_TIMEOUT}) == VIS_UNKNOWN);
	CHECK(mark_after("v/token", &(struct line){.err = ERR_DENIED}) ==
	      VIS_PRIVATE);
	CHECK(mark_after("v/500", &(struct line){.status = 500}) ==
	      VIS_UNKNOWN);
	CHECK(mark_after("v/cut", &(struct line){.err = ERR_TIMEOUT}) ==
	      VIS_UNKNOWN);
	/* had without them although there are some */
	CHECK(mark_after("v/free", &(struct line){0}) == VIS_PUBLIC);
	/* a young mark is not asked for again */
	manifest_init(&other, "v/ok, once more");
	struct line lines[] = {GET_OK(other), {0}};
	lines[0].authorized = true;
	play(lines);
	CHECK(ask_for(ASK_MANIFEST, "cred.test", "v/ok", other.text)->stored);
	CHECK(!unexpected && calls_made() == 1);
	content_release(&other);
}

static void visibility_is_asked_alone(void)
{
	struct content blob;
	const struct mirror_answer *a;

	content_init(&blob, xstrdup("a private blob"));
	struct line none[] = {{.key = blob.get_blob_anon, .status = 502}, {0}};
	play(none);
	a = ask_for(ASK_VISIBILITY_BLOB, "cred.test", "v/blob", blob.text);
	CHECK(a->err == ERR_UNAVAILABLE && names(a, "cred.test"));
	struct line lines[] = {{.key = blob.get_blob_anon, .status = 403}, {0}};
	play(lines);
	a = ask_for(ASK_VISIBILITY_BLOB, "cred.test", "v/blob", blob.text);
	CHECK(a->err == ERR_OK && a->visibility == VIS_PRIVATE && a->asked);
	a = ask_for(ASK_VISIBILITY_BLOB, "cred.test", "v/blob", blob.text);
	CHECK(a->visibility == VIS_PRIVATE && !a->asked);
	a = ask_for(ASK_VISIBILITY_BLOB, "up.test", "v/blob", blob.text);
	CHECK(a->visibility == VIS_PUBLIC && !a->asked);
	CHECK(!unexpected && calls_made() == 1);
	content_release(&blob);
}

/* ---- lists ---- */

static bool body_is(const struct mirror_answer *a, const char *text)
{
	return a->body && a->body->len == strlen(text) &&
	       memcmp(a->body->bytes, text, a->body->len) == 0;
}

static void tags_pass_through_and_are_remembered(void)
{
	static const char page[] = "{\"name\":\"l/tags\",\"tags\":[\"a\"]}";
	struct mirror_ask ask_page = {.kind = ASK_TAGS,
				      .upstream = "up.test",
				      .repo = "l/tags",
				      .reference = "",
				      .query = "n=1"};
	struct line lines[] = {
	    {.key = "GET tags ?n=1",
	     .status = 200,
	     .body = page,
	     .next = "https://up.test/v2/l/tags/tags/list?ns=x&n=1&last=a"},
	    {0}};
	const struct mirror_answer *a;

	play(lines);
	a = ask(&ask_page);
	CHECK(a->err == ERR_OK && a->asked && body_is(a, page));
	CHECK_STR(a->next, "n=1&last=a");
	a = ask(&ask_page);
	CHECK(a->err == ERR_OK && !a->asked && body_is(a, page));
	CHECK_STR(a->next, "n=1&last=a");
	CHECK(!unexpected && calls_made() == 1);
}

static void tag_list_must_be_one(void)
{
	struct line lines[] = {
	    {.key = "GET tags ", .status = 200, .body = "{\"tags\":1}"},
	    {.key = "GET tags ", .status = 200, .body = "nonsense"},
	    {.key = "GET tags ",
	     .status = 200,
	     .body = "{\"tags\":[]}",
	     .next = "/v2/?a=b\">x"},
	    {.key = "GET tags ", .status = 404},
	    {0}};
	const struct mirror_answer *a;

	play(lines);
	for (int i = 0; i < 3; i++) {
		a = ask_for(ASK_TAGS, "up.test", "l/bad", "");
		CHECK(a->err == ERR_BAD_UPSTREAM && !a->body);
		CHECK(names(a, "up.test"));
	}
	CHECK(ask_for(ASK_TAGS, "up.test", "l/bad", "")->err == ERR_NOT_FOUND);
	CHECK(calls_made() == 4);
}

#define SUBJECT                                                                \
	"sha256:"                                                              \
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define FALLBACK                                                               \
	"sha256-"                                                              \
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ENTRY(c)                                                               \
	"{\"mediaType\":\"" OCI_MANIFEST                                       \
	"\",\"digest\":\"sha256:" c c c c c c c c "\",\"size\":1}"
#define INDEX(entries) "{\"schemaVersion\":2,\"manifests\":[" entries "]}"
#define MERGED(entries)                                                        \
	"{\"schemaVersion\":2,\"mediaType\":\"" OCI_INDEX                      \
	"\",\"manifests\":[" entries "]}"

static void referrers_of_all_pages_are_merged(void)
{
	struct line lines[] = {
	    {.key = "GET referrers " SUBJECT,
	     .status = 200,
	     .body = INDEX(ENTRY("11111111") ",{\"digest\":1}"),
	     .next = "/v2/l/refs/referrers/x?last=1"},
	    {.key = "GET referrers " SUBJECT "?last=1",
	     .status = 200,
	     .body = INDEX(ENTRY("22222222") "," ENTRY("11111111"))},
	    {0}};
	const struct mirror_answer *a;

	play(lines);
	a = ask_for(ASK_REFERRERS, "up.test", "l/refs", SUBJECT);
	CHECK(a->err == ERR_OK && !a->filtered);
	CHECK(body_is(a, MERGED(ENTRY("11111111") "," ENTRY("22222222"))));
	a = ask_for(ASK_REFERRERS, "up.test", "l/refs", SUBJECT);
	CHECK(!a->asked && a->body);
	CHECK(!unexpected && calls_made() == 2);
}

static void referrers_fall_back_to_the_tag(void)
{
	struct line lines[] = {
	    {.key = "GET referrers " SUBJECT, .status = 404},
	    {.key = "HEAD manifest " FALLBACK, .status = 200},
	    {.key = "GET manifest " FALLBACK,
	     .status = 200,
	     .body = INDEX(ENTRY("33333333"))},
	    {0}};
	struct line none[] = {{.key = "GET referrers " SUBJECT, .status = 404},
			      {.key = "HEAD manifest " FALLBACK, .status = 404},
			      {0}};
	struct line broken[] = {
	    {.key = "GET referrers " SUBJECT, .status = 500}, {0}};
	const struct mirror_answer *a;

	play(lines);
	a = ask_for(ASK_REFERRERS, "cred.test", "l/fallback", SUBJECT);
	CHECK(a->err == ERR_OK && body_is(a, MERGED(ENTRY("33333333"))));
	CHECK(!unexpected && calls_made() == 3);
	play(none);
	a = ask_for(ASK_REFERRERS, "up.test", "l/none", SUBJECT);
	CHECK(a->err == ERR_OK && body_is(a, MERGED("")));
	CHECK(!unexpected && calls_made() == 2);
	play(broken);
	a = ask_for(ASK_REFERRERS, "up.test", "l/broken", SUBJECT);
	CHECK(a->err == ERR_UNAVAILABLE && names(a, "up.test"));
}

static void pages_without_an_end_are_refused(void)
{
	struct line lines[] = {{.key = "GET referrers " SUBJECT,
				.status = 200,
				.body = INDEX(""),
				.next = "?a=1"},
			       {.key = "GET referrers " SUBJECT "?a=1",
				.status = 200,
				.body = INDEX(""),
				.next = "?a=1"},
			       {0}};

	play(lines);
	CHECK(ask_for(ASK_REFERRERS, "up.test", "l/endless", SUBJECT)->err ==
	      ERR_BAD_UPSTREAM);
	CHECK(calls_made() == 2);
}

/* ---- memory ---- */

static void memo_keeps_its_bounds(void)
{
	struct memo *m = memo_new(2, 1000);
	struct buffer *small = buffer_new("small", 5);
	struct buffer *large = buffer_new(conf_text, sizeof(conf_text));
	struct memo_found found;
	char key[16];

	CHECK(memo_is_empty(m));
	memo_put(m, "a", 60000, small, "note");
	CHECK(memo_get(m, "a", &found));
	CHECK(found.body == small);
	CHECK_STR(found.note, "note");
	buffer_unref(&found.body);
	memo_put(m, "b", 60000, NULL, NULL);
	memo_put(m, "c", 60000, NULL, NULL);
	CHECK(!memo_get(m, "a", NULL) && memo_get(m, "b", NULL));
	memo_put(m, "b", 0, NULL, NULL);
	CHECK(!memo_get(m, "b", NULL) && memo_get(m, "c", NULL));
	memo_put(m, "d", 1, NULL, NULL);
	usleep(5000);
	CHECK(!memo_get(m, "d", NULL));
	memo_forget(m, "c");
	CHECK(memo_is_empty(m));
	for (int i = 0; i < 10; i++) {
		snprintf(key, sizeof(key), "%d", i);
		memo_put(m, key, 60000, large, NULL);
	}
	CHECK(small->refs == 1 && large->refs <= 3);
	memo_free(&m);
	CHECK(large->refs == 1);
	buffer_unref(&small);
	buffer_unref(&large);
}

/* ---- trouble here ---- */

/* A manifest past the inline limit needs a file. */
static void what_cannot_be_stored_is_passed_through(void)
{
	char blobs[128], *padding = xmalloc(8001);
	struct content m;
	const struct mirror_answer *a;

	memset(padding, 'x', 8000);
	padding[8000] = '\0';
	content_init(&m, xasprintf("{\"schemaVersion\":2,\"mediaType\":"
				   "\"" OCI_INDEX "\",\"manifests\":[],"
				   "\"annotations\":{\"x\":\"%s\"}}",
				   padding));
	free(padding);
	snprintf(blobs, sizeof(blobs), "%s/blobs", folder);
	remove_tree(blobs);
	struct line lines[] = {GET_OK(m), {0}};
	lines[0].type = OCI_INDEX;
	play(lines);
	a = ask_for(ASK_MANIFEST, "cred.test", "a/pass", m.text);
	CHECK(a->err == ERR_OK && a->fetched && !a->stored);
	CHECK(body_is(a, m.bytes));
	CHECK_STR(a->media_type, OCI_INDEX);
	CHECK(digest_equal(&a->digest, &m.dg));
	content_release(&m);
}

static void reload_changes_what_is_asked(void)
{
	static const char text[] =
	    "{\"upstreams\": {\"late.test\": {}, \"up.test\": {}}}";
	struct conf *before = the_conf;
	struct why why;
	struct line lines[] = {{.key = "HEAD manifest v1", .status = 404}, {0}};

	if (conf_load_text("test", text, strlen(text), NULL, &the_conf, NULL,
			   &why))
		abort();
	mirror_reload(mirror);
	play(lines);
	CHECK(ask_for(ASK_TAG, "late.test", "a/b", "v1")->err == ERR_NOT_FOUND);
	CHECK(ask_for(ASK_TAG, "cred.test", "a/b", "v1")->err ==
	      ERR_UNAVAILABLE);
	CHECK(!mirror_is_out(mirror, "late.test"));
	conf_unref(&before);
}

static void end_answers_everybody(void)
{
	struct content m;
	struct mirror_ask a = {.kind = ASK_TAG,
			       .upstream = "up.test",
			       .repo = "a/end",
			       .reference = "v1"};

	manifest_init(&m, "the end");
	struct line lines[] = {HEAD_OK("v1", m), GET_OK(m), {0}};
	lines[0].delay_ms = 60000;
	play(lines);
	forget_answers();
	ask_one(&a);
	a.repo = "a/end2";
	ask_one(&a);
	/* and one whose manifest may be on its way to the index */
	a.kind = ASK_MANIFEST;
	a.reference = m.text;
	ask_one(&a);
	usleep(500);
	mirror_free(&mirror);
	wait_for(3);
	for (int i = 0; i < 3; i++)
		CHECK(answers[i]->kind == ASK_MANIFEST
			  ? answers[i]->err == ERR_OK ||
				answers[i]->err == ERR_CANCELED
			  : answers[i]->err == ERR_CANCELED &&
				names(answers[i], "up.test"));
	forget_answers();
	content_release(&m);
}

int main(void)
{
	open_all();
	RUN(new_tag_is_fetched_by_digest_and_stored);
	RUN(held_digest_is_not_fetched_again);
	RUN(concurrent_checks_are_one);
	RUN(clients_head_of_what_is_not_held_fetches_nothing);
	RUN(head_that_says_too_little_is_fetched);
	RUN(head_and_get_of_one_tag_share_a_check);
	RUN(tag_is_fetched_by_tag_where_head_is_of_no_use);
	RUN(missing_tag_is_remembered_for_a_while);
	RUN(gone_tag_is_kept_or_dropped_as_configured);
	RUN(wrong_bytes_are_never_stored);
	RUN(type_must_be_the_bodys);
	RUN(schema_1_is_refused);
	RUN(manifest_past_the_limit_is_too_big);
	RUN(error_status_puts_the_tag_out_and_an_answer_clears_it);
	RUN(offline_and_unknown_upstreams_are_not_asked);
	RUN(denial_is_dated_and_cleared);
	RUN(misses_of_one_digest_are_one_get);
	RUN(yes_is_linked_and_a_no_is_not);
	RUN(repositories_are_marked_by_asking_anonymously);
	RUN(visibility_is_asked_alone);
	RUN(tags_pass_through_and_are_remembered);
	RUN(tag_list_must_be_one);
	RUN(referrers_of_all_pages_are_merged);
	RUN(referrers_fall_back_to_the_tag);
	RUN(pages_without_an_end_are_refused);
	RUN(memo_keeps_its_bounds);
	RUN(limit_that_fits_the_deadline_is_waited_for);
	RUN(limit_past_the_deadline_is_answered);
	RUN(limit_on_checks_is_answered_from_memory);
	RUN(what_cannot_be_stored_is_passed_through);
	RUN(reload_changes_what_is_asked);
	RUN(end_answers_everybody);
	close_all();
	return unit_done();
}
