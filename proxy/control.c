/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/control_int.h"

#include "proxy/log.h"

#include <errno.h>
#include <event2/event.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MOST_CALLS 16

/* ---- who is let in ---- */

static bool is_ours(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return false;
	if (peer.uid == geteuid() || peer.uid == 0)
		return true;
	log_warn("control: user %u is not let in", (unsigned)peer.uid);
	return false;
}

static void on_connection(evutil_socket_t listener, short what, void *arg)
{
	struct control *c = arg;
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)what;
	if (fd < 0)
		return;
	if (c->n_calls >= MOST_CALLS || !is_ours(fd))
		close(fd);
	else
		control_call_new(c, fd);
}

/* ---- the socket ---- */

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	/* conf_load() has judged its length. */
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	return un;
}

static int connect_to(const char *path)
{
	struct sockaddr_un un = address_of(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int error;

	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0)
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

/* Remove what a daemon that was killed has left at `path`. */
static enum err remove_stale(const char *path, struct why *why)
{
	struct stat st;
	int fd;

	if (lstat(path, &st) < 0)
		return errno == ENOENT
			   ? ERR_OK
			   : why_errno(why, errno, "control socket %s", path);
	if (!S_ISSOCK(st.st_mode))
		return why_set(why, ERR_EXISTS,
			       "control socket %s: there is something else of "
			       "that name",
			       path);
	fd = connect_to(path);
	if (fd >= 0) {
		close(fd);
		return why_set(why, ERR_BUSY,
			       "control socket %s: another daemon answers "
			       "there",
			       path);
	}
	if (unlink(path) < 0 && errno != ENOENT)
		return why_errno(why, errno, "control socket %s", path);
	return ERR_OK;
}

static enum err bind_private(int fd, const char *path, struct why *why)
{
	struct sockaddr_un un = address_of(path);

	/* bind(2) gives the file the mode that the socket has: there is no
	 * moment at which others could connect. */
	if (fchmod(fd, 0600) < 0 ||
	    bind(fd, (struct sockaddr *)&un, sizeof(un)) < 0)
		return why_errno(why, errno, "control socket %s", path);
	if (listen(fd, MOST_CALLS) < 0)
		return why_errno(why, errno, "control socket %s", path);
	return ERR_OK;
}

enum err control_open(const char *path, struct control **out, struct why *why)
{
	struct control *c;
	enum err err;
	int fd;

	*out = NULL;
	err = remove_stale(path, why);
	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return why_errno(why, errno, "control socket %s", path);
	err = bind_private(fd, path, why);
	if (err) {
		close(fd);
		return err;
	}
	c = xcalloc(1, sizeof(*c));
	c->path = xstrdup(path);
	c->fd = fd;
	(void)lstat(path, &c->identity);
	LIST_INIT(&c->calls);
	*out = c;
	return ERR_OK;
}

/* ---- life ---- */

static void start(void *arg)
{
	struct control *c = arg;

	event_assign(&c->acceptable, loop_base(c->loop), c->fd,
		     EV_READ | EV_PERSIST, on_connection, c);
	event_add(&c->acceptable, NULL);
}

void control_start(struct control *c, struct server *server,
		   const struct control_command *commands, size_t n,
		   void (*thread_end)(void *arg), void *arg)
{
	c->server = server;
	c->commands = commands;
	c->n_commands = n;
	c->loop = loop_new("control");
	loop_on_end(c->loop, thread_end, arg);
	loop_call(c->loop, start, c);
	loop_start(c->loop);
}

static void stop(void *arg)
{
	struct control *c = arg;

	event_del(&c->acceptable);
	while (!LIST_EMPTY(&c->calls))
		control_call_close(LIST_FIRST(&c->calls));
}

/* Unless somebody has put a socket of his own there. */
static void remove_socket(const struct control *c)
{
	struct stat st;

	if (lstat(c->path, &st) == 0 && st.st_ino == c->identity.st_ino &&
	    st.st_dev == c->identity.st_dev)
		unlink(c->path);
}

void control_stop(struct control *c)
{
	if (c->loop) {
		loop_call(c->loop, stop, c);
		loop_stop(c->loop);
	}
	remove_socket(c);
	close(c->fd);
	c->fd = -1;
}

void control_free(struct control **control)
{
	struct control *c = *control;

	if (!c)
		return;
	if (c->fd >= 0)
		control_stop(c);
	loop_free(&c->loop);
	free(c->path);
	free(c);
	*control = NULL;
}
