/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <unistd.h>

#define BACKLOG 1024
#define FIRST_INHERITED_FD 3
#define MOST_INHERITED 256

static void address_name(const struct sockaddr_storage *ss, char *out,
			 size_t size)
{
	const struct sockaddr_in6 *in6 = (const void *)ss;
	const struct sockaddr_in *in = (const void *)ss;
	char text[INET6_ADDRSTRLEN];

	if (ss->ss_family == AF_INET) {
		inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
		snprintf(out, size, "%s:%u", text, ntohs(in->sin_port));
	} else if (ss->ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
		snprintf(out, size, "[%s]:%u", text, ntohs(in6->sin6_port));
	} else {
		snprintf(out, size, "-");
	}
}

void listen_name(int fd, char *out, size_t size)
{
	struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
	socklen_t len = sizeof(ss);

	if (getsockname(fd, (void *)&ss, &len) < 0)
		ss.ss_family = AF_UNSPEC;
	address_name(&ss, out, size);
}

static bool set_option(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) == 0;
}

/*
 * Accepted sockets inherit these, which saves three calls each.  Keep-alive
 * finds peers that vanished without a word while we wait for an upstream; the
 * others are found by deadlines.
 */
static void set_inherited_options(int fd)
{
	set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60);
	set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 15);
	set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
}

static bool bind_and_listen(int fd, const struct sockaddr *addr, socklen_t len)
{
	if (!set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1))
		return false;
	if (addr->sa_family == AF_INET6 &&
	    !set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1))
		return false;
	set_inherited_options(fd);
	return bind(fd, addr, len) == 0 && listen(fd, BACKLOG) == 0;
}

/* What to do about it, where the kernel's word does not say. */
static const char *hint(int error)
{
	switch (error) {
	case EADDRINUSE:
		return " (ss -ltnp shows by whom)";
	case EADDRNOTAVAIL:
		return " (no interface of this host has it)";
	case EACCES:
		return " (a port below 1024 needs CAP_NET_BIND_SERVICE, or a "
		       "socket given by systemd)";
	default:
		return "";
	}
}

enum err listen_open(const struct sockaddr *addr, socklen_t len, int *out,
		     struct why *why)
{
	struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
	char name[64];
	int fd, error;

	assert(len <= sizeof(ss));
	memcpy(&ss, addr, len);
	address_name(&ss, name, sizeof(name));
	fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
		    0);
	if (fd < 0 || !bind_and_listen(fd, addr, len)) {
		error = errno;
		if (fd >= 0)
			close(fd);
		return why_set(why, ERR_IO, "cannot listen on %s: %s%s", name,
			       strerror(error), hint(error));
	}
	*out = fd;
	return ERR_OK;
}

/* ---- sd_listen_fds(3) ---- */

static unsigned long env_number(const char *name)
{
	const char *text = getenv(name);
	unsigned long n;
	char *end;

	if (!text || text[0] < '0' || text[0] > '9')
		return 0;
	errno = 0;
	n = strtoul(text, &end, 10);
	return errno || *end ? 0 : n;
}

/* Take the next name off "a:b:c". */
static void next_name(const char **names, char *out, size_t size)
{
	size_t len = strcspn(*names, ":");

	snprintf(out, size, "%.*s", (int)len, *names);
	*names += len;
	if (**names == ':')
		++*names;
	if (strcmp(out, "unknown") == 0)
		out[0] = '\0';
}

static bool is_listening(int fd)
{
	int type = 0, listening = 0;
	socklen_t len = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
	    type != SOCK_STREAM)
		return false;
	len = sizeof(int);
	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) ==
		   0 &&
	       listening;
}

static enum err inherit(int fd, struct why *why)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || !is_listening(fd))
		return why_set(why, ERR_INVALID,
			       "LISTEN_FDS: descriptor %d is not a listening "
			       "stream socket",
			       fd);
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ||
	    fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return why_errno(why, errno, "LISTEN_FDS: descriptor %d", fd);
	set_inherited_options(fd);
	return ERR_OK;
}

static enum err inherit_all(struct inherited **out, unsigned *n,
			    struct why *why)
{
	unsigned long count = env_number("LISTEN_FDS");
	const char *names = getenv("LISTEN_FDNAMES");
	struct inherited *list;
	enum err err = ERR_OK;

	if (count == 0 || env_number("LISTEN_PID") != (unsigned long)getpid())
		return ERR_OK;
	if (count > MOST_INHERITED)
		return why_set(why, ERR_INVALID,
			       "LISTEN_FDS: %lu descriptors are too many",
			       count);
	if (!names)
		names = "";
	list = xcalloc(count, sizeof(*list));
	for (unsigned i = 0; i < count && err == ERR_OK; i++) {
		list[i].fd = FIRST_INHERITED_FD + (int)i;
		next_name(&names, list[i].name, sizeof(list[i].name));
		err = inherit(list[i].fd, why);
	}
	if (err) {
		free(list);
		return err;
	}
	*out = list;
	*n = (unsigned)count;
	return ERR_OK;
}

enum err listen_inherited(struct inherited **out, unsigned *n, struct why *why)
{
	enum err err;

	*out = NULL;
	*n = 0;
	err = inherit_all(out, n, why);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return err;
}

uint64_t limit_raise_files(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
		return 1024;
	if (rl.rlim_cur < rl.rlim_max) {
		struct rlimit raised = {rl.rlim_max, rl.rlim_max};

		if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
			rl = raised;
	}
	return rl.rlim_cur;
}
