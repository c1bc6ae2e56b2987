/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_HOLD_H
#define CACHE_HOLD_H
/*
 * Holds: at most one file operation per digest is under way, so that a
 * removal can never unlink what was published again meanwhile.  One table in
 * memory; waiters are served in the order they came.
 *
 *   hold_wait                               -> hold_release
 *   hold_ask -> true                        -> hold_release
 *            -> false, granted() is called  -> hold_release
 *
 * A worker takes one hold at a time, and gives it back before its job ends:
 * so whoever waits waits for a thread that runs.
 */
#include "cache/digest.h"

struct holds;

/* In the caller's storage from hold_ask/hold_wait to hold_release. */
struct hold {
	TAILQ_ENTRY(hold) link;
	struct digest dg;
	bool held;
	void (*granted)(struct hold *h); /* on the releaser's thread, which
					    holds no lock; NULL: hold_wait */
};

struct holds *holds_new(void) MUST_CHECK;
/* Nothing is held any more. */
void holds_free(struct holds **t);

/*
 * True: `h` holds `dg` now.  False: `granted` will be called, exactly once;
 * there is no giving up before.  It may release the hold itself.  Any thread;
 * never blocks.
 */
bool hold_ask(struct holds *t, struct hold *h, const struct digest *dg,
	      void (*granted)(struct hold *h)) MUST_CHECK;

/* Return when `h` holds `dg`.  Worker. */
void hold_wait(struct holds *t, struct hold *h, const struct digest *dg);

/* Give it back; the next in line is told before this returns. */
void hold_release(struct holds *t, struct hold *h);

/* Does anybody hold it?  For assertions and tests. */
bool hold_is_held(struct holds *t, const struct digest *dg);

#endif
