/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_REQUEST_H
#define PROXY_REQUEST_H
/*
 * One request: from a parsed head to an access line.
 *
 *   START ─► ROUTE ─► NAMES ─► LOOKUP (the handler) ─► REPLY ─► DONE
 *     405, 404, 400 ◄──┘         │ ▲
 *                                ▼ │ messages: mirror_answer, flight_answer,
 *                              WAIT   jobs, timers
 *
 * request.c does the steps up to the handler and the last one; a handler is
 * one of serve_base.c, serve_manifest.c, serve_blob.c, serve_list.c.  It
 * replies at once, or asks others and replies when their message arrives.
 * A request lives on its connection's loop; others name it by its handle.
 *
 * Lifetime: request_start() makes it; request_sent() or request_gone() (the
 * peer left first) frees it, after handler->release().
 */
#include "cache/row.h"
#include "proxy/conn.h"
#include "proxy/job.h"
#include "proxy/log.h"
#include "proxy/names.h"
#include "proxy/route.h"
#include "proxy/server.h"

#define REQUEST_MAGIC 0x52455155

/* What X-Cache and the access line say. */
enum verdict {
	VERDICT_NONE,        /* "-" */
	VERDICT_HIT,         /* from the cache, nobody was asked */
	VERDICT_MISS,        /* fetched for this request */
	VERDICT_JOINED,      /* another request was fetching it */
	VERDICT_REVALIDATED, /* upstream said that it is still the same */
	VERDICT_STALE,       /* upstream could not be asked */
	VERDICT_PASS,        /* passed through, not stored */
};
const char *verdict_name(enum verdict v);

struct request;
struct seeing;

struct handler {
	/* Reply, or arrange for it.  `r` is routed; names are resolved where
	 * the endpoint has a repository. */
	void (*start)(struct request *r);
	/* Let go of r->state: timers, readers, pins.  May be NULL. */
	void (*release)(struct request *r);
};

struct request {
	struct conn *conn;
	struct server *server;
	struct loop *loop;
	struct handle handle;
	uint64_t id;       /* for the log */
	struct conf *conf; /* as of its beginning; a reference */
	const struct http_head *head;
	bool is_head;

	struct route route;
	struct names_answer names;
	/* Of a push to a claimed name: the mirrored repository behind it,
	 * whose content it may build on; kind 0: none (permit_push). */
	struct names_answer shadow;
	const struct conf_upstream *up; /* of a mirrored name; in conf */
	uint64_t repo_id;               /* 0: never seen */
	char ns[REPO_HOST_MAX + 1];     /* as sent, for OCI-Namespace */

	/* What the reply rests on, for request_may_see(): a digest or tag that
	 * has just been had.  request.c sets it to the digest in the path;
	 * a handler that serves another one replaces it.  "": a list of tags
	 * that names none. */
	char witness[DIGEST_TEXT_MAX];
	struct seeing *seeing; /* request_see.c's */

	const struct handler *handler;
	void *state; /* the handler's */

	bool replied;
	unsigned status;
	enum verdict verdict;
	uint64_t started_us;
	uint64_t upstream_us; /* what it waited for upstreams */
};

extern const struct handler serve_base, serve_manifest, serve_blob, serve_tags,
    serve_referrers;

/*
 * A worker runs `job`, and then the request's loop its `done`: with the
 * request, or with NULL if that has gone by then; `_on`: in the strand's turn.
 * Own loop.
 */
void request_submit(const struct request *r, struct job *job);
void request_submit_on(const struct request *r, struct strand *strand,
		       struct job *job);

/*
 * The way back to a request for an answer that another thread has: embed it,
 * fill it on the request's loop, go it once from anywhere.  `run` is called on
 * that loop with &home.msg, and with the request or NULL as above.
 */
struct way_home {
	struct message msg;
	struct loop *loop;
};
struct way_home request_way_home(const struct request *r,
				 void (*run)(struct message *msg,
					     void *object));
void way_home_go(struct way_home *home);

/* The value of a query parameter, decoded into out[size]; false if absent,
 * repeated, badly escaped or too long. */
bool request_query(const struct request *r, const char *name, char *out,
		   size_t size);

/*
 * May this repository's content be shown to this client?  If so `next` is
 * called, at once or after its upstream was asked anonymously; if not, a
 * reply is sent: 403 naming the setting for private content, 503 where it
 * cannot be known.  Repositories of upstreams without credentials are public.
 * Call it after what the answer rests on (r->witness) has been had; once it
 * has said yes it says so again at once.
 * (request_see.c)
 */
void request_may_see(struct request *r, void (*next)(struct request *r));
/*
 * In place of "there is no such thing", whose opposite would be a 403: in a
 * repository that is marked as private what is missing is answered as what is
 * there.  False: nothing to hide, and no reply has been sent.
 */
bool request_hide(struct request *r) MUST_CHECK;
/*
 * Would what the mirrored repository `mirror` holds be served to this client
 * now, as far as is known: may it pull, and is it neither private, nor denied
 * by its upstream for longer than max_denied?  For pushes that build on it:
 * what is not known costs them an upload, and nobody is asked.
 */
bool request_sees_now(const struct request *r,
		      const struct names_answer *mirror) MUST_CHECK;
/* For request.c: what it waits for. */
void request_see_release(struct request *r);

/* r->repo_id if it is known now, in a snapshot of the caller's: a repository
 * that is new at the beginning may have been made since. */
uint64_t request_repo(struct request *r, struct index_txn *txn);

/*
 * Whose is r->route.name?  Sets r->names, r->up (mirrors) and r->ns.  The
 * same as names_resolve(), with the listener's `mirror_of`; `ns` NULL: none
 * was sent.  (request_names.c)
 */
enum err request_resolve(struct request *r, const char *ns) MUST_CHECK;
/*
 * The same for another name that this request speaks of (the source of a
 * mount), into *out and without a change of `r`.  ERR_INVALID: no repository's
 * path, or as names_resolve() says.
 */
enum err request_resolve_other(struct request *r, const char *name,
			       struct names_answer *out) MUST_CHECK;
/*
 * Between reply_begin() and reply_send() of a push that has claimed its name:
 * where that hides a mirrored repository (`shadow`), it is logged, and the
 * reply says so in a Warning.
 */
void request_claimed(struct request *r, const struct names_answer *shadow);
/* When the loop of `s` has stopped. */
void request_names_free(struct serve *s);

/* One line about this request: its id, client, method and path before the
 * text.  Any level; own loop. */
void request_log(const struct request *r, enum log_level level, const char *fmt,
		 ...) PRINTF_LIKE(3, 4);

/* The access line and the counters of a request that is over, and of a head
 * that was refused (its method and path are unknown).  (access.c) */
void access_note(const struct request *r, uint64_t body_bytes);
void access_note_refused(const struct conn *c, const struct conf *conf,
			 unsigned status, uint64_t body_bytes);

#endif
