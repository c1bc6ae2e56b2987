/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/call.h"
#include "proxy/job.h"
#include "tests/unit/site.h"
#include "tests/unit/unit.h"

#include <semaphore.h>
#include <time.h>

#define DIGEST                                                                 \
	"sha256:"                                                              \
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* ---- the frame: a fetch loop of its own for each test ---- */

struct world {
	struct loop *loop;
	struct jobs *jobs;
	struct conf *conf;
	struct upstreams *ups;
	struct caller *caller;
	sem_t done;
};

static void world_build(void *arg)
{
	struct world *w = arg;

	w->ups = upstreams_new(w->loop, w->conf);
	w->caller = caller_new(w->loop, w->ups, w->jobs);
	sem_post(&w->done);
}

/* `options` of the upstream "up.test", as JSON members. */
static void world_open(struct world *w, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void world_open(struct world *w, const char *fmt, ...)
{
	struct jobs_options jobs = {.threads = {1, 1, 1}};
	char options[2048], text[4096];
	struct why why = {{0}};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(options, sizeof(options), fmt, ap);
	va_end(ap);
	snprintf(text, sizeof(text),
		 "{\"default_upstream\": null, \"upstreams\": {\"up.test\": "
		 "{%s%s}}}",
		 strstr(options, "\"proxy\"") ? "" : "\"proxy\": \"none\", ",
		 options);
	memset(w, 0, sizeof(*w));
	if (conf_load_text("F", text, strlen(text), NULL, &w->conf, NULL,
			   &why)) {
		fprintf(stderr, "%s\n", why.text);
		abort();
	}
	sem_init(&w->done, 0, 0);
	w->jobs = jobs_new(&jobs);
	w->loop = loop_new("fetch");
	loop_start(w->loop);
	loop_call(w->loop, world_build, w);
	sem_wait(&w->done);
}

static void world_drop(void *arg)
{
	struct world *w = arg;

	caller_free(&w->caller);
	upstreams_free(&w->ups);
	sem_post(&w->done);
}

static void world_close(struct world *w)
{
	loop_call(w->loop, world_drop, w);
	sem_wait(&w->done);
	jobs_free(&w->jobs);
	loop_stop(w->loop);
	loop_free(&w->loop);
	conf_unref(&w->conf);
	sem_destroy(&w->done);
}

/* One call and all that came of it. */
struct probe {
	struct world *w;
	struct call_spec spec;
	struct call *call;
	struct call_head head;
	char content_type[64], next[256], filters[64];
	char body[65536];
	size_t len;
	enum err err;
	bool had_head, over;
	struct why why;
	unsigned heads;

	/* wishes */
	bool stop_at_head, cancel_in_head, cancel_in_data;
	unsigned pauses; /* so many times */
	uint64_t cancel_ms;
	bool cancelled;
	sem_t done;
};

static void probe_signal(void *arg)
{
	struct probe *p = arg;

	p->over = true;
	sem_post(&p->done);
}

static void probe_cancel(struct probe *p)
{
	call_cancel(&p->call);
	p->cancelled = true;
	/* done must not come any more: give it a turn to be wrong. */
	loop_defer(p->w->loop, probe_signal, p);
}

static bool probe_head(void *arg, const struct call_head *h)
{
	struct probe *p = arg;

	p->heads++;
	p->head = *h;
	snprintf(p->content_type, sizeof(p->content_type), "%s",
		 h->content_type);
	snprintf(p->next, sizeof(p->next), "%s", h->next ? h->next : "");
	snprintf(p->filters, sizeof(p->filters), "%s",
		 h->filters_applied ? h->filters_applied : "");
	if (p->cancel_in_head)
		probe_cancel(p);
	return !p->stop_at_head;
}

static void probe_resume(void *arg)
{
	struct probe *p = arg;

	if (p->call)
		call_resume(p->call);
}

static enum fetch_take probe_data(void *arg, const void *buf, size_t len)
{
	struct probe *p = arg;

	if (p->pauses) {
		p->pauses--;
		loop_call(p->w->loop, probe_resume, p);
		return FETCH_PAUSE;
	}
	if (p->cancel_in_data) {
		probe_cancel(p);
		return FETCH_TOOK;
	}
	if (p->len + len < sizeof(p->body))
		memcpy(p->body + p->len, buf, len);
	p->len += len;
	return FETCH_TOOK;
}

static void probe_done(void *arg, enum err err, bool had_head,
		       const struct why *why)
{
	struct probe *p = arg;

	CHECK(!p->cancelled);
	p->call = NULL;
	p->err = err;
	p->had_head = had_head;
	p->why = *why;
	probe_signal(p);
}

static const struct call_events probe_events = {
    .head = probe_head,
    .data = probe_data,
    .done = probe_done,
};

static void probe_begin(void *arg)
{
	struct probe *p = arg;

	p->spec.up = upstream_find(p->w->ups, "up.test");
	p->call = call_start(p->w->caller, &p->spec, &probe_events, p);
	CHECK(!p->over);
}

static void probe_init(struct world *w, struct probe *p, enum call_what what,
		       const char *reference)
{
	memset(p, 0, sizeof(*p));
	p->w = w;
	p->spec.repo = "lib/img";
	p->spec.what = what;
	p->spec.reference = reference;
	p->spec.last = CALL_OPEN;
	sem_init(&p->done, 0, 0);
}

static void probe_start(struct probe *p)
{
	loop_call(p->w->loop, probe_begin, p);
}

static void probe_wait(struct probe *p)
{
	struct timespec limit;

	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += 20;
	if (sem_timedwait(&p->done, &limit) < 0) {
		fprintf(stderr, "a call never ended\n");
		abort();
	}
	sem_destroy(&p->done);
}

static void probe_run(struct probe *p)
{
	probe_start(p);
	probe_wait(p);
}

static void ask_blob(struct world *w, struct probe *p)
{
	probe_init(w, p, CALL_BLOB, DIGEST);
	probe_run(p);
}

static void ask_tag(struct world *w, struct probe *p)
{
	probe_init(w, p, CALL_MANIFEST, "v1");
	probe_run(p);
}

#define ENDPOINT "\"endpoints\": [\"http://127.0.0.1:%u\"]"

/* ---- plain answers ---- */

static void answer_endless_head(struct site *s, int fd,
				const struct request *rq)
{
	(void)rq;
	/* flag: in interim heads, of which there may be any number */
	for (int i = 0; i < 400; i++) {
		if (s->flag)
			say(fd, "HTTP/1.1 103 Early Hints\r\n");
		else if (i == 0)
			say(fd, "HTTP/1.1 200 OK\r\n");
		say(fd, "X-%d: %0900d\r\n", i, 0);
		if (s->flag)
			say(fd, "\r\n");
	}
	say_all(fd, "200 OK", "", "");
}

static void a_head_without_end_is_refused(void)
{
	struct site *s = site_new(answer_endless_head);
	struct world w;
	struct probe p;

	world_open(&w, ENDPOINT, s->port);
	for (int i = 0; i < 2; i++) {
		s->flag = i;
		ask_tag(&w, &p);
		CHECK(p.err == ERR_BAD_UPSTREAM && !p.had_head);
		CHECK(strstr(p.why.text, "256 KiB"));
	}
	world_close(&w);
	site_free(&s);
}

static void answer_manifest(struct site *s, int fd, const struct request *rq)
{
	(void)s;
	(void)rq;
	say_all(fd, "200 OK",
		"Content-Type: application/vnd.oci.image.index.v1+json; a=b\r\n"
		"Docker-Content-Digest: " DIGEST "\r\n"
		"ratelimit-limit: 100;w=21600\r\n"
		"ratelimit-remaining: 76;w=21600\r\n"
		"docker-ratelimit-source: 192.0.2.7\r\n",
		"{}");
}

static void a_manifest_comes_with_its_facts(void)
{
	struct site *s = site_new(answer_manifest);
	struct upstream_quota quota;
	struct world w;
	struct probe p;
	char text[DIGEST_TEXT_MAX];

	world_open(&w, ENDPOINT ", \"prefix\": \"proxy/hub\"", s->port);
	ask_tag(&w, &p);
	CHECK(p.err == ERR_OK && p.heads == 1);
	CHECK(p.head.status == 200 && p.head.from_registry &&
	      !p.head.authorized && p.head.endpoint == 0);
	CHECK_STR(p.content_type, "application/vnd.oci.image.index.v1+json");
	CHECK(p.head.has_digest);
	CHECK_STR(digest_text(&p.head.digest, text), DIGEST);
	CHECK(p.head.length == 2 && p.len == 2);
	upstream_quota(p.spec.up, &quota);
	CHECK(quota.known && quota.limit == 100 && quota.remaining == 76 &&
	      quota.window_s == 21600);
	CHECK_STR(quota.source, "192.0.2.7");
	CHECK_STR(site_asked(s, 0)->target,
		  "/v2/proxy/hub/lib/img/manifests/v1");
	CHECK(strstr(request_field(site_asked(s, 0), "Accept"),
		     "application/vnd.docker.distribution.manifest.v2+json"));
	CHECK(!request_field(site_asked(s, 0), "Accept-Encoding"));
	CHECK(!request_field(site_asked(s, 0), "Authorization"));
	world_close(&w);
	site_free(&s);
}

static void answer_ranges(struct site *s, int fd, const struct request *rq)
{
	const char *range = request_field(rq, "Range");

	(void)s;
	if (range && strcmp(range, "bytes=2-4") == 0)
		say_all(fd, "206 Partial Content",
			"Content-Range: bytes 2-4/10\r\n", "234");
	else if (range)
		say_all(fd, "416 Range Not Satisfiable",
			"Content-Range: bytes */10\r\n", "");
	else
		say_all(fd, "200 OK", "", "0123456789");
}

static void ranges_are_asked_for_and_told(void)
{
	struct site *s = site_new(answer_ranges);
	struct world w;
	struct probe p;

	world_open(&w, ENDPOINT, s->port);
	probe_init(&w, &p, CALL_BLOB, DIGEST);
	p.spec.ranged = true;
	p.spec.first = 2;
	p.spec.last = 4;
	probe_run(&p);
	CHECK(p.err == ERR_OK && p.head.status == 206 && p.head.has_range);
	CHECK(p.head.range_first == 2 && p.head.range_last == 4 &&
	      p.head.range_total == 10 && p.head.length == 3);
	CHECK(p.len == 3 && memcmp(p.body, "234", 3) == 0);

	probe_init(&w, &p, CALL_BLOB, DIGEST);
	p.spec.ranged = true;
	p.spec.first = 90;
	probe_run(&p);
	CHECK(p.err == ERR_OK && p.head.status == 416 && p.head.has_range &&
	      p.head.range_total == 10);
	CHECK_STR(request_field(site_asked(s, 1), "Range"), "bytes=90-");
	world_close(&w);
	site_free(&s);
}

static void answer_list(struct site *s, int fd, const struct request *rq)
{
	(void)s;
	(void)rq;
	say_all(fd, "200 OK",
		"Link: </v2/lib/img/tags/list?n=2&last=b>; rel=\"next\"\r\n"
		"OCI-Filters-Applied: artifactType\r\n",
		"{\"tags\": [\"a\", \"b\"]}");
}

static void a_list_page_names_the_next(void)
{
	struct site *s = site_new(answer_list);
	struct world w;
	struct probe p;

	world_open(&w, ENDPOINT, s->port);
	probe_init(&w, &p, CALL_TAGS, "");
	p.spec.query = "n=2";
	probe_run(&p);
	CHECK(p.err == ERR_OK);
	CHECK_STR(site_asked(s, 0)->target, "/v2/lib/img/tags/list?n=2");
	CHECK_STR(p.next, "/v2/lib/img/tags/list?n=2&last=b");
	CHECK_STR(p.filters, "artifactType");
	world_close(&w);
	site_free(&s);
}

static void answer_429(struct site *s, int fd, const struct request *rq)
{
	(void)s;
	(void)rq;
	say_all(fd, "429 Too Many Requests", "Retry-After: 7\r\n", "slow down");
}

static void error_statuses_are_answers(void)
{
	struct site *s = site_new(answer_429);
	struct world w;
	struct probe p;

	world_open(&w, ENDPOINT, s->port);
	ask_tag(&w, &p);
	CHECK(p.err == ERR_OK && p.head.status == 429);
	CHECK(p.head.has_retry_after && p.head.retry_after_s == 7);
	world_close(&w);
	site_free(&s);
}

/* ---- tokens ---- */

/* number: tokens given; flag: all tokens are refused. */
static void answer_bearer(struct site *s, int fd, const struct request *rq)
{
	const char *auth = request_field(rq, "Authorization");
	char fields[512], body[256], want[64];

	pthread_mutex_lock(&s->mu);
	if (strncmp(rq->target, "/token", 6) == 0) {
		snprintf(body, sizeof(body),
			 "{\"token\": \"wrong\", \"access_token\": \"t%d\", "
			 "\"expires_in\": 300}",
			 ++s->number);
		pthread_mutex_unlock(&s->mu);
		usleep(20000);
		say_all(fd, "200 OK", "", body);
		return;
	}
	snprintf(want, sizeof(want), "Bearer t%d", s->number);
	if (auth && strcmp(auth, want) == 0 && !s->flag) {
		pthread_mutex_unlock(&s->mu);
		say_all(fd, "200 OK", "", "content");
		return;
	}
	pthread_mutex_unlock(&s->mu);
	snprintf(fields, sizeof(fields),
		 "WWW-Authenticate: Bearer realm=\"http://127.0.0.1:%u/token\","
		 "service=\"reg test\",scope=\"repository:lib/img:pull\"\r\n",
		 s->port);
	say_all(fd, "401 Unauthorized", fields, "{\"errors\": []}");
}

static void a_challenge_is_answered_with_a_token(void)
{
	struct site *s = site_new(answer_bearer);
	struct world w;
	struct probe p;

	world_open(&w, ENDPOINT, s->port);
	ask_blob(&w, &p);
	CHECK(p.err == ERR_OK && p.head.status == 200 && p.len == 7);
	CHECK(p.head.from_registry && !p.head.authorized);
	CHECK(site_count(s, "") == 3);
	CHECK_STR(site_asked(s, 1)->target,
		  "/token?service=reg%20test&scope=repository%3Alib%2Fimg%3A"
		  "pull");
	CHECK(!request_field(site_asked(s, 1), "Authorization"));

	/* The same again needs neither the 401 nor a new token; */
	ask_blob(&w, &p);
	CHECK(p.head.status == 200 && site_count(s, "") == 4 && s->number == 1);
	/* another name no 401. */
	probe_init(&w, &p, CALL_BLOB, DIGEST);
	p.spec.repo = "lib/other";
	probe_run(&p);
	CHECK(p.head.status == 200 && site_count(s, "") == 6 && s->number == 2);
	CHECK(strstr(site_asked(s, 4)->target, "other"));
	world_close(&w);
	site_free(&s);
}

static void one_token_is_fetched_for_many(void)
{
	enum { N = 8 };
	struct site *s = site_new(answer_bearer);
	struct probe *p = xcalloc(N, sizeof(*p));
	struct world w;

	world_open(&w, ENDPOINT, s->port);
	for (int i = 0; i < N; i++) {
		probe_init(&w, &p[i], CALL_BLOB, DIGEST);
		probe_start(&p[i]);
	}
	for (int i = 0; i < N; i++) {
		probe_wait(&p[i]);
		CHECK(p[i].err == ERR_OK && p[i].head.status == 200);
	}
	CHECK(site_count(s, "/token") == 1);
	free(p);
	world_close(&w);
	site_free(&s);
}

static void a_revoked_token_is_renewed_once(void)
{
	struct site *s = site_new(answer_bearer);
	struct world w;
	struct probe p;

	world_open(&w, ENDPOINT, s->port);
	ask_blob(&w, &p);
	pthread_mutex_lock(&s->mu);
	s->number = 41; /* t1 is good no more */
	s->n = 0;
	pthread_mutex_unlock(&s->mu);
	ask_blob(&w, &p);
	CHECK(p.err == ERR_OK && p.head.status == 200);
	CHECK(site_count(s, "") == 3 && site_count(s, "/token") == 1);

	/* And when that does not help, the 401 is the answer. */
	pthread_mutex_lock(&s->mu);
	s->flag = true;
	s->n = 0;
	pthread_mutex_unlock(&s->mu);
	ask_blob(&w, &p);
	CHECK(p.err == ERR_OK && p.head.status == 401 && p.heads == 1 &&
	      p.head.from_registry);
	CHECK(site_count(s, "") == 3 && site_count(s, "/token") == 1);
	world_close(&w);
	site_free(&s);
}

static void answer_scopes(struct site *s, int fd, const struct request *rq)
{
	const char *auth = request_field(rq, "Authorization");
	bool first = !auth;
	char fields[512];

	if (strncmp(rq->target, "/token", 6) == 0) {
		say_all(fd, "200 OK", "",
			strstr(rq->target, "wide") ? "{\"token\": \"wide\"}"
						   : "{\"token\": \"narrow\"}");
		return;
	}
	if (auth && strcmp(auth, "Bearer wide") == 0) {
		say_all(fd, "200 OK", "", "yes");
		return;
	}
	snprintf(fields, sizeof(fields),
		 "WWW-Authenticate: Bearer realm=\"http://127.0.0.1:%u/token\","
		 "scope=\"%s\"%s\r\n",
		 s->port, first ? "aws" : "repository:wide:pull",
		 first ? "" : ",error=\"insufficient_scope\"");
	say_all(fd, "401 Unauthorized", fields, "");
}

static void the_scope_of_the_challenge_is_asked_for(void)
{
	struct site *s = site_new(answer_scopes);
	struct world w;
	struct probe p;

	world_open(&w, ENDPOINT, s->port);
	ask_blob(&w, &p);
	CHECK(p.err == ERR_OK && p.head.status == 200);
	CHECK_STR(site_asked(s, 1)->target, "/token?scope=aws");
	CHECK_STR(site_asked(s, 3)->target,
		  "/token?scope=repository%3Awide%3Apull");
	world_close(&w);
	site_free(&s);
}

static void answer_silent_401(struct site *s, int fd, const struct request *rq)
{
	const char *auth = request_field(rq, "Authorization");
	char fields[256] = "";

	if (strncmp(rq->target, "/token", 6) == 0) {
		say_all(fd, "200 OK", "", "{\"token\": \"x\"}");
		return;
	}
	if (auth) {
		say_all(fd, "200 OK", "", "yes");
		return;
	}
	if (strcmp(rq->target, "/v2/") == 0)
		snprintf(fields, sizeof(fields),
			 "WWW-Authenticate: Bearer "
			 "realm=\"http://127.0.0.1:%u/token\"\r\n",
			 s->port);
	say_all(fd, "401 Unauthorized", fields, "");
}

static void a_silent_401_asks_the_base(void)
{
	struct site *s = site_new(answer_silent_401);
	struct world w;
	struct probe p;

	world_open(&w, ENDPOINT, s->port);
	ask_blob(&w, &p);
	CHECK(p.err == ERR_OK && p.head.status == 200);
	CHECK(site_count(s, "") == 4);
	CHECK_STR(site_asked(s, 2)->target,
		  "/token?scope=repository%3Alib%2Fimg%3Apull");
	world_close(&w);
	site_free(&s);
}

/* number: the status of the token server. */
static void answer_no_token(struct site *s, int fd, const struct request *rq)
{
	char fields[256], status[32];

	if (strncmp(rq->target, "/token", 6) == 0) {
		snprintf(status, sizeof(status), "%d No", s->number);
		say_all(fd, status, "", "{}");
		return;
	}
	snprintf(fields, sizeof(fields),
		 "WWW-Authenticate: Bearer realm=\"http://127.0.0.1:%u/token\""
		 "\r\n",
		 s->port);
	say_all(fd, "401 Unauthorized", fields, "");
}

static void what_the_token_server_refuses_is_denied(void)
{
	static const struct {
		int status;
		enum err err;
	} rows[] = {
	    {401, ERR_DENIED},       {403, ERR_DENIED},
	    {429, ERR_LIMITED},      {503, ERR_UNAVAILABLE},
	    {404, ERR_BAD_UPSTREAM}, {200, ERR_BAD_UPSTREAM},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct site *s = site_new(answer_no_token);
		struct world w;
		struct probe p;

		s->number = rows[i].status;
		world_open(&w, ENDPOINT, s->port);
		ask_blob(&w, &p);
		CHECK(p.err == rows[i].err && !p.had_head);
		CHECK(strncmp(p.why.text, "up.test", 7) == 0);
		CHECK(site_count(s, "/token") == 1);
		world_close(&w);
		site_free(&s);
	}
}

/* ---- credentials ---- */

static void answer_login(struct site *s, int fd, const struct request *rq)
{
	const char *auth = request_field(rq, "Authorization");
	char fields[256];
	bool ours;

	(void)s;
	/* me:secret */
	ours = auth && strcmp(auth, "Basic bWU6c2VjcmV0") == 0;
	if (strncmp(rq->target, "/token", 6) == 0) {
		say_all(fd, "200 OK", "",
			ours ? "{\"token\": \"mine\"}"
			     : "{\"token\": \"nobody\"}");
		return;
	}
	if (auth && (ours || strcmp(auth, "Bearer mine") == 0)) {
		say_all(fd, "200 OK", "", "yes");
		return;
	}
	snprintf(fields, sizeof(fields),
		 s->flag ? "WWW-Authenticate: Basic realm=\"%u\"\r\n"
			 : "WWW-Authenticate: Bearer "
			   "realm=\"http://127.0.0.1:%u/token\"\r\n",
		 s->port);
	say_all(fd, "401 Unauthorized", fields, "");
}

#define LOGIN ", \"username\": \"me\", \"password\": \"secret\""

static void credentials_go_to_the_token_server(void)
{
	struct site *s = site_new(answer_login);
	struct world w;
	struct probe p;

	world_open(&w, ENDPOINT LOGIN, s->port);
	ask_blob(&w, &p);
	CHECK(p.err == ERR_OK && p.head.status == 200 && p.head.authorized);
	CHECK(strstr(site_asked(s, 1)->target, "account=me"));
	/* Anonymous calls have tokens of their own. */
	probe_init(&w, &p, CALL_BLOB, DIGEST);
	p.spec.anonymous = true;
	probe_run(&p);
	CHECK(p.err == ERR_OK && p.head.status == 401 && !p.head.authorized);
	CHECK(site_count(s, "/token") == 2);
	CHECK(!request_field(site_asked(s, 3), "Authorization"));
	world_close(&w);
	site_free(&s);
}

static void basic_is_answered_with_credentials(void)
{
	struct site *s = site_new(answer_login);
	struct world w;
	struct probe p;

	s->flag = true;
	world_open(&w, ENDPOINT LOGIN, s->port);
	ask_blob(&w, &p);
	CHECK(p.err == ERR_OK && p.head.status == 200 && p.head.authorized);
	CHECK(site_count(s, "") == 2);
	ask_blob(&w, &p);
	CHECK(p.head.status == 200 && site_count(s, "") == 3);
	world_close(&w);

	world_open(&w, ENDPOINT, s->port);
	ask_blob(&w, &p);
	CHECK(p.err == ERR_DENIED && !p.had_head);
	CHECK(strstr(p.why.text, "wants a user and a password"));
	world_close(&w);
	site_free(&s);
}

/* An identity token: number is what a POST is answered with. */
static void answer_identity(struct site *s, int fd, const struct request *rq)
{
	char fields[256], status[32];
	bool token = strncmp(rq->target, "/token", 6) == 0;

	if (token && strcmp(rq->method, "POST") == 0) {
		snprintf(status, sizeof(status), "%d Well", s->number);
		say_all(fd, status, "",
			strstr(rq->body, "refresh_token=secret") &&
				s->number == 200
			    ? "{\"access_token\": \"mine\"}"
			    : "{}");
		return;
	}
	if (token) {
		say_all(fd, "200 OK", "", "{\"token\": \"mine\"}");
		return;
	}
	if (request_field(rq, "Authorization")) {
		say_all(fd, "200 OK", "", "yes");
		return;
	}
	snprintf(fields, sizeof(fields),
		 "WWW-Authenticate: Bearer realm=\"http://127.0.0.1:%u/token\""
		 "\r\n",
		 s->port);
	say_all(fd, "401 Unauthorized", fields, "");
}

static void identity_tokens_are_posted_and_else_shown(void)
{
	static const struct {
		int status;
		unsigned asked;
		enum err err;
	} rows[] = {
	    {200, 3, ERR_OK}, {404, 4, ERR_OK}, {405, 4, ERR_OK},
	    {400, 4, ERR_OK}, {401, 4, ERR_OK}, {403, 2, ERR_DENIED},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct site *s = site_new(answer_identity);
		struct world w;
		struct probe p;

		s->number = rows[i].status;
		world_open(&w,
			   ENDPOINT ", \"username\": \"<token>\", "
				    "\"password\": \"secret\"",
			   s->port);
		ask_blob(&w, &p);
		CHECK(p.err == rows[i].err &&
		      site_count(s, "") == rows[i].asked);
		CHECK_STR(site_asked(s, 1)->method, "POST");
		if (site_count(s, "") == 4)
			/* <token>:secret */
			CHECK_STR(
			    request_field(site_asked(s, 2), "Authorization"),
			    "Basic PHRva2VuPjpzZWNyZXQ=");
		CHECK(p.err || p.head.authorized);
		world_close(&w);
		site_free(&s);
	}
}

static void answer_foreign_realm(struct site *s, int fd,
				 const struct request *rq)
{
	char fields[256];

	if (strncmp(rq->target, "/token", 6) == 0) {
		s->flag = true;
		say_all(fd, "200 OK", "", "{\"token\": \"x\"}");
		return;
	}
	if (request_field(rq, "Authorization")) {
		say_all(fd, "200 OK", "", "yes");
		return;
	}
	snprintf(fields, sizeof(fields),
		 "WWW-Authenticate: Bearer realm=\"http://localhost:%u/token\""
		 "\r\n",
		 s->port);
	say_all(fd, "401 Unauthorized", fields, "");
}

static void credentials_need_a_trusted_realm(void)
{
	struct site *s = site_new(answer_foreign_realm);
	struct world w;
	struct probe p;

	world_open(&w, ENDPOINT LOGIN, s->port);
	ask_blob(&w, &p);
	CHECK(p.err == ERR_BAD_UPSTREAM && !s->flag);
	CHECK(strstr(p.why.text, "token_realms"));
	world_close(&w);

	world_open(&w, ENDPOINT LOGIN ", \"token_realms\": [\"localhost:%u\"]",
		   s->port, s->port);
	ask_blob(&w, &p);
	CHECK(p.err == ERR_OK && p.head.status == 200 && s->flag);
	world_close(&w);

	/* Nothing to protect: anybody may be asked for a token. */
	world_open(&w, ENDPOINT, s->port);
	ask_blob(&w, &p);
	CHECK(p.err == ERR_OK && p.head.status == 200);
	world_close(&w);
	site_free(&s);
}

/* ---- redirects ---- */

/* number: the port to lead to; 0: its own. */
static void answer_redirect(struct site *s, int fd, const struct request *rq)
{
	const char *auth = request_field(rq, "Authorization");
	char fields[512];

	if (strncmp(rq->target, "/token", 6) == 0) {
		say_all(fd, "200 OK", "", "{\"token\": \"x\"}");
		return;
	}
	if (strncmp(rq->target, "/v2/", 4) != 0) {
		say_all(fd, "200 OK", "", "signed");
		return;
	}
	if (!auth) {
		snprintf(fields, sizeof(fields),
			 "WWW-Authenticate: Bearer "
			 "realm=\"http://127.0.0.1:%u/token\"\r\n",
			 s->port);
		say_all(fd, "401 Unauthorized", fields, "");
		return;
	}
	snprintf(fields, sizeof(fields),
		 "Docker-Content-Digest: " DIGEST "\r\n"
		 "Location: http://127.0.0.1:%d/signed?x=1&y=a b\r\n",
		 s->number ? s->number : s->port);
	say_all(fd, "307 Temporary Redirect", fields, "<a>moved</a>");
}

static void authorization_is_dropped_across_ports(void)
{
	struct site *s = site_new(answer_redirect);
	struct site *cdn = site_new(answer_redirect);
	struct world w;
	struct probe p;
	char text[DIGEST_TEXT_MAX];

	s->number = cdn->port;
	world_open(&w, ENDPOINT, s->port);
	probe_init(&w, &p, CALL_BLOB, DIGEST);
	p.spec.ranged = true;
	p.spec.first = 5;
	probe_run(&p);
	CHECK(p.err == ERR_OK && p.head.status == 200 && p.len == 6);
	CHECK(!p.head.from_registry && !p.head.authorized);
	CHECK(p.head.has_digest);
	CHECK_STR(digest_text(&p.head.digest, text), DIGEST);
	CHECK(site_count(cdn, "") == 1);
	CHECK_STR(site_asked(cdn, 0)->target, "/signed?x=1&y=a%20b");
	CHECK(!request_field(site_asked(cdn, 0), "Authorization"));
	CHECK_STR(request_field(site_asked(cdn, 0), "Range"), "bytes=5-");

	s->number = 0; /* at home it is kept */
	ask_blob(&w, &p);
	CHECK(p.head.status == 200 && !p.head.from_registry);
	CHECK_STR(request_field(site_asked(s, site_count(s, "") - 1),
				"Authorization"),
		  "Bearer x");
	world_close(&w);
	site_free(&s);
	site_free(&cdn);
}

static void answer_kept(struct site *s, int fd, const struct request *rq)
{
	(void)rq;
	say(fd,
	    "HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 5\r\n"
	    "Location: http://127.0.0.1:%d/signed\r\n\r\nmoved",
	    s->number);
}

static void a_used_connection_is_judged_like_a_new_one(void)
{
	struct site *s = site_new(answer_kept);
	struct site *cdn = site_new(answer_redirect);
	struct world w;
	struct probe p;

	s->number = cdn->port;
	s->keep = true;
	world_open(&w, ENDPOINT, s->port);
	for (int i = 0; i < 3; i++) {
		/* The class of the endpoint allows its redirect. */
		ask_blob(&w, &p);
		CHECK(p.err == ERR_OK && p.head.status == 200);
	}
	CHECK(site_count(s, "") == 3 && s->visits == 1);
	world_close(&w);
	site_free(&s);
	site_free(&cdn);
}

static void answer_for_ever(struct site *s, int fd, const struct request *rq)
{
	(void)s;
	(void)rq;
	say_all(fd, "302 Found", "Location: ?again\r\n", "");
}

static void redirects_are_counted(void)
{
	struct site *s = site_new(answer_for_ever);
	struct world w;
	struct probe p;

	world_open(&w, ENDPOINT ", \"max_redirects\": 3", s->port);
	ask_blob(&w, &p);
	CHECK(p.err == ERR_BAD_UPSTREAM && !p.had_head);
	CHECK(strstr(p.why.text, "max_redirects"));
	CHECK(site_count(s, "") == 4);
	world_close(&w);
	site_free(&s);
}

static void answer_link_local(struct site *s, int fd, const struct request *rq)
{
	(void)s;
	(void)rq;
	say_all(fd, "307 Temporary Redirect",
		"Location: http://169.254.169.254/latest/meta-data\r\n", "");
}

static void a_redirect_to_a_forbidden_address_is_refused(void)
{
	struct site *s = site_new(answer_link_local);
	struct world w;
	struct probe p;

	world_open(&w, ENDPOINT ", \"redirect_allow\": [\"169.254.0.0/16\"]",
		   s->port);
	ask_blob(&w, &p);
	CHECK(p.err == ERR_BAD_UPSTREAM && !p.had_head);
	CHECK(strstr(p.why.text, "up.test") &&
	      strstr(p.why.text, "169.254.169.254"));
	world_close(&w);
	site_free(&s);
}

static void an_endpoint_at_a_forbidden_address_is_refused(void)
{
	struct world w;
	struct probe p;

	world_open(&w, "\"endpoints\": [\"http://169.254.1.1:5000\"]");
	ask_blob(&w, &p);
	CHECK(p.err == ERR_BAD_UPSTREAM && strstr(p.why.text, "never dialled"));
	CHECK(!upstream_is_out(p.spec.up));
	world_close(&w);
}

/* A proxy for all; number: which target the redirect has. */
static void answer_as_proxy(struct site *s, int fd, const struct request *rq)
{
	static const char *const targets[] = {
	    "http://127.0.0.1/x", "http://localhost/x",
	    "http://169.254.169.254/x", "http://[::ffff:10.0.0.1]/x",
	    "http://cdn.example/x"};
	char fields[256];

	if (strncmp(rq->target, "http://registry.example/v2/", 27) != 0) {
		say_all(fd, "200 OK", "", "far away");
		return;
	}
	snprintf(fields, sizeof(fields), "Location: %s\r\n",
		 targets[s->number]);
	say_all(fd, "307 Temporary Redirect", fields, "");
}

static void through_a_proxy_names_are_judged(void)
{
	struct site *s = site_new(answer_as_proxy);
	struct world w;
	struct probe p;

	/* No name of these is ever looked up: none of them exists. */
	world_open(&w,
		   "\"endpoints\": [\"http://registry.example\"], "
		   "\"proxy\": \"http://127.0.0.1:%u\"",
		   s->port);
	for (s->number = 0; s->number < 4; s->number++) {
		ask_blob(&w, &p);
		CHECK(p.err == ERR_BAD_UPSTREAM && !p.had_head);
		CHECK(strncmp(p.why.text, "up.test", 7) == 0);
	}
	ask_blob(&w, &p);
	CHECK(p.err == ERR_OK && p.head.status == 200 && p.len == 8);
	CHECK_STR(site_asked(s, site_count(s, "") - 1)->target,
		  "http://cdn.example/x");
	world_close(&w);

	world_open(&w,
		   "\"endpoints\": [\"http://registry.example\"], "
		   "\"redirect_allow\": [\"127.0.0.0/8\", \"169.254.0.0/16\"], "
		   "\"proxy\": \"http://127.0.0.1:%u\"",
		   s->port);
	s->number = 0;
	ask_blob(&w, &p);
	CHECK(p.err == ERR_OK && p.head.status == 200);
	s->number = 2; /* whatever the list says */
	ask_blob(&w, &p);
	CHECK(p.err == ERR_BAD_UPSTREAM);
	s->number = 3;
	ask_blob(&w, &p);
	CHECK(p.err == ERR_BAD_UPSTREAM &&
	      strstr(p.why.text, "redirect_allow"));
	world_close(&w);
	site_free(&s);
}

/* ---- endpoints ---- */

static uint16_t closed_port(void)
{
	struct site *s = site_new(answer_429);
	uint16_t port = s->port;

	site_free(&s);
	return port;
}

static void the_next_endpoint_serves_when_one_is_down(void)
{
	struct site *s = site_new(answer_ranges);
	uint16_t dead = closed_port();
	struct world w;
	struct probe p;

	world_open(&w,
		   "\"endpoints\": [\"http://127.0.0.1:%u\", "
		   "\"http://127.0.0.1:%u\"]",
		   dead, s->port);
	ask_blob(&w, &p);
	CHECK(p.err == ERR_OK && p.head.status == 200 && p.head.endpoint == 1);
	CHECK(!upstream_is_out(p.spec.up));
	world_close(&w);
	site_free(&s);
}

static void an_outage_names_the_upstream(void)
{
	struct world w;
	struct probe p;

	world_open(&w, ENDPOINT, closed_port());
	ask_blob(&w, &p);
	CHECK(p.err == ERR_UNAVAILABLE && !p.had_head);
	CHECK(strncmp(p.why.text, "up.test cannot be reached", 25) == 0);
	CHECK(upstream_is_out(p.spec.up));
	world_close(&w);
}

static void answer_503(struct site *s, int fd, const struct request *rq)
{
	(void)s;
	(void)rq;
	say_all(fd, "503 Service Unavailable", "", "no");
}

static void a_5xx_is_tried_elsewhere_and_the_last_is_told(void)
{
	struct site *bad = site_new(answer_503), *worse = site_new(answer_503);
	struct site *good = site_new(answer_ranges);
	struct world w;
	struct probe p;

	world_open(&w,
		   "\"endpoints\": [\"http://127.0.0.1:%u\", "
		   "\"http://127.0.0.1:%u\"]",
		   bad->port, good->port);
	ask_blob(&w, &p);
	CHECK(p.err == ERR_OK && p.head.status == 200 && p.heads == 1);
	world_close(&w);
	world_open(&w,
		   "\"endpoints\": [\"http://127.0.0.1:%u\", "
		   "\"http://127.0.0.1:%u\"]",
		   bad->port, worse->port);
	ask_blob(&w, &p);
	CHECK(p.err == ERR_OK && p.head.status == 503 && p.head.endpoint == 1);
	world_close(&w);
	site_free(&bad);
	site_free(&worse);
	site_free(&good);
}

static void answer_cut(struct site *s, int fd, const struct request *rq)
{
	(void)s;
	(void)rq;
	say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
}

static void a_break_after_the_head_is_the_callers(void)
{
	struct site *s = site_new(answer_cut);
	struct world w;
	struct probe p;

	world_open(&w, ENDPOINT, s->port);
	ask_blob(&w, &p);
	CHECK(p.err == ERR_UNAVAILABLE && p.had_head && p.len == 4);
	CHECK(strncmp(p.why.text, "up.test broke off", 17) == 0);
	world_close(&w);
	site_free(&s);
}

static void answer_never(struct site *s, int fd, const struct request *rq)
{
	char byte;

	(void)s;
	(void)rq;
	while (recv(fd, &byte, 1, 0) > 0)
		;
}

static void a_mute_endpoint_times_out(void)
{
	struct site *s = site_new(answer_never);
	struct world w;
	struct probe p;

	world_open(&w, ENDPOINT ", \"first_byte\": \"100ms\"", s->port);
	ask_blob(&w, &p);
	CHECK(p.err == ERR_TIMEOUT && !p.had_head);
	CHECK(upstream_is_out(p.spec.up));
	world_close(&w);
	site_free(&s);
}

/* ---- limits ---- */

/* number: how many at once, at most. */
static void answer_slowly(struct site *s, int fd, const struct request *rq)
{
	static int running;
	int n = __atomic_add_fetch(&running, 1, __ATOMIC_SEQ_CST);

	(void)rq;
	pthread_mutex_lock(&s->mu);
	s->number = MAX(s->number, n);
	pthread_mutex_unlock(&s->mu);
	usleep(250000);
	__atomic_sub_fetch(&running, 1, __ATOMIC_SEQ_CST);
	say_all(fd, "200 OK", "", "slow");
}

static void blob_connections_are_limited(void)
{
	enum { N = 6 };
	struct site *s = site_new(answer_slowly);
	struct probe *p = xcalloc(N, sizeof(*p));
	struct world w;

	/* No deadline runs in the line: six in a row take longer. */
	world_open(&w,
		   ENDPOINT ", \"connections\": 2, \"first_byte\": \"600ms\"",
		   s->port);
	for (int i = 0; i < N; i++) {
		probe_init(&w, &p[i], CALL_BLOB, DIGEST);
		probe_start(&p[i]);
	}
	for (int i = 0; i < N; i++) {
		probe_wait(&p[i]);
		CHECK(p[i].err == ERR_OK && p[i].head.status == 200);
	}
	CHECK(s->number == 2 && site_count(s, "") == N);
	free(p);
	world_close(&w);
	site_free(&s);
}

static void answer_much(struct site *s, int fd, const struct request *rq)
{
	char block[1024];

	(void)rq;
	memset(block, 'x', sizeof(block));
	say(fd,
	    "HTTP/1.1 200 OK\r\nConnection: close\r\n"
	    "Content-Length: %d\r\n\r\n",
	    s->number * 1024);
	for (int i = 0; i < s->number; i++)
		say(fd, "%.*s", (int)sizeof(block), block);
}

static void a_paused_call_goes_on_where_it_was(void)
{
	struct site *s = site_new(answer_much);
	struct world w;
	struct probe p;
	bool same = true;

	s->number = 48;
	world_open(&w, ENDPOINT, s->port);
	probe_init(&w, &p, CALL_BLOB, DIGEST);
	p.pauses = 3;
	probe_run(&p);
	CHECK(p.err == ERR_OK && p.len == 48 * 1024 && p.pauses == 0);
	for (size_t i = 0; i < p.len; i++)
		same = same && p.body[i] == 'x';
	CHECK(same);
	world_close(&w);
	site_free(&s);
}

static void the_rate_is_kept_by_all_blobs_together(void)
{
	struct site *s = site_new(answer_much);
	struct probe *p = xcalloc(2, sizeof(*p));
	struct world w;
	uint64_t before;

	/* Twice 4 MiB; libcurl's first second is not held back. */
	s->number = 4096;
	world_open(&w, ENDPOINT ", \"max_rate\": \"2M\"", s->port);
	before = now_ms();
	for (int i = 0; i < 2; i++) {
		probe_init(&w, &p[i], CALL_BLOB, DIGEST);
		probe_start(&p[i]);
	}
	for (int i = 0; i < 2; i++) {
		probe_wait(&p[i]);
		CHECK(p[i].err == ERR_OK && p[i].len == 4096 * 1024);
	}
	CHECK(now_ms() - before >= 1000);
	free(p);
	world_close(&w);
	site_free(&s);
}

/* ---- ends ---- */

static void a_call_may_be_stopped_at_its_head(void)
{
	struct site *s = site_new(answer_much);
	struct world w;
	struct probe p;

	s->number = 1000;
	world_open(&w, ENDPOINT, s->port);
	probe_init(&w, &p, CALL_BLOB, DIGEST);
	p.stop_at_head = true;
	probe_run(&p);
	CHECK(p.err == ERR_OK && p.had_head && p.len == 0);
	world_close(&w);
	site_free(&s);
}

static void a_call_may_be_cancelled_from_its_callbacks(void)
{
	struct site *s = site_new(answer_much);
	struct world w;
	struct probe p;

	s->number = 100;
	world_open(&w, ENDPOINT, s->port);
	probe_init(&w, &p, CALL_BLOB, DIGEST);
	p.cancel_in_head = true;
	probe_run(&p);
	CHECK(p.cancelled && p.heads == 1 && p.len == 0);
	probe_init(&w, &p, CALL_BLOB, DIGEST);
	p.cancel_in_data = true;
	probe_run(&p);
	CHECK(p.cancelled && p.heads == 1 && p.len == 0);
	world_close(&w);
	site_free(&s);
}

static void probe_cancel_now(void *arg)
{
	struct probe *p = arg;

	if (p->call)
		probe_cancel(p);
}

/* Whatever it is waiting for: a lookup, a token, a head, a body. */
static void a_call_may_be_cancelled_at_any_time(void)
{
	struct site *s = site_new(answer_redirect);
	struct site *cdn = site_new(answer_slowly);
	unsigned cancelled = 0;
	struct world w;

	s->number = cdn->port;
	for (unsigned us = 0; us < 60000; us += 2000) {
		struct probe p;

		world_open(&w, ENDPOINT, s->port);
		probe_init(&w, &p, CALL_BLOB, DIGEST);
		probe_start(&p);
		if (us)
			usleep(us / 10);
		loop_call(w.loop, probe_cancel_now, &p);
		probe_wait(&p);
		cancelled += p.cancelled;
		world_close(&w);
		if (site_count(s, "") > SITE_REQUESTS - 8)
			break;
	}
	CHECK(cancelled > 10);
	site_free(&s);
	site_free(&cdn);
}

static void calls_that_run_end_with_the_caller(void)
{
	struct site *s = site_new(answer_never);
	struct world w;
	struct probe p, q;

	world_open(&w, ENDPOINT ", \"connections\": 1", s->port);
	probe_init(&w, &p, CALL_BLOB, DIGEST);
	probe_init(&w, &q, CALL_BLOB, DIGEST);
	probe_start(&p);
	probe_start(&q);
	usleep(50000);
	world_close(&w);
	probe_wait(&p);
	probe_wait(&q);
	CHECK(p.err == ERR_CANCELED && q.err == ERR_CANCELED);
	site_free(&s);
}

/* ---- small ones ---- */

struct small {
	struct world *w;
	size_t max;
	enum err err;
	unsigned status;
	char body[64];
	struct call_small *call;
	sem_t done;
};

static void small_cb(void *arg, enum err err, const struct call_answer *answer,
		     const struct why *why)
{
	struct small *m = arg;

	(void)why;
	m->err = err;
	m->status = answer->head ? answer->head->status : 0;
	snprintf(m->body, sizeof(m->body), "%.*s", (int)answer->len,
		 (const char *)answer->body);
	sem_post(&m->done);
}

static void small_begin(void *arg)
{
	struct small *m = arg;
	struct call_spec spec = {
	    .up = upstream_find(m->w->ups, "up.test"),
	    .repo = "lib/img",
	    .what = CALL_TAGS,
	    .reference = "",
	};

	m->call = call_small_start(m->w->caller, &spec, m->max, small_cb, m);
}

static void small_answers_are_collected(void)
{
	struct site *s = site_new(answer_list);
	struct small m = {.max = 20};
	struct world w;

	world_open(&w, ENDPOINT, s->port);
	m.w = &w;
	sem_init(&m.done, 0, 0);
	loop_call(w.loop, small_begin, &m);
	sem_wait(&m.done);
	CHECK(m.err == ERR_OK && m.status == 200);
	CHECK_STR(m.body, "{\"tags\": [\"a\", \"b\"]}");
	m.max = 19;
	loop_call(w.loop, small_begin, &m);
	sem_wait(&m.done);
	CHECK(m.err == ERR_TOO_BIG && m.status == 0);
	world_close(&w);
	sem_destroy(&m.done);
	site_free(&s);
}

int main(void)
{
	RUN(a_manifest_comes_with_its_facts);
	RUN(ranges_are_asked_for_and_told);
	RUN(a_list_page_names_the_next);
	RUN(error_statuses_are_answers);
	RUN(a_challenge_is_answered_with_a_token);
	RUN(one_token_is_fetched_for_many);
	RUN(a_revoked_token_is_renewed_once);
	RUN(the_scope_of_the_challenge_is_asked_for);
	RUN(a_head_without_end_is_refused);
	RUN(a_silent_401_asks_the_base);
	RUN(what_the_token_server_refuses_is_denied);
	RUN(credentials_go_to_the_token_server);
	RUN(basic_is_answered_with_credentials);
	RUN(identity_tokens_are_posted_and_else_shown);
	RUN(credentials_need_a_trusted_realm);
	RUN(authorization_is_dropped_across_ports);
	RUN(a_used_connection_is_judged_like_a_new_one);
	RUN(redirects_are_counted);
	RUN(a_redirect_to_a_forbidden_address_is_refused);
	RUN(an_endpoint_at_a_forbidden_address_is_refused);
	RUN(through_a_proxy_names_are_judged);
	RUN(the_next_endpoint_serves_when_one_is_down);
	RUN(an_outage_names_the_upstream);
	RUN(a_5xx_is_tried_elsewhere_and_the_last_is_told);
	RUN(a_break_after_the_head_is_the_callers);
	RUN(a_mute_endpoint_times_out);
	RUN(blob_connections_are_limited);
	RUN(a_paused_call_goes_on_where_it_was);
	RUN(the_rate_is_kept_by_all_blobs_together);
	RUN(a_call_may_be_stopped_at_its_head);
	RUN(a_call_may_be_cancelled_from_its_callbacks);
	RUN(a_call_may_be_cancelled_at_any_time);
	RUN(calls_that_run_end_with_the_caller);
	RUN(small_answers_are_collected);
	return unit_done();
}
