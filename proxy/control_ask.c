/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/control_ask.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static bool word_ok(const char *word)
{
	for (const char *p = word; *p; p++) {
		if ((unsigned char)*p <= ' ' || *p == 0x7f)
			return false;
	}
	return *word != '\0';
}

static enum err make_request(unsigned n, const char *const *words, char *line,
			     size_t size, struct why *why)
{
	size_t len = 0;

	for (unsigned i = 0; i < n; i++) {
		if (!word_ok(words[i]))
			return why_set(why, ERR_INVALID,
				       "expected words without spaces");
		len += (size_t)snprintf(line + len, size - len, "%s%s",
					i ? " " : "", words[i]);
		if (len + 1 >= size)
			return why_set(why, ERR_INVALID,
				       "the command is too long");
	}
	line[len] = '\n';
	line[len + 1] = '\0';
	return ERR_OK;
}

static enum err open_socket(const char *path, int *out, struct why *why)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd, error;

	if (strlen(path) >= sizeof(un.sun_path))
		return why_set(why, ERR_INVALID, "%s: too long for a socket",
			       path);
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return why_errno(why, errno, "%s", path);
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0) {
		*out = fd;
		return ERR_OK;
	}
	error = errno;
	close(fd);
	if (error == ENOENT || error == ECONNREFUSED)
		return why_set(why, ERR_UNAVAILABLE,
			       "no daemon is running: nobody answers at %s; "
			       "--config or --data says where one does",
			       path);
	return why_errno(why, error,
			 "cannot ask the daemon at %s, which its own user and "
			 "root may",
			 path);
}

/* "= STATUS text\n" */
static bool is_end(char *line, int *status, char **last)
{
	char *text;
	long n;

	if (strncmp(line, "= ", 2) != 0)
		return false;
	n = strtol(line + 2, &text, 10);
	if (text == line + 2 || n < 0 || n > 255 || *text != ' ')
		return false;
	*status = (int)n;
	text[strcspn(text, "\n")] = '\0';
	*last = xstrdup(text + 1);
	return true;
}

/* "% DONE OF text\n" */
static void tell_progress(const struct control_question *q, char *line)
{
	char *at = line + 2, *text;
	uint64_t done = strtoull(at, &text, 10), of;

	if (!q->progress || text == at || *text != ' ')
		return;
	at = text + 1;
	of = strtoull(at, &text, 10);
	if (text == at || *text != ' ')
		return;
	text[strcspn(text, "\n")] = '\0';
	q->progress(q->arg, done, of, text + 1);
}

static enum err copy_answer(FILE *in, const struct control_question *q,
			    int *status, char **last, struct why *why)
{
	char line[CONTROL_LINE_MAX];

	while (fgets(line, sizeof(line), in)) {
		if (is_end(line, status, last))
			return ERR_OK;
		if (strncmp(line, "% ", 2) == 0) {
			tell_progress(q, line);
		} else if (strncmp(line, "- ", 2) == 0) {
			if (q->progress)
				q->progress(q->arg, 0, 0, NULL);
			fputs(line + 2, q->out);
			fflush(q->out);
		}
	}
	return why_set(why, ERR_UNAVAILABLE,
		       "the running daemon ended before it answered");
}

/* A short line into an empty socket: all of it or an error. */
static bool send_line(int to, char *line, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} room = {0};
	struct iovec iov = {
	    .iov_base = line,
	    .iov_len = strlen(line),
	};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *c;

	if (fd >= 0) {
		msg.msg_control = room.bytes;
		msg.msg_controllen = sizeof(room.bytes);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	return sendmsg(to, &msg, MSG_NOSIGNAL) >= 0;
}

enum err control_ask(const char *path, unsigned n_words,
		     const char *const *words, FILE *out, int *status,
		     char **last, struct why *why)
{
	struct control_question q = {
	    .n_words = n_words, .words = words, .fd = -1, .out = out};

	return control_ask_with(path, &q, status, last, why);
}

enum err control_ask_with(const char *path, const struct control_question *q,
			  int *status, char **last, struct why *why)
{
	char line[CONTROL_LINE_MAX];
	enum err err;
	FILE *in;
	int fd = -1;

	*last = NULL;
	err = make_request(q->n_words, q->words, line, sizeof(line), why);
	if (err)
		return err;
	err = open_socket(path, &fd, why);
	if (err)
		return err;
	if (!send_line(fd, line, q->fd)) {
		err = why_errno(why, errno, "%s", path);
		close(fd);
		return err;
	}
	in = fdopen(fd, "r");
	if (!in) {
		err = why_errno(why, errno, "%s", path);
		close(fd);
		return err;
	}
	err = copy_answer(in, q, status, last, why);
	fclose(in);
	return err;
}
