/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deleting from hosted repositories.  What is deleted is gone from every
 * answer with the commit; its digest, and the digests it named, become
 * garbage, which collection looks at once the grace period has passed.
 */
#include "cache/children.h"
#include "cache/hosted_int.h"

/* What a person is told that a repository holds is counted this far. */
#define COUNT_MAX 1000

static enum err not_there(struct hosted_change *hc, const char *what)
{
	return why_set(&hc->ch.why, ERR_NOT_FOUND, "%s has no such %s",
		       hc->ch.name, what);
}

/* ---- tags ---- */

static enum err tag_apply(struct index_txn *txn, struct hosted_change *hc)
{
	const char *tag = hc->ch.tag;
	struct tag_row row;
	uint64_t repo;
	enum err err = hosted_repo(txn, hc->ch.name, &repo);

	if (err == ERR_OK)
		err = tag_get(txn, repo, tag, strlen(tag), &row);
	if (err == ERR_NOT_FOUND)
		return not_there(hc, "tag");
	if (err == ERR_IO)
		return err;
	hosted_del_tag(txn, hc->ch.name, repo, tag);
	hosted_put_events(txn, hc->events, hc->n_events);
	return ERR_OK;
}

void cache_delete_tag(struct cache *c, const struct hosting *h, const char *tag,
		      hosted_done_cb *cb, void *arg)
{
	struct hosted_change *hc = hosted_new(sizeof(*hc), c, h, cb, arg);

	hc->ch.tag = xstrdup(tag);
	hosted_submit(hc, tag_apply);
}

/* ---- manifests and blobs ---- */

/* A link of this kind, which no manifest here needs.  One that has rotted may
 * go too. */
static enum err find_deletable(struct index_txn *txn, struct hosted_change *hc,
			       uint64_t *repo)
{
	const char *what = hc->ch.kind == LINK_BLOB ? "blob" : "manifest";
	char text[DIGEST_TEXT_MAX];
	struct link_row link;
	enum err err = hosted_repo(txn, hc->ch.name, repo);

	if (err == ERR_OK)
		err = link_get(txn, *repo, &hc->ch.dg, &link);
	if (err == ERR_NOT_FOUND || (err == ERR_OK && link.kind != hc->ch.kind))
		return not_there(hc, what);
	if (err == ERR_IO)
		return err;
	if (hosted_names(txn, *repo, &hc->ch.dg, &hc->res.dg))
		return why_set(
		    &hc->ch.why, ERR_BUSY, "manifest %s of %s names this %s",
		    digest_text(&hc->res.dg, text), hc->ch.name, what);
	return ERR_OK;
}

static enum err blob_apply(struct index_txn *txn, struct hosted_change *hc)
{
	uint64_t repo;
	enum err err = find_deletable(txn, hc, &repo);

	if (err != ERR_OK)
		return err;
	hosted_del_link(txn, hc->ch.name, repo, &hc->ch.dg);
	garbage_put(txn, hc->ch.now_s, &hc->ch.dg, 0);
	hosted_put_events(txn, hc->events, hc->n_events);
	return ERR_OK;
}

void cache_delete_blob(struct cache *c, const struct hosting *h,
		       const struct digest *dg, hosted_done_cb *cb, void *arg)
{
	struct hosted_change *hc = hosted_new(sizeof(*hc), c, h, cb, arg);

	hc->ch.dg = *dg;
	hc->ch.kind = LINK_BLOB;
	hosted_submit(hc, blob_apply);
}

/*
 * Tags that go in one commit.  A manifest may have any number of them, and the
 * writer has others to serve; and what 256 such operations note in the journal
 * is less than half of the largest frame.
 */
#define TAGS_PER_COMMIT 256

struct manifest_deletion {
	struct hosted_change hc;
	bool more; /* of the last apply: tags are left, and so is the rest */
	hosted_done_cb *cb;
	void *cb_arg;
};

struct tags_of {
	struct index_txn *txn;
	const char *name;
	uint64_t repo;
	unsigned left;
	bool more;
};

static bool delete_tag_of(void *arg, const char *tag, size_t tag_len)
{
	struct tags_of *t = arg;
	char text[TAG_MAX + 1];

	t->more = t->left == 0;
	if (t->more)
		return false;
	if (tag_len > TAG_MAX)
		return true;
	t->left--;
	memcpy(text, tag, tag_len);
	text[tag_len] = '\0';
	hosted_del_tag(t->txn, t->name, t->repo, text);
	return true;
}

/* What it named may have been here for its sake only. */
static void children_to_garbage(struct index_txn *txn,
				const struct hosted_change *hc, uint64_t repo,
				const struct manifest_row *row)
{
	enum manifest_kind kind;
	struct child child;
	struct slice rest;
	bool bad = false;

	if (!children_begin(row->children, &kind, &rest))
		return;
	while (children_next(&rest, &child, &bad))
		if (child.dg.alg && !child.foreign)
			garbage_put(txn, hc->ch.now_s, &child.dg, repo);
}

/* The manifest itself, whose last tags have just gone. */
static void delete_manifest(struct index_txn *txn, struct hosted_change *hc,
			    uint64_t repo)
{
	const struct digest *dg = &hc->ch.dg;
	uint8_t *children = NULL;
	struct manifest_row row;

	if (manifest_get(txn, dg, &row) == ERR_OK) {
		/* The first write moves what the row points to. */
		if (row.children.len) {
			children = xmemdup(row.children.ptr, row.children.len);
			row.children.ptr = children;
		}
		if (row.subject.alg)
			referrer_del(txn, repo, &row.subject, dg);
		children_to_garbage(txn, hc, repo, &row);
		free(children);
	}
	hosted_del_link(txn, hc->ch.name, repo, dg);
	garbage_put(txn, hc->ch.now_s, dg, repo);
	hosted_put_events(txn, hc->events, hc->n_events);
}

static enum err manifest_apply(struct index_txn *txn, struct hosted_change *hc)
{
	struct manifest_deletion *d =
	    container_of(hc, struct manifest_deletion, hc);
	struct tags_of tags = {
	    .txn = txn, .name = hc->ch.name, .left = TAGS_PER_COMMIT};
	enum err err = find_deletable(txn, hc, &tags.repo);

	d->more = false;
	if (err != ERR_OK)
		return err;
	if (tag_of_walk(txn, tags.repo, &hc->ch.dg, delete_tag_of, &tags) !=
	    ERR_OK)
		return ERR_OK; /* the transaction has failed, and says so */
	d->more = tags.more;
	if (!d->more)
		delete_manifest(txn, hc, tags.repo);
	return ERR_OK;
}

static void some_deleted(void *arg, const struct hosted_result *res)
{
	struct manifest_deletion *d = arg;
	struct hosting h = {
	    .repo = d->hc.ch.name,
	    .events = d->hc.events,
	    .n_events = d->hc.n_events,
	};

	if (res->err == ERR_OK && d->more)
		cache_delete_manifest(d->hc.c, &h, &d->hc.ch.dg, d->cb,
				      d->cb_arg);
	else if (d->cb)
		d->cb(d->cb_arg, res);
}

void cache_delete_manifest(struct cache *c, const struct hosting *h,
			   const struct digest *dg, hosted_done_cb *cb,
			   void *arg)
{
	struct manifest_deletion *d =
	    hosted_new(sizeof(*d), c, h, some_deleted, NULL);

	d->hc.cb_arg = d;
	d->cb = cb;
	d->cb_arg = arg;
	d->hc.ch.dg = *dg;
	d->hc.ch.kind = LINK_MANIFEST;
	hosted_submit(&d->hc, manifest_apply);
}

/* ---- repositories ---- */

struct counted {
	unsigned manifests, blobs;
};

static bool count_link(void *arg, const struct digest *dg UNUSED,
		       const struct link_row *row)
{
	struct counted *n = arg;

	if (row->kind == LINK_MANIFEST)
		n->manifests++;
	else
		n->blobs++;
	return n->manifests + n->blobs < COUNT_MAX;
}

static enum err not_empty(struct hosted_change *hc, const struct counted *n)
{
	if (n->manifests == 0)
		return why_set(&hc->ch.why, ERR_BUSY,
			       "%s still holds %u blob%s that no manifest "
			       "names; %s after \"collect.grace\"",
			       hc->ch.name, n->blobs, plural(n->blobs),
			       n->blobs == 1 ? "it goes by itself"
					     : "they go by themselves");
	return why_set(&hc->ch.why, ERR_BUSY,
		       "%s holds %s%u manifest%s and %u blob%s; delete the "
		       "manifests first, by digest",
		       hc->ch.name,
		       n->manifests + n->blobs == COUNT_MAX ? "at least " : "",
		       n->manifests, plural(n->manifests), n->blobs,
		       plural(n->blobs));
}

static enum err release_apply(struct index_txn *txn, struct hosted_change *hc)
{
	struct journal_entry e = {
	    .kind = JOURNAL_REPO,
	    .repo = hc->ch.name,
	    .time_s = hc->ch.now_s,
	};
	struct counted n = {0};
	struct repo_row repo;
	uint64_t id;
	enum err err = hosted_repo(txn, hc->ch.name, &id);

	if (err == ERR_OK)
		err = repo_get(txn, id, &repo);
	if (err == ERR_NOT_FOUND)
		return why_set(&hc->ch.why, err, "%s is not hosted here",
			       hc->ch.name);
	if (err == ERR_OK)
		err = link_walk(txn, id, NULL, count_link, &n);
	if (err != ERR_OK)
		return ERR_IO;
	if (n.manifests + n.blobs)
		return not_empty(hc, &n);
	repo_del(txn, &repo);
	journal_note(txn, &e);
	return ERR_OK;
}

void cache_release_repo(struct cache *c, const char *name, hosted_done_cb *cb,
			void *arg)
{
	struct hosting h = {.repo = name};

	hosted_submit(hosted_new(sizeof(struct hosted_change), c, &h, cb, arg),
		      release_apply);
}
