/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_REPLY_H
#define PROXY_REPLY_H
/*
 * Replies: the head, built line by line, and the registry's JSON errors.  The
 * one table from enum err to a status and a code is in reply_error.c.
 *
 *   reply_begin -> reply_header* -> reply_send | reply_send_bytes
 *   (all in one callback: a loop has one buffer for heads)
 *   reply_error, reply_err: all of it at once
 *
 * Every reply carries Docker-Distribution-Api-Version, and what request.c
 * adds for all (OCI-Namespace, X-Cache, Connection: close when it ends the
 * connection).  HEAD sends the same head and no body.  Serve loop.
 */
#include "proxy/body.h"
#include "proxy/request.h"

#define REPLY_HEAD_MAX 8192

/* The codes of protocol errors, in the order of reply_error.c's table. */
enum api_code {
	CODE_BLOB_UNKNOWN,
	CODE_BLOB_UPLOAD_INVALID,
	CODE_BLOB_UPLOAD_UNKNOWN,
	CODE_MANIFEST_UNKNOWN,
	CODE_MANIFEST_INVALID,
	CODE_MANIFEST_BLOB_UNKNOWN,
	CODE_NAME_UNKNOWN,
	CODE_NAME_INVALID,
	CODE_TAG_INVALID,
	CODE_DIGEST_INVALID,
	CODE_RANGE_INVALID,
	CODE_SIZE_INVALID,
	CODE_PAGINATION_NUMBER_INVALID,
	CODE_UNAUTHORIZED,
	CODE_DENIED,
	CODE_UNSUPPORTED,
	CODE_TOOMANYREQUESTS,
	CODE_UNAVAILABLE,
	CODE_UNKNOWN,
	CODE_LAST
};
const char *api_code_name(enum api_code code);
/* The code of that name; CODE_UNKNOWN if there is none. */
enum api_code api_code_find(const char *name);

/* Does the client hold what `etag` (without quotes) names already?  Then 304
 * (RFC 9110, 13.1.2). */
bool reply_not_modified(const struct request *r, const char *etag);

void reply_begin(struct request *r, unsigned status);
/* One field; the value is checked for control bytes (a field with one is left
 * out).  Past REPLY_HEAD_MAX: asserts, as all of it is bounded. */
void reply_header(struct request *r, const char *name, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* The same without a format: what most replies have. */
void reply_field(struct request *r, const char *name, const char *value);
void reply_number(struct request *r, const char *name, uint64_t n);
/* Docker-Content-Digest, and ETag with the digest as the entity-tag; `digest`
 * is digest_text()'s. */
void reply_digest(struct request *r, const char *digest);
/* "Warning: 299 - "<text>"". */
void reply_warning(struct request *r, const char *text);

/* Send it, with a body of `length` bytes (taken; NULL with 0: none, or HEAD).
 * 204 and 304 have neither a body nor a length. */
void reply_send(struct request *r, uint64_t length, struct body *STEALS body);
/* The same with bytes that are copied. */
void reply_send_bytes(struct request *r, const char *content_type,
		      const void *buf, size_t len);

/* {"errors":[{"code":C,"message":M,"detail":D}]}; detail may be NULL. */
void reply_error(struct request *r, unsigned status, enum api_code code,
		 const char *message, const char *detail);
/* The end of one that began with reply_begin() and headers of its own. */
void reply_send_error(struct request *r, enum api_code code,
		      const char *message, const char *detail);
/* From a failure: status by the table (an upstream's outage is 502, 503 or
 * 504, never 404), with Retry-After where there is one.  `what` says which
 * UNKNOWN a 404 is. */
void reply_err(struct request *r, enum err err, enum api_code what,
	       uint64_t retry_after_s, const struct why *why);
/* The pure parts of it: the status of a failure, and the body of an error
 * reply as JSON text in out[REPLY_ERROR_MAX], whose length is returned. */
#define REPLY_ERROR_MAX 4096
unsigned reply_status(enum err err);
size_t reply_error_body(enum api_code code, const char *message,
			const char *detail, char *out);

/* The answer to a head that was refused; the connection closes.  Returns the
 * length of its body. */
size_t reply_refusal(struct conn *c, unsigned status, const char *sentence);

/* "200 OK"'s second part; "Unknown" for what we never send. */
const char *reply_reason(unsigned status);

#endif
