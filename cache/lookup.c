/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a repository may serve.  A blob that another repository brought is not
 * ours to give: this one needs a link, or a manifest of its own that names it,
 * and a yes that anybody could have had.
 *
 * A row that has rotted is as good as none here.  That is always safe in a
 * mirror: what is not known to be allowed is asked of its upstream, and what
 * is not known to be stored is fetched, which writes the row anew.
 */
#include "cache/cache.h"

/*
 * A popular layer has thousands of parents, in other repositories.  Past this
 * many the answer is "no", and upstream is asked.
 */
#define EDGES_MAX 4096

static void set_media_type(struct lookup *out, struct slice type)
{
	if (!type.len || type.len >= sizeof(out->media_type))
		return;
	memcpy(out->media_type, type.ptr, type.len);
	out->media_type[type.len] = '\0';
}

static void set_size(struct lookup *out, uint64_t size)
{
	if (out->size_known)
		return;
	out->size_known = true;
	out->size = size;
}

struct search {
	struct index_txn *txn;
	uint64_t repo;
	unsigned left;
	bool named;
	struct lookup *out;
};

/* Does this parent name it, in a way that earns, and is it linked here? */
static bool consider(void *arg, const struct digest *parent,
		     const struct edge_row *edge)
{
	struct search *s = arg;
	struct link_row link;

	if (!s->left--)
		return false;
	if (edge->role == EDGE_FOREIGN || edge->role == EDGE_SUBJECT)
		return true;
	if (link_get(s->txn, s->repo, parent, &link) != ERR_OK ||
	    link.kind != LINK_MANIFEST)
		return true;
	s->named = true;
	set_size(s->out, edge->size);
	if (!s->out->media_type[0])
		set_media_type(s->out, edge->media_type);
	return false;
}

static enum err find_parent(struct index_txn *txn, uint64_t repo,
			    const struct digest *dg, struct lookup *out,
			    bool *named)
{
	struct search s = {txn, repo, EDGES_MAX, false, out};
	enum err err = edge_walk(txn, dg, consider, &s);

	*named = s.named;
	return err;
}

/* The mark may be on either row: one digest is one content. */
static bool is_public(struct index_txn *txn, const struct digest *dg)
{
	struct manifest_row manifest;
	struct blob_row blob;

	return (blob_get(txn, dg, &blob) == ERR_OK && blob.public_yes) ||
	       (manifest_get(txn, dg, &manifest) == ERR_OK &&
		manifest.public_yes);
}

/* With what the caller has filled in of its own row. */
static enum err decide(struct index_txn *txn, uint64_t repo,
		       const struct digest *dg, struct lookup *out)
{
	struct link_row link;
	enum err err;
	bool named;

	if (!repo)
		return ERR_OK;
	err = link_get(txn, repo, dg, &link);
	if (err == ERR_IO)
		return err;
	if (err == ERR_OK) {
		out->may = MAY_YES;
		set_media_type(out, link.media_type);
		if (out->stored) /* a hit: nothing more to learn */
			return ERR_OK;
	}
	err = find_parent(txn, repo, dg, out, &named);
	if (err == ERR_OK && named && out->may != MAY_YES)
		out->may = is_public(txn, dg) ? MAY_YES : MAY_ASK;
	return err;
}

enum err cache_lookup_blob(struct index_txn *txn, uint64_t repo,
			   const struct digest *dg, struct lookup *out)
{
	struct blob_row row;
	enum err err = blob_get(txn, dg, &row);

	memset(out, 0, sizeof(*out));
	if (err == ERR_IO)
		return err;
	if (err == ERR_OK) {
		out->stored = true;
		set_size(out, row.size);
	}
	return decide(txn, repo, dg, out);
}

enum err cache_lookup_manifest(struct index_txn *txn, uint64_t repo,
			       const struct digest *dg, struct lookup *out)
{
	struct manifest_row row;
	enum err err = manifest_get(txn, dg, &row);
	bool stored = err == ERR_OK;

	memset(out, 0, sizeof(*out));
	if (err == ERR_IO)
		return err;
	if (stored) {
		out->stored = true;
		set_size(out, row.size);
	}
	err = decide(txn, repo, dg, out);
	if (stored && !out->media_type[0])
		set_media_type(out, row.media_type);
	return err;
}
