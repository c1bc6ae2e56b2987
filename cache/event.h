/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_EVENT_H
#define CACHE_EVENT_H
/*
 * The queue of events about hosted changes, waiting to be told to webhooks.
 * An event is a row of the change's own commit: it exists exactly if the
 * change does.  Its text is the caller's; the queue only numbers it.
 *
 * Rows: sequence:64 -> text.  Each receiver has a cursor of its own in `meta`
 * ("event/at/<receiver>"): what it has been told.  A row goes when every
 * receiver is past it.  The queue is bounded: past `max` rows the oldest go,
 * and the receivers that had not been told of them count them as lost.
 */
#include "cache/index.h"

/* In an apply: queue one event.  Texts past 64 KiB are left out (counted). */
void event_put(struct index_txn *txn, struct slice text);

/* The next events after sequence `after`, oldest first; the callback returns
 * false to stop.  Inside a snapshot. */
typedef bool event_walk_cb(void *arg, uint64_t seq, struct slice text);
enum err event_walk(struct index_txn *txn, uint64_t after, event_walk_cb *cb,
		    void *arg) MUST_CHECK;

/* The receiver's cursor: the last sequence it was told of (0 = none). */
uint64_t event_cursor(struct index_txn *txn, const char *receiver);
/* Rows in the queue. */
uint64_t event_count(struct index_txn *txn);

struct cache;
/*
 * `receiver` has been told everything up to `seq`; rows that all `n`
 * receivers of `all` are past go, and so do the oldest beyond `max_rows`.
 * Waits for the commit.  Worker.
 */
enum err event_told(struct cache *c, const char *receiver, uint64_t seq,
		    const char *const *all, size_t n,
		    uint64_t max_rows) MUST_CHECK;

#endif
