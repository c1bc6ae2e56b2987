/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_CACHE_H
#define CACHE_CACHE_H
/*
 * The cache as its caller sees it: a data folder with an index, a blob store
 * and partial files, and the few operations that change them, each in the
 * disk order of which the crash promises are made.
 *
 * Threads: "loop" calls touch memory and the index only; "worker" calls may
 * wait for the disk; the index's writer calls `done` functions.
 *
 * Lock order (a thread holding one takes only later ones):
 *   1. partial->hash_mu, then partial->mu (cache/partial.c)
 *   2. cache->staged's mu (cache/staged.c: which staged files there are)
 *   3. cache->uploads' mu (cache/upload_table.c: which sessions are open)
 *   4. cache->recovery's mu (cache/recover.c: what start-up left)
 *   5. cache->holds' mu (cache/hold.c)
 *   6. cache->blobs' mu (cache/blob.c: open descriptors)
 *   7. cache->recency's mu (cache/recency.c)
 *   8. cache->space's mu (cache/space.c)
 *   9. cache->leases' mu (cache/lease.c), which the index's writer takes too
 * None is held over I/O or a call into the index.
 */
#include "cache/digest.h"
#include "cache/index.h"
#include "cache/row.h"

struct cache;

/* What the cache tells its owner, on whatever thread finds it. */
enum cache_event {
	CACHE_CORRUPT_BLOB, /* a blob's file is missing or of another size */
	CACHE_DISCARDED,    /* a partial was thrown away: why says so; NULL:
			       a caller's own error does */
	CACHE_INDEX_LOST,   /* at opening: blobs/ has files, and nothing tells
			       of them; an empty index was made */
	CACHE_INDEX_FULL,   /* commits find no room */
	CACHE_INDEX_FAILED, /* commits fail */
	CACHE_INDEX_OK,     /* and work again */
};
typedef void cache_event_cb(void *arg, enum cache_event event,
			    const struct digest *dg, const struct why *why);

struct cache_options {
	const char *data; /* folder; made if missing, with its parents */
	uint64_t min_free_bytes;
	uint64_t max_inline_bytes; /* manifests up to this are in the index */
	unsigned max_open_blobs;   /* descriptors kept open */
	uint64_t grace_ms;         /* of leases and collection (hosted.h) */
	struct index_options index;
	cache_event_cb *event;
	void *event_arg;
};

/*
 * Open: take <data>/lock (ERR_BUSY with `why` naming the owner's pid), refuse
 * network filesystems and folders on different devices (ERR_INVALID), make
 * the folders (blobs/<alg>/<2 hex> once), open the index, list partial/ and
 * trash.  Reads nothing else, whatever the size of the store.  Main thread.
 */
enum err cache_open(const struct cache_options *opt, struct cache **out,
		    struct why *why) MUST_CHECK;

/*
 * Work that start-up left over, one piece a call: staged files with two
 * links (with a record: the staged name goes; without: hashed again and
 * published), trash rows, partials too old or unreadable.  Returns false when
 * nothing is left.  Worker (slow lane).
 */
bool cache_recover_step(struct cache *c);

/* Return when every change that was submitted before this has been answered.
 * Main thread, when nobody submits any more. */
void cache_settle(struct cache *c);

/* Flush recency, wait for the writer, close.  Main thread, last. */
void cache_close(struct cache **c);

/* Another min_free_bytes, from now on.  Any thread. */
void cache_set_min_free(struct cache *c, uint64_t bytes);

struct index *cache_index(struct cache *c);

/* ---- what a repository may serve ---- */

enum may {
	MAY_NO,  /* nothing here says that this repository has it */
	MAY_ASK, /* named here, but needs its upstream's own yes */
	MAY_YES
};

struct lookup {
	enum may may;
	bool stored;     /* a blob (or manifest) row exists */
	bool size_known; /* from the row, or from an edge */
	uint64_t size;
	char media_type[MEDIA_TYPE_MAX]; /* as the edge declares; "" unknown */
};

/*
 * May repository `repo` (0 = never seen) serve blob `dg`?  YES: a link, or a
 * manifest linked here names it as config, layer or child and a public
 * repository has had a yes for it.  Loop; inside a snapshot.
 */
enum err cache_lookup_blob(struct index_txn *txn, uint64_t repo,
			   const struct digest *dg,
			   struct lookup *out) MUST_CHECK;

/* The same for a manifest by digest. */
enum err cache_lookup_manifest(struct index_txn *txn, uint64_t repo,
			       const struct digest *dg,
			       struct lookup *out) MUST_CHECK;

/*
 * Can this manifest be pulled whole from what is held: an image with its
 * config and all its layers (foreign ones apart), an index with one child
 * that is whole and each platform that is whole in `older` (NULL = none)?
 * Loop; inside a snapshot.  Bounded: an index of more than 256 children is
 * judged by its first 256.
 */
bool cache_is_whole(struct index_txn *txn, const struct digest *dg,
		    const struct digest *older);

/* ---- changes: each is one commit; cb on the writer thread ---- */

typedef void cache_done_cb(void *arg, enum err err, const struct why *why);

/*
 * Store a manifest that was read from an upstream and checked against `dg`:
 * the manifest row with its exact bytes (a file first, when larger than the
 * inline limit), edges to its children, the referrer row if it has a subject,
 * link(repo, dg); the repository row is made if missing.  With `tag`, the tag
 * row too: dg becomes seen and held[0] (an equal held[0] stays; what was
 * newest moves to held[1]), checked now, present.  Clears the repository's
 * `denied` date.
 */
struct manifest_facts; /* cache/manifest.h */
struct store_manifest {
	const char *host, *name; /* the repository */
	const char *tag;         /* NULL = by digest only */
	struct digest dg;
	const char *media_type;
	const struct manifest_facts *facts;
	const void *bytes;
	size_t len;
	bool public_yes;
};
/* Copies all it needs.  Worker (a large one writes a file). */
void cache_store_manifest(struct cache *c, const struct store_manifest *m,
			  cache_done_cb *cb, void *arg);

/*
 * Note what an upstream said of a tag without its manifest being fetched.
 * SEEN: its digest now, which becomes `seen`, and if held becomes (or stays)
 * held[0]; checked now.  GONE: 404; with `drop` the row goes.
 */
enum tag_news { TAG_NEWS_SEEN, TAG_NEWS_GONE };
void cache_note_tag(struct cache *c, const char *host, const char *name,
		    const char *tag, enum tag_news news,
		    const struct digest *dg, bool drop, cache_done_cb *cb,
		    void *arg);

/*
 * Note an upstream's answer about a repository: visibility (public or
 * private, dated now), or denied (401/403/451; dated once, until allowed).
 */
enum repo_news { REPO_IS_PUBLIC, REPO_IS_PRIVATE, REPO_DENIED, REPO_ALLOWED };
void cache_note_repo(struct cache *c, const char *host, const char *name,
		     enum repo_news news, cache_done_cb *cb, void *arg);

/*
 * Record that the upstream said yes to (repo, dg): link(repo, dg) of `kind`,
 * and, if `public_yes`, the mark on the blob and manifest rows that exist.
 */
void cache_note_yes(struct cache *c, const char *host, const char *name,
		    const struct digest *dg, enum link_kind kind,
		    const char *media_type, bool public_yes, cache_done_cb *cb,
		    void *arg);

/* A hit on `dg`: remembered in memory, flushed by cache_flush_recency(), so
 * that it costs no commit.  Loop. */
void cache_touch(struct cache *c, const struct digest *dg);
/* Submit what was touched since, in background batches.  Any thread; the
 * owner calls it every few seconds. */
void cache_flush_recency(struct cache *c);

/* Remove blob `dg` (its record in one commit with a trash row, then the
 * file).  Used when a file turns out to be missing or wrong.  ERR_BUSY: it is
 * hosted, so nothing is removed.  Worker. */
enum err cache_drop_blob(struct cache *c, const struct digest *dg,
			 struct why *why) MUST_CHECK;

/* ---- the checker ---- */

/*
 * Walk everything, slowly, and report each broken promise by a sentence:
 * rows that do not decode, links without repositories or contents, edges
 * without parents, hosted manifests whose children miss a row, link or edge,
 * blob rows without a file of that size, files without a row, totals that do
 * not add up; with `rehash`, blobs whose bytes do not have their digest.
 * Returns the number of findings.  Main thread of a tool, daemon stopped.
 */
typedef void cache_check_cb(void *arg, const char *finding);
uint64_t cache_check(struct cache *c, bool rehash, cache_check_cb *cb,
		     void *arg);

#endif
