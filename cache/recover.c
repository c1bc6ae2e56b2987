/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What start-up finds: a list of names in partial/ with their link counts,
 * uploads whose digest had matched, and the trash rows.  The list is made
 * before anything else runs, the work is done later, a piece at a time, while
 * everything runs.
 *
 *   one link    a partial, as it was left: kept, or removed if it is old
 *   two links   complete, and a blob's inode: with a record the staged name
 *               goes; without, it is hashed again and published, linked
 *               nowhere: the manifest that was being pushed, or a mirror's
 *               blob, waits for who comes for it, or for collection
 *   a map alone, a large manifest's staged file: removed
 *   an upload   cache/upload_recover.c
 *
 * A flight may want the same file before its turn has come, or meanwhile: they
 * share the partial, and who comes first does the rest.
 */
#include "cache/partial_int.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

/* Nobody asked for the rest of it in so long. */
#define PARTIAL_AGE_MAX_S ((uint64_t)7 * 24 * 3600)
/* What one step hashes, and how much at a time: others take turns. */
#define RECOVER_STEP (16 * MIB)
#define RECOVER_PIECE ((uint64_t)64 * 1024)

enum leftover_kind { LEFT_TRASH, LEFT_REMOVE, LEFT_COMPLETE, LEFT_UPLOAD };

struct leftover {
	STAILQ_ENTRY(leftover) link;
	enum leftover_kind kind;
	struct digest dg; /* not of LEFT_TRASH */
	char path[PATH_LEN_MAX];
	/* Once it is being hashed: of LEFT_COMPLETE and LEFT_UPLOAD. */
	struct partial *partial;
	struct upload_left *upload;
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
	snprintf(l->path, sizeof(l->path), "%s", path);
	return l;
}

static void leftover_free(struct leftover *l)
{
	if (l->partial)
		partial_close(&l->partial);
	if (l->upload)
		upload_left_free(&l->upload);
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

void recovery_add_upload(struct cache *c, const struct digest *dg,
			 const char *path)
{
	append(c->recovery, leftover_new(LEFT_UPLOAD, dg, path));
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

/* No use to anybody. */
static bool is_remains(const struct stat *st, const char *path)
{
	return st->st_nlink == 1 && (is_old(st) || is_small(path));
}

static void found_staged(struct cache *c, const struct digest *dg,
			 const char *path, const struct stat *st)
{
	staged_found(c->staged, dg, path);
	if (is_remains(st, path))
		append(c->recovery, leftover_new(LEFT_REMOVE, dg, path));
	else if (st->st_nlink > 1)
		append(c->recovery, leftover_new(LEFT_COMPLETE, dg, path));
}

/* A map goes with its file; alone it is left over. */
static void found_map(struct cache *c, const struct digest *dg, char *path)
{
	struct stat st;

	path[strlen(path) - strlen(".map")] = '\0';
	if (fstatat(c->data_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return;
	staged_found(c->staged, dg, path);
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
	DIR *dir;

	snprintf(path, sizeof(path), "partial/%s", alg);
	dir = store_open_dir(c, path);
	if (!dir)
		return store_error(why, errno, "list", path);
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
	if (err == ERR_OK)
		err = uploads_list(c, why);
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

/* Unless somebody has, or had, a use for it since start-up. */
static void remove_staged(struct cache *c, const struct leftover *l)
{
	struct partial *open;
	struct staged *s = staged_take(c->staged, &l->dg, l->path, &open);
	struct hold hold;
	struct stat st;

	if (open) {
		partial_close(&open);
		return;
	}
	hold_wait(c->holds, &hold, &l->dg); /* a manifest is staged under it */
	if (fstatat(c->data_fd, l->path, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    !is_remains(&st, l->path)) {
		staged_kept(c->staged, s);
	} else {
		unlink_both(c, l->path);
		staged_gone(c->staged, s);
	}
	hold_release(c->holds, &hold);
}

static bool is_recorded(struct cache *c, const struct digest *dg)
{
	struct blob_row row;

	return store_blob_row(c, dg, &row) == ERR_OK;
}

static void throw_away(struct cache *c, const struct leftover *l,
		       const struct why *why)
{
	partial_discard(l->partial);
	cache_tell(c, CACHE_DISCARDED, &l->dg, why);
}

/* Hash it on.  *more as of partial_hash(). */
static enum err hash_some(struct leftover *l, bool *more, struct why *why)
{
	enum err err = ERR_OK;

	*more = true;
	for (uint64_t n = 0; err == ERR_OK && *more && n < RECOVER_STEP;
	     n += RECOVER_PIECE)
		err = FAULT(recover_read)
			  ? why_set(why, ERR_CORRUPT, "%s cannot be read",
				    l->path)
			  : partial_hash(l->partial, RECOVER_PIECE, more, why);
	return err;
}

/* All is hashed. */
static void judge(struct cache *c, struct leftover *l)
{
	struct partial_view view;
	struct why why;

	partial_view(l->partial, &view);
	if (view.proven) {
		/* What cannot be published now is a partial again. */
		(void)!partial_publish(l->partial, NULL, 0, &why);
		return;
	}
	why_set(&why, ERR_MISMATCH,
		"%s was complete before the restart and has other bytes now",
		l->path);
	throw_away(c, l, &why);
}

/* One step of a complete file.  True: done with it. */
static bool step_complete(struct cache *c, struct leftover *l)
{
	struct why why;
	enum err err;
	bool more;

	if (!l->partial &&
	    partial_open_path(c, &l->dg, l->path, &l->partial, &why) != ERR_OK)
		return true; /* not ours to read */
	if (!l->partial->complete)
		return true; /* thrown away, and under way afresh */
	if (is_recorded(c, &l->dg)) {
		partial_discard(l->partial); /* only a name is left over */
		return true;
	}
	err = hash_some(l, &more, &why);
	if (err == ERR_OK && more)
		return false;
	if (err == ERR_OK)
		judge(c, l);
	else if (err == ERR_CORRUPT)
		throw_away(c, l, &why);
	return true;
}

/* True: it is done, and nothing more is to be done for it. */
static bool step(struct cache *c, struct leftover *l)
{
	switch (l->kind) {
	case LEFT_TRASH:
		trash_finish(c, l->path);
		return true;
	case LEFT_REMOVE:
		remove_staged(c, l);
		return true;
	case LEFT_COMPLETE:
		return step_complete(c, l);
	case LEFT_UPLOAD:
		return upload_left_step(c, &l->dg, l->path, &l->upload);
	}
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
