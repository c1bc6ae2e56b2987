/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_SERVE_UPLOAD_H
#define PROXY_SERVE_UPLOAD_H
/*
 * What serve_upload.c (the requests on upload sessions), serve_upload_reply.c,
 * serve_upload_body.c (bytes on their way from a request to its session) and
 * serve_mount.c share.
 */
#include "proxy/serve_hosted.h"
#include "proxy/upload_session.h"

/* Bytes of a session that one job appends. */
#define UPLOAD_CHUNK_BYTES (256 * KIB)

struct upload_chunk;

/* r->state of a request on uploads. */
struct upload_state {
	struct session_hold *hold; /* NULL before it is granted, and after */
	bool has_digest;
	struct digest dg;
	char digest[DIGEST_TEXT_MAX];
	/* Nobody has heard of the session: it goes with this request. */
	bool monolithic;
	bool marked; /* what came goes back if the body breaks off */
	bool ranged; /* Content-Range */
	uint64_t first, last;

	/* ---- serve_upload_body.c ---- */
	struct upload_chunk *chunk;       /* being filled */
	SLIST_HEAD(, upload_chunk) spare; /* for the next ones */
	uint64_t queued;                  /* memory of chunks, these as well */
	unsigned jobs;                    /* of chunks that are with workers */
	bool over;                        /* the body is whole */
	void (*done)(struct request *r);
};

static inline struct upload_state *upload_state(const struct request *r)
{
	return r->state;
}

/* ---- serve_upload_reply.c ---- */

/*
 * Let go of the session, before any reply, so that a take-over does not cut
 * that.  It lives on, unless nobody has heard of it.
 */
void upload_let_go(struct request *r);
/* The reply to what a session could not do; nothing if there was one. */
void upload_fail(struct request *r, enum err err, const struct why *why);
/* An error reply, after upload_let_go(); these two as well. */
void upload_refuse(struct request *r, unsigned status, enum api_code code,
		   const char *message);
void upload_unknown(struct request *r);
void upload_wrong_start(struct request *r);
/* 201 for the blob r->state->digest. */
void upload_created(struct request *r);
/* Where the session is and how far. */
void upload_reply_state(struct request *r, unsigned status, const char *id,
			uint64_t offset);

/* ---- serve_upload.c ---- */

/* POST without a mount, or whose mount found nothing. */
void upload_start(struct request *r);

/* ---- serve_upload_body.c ---- */

/* Append the request's body to its session; `done` when all is in the file.
 * Whatever else happens ends in a reply. */
void upload_body(struct request *r, void (*done)(struct request *r));
/* The request is over: what was received and may stay is kept. */
void upload_body_release(struct request *r);

/* ---- serve_mount.c ---- */

/* A cross-repository mount, if the query asks for one: 201, or else
 * upload_start().  False: it asks for none. */
bool upload_mount(struct request *r);

#endif
