/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_MIRROR_H
#define PROXY_MIRROR_H
/*
 * Everything that asks upstreams, as the serve loops see it.  The fetch loop
 * owns all of it: upstreams, calls, questions and flights; a serve loop posts
 * a question and gets one answer back, by message, to a handle.
 *
 *   serve loop                     fetch loop
 *   mirror_ask() ───────────────►  question (one per key, many waiters)
 *        ◄──── struct mirror_answer ──┘
 *   flight_join() (proxy/flight.h) ► flight (one per digest and upstream)
 *
 * What an answer brought is in the index before the answer is sent, and the
 * serve loop answers its client from the index; only what could not be stored
 * travels in the answer itself.
 */
#include "cache/cache.h"
#include "proxy/call.h"
#include "proxy/loop.h"

struct server;
struct mirror;
struct flights;

enum ask_kind {
	/* What is this tag now?  HEAD, then GET by digest if it is new; stores
	 * it.  The key is the tag. */
	ASK_TAG,
	/* The manifest of this digest: GET, check, store. */
	ASK_MANIFEST,
	/* May this repository have this manifest or blob, which is stored here
	 * already?  HEAD of the manifest; GET bytes=0-0 of the blob. */
	ASK_YES_MANIFEST,
	ASK_YES_BLOB,
	/* One page of tags/list, as upstream gives it; query is the key's. */
	ASK_TAGS,
	/* All referrers of a digest, merged, unfiltered. */
	ASK_REFERRERS,
	/* Is this repository public?  `reference` is what has just been had
	 * with credentials, a manifest's tag or digest, or a blob's digest. */
	ASK_VISIBILITY_MANIFEST,
	ASK_VISIBILITY_BLOB,
	/* May everybody see its list of tags, which has just been had with
	 * credentials and names none?  That marks nothing. */
	ASK_VISIBILITY_TAGS,
	ASK_KINDS
};

#define ASK_REFERENCE_MAX 160
#define ASK_QUERY_MAX 512

/* Counted bytes that travel between threads. */
struct buffer {
	unsigned refs; /* atomic */
	size_t len;
	uint8_t bytes[];
};
struct buffer *buffer_new(const void *bytes, size_t len) MUST_CHECK;
struct buffer *buffer_ref(struct buffer *b);
void buffer_unref(struct buffer **b);

struct mirror_answer {
	struct message msg; /* the mailbox's */
	enum ask_kind kind;

	/*
	 * ERR_OK: asked and answered (see below).
	 * ERR_NOT_FOUND: upstream's own 404.
	 * ERR_DENIED: upstream's 401/403/451.
	 * ERR_LIMITED: 429; retry_after_s.
	 * ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_BAD_UPSTREAM: outages.
	 * ERR_MISMATCH: upstream's bytes are not of that digest.
	 * ERR_TOO_BIG: past manifest_max.
	 * `why` says it in a sentence that names the upstream.
	 */
	enum err err;
	struct why why;
	uint64_t retry_after_s;
	unsigned status; /* upstream's, 0 = none */

	bool joined;  /* somebody had asked the same before */
	bool asked;   /* an upstream was asked for it (not from memory) */
	bool fetched; /* a manifest's body was fetched */
	bool stored;  /* it is in the index now */
	uint64_t upstream_us;

	/* ASK_TAG: the tag's digest.  With nothing held and a client's HEAD
	 * (head_only), the answer of upstream's own HEAD, nothing stored. */
	struct digest digest;
	char media_type[MEDIA_TYPE_MAX];
	uint64_t size; /* CALL_LENGTH_UNKNOWN if it was not told */

	/* What could not be stored, or is a list: its bytes; NULL = none. */
	struct buffer *body;
	char next[ASK_QUERY_MAX]; /* ASK_TAGS: query of the next page, or "" */
	bool filtered;
	enum visibility visibility;
};

struct mirror_ask {
	enum ask_kind kind;
	const char *upstream, *repo, *reference, *query;
	bool head_only; /* ASK_TAG: the client sent HEAD and nothing is held */
	bool forget;    /* skip (and clear) the negative cache: refresh */
};

/*
 * Ask; `run` will get the answer on `home` (object NULL if it has gone), and
 * owns it: mirror_answer_free().  Everything is copied.  Any thread.
 */
void mirror_ask(struct mirror *m, const struct mirror_ask *ask,
		struct loop *home, struct handle to, uint32_t magic,
		void (*run)(struct message *msg, void *object));
void mirror_answer_free(struct mirror_answer **a);

/*
 * Forget what is remembered of the repository for some seconds: tags that its
 * upstream lacked, lists.  Any thread.
 */
void mirror_forget(struct mirror *m, const char *upstream, const char *repo);

/* Is the upstream known to be out now, so that stale answers are immediate?
 * Is this tag (after an error status)?  Any thread. */
bool mirror_is_out(struct mirror *m, const char *upstream);
bool mirror_tag_is_out(struct mirror *m, const char *upstream, const char *repo,
		       const char *tag);
/* It is out: it has not answered somebody in time (`why`).  Any thread. */
void mirror_note_outage(struct mirror *m, const char *upstream,
			const struct why *why);

/* Built by server.c, after jobs and cache. */
struct mirror *mirror_new(struct server *s) MUST_CHECK;
void mirror_start(struct mirror *m);
void mirror_reload(struct mirror *m);
/* End all questions and flights (partials are kept), stop the loop, after the
 * serve loops have been stopped; their last letters to it may still come. */
void mirror_stop(struct mirror *m);
/* When nobody is left who writes letters. */
void mirror_free(struct mirror **m);

struct loop *mirror_loop(struct mirror *m);
struct upstreams *mirror_upstreams(struct mirror *m); /* fetch loop */
struct caller *mirror_caller(struct mirror *m);       /* fetch loop */
struct flights *mirror_flights(struct mirror *m);
struct server *mirror_server(struct mirror *m);

#endif
