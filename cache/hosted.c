/* SPDX-License-Identifier: Apache-2.0 */
/* What the changes of hosted repositories are made of. */
#include "cache/hosted_int.h"

/* ---- the life of a change ---- */

static void copy_events(struct hosted_change *hc, const struct hosting *h)
{
	hc->events = xcalloc(h->n_events + 1, sizeof(*hc->events));
	for (size_t i = 0; i < h->n_events; i++) {
		size_t len = h->events[i].len;

		hc->events[i] = slice_of(xmemdup(h->events[i].ptr, len), len);
	}
	hc->n_events = h->n_events;
}

static void free_events(struct hosted_change *hc)
{
	for (size_t i = 0; i < hc->n_events; i++) {
		union {
			const uint8_t *in;
			void *out;
		} cast = {hc->events[i].ptr}; /* our own copy */

		free(cast.out);
	}
	free(hc->events);
}

static void release(struct change *ch)
{
	struct hosted_change *hc = container_of(ch, struct hosted_change, ch);

	if (hc->release)
		hc->release(hc);
	free_events(hc);
	free(hc->shadow_name);
	free(hc->shadow_host);
}

static void tell(void *arg, enum err err, const struct why *why)
{
	struct hosted_change *hc = arg;

	if (err != ERR_OK) {
		hc->res.err = err;
		hc->res.claimed = false;
	}
	hc->res.why = *why;
	if (hc->cb)
		hc->cb(hc->cb_arg, &hc->res);
}

void *hosted_new(size_t size, struct cache *c, const struct hosting *h,
		 hosted_done_cb *cb, void *arg)
{
	struct hosted_change *hc = change_new(size, "", h->repo, tell, NULL);

	assert(size >= sizeof(*hc));
	hc->ch.cb_arg = hc;
	hc->ch.release = release;
	hc->c = c;
	hc->cb = cb;
	hc->cb_arg = arg;
	hc->claims = h->claims;
	hc->shadow_host = dup_or_null(h->shadow_host);
	hc->shadow_name = dup_or_null(h->shadow_name);
	copy_events(hc, h);
	return hc;
}

/* It may be applied again after a failed commit: from a clean slate. */
static enum err apply(struct index_txn *txn, struct change *ch)
{
	struct hosted_change *hc = container_of(ch, struct hosted_change, ch);

	memset(&hc->res, 0, sizeof(hc->res));
	ch->why.text[0] = '\0';
	return hc->apply(txn, hc);
}

void hosted_submit(struct hosted_change *hc,
		   enum err (*hosted_apply)(struct index_txn *txn,
					    struct hosted_change *hc))
{
	hc->apply = hosted_apply;
	change_submit(hc->c, &hc->ch, apply);
}

enum err hosted_wait(struct hosted_change *hc,
		     enum err (*hosted_apply)(struct index_txn *txn,
					      struct hosted_change *hc))
{
	hc->apply = hosted_apply;
	return change_wait(hc->c, &hc->ch, apply);
}

void hosted_finish(struct hosted_change *hc, enum err err)
{
	change_finish(&hc->ch, err);
}

/* ---- repositories ---- */

enum err hosted_repo(struct index_txn *txn, const char *name, uint64_t *id)
{
	enum err err = repo_id(txn, "", name, id);

	return err == ERR_CORRUPT ? ERR_IO : err;
}

enum err hosted_ensure_repo(struct index_txn *txn, const char *name,
			    bool claims, uint64_t now_s, uint64_t *id,
			    bool *claimed)
{
	struct journal_entry e = {
	    .kind = JOURNAL_REPO,
	    .repo = name,
	    .hosted = true,
	    .time_s = now_s,
	};
	struct repo_row repo;
	enum err err = hosted_repo(txn, name, id);

	*claimed = false;
	if (err != ERR_NOT_FOUND || !claims)
		return err;
	err = repo_ensure(txn, "", name, REPO_HOSTED, now_s, &repo);
	if (err != ERR_OK)
		return err;
	journal_note(txn, &e);
	*id = repo.id;
	*claimed = true;
	return ERR_OK;
}

/* ---- links ---- */

static void note_link(struct index_txn *txn, const char *name,
		      const struct digest *dg, const struct link_row *row)
{
	char media_type[MEDIA_TYPE_MAX];
	struct journal_entry e = {
	    .kind = JOURNAL_LINK,
	    .repo = name,
	    .time_s = row->created_s,
	    .dg = *dg,
	    .link = row->kind,
	    .sparse = row->sparse,
	    .media_type = media_type,
	};
	size_t len = MIN(row->media_type.len, sizeof(media_type) - 1);

	if (len)
		memcpy(media_type, row->media_type.ptr, len);
	media_type[len] = '\0';
	journal_note(txn, &e);
}

static bool same_link(const struct link_row *a, const struct link_row *b)
{
	return a->kind == b->kind && a->sparse == b->sparse &&
	       a->media_type.len == b->media_type.len &&
	       (!a->media_type.len ||
		memcmp(a->media_type.ptr, b->media_type.ptr,
		       a->media_type.len) == 0);
}

void hosted_put_link(struct index_txn *txn, const char *name, uint64_t repo,
		     const struct digest *dg, const struct link_row *row)
{
	struct link_row now = *row, old;

	now.hosted = true;
	if (link_get(txn, repo, dg, &old) == ERR_OK) {
		if (old.kind == LINK_MANIFEST && now.kind == LINK_BLOB)
			return;
		if (same_link(&old, &now))
			return;
		now.created_s = old.created_s;
	}
	link_put(txn, repo, dg, &now);
	note_link(txn, name, dg, &now);
}

void hosted_link_blob(struct index_txn *txn, const char *name, uint64_t repo,
		      const struct digest *dg, uint64_t now_s)
{
	struct link_row row = {.kind = LINK_BLOB, .created_s = now_s}, old;

	if (link_get(txn, repo, dg, &old) == ERR_OK)
		return;
	hosted_put_link(txn, name, repo, dg, &row);
	garbage_put(txn, now_s, dg, repo);
}

void hosted_del_link(struct index_txn *txn, const char *name, uint64_t repo,
		     const struct digest *dg)
{
	struct journal_entry e = {
	    .kind = JOURNAL_UNLINK,
	    .repo = name,
	    .dg = *dg,
	};

	link_del(txn, repo, dg);
	journal_note(txn, &e);
}

/* ---- tags ---- */

/* It moves whole: there is no older manifest to fall back to, and nobody to
 * ask about it. */
void hosted_put_tag(struct index_txn *txn, const char *name, uint64_t repo,
		    const char *tag, const struct digest *dg, uint64_t now_ms)
{
	struct tag_row row = {
	    .held = {*dg},
	    .fetched_s = now_ms / 1000,
	    .checked_ms = now_ms,
	    .state = TAG_PRESENT,
	};
	struct journal_entry e = {
	    .kind = JOURNAL_TAG,
	    .repo = name,
	    .tag = tag,
	    .dg = *dg,
	    .time_s = row.fetched_s,
	};
	struct tag_row old;

	if (tag_get(txn, repo, tag, strlen(tag), &old) == ERR_OK &&
	    digest_equal(&old.held[0], dg))
		return;
	tag_put(txn, repo, tag, strlen(tag), &row);
	journal_note(txn, &e);
}

void hosted_del_tag(struct index_txn *txn, const char *name, uint64_t repo,
		    const char *tag)
{
	struct journal_entry e = {
	    .kind = JOURNAL_UNTAG,
	    .repo = name,
	    .tag = tag,
	};

	tag_del(txn, repo, tag, strlen(tag));
	journal_note(txn, &e);
}

void hosted_put_events(struct index_txn *txn, const struct slice *events,
		       size_t n)
{
	for (size_t i = 0; i < n; i++)
		event_put(txn, events[i]);
}

/* ---- who names it ---- */

/*
 * A layer that all images share has a hundred thousand parents, elsewhere.
 * Past this many the repository's own manifests are fewer to look at.
 */
#define EDGES_MAX 4096

struct naming {
	struct index_txn *txn;
	uint64_t repo;
	const struct digest *dg;
	unsigned edges_left;
	bool too_many;
	struct digest parent; /* alg 0 = none found */
};

static bool is_parent_here(void *arg, const struct digest *parent,
			   const struct edge_row *edge)
{
	struct naming *n = arg;
	struct link_row link;

	n->too_many = n->edges_left == 0;
	if (n->too_many)
		return false;
	n->edges_left--;
	if (!edge_role_holds(edge->role) ||
	    link_get(n->txn, n->repo, parent, &link) != ERR_OK ||
	    link.kind != LINK_MANIFEST)
		return true;
	n->parent = *parent;
	return false;
}

static bool names_it(void *arg, const struct digest *parent,
		     const struct link_row *link)
{
	struct naming *n = arg;
	struct edge_row edge;

	if (link->kind != LINK_MANIFEST ||
	    edge_get(n->txn, n->dg, parent, &edge) != ERR_OK ||
	    !edge_role_holds(edge.role))
		return true;
	n->parent = *parent;
	return false;
}

bool hosted_names(struct index_txn *txn, uint64_t repo, const struct digest *dg,
		  struct digest *parent)
{
	struct naming n = {txn, repo, dg, EDGES_MAX, false, {0}};
	enum err err = edge_walk(txn, dg, is_parent_here, &n);

	if (err == ERR_OK && n.too_many)
		err = link_walk(txn, repo, NULL, names_it, &n);
	*parent = n.parent;
	return n.parent.alg != 0;
}
