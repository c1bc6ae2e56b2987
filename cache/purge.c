/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Purging mirrored content: the repository forgets it, and then, unless hosted
 * content or a lease needs it, the record and the file go.  A manifest may have
 * any number of tags, and the writer has others to serve: they go in several
 * commits.
 */
#include "cache/hosted_int.h"
#include "cache/removal.h"

/* Its host is a mirror's. */
struct purge {
	struct hosted_change hc;
	bool begun; /* by a commit */
	bool more;  /* of the last apply */
};

static struct purge *purge_new(struct cache *c, const char *host,
			       const struct hosting *h, hosted_done_cb *cb,
			       void *arg)
{
	struct purge *p = hosted_new(sizeof(*p), c, h, cb, arg);

	assert(*host);
	free(p->hc.ch.host);
	p->hc.ch.host = xstrdup(host);
	return p;
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
	hosted_put_events(txn, hc->events, hc->n_events);
	return ERR_OK;
}

void cache_purge_tag(struct cache *c, const char *host, const struct hosting *h,
		     const char *tag, hosted_done_cb *cb, void *arg)
{
	struct purge *p = purge_new(c, host, h, cb, arg);

	p->hc.ch.tag = xstrdup(tag);
	hosted_submit(&p->hc, tag_apply);
}

/* What this repository may serve, by whatever rule, is what it holds. */
static enum err find_held(struct index_txn *txn, struct hosted_change *hc,
			  uint64_t repo)
{
	const struct digest *dg = &hc->ch.dg;
	struct lookup found = {0};
	enum err err;

	if (hc->ch.kind == LINK_MANIFEST)
		err = cache_lookup_manifest(txn, repo, dg, &found);
	else
		err = cache_lookup_blob(txn, repo, dg, &found);
	if (err == ERR_OK && (!found.stored || found.may == MAY_NO))
		err = ERR_NOT_FOUND;
	return err;
}

static enum err digest_apply(struct index_txn *txn, struct hosted_change *hc)
{
	struct purge *p = container_of(hc, struct purge, hc);
	unsigned left = REMOVAL_FORGET_MAX;
	uint64_t repo;
	enum err err = repo_id(txn, hc->ch.host, hc->ch.name, &repo);

	p->more = false;
	if (err == ERR_OK && !p->begun)
		err = find_held(txn, hc, repo);
	if (err != ERR_OK)
		return nothing_held(hc, err);
	/* Of a blob that is a manifest too, all of it. */
	p->more = !removal_forget_manifest(txn, repo, &hc->ch.dg, &left);
	if (!p->more)
		hosted_put_events(txn, hc->events, hc->n_events);
	return ERR_OK;
}

static void purge_digest(struct purge *p)
{
	struct hosted_change *hc = &p->hc;
	struct garbage g = {.since_s = hc->ch.now_s, .dg = hc->ch.dg};
	enum err err;
	bool kept;

	do {
		err = hosted_wait(hc, digest_apply);
		p->begun = true;
	} while (err == ERR_OK && p->more);
	if (err == ERR_OK)
		err = removal_run(hc->c, &g, REMOVE_PURGED, &kept, &hc->ch.why);
	hosted_finish(hc, err);
}

static void purge_start(struct purge *p, const struct digest *dg,
			enum link_kind kind)
{
	p->hc.ch.dg = *dg;
	p->hc.ch.kind = kind;
	purge_digest(p);
}

void cache_purge_manifest(struct cache *c, const char *host,
			  const struct hosting *h, const struct digest *dg,
			  hosted_done_cb *cb, void *arg)
{
	purge_start(purge_new(c, host, h, cb, arg), dg, LINK_MANIFEST);
}

void cache_purge_blob(struct cache *c, const char *host,
		      const struct hosting *h, const struct digest *dg,
		      hosted_done_cb *cb, void *arg)
{
	purge_start(purge_new(c, host, h, cb, arg), dg, LINK_BLOB);
}
