/* SPDX-License-Identifier: Apache-2.0 */
/* The page cache: is a window in it, and bring it there (cache/blob.h). */
#include "cache/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <unistd.h>

/* cachestat(2) came with Linux 6.5; Debian 12's headers are older. */
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

struct cachestat_range_arg {
	uint64_t off, len;
};

struct cachestat_result {
	uint64_t cached, dirty, writeback, evicted, recently_evicted;
};

static atomic_bool no_cachestat;

enum resident file_resident(int fd, uint64_t off, uint64_t len)
{
	struct cachestat_range_arg range = {off, len};
	struct cachestat_result found;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), pages;

	if (len == 0)
		return RESIDENT_YES;
	if (atomic_load_explicit(&no_cachestat, memory_order_relaxed))
		return RESIDENT_DONT_KNOW;
	if (syscall(SYS_cachestat, fd, &range, &found, 0) != 0) {
		if (errno == ENOSYS)
			atomic_store(&no_cachestat, true);
		return RESIDENT_DONT_KNOW;
	}
	pages = (off + len - 1) / page - off / page + 1;
	return found.cached >= pages ? RESIDENT_YES : RESIDENT_NO;
}

/* Pages that are sent to /dev/null are waited for and not copied. */
static pthread_once_t null_once = PTHREAD_ONCE_INIT;
static int null_fd = -1;

static void open_null(void)
{
	null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
}

static ssize_t wait_for_pages(int fd, uint64_t off, uint64_t len)
{
	uint8_t scrap[32 * 1024];
	off_t at = (off_t)off;

	if (null_fd >= 0)
		return sendfile(null_fd, fd, &at, (size_t)len);
	return pread(fd, scrap, (size_t)MIN(len, sizeof(scrap)), at);
}

void file_warm(int fd, uint64_t off, uint64_t len)
{
	pthread_once(&null_once, open_null);
	/* All of it is asked for at once; what follows waits for it. */
	(void)!readahead(fd, (off_t)off, len);
	while (len > 0) {
		ssize_t got = wait_for_pages(fd, off, len);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return; /* who sends it will see the same error */
		off += (uint64_t)got;
		len -= (uint64_t)got;
	}
}
