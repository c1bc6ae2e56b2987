/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_UPLOAD_INT_H
#define CACHE_UPLOAD_INT_H
/*
 * An upload session from within: cache/upload.c (its bytes and its hash),
 * cache/upload_file.c (its file and its names: begin, open, look, give up),
 * cache/upload_birth.c (what the file says before there is a row),
 * cache/upload_finish.c (its end as a blob), cache/upload_row.c (changes of
 * its row), cache/upload_table.c (which are open; the expired).
 *
 * What the disk says of where the session stands, for whoever opens it next:
 *
 *   uploads/<id>           its length, or `put_at` if the row says `in_put`
 *   uploads/<id>@put       0: a PUT fills it from its first byte
 *   after another boot     and not more than `synced`
 *   uploads/<id>@<digest>  it is no session any more
 *
 * So the beginning of a PUT at 0, which is every monolithic one, costs a
 * rename and no commit.  Once said, it is taken back only by the first bytes
 * that are no PUT's: a PUT that broke off is usually followed by another.
 */
#include "cache/cache_int.h"
#include "cache/upload.h"

#include <stdatomic.h>

/* A session that somebody has open, or is about to open or remove. */
struct upload_claim {
	LIST_ENTRY(upload_claim) link;
	char id[UPLOAD_ID_SIZE];
	struct upload *open; /* once it is; by the table's mutex */
};

struct upload {
	struct upload_claim claim;
	struct cache *c;
	char path[PATH_LEN_MAX]; /* its name now */
	int fd;
	atomic_uint_least64_t offset; /* changed by the caller's one worker */
	struct upload_row row;        /* as it was when opened; copied */
	bool in_index;                /* it is; else only the file says it */
	bool newborn;                 /* counted as one */
	struct space_share share;
	uint64_t since_writeback, since_sync;
	bool tail; /* the file may be longer than the offset */
	bool lost; /* a sync failed: file and row are gone */

	struct hasher *hasher; /* stands at `hashed` */
	uint64_t hashed;

	bool in_put; /* a PUT with a body runs, and began at put_at */
	bool put_in_row, put_in_name; /* how the disk says so, of this one or
					 of the last, which began there too */
	uint64_t put_at;
	struct hasher *put_hasher; /* a copy from there; or NULL */
};

/* ---- cache/upload_table.c ---- */

/* False: somebody else has it.  Any thread. */
bool upload_claim(struct cache *c, struct upload_claim *claim,
		  const char *id) MUST_CHECK;
void upload_claim_opened(struct cache *c, struct upload *u);
void upload_claim_end(struct cache *c, struct upload_claim *claim);
/* As uploads_set_max() has it.  Any thread. */
uint64_t uploads_max(struct cache *c);
/*
 * Newborn: without a row yet, and counted for the bound like those that have
 * one.  uploads_newborn_begin(): false: there may be too many sessions, which
 * the commit of a row can tell.  uploads_newborn_found(): start-up has found
 * one, which counts in any case.  Any thread.
 */
bool uploads_newborn_begin(struct cache *c) MUST_CHECK;
void uploads_newborn_found(struct cache *c);
void uploads_newborn_end(struct cache *c);
uint64_t uploads_newborn(struct cache *c);
/* Is it open?  Then *offset. */
bool upload_is_open(struct cache *c, const char *id, uint64_t *offset);

/* ---- cache/upload_row.c ---- */

/* Each changes the row if there is one: what is gone stays gone.  The first
 * three wait for the commit; errors as index_submit_wait, with `why`.  Of the
 * first, if it is `bounded`, ERR_LIMITED: there are uploads_max() sessions. */
enum err upload_row_begin(struct cache *c, const char *id,
			  const struct upload_row *row, bool bounded,
			  struct why *why) MUST_CHECK;
/* Without waiting, and without a bound: what is asked of the row later comes
 * behind it.  One that was `newborn` is so until the commit. */
void upload_row_begin_soon(struct cache *c, const char *id,
			   const struct upload_row *row, bool newborn);
enum err upload_row_in_put(struct cache *c, const char *id, bool in_put,
			   uint64_t put_at, struct why *why) MUST_CHECK;
/* From this boot on; of earlier ones `synced` bytes are left, and a PUT began
 * no later. */
enum err upload_row_boot(struct cache *c, const char *id, uint64_t synced,
			 struct why *why) MUST_CHECK;
/* In the background: at least `synced` bytes are; touched now. */
void upload_row_mark(struct cache *c, const char *id, uint64_t synced);
/* Touched now; waits for the commit, so that whoever may expire the session
 * sees it.  Errors as above. */
enum err upload_row_touch(struct cache *c, const char *id,
			  struct why *why) MUST_CHECK;
/* Without waiting. */
void upload_row_drop(struct cache *c, const char *id);
/* With it. */
enum err upload_row_drop_wait(struct cache *c, const char *id) MUST_CHECK;

/* ---- cache/upload_birth.c ---- */

/* Write u->row to the file.  False: this filesystem does not take it. */
bool upload_birth_write(const struct upload *u) MUST_CHECK;
/* Read it.  ERR_NOT_FOUND: there is none, or it is of another boot, of which
 * this file had nothing synced. */
enum err upload_birth_read(const struct cache *c, int fd,
			   struct upload_row *out) MUST_CHECK;
/* The session ends: its file is not to speak of it any more. */
void upload_birth_drop(const struct upload *u);

/* ---- cache/upload_file.c ---- */

/* Have a row in the index, committed; nothing if there is one. */
enum err upload_have_row(struct upload *u, struct why *why) MUST_CHECK;
/* Of a session without a row, and that nobody has open: what its file says.
 * ERR_NOT_FOUND, also if there is no file. */
enum err upload_read_birth(struct cache *c, const char *id,
			   struct upload_row *out) MUST_CHECK;
/* Make the file as long as the session is. */
enum err upload_cut(struct upload *u, struct why *why) MUST_CHECK;
enum err upload_rename(struct upload *u, const char *to,
		       struct why *why) MUST_CHECK;
/* Free the struct; the session is not open any more. */
void upload_free(struct upload **u);
/* Unlink the file, drop the row: after a failed sync. */
void upload_lose(struct upload *u);
/* A new random id, into out[UPLOAD_ID_SIZE].  An errno value, or 0. */
int upload_make_id(char *out) MUST_CHECK;
/* Both names that a session's file may have. */
void upload_unlink(struct cache *c, const char *id);

/* ---- cache/upload.c ---- */

/* The digest of all bytes, by the algorithm of dg->alg; reads what the running
 * hash has not seen. */
enum err upload_digest(struct upload *u, enum digest_alg alg,
		       struct digest *out, struct why *why) MUST_CHECK;
/* Was it thrown away? */
enum err upload_check(const struct upload *u, struct why *why) MUST_CHECK;

#endif
