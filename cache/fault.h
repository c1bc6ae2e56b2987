/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_FAULT_H
#define CACHE_FAULT_H
/*
 * Fault points: named steps at which the test build can be killed, or told
 * that the disk is full or broken.
 *
 *   error = FAULT(publish_link);      an errno value, or 0
 *   if (!error && linkat(...) != 0)
 *           error = errno;
 *
 * Compiled with -DFAULT_POINTS, the environment decides:
 * ENTREPOT_FAULT="name:N:kill|enospc|eio" makes the N-th passage of that
 * point (from 1) kill the process by SIGKILL or return that error, "name:N+:"
 * the N-th and all that follow; several are separated by commas.  A value
 * that cannot be read aborts.  What happens is said on stderr, so that a test
 * can tell a kill here from any other.  Without -DFAULT_POINTS, FAULT() is 0
 * and costs nothing.
 */
#include "cache/base.h"

/* Every point there is, in the order in which a fill passes them. */
#define FAULT_POINT_LIST(X)                                                    \
	X(partial_create)     /* before the staged file is made */             \
	X(map_create)         /* made; before its map is */                    \
	X(partial_write)      /* before a piece is written */                  \
	X(partial_sync)       /* before the 64 MiB sync */                     \
	X(map_write)          /* before a slot of the map is written */        \
	X(map_sync)           /* before the map is synced */                   \
	X(publish_sync)       /* before fdatasync of the whole file */         \
	X(publish_staged_dir) /* before fsync of uploads/ */                   \
	X(publish_link)       /* before link(2) into blobs/ */                 \
	X(publish_dir_sync)   /* linked; before fsync of the folder */         \
	X(publish_commit)     /* before the commit of the record */            \
	X(journal_create)     /* before a new log is made */                   \
	X(journal_write)      /* before a batch's records are written */       \
	X(journal_sync)       /* before they are synced */                     \
	X(journal_cut)        /* the commit failed: before they are cut off */ \
	X(index_commit)       /* any batch: applied, before LMDB commits it */ \
	X(index_committed)    /* committed; before anybody is told */          \
	X(publish_unlink)     /* committed; before the staged name goes */     \
	X(publish_map)        /* before its map goes */                        \
	X(small_write)        /* a large manifest: before it is written */     \
	X(small_sync)                                                          \
	X(small_unlink)   /* recorded; before the staged name goes */          \
	X(drop_commit)    /* removal: before the commit */                     \
	X(drop_unlink)    /* committed; before the file goes */                \
	X(drop_sync)      /* gone; before fsync of the folder */               \
	X(drop_row)       /* before the trash row goes */                      \
	X(snapshot_write) /* a page of the journal's snapshot */               \
	X(snapshot_sync)  /* whole; before its sync */                         \
	X(snapshot_name)  /* synced; before it has its name */                 \
	X(snapshot_clean) /* named; before each file that it replaces goes */  \
	X(discard_map)    /* thrown away: before its map goes */               \
	X(discard_unlink)                                                      \
	X(upload_create)   /* a session: before its file is made */            \
	X(upload_row)      /* made; before anything tells of it */             \
	X(upload_put)      /* before the disk says where a PUT began */        \
	X(upload_write)    /* before a piece is written */                     \
	X(upload_sync)     /* before the 64 MiB sync */                        \
	X(upload_mark)     /* synced; before the row says so */                \
	X(upload_cut)      /* before what does not count is cut off */         \
	X(upload_rename)   /* before the file gets another name */             \
	X(upload_unlink)   /* given up or expired: before the file goes */     \
	X(upload_row_drop) /* gone; before the row goes */                     \
	X(recover_read)    /* start-up's re-hash */                            \
	X(recover_map)     /* start-up: before a map goes */                   \
	X(recover_unlink)  /* before the staged name goes */

enum fault_point {
#define FAULT_ENUM(name) FAULT_##name,
	FAULT_POINT_LIST(FAULT_ENUM)
#undef FAULT_ENUM
	    FAULT_POINTS_COUNT
};

/* The name of point `i`, or NULL past the last: for a list of them all, in
 * any build. */
const char *fault_name(unsigned i);

#ifdef FAULT_POINTS
int fault_pass(enum fault_point point);
#define FAULT(name) fault_pass(FAULT_##name)
#else
#define FAULT(name) 0
#endif

#endif
