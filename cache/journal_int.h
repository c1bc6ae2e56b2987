/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_JOURNAL_INT_H
#define CACHE_JOURNAL_INT_H
/*
 * The journal from within: journal.c appends, journal_snapshot.c bounds its
 * length.
 */
#include "cache/journal_file.h"

#include <pthread.h>

/* What a test sets lower. */
#define JOURNAL_WORTH_BYTES (16 * MIB)

struct snapshot;

struct journal {
	struct cache *c;

	/* The log that is appended to.  The writer's thread. */
	int fd;               /* -1: the next append makes one */
	uint64_t size;        /* bytes of it that count */
	bool is_torn;         /* until journal_start(): there are more */
	uint64_t size_before; /* the last append */
	uint64_t last_before;
	bool broken; /* it may say what was refused: no more appends */
	struct why why_broken;

	pthread_mutex_t mu;  /* guards the rest */
	uint64_t last;       /* sequence; durable */
	uint64_t log_bytes;  /* of all logs since the last snapshot */
	uint64_t snap_bytes; /* of the last snapshot */
	uint64_t snap_seq;

	/* Logs shorter than this, or than twice the last snapshot, stay. */
	uint64_t worth_bytes;

	struct snapshot *snapshot; /* being written; the slow worker's */
};

/* journal_snapshot.c */
void snapshot_abandon(struct journal *j);
/* A whole one at once, named and synced; what it replaces stays.  Of a journal
 * that nobody appends to. */
enum err snapshot_make(struct journal *j, struct why *why) MUST_CHECK;

#endif
