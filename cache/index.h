/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_INDEX_H
#define CACHE_INDEX_H
/*
 * The index: ordered tables in LMDB, many readers, one writer thread with
 * group commit.  Nobody but its two files (cache/index_int.h) sees LMDB; what
 * the tables hold is in cache/row.h.
 *
 * Lifetime
 *   index_open -> index_read/index_read_end, index_submit -> index_close
 *
 * Readers: every thread that reads gets a transaction of its own, kept and
 * renewed, so that a read costs a fraction of a microsecond.  It is a
 * snapshot: end it before anything waits, is sent, or touches a file.  Values
 * point into the map and die with index_read_end().
 *
 * Writers: only the index's own thread writes.  index_submit() queues an
 * operation; the thread takes what has queued, applies it in order in one
 * transaction, commits durably, then calls every `done`.  What begins after
 * `done` sees the change.
 *
 * Every value is stored as: version byte, 4 bytes CRC-32C of the rest
 * (big-endian), payload.  The functions below take and give payloads.
 */
#include "cache/err.h"

enum index_table {
	TABLE_META,
	TABLE_REPO_NAME, /* host NUL name -> id */
	TABLE_REPO,      /* id -> row */
	TABLE_BLOB,
	TABLE_MANIFEST,
	TABLE_TAG,
	TABLE_LINK,
	TABLE_EDGE,
	TABLE_REFERRER,
	TABLE_UPLOAD,
	TABLE_RECENCY,       /* queue position -> digest */
	TABLE_RECENCY_PLACE, /* digest -> queue position */
	TABLE_TRASH,
	TABLE_HOLDER,    /* who links a digest: cache/row.h */
	TABLE_GARBAGE,   /* what may have lost its last owner */
	TABLE_EVENT,     /* cache/event.h */
	TABLE_TAG_OF,    /* which tags hold a digest */
	TABLE_REPO_HELD, /* as TABLE_REPO_NAME, of those that hold anything */
	TABLE_COUNT
};

#define INDEX_KEY_MAX 511

/* Bytes in a key or a payload; borrowed. */
struct slice {
	const uint8_t *ptr;
	size_t len;
};

static inline struct slice slice_of(const void *ptr, size_t len)
{
	struct slice s = {ptr, len};

	return s;
}

struct index;
struct index_txn; /* a snapshot, or the write transaction inside an apply */

/*
 * The state of writing.  OK; FULL: commits find no room and are tried again
 * every retry_full_ms, meanwhile operations are answered ERR_NO_SPACE at
 * once; FAILED: a commit failed otherwise, every later operation is answered
 * ERR_IO.
 */
enum index_health { INDEX_OK, INDEX_FULL, INDEX_FAILED };
typedef void index_health_cb(void *arg, enum index_health now,
			     const struct why *why);

/*
 * A log that must be durable before the commit which it describes
 * (cache/journal.h).  `append`: `n` records one after the other, each as
 * length:32 (big-endian) and its bytes, the first with sequence `first`;
 * durable when it returns ERR_OK, else ERR_NO_SPACE or ERR_IO with `why`, and
 * nothing is left of them.  `cut`: the commit failed; take the last append
 * back before anybody is answered.  Writer's thread.
 */
struct index_log {
	enum err (*append)(void *arg, const void *records, size_t len,
			   uint64_t first, size_t n, struct why *why);
	void (*cut)(void *arg);
	void *arg;
};

struct index_options {
	uint64_t map_bytes;      /* address space; 0 = 64 GiB */
	unsigned max_readers;    /* reading threads; 0 = 256 */
	unsigned retry_full_ms;  /* between tries of a commit that found no
				    room; 0 = 5000 */
	index_health_cb *health; /* told of each change, on the writer
				    thread; NULL = nobody */
	void *health_arg;
	const struct index_log *log; /* NULL = none; outlives the index */
	/* Make the tables of the last version into this one's, in the commit
	 * that says so.  NULL: an index of that version is not opened. */
	void (*upgrade)(struct index_txn *txn);
};

/*
 * Open or make the index in folder `dir` (made if missing), clear readers
 * that died, start the writer thread.  Never walks the tables, but
 * for an upgrade.
 * ERR_IO, ERR_NO_SPACE, ERR_CORRUPT (not an index, or another version of
 * one) with `why`.  Main thread, before any other call.
 */
enum err index_open(const char *dir, const struct index_options *opt,
		    struct index **out, struct why *why) MUST_CHECK;

/* Apply and commit what is queued, stop the writer, close.  Main thread,
 * when no thread reads any more. */
void index_close(struct index **ix);

/*
 * Begin a snapshot on the calling thread, never nested.  Never fails: a
 * thread that cannot have a reader slot is our own miscounting (assert).
 */
struct index_txn *index_read(struct index *ix);
void index_read_end(struct index_txn *txn);
/* A thread that read must call this before it ends. */
void index_thread_done(struct index *ix);

/*
 * Look a key up.  ERR_OK: *payload points into the map (or, in an apply,
 * until the next write).  ERR_NOT_FOUND.  ERR_CORRUPT: the CRC or version is
 * wrong; the event is counted (index_stats).
 */
enum err index_get(struct index_txn *txn, enum index_table table,
		   struct slice key, struct slice *payload) MUST_CHECK;

/*
 * Walk keys in order, from the first key >= `from` while the key begins with
 * `prefix` (both may be empty).  The callback returns false to stop.  A
 * corrupt row is given with a NULL payload.  Returns ERR_OK, or ERR_IO.
 */
typedef bool index_walk_cb(void *arg, struct slice key, struct slice payload);
enum err index_walk(struct index_txn *txn, enum index_table table,
		    struct slice prefix, struct slice from, index_walk_cb *cb,
		    void *arg) MUST_CHECK;

/* A row whose bytes are right and mean nothing to who walked over it counts as
 * corrupt too; one of a NULL payload did already.  Any thread. */
void index_note_undecodable(struct index_txn *txn, struct slice payload);

/* Rows of a table, without counting them; 0 if the transaction has failed. */
uint64_t index_rows(struct index_txn *txn, enum index_table table);

/*
 * Write; only inside an apply.  They remember the first error in the
 * transaction (map or disk full, I/O) and do nothing after it, so a row of
 * writes needs no checks; the batch then fails as a whole.  Deleting a key
 * that is not there is no error.
 */
void index_put(struct index_txn *txn, enum index_table table, struct slice key,
	       struct slice payload);
void index_del(struct index_txn *txn, enum index_table table, struct slice key);
/* The number of writes made in this transaction so far. */
uint64_t index_writes(const struct index_txn *txn);
/*
 * Only inside an apply: have this record in the log before the commit.  The
 * sequence of a batch's last record is kept in `meta` as "journal/last", by
 * the same commit; index_log_last() reads it (0: none ever).  Without a log
 * the record is dropped, and no sequence is used.
 */
void index_log_put(struct index_txn *txn, const void *record, size_t len);
uint64_t index_log_last(struct index_txn *txn);
/* In an apply that brings records back from the log: the index has them up to
 * this sequence. */
void index_log_set_last(struct index_txn *txn, uint64_t seq);

/*
 * One queued operation.  The caller embeds it in a struct of its own, which
 * must live until `done`.
 *
 * apply: writer thread, inside the transaction.  It reads, decides, writes.
 *   A result other than ERR_OK must come before its first write (asserted):
 *   it is this operation's answer and does not disturb its neighbours.  It
 *   may be called again after a failed commit, so it changes nothing outside
 *   the index but its own struct, idempotently.
 * done: writer thread, after the commit, never inside a transaction; hands
 *   the result over to whoever waits and returns at once.  `err` is apply's
 *   answer, or ERR_NO_SPACE / ERR_IO when the commit failed.
 * background: at most 128 row operations, and never two background batches
 *   in a row while a foreground operation waits.
 */
struct index_op {
	STAILQ_ENTRY(index_op) link;
	enum err (*apply)(struct index_txn *txn, struct index_op *op);
	void (*done)(struct index_op *op, enum err err);
	enum err result; /* the writer's */
	bool background;
};

/* Queue `op`.  Any thread; never blocks on I/O. */
void index_submit(struct index *ix, struct index_op *op);

/* Submit and wait.  Workers and the main thread; never a loop or an apply. */
enum err index_submit_wait(struct index *ix, struct index_op *op) MUST_CHECK;

/* The state of writing, now.  Any thread. */
enum index_health index_health(struct index *ix);

/* For whoever was answered ERR_NO_SPACE. */
#define INDEX_NO_ROOM "the disk has no room for the index to grow"

struct index_stats {
	uint64_t commits, failed, ops, batch_max, corrupt_rows, used_bytes;
	uint64_t waiting; /* operations submitted and not answered */
	uint64_t rows[TABLE_COUNT];
};
void index_stats(struct index *ix, struct index_stats *out);
/* "repo_name", "blob", ...: for a person. */
const char *index_table_name(enum index_table table);

#endif
