/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_UPLOAD_SESSION_INT_H
#define PROXY_UPLOAD_SESSION_INT_H
/*
 * What upload_session.c (the table: who owns what) and upload_session_op.c
 * (jobs on a session's strand) share.  Everybody else includes
 * upload_session.h.
 */
#include "proxy/route.h"
#include "proxy/upload_session.h"

#include <pthread.h>

#define SESSION_BUCKETS 256

struct session {
	struct upload_sessions *all;
	struct strand *strand;

	/* ---- under all->mu ---- */
	LIST_ENTRY(session) link; /* if listed */
	TAILQ_ENTRY(session) idle_link;
	bool listed, idle, gone, finishing;
	unsigned users;   /* holds, and jobs that have not run */
	uint64_t epoch;   /* of the last request that asked for it */
	uint64_t spoiled; /* of the last one whose bytes could not be added */
	struct session_hold *owner;
	uint64_t idle_since_ms;
	bool known; /* what is told of it */
	struct upload_info info;
	char id[UPLOAD_ID_MAX + 1];

	/* ---- jobs on the strand, or whoever is the only user ---- */
	struct upload *upload; /* NULL: closed */
	bool marked;           /* a PUT's body has begun */
};

struct upload_sessions {
	struct cache *cache;
	struct jobs *jobs;
	pthread_mutex_t mu; /* everything below, and sessions as they say */
	LIST_HEAD(, session) buckets[SESSION_BUCKETS];
	TAILQ_HEAD(, session) idle; /* longest first */
	unsigned n_idle;
};

struct session_hold {
	struct session *session;
	struct session_owner owner;
	uint64_t epoch;  /* 0: whose the session is was not known yet */
	uint64_t offset; /* owner's loop */
};

/* ---- upload_session.c; under mu ---- */

/* From here on its id can be asked for; and no more. */
void session_list(struct session *s, const char *id);
void session_unlist(struct session *s);
/* One user more, and one less: the last one's going closes or frees it. */
void session_use(struct session *s);
void session_unuse(struct session *s);

/* Without mu: the hold becomes the owner's, and who was that is cut.  On the
 * strand, once it is known to be of the right repository. */
void session_grant(struct session_hold *hold);

/* ---- upload_session_op.c ---- */

/* The first job of a hold, whose answer hands it over. */
void session_submit_begin(struct session_hold *hold, const char *repo,
			  enum digest_alg alg, session_got_cb *cb);
void session_submit_take(struct session_hold *hold, const char *repo,
			 bool for_bytes, session_got_cb *cb);
/* Back to where a PUT's body began.  On the strand, or the only user. */
enum err session_go_back(struct session *s, struct why *why) MUST_CHECK;

#endif
