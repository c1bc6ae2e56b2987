/* SPDX-License-Identifier: Apache-2.0 */
/* The few things that every file of the store does to files. */
#include "cache/cache_int.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define FILE_MODE 0640

DIR *store_open_dir(struct cache *c, const char *path)
{
	int error,
	    fd = openat(c->data_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

	if (dir || fd < 0)
		return dir;
	error = errno;
	close(fd);
	errno = error;
	return NULL;
}

int store_open(struct cache *c, const char *path, int flags)
{
	int fd;

	flags |= O_CLOEXEC | O_NOFOLLOW;
	fd = openat(c->data_fd, path, flags | O_NOATIME, FILE_MODE);
	if (fd < 0 && errno == EPERM) /* the file has another owner */
		fd = openat(c->data_fd, path, flags, FILE_MODE);
	return fd;
}

ssize_t store_pread(int fd, void *buf, size_t len, uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (char *)buf + done, len - done,
				  (off_t)(off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int store_pwrite(int fd, const void *buf, size_t len, uint64_t off,
		 size_t *done)
{
	*done = 0;
	while (*done < len) {
		ssize_t n = pwrite(fd, (const char *)buf + *done, len - *done,
				   (off_t)(off + *done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno;
		*done += (size_t)n;
	}
	return 0;
}

int store_sync_dir(struct cache *c, const char *path)
{
	int fd = openat(c->data_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int error = 0;

	if (fd < 0)
		return errno;
	if (fsync(fd) != 0)
		error = errno;
	close(fd);
	return error;
}

int store_unlink(struct cache *c, const char *path)
{
	if (unlinkat(c->data_fd, path, 0) == 0 || errno == ENOENT)
		return 0;
	return errno;
}

enum err store_error(struct why *why, int error, const char *what,
		     const char *path)
{
	enum err err = why_errno(why, error, "cannot %s %s", what, path);

	return err == ERR_NO_SPACE ? err : ERR_IO;
}

void cache_tell(struct cache *c, enum cache_event event,
		const struct digest *dg, const struct why *why)
{
	c->event(c->event_arg, event, dg, why);
}

enum err store_blob_row(struct cache *c, const struct digest *dg,
			struct blob_row *out)
{
	struct index_txn *txn = index_read(c->index);
	enum err err = blob_get(txn, dg, out);

	index_read_end(txn);
	return err;
}
