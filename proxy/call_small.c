/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/call.h"

/* Heads that announce more than this grow as they come. */
#define FIRST_ROOM 4096

struct call_small {
	struct call *call;
	struct upstream *up;
	size_t max_body;
	call_small_cb *cb;
	void *arg;

	/* the head, with strings of our own */
	struct call_head head;
	char *content_type, *next, *filters_applied;
	bool has_head;

	uint8_t *body;
	size_t len, room;
	bool too_big;
};

static void small_free(struct call_small *s)
{
	free(s->content_type);
	free(s->next);
	free(s->filters_applied);
	free(s->body);
	free(s);
}

static char *keep(const char **text)
{
	char *copy = *text ? xstrdup(*text) : NULL;

	*text = copy;
	return copy;
}

static bool small_head(void *arg, const struct call_head *h)
{
	struct call_small *s = arg;

	s->head = *h;
	s->has_head = true;
	s->content_type = keep(&s->head.content_type);
	s->next = keep(&s->head.next);
	s->filters_applied = keep(&s->head.filters_applied);
	return true;
}

static void make_room(struct call_small *s, size_t len)
{
	if (s->len + len <= s->room)
		return;
	s->room = MAX(MAX(s->room * 2, s->len + len), FIRST_ROOM);
	s->body = xrealloc(s->body, s->room);
}

static enum fetch_take small_data(void *arg, const void *buf, size_t len)
{
	struct call_small *s = arg;

	if (len > s->max_body - s->len) {
		s->too_big = true;
		return FETCH_STOP;
	}
	make_room(s, len);
	memcpy(s->body + s->len, buf, len);
	s->len += len;
	return FETCH_TOOK;
}

static void small_done(void *arg, enum err err, bool had_head,
		       const struct why *why)
{
	struct call_small *s = arg;
	struct call_answer answer = {
	    .head = s->has_head && !err ? &s->head : NULL,
	    .body = s->body ? (const void *)s->body : "",
	    .len = s->len,
	};
	struct why big;

	(void)had_head;
	s->call = NULL;
	if (!err && s->too_big) {
		why_set(&big, ERR_TOO_BIG,
			"%s: the answer has more than %zu bytes",
			upstream_name(s->up), s->max_body);
		answer.head = NULL;
		s->cb(s->arg, ERR_TOO_BIG, &answer, &big);
	} else {
		s->cb(s->arg, err, &answer, why);
	}
	small_free(s);
}

static const struct call_events small_events = {
    .head = small_head,
    .data = small_data,
    .done = small_done,
};

struct call_small *call_small_start(struct caller *c,
				    const struct call_spec *spec,
				    size_t max_body, call_small_cb *cb,
				    void *arg)
{
	struct call_small *s = xcalloc(1, sizeof(*s));

	s->up = spec->up;
	s->max_body = max_body;
	s->cb = cb;
	s->arg = arg;
	s->call = call_start(c, spec, &small_events, s);
	return s;
}

/* Not from its own callback: `s` is gone when that returns. */
void call_small_cancel(struct call_small **sp)
{
	struct call_small *s = *sp;

	if (!s)
		return;
	*sp = NULL;
	call_cancel(&s->call);
	small_free(s);
}
