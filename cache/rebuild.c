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

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROWS 64 /* in one commit */
#define HASH_BUF (256 * 1024)

/* ---- the files ---- */

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

/* Every file of one folder; with `count`, only how many. */
static enum err each_file(struct files *f, const char *folder, bool count)
{
	DIR *dir = store_open_dir(f->c, folder);
	struct dirent *entry;
	enum err err = ERR_OK;
	char path[PATH_LEN_MAX];

	if (!dir)
		return store_error(f->why, errno, "list", folder);
	while (err == ERR_OK && (errno = 0, entry = readdir(dir))) {
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
	if (err == ERR_OK && errno)
		err = store_error(f->why, errno, "list", folder);
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

/* ---- the folders of old and new ---- */

#define UNFINISHED "index.new"

/* One that is not there yet: "<what>.lost-<time>", with "-2" behind it in a
 * second that has had one. */
static char *name_aside(struct cache *c, const char *what, char out[64])
{
	uint64_t now = wall_s();
	struct stat st;

	snprintf(out, 64, "%s.lost-%" PRIu64, what, now);
	for (unsigned i = 2; i < 1000 && fstatat(c->data_fd, out, &st,
						 AT_SYMLINK_NOFOLLOW) == 0;
	     i++)
		snprintf(out, 64, "%s.lost-%" PRIu64 "-%u", what, now, i);
	return out;
}

/* Everything in it, and the folder. */
static int remove_folder(struct cache *c, const char *folder)
{
	DIR *dir = store_open_dir(c, folder);
	struct dirent *entry;
	int error = 0;

	if (!dir)
		return errno == ENOENT ? 0 : errno;
	while (!error && (entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") != 0 &&
		    strcmp(entry->d_name, "..") != 0 &&
		    unlinkat(dirfd(dir), entry->d_name, 0) != 0)
			error = errno;
	}
	closedir(dir);
	if (!error && unlinkat(c->data_fd, folder, AT_REMOVEDIR) != 0)
		error = errno;
	return error;
}

/* What an earlier try has left. */
static enum err clear_unfinished(struct cache *c, struct why *why)
{
	int error = remove_folder(c, UNFINISHED);

	return error ? store_error(why, error, "remove", UNFINISHED) : ERR_OK;
}

/*
 * At no moment there is none: a start would make an empty one.  And under the
 * name of what a next try removes is never the old one.
 */
static enum err change_places(struct cache *c, struct why *why)
{
	char aside[64];
	int fd = c->data_fd, error = 0;

	name_aside(c, "index", aside);
	if (renameat(fd, UNFINISHED, fd, aside) != 0 ||
	    renameat2(fd, aside, fd, "index", RENAME_EXCHANGE) != 0)
		return store_error(why, errno, "put in place", UNFINISHED);
	error = store_sync_dir(c, ".");
	return error ? store_error(why, error, "sync", c->data) : ERR_OK;
}

/* ---- a journal that was damaged ---- */

static enum err move_files(struct cache *c, const char *suffix, uint64_t last,
			   const char *aside, struct why *why)
{
	char from[PATH_LEN_MAX], to[PATH_LEN_MAX];
	uint64_t *v = NULL;
	size_t n = 0;
	enum err err = journal_list(c, suffix, &v, &n, why);

	for (size_t i = 0; err == ERR_OK && i < n && v[i] <= last; i++) {
		journal_path(v[i], suffix, from);
		snprintf(to, sizeof(to), "%s/%s", aside, strchr(from, '/') + 1);
		if (renameat(c->data_fd, from, c->data_fd, to) != 0)
			err = store_error(why, errno, "move aside", from);
	}
	free(v);
	return err;
}

/* All logs, and all snapshots but that of sequence `seq`. */
static enum err move_journal(struct cache *c, uint64_t seq, struct why *why)
{
	char aside[64];
	enum err err;
	int error = 0;

	if (mkdirat(c->data_fd, name_aside(c, "journal", aside), 0750) != 0)
		return store_error(why, errno, "make", aside);
	err = move_files(c, "log", UINT64_MAX, aside, why);
	if (err == ERR_OK && seq > 0)
		err = move_files(c, "snap", seq - 1, aside, why);
	if (err != ERR_OK)
		return err;
	error = store_sync_dir(c, aside);
	if (!error)
		error = store_sync_dir(c, "journal");
	if (!error)
		error = store_sync_dir(c, ".");
	return error ? store_error(why, error, "sync", aside) : ERR_OK;
}

/*
 * With the index open, which has all that the journal tells.  The snapshot is
 * there before anything goes: killed in between, it is tried again.  A log
 * that begins behind it can only be empty, or what could not be read.
 */
static enum err renew(struct cache *c, struct why *why)
{
	struct journal j = {.c = c, .fd = -1};
	enum err err;

	pthread_mutex_init(&j.mu, NULL);
	err = snapshot_make(&j, why);
	pthread_mutex_destroy(&j.mu);
	return err == ERR_OK ? move_journal(c, j.snap_seq, why) : err;
}

/* ---- rebuild ---- */

static enum err replay(struct files *f)
{
	struct journal_replaying r = {.damage = f->finding,
				      .damage_arg = f->arg};
	struct statements s;
	enum err err;

	statements_init(&s, f->c);
	s.rows_tell = true;
	err = statements_replay(&s, &r, f->finding, f->arg, f->why);
	statements_release(&s);
	if (err == ERR_OK && r.damages)
		err = renew(f->c, f->why);
	return err;
}

static enum err fill_index(struct files *f)
{
	enum err err = each_folder(f, true);

	if (err == ERR_OK)
		err = each_folder(f, false);
	if (err == ERR_OK)
		err = put_rows(f);
	return err == ERR_OK ? replay(f) : err;
}

static void ignore(void *arg UNUSED, const char *finding UNUSED)
{
}

static enum err pass_over(void *arg UNUSED, uint64_t seq UNUSED,
			  const struct journal_entry *e UNUSED)
{
	return ERR_OK;
}

/* Before hours go into the files: what a newer program wrote is not for us. */
static enum err check_version(struct cache *c, struct why *why)
{
	struct journal_replaying r = {.cb = pass_over, .damage = ignore};

	return journal_replay(c, &r, why);
}

enum err cache_rebuild(const struct cache_options *opt, bool rehash,
		       void (*progress)(void *arg, uint64_t done, uint64_t of),
		       cache_check_cb *finding, void *arg, struct why *why)
{
	struct files f = {
	    .rehash = rehash,
	    .progress = progress,
	    .finding = finding ? finding : ignore,
	    .arg = arg,
	    .why = why,
	};
	struct index_options index = {0};
	char *dir = NULL;
	enum err err = cache_open_folder(opt, &f.c, why);

	if (err == ERR_OK)
		err = check_version(f.c, why);
	if (err == ERR_OK)
		err = clear_unfinished(f.c, why);
	if (err == ERR_OK) {
		dir = xasprintf("%s/" UNFINISHED, f.c->data);
		err = index_open(dir, &index, &f.c->index, why);
	}
	if (err == ERR_OK)
		err = fill_index(&f);
	if (f.c && f.c->index)
		index_close(&f.c->index);
	if (err == ERR_OK)
		err = change_places(f.c, why);
	free(dir);
	if (f.c)
		cache_close(&f.c);
	return err;
}

/* ---- the other way round ---- */

/* An index restored from a copy lacks what only the journal has. */
static enum err check_is_newer(struct cache *c, uint64_t has, struct why *why)
{
	uint64_t *snaps = NULL;
	size_t n = 0;
	enum err err = journal_list(c, "snap", &snaps, &n, why);

	if (err == ERR_OK && n && snaps[n - 1] > has)
		err = why_set(why, ERR_CORRUPT,
			      "the index in %s is older than the journal's "
			      "snapshot; 'entrepot rebuild' makes another one",
			      c->data);
	free(snaps);
	return err;
}

static enum err bring_up_and_renew(struct cache *c, cache_check_cb *finding,
				   void *arg, struct why *why)
{
	struct index_txn *txn = index_read(c->index);
	struct journal_replaying r = {
	    .after = index_log_last(txn), .damage = finding, .damage_arg = arg};
	struct statements s;
	enum err err;

	index_read_end(txn);
	err = check_is_newer(c, r.after, why);
	if (err != ERR_OK)
		return err;
	statements_init(&s, c);
	err = statements_replay(&s, &r, finding, arg, why);
	statements_release(&s);
	return err == ERR_OK ? renew(c, why) : err;
}

enum err cache_renew_journal(const struct cache_options *opt,
			     cache_check_cb *finding, void *arg,
			     struct why *why)
{
	struct index_options index = {0};
	struct cache *c;
	struct stat st;
	char *dir;
	enum err err = cache_open_folder(opt, &c, why);

	if (err != ERR_OK)
		return err;
	dir = xasprintf("%s/index", c->data);
	if (fstatat(c->data_fd, "index/data.mdb", &st, 0) != 0)
		err = why_set(why, ERR_CORRUPT,
			      "there is no index in %s; 'entrepot rebuild' "
			      "makes one of what can be read",
			      c->data);
	if (err == ERR_OK)
		err = index_open(dir, &index, &c->index, why);
	if (err == ERR_OK)
		err =
		    bring_up_and_renew(c, finding ? finding : ignore, arg, why);
	if (c->index)
		index_close(&c->index);
	free(dir);
	cache_close(&c);
	return err;
}
