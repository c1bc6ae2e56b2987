/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Can a manifest be pulled whole from what is held?  Asked on a loop when an
 * upstream has failed, to choose between the two digests that a tag holds; so
 * it reads rows only and looks at a bounded number of them.
 */
#include "cache/cache.h"
#include "cache/children.h"

#define INDEX_CHILDREN_MAX 256
#define DEPTH_MAX 4   /* indexes within indexes */
#define ROWS_MAX 8192 /* all rows read for one answer */

struct judge {
	struct index_txn *txn;
	unsigned rows_left;
};

static bool manifest_is_whole(struct judge *j, const struct digest *dg,
			      unsigned depth);

static bool spend(struct judge *j)
{
	if (!j->rows_left)
		return false;
	j->rows_left--;
	return true;
}

static bool blob_is_held(struct judge *j, const struct digest *dg)
{
	struct blob_row row;

	return spend(j) && blob_get(j->txn, dg, &row) == ERR_OK;
}

/* The kind and children of a manifest that is held, bytes and all. */
static bool open_manifest(struct judge *j, const struct digest *dg,
			  enum manifest_kind *kind, struct slice *children)
{
	struct manifest_row row;

	if (!spend(j) || manifest_get(j->txn, dg, &row) != ERR_OK)
		return false;
	if (!row.bytes.ptr && !blob_is_held(j, dg))
		return false;
	return children_begin(row.children, kind, children);
}

/* An image, or an artifact: all that it names, but for what is foreign. */
static bool parts_are_held(struct judge *j, struct slice children)
{
	struct child child;
	bool bad = false;

	while (children_next(&children, &child, &bad)) {
		if (child.foreign)
			continue;
		if (!child.dg.alg || !blob_is_held(j, &child.dg))
			return false;
	}
	return !bad;
}

/* An index's entry of an unknown type may be a manifest or a blob. */
static bool entry_is_whole(struct judge *j, const struct child *child,
			   unsigned depth)
{
	if (child->foreign || !child->dg.alg)
		return false;
	return manifest_is_whole(j, &child->dg, depth + 1) ||
	       (child->role == CHILD_BLOB && blob_is_held(j, &child->dg));
}

/* One entry will do; an index without any is whole as it is. */
static bool one_is_whole(struct judge *j, struct slice children, unsigned depth)
{
	unsigned n = 0;
	struct child child;
	bool bad = false;

	while (n < INDEX_CHILDREN_MAX &&
	       children_next(&children, &child, &bad)) {
		if (entry_is_whole(j, &child, depth))
			return true;
		n++;
	}
	return n == 0 && !bad;
}

static bool manifest_is_whole(struct judge *j, const struct digest *dg,
			      unsigned depth)
{
	enum manifest_kind kind;
	struct slice children;

	if (depth > DEPTH_MAX || !open_manifest(j, dg, &kind, &children))
		return false;
	if (kind == MANIFEST_INDEX)
		return one_is_whole(j, children, depth);
	return parts_are_held(j, children);
}

static bool same_platform(struct slice a, struct slice b)
{
	return a.len == b.len && (!a.len || !memcmp(a.ptr, b.ptr, a.len));
}

static bool platform_is_whole(struct judge *j, struct slice children,
			      struct slice platform)
{
	struct child child;
	bool bad = false;

	for (unsigned n = 0;
	     n < INDEX_CHILDREN_MAX && children_next(&children, &child, &bad);
	     n++) {
		if (same_platform(child.platform, platform) &&
		    entry_is_whole(j, &child, 0))
			return true;
	}
	return false;
}

/* Has `children` whole what index `older` has whole, platform by platform? */
static bool keeps_platforms(struct judge *j, struct slice children,
			    const struct digest *older)
{
	enum manifest_kind kind;
	struct slice old;
	struct child child;
	bool bad = false;

	if (!open_manifest(j, older, &kind, &old) || kind != MANIFEST_INDEX)
		return true;
	for (unsigned n = 0;
	     n < INDEX_CHILDREN_MAX && children_next(&old, &child, &bad); n++) {
		if (entry_is_whole(j, &child, 0) &&
		    !platform_is_whole(j, children, child.platform))
			return false;
	}
	return true;
}

bool cache_is_whole(struct index_txn *txn, const struct digest *dg,
		    const struct digest *older)
{
	struct judge j = {txn, ROWS_MAX};
	enum manifest_kind kind;
	struct slice children;

	if (!manifest_is_whole(&j, dg, 0))
		return false;
	if (!older || !older->alg || !open_manifest(&j, dg, &kind, &children) ||
	    kind != MANIFEST_INDEX)
		return true;
	return keeps_platforms(&j, children, older);
}
