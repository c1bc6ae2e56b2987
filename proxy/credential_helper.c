/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docker-credential-X get: the server's name on standard input, JSON on
 * standard output, "credentials not found" and status 1 for none.
 */
#include "proxy/credential.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_MAX (64 * 1024)

extern char **environ;

struct child {
	pid_t pid;
	int in, out; /* our ends: its standard input and output */
};

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* In a group of its own, so that all of it can be killed; workers block
 * signals and ignore SIGPIPE, which a child must not inherit. */
static int set_attributes(posix_spawnattr_t *attr)
{
	sigset_t none, all;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	rc = posix_spawnattr_init(attr);
	if (rc)
		return rc;
	posix_spawnattr_setflags(attr, POSIX_SPAWN_SETPGROUP |
					   POSIX_SPAWN_SETSIGMASK |
					   POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setpgroup(attr, 0);
	posix_spawnattr_setsigmask(attr, &none);
	posix_spawnattr_setsigdefault(attr, &all);
	return 0;
}

static int spawn_with(struct child *child, const char *program, int in, int out)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	char *name = xstrdup(program), get[] = "get";
	char *argv[] = {name, get, NULL};
	int rc = set_attributes(&attr);

	if (rc) {
		free(name);
		return rc;
	}
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, in, 0);
	posix_spawn_file_actions_adddup2(&files, out, 1);
	posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
	rc = posix_spawnp(&child->pid, program, &files, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	free(name);
	return rc;
}

static int child_start(struct child *child, const char *program)
{
	int in[2] = {-1, -1}, out[2] = {-1, -1}, rc;

	if (pipe2(in, O_CLOEXEC) < 0)
		return errno;
	if (pipe2(out, O_CLOEXEC) < 0) {
		rc = errno;
	} else {
		rc = spawn_with(child, program, in[0], out[1]);
		close_fd(&out[1]);
	}
	close_fd(&in[0]);
	if (rc) {
		close_fd(&in[1]);
		close_fd(&out[0]);
		return rc;
	}
	child->in = in[1];
	child->out = out[0];
	return 0;
}

/* Names are shorter than a pipe's buffer, so this never waits.  A helper that
 * does not read it (EPIPE; SIGPIPE is ignored here) says its piece anyway. */
static void tell(struct child *child, const char *server)
{
	char *line = xasprintf("%s\n", server);
	ssize_t n;

	do {
		n = write(child->in, line, strlen(line));
	} while (n < 0 && errno == EINTR);
	close_fd(&child->in);
	free(line);
}

/* Until it closes its output; false: it took too long, or said too much. */
static bool listen_to(struct child *child, uint64_t until_ms, char *buf,
		      size_t *len)
{
	struct pollfd pfd = {.fd = child->out, .events = POLLIN};

	*len = 0;
	for (;;) {
		uint64_t now = now_ms();
		ssize_t n;

		if (now >= until_ms || *len == OUTPUT_MAX)
			return false;
		if (poll(&pfd, 1, (int)MIN(until_ms - now, 60000)) <= 0)
			continue;
		n = read(child->out, buf + *len, OUTPUT_MAX - *len);
		if (n == 0)
			return true;
		if (n < 0 && errno != EINTR)
			return false;
		if (n > 0)
			*len += (size_t)n;
	}
}

/* Its exit status, or -1 if it had to be killed. */
static int reap(struct child *child, uint64_t until_ms, bool kill_now)
{
	int status;

	for (;;) {
		pid_t pid;

		if (kill_now || now_ms() >= until_ms) {
			kill(-child->pid, SIGKILL);
			while (waitpid(child->pid, &status, 0) < 0 &&
			       errno == EINTR)
				;
			return -1;
		}
		pid = waitpid(child->pid, &status, WNOHANG);
		if (pid == child->pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
		if (pid < 0 && errno != EINTR)
			return -1;
		usleep(5000);
	}
}

static bool says_none(const char *text, size_t len)
{
	static const char none[] = "credentials not found";

	return memmem(text, len, none, sizeof(none) - 1) != NULL;
}

static enum err judge(const char *program, int status, const char *text,
		      size_t len, struct credential *out, struct why *why)
{
	struct why bad;

	if (status == 1 && says_none(text, len))
		return ERR_OK;
	if (status != 0)
		return why_set(why, ERR_UNAVAILABLE, "%s failed with status %d",
			       program, status);
	if (credential_helper_parse(text, len, out, &bad))
		return why_set(why, ERR_UNAVAILABLE, "%s: %s", program,
			       bad.text);
	return ERR_OK;
}

enum err credential_helper_run(const char *helper, const char *server,
			       uint64_t timeout_ms, struct credential *out,
			       struct why *why)
{
	char *program = xasprintf("docker-credential-%s", helper);
	char *text = xcalloc(1, OUTPUT_MAX + 1);
	struct child child = {-1, -1, -1};
	uint64_t until_ms = now_ms() + timeout_ms;
	enum err err;
	size_t len;
	int rc, status;
	bool heard;

	memset(out, 0, sizeof(*out));
	rc = child_start(&child, program);
	if (rc) {
		err = why_set(why, ERR_UNAVAILABLE, "cannot run %s: %s",
			      program, strerror(rc));
		goto out;
	}
	tell(&child, server);
	heard = listen_to(&child, until_ms, text, &len);
	status = reap(&child, until_ms, !heard);
	close_fd(&child.out);
	if (status < 0)
		err = why_set(why, ERR_UNAVAILABLE,
			      "%s did not end well within %" PRIu64 " ms",
			      program, timeout_ms);
	else
		err = judge(program, status, text, len, out, why);
out:
	explicit_bzero(text, OUTPUT_MAX);
	free(text);
	free(program);
	return err;
}
