/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_HTTP_CHUNKED_H
#define PROXY_HTTP_CHUNKED_H
/*
 * The chunked transfer coding (RFC 9112 section 7.1), decoded strictly and in
 * place: sizes are plain hexadecimal digits, every line ends in CRLF, what
 * surrounds the payload is bounded.  Extensions are passed over; trailer
 * fields are checked for their syntax and discarded.
 *
 * No allocation, no state but the struct, which the caller embeds.  Any
 * thread, one at a time.
 */
#include "proxy/http_parse.h"

#define HTTP_CHUNK_EXT_MAX 256           /* bytes of extensions in one line */
#define HTTP_CHUNK_EXT_TOTAL (16 * 1024) /* in one body */
#define HTTP_TRAILER_MAX (8 * 1024)      /* bytes of trailer lines */

/* Read `total` and `announced`, leave the rest alone. */
struct http_chunked {
	uint64_t total;     /* payload bytes handed out so far */
	uint64_t announced; /* of all chunks whose size was read */
	uint64_t left;      /* of the current chunk */
	uint32_t ext_bytes, ext_total;
	uint32_t trailer_bytes;
	uint8_t digits;
	uint8_t state;
};

void http_chunked_init(struct http_chunked *c);

/*
 * Take bytes of the body from buf[len].  *used of them are done with, and
 * *data is the payload among these, in place, often empty.  One call hands
 * out at most one run of payload: while it says HTTP_MORE and *used < len,
 * call again with the rest.
 *
 * HTTP_DONE: the body is over; what follows *used is the next request.
 * HTTP_REFUSED: the framing is lost, so close after the answer; nothing may
 * be fed any more.  Sizes whose sum passes INT64_MAX are refused.
 */
enum http_progress http_chunked_feed(struct http_chunked *c, const char *buf,
				     size_t len, size_t *used,
				     struct span *data,
				     struct http_refusal *refusal) MUST_CHECK;

/* How many bytes that come next are payload, whatever they are; 0 where
 * framing comes next. */
uint64_t http_chunked_left(const struct http_chunked *c);

#endif
