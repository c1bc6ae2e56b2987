/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_ERR_H
#define CACHE_ERR_H
/*
 * What can go wrong, in words that are neither errno nor HTTP.  ENOENT stays
 * below, 404 stays above; proxy/reply.c holds the one table from enum err to
 * a status.
 */
#include "cache/base.h"

enum err {
	ERR_OK = 0,
	ERR_NOT_FOUND,    /* it is not there, and that is an answer */
	ERR_EXISTS,       /* it is there already */
	ERR_INVALID,      /* foreign bytes that break a grammar or a rule */
	ERR_MISMATCH,     /* the bytes do not have the digest asked for */
	ERR_TOO_BIG,      /* past a configured or built-in limit */
	ERR_CORRUPT,      /* our own stored bytes are not what we stored */
	ERR_IO,           /* EIO, EMFILE, EACCES: nothing changed */
	ERR_NO_SPACE,     /* ENOSPC, EDQUOT, below min_free, map full */
	ERR_BUSY,         /* somebody else holds it; try again */
	ERR_DENIED,       /* a rule says no */
	ERR_LIMITED,      /* an upstream's rate limit (429) */
	ERR_UNAVAILABLE,  /* an upstream cannot be reached or answers 5xx */
	ERR_TIMEOUT,      /* a deadline passed */
	ERR_BAD_UPSTREAM, /* an upstream answers nonsense */
	ERR_CANCELED,     /* nobody waits for it any more, or we shut down */
	ERR_LAST
};

/* One sentence for a person: the log and the client's body carry the same. */
struct why {
	char text[256];
};

/* "not found", "no space", ...; static storage.  Any thread. */
const char *err_name(enum err err);

/*
 * Set `why` (which may be NULL) to the formatted sentence, cut to fit, and
 * return `err`, so that a failing function ends in one line:
 * return why_set(why, ERR_IO, "cannot open %s: %s", path, strerror(errno));
 */
enum err why_set(struct why *why, enum err err, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/*
 * The same with ": <strerror(error)>" appended, and the enum err that errno
 * value means: ENOENT -> ERR_NOT_FOUND, EEXIST -> ERR_EXISTS, ENOSPC and
 * EDQUOT -> ERR_NO_SPACE, the rest ERR_IO.
 */
enum err why_errno(struct why *why, int error, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

#endif
