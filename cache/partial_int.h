/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_PARTIAL_INT_H
#define CACHE_PARTIAL_INT_H
/*
 * A partial from within, for cache/partial.c (bytes, hash),
 * cache/partial_file.c (its two files: opening, the map, closing),
 * cache/partial_publish.c (its end as a blob) and cache/recover.c (those that
 * start-up finds complete).
 */
#include "cache/cache_int.h"
#include "cache/partial.h"

#include <pthread.h>

/*
 * "The writer" is whoever is between partial_begin() and partial_end(): one
 * worker at a time.  It alone changes what is marked so, and reads it without
 * a lock; others read it under the mutex that is named.
 */
struct partial {
	struct cache *c;
	struct staged *staged;
	char path[PATH_LEN_MAX], map[PATH_LEN_MAX];
	struct digest dg;
	struct file_id id;
	int fd, map_fd;

	/* Taken before mu.  Never held over I/O, but over one update. */
	pthread_mutex_t hash_mu;
	struct hasher *hasher; /* hash_mu */
	uint64_t hash_at;      /* hash_mu; moved by the writer */

	pthread_mutex_t mu; /* guards from here to the writer's own */
	pthread_cond_t idle;
	bool writing;
	struct extents held; /* changed by the writer */
	uint64_t held_bytes;
	uint64_t size;
	uint64_t hashed; /* hash_at, for those who do not wait for a hash */
	bool proven, mismatch;

	/*
	 * The file has two names: it is whole, and perhaps a blob's inode, so
	 * it is never written or cut.  Set at opening.
	 */
	bool complete;

	/* The writer's own. */
	bool nameless; /* discarded or published: its names are not ours */
	bool published;
	struct extents synced;
	uint64_t map_seq; /* of the slot last written */
	uint64_t since_map, since_writeback, since_sync;
	struct space_share share;
};

/* partial_open() by the staged file's path, and without asking for room: for
 * start-up's recovery, which makes none but frees some. */
enum err partial_open_path(struct cache *c, const struct digest *dg,
			   const char *path, struct partial **out,
			   struct why *why) MUST_CHECK;

void partial_begin(struct partial *p);
void partial_end(struct partial *p);

/* ---- cache/partial_file.c; all by the writer ---- */

/* Write the older slot: `written` is in the file; `sync` it, too.  A map that
 * cannot be written says less than it could, and nothing wrong: no error. */
void partial_write_map(struct partial *p, const struct extents *written,
		       bool sync);
/* Take both names from the disk and from the table, unless they went. */
void partial_forget(struct partial *p);
/* publish_staged() has taken the names from the disk: now from the table. */
void partial_published(struct partial *p);

/* ---- cache/partial.c ---- */

/* Once all is hashed: is it the digest? */
void partial_settle(struct partial *p);
/* Make what is held worth keeping: sync, map. */
void partial_settle_down(struct partial *p);
/* The disk's state is unknown: nobody is to find these bytes again.  `why` is
 * NULL where the caller's caller hears the reason. */
void partial_give_up(struct partial *p, const struct why *why);

#endif
