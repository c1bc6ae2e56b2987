/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_ROW_H
#define CACHE_ROW_H
/*
 * What the index's tables hold: one open struct for each kind of row, its
 * get and put.  Keys are big-endian, so tables sort as people expect; see
 * cache/key.h for their layouts.
 *
 * Getters: ERR_OK, ERR_NOT_FOUND, ERR_CORRUPT.  Strings and byte pointers in
 * a row that was read point into the map: they die with the transaction,
 * unless the row says "copied".  Putters run inside an apply.
 */
#include "cache/digest.h"
#include "cache/index.h"
#include "cache/name.h"

#define MEDIA_TYPE_MAX 256
#define REPO_HOST_MAX 255

enum visibility { VIS_UNKNOWN, VIS_PUBLIC, VIS_PRIVATE };
enum repo_kind { REPO_MIRROR = 1, REPO_HOSTED = 2 };

/* A repository.  `host` is the upstream's configured name; "" when hosted. */
struct repo_row {
	uint64_t id;
	enum repo_kind kind;
	uint64_t created_s;
	enum visibility visibility;
	uint64_t marked_ms;           /* when visibility was last asked */
	uint64_t denied_ms;           /* first 401/403/451 of a row; 0 = none */
	uint64_t denied_checked_ms;   /* last such answer */
	char host[REPO_HOST_MAX + 1]; /* copied */
	char name[REPO_NAME_MAX + 1]; /* copied */
};

enum err repo_id(struct index_txn *txn, const char *host, const char *name,
		 uint64_t *id) MUST_CHECK;
enum err repo_get(struct index_txn *txn, uint64_t id,
		  struct repo_row *out) MUST_CHECK;
/* Find or make; in an apply.  Ids count up from 1 in `meta`, never reused. */
enum err repo_ensure(struct index_txn *txn, const char *host, const char *name,
		     enum repo_kind kind, uint64_t now_s,
		     struct repo_row *out) MUST_CHECK;
void repo_put(struct index_txn *txn, const struct repo_row *row);

/* A blob whose file is in blobs/, proven against its digest. */
struct blob_row {
	uint64_t size;
	uint64_t created_s;
	uint64_t verified_s;
	bool public_yes; /* a public repository has had a yes for it */
};

enum err blob_get(struct index_txn *txn, const struct digest *dg,
		  struct blob_row *out) MUST_CHECK;
void blob_put(struct index_txn *txn, const struct digest *dg,
	      const struct blob_row *row);
void blob_del(struct index_txn *txn, const struct digest *dg);

/* A manifest.  Bytes up to the inline limit are in the row, others in a file
 * in blobs/ with a blob row of their own. */
struct manifest_row {
	bool public_yes;
	uint64_t size;
	uint64_t created_s;
	struct slice media_type;    /* not NUL-terminated */
	struct slice artifact_type; /* len 0 = none */
	struct digest subject;      /* alg 0 = none */
	struct slice children;      /* packed, see cache/children.h */
	struct slice bytes;         /* ptr NULL: in a file */
};

enum err manifest_get(struct index_txn *txn, const struct digest *dg,
		      struct manifest_row *out) MUST_CHECK;
void manifest_put(struct index_txn *txn, const struct digest *dg,
		  const struct manifest_row *row);
void manifest_del(struct index_txn *txn, const struct digest *dg);

enum tag_state { TAG_PRESENT, TAG_GONE };

/* held[0] is the newest digest whose manifest is linked here, held[1] the one
 * before; alg 0 = none.  `seen` is the last one upstream told of. */
struct tag_row {
	struct digest held[2];
	struct digest seen;
	uint64_t fetched_s;  /* when held[0] became the newest */
	uint64_t checked_ms; /* last answer from upstream about this tag */
	enum tag_state state;
};

enum err tag_get(struct index_txn *txn, uint64_t repo, const char *tag,
		 size_t tag_len, struct tag_row *out) MUST_CHECK;
void tag_put(struct index_txn *txn, uint64_t repo, const char *tag,
	     size_t tag_len, const struct tag_row *row);
void tag_del(struct index_txn *txn, uint64_t repo, const char *tag,
	     size_t tag_len);
/* Tags of a repository in bytewise order, after `last` (exclusive; NULL =
 * from the first).  The callback returns false to stop. */
typedef bool tag_walk_cb(void *arg, const char *tag, size_t tag_len,
			 const struct tag_row *row);
enum err tag_walk(struct index_txn *txn, uint64_t repo, const char *last,
		  tag_walk_cb *cb, void *arg) MUST_CHECK;

enum link_kind { LINK_BLOB = 1, LINK_MANIFEST = 2 };

/* What may be read through a repository. */
struct link_row {
	enum link_kind kind;
	uint64_t created_s;
	struct slice media_type; /* manifests: the type it is served as */
};

enum err link_get(struct index_txn *txn, uint64_t repo, const struct digest *dg,
		  struct link_row *out) MUST_CHECK;
void link_put(struct index_txn *txn, uint64_t repo, const struct digest *dg,
	      const struct link_row *row);
void link_del(struct index_txn *txn, uint64_t repo, const struct digest *dg);

enum edge_role {
	EDGE_CONFIG = 1,
	EDGE_LAYER = 2,
	EDGE_CHILD = 3,   /* an index's entry */
	EDGE_BLOB = 4,    /* a withdrawn artifact manifest's blob */
	EDGE_FOREIGN = 5, /* has `urls` or a foreign type: earns nothing */
	EDGE_SUBJECT = 6, /* earns nothing */
};

/* `parent` names `child`, with the size and type the parent declares. */
struct edge_row {
	uint64_t size;
	enum edge_role role;
	struct slice media_type;
};

void edge_put(struct index_txn *txn, const struct digest *child,
	      const struct digest *parent, const struct edge_row *row);
void edge_del(struct index_txn *txn, const struct digest *child,
	      const struct digest *parent);
typedef bool edge_walk_cb(void *arg, const struct digest *parent,
			  const struct edge_row *row);
/* All manifests that name `child`. */
enum err edge_walk(struct index_txn *txn, const struct digest *child,
		   edge_walk_cb *cb, void *arg) MUST_CHECK;

/* Referrers of `subject` in a repository: the descriptor as JSON text. */
void referrer_put(struct index_txn *txn, uint64_t repo,
		  const struct digest *subject, const struct digest *dg,
		  struct slice descriptor);
typedef bool referrer_walk_cb(void *arg, const struct digest *dg,
			      struct slice descriptor);
enum err referrer_walk(struct index_txn *txn, uint64_t repo,
		       const struct digest *subject, referrer_walk_cb *cb,
		       void *arg) MUST_CHECK;

/* A file to unlink: its path below the data folder. */
void trash_put(struct index_txn *txn, const char *path);
void trash_del(struct index_txn *txn, const char *path);
typedef bool trash_walk_cb(void *arg, const char *path);
enum err trash_walk(struct index_txn *txn, trash_walk_cb *cb,
		    void *arg) MUST_CHECK;

/*
 * Recency: a queue of digests, the least recent first.  Touching moves a
 * digest to the end, under a fresh position from `meta`.
 */
void recency_touch(struct index_txn *txn, const struct digest *dg);
void recency_del(struct index_txn *txn, const struct digest *dg);
typedef bool recency_walk_cb(void *arg, uint64_t position,
			     const struct digest *dg);
enum err recency_walk(struct index_txn *txn, recency_walk_cb *cb,
		      void *arg) MUST_CHECK;

/* Totals kept in `meta` by name, for du and metrics: "blobs", "blob_bytes".
 * blob_put/blob_del keep them; they never walk. */
uint64_t total_get(struct index_txn *txn, const char *name);

#endif
