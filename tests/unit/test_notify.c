/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/base.h"
#include "proxy/notify.h"
#include "tests/unit/unit.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A supervisor's socket at `name`, where "@" begins an abstract one; sets
 * NOTIFY_SOCKET. */
static int supervise(const char *name)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	size_t len = strlen(name);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	memcpy(un.sun_path, name, len);
	if (name[0] == '@')
		un.sun_path[0] = '\0';
	CHECK(bind(fd, (struct sockaddr *)&un,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) ==
	      0);
	setenv("NOTIFY_SOCKET", name, 1);
	return fd;
}

static char heard[256];

static const char *hear(int fd)
{
	ssize_t n = recv(fd, heard, sizeof(heard) - 1, 0);

	heard[n > 0 ? n : 0] = '\0';
	return heard;
}

static void supervisor_hears_each_change(void)
{
	char path[] = "/tmp/test_notify.XXXXXX", name[64];
	uint64_t before = now_us(), told = 0;
	int fd;

	CHECK(mkdtemp(path));
	snprintf(name, sizeof(name), "%s/notify", path);
	fd = supervise(name);
	notify_init();
	CHECK(!getenv("NOTIFY_SOCKET"));
	notify_ready();
	CHECK_STR(hear(fd), "READY=1\n");
	notify_reloading();
	CHECK(strncmp(hear(fd), "RELOADING=1\nMONOTONIC_USEC=", 27) == 0);
	told = strtoull(heard + 27, NULL, 10);
	CHECK(told >= before && told <= now_us());
	notify_stopping();
	CHECK_STR(hear(fd), "STOPPING=1\n");
	close(fd);
	unlink(name);
	rmdir(path);
	notify_ready(); /* nobody listens any more: no matter */
}

static void abstract_socket_is_understood(void)
{
	char name[64];
	int fd;

	snprintf(name, sizeof(name), "@test_notify.%d", (int)getpid());
	fd = supervise(name);
	notify_init();
	notify_ready();
	CHECK_STR(hear(fd), "READY=1\n");
	close(fd);
}

static void without_a_supervisor_nothing_is_said(void)
{
	char name[64];
	int fd;

	snprintf(name, sizeof(name), "@test_notify.%d", (int)getpid());
	fd = supervise(name);
	unsetenv("NOTIFY_SOCKET");
	notify_init();
	notify_ready();
	CHECK_STR(hear(fd), "");
	setenv("NOTIFY_SOCKET", "nonsense", 1);
	notify_init();
	notify_ready();
	CHECK_STR(hear(fd), "");
	CHECK(!getenv("NOTIFY_SOCKET"));
	close(fd);
}

int main(void)
{
	RUN(supervisor_hears_each_change);
	RUN(abstract_socket_is_understood);
	RUN(without_a_supervisor_nothing_is_said);
	return unit_done();
}
