/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_MANIFEST_ROWS_H
#define CACHE_MANIFEST_ROWS_H
/*
 * What a manifest is in the index, whoever brought it: its row, the row of its
 * file, the edges to what it names, its place among the referrers of its
 * subject.  A change copies all of it before it is queued and puts it in its
 * apply.
 *
 *   manifest_rows_init [-> manifest_rows_put_ahead]
 *                       -> manifest_rows_put (in applies) -> _release
 */
#include "cache/cache_int.h"
#include "cache/manifest.h"

struct manifest_edge {
	struct digest child;
	uint64_t size;
	enum edge_role role;
	char *media_type; /* or NULL */
};

struct manifest_rows {
	struct digest dg;
	char *media_type;
	uint64_t len;
	uint8_t *bytes;    /* NULL: only in a file */
	bool in_file;      /* has a blob row */
	uint8_t *children; /* packed */
	size_t children_len;
	char *artifact_type;   /* or NULL */
	struct digest subject; /* alg 0 = none */
	char *descriptor;      /* as a referrer; NULL without a subject */
	struct manifest_edge *edges;
	size_t n_edges;
	size_t n_ahead; /* of them: put by commits of their own */
};

/* Bytes of at most `max_inline` are kept for the row; more, or `always_file`,
 * need the file that the caller writes. */
struct manifest_source {
	const struct digest *dg;
	const char *media_type;
	const struct manifest_facts *facts;
	const void *bytes;
	size_t len;
	uint64_t max_inline;
	bool always_file;
};
void manifest_rows_init(struct manifest_rows *r,
			const struct manifest_source *src);
void manifest_rows_release(struct manifest_rows *r);

/* Edges that one commit puts. */
#define MANIFEST_EDGES_MAX 256

/* Is it for manifest_rows_put_ahead()? */
static inline bool manifest_rows_are_many(const struct manifest_rows *r)
{
	return r->n_edges > MANIFEST_EDGES_MAX;
}

/*
 * An index may name tens of thousands, each an edge, and the writer has others
 * to serve meanwhile: put most of the edges in commits of their own.  The row
 * goes with the first of them, and the file's; as it has no link nobody can
 * reach it, and a row of garbage leads collection to it should it never get
 * one.  Nothing is put where manifest_rows_agree() says no.
 *
 * ERR_NO_SPACE, ERR_IO: as index_submit_wait(); r->n_ahead says whether
 * something has been put.  Worker; under the hold of r->dg until the link's
 * commit, which keeps every removal away.
 */
enum err manifest_rows_put_ahead(struct cache *c, struct manifest_rows *r,
				 uint64_t now_s, bool public_yes) MUST_CHECK;

/*
 * Put all rows (but edges that were put ahead), with the referrer's in
 * repository `repo`.  Marks and dates of rows that are there stay.
 *
 * The same bytes under another type may name less (a type that we do not know
 * names nothing), never something else: what the row already says of children
 * and subject stays then.
 */
void manifest_rows_put(struct index_txn *txn, const struct manifest_rows *r,
		       uint64_t repo, uint64_t now_s, bool public_yes);

/*
 * Can these rows be put?  False if the same bytes are stored with other
 * children: without a mediaType of their own, and with the lists of two kinds
 * of manifest, they were read as the other.  manifest_rows_put() keeps the old
 * ones then.
 */
bool manifest_rows_agree(struct index_txn *txn,
			 const struct manifest_rows *r) MUST_CHECK;

#endif
