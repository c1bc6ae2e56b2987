/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One entry for each key, in a table and in order of use:
 *
 *   EMPTY -> ASKING (token_request.c) -> HELD (token) -> EMPTY ...
 *
 * An entry with somebody waiting, or asking, is never dropped.
 */
#include "proxy/upstream_token.h"

#include "proxy/token_request.h"

#define TOKEN_BUCKETS 256
#define TOKENS_MAX 4096

struct token_ask {
	LIST_ENTRY(token_ask) link;
	token_cb *cb;
	void *arg;
};

struct entry {
	LIST_ENTRY(entry) bucket;
	TAILQ_ENTRY(entry) use; /* the last used is the last */
	struct tokens *all;
	char *key;
	char *token; /* NULL: none */
	uint64_t expires_ms;
	LIST_HEAD(, token_ask) asks;
	struct token_request *request; /* under way; NULL: none */
};

struct tokens {
	struct token_requests *requests;
	LIST_HEAD(, entry) buckets[TOKEN_BUCKETS];
	TAILQ_HEAD(, entry) used;
	unsigned n;
};

/* ---- entries ---- */

static unsigned bucket_of(const char *key)
{
	uint32_t h = 2166136261u;

	for (; *key; key++)
		h = (h ^ (uint8_t)*key) * 16777619u;
	return h % TOKEN_BUCKETS;
}

static struct entry *entry_find(struct tokens *t, const char *key)
{
	struct entry *e;

	LIST_FOREACH (e, &t->buckets[bucket_of(key)], bucket)
		if (strcmp(e->key, key) == 0)
			return e;
	return NULL;
}

static void entry_free(struct entry *e)
{
	assert(LIST_EMPTY(&e->asks));
	token_request_cancel(&e->request);
	LIST_REMOVE(e, bucket);
	TAILQ_REMOVE(&e->all->used, e, use);
	e->all->n--;
	secret_wipe(&e->token);
	free(e->key);
	free(e);
}

static void make_room(struct tokens *t)
{
	struct entry *e, *next;

	TAILQ_FOREACH_SAFE(e, &t->used, use, next)
	{
		if (t->n < TOKENS_MAX)
			return;
		if (!e->request && LIST_EMPTY(&e->asks))
			entry_free(e);
	}
}

static struct entry *entry_get(struct tokens *t, char *STEALS key)
{
	struct entry *e = entry_find(t, key);

	if (e) {
		free(key);
		TAILQ_REMOVE(&t->used, e, use);
	} else {
		make_room(t);
		e = xcalloc(1, sizeof(*e));
		e->all = t;
		e->key = key;
		LIST_INIT(&e->asks);
		LIST_INSERT_HEAD(&t->buckets[bucket_of(key)], e, bucket);
		t->n++;
	}
	TAILQ_INSERT_TAIL(&t->used, e, use);
	return e;
}

/* The request is over: tell all who wait.  They may ask again at once. */
static void answer(struct entry *e, enum err err, const struct why *why)
{
	LIST_HEAD(, token_ask) asks = LIST_HEAD_INITIALIZER(asks);
	char *token = err ? NULL : xstrdup(e->token);
	struct token_ask *ask;

	while ((ask = LIST_FIRST(&e->asks))) {
		LIST_REMOVE(ask, link);
		LIST_INSERT_HEAD(&asks, ask, link);
	}
	while ((ask = LIST_FIRST(&asks))) {
		token_cb *cb = ask->cb;
		void *arg = ask->arg;

		LIST_REMOVE(ask, link);
		free(ask);
		cb(arg, err, token, why);
	}
	secret_wipe(&token);
}

static void fetched(void *arg, enum err err, char *token, uint64_t life_s,
		    const struct why *why)
{
	struct entry *e = arg;

	e->request = NULL;
	if (!err) {
		secret_wipe(&e->token);
		e->token = token;
		e->expires_ms = now_ms() + life_s * 900;
	}
	answer(e, err, why);
}

/* ---- the public functions ---- */

const char *token_cached(struct tokens *t, const struct token_spec *spec)
{
	char *key = token_key(spec);
	struct entry *e = entry_find(t, key);

	free(key);
	if (!e || !e->token)
		return NULL;
	if (e->expires_ms <= now_ms()) {
		secret_wipe(&e->token);
		return NULL;
	}
	TAILQ_REMOVE(&t->used, e, use);
	TAILQ_INSERT_TAIL(&t->used, e, use);
	return e->token;
}

void token_forget(struct tokens *t, const struct token_spec *spec,
		  const char *token)
{
	char *key = token_key(spec);
	struct entry *e = entry_find(t, key);

	free(key);
	if (e && e->token && strcmp(e->token, token) == 0)
		secret_wipe(&e->token);
}

struct token_ask *token_ask(struct tokens *t, const struct token_spec *spec,
			    token_cb *cb, void *arg)
{
	struct entry *e = entry_get(t, token_key(spec));
	struct token_ask *ask = xcalloc(1, sizeof(*ask));

	ask->cb = cb;
	ask->arg = arg;
	LIST_INSERT_HEAD(&e->asks, ask, link);
	if (!e->request)
		e->request = token_request_start(t->requests, spec, fetched, e);
	return ask;
}

/* The request itself goes on: the next who asks has its token. */
void token_cancel(struct token_ask **ask)
{
	if (!*ask)
		return;
	LIST_REMOVE(*ask, link);
	free(*ask);
	*ask = NULL;
}

struct tokens *tokens_new(struct dialer *dr)
{
	struct tokens *t = xcalloc(1, sizeof(*t));

	t->requests = token_requests_new(dr);
	for (size_t i = 0; i < TOKEN_BUCKETS; i++)
		LIST_INIT(&t->buckets[i]);
	TAILQ_INIT(&t->used);
	return t;
}

void tokens_free(struct tokens **tp)
{
	struct tokens *t = *tp;
	struct entry *e;

	if (!t)
		return;
	*tp = NULL;
	while ((e = TAILQ_FIRST(&t->used)))
		entry_free(e);
	token_requests_free(&t->requests);
	free(t);
}
