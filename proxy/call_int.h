/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_CALL_INT_H
#define PROXY_CALL_INT_H
/*
 * What call.c, caller.c and call_head.c share; nobody else includes it.
 */
#include "proxy/call.h"
#include "proxy/credential.h"
#include "proxy/dial.h"
#include "proxy/gate.h"
#include "proxy/http_challenge.h"
#include "proxy/upstream_token.h"

#define CALL_ENDPOINTS 32

/* What calls have learnt of one upstream, and those that run. */
struct peer {
	LIST_ENTRY(peer) link;
	struct upstream *up;
	unsigned metric;
	struct gate gates[CALL_ENDPOINTS][2]; /* by enum fetch_pool */
	/* The challenge an endpoint last sent; NULL: none yet. */
	struct {
		char *url;
		struct http_challenge *challenge;
	} known[CALL_ENDPOINTS];
	LIST_HEAD(, call) blobs; /* they share max_rate */
	unsigned n_blobs;
};

/* Deferred work of a caller, which may go before it runs. */
struct turn {
	struct caller *caller; /* NULL: gone */
	bool queued;
};

struct caller {
	struct loop *loop;
	struct fetcher *fetcher;
	struct resolver *resolver;
	struct dialer dialer;
	struct credentials *credentials;
	struct tokens *tokens;
	LIST_HEAD(, peer) peers;
	LIST_HEAD(, call) calls;
	TAILQ_HEAD(call_line, call)
	ready; /* to be stepped at the end of the turn */
	struct turn *turn;
};

struct peer *caller_peer(struct caller *c, struct upstream *up) MUST_CHECK;
/* The challenge that this endpoint (its URL) is known to send, or NULL. */
const struct http_challenge *peer_challenge(struct peer *p, int endpoint,
					    const char *url);
/* Remember it; NULL forgets. */
void peer_learn(struct peer *p, int endpoint, const char *url,
		const struct http_challenge *ch);
void turn_soon(struct caller *c);

enum call_step {
	STEP_NONE,       /* a callback goes on */
	STEP_PICK,       /* choose an endpoint */
	STEP_AUTHORISE,  /* what is known of its challenge */
	STEP_CREDENTIAL, /* who are we? */
	STEP_TOKEN,      /* answer the challenge */
	STEP_ENTER,      /* wait for a connection's turn */
	STEP_SEND,
	STEP_PING,   /* a 401 without a challenge: ask /v2/ */
	STEP_REFUSE, /* `err` and `why` are the end */
};

#define CALL_MAGIC 0x43414c4c

struct call {
	uint32_t magic;
	LIST_ENTRY(call) link;
	TAILQ_ENTRY(call) ready_link;
	struct caller *caller;
	const struct call_events *ev;
	void *arg;

	/* what was asked */
	struct upstream *up;
	struct peer *peer;
	char *repo, *reference, *query;
	enum call_what what;
	bool head, anonymous, ranged;
	uint64_t first, last;
	uint32_t avoid;

	/* where we are */
	enum call_step next;
	bool is_ready;
	bool over;    /* done was called, or the call cancelled */
	bool pinging; /* what is under way is GET /v2/ */

	/* endpoints */
	uint32_t tried;
	int endpoint;        /* -1: none yet */
	bool trial;          /* picked, and nothing said of it so far */
	bool answered;       /* some endpoint did */
	bool retrying;       /* not the first request */
	char *endpoint_url;  /* as configured */
	struct http_url own; /* the endpoint's first URL */
	int own_class;
	struct gate_ticket ticket;
	enum fetch_pool pool;
	uint64_t sent_us;

	/* redirects */
	struct http_url url; /* what is asked now */
	unsigned redirects;
	bool left; /* another origin: without our Authorization */
	char *location;

	/* authorisation */
	struct http_challenge *challenge; /* being answered; NULL: none */
	struct http_url challenger;
	bool challenged; /* by this call's own 401 */
	bool cred_known;
	struct credential cred;
	struct credential_ask *cred_ask;
	struct token_ask *token_ask;
	char *scope;         /* asked for */
	char *authorization; /* header value */
	char *token;         /* in it; NULL for Basic */
	bool token_fresh;    /* not from the cache */
	bool authorized;     /* with credentials */
	bool pinged, renewed, rescoped;

	/* the exchange */
	struct dial *dial;
	unsigned status;
	bool discard; /* this body is nobody's */
	size_t discarded;
	bool delivered;    /* head was called */
	struct timer body; /* an absolute deadline, unless it is a blob */
	bool counted_blob;
	LIST_ENTRY(call) blob_link;
	bool has_digest;
	struct digest digest; /* of the first hop that named one */

	/* the end */
	enum err err;
	struct why why;
	bool against_rule; /* of ours: where it leads is not gone to */
};

static inline const char *call_upstream(const struct call *c)
{
	return upstream_name(c->up);
}

static inline const struct conf_upstream *call_conf(const struct call *c)
{
	return upstream_conf(c->up);
}

/* ---- call.c: the steps and the end ---- */

/* Do what `next` says, until a callback is to go on. */
void call_step(struct call *c);
void call_end_all(struct caller *cr); /* caller_free() */
void call_free(struct call *c);
/* `next` at the end of the turn. */
void call_soon(struct call *c, enum call_step next);
/* The last callback; the call is freed at the end of the turn. */
void call_finish(struct call *c, enum err err, const struct why *why);
void call_fail(struct call *c, enum err err, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* Trouble before the head, at an endpoint or beside it: another endpoint, or
 * the end. */
void call_elsewhere(struct call *c, enum err err, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* Is there an endpoint left to try? */
bool call_has_other(const struct call *c);

/* ---- call_auth.c: who we are ---- */

void call_authorise_step(struct call *c);
void call_credential_step(struct call *c);
void call_token_step(struct call *c);
void call_forget_authorization(struct call *c);
/* A 401, and the answer of /v2/ to our asking what it wants.  As
 * fetch_events.head. */
bool call_unauthorized(struct call *c, const struct fetch_head *h);
bool call_pinged(struct call *c, const struct fetch_head *h);

/* ---- call_send.c: the exchange ---- */

void call_send_step(struct call *c);
void call_ping_step(struct call *c);
/* The body has taken too long. */
void call_body_late(void *arg);
/* For heads, which are shown inside libcurl; as fetch_events.head. */
/* This answer only says how to go on: `next`, once it has ended. */
bool call_go_on(struct call *c, const struct fetch_head *h,
		enum call_step next);
/* The same, to end with this error. */
bool call_refuse_later(struct call *c, const struct fetch_head *h, enum err err,
		       const char *fmt, ...) PRINTF_LIKE(4, 5);
/* This one is the answer. */
bool call_deliver(struct call *c, const struct fetch_head *h);

/* ---- caller.c ---- */

/* Share max_rate among the blob calls of an upstream. */
void peer_share_rate(struct peer *p);
uint64_t peer_rate(const struct peer *p);

/* ---- call_head.c: the facts of a head; pure ---- */

/* Strings of a call_head. */
struct head_room {
	char content_type[256];
	char *next;
};
void call_head_read(const struct fetch_head *h, struct call_head *out,
		    struct head_room *room);
void head_room_release(struct head_room *room);
bool call_head_digest(const struct fetch_head *h, struct digest *out);
/* CALL_LENGTH_UNKNOWN unless Content-Length says it. */
uint64_t call_head_length(const struct fetch_head *h);
void call_head_challenge(const struct fetch_head *h, struct http_challenge *ch);
/* ratelimit-*; false: none. */
bool call_head_quota(const struct fetch_head *h, struct upstream_quota *q);

/* ---- and its URL; pure ---- */

/* The URL that a call asks of an endpoint. */
char *call_url_text(const struct call *c, const char *endpoint,
		    const char *prefix) MUST_CHECK;
/* "repository:<prefix/repo>:pull" */
char *call_scope(const char *prefix, const char *repo) MUST_CHECK;

#endif
