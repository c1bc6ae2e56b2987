/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_STAGED_H
#define CACHE_STAGED_H
/*
 * The staged files that there are, in memory: what start-up found in partial/
 * and what was made since.  It answers partial_exists() without the disk, and
 * lets each file have one owner at a time.
 *
 *        start-up lists it          staged_take             staged_opened
 *   KEPT <---------------- (none) ----------------> MOVING ---------> OPEN
 *    |                                                ^  |             |
 *    +--------------- staged_take --------------------+  |  staged_put, |
 *    ^                                                   |  staged_end  |
 *    +------------- staged_kept -------------------------+ <------------+
 *                   staged_gone -> (none, once nobody uses it)
 *
 * Who finds a file MOVING waits: the thread that moves it is at work.
 */
#include "cache/digest.h"
#include "cache/path.h"

struct partial;
struct staged_files;

enum staged_state { STAGED_KEPT, STAGED_MOVING, STAGED_OPEN };

struct staged {
	LIST_ENTRY(staged) link;
	struct digest dg;
	char path[PATH_LEN_MAX];
	/* By the table's mutex. */
	enum staged_state state;
	unsigned users;
	bool gone; /* not in the table any more */
	struct partial *open;
};

struct staged_files *staged_new(void) MUST_CHECK;
void staged_free(struct staged_files **t);

/* Start-up: note a file, as KEPT.  Main thread. */
void staged_found(struct staged_files *t, const struct digest *dg,
		  const char *path);

bool staged_exists(struct staged_files *t, const struct digest *dg,
		   const char *path);

/*
 * Take the file.  *open is the partial that has it open, with one more user;
 * or NULL: it is MOVING, and the caller opens it and says staged_opened,
 * staged_kept or staged_gone of what is returned.  Worker.
 */
struct staged *staged_take(struct staged_files *t, const struct digest *dg,
			   const char *path, struct partial **open) MUST_CHECK;
void staged_opened(struct staged_files *t, struct staged *s, struct partial *p);

/* One user less.  True: it was the last, and the caller closes the file; it is
 * MOVING, unless gone. */
bool staged_put(struct staged_files *t, struct staged *s) MUST_CHECK;

/* The file is about to lose its name: OPEN -> MOVING, so that whoever wants it
 * waits for staged_gone(). */
void staged_end(struct staged_files *t, struct staged *s);

/* MOVING -> KEPT. */
void staged_kept(struct staged_files *t, struct staged *s);
/* The name is free.  The struct goes too, unless it has users: the last
 * staged_put() leaves it to staged_release(). */
void staged_gone(struct staged_files *t, struct staged *s);
void staged_release(struct staged **s);

#endif
