/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/notify.h"

#include "cache/base.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct sockaddr_un supervisor;
static socklen_t supervisor_len; /* 0: there is none */

/* "@name" is in Linux's abstract namespace, which begins with a NUL and ends
 * with the address. */
static void remember(const char *path)
{
	size_t len = strlen(path);

	if ((path[0] != '/' && path[0] != '@') || len < 2 ||
	    len >= sizeof(supervisor.sun_path))
		return;
	supervisor.sun_family = AF_UNIX;
	memcpy(supervisor.sun_path, path, len);
	if (path[0] == '@')
		supervisor.sun_path[0] = '\0';
	supervisor_len =
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

void notify_init(void)
{
	const char *path = getenv("NOTIFY_SOCKET");

	supervisor = (struct sockaddr_un){0};
	supervisor_len = 0;
	if (path)
		remember(path);
	unsetenv("NOTIFY_SOCKET");
}

static void tell(const char *text)
{
	int fd;

	if (supervisor_len == 0)
		return;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)!sendto(fd, text, strlen(text), MSG_NOSIGNAL,
		      (const struct sockaddr *)&supervisor, supervisor_len);
	close(fd);
}

void notify_ready(void)
{
	tell("READY=1\n");
}

/* sd_notify(3): the time lets the supervisor match this with the signal that
 * it sent. */
void notify_reloading(void)
{
	char text[64];

	snprintf(text, sizeof(text),
		 "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\n", now_us());
	tell(text);
}

void notify_stopping(void)
{
	tell("STOPPING=1\n");
}
