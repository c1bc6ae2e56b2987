/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How bytes become a blob.  The order is the promise:
 *
 *   fdatasync the staged file     before anything can name the bytes
 *   link(2) it into blobs/        still nothing says that it is there
 *   fsync that folder
 *   commit the record             now it is there
 *   unlink the staged name
 *
 * all under the hold of the digest.  Where the blob is stored already, only
 * the commit is left to do, and the staged name to go.
 *
 * Killed before the commit, start-up finds the staged file: a partial with one
 * link is a partial as before; with two, it is hashed again and published, as
 * an upload is whose digest had matched.  Killed after it, only a name is left
 * over.
 */
#include "cache/cache_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- what is there ---- */

/* With the hold.  What of blob `dg` is stored? */
struct stored {
	bool recorded;
	bool whole; /* recorded, and its file is there, of that size */
};

/* A file that is not what its record says goes: the true bytes are at hand. */
static enum err look_at_file(struct cache *c, const struct digest *dg,
			     uint64_t size, struct stored *out, struct why *why)
{
	char path[PATH_LEN_MAX];
	struct stat st;
	int error = 0;

	if (fstatat(c->data_fd, blob_path(dg, path), &st,
		    AT_SYMLINK_NOFOLLOW) == 0) {
		out->whole =
		    S_ISREG(st.st_mode) && (uint64_t)st.st_size == size;
	} else if (errno != ENOENT) {
		return store_error(why, errno, "look at", path);
	}
	if (!out->whole) {
		blobs_forget(c, dg);
		error = store_unlink(c, path);
	}
	return error ? store_error(why, error, "replace", path) : ERR_OK;
}

static enum err find_stored(struct cache *c, const struct digest *dg,
			    uint64_t size, struct stored *out, struct why *why)
{
	char text[DIGEST_TEXT_MAX];
	struct blob_row row;
	enum err err = store_blob_row(c, dg, &row);

	*out = (struct stored){.recorded = err == ERR_OK};
	if (err == ERR_OK)
		return look_at_file(c, dg, size, out, why);
	if (err == ERR_NOT_FOUND || err == ERR_CORRUPT)
		return ERR_OK;
	/* There may be a good one: nothing is to be unlinked. */
	return why_set(why, ERR_IO, "the index does not tell of blob %s",
		       digest_text(dg, text));
}

/* ---- the link ---- */

static int link_once(struct cache *c, const char *from, const char *to)
{
	int error = FAULT(publish_link);

	if (!error && linkat(c->data_fd, from, c->data_fd, to, 0) != 0)
		error = errno;
	return error;
}

static int link_or_replace(struct cache *c, const char *from, const char *to)
{
	int error = link_once(c, from, to);

	if (error != EEXIST)
		return error;
	/* Nothing speaks of it: what a crash or an undone commit left. */
	error = store_unlink(c, to);
	return error ? error : link_once(c, from, to);
}

/* The name goes again, and durably: the staged file may be written to after
 * this, and no power loss is to bring back a blob's name for it. */
static enum err unlink_blob(struct cache *c, const struct digest *dg)
{
	char path[PATH_LEN_MAX], dir[PATH_LEN_MAX];

	if (store_unlink(c, blob_path(dg, path)) != 0 ||
	    store_sync_dir(c, blob_dir_path(dg, dir)) != 0)
		return ERR_IO;
	return ERR_OK;
}

/* With the hold, and nothing stored: give the staged file its name in blobs/,
 * durably. */
static enum err link_into_blobs(struct cache *c, const struct digest *dg,
				const char *from, bool *sync_failed,
				struct why *why)
{
	char to[PATH_LEN_MAX], dir[PATH_LEN_MAX];
	int error = link_or_replace(c, from, blob_path(dg, to));

	blob_dir_path(dg, dir);
	if (error)
		return store_error(why, error, "link", to);
	error = FAULT(publish_dir_sync);
	if (!error)
		error = store_sync_dir(c, dir);
	if (!error)
		return ERR_OK;
	*sync_failed = true;
	(void)!store_unlink(c, to);
	return store_error(why, error, "sync folder", dir);
}

/* ---- the record ---- */

struct publish_op {
	struct index_op op;
	struct publishing *pub;
	uint64_t now_s;
	bool rows_only;
};

static void put_row(struct index_txn *txn, const struct publish_op *p,
		    struct blob_row *row, bool have)
{
	bool public_yes = p->pub->public_yes;

	if (have && (row->public_yes || !public_yes))
		return;
	if (!have)
		*row = (struct blob_row){
		    .size = p->pub->size,
		    .created_s = p->now_s,
		    .verified_s = p->now_s,
		};
	row->public_yes = public_yes;
	blob_put(txn, &p->pub->dg, row);
}

static enum err publish_apply(struct index_txn *txn, struct index_op *op)
{
	struct publish_op *p = container_of(op, struct publish_op, op);
	struct publishing *pub = p->pub;
	struct blob_row row;
	enum err found = blob_get(txn, &pub->dg, &row), err = ERR_OK;

	if (p->rows_only && found != ERR_OK)
		return found;
	if (pub->rows)
		err = pub->rows(txn, pub, p->now_s);
	if (err != ERR_OK)
		return err;
	put_row(txn, p, &row, found == ERR_OK);
	recency_touch(txn, &pub->dg);
	return ERR_OK;
}

static enum err commit(struct cache *c, struct publishing *pub, bool rows_only,
		       struct why *why)
{
	struct publish_op p = {
	    .op = {.apply = publish_apply},
	    .pub = pub,
	    .now_s = wall_s(),
	    .rows_only = rows_only,
	};
	int error = FAULT(publish_commit);
	char text[DIGEST_TEXT_MAX];
	enum err err;

	digest_text(&pub->dg, text);
	if (error)
		return store_error(why, error, "record blob", text);
	err = index_submit_wait(c->index, &p.op);
	if (err == ERR_OK)
		return err;
	if (rows_only && err == ERR_NOT_FOUND)
		return why_set(why, ERR_IO, "blob %s was removed meanwhile",
			       text);
	if (err == ERR_NO_SPACE)
		return why_set(why, err, INDEX_NO_ROOM);
	if (err != ERR_DENIED)
		err = ERR_IO;
	return why_set(why, err, "the index does not record blob %s: %s", text,
		       err_name(err));
}

/* ---- publication ---- */

static void unlink_staged(struct cache *c, struct publishing *pub)
{
	/* What stays is start-up's. */
	if (!FAULT(publish_unlink))
		(void)!store_unlink(c, pub->path);
	if (pub->map && !FAULT(publish_map))
		(void)!store_unlink(c, pub->map);
}

static enum err sync_staged(struct cache *c, struct publishing *pub,
			    struct why *why)
{
	int error = FAULT(publish_sync);

	if (!error && fdatasync(pub->fd) != 0)
		error = errno;
	if (!error && pub->dir) {
		error = FAULT(publish_staged_dir);
		if (!error)
			error = store_sync_dir(c, pub->dir);
	}
	pub->sync_failed = error != 0;
	return error ? store_error(why, error, "sync", pub->path) : ERR_OK;
}

static enum err publish_bytes(struct cache *c, struct publishing *pub,
			      bool recorded, struct why *why)
{
	enum err err = sync_staged(c, pub, why);

	if (err == ERR_OK)
		err = link_into_blobs(c, &pub->dg, pub->path, &pub->sync_failed,
				      why);
	if (err != ERR_OK)
		return err;
	err = commit(c, pub, false, why);
	/* A record that stood before keeps the file, which is what it says. */
	if (err != ERR_OK && !recorded && unlink_blob(c, &pub->dg) != ERR_OK)
		pub->sync_failed = true;
	return err;
}

static enum err publish_held(struct cache *c, struct publishing *pub,
			     struct why *why)
{
	struct stored stored;
	enum err err = find_stored(c, &pub->dg, pub->size, &stored, why);

	if (err == ERR_OK)
		err = stored.whole
			  ? commit(c, pub, false, why)
			  : publish_bytes(c, pub, stored.recorded, why);
	if (err != ERR_OK)
		return err;
	blobs_prime(c, &pub->dg, pub->size);
	unlink_staged(c, pub);
	return ERR_OK;
}

enum err publish_staged(struct cache *c, struct publishing *pub,
			struct why *why)
{
	struct hold hold;
	enum err err;

	pub->sync_failed = false;
	hold_wait(c->holds, &hold, &pub->dg);
	err = publish_held(c, pub, why);
	hold_release(c->holds, &hold);
	return err;
}

static bool is_its_name(struct cache *c, int fd, const struct digest *dg,
			const char *path)
{
	struct stat ours, named;
	struct blob_row row;

	return store_blob_row(c, dg, &row) == ERR_NOT_FOUND &&
	       fstat(fd, &ours) == 0 &&
	       fstatat(c->data_fd, path, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	       ours.st_ino == named.st_ino && ours.st_dev == named.st_dev;
}

void publish_undo(struct cache *c, int fd, const struct digest *dg)
{
	char path[PATH_LEN_MAX];

	if (is_its_name(c, fd, dg, blob_path(dg, path)))
		(void)!store_unlink(c, path);
}

enum err publish_rows(struct cache *c, struct publishing *pub, struct why *why)
{
	return commit(c, pub, true, why);
}

/* ---- large manifests ---- */

static int write_synced(int fd, const void *bytes, size_t len)
{
	int error = FAULT(small_write);
	size_t done;

	if (!error)
		error = store_pwrite(fd, bytes, len, 0, &done);
	if (!error)
		error = FAULT(small_sync);
	if (!error && fdatasync(fd) != 0)
		error = errno;
	return error;
}

static enum err stage_small(struct cache *c, const char *path,
			    const void *bytes, size_t len, struct why *why)
{
	int error = store_unlink(c, path), fd; /* never into an old inode */

	if (error)
		return store_error(why, error, "replace", path);
	fd = store_open(c, path, O_WRONLY | O_CREAT | O_EXCL);
	if (fd < 0)
		return store_error(why, errno, "make", path);
	error = write_synced(fd, bytes, len);
	close(fd);
	if (error)
		return store_error(why, error, "write", path);
	return ERR_OK;
}

static enum err stage_and_link(struct cache *c, const struct digest *dg,
			       const char *path, const void *bytes, size_t len,
			       struct why *why)
{
	struct space_share share = {0};
	enum err err = space_take(c->space, &share, len, why);
	bool sync_failed; /* or not, the staged file goes */

	if (err != ERR_OK)
		return err;
	err = stage_small(c, path, bytes, len, why);
	space_end(c->space, &share);
	if (err != ERR_OK)
		return err;
	return link_into_blobs(c, dg, path, &sync_failed, why);
}

static enum err store_small_held(struct cache *c, const struct digest *dg,
				 const void *bytes, size_t len,
				 store_commit *commit_cb, void *arg,
				 struct why *why)
{
	char path[PATH_LEN_MAX];
	struct stored stored;
	enum err err = find_stored(c, dg, len, &stored, why);

	if (err != ERR_OK)
		return err;
	if (stored.whole)
		return commit_cb(arg, why);
	staged_path(dg, "", path);
	err = stage_and_link(c, dg, path, bytes, len, why);
	if (err == ERR_OK) {
		err = commit_cb(arg, why);
		if (err != ERR_OK && !stored.recorded)
			(void)!unlink_blob(c, dg);
	}
	if (!FAULT(small_unlink))
		(void)!store_unlink(c, path);
	return err;
}

enum err store_file_with(struct cache *c, const struct digest *dg,
			 const void *bytes, size_t len, store_commit *commit_cb,
			 void *arg, struct why *why)
{
	struct hold hold;
	enum err err;

	/* The hold from the first byte: the staged name is one for all. */
	hold_wait(c->holds, &hold, dg);
	err = store_small_held(c, dg, bytes, len, commit_cb, arg, why);
	hold_release(c->holds, &hold);
	return err;
}

struct small {
	struct cache *c;
	struct publishing pub;
};

static enum err small_commit(void *arg, struct why *why)
{
	struct small *s = arg;
	struct blob_row row;

	if (store_blob_row(s->c, &s->pub.dg, &row) == ERR_OK)
		return ERR_OK;
	return commit(s->c, &s->pub, false, why);
}

enum err store_small_file(struct cache *c, const struct digest *dg,
			  const void *bytes, size_t len, struct why *why)
{
	struct small s = {.c = c, .pub = {.dg = *dg, .size = len}};

	return store_file_with(c, dg, bytes, len, small_commit, &s, why);
}
