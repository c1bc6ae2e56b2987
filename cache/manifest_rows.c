/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/manifest_rows.h"

#include "cache/change.h"
#include "cache/children.h"

/* ---- inside an apply ---- */

/* A packed form has its kind, then children. */
static bool names_any(struct slice children)
{
	return children.len > 1;
}

static bool slice_equal(struct slice a, struct slice b)
{
	return a.len == b.len && (!a.len || !memcmp(a.ptr, b.ptr, a.len));
}

static bool agree(const struct manifest_rows *r, const struct manifest_row *old)
{
	struct slice mine = slice_of(r->children, r->children_len);

	return !names_any(mine) || !names_any(old->children) ||
	       slice_equal(mine, old->children);
}

bool manifest_rows_agree(struct index_txn *txn, const struct manifest_rows *r)
{
	struct manifest_row old;

	return manifest_get(txn, &r->dg, &old) != ERR_OK || agree(r, &old);
}

static void keep_old(struct manifest_row *row, const struct manifest_row *old)
{
	row->public_yes |= old->public_yes;
	row->created_s = old->created_s;
	if (names_any(old->children)) {
		if (!names_any(row->children))
			row->media_type = old->media_type;
		row->children = old->children;
	}
	if (old->subject.alg) {
		row->subject = old->subject;
		row->artifact_type = old->artifact_type;
	}
}

static void put_row(struct index_txn *txn, const struct manifest_rows *r,
		    uint64_t now_s, bool public_yes)
{
	struct manifest_row old;
	struct manifest_row row = {
	    .public_yes = public_yes,
	    .size = r->len,
	    .created_s = now_s,
	    .media_type = slice_of_text(r->media_type),
	    .artifact_type = slice_of_text(r->artifact_type),
	    .subject = r->subject,
	    .children = slice_of(r->children, r->children_len),
	    .bytes = slice_of(r->bytes, r->bytes ? r->len : 0),
	};

	if (manifest_get(txn, &r->dg, &old) == ERR_OK)
		keep_old(&row, &old);
	manifest_put(txn, &r->dg, &row);
}

/* Of the file that holds the bytes. */
static void put_blob_row(struct index_txn *txn, const struct manifest_rows *r,
			 uint64_t now_s, bool public_yes)
{
	struct blob_row old;
	struct blob_row row = {
	    .size = r->len,
	    .created_s = now_s,
	    .verified_s = now_s,
	    .public_yes = public_yes,
	};

	if (blob_get(txn, &r->dg, &old) == ERR_OK) {
		row.public_yes |= old.public_yes;
		row.created_s = old.created_s;
	}
	blob_put(txn, &r->dg, &row);
}

static void put_edges(struct index_txn *txn, const struct manifest_rows *r,
		      size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		const struct manifest_edge *e = &r->edges[i];
		struct edge_row row = {e->size, e->role,
				       slice_of_text(e->media_type)};

		edge_put(txn, &e->child, &r->dg, &row);
	}
}

void manifest_rows_put(struct index_txn *txn, const struct manifest_rows *r,
		       uint64_t repo, uint64_t now_s, bool public_yes)
{
	bool edges = manifest_rows_agree(txn, r);

	put_row(txn, r, now_s, public_yes);
	if (r->in_file)
		put_blob_row(txn, r, now_s, public_yes);
	if (edges)
		put_edges(txn, r, r->n_ahead, r->n_edges);
	if (r->descriptor)
		referrer_put(txn, repo, &r->subject, &r->dg,
			     slice_of_text(r->descriptor));
}

/* ---- ahead of it ---- */

struct ahead {
	struct index_op op;
	const struct manifest_rows *r;
	uint64_t now_s;
	bool public_yes;
	bool agrees; /* of the last apply */
};

static enum err ahead_apply(struct index_txn *txn, struct index_op *op)
{
	struct ahead *a = container_of(op, struct ahead, op);
	const struct manifest_rows *r = a->r;

	a->agrees = manifest_rows_agree(txn, r);
	if (!a->agrees)
		return ERR_OK;
	if (r->n_ahead == 0) {
		put_row(txn, r, a->now_s, a->public_yes);
		if (r->in_file)
			put_blob_row(txn, r, a->now_s, a->public_yes);
		garbage_put(txn, a->now_s, &r->dg, 0);
	}
	put_edges(txn, r, r->n_ahead, r->n_ahead + MANIFEST_EDGES_MAX);
	return ERR_OK;
}

enum err manifest_rows_put_ahead(struct cache *c, struct manifest_rows *r,
				 uint64_t now_s, bool public_yes)
{
	struct ahead a = {
	    .op.apply = ahead_apply,
	    .r = r,
	    .now_s = now_s,
	    .public_yes = public_yes,
	    .agrees = true,
	};
	enum err err = ERR_OK;

	while (err == ERR_OK && a.agrees &&
	       r->n_edges - r->n_ahead > MANIFEST_EDGES_MAX) {
		err = index_submit_wait(c->index, &a.op);
		if (err == ERR_OK && a.agrees)
			r->n_ahead += MANIFEST_EDGES_MAX;
	}
	return err;
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

static void add_edge(struct manifest_rows *r, const struct digest *child,
		     uint64_t size, enum edge_role role, const char *media_type)
{
	r->edges[r->n_edges++] = (struct manifest_edge){
	    .child = *child,
	    .size = size,
	    .role = role,
	    .media_type = dup_or_null(media_type),
	};
}

static void add_children(struct manifest_rows *r,
			 const struct manifest_facts *facts, bool foreign)
{
	for (size_t i = 0; i < facts->n_children; i++) {
		const struct manifest_child *child = &facts->children[i];

		if (!child->skipped && child->foreign == foreign)
			add_edge(r, &child->dg, child->size, role_of(child),
				 child->media_type);
	}
}

/*
 * There is one edge from a child to a parent, and the last one put stays.  So
 * those that earn nothing come first: a digest named both ways is served.
 */
static void copy_edges(struct manifest_rows *r,
		       const struct manifest_facts *facts)
{
	r->edges = xcalloc(facts->n_children + 1, sizeof(*r->edges));
	if (facts->has_subject)
		add_edge(r, &facts->subject, 0, EDGE_SUBJECT, NULL);
	add_children(r, facts, true);
	add_children(r, facts, false);
}

static void copy_facts(struct manifest_rows *r,
		       const struct manifest_facts *facts)
{
	const char *artifact_type = facts->artifact_type;

	r->children = children_pack(facts, &r->children_len);
	if (artifact_type && strlen(artifact_type) < MEDIA_TYPE_MAX)
		r->artifact_type = xstrdup(artifact_type);
	copy_edges(r, facts);
	if (facts->has_subject) {
		r->subject = facts->subject;
		r->descriptor =
		    manifest_referrer_descriptor(facts, &r->dg, r->len);
	}
}

void manifest_rows_init(struct manifest_rows *r,
			const struct manifest_source *src)
{
	memset(r, 0, sizeof(*r));
	r->dg = *src->dg;
	r->media_type = xstrdup(src->media_type);
	r->len = src->len;
	r->in_file = src->always_file || src->len > src->max_inline;
	if (src->len <= src->max_inline)
		r->bytes = xmemdup(src->bytes, src->len);
	copy_facts(r, src->facts);
}

void manifest_rows_release(struct manifest_rows *r)
{
	for (size_t i = 0; i < r->n_edges; i++)
		free(r->edges[i].media_type);
	free(r->edges);
	free(r->descriptor);
	free(r->artifact_type);
	free(r->children);
	free(r->bytes);
	free(r->media_type);
}
