/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_HOSTED_H
#define CACHE_HOSTED_H
/*
 * Changes of hosted repositories.  Each is one operation of the index's
 * writer, so one commit; each record of it is appended to the journal and
 * synced before that commit (cache/journal.h), and the events that tell of it
 * are rows of the same commit (cache/event.h).
 *
 * The callback runs after the commit: what begins after it sees the change.
 * It runs on the writer's thread, unless the call is a worker's: then on that
 * worker, before the call returns.  Any thread may call, unless it says
 * "worker".
 *
 * Invariant, true after every commit: a hosted manifest's row implies, for
 * each child it requires, that child's row, link(repo, child) and
 * edge(child, parent).  Pushing checks and inserts in one transaction;
 * deleting and collecting decide again inside theirs.
 */
#include "cache/cache.h"

struct manifest_facts;

/* Where a change belongs, and what goes with it.  Everything is borrowed for
 * the call; the change copies what it needs. */
struct hosting {
	const char *repo; /* the hosted name */
	/*
	 * A push in row 4, 6 or 7 of design's name table claims the name: the
	 * repository's row is made if it is missing.
	 */
	bool claims;
	/*
	 * The mirrored repository that row 6 gives this name, or NULL.  A
	 * manifest's children may be held by it, if the caller has found that
	 * it may be served to this pusher; the manifest's commit mounts them.
	 */
	const char *shadow_host, *shadow_name;
	/* Events to queue in the same commit, as JSON texts (event.h). */
	const struct slice *events;
	size_t n_events;
};

/*
 * What became of a change.  `dg` and `text` explain a refusal: the child that
 * is missing, the parent that names it, the tag that is immutable.
 */
struct hosted_result {
	enum err err;
	struct why why;
	bool claimed;     /* the name became hosted by this change */
	struct digest dg; /* alg 0 = none */
};
typedef void hosted_done_cb(void *arg, const struct hosted_result *res);

/*
 * Link a stored blob to a hosted repository: cross-repository mount.
 * `from` is a hosted repository that links it, or a mirrored one (from_host
 * set) that may serve it; NULL: any hosted repository that links it and for
 * which `readable(arg, name)` says yes (called on the writer's thread, bounded
 * to 64 repositories; NULL = all are readable).
 *
 * ERR_OK: linked, and leased.  ERR_NOT_FOUND: no such blob there.
 */
struct mount_ask {
	struct hosting to;
	struct digest dg;
	const char *from_host; /* "" hosted; NULL: anywhere */
	const char *from_name;
	bool (*readable)(void *arg, const char *name);
	void *readable_arg;
};
void cache_mount_blob(struct cache *c, const struct mount_ask *ask,
		      hosted_done_cb *cb, void *arg);

/*
 * Store a manifest that a client pushed and link it, with its tags.  The
 * bytes go into a file in blobs/ first (hosted content outlives the index),
 * then one commit: row, blob row, edges, referrer row, link, tags, claim.
 *
 * Required children, "present" being "linked in this repository" (or held by
 * the shadow): of an image its config and layers, of an artifact its blobs;
 * foreign ones, those with `urls`, subjects and an index's children are not.
 *
 * ERR_OK.  ERR_NOT_FOUND: a required child is missing (res->dg; `why` names
 * up to three).  ERR_DENIED: a tag is immutable and is another digest now.
 * ERR_NO_SPACE, ERR_IO.  Worker (writes a file).
 */
struct push_manifest {
	struct hosting to;
	struct digest dg; /* of `bytes`, by the algorithm the client asked */
	const char *media_type;
	const struct manifest_facts *facts;
	const void *bytes;
	size_t len;
	const char *const *tags; /* may be none: by digest only */
	const bool *immutable;   /* for each tag: it may not move; or NULL */
	size_t n_tags;
	bool allow_sparse; /* missing children are no error */
};
void cache_push_manifest(struct cache *c, const struct push_manifest *m,
			 hosted_done_cb *cb, void *arg);

/* Delete a tag; the manifest stays.  ERR_NOT_FOUND. */
void cache_delete_tag(struct cache *c, const struct hosting *h, const char *tag,
		      hosted_done_cb *cb, void *arg);

/*
 * Delete a manifest from a repository: its link, every tag on it, its
 * referrer row.  ERR_NOT_FOUND.  ERR_BUSY: a manifest linked in the same
 * repository names it as a child (res->dg): 405.  A great many tags go in
 * commits of their own before it; what fails then leaves it with the others.
 */
void cache_delete_manifest(struct cache *c, const struct hosting *h,
			   const struct digest *dg, hosted_done_cb *cb,
			   void *arg);

/* Delete a blob from a repository: its link.  Results as above. */
void cache_delete_blob(struct cache *c, const struct hosting *h,
		       const struct digest *dg, hosted_done_cb *cb, void *arg);

/*
 * Purge of mirrored content: the tag's row; the manifest's or blob's link and,
 * unless a hosted link or a lease needs it, the record and the file, with what
 * other mirrors' tags hold of that manifest.  The next pull fetches again.
 * `h` has the name at that host, and the events, which are rows of the commit
 * by which this repository forgets it.
 * ERR_NOT_FOUND: nothing of it was held.  Of a tag, any thread; else worker.
 */
void cache_purge_tag(struct cache *c, const char *host, const struct hosting *h,
		     const char *tag, hosted_done_cb *cb, void *arg);
void cache_purge_manifest(struct cache *c, const char *host,
			  const struct hosting *h, const struct digest *dg,
			  hosted_done_cb *cb, void *arg);
void cache_purge_blob(struct cache *c, const char *host,
		      const struct hosting *h, const struct digest *dg,
		      hosted_done_cb *cb, void *arg);

/*
 * Undo a claim: a hosted repository that holds nothing stops being hosted.
 * ERR_NOT_FOUND: it is not hosted.  ERR_BUSY: it holds something (`why` says
 * how much).
 */
void cache_release_repo(struct cache *c, const char *name, hosted_done_cb *cb,
			void *arg);

/* ---- reading; inside a snapshot, loop ---- */

/* Is this name hosted by a claim or a push?  A key's look-up. */
bool hosted_is_claimed(struct index_txn *txn, const char *name);
/* What a hosted repository may serve: a link and nothing else gives access.
 * ERR_OK, ERR_NOT_FOUND, ERR_IO. */
enum err hosted_lookup_blob(struct index_txn *txn, uint64_t repo,
			    const struct digest *dg,
			    struct lookup *out) MUST_CHECK;
/* The same for a manifest by digest, with the type that it is served as. */
enum err hosted_lookup_manifest(struct index_txn *txn, uint64_t repo,
				const struct digest *dg,
				struct lookup *out) MUST_CHECK;
/* Does any hosted repository link dg? */
bool hosted_has(struct index_txn *txn, const struct digest *dg);

/* ---- collection ---- */

/*
 * What may have lost its owner is in the table `garbage`, with the time since
 * when: what a deletion named, and what an upload or a mount brought, because
 * the manifest that should follow may never come.  One step looks at rows
 * older than the grace period.  A hosted repository's link to a blob goes if
 * no manifest linked there names it and the link is as old.  Then what no
 * link, no edge of a stored manifest and no lease needs is removed, in the
 * order of cache/trash.c; the rest of the rows go.  At most 16 digests a call.
 * Returns whether there is more to do now.  Worker (slow lane).
 */
bool cache_collect_step(struct cache *c);
/* Grace for leases and collection, from now on.  Any thread. */
void cache_set_grace(struct cache *c, uint64_t grace_ms);
/* lease_take() of cache/lease.h, for who is about to say that dg exists. */
void cache_lease(struct cache *c, const struct digest *dg);

#endif
