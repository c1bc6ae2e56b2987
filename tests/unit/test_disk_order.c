/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a power loss may take is what was not synced: so at each step that
 * relies on an earlier one, that one has to be on the disk.  A kill does not
 * show it, since the kernel keeps what a process has written; here the calls
 * themselves are watched, LMDB's too, because what this program defines comes
 * before the C library.
 *
 *   link into blobs/          the staged file is clean
 *   write of the journal      every link in blobs/ is durable, and the
 * journal's own name write of the index        the journal is clean unlink of
 * anything        the index is clean, which says that it may go rename to
 * *.snap          the snapshot is clean unlink of a log           that rename
 * is durable an answer                 everything that it rests on is clean
 */
#include "cache/journal_int.h"
#include "cache/upload.h"
#include "tests/unit/hosted_help.h"

#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define REPO "team/app"

/* ---- what is dirty ---- */

enum { INODES_MAX = 4096 };

static struct {
	pthread_mutex_t mu;
	atomic_bool on;
	ino_t dirty[INODES_MAX]; /* files and folders */
	size_t n;
	unsigned links, appends, commits, unlinks, snaps; /* seen */
	unsigned wrong;
} disk = {.mu = PTHREAD_MUTEX_INITIALIZER};

static size_t find(ino_t ino)
{
	size_t i = 0;

	while (i < disk.n && disk.dirty[i] != ino)
		i++;
	return i;
}

static void soil(ino_t ino)
{
	if (find(ino) == disk.n && disk.n < INODES_MAX)
		disk.dirty[disk.n++] = ino;
}

static void clean(ino_t ino)
{
	size_t i = find(ino);

	if (i < disk.n)
		disk.dirty[i] = disk.dirty[--disk.n];
}

static ino_t ino_of(int dir_fd, const char *path)
{
	struct stat st;

	return fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) ? 0 : st.st_ino;
}

/* Of the folder that holds `path`. */
static ino_t folder_ino(int dir_fd, const char *path)
{
	char folder[PATH_MAX];
	char *slash;

	snprintf(folder, sizeof(folder), "%s", path);
	slash = strrchr(folder, '/');
	if (!slash)
		return ino_of(dir_fd, ".");
	*slash = '\0';
	return ino_of(dir_fd, folder);
}

/* Where an open file is, below the data folder; "" = elsewhere. */
static const char *place_of(int fd, char out[PATH_MAX])
{
	char link[64], whole[PATH_MAX];
	ssize_t n;
	char *data;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, whole, sizeof(whole) - 1);
	whole[n > 0 ? n : 0] = '\0';
	data = strstr(whole, "/data/");
	snprintf(out, PATH_MAX, "%s", data ? data + 6 : "");
	return out;
}

static bool begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static bool is_dirty(const char *path)
{
	char *whole = test_path("data"),
	     *file = xasprintf("%s/%s", whole, path);
	ino_t ino = ino_of(AT_FDCWD, file);

	free(file);
	free(whole);
	return ino && find(ino) < disk.n;
}

static bool any_blob_folder_dirty(void)
{
	char path[32];
	bool any = false;

	for (unsigned i = 0; i < 256 && disk.n; i++) {
		snprintf(path, sizeof(path), "blobs/sha256/%02x", i);
		any |= is_dirty(path);
	}
	return any;
}

static void require(bool ok, const char *what, const char *path)
{
	if (ok)
		return;
	fprintf(stderr, "%s: %s\n", path, what);
	disk.wrong++;
}

/* ---- the rules ---- */

static void before_write(int fd, const char *place)
{
	bool log = begins(place, "journal/") && strstr(place, ".log");

	if (log) {
		disk.appends++;
		require(!any_blob_folder_dirty(),
			"told of before its name in blobs/ is durable", place);
		require(!is_dirty("journal"), "its own name is not durable",
			place);
	} else if (begins(place, "index/data.mdb")) {
		disk.commits++;
		require(disk.n == 0 || !is_dirty("journal"),
			"the journal's name is not durable", place);
	}
	(void)fd;
}

/* The index is written to while a log is dirty. */
static bool log_dirty(void)
{
	char name[PATH_LEN_MAX];
	uint64_t seq = 1;

	return is_dirty(journal_path(seq, "log", name));
}

static void note_write(int fd)
{
	char place[PATH_MAX];
	struct stat st;

	if (!disk.on || !*place_of(fd, place) || fstat(fd, &st) != 0)
		return;
	pthread_mutex_lock(&disk.mu);
	before_write(fd, place);
	if (begins(place, "index/data.mdb"))
		require(!log_dirty(), "committed before the journal is synced",
			place);
	if (!(fcntl(fd, F_GETFL) & O_DSYNC))
		soil(st.st_ino);
	pthread_mutex_unlock(&disk.mu);
}

static void note_sync(int fd)
{
	struct stat st;

	if (!disk.on || fstat(fd, &st) != 0)
		return;
	pthread_mutex_lock(&disk.mu);
	clean(st.st_ino);
	pthread_mutex_unlock(&disk.mu);
}

static void note_name(int dir_fd, const char *from, const char *to)
{
	ino_t ino = ino_of(dir_fd, from);

	if (begins(to, "blobs/")) {
		disk.links++;
		require(find(ino) == disk.n, "linked before it is synced", to);
	} else if (strstr(to, ".snap")) {
		disk.snaps++;
		require(find(ino) == disk.n, "named before it is synced", to);
	}
}

static void note_unlink(const char *path)
{
	disk.unlinks++;
	if (begins(path, "journal/") && !strstr(path, ".new"))
		require(!is_dirty("journal"),
			"goes before what replaces it is durable", path);
	else if (begins(path, "blobs/") || begins(path, "uploads/"))
		require(!is_dirty("index/data.mdb"),
			"goes before the index says so", path);
}

/* ---- the calls ---- */

int fsync(int fd)
{
	int rc = (int)syscall(SYS_fsync, fd);

	if (!rc)
		note_sync(fd);
	return rc;
}

int fdatasync(int fd)
{
	int rc = (int)syscall(SYS_fdatasync, fd);

	if (!rc)
		note_sync(fd);
	return rc;
}

/* With 64 bits for offsets the header has these as pwrite64, and so on; LMDB
 * may call either. */
ssize_t pwrite(int fd, const void *buf, size_t len, off_t off)
{
	note_write(fd);
	return syscall(SYS_pwrite64, fd, buf, len, off);
}

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	note_write(fd);
	return syscall(SYS_pwritev, fd, iov, n, off, 0L);
}

ssize_t plain_pwrite(int fd, const void *buf, size_t len,
		     off_t off) __asm__("pwrite");
ssize_t plain_pwrite(int fd, const void *buf, size_t len, off_t off)
{
	return pwrite(fd, buf, len, off);
}

ssize_t plain_pwritev(int fd, const struct iovec *iov, int n,
		      off_t off) __asm__("pwritev");
ssize_t plain_pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	return pwritev(fd, iov, n, off);
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
	int rc;

	pthread_mutex_lock(&disk.mu);
	if (disk.on)
		note_name(from_fd, from, to);
	rc = (int)syscall(SYS_linkat, from_fd, from, to_fd, to, flags);
	if (!rc && disk.on)
		soil(folder_ino(to_fd, to));
	pthread_mutex_unlock(&disk.mu);
	return rc;
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	int rc;

	pthread_mutex_lock(&disk.mu);
	if (disk.on)
		note_name(from_fd, from, to);
	rc = (int)syscall(SYS_renameat, from_fd, from, to_fd, to);
	if (!rc && disk.on)
		soil(folder_ino(to_fd, to));
	pthread_mutex_unlock(&disk.mu);
	return rc;
}

int unlinkat(int dir_fd, const char *path, int flags)
{
	pthread_mutex_lock(&disk.mu);
	if (disk.on && !flags && ino_of(dir_fd, path))
		note_unlink(path);
	pthread_mutex_unlock(&disk.mu);
	return (int)syscall(SYS_unlinkat, dir_fd, path, flags);
}

/* Only what makes a new log, whose name has to be durable. */
int openat(int dir_fd, const char *path, int flags, ...)
{
	bool made = false;
	mode_t mode = 0;
	va_list ap;
	int fd;

	if (flags & O_CREAT) {
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
		made = disk.on && begins(path, "journal/") &&
		       strstr(path, ".log") && !ino_of(dir_fd, path);
	}
	fd = (int)syscall(SYS_openat, dir_fd, path, flags, mode);
	if (fd >= 0 && made) {
		pthread_mutex_lock(&disk.mu);
		soil(folder_ino(dir_fd, path));
		pthread_mutex_unlock(&disk.mu);
	}
	return fd;
}

/* ---- tests ---- */

static void watch(bool on)
{
	pthread_mutex_lock(&disk.mu);
	disk.on = on;
	disk.n = 0;
	disk.links = disk.appends = disk.commits = 0;
	disk.unlinks = disk.snaps = disk.wrong = 0;
	pthread_mutex_unlock(&disk.mu);
}

/* Somebody is told that it is there. */
static void expect_durable(void)
{
	pthread_mutex_lock(&disk.mu);
	CHECK(!log_dirty() && !is_dirty("index/data.mdb"));
	CHECK(!is_dirty("journal") && !any_blob_folder_dirty());
	pthread_mutex_unlock(&disk.mu);
	CHECK(disk.wrong == 0);
}

static void upload_one(struct cache *c, unsigned n, size_t len)
{
	struct hosting h = {.repo = REPO, .claims = true};
	uint8_t *bytes = xcalloc(1, len);
	struct why why = {""};
	struct upload *u;
	struct digest dg;

	put_be32(bytes, n);
	digest_of(DIGEST_SHA256, bytes, len, &dg);
	CHECK(upload_new(c, REPO, DIGEST_SHA256, &u, &why) == ERR_OK);
	CHECK(upload_append(u, bytes, len, &why) == ERR_OK);
	CHECK(upload_finish(&u, &dg, &h, NULL, NULL, &why) == ERR_OK);
	CHECK_STR(why.text, "");
	free(bytes);
}

static void upload_is_durable_when_it_is_answered(void)
{
	struct cache *c = open_cache(64 * 1024);

	watch(true);
	for (unsigned i = 0; i < 4; i++) {
		upload_one(c, i, 300000);
		expect_durable();
	}
	CHECK(disk.links == 4 && disk.appends >= 4 && disk.commits > 0);
	CHECK(disk.unlinks >= 4);
	watch(false);
	close_cache(&c);
}

static void manifest_is_durable_when_it_is_answered(void)
{
	struct cache *c = open_cache(64 * 1024);
	struct digest dg;

	watch(true);
	dg = push_image(c, REPO, "v1", 1, 2);
	expect_durable();
	CHECK(disk.links == 3);
	CHECK(remove_manifest(c, REPO, &dg).err == ERR_OK);
	expect_durable();
	collect_all(c);
	CHECK(!has_file(c, &dg) && disk.wrong == 0);
	watch(false);
	close_cache(&c);
}

static void snapshot_is_durable_before_logs_go(void)
{
	struct cache *c = open_cache(64 * 1024);
	struct journal *j = cache_journal(c);

	push_image(c, REPO, "v1", 1, 2);
	close(j->fd); /* so that another log is begun */
	j->fd = -1;
	push_image(c, REPO, "v2", 3, 4);
	j->worth_bytes = 1;
	watch(true);
	while (journal_snapshot_step(j))
		;
	CHECK(disk.snaps == 1 && disk.unlinks == 1 && disk.wrong == 0);
	watch(false);
	close_cache(&c);
}

static void fill_is_durable_before_it_has_a_record(void)
{
	struct cache *c = open_cache(64 * 1024);

	watch(true);
	fetch_blob(c, "library/app", 5, true);
	CHECK(disk.links == 1 && disk.wrong == 0);
	CHECK(!any_blob_folder_dirty() && !is_dirty("index/data.mdb"));
	watch(false);
	close_cache(&c);
}

int main(void)
{
	RUN(upload_is_durable_when_it_is_answered);
	RUN(manifest_is_durable_when_it_is_answered);
	RUN(snapshot_is_durable_before_logs_go);
	RUN(fill_is_durable_before_it_has_a_record);
	return unit_done();
}
