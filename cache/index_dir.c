/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/index_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum err index_dir_sync(const char *dir, struct why *why)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int error = fd < 0 || fsync(fd) ? errno : 0;

	if (fd >= 0)
		close(fd);
	return error ? why_errno(why, error, "cannot sync %s", dir) : ERR_OK;
}

enum err index_dir_make(const char *dir, struct why *why)
{
	char *parent;
	enum err err;

	if (mkdir(dir, 0700)) {
		if (errno == EEXIST)
			return ERR_OK;
		return why_errno(why, errno, "cannot make %s", dir);
	}
	parent = xasprintf("%s/..", dir);
	err = index_dir_sync(parent, why);
	free(parent);
	return err;
}

/* Short of two pages, or two pages of zeros?  An empty file LMDB takes. */
static bool is_unborn(int fd)
{
	size_t two_pages = 2 * (size_t)sysconf(_SC_PAGESIZE), i = 0;
	uint8_t *head = xmalloc(two_pages + 1);
	ssize_t got = pread(fd, head, two_pages + 1, 0);
	bool unborn = false;

	if (got > 0 && (size_t)got <= two_pages) {
		while (i < (size_t)got && head[i] == 0)
			i++;
		unborn = (size_t)got < two_pages || i == (size_t)got;
	}
	free(head);
	return unborn;
}

void index_dir_remove_unborn(const char *dir)
{
	char *path = xasprintf("%s/data.mdb", dir);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (is_unborn(fd))
			unlink(path);
		close(fd);
	}
	free(path);
}

/* One that has its first block was made on a disk with room: what more it
 * wants may fail. */
static int allocate(int fd, size_t bytes)
{
	struct stat st;
	int error;

	if (fstat(fd, &st) < 0)
		return errno;
	error = posix_fallocate(fd, 0, (off_t)MAX(bytes, (size_t)st.st_size));
	return st.st_blocks > 0 ? 0 : error;
}

enum err index_dir_make_lock(const char *dir, size_t bytes, struct why *why)
{
	char *path = xasprintf("%s/lock.mdb", dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int error = fd < 0 ? errno : allocate(fd, bytes);

	if (fd >= 0)
		close(fd);
	free(path);
	return error ? why_errno(why, error,
				 "cannot make the lock of the index in %s", dir)
		     : ERR_OK;
}

bool index_dir_has_room(const char *dir)
{
	static const char zeros[256 * 1024];
	char *path = xasprintf("%s/probe", dir);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool room = false;

	if (fd >= 0) {
		room =
		    write(fd, zeros, sizeof(zeros)) == (ssize_t)sizeof(zeros);
		close(fd);
		unlink(path);
	}
	free(path);
	return room;
}
