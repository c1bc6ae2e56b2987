/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What start-up finds in uploads/.  Sessions are left as they are: where one
 * stands is found out when it is opened.
 *
 *   a row and a file          a session
 *   a file that speaks of     a session, and gets its row
 *   itself, of this boot
 *   a file alone              goes: its session was never told of, or is over,
 *                             or a loss of power took all of it
 *   a row alone               goes
 *   a digest in the name      complete, and its session is over: with a blob
 *                             record the name goes, without one it is hashed
 *                             again and published.  Nobody was told of it, so
 *                             it is linked nowhere: it waits for the push to
 *                             be tried again, or for collection
 */
#include "cache/upload_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- files ---- */

static void found_file(struct cache *c, const char *id)
{
	struct index_txn *txn = index_read(c->index);
	struct upload_row row;
	enum err err = upload_get(txn, id, &row);

	index_read_end(txn);
	if (err != ERR_NOT_FOUND && err != ERR_CORRUPT)
		return;
	if (err == ERR_NOT_FOUND && upload_read_birth(c, id, &row) == ERR_OK) {
		uploads_newborn_found(c);
		upload_row_begin_soon(c, id, &row, true);
		return;
	}
	upload_unlink(c, id);
	if (err == ERR_CORRUPT)
		upload_row_drop(c, id);
}

static void found_name(struct cache *c, const char *name)
{
	char id[UPLOAD_ID_SIZE], path[PATH_LEN_MAX];
	struct digest dg;

	if (upload_name_parse(name, id, &dg) != ERR_OK)
		return; /* not one of ours */
	if (dg.alg)
		recovery_add_upload(c, &dg, upload_proven_path(id, &dg, path));
	else
		found_file(c, id);
}

static enum err list_files(struct cache *c, struct why *why)
{
	struct dirent *entry;
	DIR *dir = store_open_dir(c, "uploads");

	if (!dir)
		return store_error(why, errno, "list", "uploads");
	while ((entry = readdir(dir)))
		found_name(c, entry->d_name);
	closedir(dir);
	return ERR_OK;
}

/* ---- rows ---- */

struct ids {
	char (*v)[UPLOAD_ID_SIZE];
	size_t n, room;
};

/* Copied, so that no snapshot is open while files are looked at. */
static bool note_id(void *arg, const char *id,
		    const struct upload_row *row UNUSED)
{
	struct ids *ids = arg;

	if (ids->n == ids->room) {
		ids->room = ids->room ? 2 * ids->room : 64;
		ids->v = xrealloc(ids->v, ids->room * sizeof(*ids->v));
	}
	memcpy(ids->v[ids->n++], id, UPLOAD_ID_SIZE);
	return true;
}

static bool has_file(struct cache *c, const char *id)
{
	char path[PATH_LEN_MAX];
	struct stat st;

	return fstatat(c->data_fd, upload_path(id, path), &st,
		       AT_SYMLINK_NOFOLLOW) == 0 ||
	       fstatat(c->data_fd, upload_put_path(id, path), &st,
		       AT_SYMLINK_NOFOLLOW) == 0 ||
	       errno != ENOENT;
}

static enum err drop_rows_alone(struct cache *c, struct why *why)
{
	struct index_txn *txn = index_read(c->index);
	struct ids ids = {0};
	enum err err = upload_walk(txn, "", note_id, &ids);

	index_read_end(txn);
	for (size_t i = 0; i < ids.n; i++)
		if (!has_file(c, ids.v[i]))
			upload_row_drop(c, ids.v[i]);
	free(ids.v);
	if (err != ERR_OK)
		return why_set(why, err, "the index's uploads cannot be read");
	return ERR_OK;
}

enum err uploads_list(struct cache *c, struct why *why)
{
	enum err err = list_files(c, why);

	return err == ERR_OK ? drop_rows_alone(c, why) : err;
}

/* ---- complete ones ---- */

#define RECOVER_STEP (16 * MIB)
#define RECOVER_PIECE ((size_t)64 * 1024)

struct upload_left {
	int fd;
	uint64_t at; /* where the hash stands */
	struct hasher *hasher;
};

void upload_left_free(struct upload_left **up)
{
	struct upload_left *u = *up;

	*up = NULL;
	close(u->fd);
	hasher_free(&u->hasher);
	free(u);
}

static void unlink_left(struct cache *c, const char *path)
{
	if (!FAULT(recover_unlink))
		(void)!store_unlink(c, path);
}

/* With a record the name is all that is left over. */
static struct upload_left *left_open(struct cache *c, const struct digest *dg,
				     const char *path)
{
	struct upload_left *u;
	struct blob_row row;
	int fd;

	if (store_blob_row(c, dg, &row) == ERR_OK) {
		unlink_left(c, path);
		return NULL;
	}
	fd = store_open(c, path, O_RDONLY);
	if (fd < 0)
		return NULL; /* not ours to read */
	u = xcalloc(1, sizeof(*u));
	u->fd = fd;
	u->hasher = hasher_new((enum digest_alg)dg->alg);
	return u;
}

/* Below 0: it cannot be read; 0: all is hashed. */
static ssize_t left_hash(struct upload_left *u)
{
	uint8_t *buf = xmalloc(RECOVER_PIECE);
	ssize_t n = 1, total = 0;

	while (n > 0 && (uint64_t)total < RECOVER_STEP) {
		n = FAULT(recover_read)
			? -1
			: store_pread(u->fd, buf, RECOVER_PIECE, u->at);
		if (n > 0) {
			hasher_update(u->hasher, buf, (size_t)n);
			u->at += (uint64_t)n;
			total += n;
		}
	}
	free(buf);
	return n < 0 ? n : total;
}

static void left_discard(struct cache *c, const struct upload_left *u,
			 const struct digest *dg, const char *path,
			 const struct why *why)
{
	struct hold hold;

	hold_wait(c->holds, &hold, dg);
	publish_undo(c, u->fd, dg);
	unlink_left(c, path);
	hold_release(c->holds, &hold);
	cache_tell(c, CACHE_DISCARDED, dg, why);
}

static enum err put_garbage(struct index_txn *txn, struct publishing *pub,
			    uint64_t now_s)
{
	garbage_put(txn, now_s, &pub->dg, 0);
	return ERR_OK;
}

/* What cannot be published for want of room is the next start's. */
static void left_judge(struct cache *c, struct upload_left *u,
		       const struct digest *dg, const char *path)
{
	struct publishing pub = {
	    .fd = u->fd,
	    .path = path,
	    .dir = "uploads",
	    .dg = *dg,
	    .size = u->at,
	    .rows = put_garbage,
	};
	struct digest found;
	struct why why;

	hasher_final(u->hasher, &found);
	if (!digest_equal(&found, dg))
		why_set(&why, ERR_MISMATCH,
			"%s was complete before the restart and has other "
			"bytes now",
			path);
	else if (publish_staged(c, &pub, &why) == ERR_OK || !pub.sync_failed)
		return;
	left_discard(c, u, dg, path, &why);
}

bool upload_left_step(struct cache *c, const struct digest *dg,
		      const char *path, struct upload_left **up)
{
	struct why why;
	ssize_t n;

	if (!*up)
		*up = left_open(c, dg, path);
	if (!*up)
		return true;
	n = left_hash(*up);
	if (n > 0)
		return false;
	if (n == 0) {
		left_judge(c, *up, dg, path);
		return true;
	}
	why_set(&why, ERR_CORRUPT, "%s cannot be read", path);
	left_discard(c, *up, dg, path, &why);
	return true;
}
