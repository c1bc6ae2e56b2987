/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_INDEX_INT_H
#define CACHE_INDEX_INT_H
/*
 * What the index's files share; no other sees LMDB.
 *
 *   index.c       the environment: opening, committing, how it is
 *   index_txn.c   a transaction: readers, rows in and out
 *   index_memo.c  what a reader has looked up already
 *   index_log.c   the records that go into a log before a commit
 */
#include "cache/index.h"
#include "cache/index_memo.h"

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

struct index_txn {
	struct index *ix;
	MDB_txn *txn;
	bool write;
	bool open; /* a reader's: between index_read and index_read_end */
	/*
	 * The first LMDB error.  In a write transaction: everything after it
	 * does nothing.  In a snapshot: there is none to be had, because a
	 * failed write of LMDB's own meta page closes the environment to new
	 * readers too; every look-up is ERR_IO then.
	 */
	int rc;
	uint64_t writes;
	LIST_ENTRY(index_txn) link; /* index->readers */
	struct index_memo *memo;    /* a reader's; NULL: a writer's */
};

struct index {
	MDB_env *env;
	MDB_dbi dbi[TABLE_COUNT];
	char *dir;
	struct index_options opt;

	pthread_key_t reader_key;   /* this thread's struct index_txn */
	pthread_mutex_t readers_mu; /* guards `readers` */
	LIST_HEAD(, index_txn) readers;

	struct index_writer *writer;
	uint8_t *scratch; /* the writer's: a value on its way in */
	size_t scratch_size;
	uint8_t *records; /* the writer's: the batch's, for the log */
	size_t records_len, records_size;
	uint64_t n_records;

	atomic_uint_least64_t commits, failed, ops, batch_max, corrupt_rows;
};

/* cache/index_log.c; writer's thread.  Append: have the batch's records in the
 * log, and its last sequence in this very transaction. */
void index_log_forget(struct index *ix);
enum err index_log_append(struct index_txn *txn, struct why *why) MUST_CHECK;
void index_log_cut(const struct index *ix);

/* Let go of every thread's reader.  Main thread, when no thread reads. */
void index_readers_free(struct index *ix);

#endif
