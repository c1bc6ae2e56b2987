/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/mirror.h"

#include "proxy/flight.h"
#include "proxy/hook.h"
#include "proxy/question.h"
#include "proxy/server.h"

#include <pthread.h>
#include <unistd.h>

/*
 * Lifetime
 *   mirror_new     main thread; nothing runs
 *   mirror_start   the fetch loop runs: mirror_ask, flight_join
 *   mirror_reload  any number of times
 *   mirror_stop    close on the loop, wait for what is with workers and the
 *                  index, stop the loop
 *   mirror_free
 */

/* Which upstreams there are, for serve loops.  Never written after it is
 * shown; those that a reload replaces are kept to the end, as somebody may
 * still be reading them. */
struct roll {
	struct roll *before;
	size_t n;
	struct upstream *up[];
};

struct mirror {
	struct server *server;
	struct loop *loop;
	struct conf *conf; /* what the upstreams have now; fetch loop */
	struct upstreams *upstreams;
	struct caller *caller;
	struct flights *flights;
	struct questions *questions;
	struct roll *roll; /* atomic */
	bool started, stopped;
};

struct loop *mirror_loop(struct mirror *m)
{
	return m->loop;
}

struct upstreams *mirror_upstreams(struct mirror *m)
{
	return m->upstreams;
}

struct caller *mirror_caller(struct mirror *m)
{
	return m->caller;
}

struct flights *mirror_flights(struct mirror *m)
{
	return m->flights;
}

struct server *mirror_server(struct mirror *m)
{
	return m->server;
}

struct conf *mirror_conf(struct mirror *m)
{
	return m->conf;
}

/* ---- buffers ---- */

struct buffer *buffer_new(const void *bytes, size_t len)
{
	struct buffer *b = xmalloc(sizeof(*b) + len);

	b->refs = 1;
	b->len = len;
	if (len)
		memcpy(b->bytes, bytes, len);
	return b;
}

struct buffer *buffer_ref(struct buffer *b)
{
	__atomic_add_fetch(&b->refs, 1, __ATOMIC_RELAXED);
	return b;
}

void buffer_unref(struct buffer **bp)
{
	struct buffer *b = *bp;

	*bp = NULL;
	if (b && __atomic_sub_fetch(&b->refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(b);
}

/* ---- asking ---- */

struct asking {
	struct message msg;
	struct mirror *mirror;
	struct mirror_ask ask;
	struct waiter *waiter;
	char upstream[REPO_HOST_MAX + 1];
	char repo[REPO_NAME_MAX + 1];
	char reference[ASK_REFERENCE_MAX + 1];
	char query[ASK_QUERY_MAX];
};

static void asking_run(struct message *msg, void *object)
{
	struct asking *a = container_of(msg, struct asking, msg);

	(void)object;
	question_ask(a->mirror->questions, &a->ask, a->waiter);
	free(a);
}

/* Routes and names have bounded them all. */
static const char *copy(char *out, size_t size, const char *text)
{
	int n = snprintf(out, size, "%s", text ? text : "");

	assert(n >= 0 && (size_t)n < size);
	(void)n;
	return out;
}

void mirror_ask(struct mirror *m, const struct mirror_ask *ask,
		struct loop *home, struct handle to, uint32_t magic,
		void (*run)(struct message *msg, void *object))
{
	struct asking *a = xcalloc(1, sizeof(*a));

	a->msg.run = asking_run;
	a->mirror = m;
	a->ask = *ask;
	a->ask.upstream = copy(a->upstream, sizeof(a->upstream), ask->upstream);
	a->ask.repo = copy(a->repo, sizeof(a->repo), ask->repo);
	a->ask.reference =
	    copy(a->reference, sizeof(a->reference), ask->reference);
	a->ask.query = copy(a->query, sizeof(a->query), ask->query);
	a->waiter = xcalloc(1, sizeof(*a->waiter));
	a->waiter->head_only = ask->head_only;
	a->waiter->since_us = now_us();
	a->waiter->home = home;
	a->waiter->to = to;
	a->waiter->magic = magic;
	a->waiter->run = run;
	loop_post(m->loop, &a->msg);
}

void mirror_answer_free(struct mirror_answer **a)
{
	if (!*a)
		return;
	buffer_unref(&(*a)->body);
	free(*a);
	*a = NULL;
}

void mirror_forget(struct mirror *m, const char *upstream, const char *repo)
{
	questions_forget(m->questions, upstream, repo);
}

/* ---- what serve loops may know ---- */

bool mirror_is_out(struct mirror *m, const char *upstream)
{
	const struct roll *roll = __atomic_load_n(&m->roll, __ATOMIC_ACQUIRE);

	for (size_t i = 0; i < roll->n; i++)
		if (strcmp(upstream_name(roll->up[i]), upstream) == 0)
			return upstream_is_out(roll->up[i]);
	return false;
}

bool mirror_tag_is_out(struct mirror *m, const char *upstream, const char *repo,
		       const char *tag)
{
	char key[QUESTION_KEY_MAX + 1];

	if (memo_is_empty(m->questions->out))
		return false;
	question_tag_key(key, upstream, repo, tag);
	return memo_get(m->questions->out, key, NULL);
}

struct outage {
	struct mirror *mirror;
	char upstream[REPO_HOST_MAX + 1];
	struct why why;
};

/* Fetch loop. */
static void note_outage(void *arg)
{
	struct outage *o = arg;
	struct upstream *up = upstream_find(o->mirror->upstreams, o->upstream);

	if (up)
		upstream_note_outage(up, &o->why);
	free(o);
}

void mirror_note_outage(struct mirror *m, const char *upstream,
			const struct why *why)
{
	struct outage *o = xcalloc(1, sizeof(*o));

	o->mirror = m;
	copy(o->upstream, sizeof(o->upstream), upstream);
	o->why = *why;
	loop_call(m->loop, note_outage, o);
}

static void roll_call(struct mirror *m)
{
	size_t n = m->conf->upstreams.n;
	struct roll *roll =
	    xcalloc(1, sizeof(*roll) + n * sizeof(struct upstream *));

	for (size_t i = 0; i < n; i++)
		roll->up[roll->n++] =
		    upstream_find(m->upstreams, m->conf->upstreams.v[i].name);
	roll->before = m->roll;
	__atomic_store_n(&m->roll, roll, __ATOMIC_RELEASE);
}

/* ---- life ---- */

static void reload(void *arg)
{
	struct mirror *m = arg;
	struct conf *before = m->conf;

	m->conf = server_conf(m->server);
	upstreams_reload(m->upstreams, m->conf);
	roll_call(m);
	conf_unref(&before);
}

void mirror_reload(struct mirror *m)
{
	loop_call(m->loop, reload, m);
}

struct mirror *mirror_new(struct server *s)
{
	struct mirror *m = xcalloc(1, sizeof(*m));

	m->server = s;
	m->loop = loop_new("fetch");
	m->conf = server_conf(s);
	m->upstreams = upstreams_new(m->loop, m->conf);
	roll_call(m);
	m->caller = caller_new(m->loop, m->upstreams, s->jobs);
	m->flights = flights_new(m);
	m->questions = questions_new(m);
	return m;
}

void mirror_start(struct mirror *m)
{
	m->started = true;
	loop_start(m->loop);
}

/* ---- the end ---- */

/* One call that the main thread waits for. */
struct visit {
	struct mirror *mirror;
	bool (*fn)(struct mirror *m);
	bool result;
	bool over;
	pthread_mutex_t mu; /* guards `result` and `over` */
	pthread_cond_t done;
};

static void visit_run(void *arg)
{
	struct visit *v = arg;
	bool result = v->fn(v->mirror);

	pthread_mutex_lock(&v->mu);
	v->result = result;
	v->over = true;
	pthread_cond_signal(&v->done);
	pthread_mutex_unlock(&v->mu);
}

/* Run `fn` on the fetch loop and wait for it. */
static bool visit(struct mirror *m, bool (*fn)(struct mirror *m))
{
	struct visit v = {.mirror = m, .fn = fn};

	if (!m->started)
		return fn(m);
	pthread_mutex_init(&v.mu, NULL);
	pthread_cond_init(&v.done, NULL);
	loop_call(m->loop, visit_run, &v);
	pthread_mutex_lock(&v.mu);
	while (!v.over)
		pthread_cond_wait(&v.done, &v.mu);
	pthread_mutex_unlock(&v.mu);
	pthread_cond_destroy(&v.done);
	pthread_mutex_destroy(&v.mu);
	return v.result;
}

static bool close_all(struct mirror *m)
{
	if (m->server->hooks) /* units of the mirror alone have none */
		hooks_close(m->server->hooks);
	questions_close(m->questions);
	flights_close(m->flights);
	return true;
}

/* Is nothing on its way home that this loop's objects wait for? */
static bool is_quiet(struct mirror *m)
{
	return !m->questions->notes;
}

static bool last_visit(struct mirror *m)
{
	caller_free(&m->caller);
	index_thread_done(cache_index(m->server->cache));
	return true;
}

/*
 * Jobs and notes come home as letters, which may send others out.  It is
 * quiet when the loop has read its mail after the last job had ended, what
 * was deferred then has run (a second visit is in a later turn), and no job
 * has begun since.
 */
static void wait_until_quiet(struct mirror *m)
{
	while (!jobs_idle(m->server->jobs) || !visit(m, is_quiet) ||
	       !visit(m, is_quiet) || !jobs_idle(m->server->jobs))
		usleep(1000);
}

static void rolls_free(struct mirror *m)
{
	struct roll *roll;

	while ((roll = m->roll)) {
		m->roll = roll->before;
		free(roll);
	}
}

void mirror_stop(struct mirror *m)
{
	visit(m, close_all);
	wait_until_quiet(m);
	visit(m, last_visit);
	wait_until_quiet(m);
	loop_stop(m->loop);
	m->stopped = true;
}

void mirror_free(struct mirror **mp)
{
	struct mirror *m = *mp;

	if (!m)
		return;
	*mp = NULL;
	if (!m->stopped)
		mirror_stop(m);
	loop_free(&m->loop);
	flights_free(&m->flights);
	questions_free(&m->questions);
	upstreams_free(&m->upstreams);
	rolls_free(m);
	conf_unref(&m->conf);
	free(m);
}
