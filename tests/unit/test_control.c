/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/control.h"
#include "proxy/control_ask.h"
#include "proxy/log.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/test_control.XXXXXX";
static char path[64];

/* ---- commands ---- */

static unsigned n_gone, n_threads_ended; /* atomic */

static void echo(struct control_call *call, unsigned n, char *const *words)
{
	for (unsigned i = 0; i < n; i++)
		control_print(call, "%s", words[i]);
	control_end(call, 0, "%s", "");
}

static void fail(struct control_call *call, unsigned n UNUSED,
		 char *const *words UNUSED)
{
	control_print(call, "%s", "a\nb\tc");
	control_end(call, 7, "it did not work");
}

static void hang(struct control_call *call, unsigned n UNUSED,
		 char *const *words UNUSED)
{
	control_set_state(call, &n_gone);
	control_print(call, "hanging");
}

static void hang_gone(struct control_call *call)
{
	CHECK(control_state(call) == &n_gone);
	__atomic_add_fetch(&n_gone, 1, __ATOMIC_RELEASE);
}

#define FLOOD_LINES 100000
static unsigned flooded, most_at_once;

static void flood_on(struct control_call *call)
{
	unsigned now = 0;

	while (flooded < FLOOD_LINES && !control_is_full(call)) {
		control_print(call, "line %u", flooded++);
		now++;
	}
	most_at_once = MAX(most_at_once, now);
	if (flooded < FLOOD_LINES)
		control_when_ready(call, flood_on);
	else
		control_end(call, 0, "%u", flooded);
}

static void flood(struct control_call *call, unsigned n UNUSED,
		  char *const *words UNUSED)
{
	flooded = 0;
	flood_on(call);
}

/* What the descriptor that came has in it. */
static void show_fd(struct control_call *call, unsigned n UNUSED,
		    char *const *words UNUSED)
{
	int fd = control_take_fd(call);
	char text[64] = "";

	if (fd >= 0) {
		CHECK(pread(fd, text, sizeof(text) - 1, 0) >= 0);
		CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
		close(fd);
	}
	control_print(call, "%s", fd >= 0 ? text : "none");
	CHECK(control_take_fd(call) == -1);
	control_end(call, 0, "%s", "");
}

static void progress(struct control_call *call, unsigned n UNUSED,
		     char *const *words UNUSED)
{
	control_progress(call, 1, 3, "a\nb");
	control_print(call, "between");
	control_progress(call, 2, 0, "");
	control_end(call, 0, "%s", "");
}

static const struct control_command commands[] = {
    {"show-fd", show_fd, NULL}, {"progress", progress, NULL},
    {"echo", echo, NULL},       {"fail", fail, NULL},
    {"hang", hang, hang_gone},  {"flood", flood, NULL},
};

static void thread_ended(void *arg)
{
	__atomic_add_fetch((unsigned *)arg, 1, __ATOMIC_RELEASE);
}

static struct control *control_up(void)
{
	struct control *c = NULL;
	struct why why = {""};

	n_gone = n_threads_ended = 0;
	CHECK(control_open(path, &c, &why) == ERR_OK);
	CHECK_STR(why.text, "");
	control_start(c, NULL, commands, ARRAY_LEN(commands), thread_ended,
		      &n_threads_ended);
	return c;
}

/* ---- clients ---- */

static char printed[256];
static int status;
static char *last;

static enum err ask(unsigned n, const char *const *words, struct why *why)
{
	FILE *out = tmpfile();
	enum err err;
	size_t len;

	free(last);
	status = -1;
	err = control_ask(path, n, words, out, &status, &last, why);
	rewind(out);
	len = fread(printed, 1, sizeof(printed) - 1, out);
	printed[len] = '\0';
	fclose(out);
	return err;
}

static int connect_raw(void)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* All that comes, to the end. */
static size_t read_all(int fd, char *out, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while (len < size - 1 &&
	       (n = recv(fd, out + len, size - 1 - len, 0)) > 0)
		len += (size_t)n;
	out[len] = '\0';
	return len;
}

static bool wait_for(const unsigned *counter, unsigned want)
{
	for (unsigned i = 0; i < 5000; i++) {
		if (__atomic_load_n(counter, __ATOMIC_ACQUIRE) == want)
			return true;
		usleep(1000);
	}
	return false;
}

static int descriptors(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void note_progress(void *arg, uint64_t done, uint64_t of,
			  const char *text)
{
	char *to = arg;
	size_t len = strlen(to);

	snprintf(to + len, 64 - len, "%u/%u<%s>", (unsigned)done, (unsigned)of,
		 text ? text : "line");
}

/* ---- tests ---- */

static void descriptor_goes_with_the_command(void)
{
	const char *words[] = {"show-fd"}, *others[] = {"echo"};
	char name[] = "/tmp/test_control.XXXXXX";
	struct control_question q = {.n_words = 1, .words = words};
	struct control *c = control_up();
	int fd = mkstemp(name), before;
	struct why why;

	CHECK(write(fd, "bytes", 5) == 5 && unlink(name) == 0);
	CHECK(ask(1, words, &why) == ERR_OK);
	CHECK_STR(printed, "none\n");
	before = descriptors();
	q.fd = fd;
	q.out = tmpfile();
	free(last);
	CHECK(control_ask_with(path, &q, &status, &last, &why) == ERR_OK);
	rewind(q.out);
	CHECK(fgets(printed, sizeof(printed), q.out));
	CHECK_STR(printed, "bytes\n");
	/* A command that does not want it closes it none the less. */
	q.words = others;
	free(last);
	CHECK(control_ask_with(path, &q, &status, &last, &why) == ERR_OK);
	fclose(q.out);
	control_free(&c);
	CHECK(descriptors() < before);
	close(fd);
}

static void progress_is_told_apart_from_what_is_printed(void)
{
	const char *words[] = {"progress"};
	char seen[64] = "";
	struct control_question q = {.n_words = 1,
				     .words = words,
				     .fd = -1,
				     .progress = note_progress,
				     .arg = seen};
	struct control *c = control_up();
	struct why why;

	CHECK(ask(1, words, &why) == ERR_OK); /* nobody wants to know */
	CHECK_STR(printed, "between\n");
	q.out = tmpfile();
	free(last);
	CHECK(control_ask_with(path, &q, &status, &last, &why) == ERR_OK);
	fclose(q.out);
	CHECK_STR(seen, "1/3<a b>0/0<line>2/0<>");
	control_free(&c);
}

static void command_prints_lines_and_ends_with_its_status(void)
{
	const char *three[] = {"echo", "a", "b/c:d"};
	const char *failing[] = {"fail"};
	struct control *c = control_up();
	struct why why;

	CHECK(ask(3, three, &why) == ERR_OK);
	CHECK(status == 0);
	CHECK_STR(printed, "echo\na\nb/c:d\n");
	CHECK_STR(last, "");
	CHECK(ask(1, failing, &why) == ERR_OK);
	CHECK(status == 7);
	CHECK_STR(printed, "a b c\n");
	CHECK_STR(last, "it did not work");
	control_stop(c);
	control_free(&c);
	CHECK(c == NULL && n_threads_ended == 1);
}

static void unknown_command_is_2(void)
{
	const char *words[] = {"ech"};
	struct control *c = control_up();
	struct why why;

	CHECK(ask(1, words, &why) == ERR_OK);
	CHECK(status == 2 && strstr(last, "ech"));
	control_free(&c);
}

static void words_that_cannot_be_sent_are_refused_by_the_client(void)
{
	const char *space[] = {"echo", "a b"}, *empty[] = {"echo", ""};
	const char *line[] = {"echo", "a\nb"}, *longest[2] = {"echo"};
	char big[CONTROL_LINE_MAX + 1];
	struct why why;

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	longest[1] = big;
	CHECK(ask(2, space, &why) == ERR_INVALID);
	CHECK(ask(2, empty, &why) == ERR_INVALID);
	CHECK(ask(2, line, &why) == ERR_INVALID);
	CHECK(ask(2, longest, &why) == ERR_INVALID);
}

static void nobody_there_is_said_so(void)
{
	const char *words[] = {"echo"};
	struct why why;

	CHECK(ask(1, words, &why) == ERR_UNAVAILABLE);
	CHECK(strstr(why.text, "running") && strstr(why.text, path));
}

static void nonsense_is_answered_and_closed(void)
{
	static const struct {
		const char *bytes;
		size_t len;
	} rows[] = {
	    {"\n", 1},          {" \n", 2},
	    {"echo  a\n", 8},   {"echo \n", 6},
	    {"echo a\0b\n", 9}, {"echo \x01\n", 7},
	    {"echo\r\n", 6},    {"a a a a a a a a a a a a a a a a a\n", 34},
	};
	struct control *c = control_up();
	char answer[512];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int fd = connect_raw();

		CHECK(send(fd, rows[i].bytes, rows[i].len, 0) ==
		      (ssize_t)rows[i].len);
		read_all(fd, answer, sizeof(answer));
		CHECK(strncmp(answer, "= 2 ", 4) == 0);
		close(fd);
	}
	control_free(&c);
}

static void line_without_end_is_cut_off(void)
{
	struct control *c = control_up();
	char bytes[CONTROL_LINE_MAX + 100], answer[512];
	int fd = connect_raw();

	memset(bytes, 'x', sizeof(bytes));
	CHECK(send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) ==
	      (ssize_t)sizeof(bytes));
	read_all(fd, answer, sizeof(answer));
	CHECK(strstr(answer, "= 2 the command is longer"));
	close(fd);
	control_free(&c);
}

static void client_that_leaves_ends_its_command(void)
{
	struct control *c = control_up();
	char answer[64];
	int fd = connect_raw();

	CHECK(send(fd, "hang\n", 5, 0) == 5);
	CHECK(recv(fd, answer, sizeof(answer), 0) > 0);
	CHECK(wait_for(&n_gone, 0));
	close(fd);
	CHECK(wait_for(&n_gone, 1));
	control_free(&c);
	CHECK(n_gone == 1);
}

static void stop_cuts_a_running_command(void)
{
	struct control *c = control_up();
	char answer[64];
	int fd = connect_raw();

	CHECK(send(fd, "hang\n", 5, 0) == 5);
	CHECK(recv(fd, answer, sizeof(answer), 0) > 0);
	control_stop(c);
	CHECK(n_gone == 1 && n_threads_ended == 1);
	CHECK(recv(fd, answer, sizeof(answer), 0) == 0 || errno == ECONNRESET);
	CHECK(access(path, F_OK) < 0);
	close(fd);
	control_free(&c);
}

static void output_waits_for_the_client(void)
{
	const char *words[] = {"flood"};
	struct control *c = control_up();
	struct why why;

	most_at_once = 0;
	CHECK(ask(1, words, &why) == ERR_OK);
	CHECK(status == 0);
	CHECK_STR(last, "100000");
	CHECK(strncmp(printed, "line 0\nline 1\n", 14) == 0);
	control_free(&c);
	CHECK(most_at_once > 0 && most_at_once < FLOOD_LINES / 10);
}

static void socket_is_private(void)
{
	mode_t before = umask(0);
	struct control *c = control_up();
	struct stat st;

	umask(before);
	CHECK(stat(path, &st) == 0);
	CHECK(S_ISSOCK(st.st_mode) && (st.st_mode & 07777) == 0600);
	control_free(&c);
}

/* Of another user, even where the file would let him. */
static void other_user_is_not_let_in(void)
{
	struct control *c;
	int wstatus = -1;
	pid_t child;

	if (geteuid() != 0) {
		/* Nobody else to be: the daemon's user is let in, which is
		 * what the tests above have shown. */
		return;
	}
	c = control_up();
	CHECK(chmod(folder, 0755) == 0 && chmod(path, 0666) == 0);
	child = fork();
	if (child == 0) {
		char answer[64];
		int fd;

		if (setgid(65534) < 0 || setuid(65534) < 0)
			_exit(3);
		fd = connect_raw();
		if (fd < 0)
			_exit(4);
		(void)!send(fd, "echo\n", 5, MSG_NOSIGNAL);
		_exit(recv(fd, answer, sizeof(answer), 0) > 0 ? 5 : 0);
	}
	CHECK(waitpid(child, &wstatus, 0) == child);
	CHECK(WIFEXITED(wstatus) && WEXITSTATUS(wstatus) == 0);
	control_free(&c);
}

static void what_a_killed_daemon_left_is_replaced(void)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	const char *words[] = {"echo"};
	struct control *c;
	struct why why;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	CHECK(bind(fd, (struct sockaddr *)&un, sizeof(un)) == 0);
	close(fd);
	CHECK(access(path, F_OK) == 0);
	c = control_up();
	CHECK(ask(1, words, &why) == ERR_OK && status == 0);
	control_free(&c);
}

static void socket_of_a_running_daemon_is_left_alone(void)
{
	struct control *c = control_up(), *other = NULL;
	const char *words[] = {"echo"};
	struct why why;

	CHECK(control_open(path, &other, &why) == ERR_BUSY);
	CHECK(!other && strstr(why.text, path));
	CHECK(ask(1, words, &why) == ERR_OK && status == 0);
	control_free(&c);
}

static void other_files_are_left_alone(void)
{
	struct control *c = NULL;
	struct why why;
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);

	CHECK(fd >= 0);
	close(fd);
	CHECK(control_open(path, &c, &why) == ERR_EXISTS);
	CHECK(!c && strstr(why.text, path));
	CHECK(unlink(path) == 0);
	CHECK(control_open("/nowhere/control.sock", &c, &why) != ERR_OK);
	CHECK(strstr(why.text, "/nowhere/control.sock"));
}

static void opened_and_never_started_is_removed(void)
{
	struct control *c = NULL;
	struct why why;

	CHECK(control_open(path, &c, &why) == ERR_OK);
	CHECK(access(path, F_OK) == 0);
	control_free(&c);
	CHECK(access(path, F_OK) < 0);
}

int main(void)
{
	if (!mkdtemp(folder))
		return 1;
	snprintf(path, sizeof(path), "%s/control.sock", folder);
	log_set_level(LOG_ERROR);
	RUN(command_prints_lines_and_ends_with_its_status);
	RUN(descriptor_goes_with_the_command);
	RUN(progress_is_told_apart_from_what_is_printed);
	RUN(unknown_command_is_2);
	RUN(words_that_cannot_be_sent_are_refused_by_the_client);
	RUN(nobody_there_is_said_so);
	RUN(nonsense_is_answered_and_closed);
	RUN(line_without_end_is_cut_off);
	RUN(client_that_leaves_ends_its_command);
	RUN(stop_cuts_a_running_command);
	RUN(output_waits_for_the_client);
	RUN(socket_is_private);
	RUN(other_user_is_not_let_in);
	RUN(what_a_killed_daemon_left_is_replaced);
	RUN(socket_of_a_running_daemon_is_left_alone);
	RUN(other_files_are_left_alone);
	RUN(opened_and_never_started_is_removed);
	free(last);
	rmdir(folder);
	return unit_done();
}
