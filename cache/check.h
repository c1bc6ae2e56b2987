/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_CHECK_H
#define CACHE_CHECK_H
/*
 * What the parts of the checker share.  check.c walks each table and has a row
 * judged by the one function for it: of check_repo.c (what repositories hold),
 * check_content.c (blobs and manifests) or check_queue.c (what is still to be
 * done); check_files.c then compares the index with the files.
 */
#include "cache/cache_int.h"

struct check {
	struct cache *cache;
	struct index_txn *txn; /* check.c: the one snapshot it works in */
	const char *table;     /* being walked */
	bool rehash;
	cache_check_cb *cb;
	void *arg;
	uint64_t findings;
	uint64_t blobs, blob_bytes, events; /* counted */
};

void check_finding(struct check *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* A finding about the row under `key` of the table that is walked; and about
 * what it says of `dg`. */
void check_bad_row(struct check *c, struct slice key, const char *what);
void check_bad_digest(struct check *c, struct slice key, const char *what,
		      const struct digest *dg);

bool check_has_manifest(struct check *c, const struct digest *dg);
/* Is the key one digest and nothing else? */
bool check_only_digest(struct slice key, struct digest *dg);

/* ---- one for the rows of each table, in the snapshot c->txn ---- */

/* check_repo.c */
void check_row_repo_name(struct check *c, struct slice key);
void check_row_repo_held(struct check *c, struct slice key);
void check_row_repo(struct check *c, struct slice key);
void check_row_tag(struct check *c, struct slice key);
void check_row_tag_of(struct check *c, struct slice key);
void check_row_link(struct check *c, struct slice key);
void check_row_holder(struct check *c, struct slice key);
void check_row_referrer(struct check *c, struct slice key);

/* check_content.c */
void check_row_blob(struct check *c, struct slice key);
void check_row_manifest(struct check *c, struct slice key);
void check_row_edge(struct check *c, struct slice key);

/* check_queue.c */
void check_row_garbage(struct check *c, struct slice key);
void check_row_event(struct check *c, struct slice key);
void check_row_upload(struct check *c, struct slice key);
void check_row_recency(struct check *c, struct slice key);
void check_row_place(struct check *c, struct slice key);
void check_row_trash(struct check *c, struct slice key);

/* ---- check_files.c ---- */

/* Blob rows without their files, files without a row.  Takes snapshots of its
 * own, and none while it touches a file. */
void check_files(struct check *c);

#endif
