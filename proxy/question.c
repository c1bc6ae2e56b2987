/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/question.h"

#include "proxy/server.h"

#include <jansson.h>
#include <stdarg.h>

/* Tags that are remembered as missing or failing, and lists. */
#define TAGS_REMEMBERED 4096
#define TAGS_REMEMBERED_BYTES (2 * MIB)
#define LISTS_REMEMBERED 256
#define LISTS_REMEMBERED_BYTES (4 * MIB)

/* ---- keys ---- */

/* None of the parts holds a blank: names, tags and digests by their grammars,
 * queries because they are encoded. */
static void key_of(char *out, const struct mirror_ask *ask)
{
	int n = snprintf(out, QUESTION_KEY_MAX + 1, "%d %s %s %s %s", ask->kind,
			 ask->upstream, ask->repo, ask->reference,
			 ask->query ? ask->query : "");

	assert(n > 0 && n <= QUESTION_KEY_MAX);
	(void)n;
}

void question_tag_key(char *out, const char *upstream, const char *repo,
		      const char *tag)
{
	snprintf(out, QUESTION_KEY_MAX + 1, "%s %s %s", upstream, repo, tag);
}

static size_t bucket_of(const char *key)
{
	uint32_t hash = 0x811c9dc5;

	for (; *key; key++)
		hash = (hash ^ (uint8_t)*key) * 0x01000193;
	return hash % 1024;
}

static struct question *find(struct questions *all, const char *key)
{
	struct question *q;

	LIST_FOREACH (q, &all->list[bucket_of(key)], link)
		if (strcmp(q->key, key) == 0)
			return q;
	return NULL;
}

/* ---- answers ---- */

static void answer_one(const struct mirror_answer *found, struct waiter *w)
{
	struct mirror_answer *a = xmemdup(found, sizeof(*found));

	memset(&a->msg, 0, sizeof(a->msg));
	a->msg.to = w->to;
	a->msg.magic = w->magic;
	a->msg.run = w->run;
	a->joined = w->joined;
	a->upstream_us = a->asked || w->joined ? now_us() - w->since_us : 0;
	if (a->body)
		buffer_ref(a->body);
	loop_post(w->home, &a->msg);
	free(w);
}

static void question_free(void *arg)
{
	struct question *q = arg;

	assert(q->ended && TAILQ_EMPTY(&q->waiters));
	timer_release(&q->pause);
	buffer_unref(&q->found.body);
	buffer_unref(&q->bytes);
	manifest_facts_release(&q->facts);
	json_decref(q->merged);
	json_decref(q->digests);
	conf_unref(&q->conf);
	free(q);
}

static void question_end(struct question *q)
{
	if (q->ended)
		return;
	q->ended = true;
	LIST_REMOVE(q, link);
	loop_unregister(q->all->loop, &q->handle);
	timer_clear(&q->pause);
	if (q->small)
		call_small_cancel(&q->small);
	if (q->call)
		call_cancel(&q->call);
	loop_defer(q->all->loop, question_free, q);
}

/*
 * After an error the tag's stale answer is immediate for a while, unless the
 * whole upstream is out, which says the same of all its tags.  A denial is
 * dated on the repository, and a 404 is an answer.
 */
static void remember_tag(struct question *q)
{
	char key[QUESTION_KEY_MAX + 1];
	enum err err = q->found.err;

	if (q->kind != ASK_TAG || !q->found.asked)
		return;
	question_tag_key(key, question_upstream(q), q->repo, q->reference);
	if (err == ERR_OK || err == ERR_NOT_FOUND)
		memo_forget(q->all->out, key);
	else if (q->tag_held && err != ERR_DENIED && err != ERR_CANCELED &&
		 !upstream_is_out(q->up))
		memo_put(q->all->out, key, q->up_conf->stale_hold_ms, NULL,
			 NULL);
	memo_put(q->all->negative, key,
		 err == ERR_NOT_FOUND ? q->up_conf->negative_ms : 0, NULL,
		 NULL);
}

void question_answer(struct question *q)
{
	struct waiter *w;

	remember_tag(q);
	while ((w = TAILQ_FIRST(&q->waiters))) {
		TAILQ_REMOVE(&q->waiters, w, link);
		answer_one(&q->found, w);
	}
	question_end(q);
}

bool question_answer_heads(struct question *q)
{
	struct waiter *w, *next;

	TAILQ_FOREACH_SAFE(w, &q->waiters, link, next)
	{
		if (!w->head_only)
			continue;
		TAILQ_REMOVE(&q->waiters, w, link);
		answer_one(&q->found, w);
	}
	if (!TAILQ_EMPTY(&q->waiters))
		return true;
	question_answer(q);
	return false;
}

static PRINTF_LIKE(3, 0) void set_error(struct question *q, enum err err,
					const char *fmt, va_list ap)
{
	q->found.err = err;
	vsnprintf(q->found.why.text, sizeof(q->found.why.text), fmt, ap);
}

void question_set_error(struct question *q, enum err err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	set_error(q, err, fmt, ap);
	va_end(ap);
}

void question_fail(struct question *q, enum err err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	set_error(q, err, fmt, ap);
	va_end(ap);
	question_answer(q);
}

void question_answer_noted(struct question *q, enum err err,
			   const struct why *why)
{
	(void)err;
	(void)why;
	question_answer(q);
}

const char *question_upstream(const struct question *q)
{
	return upstream_name(q->up);
}

/* ---- beginning ---- */

static bool is_by_digest(enum ask_kind kind)
{
	return kind != ASK_TAG && kind != ASK_TAGS &&
	       kind != ASK_VISIBILITY_MANIFEST && kind != ASK_VISIBILITY_TAGS;
}

static bool is_list(enum ask_kind kind)
{
	return kind == ASK_TAGS || kind == ASK_REFERRERS;
}

static void question_begin(struct question *q)
{
	static question_go *const begin[ASK_KINDS] = {
	    [ASK_TAG] = ask_tag,
	    [ASK_MANIFEST] = ask_manifest,
	    [ASK_YES_MANIFEST] = ask_yes_manifest,
	    [ASK_YES_BLOB] = ask_yes_blob,
	    [ASK_TAGS] = ask_tags,
	    [ASK_REFERRERS] = ask_referrers,
	    [ASK_VISIBILITY_MANIFEST] = ask_visibility,
	    [ASK_VISIBILITY_BLOB] = ask_visibility,
	    [ASK_VISIBILITY_TAGS] = ask_visibility_tags,
	};

	if (is_by_digest(q->kind) &&
	    digest_parse(q->reference, strlen(q->reference), &q->dg)) {
		question_fail(q, ERR_INVALID,
			      "\"%s\" is no digest to ask %s for", q->reference,
			      question_upstream(q));
		return;
	}
	question_look(q);
	begin[q->kind](q);
}

static void pause_over(void *arg)
{
	struct question *q = arg;

	q->go(q);
}

static struct question *question_new(struct questions *all, const char *key,
				     const struct mirror_ask *ask,
				     struct upstream *up)
{
	struct question *q = xcalloc(1, sizeof(*q));

	q->all = all;
	q->handle = loop_register(all->loop, q, QUESTION_MAGIC);
	snprintf(q->key, sizeof(q->key), "%s", key);
	q->kind = ask->kind;
	snprintf(q->repo, sizeof(q->repo), "%s", ask->repo);
	snprintf(q->reference, sizeof(q->reference), "%s", ask->reference);
	snprintf(q->query, sizeof(q->query), "%s",
		 ask->query ? ask->query : "");
	TAILQ_INIT(&q->waiters);
	q->up = up;
	/* Of the same reload as `up`, so the upstream is in it. */
	q->conf = conf_ref(mirror_conf(all->mirror));
	q->up_conf = conf_upstream_find(q->conf, upstream_name(up),
					strlen(upstream_name(up)));
	assert(q->up_conf);
	q->patience_ms = loop_now_ms(all->loop) + q->up_conf->first_byte_ms;
	timer_init(&q->pause, all->loop, pause_over, q);
	q->found.kind = ask->kind;
	q->found.size = CALL_LENGTH_UNKNOWN;
	LIST_INSERT_HEAD(&all->list[bucket_of(key)], q, link);
	return q;
}

/* ---- what is answered without a question ---- */

static void refuse_one(const struct mirror_ask *ask, struct waiter *w,
		       enum err err, unsigned status, const struct why *why)
{
	struct mirror_answer found = {
	    .kind = ask->kind,
	    .err = err,
	    .status = status,
	    .size = CALL_LENGTH_UNKNOWN,
	    .why = *why,
	};

	answer_one(&found, w);
}

static struct upstream *find_upstream(struct questions *all,
				      const struct mirror_ask *ask,
				      struct why *why)
{
	struct upstream *up =
	    upstream_find(mirror_upstreams(all->mirror), ask->upstream);

	if (!up) {
		why_set(why, ERR_UNAVAILABLE, "%s is not configured any more",
			ask->upstream);
	} else if (upstream_conf(up)->offline) {
		why_set(why, ERR_UNAVAILABLE,
			"%s is not asked: upstreams.\"%s\".offline is set",
			ask->upstream, ask->upstream);
		up = NULL;
	}
	return up;
}

/* True: a 404 from a moment ago. */
static bool is_negative(struct questions *all, const struct mirror_ask *ask,
			struct why *why)
{
	char key[QUESTION_KEY_MAX + 1];

	if (ask->kind != ASK_TAG)
		return false;
	question_tag_key(key, ask->upstream, ask->repo, ask->reference);
	if (ask->forget)
		memo_forget(all->negative, key);
	if (!memo_get(all->negative, key, NULL))
		return false;
	why_set(why, ERR_NOT_FOUND,
		"%s said a moment ago that it has no %s:%s (\"entrepot "
		"refresh\" has it asked again at once)",
		ask->upstream, ask->repo, ask->reference);
	return true;
}

void questions_forget(struct questions *all, const char *upstream,
		      const char *repo)
{
	static const enum ask_kind lists[] = {ASK_TAGS, ASK_REFERRERS};
	struct mirror_ask ask = {
	    .upstream = upstream,
	    .repo = repo,
	    .reference = "",
	};
	char key[QUESTION_KEY_MAX + 1];

	/* What both keys hold after the repository comes last. */
	question_tag_key(key, upstream, repo, "");
	memo_forget_prefix(all->negative, key);
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		ask.kind = lists[i];
		key_of(key, &ask);
		key[strlen(key) - 1] = '\0'; /* the blank before the query */
		memo_forget_prefix(all->lists, key);
	}
}

/* True: answered with a list from memory. */
static bool answer_list(struct questions *all, const struct mirror_ask *ask,
			const char *key, struct waiter *w)
{
	struct mirror_answer found = {
	    .kind = ask->kind,
	    .status = 200,
	    .size = CALL_LENGTH_UNKNOWN,
	};
	struct memo_found memo;

	if (!is_list(ask->kind) || ask->forget ||
	    !memo_get(all->lists, key, &memo))
		return false;
	found.body = memo.body;
	found.size = memo.body->len;
	snprintf(found.next, sizeof(found.next), "%s", memo.note);
	answer_one(&found, w);
	buffer_unref(&memo.body);
	return true;
}

void question_ask(struct questions *all, const struct mirror_ask *ask,
		  struct waiter *w)
{
	char key[QUESTION_KEY_MAX + 1];
	struct why why = {{0}};
	struct upstream *up;
	struct question *q;

	if (all->closing) {
		why_set(&why, ERR_CANCELED, "%s is not asked: we are stopping",
			ask->upstream);
		refuse_one(ask, w, ERR_CANCELED, 0, &why);
		return;
	}
	up = find_upstream(all, ask, &why);
	if (!up) {
		refuse_one(ask, w, ERR_UNAVAILABLE, 0, &why);
		return;
	}
	if (is_negative(all, ask, &why)) {
		refuse_one(ask, w, ERR_NOT_FOUND, 404, &why);
		return;
	}
	key_of(key, ask);
	if (answer_list(all, ask, key, w))
		return;
	q = find(all, key);
	w->joined = q != NULL;
	if (!q)
		q = question_new(all, key, ask, up);
	TAILQ_INSERT_TAIL(&q->waiters, w, link);
	if (!w->joined)
		question_begin(q);
}

/* ---- life ---- */

struct questions *questions_new(struct mirror *m)
{
	struct questions *all = xcalloc(1, sizeof(*all));

	all->mirror = m;
	all->loop = mirror_loop(m);
	all->cache = mirror_server(m)->cache;
	for (size_t i = 0; i < ARRAY_LEN(all->list); i++)
		LIST_INIT(&all->list[i]);
	all->negative = memo_new(TAGS_REMEMBERED, TAGS_REMEMBERED_BYTES);
	all->out = memo_new(TAGS_REMEMBERED, TAGS_REMEMBERED_BYTES);
	all->lists = memo_new(LISTS_REMEMBERED, LISTS_REMEMBERED_BYTES);
	return all;
}

void questions_close(struct questions *all)
{
	struct question *q;

	all->closing = true;
	for (size_t i = 0; i < ARRAY_LEN(all->list); i++)
		while ((q = LIST_FIRST(&all->list[i])))
			question_fail(q, ERR_CANCELED,
				      "%s is not asked: we are stopping",
				      question_upstream(q));
}

void questions_free(struct questions **allp)
{
	struct questions *all = *allp;

	if (!all)
		return;
	*allp = NULL;
	assert(!all->notes);
	memo_free(&all->negative);
	memo_free(&all->out);
	memo_free(&all->lists);
	free(all);
}
