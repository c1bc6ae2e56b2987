/* SPDX-License-Identifier: Apache-2.0 */
/* One connection of the control socket: its command is read, runs, and says
 * what it has to say. */
#include "proxy/control_int.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#define FULL_BYTES (64 * 1024)
#define REQUEST_S 10 /* to send the command */
#define WRITE_S 30   /* without a byte taken */

/* ---- what its command asks ---- */

struct server *control_server(struct control_call *call)
{
	return call->control->server;
}

struct loop *control_loop(struct control_call *call)
{
	return call->control->loop;
}

void control_set_state(struct control_call *call, void *state)
{
	call->state = state;
}

void *control_state(struct control_call *call)
{
	return call->state;
}

int control_take_fd(struct control_call *call)
{
	int fd = call->fd;

	call->fd = -1;
	return fd;
}

/* ---- what its command says ---- */

static void put_line(struct control_call *call, const char *before,
		     const char *fmt, va_list ap) PRINTF_LIKE(3, 0);
static void put_line(struct control_call *call, const char *before,
		     const char *fmt, va_list ap)
{
	char text[1024];

	vsnprintf(text, sizeof(text), fmt, ap);
	for (char *p = text; *p; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = ' ';
	}
	evbuffer_add_printf(bufferevent_get_output(call->bev), "%s %s\n",
			    before, text);
}

void control_print(struct control_call *call, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put_line(call, "-", fmt, ap);
	va_end(ap);
}

static void put_progress(struct control_call *call, const char *before,
			 const char *fmt, ...) PRINTF_LIKE(3, 4);
static void put_progress(struct control_call *call, const char *before,
			 const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put_line(call, before, fmt, ap);
	va_end(ap);
}

void control_progress(struct control_call *call, uint64_t done, uint64_t of,
		      const char *text)
{
	put_progress(call, "%", "%" PRIu64 " %" PRIu64 " %s", done, of, text);
}

void control_end(struct control_call *call, int status, const char *fmt, ...)
{
	char before[16];
	va_list ap;

	snprintf(before, sizeof(before), "= %d", status);
	va_start(ap, fmt);
	put_line(call, before, fmt, ap);
	va_end(ap);
	call->command = NULL;
	call->ending = true;
}

static size_t waiting_bytes(const struct control_call *call)
{
	return evbuffer_get_length(bufferevent_get_output(call->bev));
}

bool control_is_full(struct control_call *call)
{
	return waiting_bytes(call) > FULL_BYTES;
}

void control_when_ready(struct control_call *call,
			void (*ready)(struct control_call *call))
{
	call->ready = ready;
}

/* ---- its end ---- */

static void control_call_free(void *arg)
{
	struct control_call *call = arg;

	if (call->fd >= 0)
		close(call->fd);
	/* libevent would close it in a later turn, which may never come. */
	close(bufferevent_getfd(call->bev));
	bufferevent_free(call->bev);
	free(call);
}

void control_call_close(struct control_call *call)
{
	const struct control_command *command = call->command;

	call->command = NULL;
	if (command && command->gone)
		command->gone(call);
	if (!call->asked)
		event_del(&call->readable);
	bufferevent_disable(call->bev, EV_READ | EV_WRITE);
	bufferevent_setcb(call->bev, NULL, NULL, NULL, NULL);
	LIST_REMOVE(call, link);
	call->control->n_calls--;
	loop_defer(call->control->loop, control_call_free, call);
}

/* ---- its request ---- */

/* Cut a line into words, in place.  False: too many, an empty one, or one
 * with a byte that no word has. */
static bool split(char *line, char **words, unsigned *n)
{
	*n = 0;
	for (char *p = line;; p++) {
		if (*n == CONTROL_WORDS_MAX || *p == ' ' || *p == '\0')
			return false;
		words[(*n)++] = p;
		for (; *p && *p != ' '; p++) {
			if ((unsigned char)*p < ' ' || *p == 0x7f)
				return false;
		}
		if (!*p)
			return true;
		*p = '\0';
	}
}

static const struct control_command *find(const struct control *c,
					  const char *name)
{
	for (size_t i = 0; i < c->n_commands; i++) {
		if (strcmp(c->commands[i].name, name) == 0)
			return &c->commands[i];
	}
	return NULL;
}

static void run(struct control_call *call, char *line, size_t len)
{
	char *words[CONTROL_WORDS_MAX];
	const struct control_command *command;
	unsigned n;

	if (strlen(line) != len || !split(line, words, &n)) {
		control_end(call, 2, "expected a command in one line of words");
		return;
	}
	command = find(call->control, words[0]);
	if (!command) {
		control_end(call, 2, "this daemon knows no command %.40s",
			    words[0]);
		return;
	}
	call->command = command;
	command->start(call, n, words);
}

/* What comes after it is nobody's. */
static void on_read(struct bufferevent *bev, void *arg UNUSED)
{
	struct evbuffer *in = bufferevent_get_input(bev);

	evbuffer_drain(in, evbuffer_get_length(in));
}

/* One is kept; more are not asked for, and closed. */
static void take_fds(struct control_call *call, struct msghdr *msg)
{
	struct cmsghdr *c;
	size_t n;
	int fd;

	for (c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(fd);
		for (size_t i = 0; i < n; i++) {
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (call->fd < 0)
				call->fd = fd;
			else
				close(fd);
		}
	}
}

/* As recv(2), into what is left of the line. */
static ssize_t receive(struct control_call *call)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(4 * sizeof(int))];
	} room;
	struct iovec iov = {
	    .iov_base = call->line + call->len,
	    .iov_len = CONTROL_LINE_MAX + 1 - call->len,
	};
	struct msghdr msg = {
	    .msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = room.bytes,
	    .msg_controllen = sizeof(room.bytes),
	};
	ssize_t n = recvmsg(bufferevent_getfd(call->bev), &msg,
			    MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n >= 0)
		take_fds(call, &msg);
	return n;
}

static void has_asked(struct control_call *call)
{
	struct timeval write_tv = {.tv_sec = WRITE_S};

	call->asked = true;
	event_del(&call->readable);
	bufferevent_set_timeouts(call->bev, NULL, &write_tv);
	bufferevent_enable(call->bev, EV_READ);
}

static void take_line(struct control_call *call)
{
	char *end = memchr(call->line, '\n', call->len);

	if (!end && call->len <= CONTROL_LINE_MAX)
		return;
	has_asked(call);
	if (end) {
		*end = '\0';
		run(call, call->line, (size_t)(end - call->line));
	} else {
		control_end(call, 2, "the command is longer than %d bytes",
			    CONTROL_LINE_MAX);
	}
}

static void on_readable(evutil_socket_t fd UNUSED, short what, void *arg)
{
	struct control_call *call = arg;
	ssize_t n = what & EV_TIMEOUT ? 0 : receive(call);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		control_call_close(call);
		return;
	}
	call->len += (size_t)n;
	take_line(call);
}

/* All that there was to write has been taken. */
static void on_written(struct bufferevent *bev UNUSED, void *arg)
{
	struct control_call *call = arg;
	void (*ready)(struct control_call * call) = call->ready;

	call->ready = NULL;
	if (call->ending)
		control_call_close(call);
	else if (ready)
		ready(call);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct control_call *call = arg;

	/* It may close its side as soon as it has asked, if the answer is on
	 * its way already. */
	if ((what & BEV_EVENT_EOF) && call->ending)
		bufferevent_disable(bev, EV_READ);
	else
		control_call_close(call);
}

/* ---- its beginning ---- */

void control_call_new(struct control *c, int fd)
{
	struct timeval read_tv = {.tv_sec = REQUEST_S};
	struct control_call *call = xcalloc(1, sizeof(*call));

	call->control = c;
	call->fd = -1;
	call->bev = bufferevent_socket_new(loop_base(c->loop), fd, 0);
	assert(call->bev);
	LIST_INSERT_HEAD(&c->calls, call, link);
	c->n_calls++;
	bufferevent_setcb(call->bev, on_read, on_written, on_event, call);
	bufferevent_enable(call->bev, EV_WRITE);
	/* A descriptor comes with the bytes that recvmsg(2) takes, and with
	 * those of no other call. */
	event_assign(&call->readable, loop_base(c->loop), fd,
		     EV_READ | EV_PERSIST, on_readable, call);
	event_add(&call->readable, &read_tv);
}
