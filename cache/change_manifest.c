/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storing a manifest: one commit of its row, the edges to what it names, its
 * place among the referrers of its subject, and the link and tag by which it
 * was asked for.
 */
#include "cache/change.h"
#include "cache/children.h"
#include "cache/manifest.h"

struct edge {
	struct digest child;
	uint64_t size;
	enum edge_role role;
	char *media_type;
};

struct manifest_change {
	struct change ch;
	uint8_t *bytes; /* NULL: in a file */
	size_t len;
	uint8_t *children; /* packed */
	size_t children_len;
	char *artifact_type;   /* or NULL */
	struct digest subject; /* alg 0 = none */
	char *descriptor;      /* as a referrer; NULL without a subject */
	struct edge *edges;
	size_t n_edges;
};

static struct manifest_change *of(struct change *ch)
{
	return container_of(ch, struct manifest_change, ch);
}

static void release(struct change *ch)
{
	struct manifest_change *m = of(ch);

	for (size_t i = 0; i < m->n_edges; i++)
		free(m->edges[i].media_type);
	free(m->edges);
	free(m->descriptor);
	free(m->artifact_type);
	free(m->children);
	free(m->bytes);
}

/* ---- inside the apply ---- */

static void put_row(struct index_txn *txn, const struct manifest_change *m)
{
	struct manifest_row old;
	struct manifest_row row = {
	    .public_yes = m->ch.public_yes,
	    .size = m->len,
	    .created_s = m->ch.now_s,
	    .media_type = slice_of_text(m->ch.media_type),
	    .artifact_type = slice_of_text(m->artifact_type),
	    .subject = m->subject,
	    .children = slice_of(m->children, m->children_len),
	    .bytes = slice_of(m->bytes, m->bytes ? m->len : 0),
	};

	if (manifest_get(txn, &m->ch.dg, &old) == ERR_OK) {
		row.public_yes |= old.public_yes;
		row.created_s = old.created_s;
	}
	manifest_put(txn, &m->ch.dg, &row);
}

/* Of the file that holds a large one's bytes. */
static void put_blob_row(struct index_txn *txn, const struct manifest_change *m)
{
	struct blob_row old;
	struct blob_row row = {
	    .size = m->len,
	    .created_s = m->ch.now_s,
	    .verified_s = m->ch.now_s,
	    .public_yes = m->ch.public_yes,
	};

	if (blob_get(txn, &m->ch.dg, &old) == ERR_OK) {
		row.public_yes |= old.public_yes;
		row.created_s = old.created_s;
	}
	blob_put(txn, &m->ch.dg, &row);
}

static void put_edges(struct index_txn *txn, const struct manifest_change *m)
{
	for (size_t i = 0; i < m->n_edges; i++) {
		const struct edge *e = &m->edges[i];
		struct edge_row row = {e->size, e->role,
				       slice_of_text(e->media_type)};

		edge_put(txn, &e->child, &m->ch.dg, &row);
	}
}

static enum err store_apply(struct index_txn *txn, struct change *ch)
{
	const struct manifest_change *m = of(ch);
	struct repo_row repo;
	enum err err = change_ensure_repo(txn, ch, &repo);

	if (err != ERR_OK)
		return err;
	change_clear_denied(txn, &repo);
	put_row(txn, m);
	if (!m->bytes)
		put_blob_row(txn, m);
	put_edges(txn, m);
	if (m->descriptor)
		referrer_put(txn, repo.id, &m->subject, &ch->dg,
			     slice_of_text(m->descriptor));
	change_put_link(txn, ch, repo.id);
	recency_touch(txn, &ch->dg);
	return ch->tag ? change_tag_seen(txn, ch, repo.id, true) : ERR_OK;
}

/* ---- copying what the apply needs ---- */

static enum edge_role role_of(const struct manifest_child *child)
{
	static const enum edge_role roles[] = {
	    [CHILD_CONFIG] = EDGE_CONFIG,
	    [CHILD_LAYER] = EDGE_LAYER,
	    [CHILD_MANIFEST] = EDGE_CHILD,
	    [CHILD_BLOB] = EDGE_BLOB,
	};

	return child->foreign ? EDGE_FOREIGN : roles[child->role];
}

static void add_edge(struct manifest_change *m, const struct digest *child,
		     uint64_t size, enum edge_role role, const char *media_type)
{
	m->edges[m->n_edges++] = (struct edge){
	    .child = *child,
	    .size = size,
	    .role = role,
	    .media_type = dup_or_null(media_type),
	};
}

static void add_children(struct manifest_change *m,
			 const struct manifest_facts *facts, bool foreign)
{
	for (size_t i = 0; i < facts->n_children; i++) {
		const struct manifest_child *child = &facts->children[i];

		if (!child->skipped && child->foreign == foreign)
			add_edge(m, &child->dg, child->size, role_of(child),
				 child->media_type);
	}
}

/*
 * There is one edge from a child to a parent, and the last one put stays.  So
 * those that earn nothing come first: a digest named both ways is served.
 */
static void copy_edges(struct manifest_change *m,
		       const struct manifest_facts *facts)
{
	m->edges = xcalloc(facts->n_children + 1, sizeof(*m->edges));
	if (facts->has_subject)
		add_edge(m, &facts->subject, 0, EDGE_SUBJECT, NULL);
	add_children(m, facts, true);
	add_children(m, facts, false);
}

static void copy_facts(struct manifest_change *m, const struct digest *dg,
		       const struct manifest_facts *facts)
{
	const char *artifact_type = facts->artifact_type;

	m->children = children_pack(facts, &m->children_len);
	if (artifact_type && strlen(artifact_type) < MEDIA_TYPE_MAX)
		m->artifact_type = xstrdup(artifact_type);
	copy_edges(m, facts);
	if (facts->has_subject) {
		m->subject = facts->subject;
		m->descriptor = manifest_referrer_descriptor(facts, dg, m->len);
	}
}

void cache_store_manifest(struct cache *c, const struct store_manifest *sm,
			  cache_done_cb *cb, void *arg)
{
	struct manifest_change *m =
	    change_new(sizeof(*m), sm->host, sm->name, cb, arg);
	struct change *ch = &m->ch;

	ch->release = release;
	ch->dg = sm->dg;
	ch->kind = LINK_MANIFEST;
	ch->tag = dup_or_null(sm->tag);
	ch->media_type = xstrdup(sm->media_type);
	ch->public_yes = sm->public_yes;
	m->len = sm->len;
	copy_facts(m, &sm->dg, sm->facts);
	if (sm->len <= c->max_inline_bytes)
		m->bytes = xmemdup(sm->bytes, sm->len);
	else
		ch->early =
		    store_small_file(c, &sm->dg, sm->bytes, sm->len, &ch->why);
	change_submit(c, ch, store_apply);
}
