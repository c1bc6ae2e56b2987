/* SPDX-License-Identifier: Apache-2.0 */
/* The command's side of the control socket. */
#include "proxy/control.h"

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

static enum err copy_answer(FILE *in, FILE *out, int *status, char **last,
			    struct why *why)
{
	char line[CONTROL_LINE_MAX];

	while (fgets(line, sizeof(line), in)) {
		if (is_end(line, status, last))
			return ERR_OK;
		if (strncmp(line, "- ", 2) == 0) {
			fputs(line + 2, out);
			fflush(out);
		}
	}
	return why_set(why, ERR_UNAVAILABLE,
		       "the running daemon ended before it answered");
}

enum err control_ask(const char *path, unsigned n_words,
		     const char *const *words, FILE *out, int *status,
		     char **last, struct why *why)
{
	char line[CONTROL_LINE_MAX];
	enum err err;
	FILE *in;
	int fd = -1;

	*last = NULL;
	err = make_request(n_words, words, line, sizeof(line), why);
	if (err)
		return err;
	err = open_socket(path, &fd, why);
	if (err)
		return err;
	/* A short line into an empty socket: all of it or an error. */
	if (send(fd, line, strlen(line), MSG_NOSIGNAL) < 0) {
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
	err = copy_answer(in, out, status, last, why);
	fclose(in);
	return err;
}
