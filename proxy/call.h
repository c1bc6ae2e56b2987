/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_CALL_H
#define PROXY_CALL_H
/*
 * One authorised question to one upstream registry: picks an endpoint,
 * resolves and judges its address, brings a token, follows redirects under
 * the policy, renews a token once on 401, and delivers the final answer.
 *
 *   PICK -> RESOLVE -> TOKEN? -> SEND -+-> 401: TOKEN -> SEND
 *                                      +-> 3xx: RESOLVE (target) -> SEND
 *                                      +-> head, data*, done
 *
 * A connection that fails before the head moves on to the next endpoint; what
 * breaks after the head is the caller's to resume.
 *
 * All functions and callbacks: fetch loop only.
 */
#include "cache/digest.h"
#include "proxy/fetch.h"
#include "proxy/upstream.h"

struct jobs;
struct caller; /* fetcher, resolver, tokens, credentials: what calls share */
struct call;

enum call_what {
	CALL_MANIFEST,  /* /v2/N/manifests/R */
	CALL_BLOB,      /* /v2/N/blobs/D */
	CALL_TAGS,      /* /v2/N/tags/list?query */
	CALL_REFERRERS, /* /v2/N/referrers/D?query */
};

#define CALL_OPEN UINT64_MAX
#define CALL_LENGTH_UNKNOWN UINT64_MAX

/* Borrowed for the duration of call_start(). */
struct call_spec {
	struct upstream *up;
	const char *repo; /* as names_resolve() gives it: "library/alpine" */
	enum call_what what;
	const char *reference; /* tag or digest text; "" for tags */
	const char *query;     /* encoded, without '?'; NULL: none */
	bool head;             /* HEAD instead of GET */
	bool anonymous;        /* without the upstream's credentials */
	bool ranged;           /* Range: bytes=first-last, or first- (OPEN) */
	uint64_t first, last;
	uint32_t avoid_endpoints; /* bit mask, for a retry elsewhere */
};

/* The final answer's head.  Strings live until the callback returns. */
struct call_head {
	unsigned status;
	const char *content_type; /* without parameters, lower case; "" none */
	bool has_digest;          /* Docker-Content-Digest, on any hop */
	struct digest digest;
	uint64_t length; /* of the body to come; CALL_LENGTH_UNKNOWN */
	/* of a 206 or 416; total may be CALL_LENGTH_UNKNOWN */
	bool has_range;
	uint64_t range_first, range_last, range_total;
	const char *next;            /* target of Link rel=next; NULL */
	const char *filters_applied; /* OCI-Filters-Applied; NULL */
	bool has_retry_after;
	uint64_t retry_after_s;
	int endpoint;       /* which answered */
	bool from_registry; /* not from a redirect's target */
	bool authorized;    /* with the upstream's credentials */
};

struct call_events {
	/* false: stop here (done follows with ERR_OK). */
	bool (*head)(void *arg, const struct call_head *h);
	/* Only for bodies of a head that was shown. */
	enum fetch_take (*data)(void *arg, const void *buf, size_t len);
	/*
	 * Last call.  ERR_OK: head was called, the body is complete or was
	 * stopped.  Otherwise as fetch_events.done, but that ERR_DENIED is
	 * the upstream's word: its token server refuses, or it wants what we
	 * have not.  Where our own rules refuse to go (addresses, realms,
	 * from https to http) is ERR_BAD_UPSTREAM.  ERR_LIMITED: the token
	 * server's 429.  `had_head`: broke after it.
	 */
	void (*done)(void *arg, enum err err, bool had_head,
		     const struct why *why);
};

struct caller *caller_new(struct loop *l, struct upstreams *ups,
			  struct jobs *jobs) MUST_CHECK;
void caller_free(struct caller **c);
struct fetcher *caller_fetcher(struct caller *c);
struct dialer; /* proxy/dial.h */
struct dialer *caller_dialer(struct caller *c);

/* Never calls back before it returns. */
struct call *call_start(struct caller *c, const struct call_spec *spec,
			const struct call_events *ev, void *arg) MUST_CHECK;
void call_resume(struct call *c); /* after FETCH_PAUSE */
void call_cancel(struct call **c);

/*
 * The same for answers that are small: the body is collected, at most
 * max_body bytes (more: ERR_TOO_BIG).  One callback; `body` is borrowed.
 */
struct call_answer {
	const struct call_head *head; /* NULL unless the call has ERR_OK */
	const void *body;
	size_t len;
};
typedef void call_small_cb(void *arg, enum err err,
			   const struct call_answer *answer,
			   const struct why *why);
struct call_small;
struct call_small *call_small_start(struct caller *c,
				    const struct call_spec *spec,
				    size_t max_body, call_small_cb *cb,
				    void *arg) MUST_CHECK;
void call_small_cancel(struct call_small **c);

#endif
