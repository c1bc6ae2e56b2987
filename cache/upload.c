/* SPDX-License-Identifier: Apache-2.0 */
/* A session's bytes, its hash, and where a PUT began. */
#include "cache/upload_int.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define WRITEBACK_STEP (8 * MIB)
#define SYNC_STEP (64 * MIB)
/* What one append reads for the hash of a session that was opened again: it
 * gains on what comes, and nobody waits for all of it. */
#define CATCH_UP_STEP (8 * MIB)
#define READ_STEP ((size_t)256 * 1024)

enum err upload_check(const struct upload *u, struct why *why)
{
	if (!u->lost)
		return ERR_OK;
	return why_set(why, ERR_IO, "upload %s was thrown away", u->claim.id);
}

/* ---- the hash ---- */

/* Read [from, to) into `h`; *from is how far it came. */
static enum err hash_file(struct upload *u, struct hasher *h, uint64_t *from,
			  uint64_t to, struct why *why)
{
	uint8_t *buf = xmalloc(READ_STEP);
	enum err err = ERR_OK;

	while (err == ERR_OK && *from < to) {
		size_t len = (size_t)MIN(to - *from, READ_STEP);
		ssize_t n = store_pread(u->fd, buf, len, *from);

		if (n == (ssize_t)len) {
			hasher_update(h, buf, len);
			*from += len;
		} else {
			err = store_error(why, n < 0 ? errno : EIO, "read",
					  u->path);
		}
	}
	free(buf);
	return err;
}

/* `len` bytes have come at `off`. */
static void hash_appended(struct upload *u, uint64_t off, const void *buf,
			  size_t len)
{
	uint64_t to;

	if (u->hashed == off) {
		hasher_update(u->hasher, buf, len);
		u->hashed += len;
		return;
	}
	/* What cannot be read is told at the end. */
	to = MIN(u->hashed + CATCH_UP_STEP + len, off + len);
	(void)!hash_file(u, u->hasher, &u->hashed, to, NULL);
}

static void hash_restart(struct upload *u)
{
	hasher_free(&u->hasher);
	u->hasher = hasher_new((enum digest_alg)u->row.alg);
	u->hashed = 0;
}

/* The bytes past `at` are no more. */
static void hash_rewind(struct upload *u, uint64_t at)
{
	if (u->hashed <= at)
		return;
	if (!u->put_hasher) {
		hash_restart(u);
		return;
	}
	hasher_free(&u->hasher);
	u->hasher = u->put_hasher;
	u->put_hasher = NULL;
	u->hashed = at;
}

static enum err hash_again(struct upload *u, enum digest_alg alg,
			   struct digest *out, struct why *why)
{
	struct hasher *h = hasher_new(alg);
	uint64_t at = 0;
	enum err err = hash_file(u, h, &at, upload_offset(u), why);

	if (err == ERR_OK)
		hasher_final(h, out);
	hasher_free(&h);
	return err;
}

enum err upload_digest(struct upload *u, enum digest_alg alg,
		       struct digest *out, struct why *why)
{
	struct hasher *end;
	enum err err;

	if (alg != (enum digest_alg)u->row.alg)
		return hash_again(u, alg, out, why);
	err = hash_file(u, u->hasher, &u->hashed, upload_offset(u), why);
	if (err != ERR_OK)
		return err;
	end = hasher_clone(u->hasher);
	hasher_final(end, out);
	hasher_free(&end);
	return ERR_OK;
}

/* ---- writing ---- */

static enum err write_bytes(struct upload *u, uint64_t off, const void *buf,
			    size_t len, struct why *why)
{
	enum err err = space_take(u->c->space, &u->share, len, why);
	size_t done = 0;
	int error;

	if (err != ERR_OK)
		return err;
	error = FAULT(upload_write);
	if (!error)
		error = store_pwrite(u->fd, buf, len, off, &done);
	space_spend(u->c->space, &u->share, done);
	if (!error)
		return ERR_OK;
	err = store_error(why, error, "write", u->path);
	/* If not now, then before the next bytes. */
	u->tail = done > 0;
	(void)!upload_cut(u, NULL);
	return err;
}

/* What is synced is worth a row.  Should that find no room, the file goes on
 * speaking for the session.  A mark that is not made says less than it could,
 * and nothing wrong. */
static void mark_synced(struct upload *u)
{
	if (FAULT(upload_mark))
		return;
	if (u->in_index) {
		upload_row_mark(u->c, u->claim.id, upload_offset(u));
		return;
	}
	u->row.synced = upload_offset(u);
	u->row.touched_s = wall_s();
	upload_row_begin_soon(u->c, u->claim.id, &u->row, u->newborn);
	u->in_index = true;
	u->newborn = false;
}

/* All that came so far is synced; the row says so, unless the next start goes
 * back to where a PUT began anyway. */
static enum err sync_step(struct upload *u, struct why *why)
{
	int error = FAULT(upload_sync);

	if (!error && fdatasync(u->fd) != 0)
		error = errno;
	if (error) {
		upload_lose(u);
		return store_error(why, error, "sync", u->path);
	}
	u->since_sync = u->since_writeback = 0;
	if (!u->in_put)
		mark_synced(u);
	return ERR_OK;
}

/* Before more bytes come: what ends here is synced by the end itself. */
static enum err sync_if_due(struct upload *u, struct why *why)
{
	return u->since_sync >= SYNC_STEP ? sync_step(u, why) : ERR_OK;
}

static void keep_pace(struct upload *u, size_t len)
{
	u->since_writeback += len;
	u->since_sync += len;
	if (u->since_writeback < WRITEBACK_STEP)
		return;
	/* Only begun, so that the sync later is short; an error of writing
	 * back is that sync's to report. */
	(void)!sync_file_range(u->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	u->since_writeback = 0;
}

/* ---- where a PUT began ---- */

static bool put_is_told(const struct upload *u)
{
	return u->put_in_row || u->put_in_name;
}

/* A row that is made for it says so from the first. */
static enum err put_in_row(struct upload *u, uint64_t at, struct why *why)
{
	enum err err;

	if (u->in_index)
		return upload_row_in_put(u->c, u->claim.id, true, at, why);
	u->row.in_put = true;
	u->row.put_at = at;
	err = upload_have_row(u, why);
	u->row.in_put = err == ERR_OK;
	return err;
}

/* What comes from here on is a PUT's: say so on disk. */
static enum err tell_put(struct upload *u, struct why *why)
{
	uint64_t at = upload_offset(u);
	int error = FAULT(upload_put);
	char path[PATH_LEN_MAX];
	enum err err;

	if (error)
		return store_error(why, error, "record", u->path);
	if (at > 0) {
		err = put_in_row(u, at, why);
		u->put_in_row = err == ERR_OK;
	} else {
		upload_put_path(u->claim.id, path);
		err = upload_rename(u, path, why);
		u->put_in_name = err == ERR_OK;
	}
	return err;
}

/* What comes from here on is no PUT's. */
static enum err untell_put(struct upload *u, struct why *why)
{
	char path[PATH_LEN_MAX];
	enum err err = ERR_OK;

	if (u->put_in_row) {
		err = upload_row_in_put(u->c, u->claim.id, false, 0, why);
		u->put_in_row = err != ERR_OK;
	}
	if (err == ERR_OK && u->put_in_name) {
		upload_path(u->claim.id, path);
		err = upload_rename(u, path, why);
		u->put_in_name = err != ERR_OK;
	}
	return err;
}

enum err upload_begin_put(struct upload *u, struct why *why)
{
	enum err err = upload_check(u, why);

	if (err == ERR_OK)
		err = upload_rewind(u, why);
	if (err == ERR_OK)
		err = upload_cut(u, why);
	/* The last one began here too, if the disk speaks of one. */
	if (err == ERR_OK && !put_is_told(u))
		err = tell_put(u, why);
	if (err != ERR_OK)
		return err;
	u->in_put = true;
	u->put_at = upload_offset(u);
	hasher_free(&u->put_hasher);
	if (u->hashed == u->put_at)
		u->put_hasher = hasher_clone(u->hasher);
	return ERR_OK;
}

enum err upload_rewind(struct upload *u, struct why *why)
{
	if (!u->in_put)
		return ERR_OK;
	u->in_put = false;
	hash_rewind(u, u->put_at);
	hasher_free(&u->put_hasher);
	u->tail = upload_offset(u) > u->put_at || u->tail;
	atomic_store(&u->offset, u->put_at);
	return upload_cut(u, why);
}

/* ---- appending ---- */

static enum err check_length(const struct upload *u, size_t len,
			     struct why *why)
{
	uint64_t end;

	if (size_add(upload_offset(u), len, &end) && end <= (uint64_t)INT64_MAX)
		return ERR_OK;
	return why_set(why, ERR_TOO_BIG, "no file has so many bytes");
}

/* The file ends at the offset, and nothing says that a PUT runs if none does.
 */
static enum err make_ready(struct upload *u, struct why *why)
{
	enum err err = upload_cut(u, why);

	if (err == ERR_OK && !u->in_put)
		err = untell_put(u, why);
	return err;
}

enum err upload_append(struct upload *u, const void *buf, size_t len,
		       struct why *why)
{
	uint64_t off = upload_offset(u);
	enum err err = upload_check(u, why);

	if (err == ERR_OK)
		err = check_length(u, len, why);
	if (err == ERR_OK)
		err = make_ready(u, why);
	if (err == ERR_OK)
		err = sync_if_due(u, why);
	if (err == ERR_OK)
		err = write_bytes(u, off, buf, len, why);
	if (err != ERR_OK)
		return err;
	hash_appended(u, off, buf, len);
	atomic_store(&u->offset, off + len);
	keep_pace(u, len);
	return ERR_OK;
}
