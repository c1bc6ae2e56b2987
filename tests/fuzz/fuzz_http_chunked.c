/* SPDX-License-Identifier: Apache-2.0 */
/* The chunked decoder: the same payload and end wherever the input is cut. */
#include "proxy/http_chunked.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
	enum http_progress progress;
	size_t used, len;
	char *payload;
};

/* Feed buf[from..to); the payload is appended. */
static void feed(struct http_chunked *c, const char *buf, size_t from,
		 size_t to, struct outcome *o)
{
	struct http_refusal refusal = {0, NULL};

	while (from < to && o->progress == HTTP_MORE) {
		struct span run;
		size_t used;

		o->progress = http_chunked_feed(c, buf + from, to - from, &used,
						&run, &refusal);
		if (o->progress == HTTP_REFUSED) {
			assert(refusal.status == 400 && refusal.text);
			return;
		}
		assert(used > 0 && used <= to - from);
		assert(run.ptr >= buf + from &&
		       run.ptr + run.len <= buf + from + used);
		memcpy(o->payload + o->len, run.ptr, run.len);
		o->len += run.len;
		from += used;
		o->used += used;
	}
	assert(c->total == o->len && c->total <= c->announced);
}

static void decode(const char *buf, size_t len, size_t step, size_t cut,
		   struct outcome *o)
{
	struct http_chunked c;

	*o =
	    (struct outcome){.progress = HTTP_MORE, .payload = malloc(len + 1)};
	assert(o->payload);
	http_chunked_init(&c);
	feed(&c, buf, 0, cut, o);
	for (size_t at = cut; at < len && o->progress == HTTP_MORE; at += step)
		feed(&c, buf, at, MIN(at + step, len), o);
}

static void check_same(const struct outcome *a, struct outcome *b)
{
	assert(a->progress == b->progress && a->len == b->len);
	assert(memcmp(a->payload, b->payload, a->len) == 0);
	assert(a->progress == HTTP_REFUSED || a->used == b->used);
	free(b->payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *buf = (const char *)data;
	struct outcome whole, other;

	decode(buf, size, size + 1, 0, &whole);
	for (size_t cut = 1; cut < size; cut += size / 64 + 1) {
		decode(buf, size, size, cut, &other);
		check_same(&whole, &other);
	}
	decode(buf, size, 1, 0, &other);
	check_same(&whole, &other);
	free(whole.payload);
	return 0;
}
