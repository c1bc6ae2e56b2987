/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_JOURNAL_H
#define CACHE_JOURNAL_H
/*
 * The journal: every change of hosted repositories, in order, so that the loss
 * of the index loses nothing hosted.
 *
 *   journal/<first sequence, 16 hex>.log    records
 *   journal/<sequence, 16 hex>.snap         the state as of that sequence
 *
 * A record is   length:32  crc32c:32  sequence:64  payload
 * and its payload one statement about one key, by names and not by ids:
 *
 *   REPO name state created         UNLINK name digest
 *   LINK name digest kind sparse created media_type
 *   TAG name tag digest time        UNTAG name tag
 *
 * The last statement about a key is the one that holds, so replaying twice
 * does no harm, and a snapshot may be taken while changes go on: it is read
 * page by page from the index, and replay begins at the sequence that the
 * index had when it began.
 *
 * Order.  The writer's batch is applied; its records are appended to the log
 * and synced, once; then the index commits, with the last sequence in `meta`.
 * If that commit fails the records are cut off again (ftruncate, fsync) before
 * anybody is answered.  Killed in between, start-up replays what the index
 * does not have yet: the change was not acknowledged, and is whole.
 *
 *   journal_open -> journal_replay -> journal_start
 *     -> (journal_append [journal_cut])* , journal_snapshot_step*
 *     -> journal_free
 */
#include "cache/cache.h"

struct journal;

enum journal_kind {
	JOURNAL_REPO = 1,
	JOURNAL_LINK,
	JOURNAL_UNLINK,
	JOURNAL_TAG,
	JOURNAL_UNTAG,
};

/* One statement, open. */
struct journal_entry {
	enum journal_kind kind;
	const char *repo;
	bool hosted;            /* REPO: false = released */
	uint64_t time_s;        /* REPO: created; LINK, TAG: since */
	struct digest dg;       /* LINK, UNLINK, TAG */
	enum link_kind link;    /* LINK */
	bool sparse;            /* LINK: as in struct link_row */
	const char *tag;        /* TAG, UNTAG */
	const char *media_type; /* LINK of a manifest; "" or NULL = none */
};

/*
 * A statement as a record's payload: version:8 kind:8, then each field of the
 * kind in the order above, integers big-endian, texts with their NUL, digests
 * as in keys.  Encoding returns the length.  Decoding is strict: what it takes
 * encodes to the same bytes again.  ERR_CORRUPT: it is no statement.  Texts
 * are borrowed from `buf`; fields of other kinds are zero.  Pure.
 */
#define JOURNAL_ENTRY_MAX 1024
size_t journal_entry_encode(const struct journal_entry *e, uint8_t *buf);
enum err journal_entry_decode(const uint8_t *buf, size_t len,
			      struct journal_entry *out) MUST_CHECK;

/* Inside an apply: have this statement in the journal before the commit.
 * Bytes are copied into the transaction; without a log they are dropped. */
void journal_note(struct index_txn *txn, const struct journal_entry *e);

/*
 * Open the folder (made if missing), find the last whole record; a torn tail
 * is cut off.  Main thread.  ERR_CORRUPT: a record in the middle is damaged;
 * `why` names file and offset, and what `entrepot rebuild` would do.
 */
enum err journal_open(struct cache *c, struct journal **out,
		      struct why *why) MUST_CHECK;
void journal_free(struct journal **j);

/* The last sequence that is durable.  0: none ever.  Any thread. */
uint64_t journal_last(struct journal *j);

/*
 * Give every statement after sequence `after`, in order, to `cb` (snapshot
 * first, if `after` is older than what the logs still have).  The callback's
 * error ends it.  Main thread, before journal_start().
 */
typedef enum err journal_replay_cb(void *arg, uint64_t seq,
				   const struct journal_entry *e);
enum err journal_replay(struct journal *j, uint64_t after,
			journal_replay_cb *cb, void *arg,
			struct why *why) MUST_CHECK;

/* For index_options.log: append and sync `n` records (payloads framed by
 * journal_note), the first with sequence `first`; cut what the last append
 * added.  Writer's thread. */
enum err journal_append(void *journal, const void *records, size_t len,
			uint64_t first, size_t n, struct why *why) MUST_CHECK;
void journal_cut(void *journal);

/* The cache's own; constant while it is open. */
struct journal *cache_journal(struct cache *c);

/*
 * Is the log long enough, next to the last snapshot, to be worth a new one?
 * Then write the next page of it; the last page syncs the snapshot, renames
 * it into place and removes the logs that it replaces.  Returns whether there
 * is more to do now.  Worker (slow lane).
 */
bool journal_snapshot_step(struct journal *j);

/* ---- what start-up and rebuild do with it (cache/rebuild.c) ---- */

/* Bring the index up to the journal: replay what is beyond its sequence.
 * ERR_CORRUPT: they do not belong together; `why` says what to do.  Main
 * thread, before the writer has other work. */
enum err journal_catch_up(struct cache *c, struct why *why) MUST_CHECK;

/*
 * Make a new index from blobs/ and journal/, beside the old one, which is then
 * moved aside to index.lost-<time>: a blob row is made for each file in blobs/
 * (its size as it is; with `rehash`, after its digest was proven), then
 * everything in the journal is replayed; manifests are read again from their
 * files.  Progress by `progress(arg, done, of)`.  The daemon is stopped; the
 * lock is taken. Findings (a link whose file is missing) go to `finding`.
 */
enum err cache_rebuild(const struct cache_options *opt, bool rehash,
		       void (*progress)(void *arg, uint64_t done, uint64_t of),
		       cache_check_cb *finding, void *arg,
		       struct why *why) MUST_CHECK;

#endif
