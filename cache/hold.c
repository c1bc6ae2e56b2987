/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/hold.h"

#include <pthread.h>

#define HOLD_BUCKETS 64

TAILQ_HEAD(hold_list, hold);

/*
 * A bucket lists holders and waiters in the order they came: the first of a
 * digest is its holder.  There are as many as there are workers, or a few
 * more.
 */
struct holds {
	pthread_mutex_t mu; /* guards everything here */
	pthread_cond_t changed;
	struct hold_list buckets[HOLD_BUCKETS];
};

struct holds *holds_new(void)
{
	struct holds *t = xcalloc(1, sizeof(*t));

	pthread_mutex_init(&t->mu, NULL);
	pthread_cond_init(&t->changed, NULL);
	for (size_t i = 0; i < HOLD_BUCKETS; i++)
		TAILQ_INIT(&t->buckets[i]);
	return t;
}

void holds_free(struct holds **tp)
{
	struct holds *t = *tp;

	*tp = NULL;
	for (size_t i = 0; i < HOLD_BUCKETS; i++)
		assert(TAILQ_EMPTY(&t->buckets[i]));
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->mu);
	free(t);
}

static struct hold_list *bucket_of(struct holds *t, const struct digest *dg)
{
	return &t->buckets[digest_hash(dg) % HOLD_BUCKETS];
}

static struct hold *first_of(struct holds *t, const struct digest *dg)
{
	struct hold *h;

	TAILQ_FOREACH (h, bucket_of(t, dg), link)
		if (digest_equal(&h->dg, dg))
			return h;
	return NULL;
}

static void enqueue(struct holds *t, struct hold *h, const struct digest *dg,
		    void (*granted)(struct hold *h))
{
	h->dg = *dg;
	h->granted = granted;
	h->held = !first_of(t, dg);
	TAILQ_INSERT_TAIL(bucket_of(t, dg), h, link);
}

bool hold_ask(struct holds *t, struct hold *h, const struct digest *dg,
	      void (*granted)(struct hold *h))
{
	bool held;

	pthread_mutex_lock(&t->mu);
	enqueue(t, h, dg, granted);
	held = h->held;
	pthread_mutex_unlock(&t->mu);
	return held;
}

void hold_wait(struct holds *t, struct hold *h, const struct digest *dg)
{
	pthread_mutex_lock(&t->mu);
	enqueue(t, h, dg, NULL);
	while (!h->held)
		pthread_cond_wait(&t->changed, &t->mu);
	pthread_mutex_unlock(&t->mu);
}

void hold_release(struct holds *t, struct hold *h)
{
	void (*granted)(struct hold * h) = NULL;
	struct hold *next;

	pthread_mutex_lock(&t->mu);
	assert(h->held);
	h->held = false;
	TAILQ_REMOVE(bucket_of(t, &h->dg), h, link);
	next = first_of(t, &h->dg);
	if (next) {
		next->held = true;
		granted = next->granted;
		if (!granted)
			pthread_cond_broadcast(&t->changed);
	}
	pthread_mutex_unlock(&t->mu);
	/* Only its owner can release it, and waits to be told. */
	if (granted)
		granted(next);
}

bool hold_is_held(struct holds *t, const struct digest *dg)
{
	bool held;

	pthread_mutex_lock(&t->mu);
	held = first_of(t, dg) != NULL;
	pthread_mutex_unlock(&t->mu);
	return held;
}
