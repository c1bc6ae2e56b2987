/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_PERMIT_H
#define PROXY_PERMIT_H
/*
 * Who may do what, before there are users.
 *
 * From loopback, in the strict sense: a loopback peer, HTTP/1.1, a Host that
 * is a loopback address or "localhost" (any port), and none of Forwarded,
 * X-Forwarded-*, X-Real-IP, Via (a proxy on the same host looks local).  Such
 * a request may do everything.  All others may do what "anonymous" lists,
 * ["pull"] by default.
 *
 * An Origin that "cors" allows counts as none; any other makes a write 403
 * always, from wherever it comes: a page in somebody's browser is not that
 * person.
 *
 * Loop.  With users (a later issue) the rules are asked here as well.
 */
#include "proxy/request.h"

enum action {
	ACTION_PULL,   /* GET, HEAD */
	ACTION_PUSH,   /* POST, PATCH, PUT; all of an upload */
	ACTION_DELETE, /* of hosted content; of mirrored content it purges */
};

/* Is the request from loopback in the strict sense? */
bool permit_is_local(const struct request *r);

/* May this request do that?  False: 403 DENIED has been sent, with the one
 * setting to change. */
bool permit(struct request *r, enum action action) MUST_CHECK;
/* The same without a reply. */
bool permit_would(const struct request *r, enum action action);

/*
 * May a push by this request make `name` hosted, where design's row 6 holds
 * for it?  By "claim": loopback (from loopback any name that is not
 * below library/; who
 * may push, one-component names), push, none.
 */
bool permit_would_claim(const struct request *r, const char *name);

/*
 * A push to what r->names says: rows 4 and 7, and row 6 where it may claim.
 * Everything else is 403 DENIED with the line to add (`"hosted": [...]`).
 * On true r->names is of a hosted repository: what was row 6 has been turned
 * into the hosted name that the push claims, and r->shadow is the mirrored
 * repository behind it.
 */
bool permit_push(struct request *r) MUST_CHECK;

/*
 * Anything with an upload that has begun: it follows its session, whose
 * repository was decided then.  False: 403 or 404 has been sent.  On true
 * r->names is the hosted repository of the path, which the session's must be.
 */
bool permit_upload(struct request *r) MUST_CHECK;

/*
 * Is this the HEAD that a push begins with?  By row 6, in a repository that
 * holds nothing, from a peer whose push would claim the name.  Then a blob is
 * not here, without asking upstream; and a manifest is not, where upstream
 * denies it or does not answer.
 */
bool permit_begins_push(struct request *r);

/* ---- the pure parts; any thread ---- */

/* Is `host`, with or without a port, a loopback address or "localhost"? */
bool permit_host_is_loopback(struct span host);
/* Why a request from a loopback peer may be somebody else's all the same;
 * NULL: it is direct. */
const char *permit_head_doubt(const struct http_head *head);

#endif
