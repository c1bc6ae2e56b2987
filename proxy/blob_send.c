/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/blob_send.h"

#include "cache/blob.h"
#include "proxy/body_flow.h"
#include "proxy/hook.h"

/* ---- what is asked for ---- */

void blob_reply_ignore_ranges(struct blob_reply *b)
{
	free(b->ranges);
	b->ranges = NULL;
	b->n_ranges = 0;
}

static struct flow_range flow_range_of(const struct http_range *range)
{
	struct flow_range fr = {FLOW_BOUNDED, range->first, range->last, 0};

	if (range->form == HTTP_RANGE_OPEN)
		fr.shape = range->first ? FLOW_OPEN_END : FLOW_WHOLE;
	return fr;
}

struct flow_range blob_reply_range(const struct blob_reply *b)
{
	struct flow_range whole = {FLOW_WHOLE, 0, 0, 0};
	struct flow_range a_byte = {FLOW_BOUNDED, 0, 0, 0};
	struct flow_range fr;

	if (b->unsatisfiable)
		return a_byte; /* only the size is needed */
	if (!b->ranges)
		return whole;
	fr = flow_range_of(&b->ranges[0]);
	if (b->ranges[0].form == HTTP_RANGE_SUFFIX) {
		fr.shape = FLOW_SUFFIX;
		fr.suffix = b->ranges[0].last;
	}
	return fr;
}

/* False: a reply has been sent. */
static bool read_ranges(struct blob_reply *b, struct request *r)
{
	struct span if_range = http_head_find(r->head, "if-range");
	struct span value = http_head_find(r->head, "range");
	unsigned max = r->conf->server.max_ranges;

	if (r->is_head || !value.ptr || http_head_count(r->head, "range") > 1 ||
	    (if_range.ptr && !http_if_range_matches(if_range, r->route.ref)))
		return true;
	b->ranges = xcalloc(max, sizeof(*b->ranges));
	switch (http_range_parse(value, b->ranges, max, &b->n_ranges)) {
	case HTTP_RANGE_OK:
		return true;
	case HTTP_RANGE_UNSATISFIABLE:
		b->unsatisfiable = true; /* its 416 tells the size */
		blob_reply_ignore_ranges(b);
		return true;
	case HTTP_RANGE_NONE:
		blob_reply_ignore_ranges(b);
		return true;
	case HTTP_RANGE_TOO_MANY:
		break;
	}
	reply_error(r, 400, CODE_RANGE_INVALID,
		    "more ranges than server.max_ranges allows; ask for fewer "
		    "at a time",
		    NULL);
	return false;
}

/* ---- the head ---- */

static void common_headers(struct request *r)
{
	const char *dg = r->route.ref;

	reply_digest(r, dg);
	reply_field(r, "Accept-Ranges", "bytes");
	reply_field(r, "Cache-Control", "max-age=31536000");
}

bool blob_reply_init(struct blob_reply *b, struct request *r)
{
	memset(b, 0, sizeof(*b));
	b->not_modified = reply_not_modified(r, r->route.ref);
	return read_ranges(b, r);
}

bool blob_reply_is_bare(const struct blob_reply *b, const struct request *r)
{
	return r->is_head || b->not_modified;
}

/*
 * RFC 9110, 13.2.1: "A server MUST ignore all received preconditions if its
 * response to the same request without those conditions [...] would have been
 * a status code other than a 2xx (Successful) or 412 (Precondition Failed)."
 * A blob's name is its content, but does not say that there is one.
 */
static void send_not_modified(struct request *r)
{
	reply_begin(r, 304);
	common_headers(r);
	reply_send(r, 0, NULL);
}

static void send_unsatisfiable(struct request *r, const struct blob_reply *b)
{
	char range[HTTP_CONTENT_RANGE_SIZE];

	http_content_range_format_416(b->size, range);
	reply_begin(r, 416);
	reply_field(r, "Content-Range", range);
	reply_send_error(r, CODE_RANGE_INVALID,
			 "no byte of the blob is in this range", NULL);
}

/* ---- one body ---- */

/* Bytes [first, last] of a stored blob or a growing file; takes either. */
static struct body *bytes_of(struct request *r, struct blob *STEALS blob,
			     struct flow_reader *STEALS reader, uint64_t first,
			     uint64_t last)
{
	struct body *body;

	if (!reader)
		return body_file(r->server->jobs, blob, first, last);
	body = body_flow(r->server->mirror, r->names.upstream, r->names.repo,
			 reader, first, last);
	body->waited_us = &r->upstream_us;
	return body;
}

/* Takes the source. */
static struct body *only_body(struct request *r, struct blob_reply *b,
			      uint64_t first, uint64_t last)
{
	struct flow_reader *reader = b->reader;
	struct blob *blob = b->blob;
	struct pass *pass = b->pass;
	struct body *body;

	b->reader = NULL;
	b->blob = NULL;
	b->pass = NULL;
	if (!pass)
		return bytes_of(r, blob, reader, first, last);
	body = body_pass(pass);
	body->waited_us = &r->upstream_us;
	return body;
}

static void send_whole(struct request *r, struct blob_reply *b)
{
	struct body *body = NULL;

	hook_pulled(r, true, &r->route.digest, "application/octet-stream",
		    b->size);
	reply_begin(r, 200);
	common_headers(r);
	reply_field(r, "Content-Type", "application/octet-stream");
	if (b->pass || (b->size && !r->is_head))
		body = only_body(r, b, 0, b->size - 1);
	reply_send(r, b->size, body);
}

/* ---- ranges: several as multipart/byteranges, in the order asked ---- */

#define PART_HEAD_MAX 256

static size_t part_head(const struct request *r, const struct blob_reply *b,
			unsigned i, char *out)
{
	char text[HTTP_CONTENT_RANGE_SIZE];

	http_content_range_format(b->ranges[i].first, b->ranges[i].last,
				  b->size, text);
	return (size_t)snprintf(out, PART_HEAD_MAX,
				"%s--%016" PRIx64 "\r\n"
				"Content-Type: application/octet-stream\r\n"
				"Content-Range: %s\r\n\r\n",
				i ? "\r\n" : "", r->id, text);
}

/* Parts that lie near each other are asked of the upstream as one: where the
 * run of parts that begins with `i` ends. */
static uint64_t run_end(const struct request *r, const struct blob_reply *b,
			unsigned i)
{
	uint64_t gap = r->conf->fetch.merge_gap_bytes;
	uint64_t end = b->ranges[i].last + 1;

	while (++i < b->n_ranges && b->ranges[i].first >= end &&
	       b->ranges[i].first - end < gap)
		end = b->ranges[i].last + 1;
	return end;
}

/* The reader at hand has the shape of the first range that was asked for, which
 * may lie past the end and be left out: each range has a reader of its own. */
static struct body *part_body(struct request *r, struct blob_reply *b,
			      unsigned i)
{
	const struct http_range *range = &b->ranges[i];
	struct flow_range fr = flow_range_of(range);
	struct flow_reader *reader = NULL;
	struct blob *blob = NULL;

	if (b->reader)
		reader = flow_reader_more(b->reader, &fr, run_end(r, b, i));
	else
		blob = blob_repin(b->blob);
	return bytes_of(r, blob, reader, range->first, range->last);
}

static void send_one_range(struct request *r, struct blob_reply *b)
{
	uint64_t first = b->ranges[0].first, last = b->ranges[0].last;
	struct body *body =
	    b->reader ? part_body(r, b, 0) : only_body(r, b, first, last);
	char text[HTTP_CONTENT_RANGE_SIZE];

	flow_reader_free(&b->reader);
	http_content_range_format(first, last, b->size, text);
	reply_begin(r, 206);
	common_headers(r);
	reply_field(r, "Content-Type", "application/octet-stream");
	reply_field(r, "Content-Range", text);
	reply_send(r, last - first + 1, body);
}

static void send_multipart(struct request *r, struct blob_reply *b)
{
	struct body **parts =
	    xcalloc(2 * (size_t)b->n_ranges + 1, sizeof(*parts));
	char head[PART_HEAD_MAX], *end;
	uint64_t total = 0;
	size_t n = 0, len;

	for (unsigned i = 0; i < b->n_ranges; i++) {
		len = part_head(r, b, i, head);
		total += len + b->ranges[i].last - b->ranges[i].first + 1;
		parts[n++] = body_memory(xmemdup(head, len), len);
		parts[n++] = part_body(r, b, i);
	}
	end = xasprintf("\r\n--%016" PRIx64 "--\r\n", r->id);
	len = strlen(end);
	total += len;
	parts[n++] = body_memory(end, len);
	flow_reader_free(&b->reader);
	reply_begin(r, 206);
	common_headers(r);
	reply_header(r, "Content-Type",
		     "multipart/byteranges; boundary=%016" PRIx64, r->id);
	reply_send(r, total, body_chain(parts, n));
}

/* ---- all of it ---- */

void blob_send(struct request *r, struct blob_reply *b)
{
	if (b->not_modified) {
		send_not_modified(r);
	} else if (b->unsatisfiable) {
		send_unsatisfiable(r, b);
	} else if (r->is_head || !b->ranges) {
		send_whole(r, b);
	} else if (http_range_resolve(b->ranges, &b->n_ranges, b->size) !=
		   HTTP_RANGE_OK) {
		send_unsatisfiable(r, b);
	} else if (b->n_ranges == 1) {
		send_one_range(r, b);
	} else {
		send_multipart(r, b);
	}
}

void blob_reply_release(struct blob_reply *b)
{
	if (b->blob)
		blob_unpin(&b->blob);
	flow_reader_free(&b->reader);
	pass_free(&b->pass);
	blob_reply_ignore_ranges(b);
}
