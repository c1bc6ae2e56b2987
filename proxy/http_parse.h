/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_HTTP_PARSE_H
#define PROXY_HTTP_PARSE_H
/*
 * The head of an HTTP/1.x request (RFC 9112), read strictly: whatever two
 * programs might frame differently is refused, so that no request can hide in
 * another one's body.
 *
 * Refused with 400: Content-Length together with Transfer-Encoding, more than
 * one Content-Length or one that is not plain digits up to INT64_MAX, a
 * repeated or empty Transfer-Encoding or any in HTTP/1.0, a blank before a
 * colon, folded lines, bare CR, bare LF, NUL and control bytes, no Host (in
 * 1.1), two Hosts or a malformed one, more than one blank between the parts
 * of the request line, HTTP/0.9.  501: a transfer coding other than exactly
 * `chunked`.  505: another major version.  417: an expectation other than
 * 100-continue.  414 and 431: the limits below.
 *
 * Of the target, origin-form is accepted, absolute-form as RFC 9112 section
 * 3.2.2 demands (its authority then replaces the Host field, which must still
 * be there), and "*" with OPTIONS.  One empty line before the request line is
 * passed over (section 2.2), a second one refused.
 */
#include "proxy/http_field.h"

/* A buffer of HTTP_HEAD_MAX bytes holds any head that is accepted. */
#define HTTP_HEAD_MAX (64 * 1024)   /* with the empty line; else 431 */
#define HTTP_REQUEST_LINE_MAX 16384 /* with its CRLF; else 414 */
#define HTTP_HEADERS_MAX 128        /* fields; else 431 */

enum http_method {
	HTTP_GET,
	HTTP_HEAD,
	HTTP_POST,
	HTTP_PUT,
	HTTP_PATCH,
	HTTP_DELETE,
	HTTP_OPTIONS,
	HTTP_OTHER, /* a token we do not know (`get` too): 501 or 405 */
};

struct http_header {
	struct span name;
	struct span value; /* trimmed; may be empty, never NULL */
};

/*
 * About 4 KiB, and every span points into the buffer that was parsed: keep
 * the head only as long as that buffer stays where it is.
 */
struct http_head {
	enum http_method method;
	struct span method_name;
	struct span target; /* as sent */
	struct span path;   /* begins with '/', or is "*"; still escaped */
	struct span query;  /* without '?'; ptr NULL if there is none */
	struct span host;   /* host[:port]; ptr NULL only in HTTP/1.0 */
	uint8_t minor;      /* 0 or 1; what a later 1.x sends counts as 1 */
	/*
	 * The body.  Never both; neither means that none follows.  GET and
	 * HEAD may have one: the caller must read or refuse it.
	 */
	bool has_length, chunked;
	uint64_t content_length;
	bool keep_alive;
	bool expect_continue; /* a body waits for our 100 */
	unsigned n_headers;
	struct http_header headers[HTTP_HEADERS_MAX];
};

enum http_progress {
	HTTP_MORE, /* all bytes are fine so far; come back with more */
	HTTP_DONE,
	HTTP_REFUSED, /* answer with refusal.status, then close */
};

struct http_refusal {
	unsigned status;
	const char *text; /* one sentence, static */
};

/*
 * Where the search for the end of a head stopped.  Zero it for each new head;
 * offsets, so the buffer may move between calls.
 */
struct http_scan {
	size_t at;       /* bytes already looked at */
	size_t line_end; /* of the request line; 0 until it is known */
};

/*
 * Parse the head at the start of buf[len].  While it says HTTP_MORE call it
 * again with the same bytes and more behind them and the same *scan: bytes
 * are looked at once, however they trickle in.  The answer depends only on
 * the bytes, never on how they were cut; a refusal comes as early as the
 * first byte that deserves it.
 *
 * HTTP_DONE fills *out and sets *used to the length of the head: the body, or
 * the next request, begins there.  HTTP_REFUSED fills *refusal.  *out is
 * undefined otherwise.
 */
enum http_progress http_head_parse(const char *buf, size_t len,
				   struct http_scan *scan,
				   struct http_head *out, size_t *used,
				   struct http_refusal *refusal) MUST_CHECK;

/* The first field of that name, any case; ptr is NULL if there is none. */
struct span http_head_find(const struct http_head *head, const char *name);

/*
 * Every field of that name: start with *at = 0.
 * while (http_head_next(head, "accept", &at, &value)) ...
 */
bool http_head_next(const struct http_head *head, const char *name,
		    unsigned *at, struct span *value);

/* How many fields of that name. */
unsigned http_head_count(const struct http_head *head, const char *name);

/* "GET"; "OTHER" for HTTP_OTHER.  For logs and metrics. */
const char *http_method_name(enum http_method method);

#endif
