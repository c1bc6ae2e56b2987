/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set of digests in an open-addressed table: a touch costs a short lock and
 * a probe, and however often a blob is hit between two flushes, one row
 * operation.
 *
 * It is lossy by design.  Past TOUCHED_MAX digests, touches are forgotten
 * until the next flush, and a flush that finds the last one still queued (the
 * disk is slow, or full) leaves the set to grow to that bound.
 */
#include "cache/recency.h"

#include "cache/cache_int.h"

#include <pthread.h>
#include <stdatomic.h>

#define TOUCHED_MIN 64
#define TOUCHED_MAX 8192
/* A touch is four row operations at most; a background one may have 128. */
#define TOUCHES_PER_OP 32

struct touched {
	struct digest *slots; /* alg 0 = free */
	size_t n, room;       /* room: a power of two, at most half used */
};

struct recency {
	pthread_mutex_t mu; /* guards `set` */
	struct touched set;
	atomic_uint queued; /* operations of the last flush under way */
};

struct touch_op {
	struct index_op op;
	struct recency *recency;
	size_t n;
	struct digest digests[TOUCHES_PER_OP];
};

static void set_init(struct touched *set, size_t room)
{
	set->slots = xcalloc(room, sizeof(*set->slots));
	set->room = room;
	set->n = 0;
}

/* Where `dg` is, or would go. */
static struct digest *set_slot(const struct touched *set,
			       const struct digest *dg)
{
	size_t i = digest_hash(dg) & (set->room - 1);

	while (set->slots[i].alg && !digest_equal(&set->slots[i], dg))
		i = (i + 1) & (set->room - 1);
	return &set->slots[i];
}

static void set_grow(struct touched *set)
{
	struct touched bigger;

	set_init(&bigger, 2 * set->room);
	for (size_t i = 0; i < set->room; i++) {
		if (set->slots[i].alg)
			*set_slot(&bigger, &set->slots[i]) = set->slots[i];
	}
	bigger.n = set->n;
	free(set->slots);
	*set = bigger;
}

static void set_add(struct touched *set, const struct digest *dg)
{
	struct digest *slot = set_slot(set, dg);

	if (slot->alg || set->n == TOUCHED_MAX)
		return;
	*slot = *dg;
	if (2 * ++set->n >= set->room)
		set_grow(set);
}

void cache_touch(struct cache *c, const struct digest *dg)
{
	struct recency *r = c->recency;

	assert(dg->alg);
	pthread_mutex_lock(&r->mu);
	set_add(&r->set, dg);
	pthread_mutex_unlock(&r->mu);
}

static bool is_held(struct index_txn *txn, const struct digest *dg)
{
	struct manifest_row manifest;
	struct blob_row blob;

	return blob_get(txn, dg, &blob) == ERR_OK ||
	       manifest_get(txn, dg, &manifest) == ERR_OK;
}

/* What was removed since it was touched gets no place again. */
static enum err touch_apply(struct index_txn *txn, struct index_op *op)
{
	struct touch_op *t = container_of(op, struct touch_op, op);

	for (size_t i = 0; i < t->n; i++) {
		if (is_held(txn, &t->digests[i]))
			recency_touch(txn, &t->digests[i]);
	}
	return ERR_OK;
}

static void touch_done(struct index_op *op, enum err err UNUSED)
{
	struct touch_op *t = container_of(op, struct touch_op, op);

	atomic_fetch_sub(&t->recency->queued, 1);
	free(t);
}

static struct touch_op *touch_new(struct recency *r)
{
	struct touch_op *t = xcalloc(1, sizeof(*t));

	t->op.apply = touch_apply;
	t->op.done = touch_done;
	t->op.background = true;
	t->recency = r;
	return t;
}

static void submit_touches(struct cache *c, const struct touched *set)
{
	struct touch_op *t = NULL;

	for (size_t i = 0; i < set->room; i++) {
		if (!set->slots[i].alg)
			continue;
		if (!t)
			t = touch_new(c->recency);
		t->digests[t->n++] = set->slots[i];
		if (t->n == TOUCHES_PER_OP) {
			atomic_fetch_add(&c->recency->queued, 1);
			index_submit(c->index, &t->op);
			t = NULL;
		}
	}
	if (t) {
		atomic_fetch_add(&c->recency->queued, 1);
		index_submit(c->index, &t->op);
	}
}

void cache_flush_recency(struct cache *c)
{
	struct recency *r = c->recency;
	struct touched set, fresh;

	if (atomic_load(&r->queued))
		return;
	set_init(&fresh, TOUCHED_MIN);
	pthread_mutex_lock(&r->mu);
	set = r->set;
	r->set = fresh;
	pthread_mutex_unlock(&r->mu);
	submit_touches(c, &set);
	free(set.slots);
}

struct recency *recency_new(void)
{
	struct recency *r = xcalloc(1, sizeof(*r));

	pthread_mutex_init(&r->mu, NULL);
	set_init(&r->set, TOUCHED_MIN);
	return r;
}

void recency_free(struct recency **rp)
{
	struct recency *r = *rp;

	*rp = NULL;
	assert(!atomic_load(&r->queued));
	pthread_mutex_destroy(&r->mu);
	free(r->set.slots);
	free(r);
}
