/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_JOURNAL_APPLY_H
#define CACHE_JOURNAL_APPLY_H
/*
 * Statements of the journal back into the index: what start-up and rebuild
 * share.  Files are read here, on the main thread; the writer only puts rows.
 *
 *   statements_init -> statements_add* -> statements_flush -> _release
 */
#include "cache/journal.h"

#define STATEMENTS_MAX 64

struct statement;

struct statements {
	struct cache *c;
	struct statement *v;
	size_t n;
	uint64_t seq; /* of the last; 0 = none */
	uint64_t applied;
	cache_check_cb *finding; /* a link whose file is missing; or NULL */
	void *arg;
};

void statements_init(struct statements *s, struct cache *c);
void statements_release(struct statements *s);
/* For journal_replay(), with `s` as its argument: collect, flush when full. */
enum err statements_add(void *s, uint64_t seq, const struct journal_entry *e);
/* One commit of what was collected, with its last sequence. */
enum err statements_flush(struct statements *s) MUST_CHECK;

#endif
