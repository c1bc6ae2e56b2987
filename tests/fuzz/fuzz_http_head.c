/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head parser: the same answer wherever the input is cut, spans inside
 * the buffer, never two framings of one body.
 */
#include "proxy/http_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
	enum http_progress progress;
	struct http_head head;
	size_t used;
	struct http_refusal refusal;
};

static void check_inside(struct span s, const char *buf, size_t used)
{
	assert(s.ptr >= buf && s.len <= used);
	assert((size_t)(s.ptr - buf) <= used - s.len);
}

static void check_done(const struct outcome *o, const char *buf, size_t len)
{
	const struct http_head *h = &o->head;

	assert(o->used <= len && o->used <= HTTP_HEAD_MAX && o->used >= 4);
	assert(memcmp(buf + o->used - 4, "\r\n\r\n", 4) == 0);
	assert(!(h->chunked && h->has_length));
	assert(h->has_length || !h->content_length);
	assert(h->minor <= 1 && !(h->minor == 0 && h->chunked));
	check_inside(h->method_name, buf, o->used);
	check_inside(h->target, buf, o->used);
	check_inside(h->path, buf, o->used);
	assert(h->path.len && (h->path.ptr[0] == '/' || span_is(h->path, "*")));
	if (h->query.ptr)
		check_inside(h->query, buf, o->used);
	if (h->host.ptr)
		check_inside(h->host, buf, o->used);
	assert(h->host.ptr || h->minor == 0);
	assert(h->n_headers <= HTTP_HEADERS_MAX);
	for (unsigned i = 0; i < h->n_headers; i++) {
		check_inside(h->headers[i].name, buf, o->used);
		check_inside(h->headers[i].value, buf, o->used);
		assert(http_is_token(h->headers[i].name));
		assert(!memchr(h->headers[i].value.ptr, '\n',
			       h->headers[i].value.len));
	}
}

static void check_refused(const struct outcome *o)
{
	static const unsigned known[] = {400, 414, 417, 431, 501, 505};
	bool found = false;

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		found |= o->refusal.status == known[i];
	assert(found && o->refusal.text[0]);
}

/* What makes two heads the same request, apart from where they lie. */
static void check_same(const struct outcome *a, const struct outcome *b)
{
	assert(a->progress == b->progress);
	if (a->progress == HTTP_REFUSED)
		assert(a->refusal.status == b->refusal.status &&
		       a->refusal.text == b->refusal.text);
	if (a->progress != HTTP_DONE)
		return;
	assert(a->used == b->used && a->head.method == b->head.method);
	assert(a->head.minor == b->head.minor);
	assert(a->head.chunked == b->head.chunked);
	assert(a->head.has_length == b->head.has_length);
	assert(a->head.content_length == b->head.content_length);
	assert(a->head.keep_alive == b->head.keep_alive);
	assert(a->head.expect_continue == b->head.expect_continue);
	assert(a->head.n_headers == b->head.n_headers);
	assert(a->head.path.len == b->head.path.len);
	assert(a->head.query.len == b->head.query.len);
	assert(a->head.host.len == b->head.host.len);
}

/* First `cut` bytes, then all of them in another buffer. */
static void parse_cut(const char *buf, size_t len, size_t cut,
		      struct outcome *o)
{
	struct http_scan scan = {0};
	char *first = malloc(MAX(cut, 1));

	assert(first);
	memcpy(first, buf, cut);
	o->progress =
	    http_head_parse(first, cut, &scan, &o->head, &o->used, &o->refusal);
	if (o->progress == HTTP_DONE)
		check_done(o, first, cut);
	free(first);
	if (o->progress == HTTP_MORE)
		o->progress = http_head_parse(buf, len, &scan, &o->head,
					      &o->used, &o->refusal);
}

/* Byte by byte. */
static void parse_trickling(const char *buf, size_t len, struct outcome *o)
{
	struct http_scan scan = {0};

	o->progress = HTTP_MORE;
	for (size_t n = 1; n <= len && o->progress == HTTP_MORE; n++)
		o->progress = http_head_parse(buf, n, &scan, &o->head, &o->used,
					      &o->refusal);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct outcome whole, other;
	const char *buf = (const char *)data;
	size_t step = size / 64 + 1;

	parse_cut(buf, size, size, &whole);
	if (whole.progress == HTTP_REFUSED)
		check_refused(&whole);
	for (size_t cut = 0; cut < size; cut += step) {
		parse_cut(buf, size, cut, &other);
		check_same(&whole, &other);
	}
	parse_trickling(buf, size, &other);
	check_same(&whole, &other);
	return 0;
}
