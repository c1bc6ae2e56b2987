/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Collection of hosted content that lost its owner.  What may have lost it is
 * in the table `garbage`, by the time since when: a deletion puts it there,
 * and so does a blob's first link, because the manifest that should follow may
 * never come.
 *
 * One step takes the rows that are older than the grace period.  One commit
 * sifts them: links of a hosted repository to blobs that no manifest of its
 * own names go, and what is needed by anybody else is garbage no longer.  The
 * rest is removed, one digest at a time.
 */
#include "cache/hosted_int.h"
#include "cache/removal.h"

/*
 * Each costs the sifting at most 8 row operations: a link, its holder and the
 * repository's place among those that hold anything, a row of garbage, and
 * four of recency.
 */
#define DIGESTS_PER_STEP 16

struct sift {
	struct index_op op;
	struct cache *c;
	uint64_t now_s, grace_s;
	struct garbage rows[DIGESTS_PER_STEP];
	bool remove[DIGESTS_PER_STEP]; /* of the last apply */
	size_t n;
	bool more;
};

/* ---- what is old enough ---- */

static bool is_old(const struct sift *s, uint64_t since_s)
{
	return s->now_s >= since_s && s->now_s - since_s >= s->grace_s;
}

static bool take_due(void *arg, uint64_t since_s, const struct digest *dg,
		     uint64_t repo)
{
	struct sift *s = arg;

	if (!is_old(s, since_s))
		return false;
	s->more = s->n == DIGESTS_PER_STEP;
	if (s->more)
		return false;
	s->rows[s->n++] = (struct garbage){since_s, *dg, repo};
	return true;
}

static bool find_due(struct sift *s)
{
	struct index_txn *txn = index_read(s->c->index);
	enum err err = garbage_walk(txn, take_due, s);

	index_read_end(txn);
	return err == ERR_OK && s->n > 0;
}

/* ---- sifting, in an apply ---- */

/*
 * A hosted repository's link to a blob that none of its manifests names: it
 * was deleted, or never came.  Who was told of the blob within the grace
 * period has a lease; and a link that is younger has a row of its own.
 */
static void drop_orphan(struct index_txn *txn, const struct sift *s,
			const struct garbage *g)
{
	struct repo_row repo;
	struct digest parent;
	struct link_row link;

	if (!g->repo || repo_get(txn, g->repo, &repo) != ERR_OK ||
	    repo.kind != REPO_HOSTED ||
	    link_get(txn, g->repo, &g->dg, &link) != ERR_OK ||
	    link.kind != LINK_BLOB || !is_old(s, link.created_s) ||
	    hosted_names(txn, g->repo, &g->dg, &parent))
		return;
	hosted_del_link(txn, repo.name, g->repo, &g->dg);
}

static bool is_stored(struct index_txn *txn, const struct digest *dg)
{
	struct manifest_row manifest;
	struct blob_row blob;

	return blob_get(txn, dg, &blob) != ERR_NOT_FOUND ||
	       manifest_get(txn, dg, &manifest) != ERR_NOT_FOUND;
}

/* No garbage any more.  What mirrors alone need is evicted as all that is
 * theirs: it gets a place in that queue. */
static void keep(struct index_txn *txn, const struct garbage *g)
{
	garbage_del(txn, g->since_s, &g->dg, g->repo);
	if (is_stored(txn, &g->dg) && !hosted_has(txn, &g->dg) &&
	    !recency_has(txn, &g->dg))
		recency_touch(txn, &g->dg);
}

static bool sift_one(struct index_txn *txn, const struct sift *s,
		     const struct garbage *g)
{
	if (lease_has(s->c->leases, &g->dg)) {
		garbage_del(txn, g->since_s, &g->dg, g->repo);
		garbage_put(txn, s->now_s, &g->dg, g->repo);
		return false;
	}
	drop_orphan(txn, s, g);
	if (is_stored(txn, &g->dg) && !removal_needed(s->c, txn, &g->dg))
		return true;
	keep(txn, g);
	return false;
}

static enum err sift_apply(struct index_txn *txn, struct index_op *op)
{
	struct sift *s = container_of(op, struct sift, op);

	for (size_t i = 0; i < s->n; i++)
		s->remove[i] = sift_one(txn, s, &s->rows[i]);
	return ERR_OK;
}

/* ---- a step ---- */

/* Needed after all, since the sifting: a later step sifts it again. */
static enum err remove_sifted(struct sift *s)
{
	enum err err = ERR_OK;
	bool kept;

	for (size_t i = 0; err == ERR_OK && i < s->n; i++)
		if (s->remove[i])
			err = removal_run(s->c, &s->rows[i], REMOVE_UNOWNED,
					  &kept, NULL);
	return err;
}

bool cache_collect_step(struct cache *c)
{
	uint64_t grace_ms = leases_grace(c->leases);
	struct sift s = {
	    .op = {.apply = sift_apply, .background = true},
	    .c = c,
	    .now_s = wall_s(),
	    .grace_s = grace_ms / 1000 + (grace_ms % 1000 != 0),
	};

	if (!find_due(&s))
		return false;
	return index_submit_wait(c->index, &s.op) == ERR_OK &&
	       remove_sifted(&s) == ERR_OK && s.more;
}
