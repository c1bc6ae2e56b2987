/* SPDX-License-Identifier: Apache-2.0 */
/* A session's file: making and opening it, its names, giving it up. */
#include "cache/upload_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* Expiry is a matter of days: a commit for each request would be many. */
#define TOUCH_STEP_S 60

/* ---- small steps ---- */

enum err upload_cut(struct upload *u, struct why *why)
{
	int error;

	if (!u->tail)
		return ERR_OK;
	error = FAULT(upload_cut);
	if (!error && ftruncate(u->fd, (off_t)upload_offset(u)) != 0)
		error = errno;
	if (error)
		return store_error(why, error, "cut", u->path);
	u->tail = false;
	return ERR_OK;
}

enum err upload_rename(struct upload *u, const char *to, struct why *why)
{
	int error = FAULT(upload_rename);

	if (!error && renameat(u->c->data_fd, u->path, u->c->data_fd, to) != 0)
		error = errno;
	if (error)
		return store_error(why, error, "rename", u->path);
	snprintf(u->path, sizeof(u->path), "%s", to);
	return ERR_OK;
}

void upload_unlink(struct cache *c, const char *id)
{
	char path[PATH_LEN_MAX];

	if (FAULT(upload_unlink))
		return;
	(void)!store_unlink(c, upload_path(id, path));
	(void)!store_unlink(c, upload_put_path(id, path));
}

void upload_lose(struct upload *u)
{
	u->lost = true;
	upload_birth_drop(u);
	(void)!store_unlink(u->c, u->path);
	upload_row_drop(u->c, u->claim.id);
}

/* ---- the struct ---- */

static struct upload *upload_alloc(struct cache *c)
{
	struct upload *u = xcalloc(1, sizeof(*u));

	u->c = c;
	u->fd = -1;
	return u;
}

void upload_free(struct upload **up)
{
	struct upload *u = *up;

	*up = NULL;
	upload_claim_end(u->c, &u->claim);
	if (u->newborn)
		uploads_newborn_end(u->c);
	space_end(u->c->space, &u->share);
	if (u->fd >= 0)
		close(u->fd);
	hasher_free(&u->hasher);
	hasher_free(&u->put_hasher);
	free(u);
}

const char *upload_id(const struct upload *u)
{
	return u->claim.id;
}

const char *upload_repo(const struct upload *u)
{
	return u->row.repo;
}

uint64_t upload_offset(const struct upload *u)
{
	return atomic_load(&u->offset);
}

/* ---- a new one ---- */

int upload_make_id(char *out)
{
	uint8_t b[16];

	if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
		return errno;
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* version 4 */
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80); /* of RFC 9562 */
	snprintf(out, UPLOAD_ID_SIZE,
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
		 "%02x%02x%02x%02x%02x%02x",
		 b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9],
		 b[10], b[11], b[12], b[13], b[14], b[15]);
	return 0;
}

static enum err make_file(struct upload *u, struct why *why)
{
	int error = FAULT(upload_create);

	upload_path(u->claim.id, u->path);
	if (!error) {
		u->fd = store_open(u->c, u->path, O_RDWR | O_CREAT | O_EXCL);
		error = u->fd < 0 ? errno : 0;
	}
	return error ? store_error(why, error, "make", u->path) : ERR_OK;
}

enum err upload_have_row(struct upload *u, struct why *why)
{
	enum err err = ERR_OK;

	if (!u->in_index)
		err = upload_row_begin(u->c, u->claim.id, &u->row, false, why);
	u->in_index = err == ERR_OK;
	if (u->in_index && u->newborn) {
		uploads_newborn_end(u->c);
		u->newborn = false;
	}
	return err;
}

/* That nothing else is committed meanwhile is no reason to refuse for ever. */
enum err upload_check_index(struct upload *u, struct why *why)
{
	if (index_health(u->c->index) == INDEX_OK || u->lost)
		return ERR_OK;
	return u->in_index ? upload_row_touch(u->c, u->claim.id, why)
			   : upload_have_row(u, why);
}

/*
 * Most sessions are over in moments, and a commit for the beginning of each
 * would be 2 in 5 of what a small image costs: the file tells of them.  An
 * index that takes nothing now says so before the bytes come.
 */
static enum err make_known(struct upload *u, struct why *why)
{
	int error = FAULT(upload_row);
	enum err err;

	u->row.started_s = u->row.touched_s = wall_s();
	memcpy(u->row.boot, u->c->boot.bytes, sizeof(u->row.boot));
	if (error)
		return store_error(why, error, "record", u->path);
	u->newborn = index_health(u->c->index) == INDEX_OK &&
		     uploads_newborn_begin(u->c);
	if (u->newborn)
		return upload_birth_write(u) ? ERR_OK : upload_have_row(u, why);
	err = upload_row_begin(u->c, u->claim.id, &u->row, true, why);
	u->in_index = err == ERR_OK;
	return err;
}

static enum err make_session(struct upload *u, struct why *why)
{
	enum err err = make_file(u, why);

	if (err == ERR_OK)
		err = make_known(u, why);
	if (err != ERR_OK && u->fd >= 0)
		(void)!store_unlink(u->c, u->path);
	return err;
}

enum err upload_new(struct cache *c, const char *repo, enum digest_alg alg,
		    struct upload **out, struct why *why)
{
	enum err err = space_check(c->space, why);
	char id[UPLOAD_ID_SIZE];
	struct upload *u;
	bool claimed;
	int error;

	*out = NULL;
	if (err != ERR_OK)
		return err;
	error = upload_make_id(id);
	if (error)
		return store_error(why, error, "think of", "an upload's id");
	u = upload_alloc(c);
	u->hasher = hasher_new(alg);
	u->row.alg = (uint8_t)alg;
	assert(strlen(repo) < sizeof(u->row.repo));
	memcpy(u->row.repo, repo, strlen(repo));
	claimed = upload_claim(c, &u->claim, id);
	assert(claimed);
	(void)claimed;
	err = make_session(u, why);
	if (err != ERR_OK) {
		upload_free(&u);
		return err;
	}
	upload_claim_opened(c, u);
	*out = u;
	return ERR_OK;
}

/* ---- where one stands ---- */

static bool is_of_this_boot(struct cache *c, const struct upload_row *row)
{
	return memcmp(row->boot, c->boot.bytes, sizeof(row->boot)) == 0;
}

/* Of a file of `length` bytes, those that count. */
static uint64_t count_trusted(struct cache *c, const struct upload_row *row,
			      bool named_put, uint64_t length)
{
	if (named_put)
		return 0;
	if (row->in_put)
		length = MIN(length, row->put_at);
	if (!is_of_this_boot(c, row))
		length = MIN(length, row->synced);
	return length;
}

static enum err read_row(struct cache *c, const char *id,
			 struct upload_row *row, struct why *why)
{
	struct index_txn *txn = index_read(c->index);
	enum err err = upload_get(txn, id, row);

	index_read_end(txn);
	if (err == ERR_OK)
		return err;
	if (err == ERR_NOT_FOUND)
		return why_set(why, err, "there is no such upload");
	return why_set(why, ERR_IO, "the index does not tell of upload %s: %s",
		       id, err_name(err));
}

static int open_either(struct cache *c, const char *id, int flags, char *path,
		       bool *named_put)
{
	int fd = store_open(c, upload_path(id, path), flags);

	*named_put = fd < 0 && errno == ENOENT;
	if (*named_put)
		fd = store_open(c, upload_put_path(id, path), flags);
	return fd;
}

enum err upload_read_birth(struct cache *c, const char *id,
			   struct upload_row *out)
{
	char path[PATH_LEN_MAX];
	bool named_put;
	int fd = -1;
	enum err err = ERR_NOT_FOUND;

	if (upload_id_valid(id))
		fd = open_either(c, id, O_RDONLY, path, &named_put);
	if (fd >= 0) {
		err = upload_birth_read(c, fd, out);
		close(fd);
	}
	return err;
}

enum err upload_look(struct cache *c, const char *id, struct upload_info *out,
		     struct why *why)
{
	char path[PATH_LEN_MAX];
	struct upload_row row;
	struct stat st = {0};
	bool named_put = false, found = true;
	enum err err = read_row(c, id, &row, why);

	if (err == ERR_NOT_FOUND)
		err = upload_read_birth(c, id, &row);
	if (err != ERR_OK)
		return err;
	memcpy(out->repo, row.repo, sizeof(out->repo));
	out->started_s = row.started_s;
	out->touched_s = row.touched_s;
	if (upload_is_open(c, id, &out->offset))
		return ERR_OK;
	if (fstatat(c->data_fd, upload_path(id, path), &st,
		    AT_SYMLINK_NOFOLLOW) != 0) {
		named_put = true;
		found = fstatat(c->data_fd, upload_put_path(id, path), &st,
				AT_SYMLINK_NOFOLLOW) == 0;
	}
	if (!found && errno != ENOENT)
		return store_error(why, errno, "look at", path);
	if (!found)
		return why_set(why, ERR_NOT_FOUND, "there is no such upload");
	out->offset = count_trusted(c, &row, named_put, (uint64_t)st.st_size);
	return ERR_OK;
}

/* ---- opening again ---- */

static enum err open_file(struct upload *u, bool *named_put, struct why *why)
{
	u->fd = open_either(u->c, u->claim.id, O_RDWR, u->path, named_put);
	if (u->fd >= 0)
		return ERR_OK;
	if (errno == ENOENT)
		return why_set(why, ERR_NOT_FOUND, "there is no such upload");
	return store_error(why, errno, "open", u->path);
}

static enum err find_offset(struct upload *u, bool named_put, struct why *why)
{
	uint64_t offset;
	struct stat st;

	if (fstat(u->fd, &st) != 0)
		return store_error(why, errno, "look at", u->path);
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1)
		return why_set(why, ERR_IO, "%s is not an upload's file",
			       u->path);
	offset = count_trusted(u->c, &u->row, named_put, (uint64_t)st.st_size);
	atomic_store(&u->offset, offset);
	u->tail = (uint64_t)st.st_size > offset;
	u->put_in_name = named_put;
	u->put_in_row = u->row.in_put;
	return ERR_OK;
}

/* What is known of it, from the row or else from the file. */
static enum err find_session(struct upload *u, bool *named_put, struct why *why)
{
	enum err err = read_row(u->c, u->claim.id, &u->row, why);

	u->in_index = err == ERR_OK;
	if (err == ERR_OK || err == ERR_NOT_FOUND)
		err = open_file(u, named_put, why);
	if (err == ERR_OK && !u->in_index &&
	    upload_birth_read(u->c, u->fd, &u->row) != ERR_OK)
		err = why_set(why, ERR_NOT_FOUND, "there is no such upload");
	return err;
}

static enum err open_session(struct upload *u, struct why *why)
{
	bool named_put;
	enum err err = find_session(u, &named_put, why);

	if (err == ERR_OK)
		err = find_offset(u, named_put, why);
	if (err == ERR_OK)
		err = upload_cut(u, why);
	/* What is written from now on, this boot may trust; and a PUT that
	 * counted on bytes which a loss of power took begins before them. */
	if (err == ERR_OK && (!is_of_this_boot(u->c, &u->row) ||
			      u->row.put_at > upload_offset(u)))
		err = upload_row_boot(u->c, u->claim.id, upload_offset(u), why);
	return err;
}

enum err upload_open(struct cache *c, const char *id, struct upload **out,
		     struct why *why)
{
	struct upload *u;
	enum err err;

	*out = NULL;
	if (!upload_id_valid(id))
		return why_set(why, ERR_NOT_FOUND, "there is no such upload");
	u = upload_alloc(c);
	if (!upload_claim(c, &u->claim, id)) {
		free(u);
		return why_set(why, ERR_BUSY, "upload %s is in use", id);
	}
	err = open_session(u, why);
	if (err != ERR_OK) {
		upload_free(&u);
		return err;
	}
	u->hasher = hasher_new((enum digest_alg)u->row.alg);
	upload_claim_opened(c, u);
	*out = u;
	return ERR_OK;
}

/* ---- giving it back, or up ---- */

/* From now on it may wait for days, and expire.  Until its row is committed,
 * and should it find no room, the file speaks for it. */
static void close_known(struct upload *u)
{
	uint64_t now_s = wall_s();

	if (!u->in_index) {
		u->row.touched_s = now_s;
		upload_row_begin_soon(u->c, u->claim.id, &u->row, u->newborn);
		u->newborn = false;
	} else if (now_s - u->row.touched_s >= TOUCH_STEP_S) {
		(void)!upload_row_touch(u->c, u->claim.id, NULL);
	}
}

void upload_close(struct upload **up)
{
	if (!(*up)->lost)
		close_known(*up);
	upload_free(up);
}

void upload_cancel(struct upload **up)
{
	struct upload *u = *up;

	if (!u->lost) {
		upload_birth_drop(u);
		upload_unlink(u->c, u->claim.id);
		upload_row_drop(u->c, u->claim.id);
	}
	upload_free(up);
}
