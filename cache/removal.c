/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/removal.h"

#include "cache/children.h"
#include "cache/hosted.h"
#include "cache/manifest.h"

#include <fcntl.h>
#include <unistd.h>

/* Each child is an edge that goes and a row of garbage that comes; a
 * background operation has at most 128 row operations. */
#define CHILDREN_PER_OP 50

struct removal {
	struct index_op op;
	struct cache *c;
	const struct garbage *g;
	enum removal_rule rule;
	/* What it names, were it a manifest; read before the first commit. */
	struct digest *children;
	size_t n_children;
	size_t from; /* the first of them that the next apply looks at */

	/* of the last apply */
	bool kept, had_file;
	bool more; /* something of it is left for another one */
	size_t looked;
};

/* ---- does anybody need it? ---- */

struct need {
	struct index_txn *txn;
	bool needed;
};

static bool any_holder(void *arg, uint64_t repo UNUSED, bool hosted UNUSED)
{
	((struct need *)arg)->needed = true;
	return false;
}

static bool stored_parent(void *arg, const struct digest *parent,
			  const struct edge_row *edge)
{
	struct need *n = arg;
	struct manifest_row row;

	/* One that has rotted may be the very one. */
	n->needed = edge_role_holds(edge->role) &&
		    manifest_get(n->txn, parent, &row) != ERR_NOT_FOUND;
	return !n->needed;
}

bool removal_needed(struct cache *c, struct index_txn *txn,
		    const struct digest *dg)
{
	struct need n = {txn, false};

	if (lease_has(c->leases, dg))
		return true;
	if (holder_walk(txn, dg, any_holder, &n) != ERR_OK || n.needed)
		return true;
	return edge_walk(txn, dg, stored_parent, &n) != ERR_OK || n.needed;
}

static bool is_needed(struct index_txn *txn, const struct removal *r)
{
	if (r->rule == REMOVE_UNOWNED)
		return removal_needed(r->c, txn, &r->g->dg);
	return lease_is_taken(r->c->leases, &r->g->dg) ||
	       hosted_has(txn, &r->g->dg);
}

/* ---- mirrors that forget it ---- */

struct forget {
	struct index_txn *txn;
	uint64_t repo;
	const struct digest *dg;
	unsigned *left; /* to be forgotten in this apply */
	bool more;
};

/* What is held before it, if anything, is the newest again, and is checked at
 * the next request. */
static bool forget_tag(void *arg, const char *tag, size_t tag_len)
{
	struct forget *f = arg;
	struct tag_row row;

	if (tag_get(f->txn, f->repo, tag, tag_len, &row) != ERR_OK)
		return true;
	f->more = *f->left == 0;
	if (f->more)
		return false;
	--*f->left;
	if (digest_equal(&row.held[0], f->dg))
		row.held[0] = row.held[1];
	memset(&row.held[1], 0, sizeof(row.held[1]));
	row.checked_ms = 0;
	if (row.held[0].alg)
		tag_put(f->txn, f->repo, tag, tag_len, &row);
	else
		tag_del(f->txn, f->repo, tag, tag_len);
	return true;
}

/* The tags first: until they have gone, the link leads back to the rest. */
bool removal_forget_manifest(struct index_txn *txn, uint64_t repo,
			     const struct digest *dg, unsigned *left)
{
	struct forget f = {txn, repo, dg, left, false};
	struct manifest_row row;
	struct digest subject;

	if (tag_of_walk(txn, repo, dg, forget_tag, &f) != ERR_OK)
		return true; /* the transaction has failed, and says so */
	if (f.more || *left == 0)
		return false;
	--*left;
	if (manifest_get(txn, dg, &row) == ERR_OK && row.subject.alg) {
		subject = row.subject;
		referrer_del(txn, repo, &subject, dg);
	}
	link_del(txn, repo, dg);
	return true;
}

static bool forget_holder(void *arg, uint64_t repo, bool hosted)
{
	struct forget *f = arg;
	struct link_row link;

	/* To a blob, a link says what its upstream has allowed, and stays. */
	if (!hosted && (link_get(f->txn, repo, f->dg, &link) != ERR_OK ||
			link.kind == LINK_MANIFEST))
		f->more =
		    !removal_forget_manifest(f->txn, repo, f->dg, f->left);
	return !f->more;
}

/*
 * False: some still have it.  It begins at the first again in each commit, and
 * a mirror may have taken it anew meanwhile; what is forgotten is found no
 * more.  A blob that is no manifest has nothing to forget, however many
 * repositories link it.
 */
static bool forget_all(struct index_txn *txn, const struct digest *dg)
{
	unsigned left = REMOVAL_FORGET_MAX;
	struct forget f = {txn, 0, dg, &left, false};
	struct manifest_row row;

	if (manifest_get(txn, dg, &row) == ERR_NOT_FOUND)
		return true;
	if (holder_walk(txn, dg, forget_holder, &f) != ERR_OK)
		return true; /* the transaction has failed, and says so */
	return !f.more;
}

/* ---- the rows ---- */

/*
 * Some of the edges, from where the last commit came to and all around: a
 * mirror may have put back some meanwhile, and the rest is not to be looked at
 * fifty times.  What it named may be here for its sake only.
 */
static void drop_edges(struct index_txn *txn, struct removal *r)
{
	const struct garbage *g = r->g;
	unsigned dropped = 0;
	struct edge_row edge;
	size_t n = 0;

	for (; n < r->n_children && dropped < CHILDREN_PER_OP; n++) {
		size_t i = (r->from + n) % r->n_children;

		if (edge_get(txn, &r->children[i], &g->dg, &edge) ==
		    ERR_NOT_FOUND)
			continue;
		edge_del(txn, &r->children[i], &g->dg);
		garbage_put(txn, g->since_s, &r->children[i], g->repo);
		dropped++;
	}
	r->looked = n;
	r->more = n < r->n_children;
}

static void drop_rows(struct index_txn *txn, struct removal *r)
{
	const struct digest *dg = &r->g->dg;
	char path[PATH_LEN_MAX];
	struct blob_row blob;

	r->had_file = blob_get(txn, dg, &blob) != ERR_NOT_FOUND;
	if (r->had_file) {
		blob_del(txn, dg);
		trash_put(txn, blob_path(dg, path));
	}
	manifest_del(txn, dg);
	recency_del(txn, dg);
	garbage_del(txn, r->g->since_s, dg, r->g->repo);
}

static enum err removal_apply(struct index_txn *txn, struct index_op *op)
{
	struct removal *r = container_of(op, struct removal, op);

	r->more = false;
	r->had_file = false;
	r->looked = 0;
	r->kept = is_needed(txn, r);
	if (r->kept)
		return ERR_OK;
	r->more = r->rule == REMOVE_PURGED && !forget_all(txn, &r->g->dg);
	if (!r->more)
		drop_edges(txn, r);
	if (!r->more)
		drop_rows(txn, r);
	return ERR_OK;
}

/* ---- what it names ---- */

static void add_child(struct removal *r, const struct digest *dg)
{
	if (dg->alg)
		r->children[r->n_children++] = *dg;
}

/* The row keeps this many; whatever was stored is read again for more. */
static void unpack_children(struct removal *r, const struct manifest_row *row)
{
	enum manifest_kind kind;
	struct slice rest;
	struct child child;
	bool bad = false;

	r->children = xcalloc(CHILDREN_MAX + 1, sizeof(*r->children));
	add_child(r, &row->subject);
	if (!children_begin(row->children, &kind, &rest))
		return;
	while (r->n_children < CHILDREN_MAX &&
	       children_next(&rest, &child, &bad))
		add_child(r, &child.dg);
}

/* The whole manifest from its file; false if it cannot be had. */
static bool read_file(struct removal *r, uint8_t *bytes, size_t len)
{
	char path[PATH_LEN_MAX];
	int fd = store_open(r->c, blob_path(&r->g->dg, path), O_RDONLY);
	bool whole;

	if (fd < 0)
		return false;
	whole = store_pread(fd, bytes, len, 0) == (ssize_t)len;
	close(fd);
	return whole;
}

static void take_facts(struct removal *r, const struct manifest_facts *facts)
{
	size_t n = facts->n_children + 1;

	r->children = xrealloc(r->children, n * sizeof(*r->children));
	r->n_children = 0;
	if (facts->has_subject)
		add_child(r, &facts->subject);
	for (size_t i = 0; i < facts->n_children; i++)
		add_child(r, &facts->children[i].dg);
}

static void read_all_children(struct removal *r, const char *type, size_t len)
{
	uint8_t *bytes = xmalloc(len + 1);
	struct manifest_facts facts;

	if (read_file(r, bytes, len) &&
	    manifest_parse(bytes, len, len, type, &facts, NULL) == ERR_OK) {
		take_facts(r, &facts);
		manifest_facts_release(&facts);
	}
	free(bytes);
}

/* More than a row keeps are in no inline manifest: each has a digest of 64
 * letters and more, so its bytes are in a file. */
static void read_children(struct removal *r)
{
	struct index_txn *txn = index_read(r->c->index);
	char type[MEDIA_TYPE_MAX] = "";
	struct manifest_row row;
	size_t len = 0;

	if (manifest_get(txn, &r->g->dg, &row) == ERR_OK) {
		unpack_children(r, &row);
		if (row.media_type.len < sizeof(type) && row.media_type.len)
			memcpy(type, row.media_type.ptr, row.media_type.len);
		len = (size_t)row.size;
	}
	index_read_end(txn);
	if (r->n_children >= CHILDREN_MAX)
		read_all_children(r, *type ? type : NULL, len);
}

/* ---- all of it ---- */

static enum err run_held(struct removal *r)
{
	enum err err;

	read_children(r);
	do {
		err = index_submit_wait(r->c->index, &r->op);
		r->from += err == ERR_OK ? r->looked : 0;
	} while (err == ERR_OK && r->more);
	free(r->children);
	if (err == ERR_OK && r->had_file)
		trash_held(r->c, &r->g->dg);
	return err;
}

enum err removal_run(struct cache *c, const struct garbage *g,
		     enum removal_rule rule, bool *kept, struct why *why)
{
	struct removal r = {
	    .op = {.apply = removal_apply,
		   .background = rule == REMOVE_UNOWNED},
	    .c = c,
	    .g = g,
	    .rule = rule,
	};
	char text[DIGEST_TEXT_MAX];
	struct hold hold;
	enum err err;

	hold_wait(c->holds, &hold, &g->dg);
	err = run_held(&r);
	hold_release(c->holds, &hold);
	*kept = r.kept;
	if (err == ERR_OK)
		return err;
	return why_set(why, err == ERR_NO_SPACE ? err : ERR_IO,
		       "the index does not drop %s: %s",
		       digest_text(&g->dg, text), err_name(err));
}
