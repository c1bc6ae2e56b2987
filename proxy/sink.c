/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/sink.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

static bool is_stopped(const struct sink *s)
{
	return s->full || s->broken;
}

static void failed(struct sink *s, int error)
{
	if (error == EAGAIN || error == EWOULDBLOCK)
		s->full = true;
	else
		s->broken = true;
}

/* The head's rest and `len` bytes of body in one call; returns how many of
 * the latter were taken. */
static size_t send_both(struct sink *s, const void *buf, size_t len, bool more)
{
	struct iovec iov[2] = {
	    {.iov_base = (char *)(uintptr_t)s->head, .iov_len = s->head_len},
	    {.iov_base = (char *)(uintptr_t)buf, .iov_len = len},
	};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
	int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (more ? MSG_MORE : 0);
	size_t n, of_head;
	ssize_t rc;

	if (s->head_len == 0) {
		msg.msg_iov = &iov[1];
		msg.msg_iovlen = 1;
	}
	do {
		rc = sendmsg(s->fd, &msg, flags);
	} while (rc < 0 && errno == EINTR);
	if (rc < 0) {
		failed(s, errno);
		return 0;
	}
	n = (size_t)rc;
	if (n < s->head_len + len)
		s->full = true;
	of_head = MIN(n, s->head_len);
	s->head += of_head;
	s->head_len -= of_head;
	return n - of_head;
}

static void count(struct sink *s, size_t n)
{
	s->sent += n;
	s->budget -= n;
}

void sink_head(struct sink *s, bool more)
{
	if (s->head_len > 0 && !is_stopped(s))
		send_both(s, NULL, 0, more);
}

size_t sink_memory(struct sink *s, const void *buf, size_t len, bool more)
{
	size_t n;

	len = (size_t)MIN(len, s->budget);
	if (len == 0 || is_stopped(s))
		return 0;
	n = send_both(s, buf, len, more || s->more_follows);
	count(s, n);
	return n;
}

/*
 * sendfile(2) has no MSG_MORE, and so each acknowledgement that arrives while
 * it fills a packet would send that packet as it is.  With TCP_CORK only full
 * ones leave, which is a fifth of the work.
 */
static void cork(struct sink *s)
{
	int on = 1;

	if (!s->corked &&
	    setsockopt(s->fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on)) == 0)
		s->corked = true;
}

void sink_uncork(struct sink *s)
{
	int off = 0;

	if (s->corked)
		setsockopt(s->fd, IPPROTO_TCP, TCP_CORK, &off, sizeof(off));
	s->corked = false;
}

static size_t send_pages(struct sink *s, int fd, uint64_t off, uint64_t len)
{
	off_t at = (off_t)off;
	ssize_t n;

	do {
		n = sendfile(s->fd, fd, &at, (size_t)len);
	} while (n < 0 && errno == EINTR);
	if (n < 0) {
		failed(s, errno);
		return 0;
	}
	/* The file is shorter than its length said when the head was made:
	 * the promise of Content-Length cannot be kept. */
	if (n == 0)
		s->broken = true;
	count(s, (size_t)n);
	return (size_t)n;
}

/* A short count may be the file's doing.  Only who was told EAGAIN may wait
 * for the socket's edge. */
size_t sink_file(struct sink *s, int fd, uint64_t off, uint64_t len, bool more)
{
	uint64_t now = MIN(len, s->budget), done = 0;

	if (now == 0)
		return 0;
	if (more || s->more_follows || now < len)
		cork(s);
	sink_head(s, true);
	while (done < now && !is_stopped(s))
		done += send_pages(s, fd, off + done, now - done);
	return (size_t)done;
}

uint64_t sink_budget(const struct sink *s)
{
	return is_stopped(s) ? 0 : s->budget;
}
