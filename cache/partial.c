/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/partial_int.h"
#include "cache/partial_map.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

_Static_assert(PARTIAL_EXTENTS_MAX == MAP_EXTENTS_MAX,
	       "a map has room for every piece");

/* A map is written for eight times its length, or more. */
#define MAP_SHARE 8
#define WRITEBACK_STEP (8 * MIB)
#define SYNC_STEP (64 * MIB)
#define READ_STEP ((size_t)64 * 1024)

/* ---- one writer at a time ---- */

void partial_begin(struct partial *p)
{
	pthread_mutex_lock(&p->mu);
	while (p->writing)
		pthread_cond_wait(&p->idle, &p->mu);
	p->writing = true;
	pthread_mutex_unlock(&p->mu);
}

void partial_end(struct partial *p)
{
	pthread_mutex_lock(&p->mu);
	p->writing = false;
	pthread_cond_signal(&p->idle);
	pthread_mutex_unlock(&p->mu);
}

/* ---- the hash ---- */

/* With hash_mu. */
static void settle(struct partial *p)
{
	struct hasher *end;
	struct digest dg;
	bool right, due;

	pthread_mutex_lock(&p->mu);
	due = !p->proven && !p->mismatch && p->hash_at == p->size;
	pthread_mutex_unlock(&p->mu);
	if (!due)
		return;
	end = hasher_clone(p->hasher);
	hasher_final(end, &dg);
	hasher_free(&end);
	right = digest_equal(&dg, &p->dg);
	pthread_mutex_lock(&p->mu);
	p->proven = right;
	p->mismatch = !right;
	pthread_mutex_unlock(&p->mu);
}

void partial_settle(struct partial *p)
{
	pthread_mutex_lock(&p->hash_mu);
	settle(p);
	pthread_mutex_unlock(&p->hash_mu);
}

static void hash_bytes(struct partial *p, const void *buf, size_t len)
{
	pthread_mutex_lock(&p->hash_mu);
	hasher_update(p->hasher, buf, len);
	p->hash_at += len;
	pthread_mutex_lock(&p->mu);
	p->hashed = p->hash_at;
	pthread_mutex_unlock(&p->mu);
	settle(p);
	pthread_mutex_unlock(&p->hash_mu);
}

/* What was just written continues the hash: from memory, not from the file. */
static void hash_written(struct partial *p, uint64_t off, const uint8_t *buf,
			 size_t len)
{
	uint64_t at = p->hash_at; /* only the writer moves it */

	if (at >= off && at < off + len)
		hash_bytes(p, buf + (at - off), (size_t)(off + len - at));
}

static enum err hash_piece(struct partial *p, uint8_t *buf, size_t len,
			   struct why *why)
{
	uint64_t at = p->hash_at;
	ssize_t n = store_pread(p->fd, buf, len, at);

	if (n < 0 && errno != EIO)
		return store_error(why, errno, "read", p->path);
	if (n != (ssize_t)len)
		return why_set(why, ERR_CORRUPT,
			       "%s cannot be read at %" PRIu64, p->path, at);
	hash_bytes(p, buf, len);
	return ERR_OK;
}

enum err partial_hash(struct partial *p, uint64_t max_bytes, bool *more,
		      struct why *why)
{
	uint8_t *buf = xmalloc(READ_STEP);
	enum err err = ERR_OK;
	uint64_t ready;

	partial_begin(p);
	while (err == ERR_OK && max_bytes > 0) {
		ready = extent_run(&p->held, p->hash_at) - p->hash_at;
		ready = MIN(MIN(ready, max_bytes), READ_STEP);
		if (!ready)
			break;
		err = hash_piece(p, buf, (size_t)ready, why);
		max_bytes -= ready;
	}
	*more = err == ERR_OK && extent_run(&p->held, p->hash_at) > p->hash_at;
	partial_end(p);
	free(buf);
	return err;
}

/* ---- pace: writeback, sync, map ---- */

void partial_give_up(struct partial *p, const struct why *why)
{
	partial_forget(p);
	cache_tell(p->c, CACHE_DISCARDED, &p->dg, why);
}

/* All that is written so far is synced, and the map says so.  After an error
 * the caller gives up. */
static enum err sync_step(struct partial *p, struct why *why)
{
	int error = FAULT(partial_sync);

	if (!error && fdatasync(p->fd) != 0)
		error = errno;
	if (error)
		return store_error(why, error, "sync", p->path);
	extent_copy(&p->synced, &p->held);
	partial_write_map(p, &p->held, true);
	p->since_sync = p->since_map = 0;
	return ERR_OK;
}

static enum err keep_pace(struct partial *p, struct why *why)
{
	if (p->since_writeback >= WRITEBACK_STEP) {
		/* Only begun, so that the sync later is short; an error of
		 * writing back is that sync's to report. */
		(void)!sync_file_range(p->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
		p->since_writeback = 0;
	}
	if (p->since_sync >= SYNC_STEP) {
		enum err err = sync_step(p, why);

		if (err != ERR_OK)
			partial_give_up(p, NULL);
		return err;
	}
	return ERR_OK;
}

/* ---- writing ---- */

/*
 * [off, off+len) has been written, and no reader knows yet.  The map is first
 * to say so: what a client has had does not come again after a crash of ours.
 * Only a file in very many pieces has a map so long that it waits for more
 * bytes, of which a crash then loses up to 1 MiB.
 */
static void map_written(struct partial *p, uint64_t off, size_t len)
{
	size_t map_len =
	    MAP_HEAD_BYTES + sizeof(struct extent) * (p->held.n + p->synced.n);
	struct extents written;

	p->since_map += len;
	if (p->since_map < MAP_SHARE * map_len)
		return;
	extent_init(&written);
	extent_copy(&written, &p->held);
	extent_add(&written, off, off + len);
	partial_write_map(p, &written, false);
	extent_release(&written);
	p->since_map = 0;
}

static void mark_held(struct partial *p, uint64_t off, size_t len)
{
	if (!len)
		return;
	map_written(p, off, len);
	pthread_mutex_lock(&p->mu);
	extent_add(&p->held, off, off + len);
	p->held_bytes += len;
	pthread_mutex_unlock(&p->mu);
	p->since_writeback += len;
	p->since_sync += len;
}

static bool is_new_piece(const struct partial *p, uint64_t off, size_t len)
{
	bool touches_before =
	    off > 0 && extent_contains(&p->held, off - 1, off);

	return !touches_before && extent_next(&p->held, off) != off + len;
}

/* [off, off+len) is a hole. */
static enum err write_hole(struct partial *p, uint64_t off, const uint8_t *buf,
			   size_t len, struct why *why)
{
	size_t done = 0;
	enum err err;
	int error;

	assert(!p->complete);
	if (p->held.n >= PARTIAL_EXTENTS_MAX && is_new_piece(p, off, len))
		return why_set(why, ERR_NO_SPACE,
			       "%s is in more than %d pieces already", p->path,
			       PARTIAL_EXTENTS_MAX);
	err = space_take(p->c->space, &p->share, len, why);
	if (err != ERR_OK)
		return err;
	error = FAULT(partial_write);
	if (!error)
		error = store_pwrite(p->fd, buf, len, off, &done);
	space_spend(p->c->space, &p->share, done);
	mark_held(p, off, done);
	return error ? store_error(why, error, "write", p->path) : ERR_OK;
}

/* [off, off+len) is held: it has to be the same. */
static enum err compare_held(struct partial *p, uint64_t off,
			     const uint8_t *buf, size_t len, struct why *why)
{
	uint8_t *held = xmalloc(READ_STEP);
	enum err err = ERR_OK;

	for (size_t at = 0; err == ERR_OK && at < len; at += READ_STEP) {
		size_t n = MIN(len - at, READ_STEP);
		ssize_t got = store_pread(p->fd, held, n, off + at);

		if (got != (ssize_t)n)
			err = store_error(why, got < 0 ? errno : EIO, "read",
					  p->path);
		else if (memcmp(held, buf + at, n) != 0)
			err = why_set(why, ERR_MISMATCH,
				      "other bytes than before came at %" PRIu64
				      " of %s",
				      off + at, p->path);
	}
	free(held);
	return err;
}

static enum err write_pieces(struct partial *p, uint64_t off,
			     const uint8_t *buf, size_t len, struct why *why)
{
	enum err err = ERR_OK;
	uint64_t end = off + len;

	while (err == ERR_OK && off < end) {
		uint64_t run = MIN(extent_run(&p->held, off), end);
		bool held = run > off;
		uint64_t to = held ? run : extent_next(&p->held, off);
		size_t n = (size_t)(MIN(to, end) - off);

		err = held ? compare_held(p, off, buf, n, why)
			   : write_hole(p, off, buf, n, why);
		off += n;
		buf += n;
	}
	return err;
}

static enum err may_write(struct partial *p, uint64_t off, size_t len,
			  struct why *why)
{
	struct partial_view view;
	uint64_t end;

	partial_view(p, &view);
	if (p->nameless && !p->published)
		return why_set(why, ERR_IO, "%s was thrown away", p->path);
	if (!size_add(off, len, &end) || end > (uint64_t)INT64_MAX)
		return why_set(why, ERR_MISMATCH,
			       "a byte at %" PRIu64 " is beyond any file", off);
	if (view.size != PARTIAL_SIZE_UNKNOWN && end > view.size)
		return why_set(why, ERR_MISMATCH,
			       "bytes up to %" PRIu64
			       " came for a blob of %" PRIu64,
			       end, view.size);
	return ERR_OK;
}

enum err partial_write(struct partial *p, uint64_t off, const void *buf,
		       size_t len, struct why *why)
{
	enum err err;

	partial_begin(p);
	err = may_write(p, off, len, why);
	if (err == ERR_OK)
		err = write_pieces(p, off, buf, len, why);
	if (err == ERR_OK) {
		hash_written(p, off, buf, len);
		err = keep_pace(p, why);
	}
	partial_end(p);
	return err;
}

enum err partial_set_size(struct partial *p, uint64_t size, struct why *why)
{
	uint64_t before, last;

	pthread_mutex_lock(&p->mu);
	before = p->size;
	last = p->held.n ? p->held.v[p->held.n - 1].end : 0;
	if (before == PARTIAL_SIZE_UNKNOWN && last <= size)
		p->size = size;
	pthread_mutex_unlock(&p->mu);
	if (before != PARTIAL_SIZE_UNKNOWN && before != size)
		return why_set(why, ERR_MISMATCH,
			       "the blob has %" PRIu64 " bytes now, and had "
			       "%" PRIu64 " before",
			       size, before);
	if (last > size)
		return why_set(why, ERR_MISMATCH,
			       "the blob has %" PRIu64 " bytes, of which "
			       "%" PRIu64 " are here already",
			       size, last);
	partial_settle(p);
	return ERR_OK;
}

/* ---- looking ---- */

void partial_view(struct partial *p, struct partial_view *out)
{
	pthread_mutex_lock(&p->mu);
	out->size = p->size;
	out->held_bytes = p->held_bytes;
	out->hashed = p->hashed;
	out->proven = p->proven;
	out->mismatch = p->mismatch;
	pthread_mutex_unlock(&p->mu);
}

uint64_t partial_run(struct partial *p, uint64_t off)
{
	uint64_t run;

	pthread_mutex_lock(&p->mu);
	run = extent_run(&p->held, off);
	pthread_mutex_unlock(&p->mu);
	return run;
}

uint64_t partial_next(struct partial *p, uint64_t off)
{
	uint64_t next;

	pthread_mutex_lock(&p->mu);
	next = extent_next(&p->held, off);
	pthread_mutex_unlock(&p->mu);
	return next;
}

void partial_extents(struct partial *p, struct extents *out)
{
	extent_init(out);
	pthread_mutex_lock(&p->mu);
	extent_copy(out, &p->held);
	pthread_mutex_unlock(&p->mu);
}

struct hasher *partial_hasher(struct partial *p, uint64_t *at)
{
	struct hasher *copy;

	pthread_mutex_lock(&p->hash_mu);
	copy = hasher_clone(p->hasher);
	*at = p->hash_at;
	pthread_mutex_unlock(&p->hash_mu);
	return copy;
}

int partial_fd(const struct partial *p)
{
	return p->fd;
}

/* ---- the end ---- */

void partial_discard(struct partial *p)
{
	partial_begin(p);
	partial_forget(p);
	partial_end(p);
}

/* A reboot trusts only what is synced; so what is kept is synced first.  A
 * complete file that could not be published has one name again, and then its
 * map is what speaks for it. */
void partial_settle_down(struct partial *p)
{
	struct why why;

	partial_begin(p);
	if (!p->nameless && (p->since_sync || p->complete) &&
	    sync_step(p, &why) != ERR_OK)
		partial_give_up(p, &why);
	partial_end(p);
}
