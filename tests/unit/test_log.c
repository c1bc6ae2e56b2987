/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/log.h"
#include "proxy/thread.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <regex.h>
#include <semaphore.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * stderr is a file while a test logs; CHECK's own words go where they went
 * before.
 */
static char path[] = "/tmp/test_log.XXXXXX";
static int real_stderr;

static void capture(void)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0600);

	CHECK(fd >= 0);
	dup2(fd, STDERR_FILENO);
	close(fd);
}

/* What was logged; the caller frees it. */
static char *captured(void)
{
	FILE *f = fopen(path, "r");
	char *text = xcalloc(1, 65536);
	size_t n;

	dup2(real_stderr, STDERR_FILENO);
	CHECK(f != NULL);
	n = fread(text, 1, 65535, f);
	text[n] = '\0';
	fclose(f);
	return text;
}

static bool matches(const char *text, const char *pattern)
{
	regex_t re;
	int rc = regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB);

	CHECK(rc == 0);
	rc = regexec(&re, text, 0, NULL, 0);
	regfree(&re);
	return rc == 0;
}

#define TIME "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z"

static void lines_carry_time_and_level(void)
{
	char *text;

	capture();
	log_start(LOG_INFO);
	log_info("listening on %s", "127.0.0.1:5000");
	log_warn("second");
	log_access("GET /v2/ 200");
	log_debug("too much");
	log_set_level(LOG_DEBUG);
	log_debug("wanted now");
	log_stop();
	text = captured();
	CHECK(matches(text, "^" TIME " info listening on 127.0.0.1:5000\n" TIME
			    " warn second\n" TIME " GET /v2/ 200\n" TIME
			    " debug wanted now\n$"));
	free(text);
	CHECK(log_dropped() == 0);
}

static void a_record_is_one_line_of_bounded_length(void)
{
	char *text, *big = xcalloc(1, 10000);
	size_t len;

	memset(big, 'x', 9999);
	capture();
	log_start(LOG_INFO);
	log_info("a\nb\rc");
	log_info("%s", big);
	log_stop();
	text = captured();
	CHECK(strstr(text, " info a b c\n") != NULL);
	len = strlen(text);
	CHECK(len < 4200);
	CHECK(strcmp(text + len - 5, "x...\n") == 0);
	free(text);
	free(big);
}

static void lines_before_the_start_and_after_the_stop_are_written(void)
{
	char *text;

	capture();
	log_set_level(LOG_INFO);
	log_info("before");
	log_start(LOG_INFO);
	log_stop();
	log_error("after");
	text = captured();
	CHECK(matches(text, "^" TIME " info before\n" TIME " error after\n$"));
	free(text);
}

static void the_journal_gets_priorities_and_no_time(void)
{
	char *text, stream[64];
	struct stat st;

	capture();
	CHECK(fstat(STDERR_FILENO, &st) == 0);
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev,
		 (uintmax_t)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_start(LOG_DEBUG);
	log_error("e");
	log_warn("w");
	log_info("i");
	log_debug("d");
	log_access("a");
	log_stop();
	/* Inherited from a service, but stderr goes elsewhere. */
	setenv("JOURNAL_STREAM", "1:1", 1);
	log_start(LOG_INFO);
	log_info("file");
	log_stop();
	unsetenv("JOURNAL_STREAM");
	text = captured();
	CHECK(matches(text, "^<3>error e\n<4>warn w\n<6>info i\n<7>debug d\n"
			    "<6>a\n" TIME " info file\n$"));
	free(text);
}

/* The reader of a pipe that is stderr: it begins when it is let. */
struct reader {
	int fd;
	sem_t begin;
	uint64_t lines;
	bool gap_named;
};

static void *read_all(void *arg)
{
	static char buf[65536], line[4200];
	struct reader *r = arg;
	size_t len = 0;
	ssize_t n;

	sem_wait(&r->begin);
	while ((n = read(r->fd, buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			line[len++] = buf[i];
			if (buf[i] != '\n')
				continue;
			line[len - 1] = '\0';
			len = 0;
			r->lines++;
			if (strstr(line, " log lines dropped: "))
				r->gap_named = true;
		}
	}
	return NULL;
}

/* Nobody reads stderr: callers go on, and losses are counted and named. */
static void a_full_ring_drops_and_says_so(void)
{
	enum { LINES = 100000 };
	uint64_t before = log_dropped(), seen, sent = LINES;
	struct reader r = {0};
	pthread_t thread;
	int fds[2];

	CHECK(pipe(fds) == 0);
	dup2(fds[1], STDERR_FILENO);
	close(fds[1]);
	r.fd = fds[0];
	sem_init(&r.begin, 0, 0);
	thread = thread_start("reader", read_all, &r);
	log_start(LOG_INFO);
	for (unsigned i = 0; i < LINES; i++)
		log_info("%u %060d", i, 0);
	CHECK(log_dropped() > before);
	sem_post(&r.begin);
	do {
		usleep(1000);
		seen = log_dropped();
		log_info("is there room?");
		sent++;
	} while (log_dropped() != seen);
	log_stop();
	dup2(real_stderr, STDERR_FILENO); /* the reader's end of file */
	thread_join(thread);
	CHECK(r.gap_named);
	CHECK(r.lines == sent - (log_dropped() - before) + 1);
	close(r.fd);
}

static void escape_leaves_nothing_to_print(void)
{
	char out[32];

	CHECK_STR(log_escape("a b", 3, out, sizeof(out)), "a b");
	CHECK_STR(log_escape("\"\\\n\x7f\xc3", 5, out, sizeof(out)),
		  "\\x22\\x5c\\x0a\\x7f\\xc3");
	CHECK_STR(log_escape("a\0b", 3, out, sizeof(out)), "a\\x00b");
	CHECK_STR(log_escape("", 0, out, 1), "");
	/* Cut between characters, never inside an escape. */
	CHECK_STR(log_escape("abc\n", 4, out, 8), "abc\\x0a");
	CHECK_STR(log_escape("abc\n", 4, out, 7), "abc");
	CHECK_STR(log_escape("abc", 3, out, 3), "ab");
}

int main(void)
{
	int fd = mkstemp(path);

	close(fd);
	real_stderr = dup(STDERR_FILENO);
	RUN(lines_carry_time_and_level);
	RUN(a_record_is_one_line_of_bounded_length);
	RUN(lines_before_the_start_and_after_the_stop_are_written);
	RUN(the_journal_gets_priorities_and_no_time);
	RUN(a_full_ring_drops_and_says_so);
	RUN(escape_leaves_nothing_to_print);
	unlink(path);
	return unit_done();
}
