/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/adopt.h"

#include "cache/hosted_int.h"
#include "cache/upload_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE ((size_t)256 * 1024)

struct adoption {
	struct cache *c;
	struct adoption_ask ask;
	enum adopted how;
	char id[UPLOAD_ID_SIZE];
	char path[PATH_LEN_MAX]; /* the staged name; "" = none */
	int fd;                  /* of it; -1 before the first step */
	uint64_t done;           /* bytes hashed and, of a copy, written */
	struct hasher *hasher;
	struct space_share share;
};

/* ---- is it there? ---- */

bool adoption_is_there(struct cache *c, const struct digest *dg,
		       const char *host, const char *repo)
{
	struct index_txn *txn = index_read(c->index);
	struct blob_row blob;
	struct link_row link;
	uint64_t id;
	bool there = blob_get(txn, dg, &blob) == ERR_OK &&
		     repo_id(txn, host, repo, &id) == ERR_OK &&
		     link_get(txn, id, dg, &link) == ERR_OK;

	index_read_end(txn);
	return there;
}

/* ---- the commit ---- */

struct adoption_publishing {
	struct publishing pub;
	const struct adoption_ask *ask;
};

static enum err link_hosted(struct index_txn *txn,
			    const struct adoption_ask *ask, uint64_t now_s)
{
	uint64_t id;
	bool claimed;
	enum err err =
	    hosted_ensure_repo(txn, ask->repo, true, now_s, &id, &claimed);

	if (err != ERR_OK)
		return err;
	hosted_link_blob(txn, ask->repo, id, &ask->dg, now_s);
	hosted_put_events(txn, ask->events, ask->n_events);
	return ERR_OK;
}

static enum err link_mirrored(struct index_txn *txn, const char *host,
			      const char *repo, const struct digest *dg,
			      uint64_t now_s)
{
	struct link_row link = {.kind = LINK_BLOB, .created_s = now_s}, old;
	struct repo_row row;
	enum err err = repo_ensure(txn, host, repo, REPO_MIRROR, now_s, &row);

	if (err == ERR_OK && link_get(txn, row.id, dg, &old) != ERR_OK)
		link_put(txn, row.id, dg, &link);
	return err;
}

static enum err put_rows(struct index_txn *txn, struct publishing *pub,
			 uint64_t now_s)
{
	const struct adoption_ask *ask =
	    container_of(pub, struct adoption_publishing, pub)->ask;

	if (*ask->host)
		return link_mirrored(txn, ask->host, ask->repo, &pub->dg,
				     now_s);
	return link_hosted(txn, ask, now_s);
}

static struct adoption_publishing publishing_of(const struct adoption *a)
{
	return (struct adoption_publishing){
	    .pub = {.fd = a->fd,
		    .path = a->path,
		    .dir = "uploads",
		    .dg = a->ask.dg,
		    .size = a->ask.size,
		    .rows = put_rows},
	    .ask = &a->ask,
	};
}

/* ---- the staged file ---- */

static void unstage(struct adoption *a)
{
	if (a->fd >= 0)
		close(a->fd);
	a->fd = -1;
	if (a->path[0])
		(void)!store_unlink(a->c, a->path);
	a->path[0] = '\0';
}

/* It has to be what the caller has looked at. */
static bool is_same_file(const struct adoption *a)
{
	struct stat ours, theirs;

	return fstat(a->fd, &ours) == 0 && fstat(a->ask.fd, &theirs) == 0 &&
	       S_ISREG(ours.st_mode) && ours.st_ino == theirs.st_ino &&
	       ours.st_dev == theirs.st_dev &&
	       (uint64_t)ours.st_size == a->ask.size;
}

/*
 * Another filesystem, a file that is not ours to link (fs.protected_hardlinks),
 * too many names: whatever the reason, a copy does.
 */
static bool stage_link(struct adoption *a)
{
	if (!a->ask.file || a->ask.at ||
	    linkat(a->ask.dir_fd, a->ask.file, a->c->data_fd, a->path, 0) != 0)
		return false;
	a->fd = store_open(a->c, a->path, O_RDONLY);
	if (a->fd >= 0 && is_same_file(a)) {
		a->how = ADOPTED_LINK;
		return true;
	}
	if (a->fd >= 0)
		close(a->fd);
	a->fd = -1;
	(void)!store_unlink(a->c, a->path);
	return false;
}

static enum err stage(struct adoption *a, struct why *why)
{
	int error = upload_make_id(a->id);

	if (error)
		return store_error(why, error, "make", "a random id");
	upload_path(a->id, a->path);
	if (stage_link(a))
		return ERR_OK;
	a->how = ADOPTED_COPY;
	a->fd = store_open(a->c, a->path, O_WRONLY | O_CREAT | O_EXCL);
	if (a->fd >= 0)
		return ERR_OK;
	error = errno;
	a->path[0] = '\0';
	return store_error(why, error, "make", "a file in uploads/");
}

/* ---- its bytes ---- */

static enum err short_of(const struct adoption *a, struct why *why)
{
	return why_set(why, ERR_MISMATCH,
		       "the file ends after %" PRIu64 " of %" PRIu64 " bytes",
		       a->done, a->ask.size);
}

static enum err write_piece(struct adoption *a, const void *buf, size_t len,
			    struct why *why)
{
	enum err err = space_take(a->c->space, &a->share, len, why);
	size_t done;
	int error;

	if (err != ERR_OK)
		return err;
	error = store_pwrite(a->fd, buf, len, a->done, &done);
	space_spend(a->c->space, &a->share, done);
	return error ? store_error(why, error, "write", a->path) : ERR_OK;
}

static enum err take_piece(struct adoption *a, uint8_t *buf, struct why *why)
{
	size_t want = (size_t)MIN(a->ask.size - a->done, PIECE);
	ssize_t n = store_pread(a->ask.fd, buf, want, a->ask.at + a->done);
	enum err err = ERR_OK;

	if (n < 0)
		return store_error(why, errno, "read", "the file");
	hasher_update(a->hasher, buf, (size_t)n);
	if (a->how == ADOPTED_COPY)
		err = write_piece(a, buf, (size_t)n, why);
	a->done += (uint64_t)n;
	if (err == ERR_OK && (size_t)n < want)
		return short_of(a, why);
	return err;
}

static enum err take_bytes(struct adoption *a, uint64_t max, struct why *why)
{
	uint64_t end = a->done + MIN(max, a->ask.size - a->done);
	uint8_t *buf = xmalloc(PIECE);
	enum err err = ERR_OK;

	while (err == ERR_OK && a->done < end)
		err = take_piece(a, buf, why);
	free(buf);
	return err;
}

/* ---- the end ---- */

static enum err prove(struct adoption *a, struct why *why)
{
	char text[DIGEST_TEXT_MAX];
	struct digest found;

	hasher_final(a->hasher, &found);
	if (digest_equal(&found, &a->ask.dg))
		return ERR_OK;
	return why_set(why, ERR_MISMATCH,
		       "its %" PRIu64 " bytes have the digest %.80s",
		       a->ask.size, digest_text(&found, text));
}

static enum err settle_name(struct adoption *a, struct why *why)
{
	char to[PATH_LEN_MAX];
	int fd = a->c->data_fd;

	upload_proven_path(a->id, &a->ask.dg, to);
	if (renameat(fd, a->path, fd, to) != 0)
		return store_error(why, errno, "rename", a->path);
	memcpy(a->path, to, sizeof(to));
	return ERR_OK;
}

static enum err finish(struct adoption *a, struct why *why)
{
	struct adoption_publishing p;
	enum err err = prove(a, why);

	if (err == ERR_OK)
		err = settle_name(a, why);
	if (err != ERR_OK)
		return err;
	p = publishing_of(a);
	/* Before it is there: so at no moment it is there and not leased. */
	lease_take(a->c->leases, &a->ask.dg);
	err = publish_staged(a->c, &p.pub, why);
	/* Its name has gone; one that a failed unlink has left is start-up's.
	 */
	if (err == ERR_OK)
		a->path[0] = '\0';
	return err;
}

/* Stored already: ERR_NOT_FOUND if it is not. */
static enum err link_stored(struct adoption *a, struct why *why)
{
	struct adoption_publishing p = publishing_of(a);
	struct blob_row row;

	if (store_blob_row(a->c, &a->ask.dg, &row) != ERR_OK ||
	    row.size != a->ask.size)
		return ERR_NOT_FOUND;
	a->how = ADOPTED_THERE;
	lease_take(a->c->leases, &a->ask.dg);
	if (adoption_is_there(a->c, &a->ask.dg, a->ask.host, a->ask.repo))
		return ERR_OK;
	return publish_rows(a->c, &p.pub, why);
}

/* ---- life ---- */

struct adoption *adoption_new(struct cache *c, const struct adoption_ask *ask)
{
	struct adoption *a = xcalloc(1, sizeof(*a));

	a->c = c;
	a->ask = *ask;
	a->fd = -1;
	a->hasher = hasher_new((enum digest_alg)ask->dg.alg);
	return a;
}

static enum err step(struct adoption *a, uint64_t max, bool *more,
		     struct why *why)
{
	enum err err;

	if (a->fd < 0) {
		err = link_stored(a, why);
		if (err != ERR_NOT_FOUND)
			return err;
		err = stage(a, why);
		if (err != ERR_OK)
			return err;
	}
	err = take_bytes(a, max, why);
	if (err != ERR_OK)
		return err;
	*more = a->done < a->ask.size;
	return *more ? ERR_OK : finish(a, why);
}

enum err adoption_step(struct adoption *a, uint64_t max, bool *more,
		       struct why *why)
{
	enum err err;

	*more = false;
	err = step(a, max, more, why);
	if (!*more)
		unstage(a);
	return err;
}

enum adopted adoption_how(const struct adoption *a)
{
	return a->how;
}

void adoption_free(struct adoption **ap)
{
	struct adoption *a = *ap;

	if (!a)
		return;
	*ap = NULL;
	unstage(a);
	space_end(a->c->space, &a->share);
	hasher_free(&a->hasher);
	free(a);
}
