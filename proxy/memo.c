/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/memo.h"

#include <pthread.h>

#define MEMO_BUCKETS 256

struct entry {
	LIST_ENTRY(entry) link; /* its bucket */
	TAILQ_ENTRY(entry) age; /* the oldest first */
	uint64_t hash, until_ms;
	struct buffer *body;
	char *note;
	uint64_t cost;
	char key[];
};

struct memo {
	pthread_mutex_t mu; /* everything below but the bounds */
	LIST_HEAD(, entry) buckets[MEMO_BUCKETS];
	TAILQ_HEAD(, entry) ages;
	size_t n; /* atomic: an empty memo is asked without the mutex */
	uint64_t bytes;
	size_t max_entries;
	uint64_t max_bytes;
};

/* FNV-1a.  Who chooses keys that collide makes a memo of bounded size slow,
 * and no more. */
static uint64_t hash_of(const char *key)
{
	uint64_t hash = 0xcbf29ce484222325u;

	for (; *key; key++)
		hash = (hash ^ (uint8_t)*key) * 0x100000001b3u;
	return hash;
}

static struct entry *find(struct memo *m, const char *key, uint64_t hash)
{
	struct entry *e;

	LIST_FOREACH (e, &m->buckets[hash % MEMO_BUCKETS], link)
		if (e->hash == hash && strcmp(e->key, key) == 0)
			return e;
	return NULL;
}

static void drop(struct memo *m, struct entry *e)
{
	LIST_REMOVE(e, link);
	TAILQ_REMOVE(&m->ages, e, age);
	__atomic_sub_fetch(&m->n, 1, __ATOMIC_RELAXED);
	m->bytes -= e->cost;
	buffer_unref(&e->body);
	free(e->note);
	free(e);
}

static struct entry *entry_new(const char *key, uint64_t hash,
			       struct buffer *body, const char *note)
{
	size_t len = strlen(key) + 1;
	struct entry *e = xcalloc(1, sizeof(*e) + len);

	memcpy(e->key, key, len);
	e->hash = hash;
	e->body = body ? buffer_ref(body) : NULL;
	e->note = note ? xstrdup(note) : NULL;
	e->cost = sizeof(*e) + len + (body ? body->len : 0) +
		  (note ? strlen(note) : 0);
	return e;
}

static void insert(struct memo *m, struct entry *e)
{
	struct entry *first;

	LIST_INSERT_HEAD(&m->buckets[e->hash % MEMO_BUCKETS], e, link);
	TAILQ_INSERT_TAIL(&m->ages, e, age);
	__atomic_add_fetch(&m->n, 1, __ATOMIC_RELAXED);
	m->bytes += e->cost;
	while (m->n > m->max_entries || m->bytes > m->max_bytes) {
		first = TAILQ_FIRST(&m->ages);
		assert(first);
		drop(m, first);
	}
}

/* Those that are over go when something comes: the bound holds anyway, but
 * a long list should not outlive its minute for nothing. */
static void drop_old(struct memo *m, uint64_t now)
{
	struct entry *e, *next;

	TAILQ_FOREACH_SAFE(e, &m->ages, age, next)
	{
		if (e->until_ms > now)
			return;
		drop(m, e);
	}
}

void memo_put(struct memo *m, const char *key, uint64_t ttl_ms,
	      struct buffer *body, const char *note)
{
	uint64_t hash = hash_of(key), now = now_ms();
	struct entry *e;

	pthread_mutex_lock(&m->mu);
	e = find(m, key, hash);
	if (e)
		drop(m, e);
	drop_old(m, now);
	if (ttl_ms) {
		e = entry_new(key, hash, body, note);
		if (!size_add(now, ttl_ms, &e->until_ms))
			e->until_ms = UINT64_MAX;
		insert(m, e);
	}
	pthread_mutex_unlock(&m->mu);
}

bool memo_is_empty(const struct memo *m)
{
	return __atomic_load_n(&m->n, __ATOMIC_RELAXED) == 0;
}

bool memo_get(struct memo *m, const char *key, struct memo_found *out)
{
	uint64_t hash;
	struct entry *e;

	if (memo_is_empty(m))
		return false;
	hash = hash_of(key);
	pthread_mutex_lock(&m->mu);
	e = find(m, key, hash);
	if (e && e->until_ms <= now_ms()) {
		drop(m, e);
		e = NULL;
	}
	if (e && out) {
		out->body = e->body ? buffer_ref(e->body) : NULL;
		snprintf(out->note, sizeof(out->note), "%s",
			 e->note ? e->note : "");
	}
	pthread_mutex_unlock(&m->mu);
	return e != NULL;
}

void memo_forget(struct memo *m, const char *key)
{
	struct entry *e;

	pthread_mutex_lock(&m->mu);
	e = find(m, key, hash_of(key));
	if (e)
		drop(m, e);
	pthread_mutex_unlock(&m->mu);
}

void memo_forget_prefix(struct memo *m, const char *prefix)
{
	size_t len = strlen(prefix);
	struct entry *e, *next;

	pthread_mutex_lock(&m->mu);
	TAILQ_FOREACH_SAFE(e, &m->ages, age, next)
	{
		if (strncmp(e->key, prefix, len) == 0)
			drop(m, e);
	}
	pthread_mutex_unlock(&m->mu);
}

struct memo *memo_new(size_t max_entries, uint64_t max_bytes)
{
	struct memo *m = xcalloc(1, sizeof(*m));

	pthread_mutex_init(&m->mu, NULL);
	for (size_t i = 0; i < MEMO_BUCKETS; i++)
		LIST_INIT(&m->buckets[i]);
	TAILQ_INIT(&m->ages);
	m->max_entries = max_entries;
	m->max_bytes = max_bytes;
	return m;
}

void memo_free(struct memo **mp)
{
	struct memo *m = *mp;
	struct entry *e;

	if (!m)
		return;
	*mp = NULL;
	while ((e = TAILQ_FIRST(&m->ages)))
		drop(m, e);
	pthread_mutex_destroy(&m->mu);
	free(m);
}
