/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/server.h"

#include "cache/cache.h"
#include "proxy/chores.h"
#include "proxy/control.h"
#include "proxy/control_commands.h"
#include "proxy/hook.h"
#include "proxy/listen.h"
#include "proxy/log.h"
#include "proxy/metrics.h"
#include "proxy/mirror.h"
#include "proxy/request.h"
#include "proxy/sockets.h"
#include "proxy/upload_session.h"

#include <pthread.h>

/* Descriptors for the index, loops, files of fills, upstreams. */
#define OTHER_FILES 256
#define FEWEST_CONNECTIONS 16

static pthread_mutex_t conf_mu = PTHREAD_MUTEX_INITIALIZER; /* conf_now */

struct conf *server_conf(struct server *s)
{
	struct conf *conf;

	pthread_mutex_lock(&conf_mu);
	conf = conf_ref(s->conf_now);
	pthread_mutex_unlock(&conf_mu);
	return conf;
}

struct serve *server_serve(struct server *s, struct loop *l)
{
	static __thread struct serve *own;

	if (own && own->loop == l)
		return own;
	for (unsigned i = 0; i < s->n_serves; i++) {
		if (s->serves[i].loop != l)
			continue;
		if (loop_current() == l)
			own = &s->serves[i];
		return &s->serves[i];
	}
	assert(!"not a serve loop");
	return NULL;
}

/* ---- what a configuration sets ---- */

/* A client and the upstream that it waits for are two descriptors, an open
 * blob is one. */
static unsigned most_connections(const struct server *s,
				 const struct conf *conf)
{
	uint64_t others = conf->cache.open_blobs + OTHER_FILES;
	uint64_t n;

	if (conf->server.max_connections > 0)
		return conf->server.max_connections;
	n = (s->files - MIN(others, s->files / 2)) / 2;
	return (unsigned)MIN(MAX(n, FEWEST_CONNECTIONS), 10000000);
}

static void store(uint64_t *limit, uint64_t value)
{
	__atomic_store_n(limit, value, __ATOMIC_RELAXED);
}

static void set_conn_limits(struct conn_limits *to, const struct conf *conf)
{
	store(&to->head_ms, conf->server.head_ms);
	store(&to->idle_ms, conf->server.idle_ms);
	store(&to->body_stall_ms, conf->server.body_stall_ms);
	store(&to->write_stall_ms, conf->server.write_stall_ms);
	store(&to->linger_ms, conf->server.lingering_close_ms);
	store(&to->max_head_bytes, conf->server.max_head_bytes);
}

_Static_assert((int)CONF_LOG_ERROR == (int)LOG_ERROR &&
		   (int)CONF_LOG_DEBUG == (int)LOG_DEBUG,
	       "one order of levels");

static void set_log_level(const struct conf *conf)
{
	log_set_level((enum log_level)conf->log_level);
}

/* ---- the cache ---- */

static void on_cache_event(void *arg UNUSED, enum cache_event event,
			   const struct digest *dg, const struct why *why)
{
	char name[DIGEST_TEXT_MAX] = "";

	if (dg)
		digest_text(dg, name);
	switch (event) {
	case CACHE_CORRUPT_BLOB:
		metric_inc(METRIC_CACHE_CORRUPT, 0);
		log_error("cache: %s: %s", name, why->text);
		break;
	case CACHE_DISCARDED:
		metric_inc(METRIC_CACHE_DISCARDED, 0);
		if (why)
			log_warn("cache: %s: discarded: %s", name, why->text);
		break;
	case CACHE_INDEX_LOST:
		log_warn("index: there was none, and blobs/ has files: what "
			 "they hold is fetched again as it is pulled, and "
			 "they stay; stop, and let 'entrepot rebuild' take "
			 "them in or let them go");
		break;
	case CACHE_INDEX_FULL:
		log_error("index: the disk has no room for it to grow, "
			  "nothing new is stored: %s",
			  why->text);
		break;
	case CACHE_INDEX_FAILED:
		log_error("index: cannot be written, nothing new is stored "
			  "until a restart: %s",
			  why->text);
		break;
	case CACHE_INDEX_OK:
		log_info("index: there is room again");
		break;
	}
}

static enum err open_cache(struct server *s, const struct conf *conf,
			   struct why *why)
{
	struct cache_options opt = {
	    .data = conf->data,
	    .min_free_bytes = conf->cache.min_free_bytes,
	    .max_inline_bytes = conf->cache.inline_manifest_max_bytes,
	    .max_open_blobs = conf->cache.open_blobs,
	    .grace_ms = conf->collect.grace_ms,
	    .event = on_cache_event,
	    .event_arg = s,
	};
	enum err err;

	/* Every thread that may read, the index's own and some to spare. */
	opt.index.max_readers = conf->server.loops + conf->workers.data +
				conf->workers.sync + conf->workers.slow + 64;
	err = cache_open(&opt, &s->cache, why);
	if (err == ERR_OK)
		uploads_set_max(s->cache, conf->uploads.max);
	return err;
}

/* Loops and workers, as they end. */
static void thread_end(void *arg)
{
	struct server *s = arg;

	index_thread_done(cache_index(s->cache));
}

/* ---- what the last run has left undone ---- */

struct recovery {
	struct job job;
	struct server *server;
};

/* One piece a job, so that others come in between. */
static void recover(struct job *job)
{
	struct recovery *r = container_of(job, struct recovery, job);
	struct server *s = r->server;

	if (!__atomic_load_n(&s->stopping, __ATOMIC_RELAXED) &&
	    cache_recover_step(s->cache))
		job_submit(s->jobs, &r->job);
	else
		free(r);
}

static void start_recovery(struct server *s)
{
	struct recovery *r = xcalloc(1, sizeof(*r));

	r->server = s;
	r->job.lane = JOB_SLOW;
	r->job.run = recover;
	job_submit(s->jobs, &r->job);
}

/* ---- starting ---- */

static void start_jobs(struct server *s, const struct conf *conf)
{
	struct jobs_options opt = {
	    .threads = {[JOB_DATA] = conf->workers.data,
			[JOB_SYNC] = conf->workers.sync,
			[JOB_SLOW] = conf->workers.slow},
	    .thread_done = thread_end,
	    .thread_done_arg = s,
	};

	s->jobs = jobs_new(&opt);
	s->lists = strand_new(s->jobs);
}

static void make_serve_loops(struct server *s, struct conf *conf)
{
	char name[24];

	s->n_serves = conf->server.loops;
	s->serves = xcalloc(s->n_serves, sizeof(*s->serves));
	for (unsigned i = 0; i < s->n_serves; i++) {
		struct serve *serve = &s->serves[i];

		snprintf(name, sizeof(name), "serve-%u", i);
		serve->server = s;
		serve->loop = loop_new(name);
		loop_on_end(serve->loop, thread_end, s);
		LIST_INIT(&serve->conns);
		serve->conf = conf_ref(conf);
	}
}

static void make_acceptor(struct server *s, const struct conf *conf,
			  struct sockets *sockets)
{
	s->accept_loop = loop_new("accept");
	s->acceptor = acceptor_new(s);
	acceptor_set_max(s->acceptor, most_connections(s, conf));
	for (size_t i = 0; i < sockets->n; i++) {
		acceptor_add(s->acceptor, sockets->v[i].fd,
			     &sockets->v[i].role);
		sockets->v[i].fd = -1;
	}
}

/* All that can fail; no thread but the index's yet. */
static enum err open_all(struct server *s, const struct conf *conf,
			 struct sockets *sockets, struct why *why)
{
	enum err err = sockets_open(conf, sockets, why);

	if (!err)
		err = open_cache(s, conf, why);
	if (!err)
		err = control_open(conf->control, &s->control, why);
	if (err) {
		sockets_release(sockets);
		if (s->cache)
			cache_close(&s->cache);
	}
	return err;
}

static void start_all(struct server *s, struct conf *conf,
		      struct sockets *sockets)
{
	start_jobs(s, conf);
	s->uploads = sessions_new(s->cache, s->jobs);
	make_serve_loops(s, conf);
	make_acceptor(s, conf, sockets);
	s->mirror = mirror_new(s);
	s->hooks = hooks_new(s);
	hooks_reload(s->hooks);
	server_metrics(s);
	mirror_start(s->mirror);
	for (unsigned i = 0; i < s->n_serves; i++)
		loop_start(s->serves[i].loop);
	control_start(s->control, s, control_commands, n_control_commands,
		      thread_end, s);
	acceptor_start(s->acceptor);
	loop_start(s->accept_loop);
	start_recovery(s);
	s->chores = chores_new(s);
}

enum err server_start(struct server *s, struct conf *conf, struct why *why)
{
	struct sockets sockets;
	enum err err;

	s->files = limit_raise_files();
	set_conn_limits(&s->conn_limits, conf);
	err = open_all(s, conf, &sockets, why);
	if (err)
		return err;
	s->metrics_apart = sockets.metrics_apart;
	s->conf_start = conf_ref(conf);
	s->conf_now = conf_ref(conf);
	start_all(s, conf, &sockets);
	sockets_release(&sockets);
	return ERR_OK;
}

/* ---- while it runs ---- */

struct new_conf {
	struct serve *serve;
	struct conf *conf;
};

static void take_conf(void *arg)
{
	struct new_conf *n = arg;

	conf_unref(&n->serve->conf);
	n->serve->conf = n->conf;
	free(n);
}

static void hand_out(struct server *s, struct conf *conf)
{
	for (unsigned i = 0; i < s->n_serves; i++) {
		struct new_conf *n = xcalloc(1, sizeof(*n));

		n->serve = &s->serves[i];
		n->conf = conf_ref(conf);
		loop_call(n->serve->loop, take_conf, n);
	}
}

void server_reload(struct server *s, struct conf *conf)
{
	struct conf *before;

	pthread_mutex_lock(&conf_mu);
	before = s->conf_now;
	s->conf_now = conf_ref(conf);
	pthread_mutex_unlock(&conf_mu);
	conf_unref(&before);
	set_log_level(conf);
	set_conn_limits(&s->conn_limits, conf);
	acceptor_set_max(s->acceptor, most_connections(s, conf));
	cache_set_min_free(s->cache, conf->cache.min_free_bytes);
	cache_set_grace(s->cache, conf->collect.grace_ms);
	uploads_set_max(s->cache, conf->uploads.max);
	mirror_reload(s->mirror);
	hooks_reload(s->hooks);
	hand_out(s, conf);
}

void server_tick(struct server *s)
{
	cache_flush_recency(s->cache);
	sessions_tick(s->uploads);
	chores_tick(s->chores);
}

/* ---- stopping ---- */

static void drain_loop(void *arg)
{
	struct serve *serve = arg;

	conns_drain(serve->server, serve->loop);
}

static void cut_loop(void *arg)
{
	struct serve *serve = arg;

	conns_cut(serve->server, serve->loop);
}

void server_drain(struct server *s)
{
	__atomic_store_n(&s->draining, true, __ATOMIC_RELAXED);
	/* Whoever is in a backlog has been let in before the loop ends. */
	acceptor_stop(s->acceptor);
	loop_stop(s->accept_loop);
	for (unsigned i = 0; i < s->n_serves; i++)
		loop_call(s->serves[i].loop, drain_loop, &s->serves[i]);
}

bool server_is_idle(struct server *s)
{
	for (unsigned i = 0; i < s->n_serves; i++) {
		if (__atomic_load_n(&s->serves[i].n_conns, __ATOMIC_RELAXED))
			return false;
	}
	return true;
}

static void stop_serve_loops(struct server *s)
{
	for (unsigned i = 0; i < s->n_serves; i++)
		loop_call(s->serves[i].loop, cut_loop, &s->serves[i]);
	for (unsigned i = 0; i < s->n_serves; i++)
		loop_stop(s->serves[i].loop);
}

/* Their last letters are read here, and may write to the fetch loop. */
static void free_serve_loops(struct server *s)
{
	for (unsigned i = 0; i < s->n_serves; i++) {
		struct serve *serve = &s->serves[i];

		loop_free(&serve->loop);
		request_names_free(serve);
		conf_unref(&serve->conf);
	}
	free(s->serves);
	s->serves = NULL;
	s->n_serves = 0;
}

/*
 * Threads end first, in the order in which they ask each other; memory goes
 * when nobody is left who could write a letter to it.
 */
void server_stop(struct server *s)
{
	if (!__atomic_load_n(&s->draining, __ATOMIC_RELAXED))
		server_drain(s);
	__atomic_store_n(&s->stopping, true, __ATOMIC_RELAXED);
	control_stop(s->control);
	stop_serve_loops(s);
	mirror_stop(s->mirror);
	cache_settle(s->cache); /* its answers are letters to loops */
	control_free(&s->control);
	acceptor_free(&s->acceptor);
	free_serve_loops(s);
	loop_free(&s->accept_loop);
	mirror_free(&s->mirror);
	hooks_free(&s->hooks);
	sessions_free(&s->uploads);
	strand_free(&s->lists);
	jobs_free(&s->jobs);
	chores_free(&s->chores);
	cache_close(&s->cache);
	conf_unref(&s->conf_start);
	conf_unref(&s->conf_now);
}
