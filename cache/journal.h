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
 *   journal_open -> journal_check_index -> journal_catch_up -> journal_start
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
#define JOURNAL_ENTRY_VERSION 1
size_t journal_entry_encode(const struct journal_entry *e, uint8_t *buf);
enum err journal_entry_decode(const uint8_t *buf, size_t len,
			      struct journal_entry *out) MUST_CHECK;

/* Inside an apply: have this statement in the journal before the commit.
 * Bytes are copied into the transaction; without a log they are dropped. */
void journal_note(struct index_txn *txn, const struct journal_entry *e);

/*
 * Find the last whole record.  Nothing is changed: whether what is behind it
 * is a torn tail, the index has to say.  Main thread.  ERR_CORRUPT: a record
 * in the middle is damaged; `why` names file and offset, and what mends it.
 */
enum err journal_open(struct cache *c, struct journal **out,
		      struct why *why) MUST_CHECK;
/* The index has all of it: cut the torn tail off, durably.  Main thread. */
enum err journal_start(struct journal *j, struct why *why) MUST_CHECK;
void journal_free(struct journal **j);

/* The last sequence that is durable.  0: none ever.  Any thread. */
uint64_t journal_last(struct journal *j);

/*
 * A statement that was read.  `seq` 0: it is a snapshot's, which is no state of
 * any sequence before all of it is there; then comes one with `e` NULL and the
 * snapshot's sequence.  An error ends the replay.
 */
typedef enum err journal_replay_cb(void *arg, uint64_t seq,
				   const struct journal_entry *e);

struct journal_replaying {
	uint64_t after; /* what is wanted begins behind this sequence */
	journal_replay_cb *cb;
	void *arg;
	/* Told of each damage, and what can be read around it is given; NULL:
	 * damage ends it. */
	cache_check_cb *damage;
	void *damage_arg;

	/* Out: the last sequence that was there, or `after`; and how much
	 * damage there was. */
	uint64_t last, damages;
};

/*
 * Give every statement behind r->after in order, from the snapshot on if that
 * is 0.  The files are only read, the daemon's journal need not be open.
 * Every sequence must be there.  ERR_CORRUPT: damage, `why` says what mends
 * it.  ERR_INVALID: a newer program wrote it; not even with r->damage is that
 * passed over.  Main thread.
 */
enum err journal_replay(struct cache *c, struct journal_replaying *r,
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

/* Before the index is opened, which would make one: ERR_CORRUPT if it has been
 * lost and the journal tells of hosted content.  Main thread. */
enum err journal_check_index(struct cache *c, bool there,
			     struct why *why) MUST_CHECK;

/* Bring the index up to the journal: replay what is beyond its sequence.
 * ERR_CORRUPT: they do not belong together; `why` says what to do.  Main
 * thread, before the writer has other work. */
enum err journal_catch_up(struct cache *c, struct why *why) MUST_CHECK;

/*
 * Make a new index from blobs/ and journal/, beside the old one, which is then
 * moved aside to index.lost-<time>: a blob row is made for each file in blobs/
 * (its size as it is; with `rehash`, after its digest was proven), then
 * everything in the journal is replayed; manifests are read again from their
 * files, and proven.  Progress by `progress(arg, done, of)`.  The daemon is
 * stopped; the lock is taken.  Findings (a link whose file is missing, records
 * that cannot be read) go to `finding`.  A journal that was damaged is written
 * anew: cache_renew_journal().
 */
enum err cache_rebuild(const struct cache_options *opt, bool rehash,
		       void (*progress)(void *arg, uint64_t done, uint64_t of),
		       cache_check_cb *finding, void *arg,
		       struct why *why) MUST_CHECK;

/*
 * The other way round: a snapshot of the index takes the place of everything
 * in journal/, which is moved aside to journal.lost-<time>.  Records that the
 * index has not seen are replayed before.  ERR_CORRUPT: there is no index, or
 * it is older than the journal's snapshot.  The daemon is stopped.
 */
enum err cache_renew_journal(const struct cache_options *opt,
			     cache_check_cb *finding, void *arg,
			     struct why *why) MUST_CHECK;

#endif
