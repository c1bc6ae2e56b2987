/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of content, whatever repository has it. */
#include "cache/check.h"

#include "cache/children.h"
#include "cache/key.h"
#include "cache/manifest.h"

void check_row_blob(struct check *c, struct slice key)
{
	struct blob_row row;
	struct digest dg;

	if (!check_only_digest(key, &dg)) {
		check_bad_row(c, key, "the key is no digest");
		return;
	}
	c->blobs++;
	if (blob_get(c->txn, &dg, &row) == ERR_OK)
		c->blob_bytes += row.size;
	else
		check_bad_row(c, key, "does not decode");
}

static bool edge_exists(struct check *c, const struct digest *child,
			const struct digest *parent)
{
	struct edge_row row;

	return edge_get(c->txn, child, parent, &row) == ERR_OK;
}

/* Each child must have its edge.  One of another algorithm has none. */
static void check_children(struct check *c, struct slice key,
			   const struct digest *parent, struct slice packed)
{
	enum manifest_kind kind;
	struct slice rest;
	struct child child;
	bool bad = false;

	if (!children_begin(packed, &kind, &rest)) {
		check_bad_row(c, key, "its list of children does not decode");
		return;
	}
	while (children_next(&rest, &child, &bad)) {
		if (child.dg.alg && !edge_exists(c, &child.dg, parent))
			check_bad_digest(c, key, "no edge to its child",
					 &child.dg);
	}
	if (bad)
		check_bad_row(c, key, "its list of children breaks off");
}

/* Do the exact bytes say what the row says of them? */
static void check_bytes(struct check *c, struct slice key,
			const struct digest *dg, const struct manifest_row *row)
{
	char *type =
	    xstrndup((const char *)row->media_type.ptr, row->media_type.len);
	struct manifest_facts facts;
	struct digest found;
	uint8_t *packed;
	size_t len;

	if (manifest_parse(row->bytes.ptr, row->bytes.len, row->bytes.len,
			   *type ? type : NULL, &facts, NULL) == ERR_OK) {
		packed = children_pack(&facts, &len);
		if (len != row->children.len ||
		    memcmp(packed, row->children.ptr, len) != 0)
			check_bad_row(c, key,
				      "its list of children is another "
				      "than in its bytes");
		free(packed);
		manifest_facts_release(&facts);
	} else {
		check_bad_row(c, key, "its bytes are no manifest");
	}
	free(type);
	if (!c->rehash)
		return;
	digest_of(dg->alg, row->bytes.ptr, row->bytes.len, &found);
	if (!digest_equal(&found, dg))
		check_bad_row(c, key, "its bytes have another digest");
}

static bool note_holder(void *arg, uint64_t repo UNUSED, bool hosted UNUSED)
{
	*(bool *)arg = true;
	return false;
}

static bool has_holder(struct check *c, const struct digest *dg)
{
	bool any = false;

	return holder_walk(c->txn, dg, note_holder, &any) != ERR_OK || any;
}

void check_row_manifest(struct check *c, struct slice key)
{
	struct manifest_row row;
	struct blob_row blob;
	struct digest dg;

	if (!check_only_digest(key, &dg)) {
		check_bad_row(c, key, "the key is no digest");
		return;
	}
	if (manifest_get(c->txn, &dg, &row) != ERR_OK) {
		check_bad_row(c, key, "does not decode");
		return;
	}
	if (row.bytes.ptr)
		check_bytes(c, key, &dg, &row);
	else if (blob_get(c->txn, &dg, &blob) != ERR_OK ||
		 blob.size != row.size)
		check_bad_row(c, key,
			      "its bytes are in a file that has no row");
	if (!has_holder(c, &dg))
		return; /* a removal may be half way, edges first */
	if (row.subject.alg && !edge_exists(c, &row.subject, &dg))
		check_bad_digest(c, key, "no edge to its subject",
				 &row.subject);
	check_children(c, key, &dg, row.children);
}

void check_row_edge(struct check *c, struct slice key)
{
	struct digest child, parent;
	struct slice rest = key;

	if (!key_take_digest(&rest, &child) ||
	    !check_only_digest(rest, &parent))
		check_bad_row(c, key, "the key is no child and parent");
	else if (!check_has_manifest(c, &parent))
		check_bad_row(c, key, "without its parent");
}
