/* SPDX-License-Identifier: Apache-2.0 */
/* Which sessions are open, so that each has one owner; and those that nobody
 * has come back for. */
#include "cache/upload_int.h"

#include <pthread.h>

#define CLAIM_BUCKETS 256

LIST_HEAD(claim_list, upload_claim);

struct uploads {
	pthread_mutex_t mu; /* guards the lists and each claim's `open` */
	struct claim_list buckets[CLAIM_BUCKETS];
};

struct uploads *uploads_new(void)
{
	struct uploads *t = xcalloc(1, sizeof(*t));

	pthread_mutex_init(&t->mu, NULL);
	return t;
}

void uploads_free(struct uploads **tp)
{
	struct uploads *t = *tp;

	*tp = NULL;
	for (size_t i = 0; i < CLAIM_BUCKETS; i++)
		assert(LIST_EMPTY(&t->buckets[i]));
	pthread_mutex_destroy(&t->mu);
	free(t);
}

/* The last digits of a UUID are random. */
static struct claim_list *bucket_of(struct uploads *t, const char *id)
{
	const char *tail = id + UPLOAD_ID_SIZE - 3;

	return &t->buckets[strtoul(tail, NULL, 16) % CLAIM_BUCKETS];
}

static struct upload_claim *find(struct uploads *t, const char *id)
{
	struct upload_claim *claim;

	LIST_FOREACH (claim, bucket_of(t, id), link)
		if (strcmp(claim->id, id) == 0)
			return claim;
	return NULL;
}

bool upload_claim(struct cache *c, struct upload_claim *claim, const char *id)
{
	struct uploads *t = c->uploads;
	bool is_free;

	snprintf(claim->id, sizeof(claim->id), "%s", id);
	claim->open = NULL;
	pthread_mutex_lock(&t->mu);
	is_free = !find(t, id);
	if (is_free)
		LIST_INSERT_HEAD(bucket_of(t, id), claim, link);
	pthread_mutex_unlock(&t->mu);
	return is_free;
}

void upload_claim_opened(struct cache *c, struct upload *u)
{
	pthread_mutex_lock(&c->uploads->mu);
	u->claim.open = u;
	pthread_mutex_unlock(&c->uploads->mu);
}

void upload_claim_end(struct cache *c, struct upload_claim *claim)
{
	pthread_mutex_lock(&c->uploads->mu);
	LIST_REMOVE(claim, link);
	pthread_mutex_unlock(&c->uploads->mu);
}

bool upload_is_open(struct cache *c, const char *id, uint64_t *offset)
{
	struct upload_claim *claim;
	bool is_open;

	pthread_mutex_lock(&c->uploads->mu);
	claim = find(c->uploads, id);
	is_open = claim && claim->open;
	if (is_open)
		*offset = upload_offset(claim->open);
	pthread_mutex_unlock(&c->uploads->mu);
	return is_open;
}

/* ---- the expired ---- */

struct expiry {
	struct cache *c;
	uint64_t before_s; /* touched before this */
	char (*ids)[UPLOAD_ID_SIZE];
	unsigned n, max;
};

static bool has_expired(const struct expiry *e, const struct upload_row *row)
{
	return row->touched_s < e->before_s;
}

static bool note_expired(void *arg, const char *id,
			 const struct upload_row *row)
{
	struct expiry *e = arg;
	uint64_t offset;

	if (has_expired(e, row) && !upload_is_open(e->c, id, &offset))
		memcpy(e->ids[e->n++], id, UPLOAD_ID_SIZE);
	return e->n < e->max;
}

/* False if the index takes nothing now. */
static bool expire_one(const struct expiry *e, const char *id)
{
	struct upload_claim claim;
	struct index_txn *txn;
	struct upload_row row;
	enum err err;

	if (!upload_claim(e->c, &claim, id))
		return true; /* somebody has come back for it */
	txn = index_read(e->c->index);
	err = upload_get(txn, id, &row);
	index_read_end(txn);
	if (err == ERR_OK && has_expired(e, &row)) {
		upload_unlink(e->c, id);
		err = upload_row_drop_wait(e->c, id);
	} else {
		err = ERR_OK;
	}
	upload_claim_end(e->c, &claim);
	return err == ERR_OK;
}

bool uploads_expire(struct cache *c, uint64_t expire_s, unsigned max)
{
	struct expiry e = {.c = c, .max = max};
	uint64_t now_s = wall_s();
	struct index_txn *txn;
	bool more;

	assert(max > 0);
	e.before_s = now_s > expire_s ? now_s - expire_s : 0;
	e.ids = xcalloc(max, sizeof(*e.ids));
	txn = index_read(c->index);
	more = upload_walk(txn, note_expired, &e) == ERR_OK && e.n == max;
	index_read_end(txn);
	for (unsigned i = 0; i < e.n; i++)
		more = expire_one(&e, e.ids[i]) && more;
	free(e.ids);
	return more;
}
