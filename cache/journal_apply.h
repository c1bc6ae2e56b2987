/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_JOURNAL_APPLY_H
#define CACHE_JOURNAL_APPLY_H
/*
 * Statements of the journal back into the index: what start-up and rebuild
 * share.  Files are read here, on the main thread; the writer only puts rows.
 *
 *   statements_init -> statements_replay -> _release
 */
#include "cache/journal.h"

#define STATEMENTS_MAX 64

struct statement;

struct statements {
	struct cache *c;
	struct statement *v;
	size_t n;
	uint64_t seq;     /* up to which all is collected; 0 = none */
	uint64_t flushed; /* what the index has been told of that */
	/* What blobs/ holds has rows already: a file without one is no blob. */
	bool rows_tell;
	void *missing; /* links that could not be: a tree of tsearch(3) */
};

void statements_init(struct statements *s, struct cache *c);
void statements_release(struct statements *s);

/*
 * Read what is behind r->after, r->cb aside, into the index.  A link without a
 * file is left out; what is still so at the end is told `finding`, which may
 * be NULL.  Errors as of journal_replay(), and the index's.
 */
enum err statements_replay(struct statements *s, struct journal_replaying *r,
			   cache_check_cb *finding, void *arg,
			   struct why *why) MUST_CHECK;

#endif
