/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_UPLOAD_H
#define CACHE_UPLOAD_H
/*
 * A blob on its way in from a client: an upload session.  Its bytes are the
 * file uploads/<id>, whose length is its offset; its row remembers the
 * repository, the times, the last synced mark, and where a PUT with a body
 * began.  Sessions outlive connections and the process.  Until something of it
 * is synced, or it is put aside, the file itself says what the row would
 * (upload_birth.c): a kill takes nothing from it, and a loss of power all.
 *
 *   upload_new ──┐
 *   upload_open ─┴► upload_append* ─► upload_finish ─ERR_OK─► gone, published
 *                     │  ▲              └─ERR_MISMATCH─► as before
 *                     │  └ upload_rewind (a PUT's body that broke off)
 *                     ├► upload_close   (kept for the next request)
 *                     └► upload_cancel  (gone)
 *
 * Everything here is for workers, one call at a time for one session (the
 * caller's strand sees to that); upload_offset() alone is for any thread.
 *
 * Order on disk
 *   new       make the file, which tells of itself (where it cannot, or the
 *             index takes nothing now: commit the row); then the client hears
 *             of it
 *   append    write, hash; every 8 MiB the kernel is told to begin writing
 *             back; every 64 MiB, once more comes, fdatasync, then the row or
 *             its mark (a background commit)
 *   begin_put at 0: rename to uploads/<id>@put; further on: commit the row
 *   finish    compare the digest; rename to uploads/<id>@<alg>-<hex>, from
 *             here on it takes no more bytes; then as cache/publish.c has it,
 *             under the hold, unless the blob is stored already: fdatasync,
 *             fsync uploads/, link into blobs/, fsync that folder; ONE commit:
 *             the blob row, the link, the claim, the events, the upload row
 *             goes; unlink the staged name
 *   cancel    unlink; the row goes in a later commit
 *   close     the row in a later commit, if there is none
 *
 * A session that is opened again is cut to where a PUT with a body began, if
 * one was under way; after another boot also to its last synced mark.
 *
 * Start-up lists uploads/ (upload_recover.c).  A file without a row that tells
 * of this boot gets one; without either, and without a digest in its name, it
 * goes, and so does a row without a file.  One with a digest in its name is
 * never written or truncated; with a blob record the name goes, without one it
 * is hashed again and published, linked nowhere: no client was told of it, and
 * its session is over.  The owner calls uploads_expire() at start and once a
 * minute.
 */
#include "cache/cache.h"
#include "cache/hosted.h"
#include "cache/path.h"

struct upload;

/* What can be told of a session without opening it. */
struct upload_info {
	char repo[REPO_NAME_MAX + 1]; /* the hosted name it was begun for */
	uint64_t offset;              /* bytes that a client may count on */
	uint64_t started_s, touched_s;
};

/*
 * Begin a session for hosted name `repo`; `alg` is the hash that runs along
 * (another one at the end costs a second reading).  ERR_LIMITED: there are as
 * many sessions as there may be.  ERR_NO_SPACE: below min_free, or the index
 * finds no room.  ERR_IO.
 */
enum err upload_new(struct cache *c, const char *repo, enum digest_alg alg,
		    struct upload **out, struct why *why) MUST_CHECK;

/*
 * Open a session again.  Its hash catches up at the first append or finish.
 * ERR_NOT_FOUND: none of that id (`id` may be anything), or it has expired.
 * ERR_BUSY: it is open, or expiring (the caller's table should have known the
 * first).  ERR_NO_SPACE: the index finds no room for a line that is needed
 * after another boot.  ERR_IO.
 */
enum err upload_open(struct cache *c, const char *id, struct upload **out,
		     struct why *why) MUST_CHECK;

/* Lives as long as `u`. */
const char *upload_id(const struct upload *u);
const char *upload_repo(const struct upload *u);
/* Bytes so far.  Any thread. */
uint64_t upload_offset(const struct upload *u);

/* The same from the row and the file, without waiting for whoever has it open
 * (then `offset` is upload_offset()).  ERR_NOT_FOUND, ERR_IO.  Worker. */
enum err upload_look(struct cache *c, const char *id, struct upload_info *out,
		     struct why *why) MUST_CHECK;

/*
 * Add bytes at the end.  Room is reserved first: ERR_NO_SPACE, with the
 * numbers in `why`, leaves the session as it was before the call; so does
 * ERR_IO, as far as the disk allows (what the file then has beyond the offset
 * is cut off before the next append).  ERR_TOO_BIG: past any file's length.
 *
 * After a failed sync (ERR_IO) the session is lost, file and row: every later
 * call says so, and the caller closes it.
 */
enum err upload_append(struct upload *u, const void *buf, size_t len,
		       struct why *why) MUST_CHECK;

/*
 * Before bytes come: does the index take what will be recorded at the end?
 * ERR_OK costs nothing while its last commit found room; else a commit is
 * tried.  ERR_NO_SPACE, ERR_IO: not now; the session stands.  Worker.
 */
enum err upload_check_index(struct upload *u, struct why *why) MUST_CHECK;

/*
 * A PUT with a body and without Content-Range begins here.  If it breaks off,
 * or its digest is wrong, or we are killed, the session goes back to where it
 * was (clients send the whole body again).  At offset 0 this needs no commit.
 * Called again, it goes back first.
 */
enum err upload_begin_put(struct upload *u, struct why *why) MUST_CHECK;
/* Back to where upload_begin_put() was called; nothing if it was not. */
enum err upload_rewind(struct upload *u, struct why *why) MUST_CHECK;

/*
 * The client says that all is there and has digest `dg`.  ERR_OK: it is
 * durable and linked to the session's repository (by `h`, with its claim and
 * events); dg is leased; `*u` is freed and NULL.  A blob that is stored
 * already costs nothing more: the bytes have proven that the pusher has it.
 *
 * On any error the session stands, at the PUT's beginning if there was one,
 * links and renames undone; but after a failed sync it is gone, and *u NULL.
 * ERR_MISMATCH: the digest is another one (`why` tells both).  ERR_DENIED: the
 * name is not hosted, and `h` does not claim it.  ERR_NO_SPACE, ERR_IO.
 *
 * `matched` (may be NULL) is called on the worker once the digest is right
 * and the file renamed: from then on nothing takes the session over.
 */
enum err upload_finish(struct upload **u, const struct digest *dg,
		       const struct hosting *h, void (*matched)(void *arg),
		       void *arg, struct why *why) MUST_CHECK;

/* The client gives it up: file and row go. */
void upload_cancel(struct upload **u);
/* Keep it.  A PUT that was under way counts as broken off.  The row's
 * touched_s follows, to the minute: that may wait for a commit. */
void upload_close(struct upload **u);

/* So many sessions may there be, open or left, from now on; those that there
 * are stay.  No bound before the first call.  Any thread. */
void uploads_set_max(struct cache *c, uint64_t max);

/*
 * Remove sessions that nobody has touched for `expire_s`; those that are open
 * stay.  One piece of a walk over all: it looks at no more than 64 * `max`,
 * removes at most `max`, and goes on after at[UPLOAD_ID_SIZE] ("" = from the
 * first), where it says how far it came.  False: that was the last piece, or
 * the index takes nothing now; `at` is "" again.
 */
bool uploads_expire(struct cache *c, uint64_t expire_s, unsigned max, char *at);

#endif
