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
/* The first repository of `host` (one that holds anything) whose name is after
 * `after` ("" = from the first): its name into out[REPO_NAME_MAX + 1], which
 * may be `after` itself.  ERR_OK, ERR_NOT_FOUND, ERR_IO.  One look-up. */
enum err repo_next(struct index_txn *txn, const char *host, const char *after,
		   char *out, uint64_t *id) MUST_CHECK;
enum err repo_next_held(struct index_txn *txn, const char *host,
			const char *after, char *out, uint64_t *id) MUST_CHECK;
/* Does this repository link anything at all?  One key's look-up. */
bool repo_holds_anything(struct index_txn *txn, uint64_t repo);
/* Is it among those that repo_next_held() finds?  The checker's. */
bool repo_is_held(struct index_txn *txn, const char *host, const char *name,
		  uint64_t *id);
/* link_put()'s and link_del()'s: what the look-up says now. */
void repo_note_held(struct index_txn *txn, uint64_t repo, bool held);
/* All of that anew; for an index that had none of it.  In an apply. */
void repos_find_held(struct index_txn *txn);
/* All of its rows go.  Its id is not given again. */
void repo_del(struct index_txn *txn, const struct repo_row *row);
/*
 * All repositories by host ("" hosted, first) and name, after this one
 * (exclusive; name "" = from the first).  The callback returns false to stop.
 */
typedef bool repo_walk_cb(void *arg, const char *host, struct slice name,
			  uint64_t id);
enum err repo_walk(struct index_txn *txn, const char *host, const char *name,
		   repo_walk_cb *cb, void *arg) MUST_CHECK;

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
/*
 * The tags that hold a digest, newest or older.  tag_put() and tag_del() keep
 * the rows that lead back; should one be left over from a tag's row that had
 * rotted, tag_get() tells.
 */
typedef bool tag_of_walk_cb(void *arg, const char *tag, size_t tag_len);
enum err tag_of_walk(struct index_txn *txn, uint64_t repo,
		     const struct digest *dg, tag_of_walk_cb *cb,
		     void *arg) MUST_CHECK;
/* Tags of a repository in bytewise order, after `last` (exclusive; NULL =
 * from the first).  The callback returns false to stop. */
typedef bool tag_walk_cb(void *arg, const char *tag, size_t tag_len,
			 const struct tag_row *row);
enum err tag_walk(struct index_txn *txn, uint64_t repo, const char *last,
		  tag_walk_cb *cb, void *arg) MUST_CHECK;

enum link_kind { LINK_BLOB = 1, LINK_MANIFEST = 2 };

/*
 * What may be read through a repository.  link_put() and link_del() keep the
 * row in `holder` that leads back from the digest: (digest, hosted or not,
 * repository), hosted ones first, so that "does a hosted repository need it?"
 * is one look; and with the first and the last link the repository's row in
 * `repo_held`, so that lists do not step over those that are empty.
 */
struct link_row {
	enum link_kind kind;
	bool hosted; /* of a hosted repository */
	/* A hosted manifest that was pushed without all it requires, by leave
	 * of `allow_sparse`: of it alone nobody promises the children. */
	bool sparse;
	uint64_t created_s;
	struct slice media_type; /* manifests: the type it is served as */
};

enum err link_get(struct index_txn *txn, uint64_t repo, const struct digest *dg,
		  struct link_row *out) MUST_CHECK;
void link_put(struct index_txn *txn, uint64_t repo, const struct digest *dg,
	      const struct link_row *row);
void link_del(struct index_txn *txn, uint64_t repo, const struct digest *dg);
/* The digests that a repository links, in key order, after `last` (exclusive;
 * NULL = from the first).  The callback returns false to stop. */
typedef bool link_walk_cb(void *arg, const struct digest *dg,
			  const struct link_row *row);
enum err link_walk(struct index_txn *txn, uint64_t repo,
		   const struct digest *last, link_walk_cb *cb,
		   void *arg) MUST_CHECK;
/* The repositories that link a digest, hosted ones first: the kinds in a
 * holder's key sort so. */
enum holder_kind { HOLDER_HOSTED = 1, HOLDER_MIRROR = 2 };
typedef bool holder_walk_cb(void *arg, uint64_t repo, bool hosted);
enum err holder_walk(struct index_txn *txn, const struct digest *dg,
		     holder_walk_cb *cb, void *arg) MUST_CHECK;

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
enum err edge_get(struct index_txn *txn, const struct digest *child,
		  const struct digest *parent, struct edge_row *out) MUST_CHECK;
/* Does an edge of this role say that the parent cannot be without the child?
 * A subject need not be there, and what is foreign is had elsewhere. */
static inline bool edge_role_holds(enum edge_role role)
{
	return role != EDGE_FOREIGN && role != EDGE_SUBJECT;
}
typedef bool edge_walk_cb(void *arg, const struct digest *parent,
			  const struct edge_row *row);
/* All manifests that name `child`. */
enum err edge_walk(struct index_txn *txn, const struct digest *child,
		   edge_walk_cb *cb, void *arg) MUST_CHECK;

/* Referrers of `subject` in a repository: the descriptor as JSON text. */
void referrer_put(struct index_txn *txn, uint64_t repo,
		  const struct digest *subject, const struct digest *dg,
		  struct slice descriptor);
void referrer_del(struct index_txn *txn, uint64_t repo,
		  const struct digest *subject, const struct digest *dg);
typedef bool referrer_walk_cb(void *arg, const struct digest *dg,
			      struct slice descriptor);
/* In key order, after `last` (exclusive; NULL = from the first). */
enum err referrer_walk(struct index_txn *txn, uint64_t repo,
		       const struct digest *subject, const struct digest *last,
		       referrer_walk_cb *cb, void *arg) MUST_CHECK;

/* An upload session (cache/upload.h). */
struct upload_row {
	char repo[REPO_NAME_MAX + 1]; /* the hosted name; copied */
	uint64_t started_s, touched_s;
	uint64_t synced; /* bytes that the disk has, whatever boot this is */
	bool in_put;     /* a PUT with a body runs, or was cut off */
	uint64_t put_at; /* where it began */
	uint8_t alg;     /* the hash that runs along */
	uint8_t boot[16];
};
enum err upload_get(struct index_txn *txn, const char *id,
		    struct upload_row *out) MUST_CHECK;
void upload_put(struct index_txn *txn, const char *id,
		const struct upload_row *row);
void upload_del(struct index_txn *txn, const char *id);
uint64_t upload_rows(struct index_txn *txn);
/* By id, after `last` (exclusive; "" = from the first).  The callback returns
 * false to stop. */
typedef bool upload_walk_cb(void *arg, const char *id,
			    const struct upload_row *row);
enum err upload_walk(struct index_txn *txn, const char *last,
		     upload_walk_cb *cb, void *arg) MUST_CHECK;

/*
 * A digest that may have lost its last owner, oldest first; with `repo`, also
 * one that this hosted repository may link without a manifest of its own that
 * names it (0 = none).
 */
void garbage_put(struct index_txn *txn, uint64_t since_s,
		 const struct digest *dg, uint64_t repo);
void garbage_del(struct index_txn *txn, uint64_t since_s,
		 const struct digest *dg, uint64_t repo);
typedef bool garbage_walk_cb(void *arg, uint64_t since_s,
			     const struct digest *dg, uint64_t repo);
enum err garbage_walk(struct index_txn *txn, garbage_walk_cb *cb,
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
bool recency_has(struct index_txn *txn, const struct digest *dg);
typedef bool recency_walk_cb(void *arg, uint64_t position,
			     const struct digest *dg);
enum err recency_walk(struct index_txn *txn, recency_walk_cb *cb,
		      void *arg) MUST_CHECK;

/* Totals kept in `meta` by name, for du and metrics: "blobs", "blob_bytes".
 * blob_put/blob_del keep them; they never walk. */
uint64_t total_get(struct index_txn *txn, const char *name);

#endif
