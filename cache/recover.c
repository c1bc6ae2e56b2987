/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What start-up finds: a list of names in partial/ with their link counts, and
 * the trash rows.  The list is made before anything else runs, the work is
 * done later, a piece at a time, while everything runs.
 *
 *   one link    a partial, as it was left: kept, or removed if it is old
 *   two links   complete, and a blob's inode: with a record the staged name
 *               goes; without, it is hashed again and published
 *   a map alone, a large manifest's staged file: removed
 */
#include "cache/cache_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

/* Nobody asked for the rest of it in so long. */
#define PARTIAL_AGE_MAX_S ((uint64_t)7 * 24 * 3600)
/* What one step reads. */
#define RECOVER_STEP (16 * MIB)
#define RECOVER_BUF ((size_t)64 * 1024)

enum leftover_kind { LEFT_TRASH, LEFT_REMOVE, LEFT_COMPLETE };

struct leftover {
	STAILQ_ENTRY(leftover) link;
	enum leftover_kind kind;
	struct digest dg; /* not of LEFT_TRASH */
	char path[PATH_LEN_MAX];
	/* Of LEFT_COMPLETE, once it is being hashed. */
	int fd;
	struct hasher *hasher;
	uint64_t at;
};

struct recovery {
	pthread_mutex_t mu; /* guards the list; an entry taken off is the
			       taker's */
	STAILQ_HEAD(, leftover) list;
};

static struct leftover *leftover_new(enum leftover_kind kind,
				     const struct digest *dg, const char *path)
{
	struct leftover *l = xcalloc(1, sizeof(*l));

	l->kind = kind;
	if (dg)
		l->dg = *dg;
	l->fd = -1;
	snprintf(l->path, sizeof(l->path), "%s", path);
	return l;
}

static void leftover_free(struct leftover *l)
{
	if (l->fd >= 0)
		close(l->fd);
	hasher_free(&l->hasher);
	free(l);
}

static void append(struct recovery *r, struct leftover *l)
{
	pthread_mutex_lock(&r->mu);
	STAILQ_INSERT_TAIL(&r->list, l, link);
	pthread_mutex_unlock(&r->mu);
}

void recovery_free(struct recovery **rp)
{
	struct recovery *r = *rp;
	struct leftover *l;

	*rp = NULL;
	while ((l = STAILQ_FIRST(&r->list))) {
		STAILQ_REMOVE_HEAD(&r->list, link);
		leftover_free(l);
	}
	pthread_mutex_destroy(&r->mu);
	free(r);
}

void recovery_add_staged(struct cache *c, const struct digest *dg,
			 const char *path)
{
	append(c->recovery, leftover_new(LEFT_COMPLETE, dg, path));
}

/* ---- the list ---- */

static bool is_old(const struct stat *st)
{
	uint64_t now = wall_s();

	return st->st_mtime >= 0 &&
	       (uint64_t)st->st_mtime + PARTIAL_AGE_MAX_S < now;
}

/* A large manifest's: no host after the "@". */
static bool is_small(const char *path)
{
	return path[strlen(path) - 1] == '@';
}

static void found_staged(struct cache *c, const struct digest *dg,
			 const char *path, const struct stat *st)
{
	enum leftover_kind kind = LEFT_COMPLETE;

	if (st->st_nlink == 1 && !is_old(st) && !is_small(path)) {
		staged_found(c->staged, dg, path, STAGED_KEPT);
		return;
	}
	if (st->st_nlink == 1)
		kind = LEFT_REMOVE;
	staged_found(c->staged, dg, path, STAGED_RECOVERING);
	append(c->recovery, leftover_new(kind, dg, path));
}

/* A map goes with its file; alone it is left over. */
static void found_map(struct cache *c, const struct digest *dg, char *path)
{
	struct stat st;

	path[strlen(path) - strlen(".map")] = '\0';
	if (fstatat(c->data_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return;
	staged_found(c->staged, dg, path, STAGED_RECOVERING);
	append(c->recovery, leftover_new(LEFT_REMOVE, dg, path));
}

static void found_name(struct cache *c, const char *alg, const char *name)
{
	char path[PATH_LEN_MAX];
	struct digest dg;
	struct stat st;
	bool is_map;

	if (staged_name_parse(alg, name, &is_map, &dg) != ERR_OK)
		return; /* not one of ours */
	snprintf(path, sizeof(path), "partial/%s/%s", alg, name);
	if (fstatat(c->data_fd, path, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
	    !S_ISREG(st.st_mode))
		return;
	if (is_map)
		found_map(c, &dg, path);
	else
		found_staged(c, &dg, path, &st);
}

static enum err list_folder(struct cache *c, const char *alg, struct why *why)
{
	struct dirent *entry;
	char path[32];
	DIR *dir = NULL;
	int fd;

	snprintf(path, sizeof(path), "partial/%s", alg);
	fd = openat(c->data_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		dir = fdopendir(fd);
	if (!dir) {
		enum err err = store_error(why, errno, "list", path);

		if (fd >= 0)
			close(fd);
		return err;
	}
	while ((entry = readdir(dir)))
		found_name(c, alg, entry->d_name);
	closedir(dir);
	return ERR_OK;
}

static bool found_trash(void *arg, const char *path)
{
	append(arg, leftover_new(LEFT_TRASH, NULL, path));
	return true;
}

enum err recovery_list(struct cache *c, struct why *why)
{
	struct recovery *r = xcalloc(1, sizeof(*r));
	struct index_txn *txn;
	enum err err;

	pthread_mutex_init(&r->mu, NULL);
	STAILQ_INIT(&r->list);
	c->recovery = r;
	txn = index_read(c->index);
	err = trash_walk(txn, found_trash, r);
	index_read_end(txn);
	if (err != ERR_OK)
		return why_set(why, err, "the index's trash cannot be read");
	err = list_folder(c, "sha256", why);
	if (err == ERR_OK)
		err = list_folder(c, "sha512", why);
	return err;
}

/* ---- the work ---- */

static void unlink_both(struct cache *c, const char *path)
{
	char map[PATH_LEN_MAX];

	if (!FAULT(recover_map))
		(void)!store_unlink(c, map_path(path, map));
	if (!FAULT(recover_unlink))
		(void)!store_unlink(c, path);
}

static void remove_staged(struct cache *c, const struct leftover *l)
{
	struct hold hold;

	hold_wait(c->holds, &hold, &l->dg);
	unlink_both(c, l->path);
	hold_release(c->holds, &hold);
}

/* Is there a record, so that only the staged name is left over? */
static bool finish_recorded(struct cache *c, const struct leftover *l)
{
	struct blob_row row;
	struct hold hold;
	bool recorded;

	hold_wait(c->holds, &hold, &l->dg);
	recorded = store_blob_row(c, &l->dg, &row) == ERR_OK;
	if (recorded)
		unlink_both(c, l->path);
	hold_release(c->holds, &hold);
	return recorded;
}

/* With the hold: the name in blobs/, if it is this inode and no record speaks
 * of it. */
static void unlink_twin(struct cache *c, const struct leftover *l)
{
	char path[PATH_LEN_MAX];
	struct stat ours, twin;
	struct blob_row row;

	if (store_blob_row(c, &l->dg, &row) == ERR_NOT_FOUND &&
	    fstat(l->fd, &ours) == 0 &&
	    fstatat(c->data_fd, blob_path(&l->dg, path), &twin,
		    AT_SYMLINK_NOFOLLOW) == 0 &&
	    ours.st_ino == twin.st_ino && ours.st_dev == twin.st_dev)
		(void)!store_unlink(c, path);
}

static void throw_away(struct cache *c, const struct leftover *l,
		       const struct why *why)
{
	struct hold hold;

	hold_wait(c->holds, &hold, &l->dg);
	unlink_twin(c, l);
	unlink_both(c, l->path);
	hold_release(c->holds, &hold);
	cache_tell(c, CACHE_DISCARDED, &l->dg, why);
}

/* All is hashed.  True: the file is still there, as a partial again. */
static bool judge(struct cache *c, struct leftover *l)
{
	struct publishing pub = {
	    .fd = l->fd,
	    .path = l->path,
	    .dg = l->dg,
	    .size = l->at,
	};
	struct digest dg;
	struct why why;

	hasher_final(l->hasher, &dg);
	if (!digest_equal(&dg, &l->dg)) {
		why_set(&why, ERR_MISMATCH,
			"%s was complete before the restart and has other "
			"bytes now",
			l->path);
		throw_away(c, l, &why);
		return false;
	}
	if (publish_staged(c, &pub, &why) == ERR_OK)
		return false;
	if (!pub.sync_failed)
		return true;
	throw_away(c, l, &why);
	return false;
}

static ssize_t hash_some(struct leftover *l)
{
	uint8_t *buf = xmalloc(RECOVER_BUF);
	ssize_t n = 1, total = 0;

	while (n > 0 && (uint64_t)total < RECOVER_STEP) {
		n = FAULT(recover_read)
			? -1
			: store_pread(l->fd, buf, RECOVER_BUF, l->at);
		if (n > 0) {
			hasher_update(l->hasher, buf, (size_t)n);
			l->at += (uint64_t)n;
			total += n;
		}
	}
	free(buf);
	return n < 0 ? n : total;
}

/* One step of a complete file.  True: done with it; *kept as in judge(). */
static bool step_complete(struct cache *c, struct leftover *l, bool *kept)
{
	struct why why;
	ssize_t n;

	*kept = false;
	if (l->fd < 0) {
		if (finish_recorded(c, l))
			return true;
		l->fd = store_open(c, l->path, O_RDONLY);
		if (l->fd < 0)
			return true; /* gone, or not ours to read */
		l->hasher = hasher_new(l->dg.alg);
	}
	n = hash_some(l);
	if (n > 0)
		return false;
	if (n == 0) {
		*kept = judge(c, l);
		return true;
	}
	why_set(&why, ERR_CORRUPT, "%s cannot be read", l->path);
	throw_away(c, l, &why);
	return true;
}

/* True: it is done, and nothing more is to be done for it. */
static bool step(struct cache *c, struct leftover *l)
{
	bool kept = false;

	if (l->kind == LEFT_TRASH) {
		trash_finish(c, l->path);
		return true;
	}
	if (l->kind == LEFT_REMOVE)
		remove_staged(c, l);
	else if (!step_complete(c, l, &kept))
		return false;
	staged_recovered(c->staged, &l->dg, l->path, kept);
	return true;
}

bool cache_recover_step(struct cache *c)
{
	struct recovery *r = c->recovery;
	struct leftover *l;
	bool more;

	pthread_mutex_lock(&r->mu);
	l = STAILQ_FIRST(&r->list);
	if (l)
		STAILQ_REMOVE_HEAD(&r->list, link);
	pthread_mutex_unlock(&r->mu);
	if (!l)
		return false;
	if (step(c, l)) {
		leftover_free(l);
	} else {
		pthread_mutex_lock(&r->mu);
		STAILQ_INSERT_HEAD(&r->list, l, link);
		pthread_mutex_unlock(&r->mu);
	}
	pthread_mutex_lock(&r->mu);
	more = !STAILQ_EMPTY(&r->list);
	pthread_mutex_unlock(&r->mu);
	return more;
}
