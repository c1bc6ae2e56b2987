/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_INDEX_DIR_H
#define CACHE_INDEX_DIR_H
/*
 * The folder around the index's files, as far as it needs care that LMDB does
 * not take.  Only cache/index.c uses it.
 */
#include "cache/err.h"

/* Make the folder, durably, unless it is there.  ERR_IO, ERR_NO_SPACE,
 * ERR_NOT_FOUND (no parent). */
enum err index_dir_make(const char *dir, struct why *why) MUST_CHECK;

/* Make durable what files there are. */
enum err index_dir_sync(const char *dir, struct why *why) MUST_CHECK;

/*
 * LMDB makes an index by writing its two meta pages, which no crash promise
 * covers: power lost there can leave a file that is short or zero.  Such a
 * file has never held a commit, and LMDB would refuse it for ever: it goes.
 */
void index_dir_remove_unborn(const char *dir);

/*
 * LMDB maps its lock file with holes in it and writes to the map: where the
 * disk is full that is a SIGBUS.  Give a new one its blocks before, `bytes` of
 * them, which LMDB takes for a slot a reader.  ERR_NO_SPACE, ERR_IO.
 */
enum err index_dir_make_lock(const char *dir, size_t bytes,
			     struct why *why) MUST_CHECK;

/* Can the file system take another 256 KiB?  Tries. */
bool index_dir_has_room(const char *dir);

#endif
