/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An index from what does not need one: the files in blobs/, and the journal.
 *
 *   the old index is moved aside
 *   a row for each file in blobs/
 *   the journal, from its beginning: repositories, links, tags; manifests are
 *   read again from their files
 *
 * What was mirrored keeps its files: they are known, but linked nowhere, until
 * their upstreams say yes again.
 */
#include "cache/journal_apply.h"
#include "cache/journal_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROWS 64 /* in one commit */
#define HASH_BUF (256 * 1024)

/* ---- at start-up ---- */

static enum err replay(struct cache *c, struct journal *j, uint64_t after,
		       cache_check_cb *finding, void *arg, struct why *why)
{
	struct statements s;
	enum err err;

	statements_init(&s, c);
	s.finding = finding;
	s.arg = arg;
	err = journal_replay(j, after, statements_add, &s, why);
	if (err == ERR_OK) {
		err = statements_flush(&s);
		if (err != ERR_OK)
			(void)why_set(why, err,
				      "the index does not take the journal's "
				      "records: %s",
				      err_name(err));
	}
	statements_release(&s);
	return err;
}

enum err journal_catch_up(struct cache *c, struct why *why)
{
	struct index_txn *txn = index_read(c->index);
	uint64_t has = index_log_last(txn);
	bool nothing = !has && total_get(txn, "blobs") == 0;
	uint64_t last = journal_last(c->journal);

	index_read_end(txn);
	if (has == last)
		return ERR_OK;
	if (has > last)
		return why_set(why, ERR_CORRUPT,
			       "the index has seen %" PRIu64
			       " records of the journal, which has %" PRIu64
			       "; part of %s/journal is missing",
			       has, last, c->data);
	if (nothing && c->index_is_new)
		return why_set(why, ERR_CORRUPT,
			       "%s/journal tells of hosted content, but there "
			       "was no index; 'entrepot rebuild' makes one",
			       c->data);
	return replay(c, c->journal, has, NULL, NULL, why);
}

/* ---- rebuild: the files ---- */

struct files {
	struct cache *c;
	bool rehash;
	uint64_t done, of;
	void (*progress)(void *arg, uint64_t done, uint64_t of);
	cache_check_cb *finding;
	void *arg;
	struct why *why;

	struct index_op op;
	size_t n;
	struct digest dg[ROWS];
	struct blob_row row[ROWS];
};

static enum err rows_apply(struct index_txn *txn, struct index_op *op)
{
	struct files *f = container_of(op, struct files, op);

	for (size_t i = 0; i < f->n; i++) {
		blob_put(txn, &f->dg[i], &f->row[i]);
		recency_touch(txn, &f->dg[i]);
	}
	return ERR_OK;
}

static enum err put_rows(struct files *f)
{
	enum err err = ERR_OK;

	f->op.apply = rows_apply;
	if (f->n)
		err = index_submit_wait(f->c->index, &f->op);
	f->n = 0;
	if (err != ERR_OK)
		return why_set(f->why, err, "the new index takes no rows: %s",
			       err_name(err));
	return ERR_OK;
}

static void tell(struct files *f, const char *path, const char *what)
{
	char *text;

	if (!f->finding)
		return;
	text = xasprintf("%s: %s", path, what);
	f->finding(f->arg, text);
	free(text);
}

/* ERR_MISMATCH: the bytes have another digest.  ERR_IO. */
static enum err hash_file(struct files *f, const char *path,
			  const struct digest *dg)
{
	int fd = store_open(f->c, path, O_RDONLY);
	struct hasher *h;
	struct digest found;
	uint64_t off = 0;
	uint8_t *buf;
	ssize_t n;

	if (fd < 0)
		return ERR_IO;
	h = hasher_new((enum digest_alg)dg->alg);
	buf = xmalloc(HASH_BUF);
	while ((n = store_pread(fd, buf, HASH_BUF, off)) > 0) {
		hasher_update(h, buf, (size_t)n);
		off += (uint64_t)n;
	}
	hasher_final(h, &found);
	hasher_free(&h);
	free(buf);
	close(fd);
	if (n < 0)
		return ERR_IO;
	return digest_equal(dg, &found) ? ERR_OK : ERR_MISMATCH;
}

static enum err add_file(struct files *f, const char *path)
{
	struct digest dg;
	struct stat st;
	enum err err;

	if (blob_path_parse(path, &dg) != ERR_OK ||
	    fstatat(f->c->data_fd, path, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
	    !S_ISREG(st.st_mode)) {
		tell(f, path, "is no blob's file; it is left alone");
		return ERR_OK;
	}
	if (f->rehash) {
		err = hash_file(f, path, &dg);
		if (err != ERR_OK) {
			tell(f, path,
			     err == ERR_IO ? "cannot be read"
					   : "has bytes of another digest");
			return ERR_OK;
		}
	}
	f->dg[f->n] = dg;
	f->row[f->n++] = (struct blob_row){
	    .size = (uint64_t)st.st_size,
	    .created_s = (uint64_t)st.st_mtime,
	    .verified_s = f->rehash ? wall_s() : 0,
	};
	return f->n == ROWS ? put_rows(f) : ERR_OK;
}

static DIR *open_folder(struct cache *c, const char *path)
{
	int fd = openat(c->data_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

	if (!dir && fd >= 0)
		close(fd);
	return dir;
}

/* Every file of one folder; with `count`, only how many. */
static enum err each_file(struct files *f, const char *folder, bool count)
{
	DIR *dir = open_folder(f->c, folder);
	struct dirent *entry;
	enum err err = ERR_OK;
	char path[PATH_LEN_MAX];

	if (!dir)
		return store_error(f->why, errno, "list", folder);
	while (err == ERR_OK && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		if (count) {
			f->of++;
			continue;
		}
		snprintf(path, sizeof(path), "%s/%.200s", folder,
			 entry->d_name);
		err = add_file(f, path);
		f->done++;
		if (f->progress)
			f->progress(f->arg, f->done, f->of);
	}
	closedir(dir);
	return err;
}

static enum err each_folder(struct files *f, bool count)
{
	static const char *const algs[] = {"sha256", "sha512"};
	enum err err = ERR_OK;
	char folder[32];

	for (size_t i = 0; i < ARRAY_LEN(algs); i++) {
		for (unsigned x = 0; err == ERR_OK && x < 256; x++) {
			snprintf(folder, sizeof(folder), "blobs/%s/%02x",
				 algs[i], x);
			err = each_file(f, folder, count);
		}
	}
	return err;
}

/* ---- rebuild ---- */

#define UNFINISHED "index.new"

/* What an earlier try has left. */
static enum err clear_unfinished(struct cache *c, struct why *why)
{
	int error = store_unlink(c, UNFINISHED "/data.mdb");

	if (!error)
		error = store_unlink(c, UNFINISHED "/lock.mdb");
	if (!error && unlinkat(c->data_fd, UNFINISHED, AT_REMOVEDIR) != 0 &&
	    errno != ENOENT)
		error = errno;
	return error ? store_error(why, error, "remove", UNFINISHED) : ERR_OK;
}

/* The new index takes the old one's place. */
static enum err change_places(struct cache *c, struct why *why)
{
	char aside[64];
	int error = 0;

	snprintf(aside, sizeof(aside), "index.lost-%" PRIu64, wall_s());
	if (renameat(c->data_fd, "index", c->data_fd, aside) != 0 &&
	    errno != ENOENT)
		return store_error(why, errno, "move aside", "index");
	if (renameat(c->data_fd, UNFINISHED, c->data_fd, "index") != 0)
		error = errno;
	if (!error)
		error = store_sync_dir(c, ".");
	return error ? store_error(why, error, "rename", UNFINISHED) : ERR_OK;
}

static enum err fill_index(struct files *f, struct journal *j)
{
	enum err err = each_folder(f, true);

	if (err == ERR_OK)
		err = each_folder(f, false);
	if (err == ERR_OK)
		err = put_rows(f);
	if (err == ERR_OK)
		err = replay(f->c, j, 0, f->finding, f->arg, f->why);
	return err;
}

enum err cache_rebuild(const struct cache_options *opt, bool rehash,
		       void (*progress)(void *arg, uint64_t done, uint64_t of),
		       cache_check_cb *finding, void *arg, struct why *why)
{
	struct files f = {
	    .rehash = rehash,
	    .progress = progress,
	    .finding = finding,
	    .arg = arg,
	    .why = why,
	};
	struct index_options index = {0};
	struct journal *j = NULL;
	char *dir = NULL;
	enum err err = cache_open_folder(opt, &f.c, why);

	if (err == ERR_OK)
		err = journal_open(f.c, &j, why);
	if (err == ERR_OK)
		err = clear_unfinished(f.c, why);
	if (err == ERR_OK) {
		dir = xasprintf("%s/" UNFINISHED, f.c->data);
		err = index_open(dir, &index, &f.c->index, why);
	}
	if (err == ERR_OK)
		err = fill_index(&f, j);
	if (f.c && f.c->index)
		index_close(&f.c->index);
	if (err == ERR_OK)
		err = change_places(f.c, why);
	if (j)
		journal_free(&j);
	free(dir);
	if (f.c)
		cache_close(&f.c);
	return err;
}
