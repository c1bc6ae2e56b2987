/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Purging mirrored content: the repository forgets it in one commit, and then,
 * unless hosted content or a lease needs it, the record and the file go.
 */
#include "cache/hosted_int.h"
#include "cache/removal.h"

/* A hosted_change whose host is a mirror's. */
static struct hosted_change *purge_new(struct cache *c, const char *host,
				       const char *name, hosted_done_cb *cb,
				       void *arg)
{
	struct hosting h = {.repo = name};
	struct hosted_change *hc = hosted_new(sizeof(*hc), c, &h, cb, arg);

	assert(*host);
	free(hc->ch.host);
	hc->ch.host = xstrdup(host);
	return hc;
}

static enum err nothing_held(struct hosted_change *hc, enum err err)
{
	if (err == ERR_IO)
		return err;
	return why_set(&hc->ch.why, ERR_NOT_FOUND,
		       "nothing of it is held for %s/%s", hc->ch.host,
		       hc->ch.name);
}

static enum err tag_apply(struct index_txn *txn, struct hosted_change *hc)
{
	const char *tag = hc->ch.tag;
	struct tag_row row;
	uint64_t repo;
	enum err err = repo_id(txn, hc->ch.host, hc->ch.name, &repo);

	if (err == ERR_OK)
		err = tag_get(txn, repo, tag, strlen(tag), &row);
	if (err != ERR_OK && err != ERR_CORRUPT)
		return nothing_held(hc, err);
	tag_del(txn, repo, tag, strlen(tag));
	return ERR_OK;
}

void cache_purge_tag(struct cache *c, const char *host, const char *name,
		     const char *tag, hosted_done_cb *cb, void *arg)
{
	struct hosted_change *hc = purge_new(c, host, name, cb, arg);

	hc->ch.tag = xstrdup(tag);
	hosted_submit(hc, tag_apply);
}

/* What this repository may serve, by whatever rule, is what it holds. */
static enum err digest_apply(struct index_txn *txn, struct hosted_change *hc)
{
	const struct digest *dg = &hc->ch.dg;
	struct lookup found = {0};
	uint64_t repo;
	enum err err = repo_id(txn, hc->ch.host, hc->ch.name, &repo);

	if (err == ERR_OK && hc->ch.kind == LINK_MANIFEST)
		err = cache_lookup_manifest(txn, repo, dg, &found);
	else if (err == ERR_OK)
		err = cache_lookup_blob(txn, repo, dg, &found);
	if (err != ERR_OK || !found.stored || found.may == MAY_NO)
		return nothing_held(hc, err);
	/* Of a blob that is a manifest too, all of it. */
	removal_forget_manifest(txn, repo, dg);
	return ERR_OK;
}

static void purge_digest(struct hosted_change *hc)
{
	struct garbage g = {.since_s = hc->ch.now_s, .dg = hc->ch.dg};
	enum err err = hosted_wait(hc, digest_apply);
	bool kept;

	if (err == ERR_OK)
		err = removal_run(hc->c, &g, REMOVE_PURGED, &kept, &hc->ch.why);
	hosted_finish(hc, err);
}

void cache_purge_manifest(struct cache *c, const char *host, const char *name,
			  const struct digest *dg, hosted_done_cb *cb,
			  void *arg)
{
	struct hosted_change *hc = purge_new(c, host, name, cb, arg);

	hc->ch.dg = *dg;
	hc->ch.kind = LINK_MANIFEST;
	purge_digest(hc);
}

void cache_purge_blob(struct cache *c, const char *host, const char *name,
		      const struct digest *dg, hosted_done_cb *cb, void *arg)
{
	struct hosted_change *hc = purge_new(c, host, name, cb, arg);

	hc->ch.dg = *dg;
	hc->ch.kind = LINK_BLOB;
	purge_digest(hc);
}
