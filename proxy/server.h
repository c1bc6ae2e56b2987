/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_SERVER_H
#define PROXY_SERVER_H
/*
 * The daemon's long-lived parts, in one open struct, built by server.c in the
 * order of its members and torn down in the reverse order.  Set before the
 * first loop starts and constant from then on, but for what says otherwise.
 */
#include "proxy/conf.h"
#include "proxy/conn.h"
#include "proxy/job.h"
#include "proxy/loop.h"

struct cache;
struct mirror;          /* proxy/mirror.h: everything that asks upstreams */
struct control;         /* proxy/control.h */
struct chores;          /* proxy/chores.h */
struct acceptor;        /* proxy/listen.h */
struct upload_sessions; /* proxy/upload_session.h */
struct hooks;           /* proxy/hook.h */

/* What a serve loop keeps for its connections.  Own loop, but for the
 * atomics. */
struct serve {
	struct server *server;
	struct loop *loop;
	LIST_HEAD(, conn) conns;
	unsigned n_conns; /* atomic: the acceptor picks the fewest */
	/* The configuration that new requests get; one reference.  server.c
	 * sets it before the loop starts and replaces it by a message after a
	 * reload, so that a request needs no mutex. */
	struct conf *conf;
	/* Its name table (proxy/conf_names.h), made at the first request;
	 * request_names_free(serve) when the loop has stopped. */
	struct conf_names *names;
};

struct server {
	struct cache *cache;
	struct jobs *jobs;
	struct strand *lists; /* who makes pages of lists */
	struct upload_sessions *uploads;
	struct mirror *mirror;
	struct hooks *hooks;
	struct serve *serves;
	unsigned n_serves;
	struct loop *accept_loop;
	struct acceptor *acceptor;
	struct control *control;
	struct chores *chores;
	struct conn_limits conn_limits;
	uint64_t files;          /* RLIMIT_NOFILE */
	bool metrics_apart;      /* /metrics has listeners of its own */
	bool draining;           /* atomic */
	bool stopping;           /* atomic: leftover work may be left again */
	struct conf *conf_start; /* what is not reloadable is as it says */
	struct conf *conf_now;   /* under conf_mu in server.c */
};

/*
 * Lifetime, on the main thread
 *
 *   server_start -> (server_tick, server_reload)* -> server_drain
 *     -> (server_is_idle)* -> server_stop
 */

/*
 * Open the sockets and the data folder, start every thread, accept.  `s` is
 * zeroed memory.  On an error (ERR_INVALID: what the configuration or the
 * environment says cannot be used; ERR_BUSY: another daemon has the folder;
 * ERR_IO, ERR_CORRUPT, ...) nothing runs.
 */
enum err server_start(struct server *s, struct conf *conf,
		      struct why *why) MUST_CHECK;
/* Take over what is reloadable in `conf`; whatever works keeps the one it has
 * until it is done. */
void server_reload(struct server *s, struct conf *conf);
/* Every few seconds: what has been used is written down. */
void server_tick(struct server *s);
/* Accept no more; idle connections close, busy ones after their reply. */
void server_drain(struct server *s);
/* Has the last client gone?  After server_drain(). */
bool server_is_idle(struct server *s);
/* Cut what is left, stop every thread, close. */
void server_stop(struct server *s);

/* Register what /metrics asks us for (server_metrics.c). */
void server_metrics(struct server *s);

/* The configuration now, with a reference that the caller drops with
 * conf_unref(); SIGHUP replaces it.  Any thread. */
struct conf *server_conf(struct server *s);

/* What new requests of this loop get; borrowed.  Own loop. */
static inline struct conf *serve_conf(const struct serve *s)
{
	return s->conf;
}

/* The serve loop of the calling thread. */
struct serve *server_serve(struct server *s, struct loop *l);

#endif
