/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/key.h"
#include "cache/row.h"

static struct slice garbage_key(struct key *k, uint64_t since_s,
				const struct digest *dg, uint64_t repo)
{
	key_start(k);
	key_u64(k, since_s);
	key_digest(k, dg);
	key_u64(k, repo);
	return key_slice(k);
}

void garbage_put(struct index_txn *txn, uint64_t since_s,
		 const struct digest *dg, uint64_t repo)
{
	struct key k;

	index_put(txn, TABLE_GARBAGE, garbage_key(&k, since_s, dg, repo),
		  slice_of(NULL, 0));
}

void garbage_del(struct index_txn *txn, uint64_t since_s,
		 const struct digest *dg, uint64_t repo)
{
	struct key k;

	index_del(txn, TABLE_GARBAGE, garbage_key(&k, since_s, dg, repo));
}

struct garbage_walk {
	garbage_walk_cb *cb;
	void *arg;
};

static bool garbage_row(void *arg, struct slice key,
			struct slice payload UNUSED)
{
	struct garbage_walk *w = arg;
	struct digest dg;
	uint64_t since_s, repo;

	if (!key_take_u64(&key, &since_s) || !key_take_digest(&key, &dg) ||
	    !key_take_u64(&key, &repo))
		return true;
	return w->cb(w->arg, since_s, &dg, repo);
}

enum err garbage_walk(struct index_txn *txn, garbage_walk_cb *cb, void *arg)
{
	struct garbage_walk w = {cb, arg};

	return index_walk(txn, TABLE_GARBAGE, slice_of(NULL, 0),
			  slice_of(NULL, 0), garbage_row, &w);
}
