/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/check.h"

#include "cache/key.h"
#include "cache/upload_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROWS_AT_ONCE 1024
#define READ_BYTES (256 * 1024)

struct expected {
	struct digest dg;
	uint64_t size;
};

/* A page of blob rows, copied, so that no snapshot is open over file I/O. */
struct page {
	struct expected *rows;
	size_t n;
	struct key last; /* the walk goes on behind it */
};

static void blob_finding(struct check *c, const struct digest *dg,
			 const char *what)
{
	char text[DIGEST_TEXT_MAX];

	check_finding(c, "blob %s: %s", digest_text(dg, text), what);
}

/* ---- rows without files ---- */

static bool page_row(void *arg, struct slice key, struct slice payload UNUSED)
{
	struct page *p = arg;
	struct slice rest = key;
	struct digest dg;

	if (key.len == p->last.len &&
	    memcmp(key.ptr, p->last.bytes, key.len) == 0)
		return true;
	key_start(&p->last);
	key_bytes(&p->last, key.ptr, key.len);
	if (key_take_digest(&rest, &dg))
		p->rows[p->n++].dg = dg;
	return p->n < ROWS_AT_ONCE;
}

/* Fill the page; rows that do not decode were told of already.  False once
 * it is the last. */
static bool read_page(struct check *c, struct page *p)
{
	struct index_txn *txn = index_read(c->cache->index);
	struct slice from = key_slice(&p->last);
	size_t kept = 0;
	bool more;

	p->n = 0;
	if (index_walk(txn, TABLE_BLOB, slice_of(NULL, 0), from, page_row, p) !=
	    ERR_OK)
		p->n = 0;
	more = p->n == ROWS_AT_ONCE;
	for (size_t i = 0; i < p->n; i++) {
		struct blob_row row;

		if (blob_get(txn, &p->rows[i].dg, &row) != ERR_OK)
			continue;
		p->rows[kept].dg = p->rows[i].dg;
		p->rows[kept++].size = row.size;
	}
	index_read_end(txn);
	p->n = kept;
	return more;
}

static bool hash_file(int fd, const struct digest *dg, struct digest *out)
{
	struct hasher *h = hasher_new(dg->alg);
	uint8_t *buf = xmalloc(READ_BYTES);
	ssize_t got;

	while ((got = read(fd, buf, READ_BYTES)) > 0)
		hasher_update(h, buf, (size_t)got);
	hasher_final(h, out);
	hasher_free(&h);
	free(buf);
	return got == 0;
}

static void check_content(struct check *c, int fd, const struct expected *e)
{
	struct digest found;
	struct stat st;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		blob_finding(c, &e->dg, "is no regular file");
	else if ((uint64_t)st.st_size != e->size)
		blob_finding(c, &e->dg, "its file has another size");
	else if (!c->rehash)
		return;
	else if (!hash_file(fd, &e->dg, &found))
		blob_finding(c, &e->dg, "its file cannot be read");
	else if (!digest_equal(&found, &e->dg))
		blob_finding(c, &e->dg, "its bytes have another digest");
}

static void check_row(struct check *c, const struct expected *e)
{
	char path[PATH_LEN_MAX];
	int fd;

	blob_path(&e->dg, path);
	fd = openat(c->cache->data_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) {
		blob_finding(c, &e->dg,
			     errno == ENOENT ? "has a row but no file"
					     : "its file cannot be opened");
		return;
	}
	check_content(c, fd, e);
	close(fd);
}

static void check_rows(struct check *c)
{
	struct page p = {.rows = xcalloc(ROWS_AT_ONCE, sizeof(*p.rows))};
	bool more;

	do {
		more = read_page(c, &p);
		for (size_t i = 0; i < p.n; i++)
			check_row(c, &p.rows[i]);
	} while (more);
	free(p.rows);
}

/* ---- files without rows ---- */

/* A row, or a promise to unlink the file, or another name for it: the staged
 * file of a publishing that start-up will finish. */
static bool is_accounted(struct check *c, const struct digest *dg,
			 const char *path)
{
	struct index_txn *txn = index_read(c->cache->index);
	struct blob_row row;
	struct slice payload;
	struct stat st;
	bool known = blob_get(txn, dg, &row) != ERR_NOT_FOUND ||
		     index_get(txn, TABLE_TRASH, slice_of(path, strlen(path)),
			       &payload) == ERR_OK;

	index_read_end(txn);
	if (known)
		return true;
	return fstatat(c->cache->data_fd, path, &st, AT_SYMLINK_NOFOLLOW) ||
	       st.st_nlink > 1;
}

static void check_name(struct check *c, const char *alg, const char *folder,
		       const char *name)
{
	char text[DIGEST_TEXT_MAX + 16], path[PATH_LEN_MAX];
	struct digest dg;
	int n = snprintf(text, sizeof(text), "%s:%s", alg, name);

	if (n < 0 || (size_t)n >= sizeof(text) ||
	    strncmp(name, folder, 2) != 0 ||
	    digest_parse(text, (size_t)n, &dg) != ERR_OK) {
		check_finding(c, "blobs/%s/%s/%s does not belong there", alg,
			      folder, name);
		return;
	}
	blob_path(&dg, path);
	if (!is_accounted(c, &dg, path))
		check_finding(c, "%s is a file without a row", path);
}

/* NULL if there is none, which misses no file. */
static DIR *open_folder(struct check *c, const char *path)
{
	DIR *dir = store_open_dir(c->cache, path);

	if (!dir && errno != ENOENT)
		check_finding(c, "%s cannot be read", path);
	return dir;
}

static void check_folder(struct check *c, const char *alg, const char *folder)
{
	struct dirent *entry;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "blobs/%s/%s", alg, folder);
	dir = open_folder(c, path);
	while (dir && (entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") != 0 &&
		    strcmp(entry->d_name, "..") != 0)
			check_name(c, alg, folder, entry->d_name);
	}
	if (dir)
		closedir(dir);
}

/* ---- maps of partial files ---- */

/* An empty one was made just before a crash, and vouches for nothing. */
static void check_map(struct check *c, const char *alg, const char *name)
{
	char path[PATH_LEN_MAX];
	uint8_t *bytes = xmalloc(2 * MAP_SLOT_BYTES);
	struct partial_map map;
	ssize_t got = -1;
	int fd;

	snprintf(path, sizeof(path), "partial/%s/%s", alg, name);
	fd = openat(c->cache->data_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0) {
		got = store_pread(fd, bytes, 2 * MAP_SLOT_BYTES, 0);
		close(fd);
	}
	if (got > 0 && partial_map_pick(bytes, (size_t)got, &map) == ERR_OK)
		partial_map_release(&map);
	else if (got != 0)
		check_finding(c, "%s is a map that cannot be read", path);
	free(bytes);
}

static void check_maps(struct check *c, const char *alg)
{
	struct dirent *entry;
	struct digest dg;
	char path[64];
	bool is_map;
	DIR *dir;

	snprintf(path, sizeof(path), "partial/%s", alg);
	dir = open_folder(c, path);
	while (dir && (entry = readdir(dir))) {
		if (staged_name_parse(alg, entry->d_name, &is_map, &dg) ==
			ERR_OK &&
		    is_map)
			check_map(c, alg, entry->d_name);
	}
	if (dir)
		closedir(dir);
}

/* ---- uploads ---- */

static bool has_upload_row(struct check *c, const char *id)
{
	struct index_txn *txn = index_read(c->cache->index);
	struct upload_row row;
	enum err err = upload_get(txn, id, &row);

	index_read_end(txn);
	if (err == ERR_CORRUPT)
		check_finding(c, "upload %s: does not decode", id);
	if (err == ERR_NOT_FOUND)
		err = upload_read_birth(c->cache, id, &row);
	return err != ERR_NOT_FOUND;
}

/* Each is a session's, or complete and start-up's to publish. */
static void check_upload(struct check *c, const char *name)
{
	char id[UPLOAD_ID_SIZE];
	struct digest dg;

	if (upload_name_parse(name, id, &dg) != ERR_OK)
		check_finding(c, "uploads/%s does not belong there", name);
	else if (!dg.alg && !has_upload_row(c, id))
		check_finding(c, "uploads/%s is a file without a row", name);
}

static void check_uploads(struct check *c)
{
	struct dirent *entry;
	DIR *dir = open_folder(c, "uploads");

	while (dir && (entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") != 0 &&
		    strcmp(entry->d_name, "..") != 0)
			check_upload(c, entry->d_name);
	}
	if (dir)
		closedir(dir);
}

void check_files(struct check *c)
{
	static const char *const algs[] = {"sha256", "sha512"};
	char folder[3];

	check_rows(c);
	for (size_t i = 0; i < ARRAY_LEN(algs); i++) {
		for (unsigned b = 0; b < 256; b++) {
			snprintf(folder, sizeof(folder), "%02x", b);
			check_folder(c, algs[i], folder);
		}
		check_maps(c, algs[i]);
	}
	check_uploads(c);
}
