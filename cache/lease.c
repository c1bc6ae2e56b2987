/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/lease.h"

#include <pthread.h>

#define BUCKETS_FIRST 64

struct lease {
	LIST_ENTRY(lease) link;
	TAILQ_ENTRY(lease) by_age;
	struct digest dg;
	uint64_t taken_ms;
};

LIST_HEAD(lease_list, lease);

struct leases {
	pthread_mutex_t mu; /* guards everything here */
	uint64_t grace_ms;
	uint64_t since_ms; /* when the process began to lease */
	struct lease_list *buckets;
	size_t n_buckets, n;
	TAILQ_HEAD(, lease) ages; /* the oldest first */
};

static struct lease_list *buckets_new(size_t n)
{
	struct lease_list *buckets = xcalloc(n, sizeof(*buckets));

	for (size_t i = 0; i < n; i++)
		LIST_INIT(&buckets[i]);
	return buckets;
}

struct leases *leases_new(uint64_t grace_ms)
{
	struct leases *l = xcalloc(1, sizeof(*l));

	pthread_mutex_init(&l->mu, NULL);
	l->grace_ms = grace_ms;
	l->since_ms = now_ms();
	l->n_buckets = BUCKETS_FIRST;
	l->buckets = buckets_new(l->n_buckets);
	TAILQ_INIT(&l->ages);
	return l;
}

/* With the lock held, as all that follow. */
static void forget(struct leases *l, struct lease *lease)
{
	LIST_REMOVE(lease, link);
	TAILQ_REMOVE(&l->ages, lease, by_age);
	l->n--;
	free(lease);
}

void leases_free(struct leases **lp)
{
	struct leases *l = *lp;
	struct lease *lease;

	*lp = NULL;
	while ((lease = TAILQ_FIRST(&l->ages)))
		forget(l, lease);
	pthread_mutex_destroy(&l->mu);
	free(l->buckets);
	free(l);
}

void leases_set_grace(struct leases *l, uint64_t grace_ms)
{
	pthread_mutex_lock(&l->mu);
	l->grace_ms = grace_ms;
	pthread_mutex_unlock(&l->mu);
}

uint64_t leases_grace(struct leases *l)
{
	uint64_t grace_ms;

	pthread_mutex_lock(&l->mu);
	grace_ms = l->grace_ms;
	pthread_mutex_unlock(&l->mu);
	return grace_ms;
}

static struct lease_list *bucket_of(const struct leases *l,
				    const struct digest *dg)
{
	return &l->buckets[digest_hash(dg) % l->n_buckets];
}

static struct lease *find(const struct leases *l, const struct digest *dg)
{
	struct lease *lease;

	LIST_FOREACH (lease, bucket_of(l, dg), link)
		if (digest_equal(&lease->dg, dg))
			return lease;
	return NULL;
}

static void grow(struct leases *l)
{
	struct lease *lease;

	free(l->buckets);
	l->n_buckets *= 2;
	l->buckets = buckets_new(l->n_buckets);
	TAILQ_FOREACH (lease, &l->ages, by_age)
		LIST_INSERT_HEAD(bucket_of(l, &lease->dg), lease, link);
}

static struct lease *add(struct leases *l, const struct digest *dg)
{
	struct lease *lease = xcalloc(1, sizeof(*lease));

	if (l->n >= 2 * l->n_buckets)
		grow(l);
	lease->dg = *dg;
	LIST_INSERT_HEAD(bucket_of(l, dg), lease, link);
	l->n++;
	return lease;
}

static bool is_running(const struct leases *l, uint64_t since_ms,
		       uint64_t at_ms)
{
	return at_ms - since_ms < l->grace_ms;
}

/* Two for each that is taken, so that what has run out does not pile up and
 * nobody waits for long. */
static void forget_old(struct leases *l, uint64_t at_ms)
{
	for (unsigned i = 0; i < 2; i++) {
		struct lease *oldest = TAILQ_FIRST(&l->ages);

		if (oldest && !is_running(l, oldest->taken_ms, at_ms))
			forget(l, oldest);
	}
}

void lease_take(struct leases *l, const struct digest *dg)
{
	struct lease *lease;
	uint64_t at_ms;

	pthread_mutex_lock(&l->mu);
	at_ms = now_ms(); /* in the order of the list */
	forget_old(l, at_ms);
	lease = find(l, dg);
	if (lease)
		TAILQ_REMOVE(&l->ages, lease, by_age);
	else
		lease = add(l, dg);
	lease->taken_ms = at_ms;
	TAILQ_INSERT_TAIL(&l->ages, lease, by_age);
	pthread_mutex_unlock(&l->mu);
}

static bool is_taken(const struct leases *l, const struct digest *dg,
		     uint64_t at_ms)
{
	const struct lease *lease = find(l, dg);

	return lease && is_running(l, lease->taken_ms, at_ms);
}

bool lease_is_taken(struct leases *l, const struct digest *dg)
{
	bool taken;

	pthread_mutex_lock(&l->mu);
	taken = is_taken(l, dg, now_ms());
	pthread_mutex_unlock(&l->mu);
	return taken;
}

bool lease_has(struct leases *l, const struct digest *dg)
{
	uint64_t at_ms;
	bool has;

	pthread_mutex_lock(&l->mu);
	at_ms = now_ms();
	has = is_running(l, l->since_ms, at_ms) || is_taken(l, dg, at_ms);
	pthread_mutex_unlock(&l->mu);
	return has;
}
