/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_BLOB_SEND_H
#define PROXY_BLOB_SEND_H
/*
 * A blob as a reply: what of it the client asked for, conditions, HEAD, and
 * the answer: whole, one range, several, or none of them.  serve_blob.c finds
 * where the bytes come from.
 */
#include "proxy/flow.h"
#include "proxy/http_range.h"
#include "proxy/pass.h"
#include "proxy/reply.h"

struct blob_reply {
	/* What is asked for. */
	struct http_range *ranges; /* NULL: the whole blob */
	unsigned n_ranges;
	bool unsatisfiable; /* a range that no blob satisfies */
	bool not_modified;  /* the client has it: 304, if it may have it */

	/* What the answer is made from: the size, and, unless it is a HEAD
	 * or not modified, one source, which is owned here until blob_send()
	 * takes it.  A 304 needs no size. */
	uint64_t size;
	struct blob *blob;
	struct flow_reader *reader;
	struct pass *pass;
};

/* Read If-None-Match and Range.  False: a reply has been sent. */
bool blob_reply_init(struct blob_reply *b, struct request *r) MUST_CHECK;
void blob_reply_release(struct blob_reply *b);

/* What a source should bring first: of several ranges the first, of none that
 * can be satisfied one byte, for the size.  With the size known the first may
 * turn out to lie past the end. */
struct flow_range blob_reply_range(const struct blob_reply *b);

/* Answer with the whole blob, whatever ranges were asked for: RFC 9110, 14.2
 * lets a server ignore them, and a 200 is always right. */
void blob_reply_ignore_ranges(struct blob_reply *b);

/* Is the answer a head alone? */
bool blob_reply_is_bare(const struct blob_reply *b, const struct request *r);

/* The size is known, the source is there, and the client may see it: 200, 206,
 * 304 or 416. */
void blob_send(struct request *r, struct blob_reply *b);

#endif
