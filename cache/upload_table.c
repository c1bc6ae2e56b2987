/* SPDX-License-Identifier: Apache-2.0 */
/* Which sessions are open, so that each has one owner; and those that nobody
 * has come back for. */
#include "cache/upload_int.h"

#include <pthread.h>

#define CLAIM_BUCKETS 256
/* Rows looked at for each that may be removed. */
#define ROWS_EACH 64

LIST_HEAD(claim_list, upload_claim);

struct uploads {
	atomic_uint_least64_t max, newborn;
	pthread_mutex_t mu; /* guards the lists and each claim's `open` */
	struct claim_list buckets[CLAIM_BUCKETS];
};

struct uploads *uploads_new(void)
{
	struct uploads *t = xcalloc(1, sizeof(*t));

	pthread_mutex_init(&t->mu, NULL);
	atomic_store(&t->max, UINT64_MAX);
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

void uploads_set_max(struct cache *c, uint64_t max)
{
	atomic_store(&c->uploads->max, max);
}

uint64_t uploads_max(struct cache *c)
{
	return atomic_load(&c->uploads->max);
}

/* One whose row is being committed counts twice for a moment, and none not at
 * all: it ends after the commit, and is counted before the rows are. */
bool uploads_newborn_begin(struct cache *c)
{
	uint64_t n = atomic_fetch_add(&c->uploads->newborn, 1) + 1;
	struct index_txn *txn = index_read(c->index);

	n += upload_rows(txn);
	index_read_end(txn);
	if (n <= uploads_max(c))
		return true;
	uploads_newborn_end(c);
	return false;
}

void uploads_newborn_found(struct cache *c)
{
	atomic_fetch_add(&c->uploads->newborn, 1);
}

void uploads_newborn_end(struct cache *c)
{
	atomic_fetch_sub(&c->uploads->newborn, 1);
}

uint64_t uploads_newborn(struct cache *c)
{
	return atomic_load(&c->uploads->newborn);
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
	unsigned looked;
	char *at; /* the last one looked at */
	bool more;
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

	e->more = e->n == e->max || e->looked == ROWS_EACH * e->max;
	if (e->more)
		return false;
	e->looked++;
	memcpy(e->at, id, UPLOAD_ID_SIZE);
	if (has_expired(e, row) && !upload_is_open(e->c, id, &offset))
		memcpy(e->ids[e->n++], id, UPLOAD_ID_SIZE);
	return true;
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

bool uploads_expire(struct cache *c, uint64_t expire_s, unsigned max, char *at)
{
	char from[UPLOAD_ID_SIZE];
	struct expiry e = {.c = c, .max = max, .at = at};
	uint64_t now_s = wall_s();
	struct index_txn *txn;

	assert(max > 0);
	e.before_s = now_s > expire_s ? now_s - expire_s : 0;
	e.ids = xcalloc(max, sizeof(*e.ids));
	memcpy(from, at, sizeof(from));
	txn = index_read(c->index);
	if (upload_walk(txn, from, note_expired, &e) != ERR_OK)
		e.more = false;
	index_read_end(txn);
	for (unsigned i = 0; i < e.n; i++)
		e.more = expire_one(&e, e.ids[i]) && e.more;
	free(e.ids);
	if (!e.more)
		at[0] = '\0';
	return e.more;
}
