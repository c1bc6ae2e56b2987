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
 * Killed before the commit, start-up finds the staged file: with one link it
 * is a partial as before, with two it is hashed again and published.  Killed
 * after it, only a name is left over.
 */
#include "cache/cache_int.h"
#include "cache/partial.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the link ---- */

static int link_once(struct cache *c, const char *from, const char *to)
{
	int error = FAULT(publish_link);

	if (!error && linkat(c->data_fd, from, c->data_fd, to, 0) != 0)
		error = errno;
	return error;
}

static int link_or_replace(struct cache *c, const struct digest *dg,
			   const char *from, const char *to, bool *had_row)
{
	int error = link_once(c, from, to);
	struct blob_row row;

	*had_row = false;
	if (error != EEXIST)
		return error;
	if (store_blob_row(c, dg, &row) == ERR_OK) {
		*had_row = true;
		return 0;
	}
	/* Nothing speaks of it: what a crash or an undone commit left. */
	error = store_unlink(c, to);
	return error ? error : link_once(c, from, to);
}

/* With the hold: give the staged file its name in blobs/, durably. */
static enum err link_into_blobs(struct cache *c, const struct digest *dg,
				const char *from, bool *had_row,
				bool *sync_failed, struct why *why)
{
	char to[PATH_LEN_MAX], dir[PATH_LEN_MAX];
	int error = link_or_replace(c, dg, from, blob_path(dg, to), had_row);

	blob_dir_path(dg, dir);
	if (error)
		return store_error(why, error, "link", to);
	if (*had_row)
		return ERR_OK;
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
	const struct publishing *pub;
	uint64_t now_s;
	bool links_only;
};

static bool any_public(const struct publishing *pub)
{
	for (size_t i = 0; i < pub->n_repos; i++)
		if (pub->repos[i].public_yes)
			return true;
	return false;
}

static void put_row(struct index_txn *txn, const struct publish_op *p,
		    struct blob_row *row, bool have)
{
	bool public_yes = any_public(p->pub);

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

/* A repository that cannot be recorded loses its link only: its next request
 * asks its upstream for a yes. */
static void put_link(struct index_txn *txn, const struct publish_op *p,
		     const struct publish_repo *repo)
{
	struct link_row link = {.kind = LINK_BLOB, .created_s = p->now_s}, old;
	const struct digest *dg = &p->pub->dg;
	struct repo_row row;

	if (repo_ensure(txn, repo->host, repo->name, REPO_MIRROR, p->now_s,
			&row) != ERR_OK)
		return;
	if (link_get(txn, row.id, dg, &old) != ERR_OK)
		link_put(txn, row.id, dg, &link);
}

static enum err publish_apply(struct index_txn *txn, struct index_op *op)
{
	struct publish_op *p = container_of(op, struct publish_op, op);
	struct blob_row row;
	enum err err = blob_get(txn, &p->pub->dg, &row);

	if (p->links_only && err != ERR_OK)
		return err;
	put_row(txn, p, &row, err == ERR_OK);
	for (size_t i = 0; i < p->pub->n_repos; i++)
		put_link(txn, p, &p->pub->repos[i]);
	recency_touch(txn, &p->pub->dg);
	return ERR_OK;
}

static enum err commit(struct cache *c, const struct publishing *pub,
		       bool links_only, struct why *why)
{
	struct publish_op p = {
	    .op = {.apply = publish_apply},
	    .pub = pub,
	    .now_s = wall_s(),
	    .links_only = links_only,
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
	if (links_only && err == ERR_NOT_FOUND)
		return why_set(why, ERR_IO, "blob %s was removed meanwhile",
			       text);
	return why_set(why, err == ERR_NO_SPACE ? err : ERR_IO,
		       "the index does not record blob %s: %s", text,
		       err_name(err));
}

/* ---- publication ---- */

static void unlink_staged(struct cache *c, const char *path)
{
	char map[PATH_LEN_MAX];

	/* What stays is start-up's. */
	if (!FAULT(publish_unlink))
		(void)!store_unlink(c, path);
	if (!FAULT(publish_map))
		(void)!store_unlink(c, map_path(path, map));
}

static enum err publish_held(struct cache *c, struct publishing *pub,
			     struct why *why)
{
	char to[PATH_LEN_MAX];
	bool had_row;
	enum err err = link_into_blobs(c, &pub->dg, pub->path, &had_row,
				       &pub->sync_failed, why);

	if (err != ERR_OK)
		return err;
	err = commit(c, pub, false, why);
	if (err != ERR_OK) {
		if (!had_row)
			(void)!store_unlink(c, blob_path(&pub->dg, to));
		return err;
	}
	blobs_prime(c, &pub->dg, pub->size);
	unlink_staged(c, pub->path);
	return ERR_OK;
}

enum err publish_staged(struct cache *c, struct publishing *pub,
			struct why *why)
{
	struct hold hold;
	enum err err;
	int error = FAULT(publish_sync);

	pub->sync_failed = false;
	if (!error && fdatasync(pub->fd) != 0)
		error = errno;
	if (error) {
		pub->sync_failed = true;
		return store_error(why, error, "sync", pub->path);
	}
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

enum err publish_links(struct cache *c, const struct publishing *pub,
		       struct why *why)
{
	return commit(c, pub, true, why);
}

/* ---- large manifests ---- */

/* Is it there already, with a record and of that length? */
static bool stored_whole(struct cache *c, const struct digest *dg, size_t len)
{
	char path[PATH_LEN_MAX];
	struct blob_row row;
	struct stat st;

	if (store_blob_row(c, dg, &row) != ERR_OK)
		return false;
	if (fstatat(c->data_fd, blob_path(dg, path), &st,
		    AT_SYMLINK_NOFOLLOW) == 0 &&
	    (uint64_t)st.st_size == len)
		return true;
	/* A record without its file; the true bytes are at hand. */
	blobs_forget(c, dg);
	(void)!store_unlink(c, path);
	return false;
}

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

static enum err store_small_held(struct cache *c, const struct digest *dg,
				 const void *bytes, size_t len, struct why *why)
{
	struct publishing pub = {.dg = *dg, .size = len};
	struct space_share share = {0};
	char path[PATH_LEN_MAX], to[PATH_LEN_MAX];
	bool had_row = false;
	enum err err;

	if (stored_whole(c, dg, len))
		return ERR_OK;
	err = space_take(c->space, &share, len, why);
	if (err != ERR_OK)
		return err;
	staged_path(dg, "", path);
	err = stage_small(c, path, bytes, len, why);
	space_end(c->space, &share);
	if (err == ERR_OK)
		err = link_into_blobs(c, dg, path, &had_row, &pub.sync_failed,
				      why);
	if (err == ERR_OK) {
		err = commit(c, &pub, false, why);
		if (err != ERR_OK && !had_row)
			(void)!store_unlink(c, blob_path(dg, to));
	}
	if (!FAULT(small_unlink))
		(void)!store_unlink(c, path);
	return err;
}

enum err store_small_file(struct cache *c, const struct digest *dg,
			  const void *bytes, size_t len, struct why *why)
{
	struct hold hold;
	enum err err;

	/* The hold from the first byte: the staged name is one for all. */
	hold_wait(c->holds, &hold, dg);
	err = store_small_held(c, dg, bytes, len, why);
	hold_release(c->holds, &hold);
	return err;
}
