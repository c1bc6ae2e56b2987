/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_CACHE_INT_H
#define CACHE_CACHE_INT_H
/*
 * The cache from within: the struct that its files share, and what they do
 * for each other.  Only files of cache/ that implement cache/cache.h,
 * cache/blob.h and cache/partial.h include it, and their tests.
 */
#include "cache/cache.h"
#include "cache/fault.h"
#include "cache/hold.h"
#include "cache/lease.h"
#include "cache/partial_map.h"
#include "cache/path.h"
#include "cache/space.h"
#include "cache/staged.h"

#include <dirent.h>

struct blobs;
struct journal;
struct recency;
struct recovery;
struct uploads;

struct cache {
	char *data;  /* the folder's path */
	int data_fd; /* and the folder itself, for openat() and friends */
	int lock_fd;
	struct index *index;
	struct journal *journal; /* cache/journal.h */
	struct index_log log;    /* the index's way to it */
	uint64_t max_inline_bytes;
	cache_event_cb *event; /* never NULL */
	void *event_arg;
	struct boot_id boot;

	struct blobs *blobs;         /* cache/blob.c */
	struct holds *holds;         /* cache/hold.h */
	struct space *space;         /* cache/space.h */
	struct staged_files *staged; /* cache/staged.h */
	struct recovery *recovery;   /* cache/recover.c */
	struct recency *recency;     /* cache/recency.h */
	struct leases *leases;       /* cache/lease.h */
	struct uploads *uploads;     /* cache/upload_table.c */
};

/* ---- cache/cache.c ---- */

/* The lock and the folders, without an index: for cache_rebuild(), which
 * closes it by cache_close(). */
enum err cache_open_folder(const struct cache_options *opt, struct cache **out,
			   struct why *why) MUST_CHECK;

/* ---- cache/store.c: files by their path below the data folder ---- */

/* Open, O_CLOEXEC and, where permitted, O_NOATIME; -1 with errno set. */
int store_open(struct cache *c, const char *path, int flags);
/* For readdir(); the caller closes it.  NULL with errno set. */
DIR *store_open_dir(struct cache *c, const char *path);
/* Read until `len` bytes or the end of the file; -1 with errno set. */
ssize_t store_pread(int fd, void *buf, size_t len, uint64_t off);
/* Write all; returns an errno value or 0, and *done bytes are written. */
int store_pwrite(int fd, const void *buf, size_t len, uint64_t off,
		 size_t *done);
/* fsync a folder.  Returns an errno value or 0. */
int store_sync_dir(struct cache *c, const char *path);
/* Unlink; no error if it is not there.  Returns an errno value or 0. */
int store_unlink(struct cache *c, const char *path);
/* why_errno(), in the two words that the store's callers know. */
enum err store_error(struct why *why, int error, const char *what,
		     const char *path);
/* The owner's callback. */
void cache_tell(struct cache *c, enum cache_event event,
		const struct digest *dg, const struct why *why);
/* A blob row in a fresh snapshot.  ERR_NOT_FOUND, ERR_CORRUPT. */
enum err store_blob_row(struct cache *c, const struct digest *dg,
			struct blob_row *out) MUST_CHECK;

/* ---- cache/publish.c ---- */

/*
 * Publish a whole, proven staged file, in the order that cache/publish.c
 * gives.  A blob that is stored already, whole, is left as it is.  On an error
 * the link is undone and the staged name is still there; `sync_failed`: what
 * the disk holds is unknown, the caller discards it.  Worker; takes the hold
 * of the digest.
 *
 * `rows` puts more rows into the commit of the blob's own: the caller embeds
 * the struct in one of its own that says which.  It may refuse before its
 * first write, and be called again, as an index_op's apply.
 */
struct publishing {
	int fd;
	const char *path;
	const char *map; /* goes with it; NULL = none */
	const char *dir; /* its folder, if the name has to be durable before
			    it gets another one; or NULL */
	struct digest dg;
	uint64_t size;
	bool public_yes; /* a public repository has had a yes for it */
	enum err (*rows)(struct index_txn *txn, struct publishing *pub,
			 uint64_t now_s); /* or NULL */
	bool sync_failed;                 /* out */
};
enum err publish_staged(struct cache *c, struct publishing *pub,
			struct why *why) MUST_CHECK;

/* Take the name in blobs/ that a staged file `fd` of `dg` has got before the
 * restart, unless there is a record by now.  Worker, with the hold. */
void publish_undo(struct cache *c, int fd, const struct digest *dg);

/* Only the rows of `pub`, for a blob that was published already.  ERR_IO also
 * if it was removed since. */
enum err publish_rows(struct cache *c, struct publishing *pub,
		      struct why *why) MUST_CHECK;

/*
 * Put `len` bytes that have the digest `dg` into blobs/, durably: a staged
 * file, fdatasync, link, fsync of the folder, commit of its blob row, all
 * under the hold of dg.  A file that is there with a row is left alone.
 * ERR_NO_SPACE, ERR_IO.  Worker.
 */
enum err store_small_file(struct cache *c, const struct digest *dg,
			  const void *bytes, size_t len,
			  struct why *why) MUST_CHECK;
/*
 * The same with a commit of the caller's own, which records the blob with
 * what else belongs to it: called once the file is in place, under the hold,
 * also where file and row were there.  If it fails, a file that has no row
 * goes again.
 */
typedef enum err store_commit(void *arg, struct why *why);
enum err store_file_with(struct cache *c, const struct digest *dg,
			 const void *bytes, size_t len, store_commit *commit,
			 void *arg, struct why *why) MUST_CHECK;

/* ---- cache/trash.c ---- */

/* The removal of cache_drop_blob() for a caller that has the hold.  ERR_BUSY:
 * it is hosted; its record stays. */
enum err trash_drop_held(struct cache *c, const struct digest *dg,
			 struct why *why) MUST_CHECK;
/* With the hold, after a commit that deleted the record of dg and put the
 * trash row of its file: the file goes, then the row. */
void trash_held(struct cache *c, const struct digest *dg);
/* Finish what a trash row says: unlink, unless a record has come back; drop
 * the row.  Worker; takes the hold. */
void trash_finish(struct cache *c, const char *path);

/* ---- cache/blob.c ---- */

struct blobs *blobs_new(unsigned max_open) MUST_CHECK;
/* Nothing is pinned any more. */
void blobs_free(struct blobs **b);
/* No new pins of the descriptor that is open for dg. */
void blobs_forget(struct cache *c, const struct digest *dg);
/* Have a descriptor ready for the next hit.  Worker, with the hold. */
void blobs_prime(struct cache *c, const struct digest *dg, uint64_t size);

/* ---- cache/recover.c ---- */

/* List partial/, uploads/ and the trash rows.  Main thread. */
enum err recovery_list(struct cache *c, struct why *why) MUST_CHECK;
/* Before the index is closed. */
void recovery_free(struct recovery **r);

/* An upload whose digest had matched; while the list is made. */
void recovery_add_upload(struct cache *c, const struct digest *dg,
			 const char *path);

/* ---- cache/upload_recover.c ---- */

/* Look at uploads/ and its rows, once the recovery's list is there.  Main
 * thread. */
enum err uploads_list(struct cache *c, struct why *why) MUST_CHECK;
/* One step for a file whose name tells its digest; *u is NULL at first.  True:
 * done with it.  Worker. */
struct upload_left;
bool upload_left_step(struct cache *c, const struct digest *dg,
		      const char *path, struct upload_left **u) MUST_CHECK;
void upload_left_free(struct upload_left **u);

/* ---- cache/upload_table.c ---- */

struct uploads *uploads_new(void) MUST_CHECK;
/* None is open any more. */
void uploads_free(struct uploads **t);

/* For index_options.health, with the cache as its argument: passes the
 * index's change of health on as a cache event (cache/change.c). */
void cache_index_health(void *arg, enum index_health now,
			const struct why *why);

#endif
