/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/log.h"

#include "proxy/thread.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/*
 * The ring has two halves: callers append whole lines to one of them while
 * the writer writes the other, then they change places.  The halves are
 * anonymous mappings, so that only what bursts touch is memory, and what a
 * burst has touched is given back.
 */
#define HALF_BYTES (2 * MIB)
#define KEEP_BYTES (64 * KIB)
#define LINE_BYTES 4096
/* The writer lets lines gather this long, so that a busy daemon wakes it some
 * dozen times a second and not once per request. */
#define GATHER_MS 20
#define GATHER_BYTES (256 * KIB)

struct half {
	char *buf;
	size_t used;
	uint64_t lines;
};

static struct {
	pthread_mutex_t mu; /* everything but what the writer has taken */
	pthread_cond_t work;
	struct half *fill;
	bool hurry; /* an error or a warning is in there */
	bool started, stopping;
	uint64_t unreported; /* dropped since the last line that says so */
	struct half halves[2];
	pthread_t thread;
} ring = {.mu = PTHREAD_MUTEX_INITIALIZER};

static unsigned wanted_level = LOG_INFO; /* atomic */
static uint64_t dropped;                 /* atomic */
static bool to_journal;                  /* constant after log_start() */

void log_set_level(enum log_level level)
{
	__atomic_store_n(&wanted_level, (unsigned)level, __ATOMIC_RELAXED);
}

bool log_wants(enum log_level level)
{
	return (unsigned)level <=
	       __atomic_load_n(&wanted_level, __ATOMIC_RELAXED);
}

uint64_t log_dropped(void)
{
	return __atomic_load_n(&dropped, __ATOMIC_RELAXED);
}

/* ---- one line ---- */

/* "2026-08-03T10:00:00.123Z "; the part up to the second is kept for the
 * thread's next line. */
static size_t put_time(char *out, size_t size)
{
	static __thread time_t second;
	static __thread char text[24];
	struct timespec now;
	struct tm tm;
	int n;

	clock_gettime(CLOCK_REALTIME, &now);
	if (now.tv_sec != second || !text[0]) {
		second = now.tv_sec;
		gmtime_r(&second, &tm);
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	}
	n = snprintf(out, size, "%s.%03ldZ ", text, now.tv_nsec / 1000000);
	return (size_t)n;
}

/* The journal has its own clock, and reads the priority from the line. */
static size_t put_prefix(char *out, size_t size, const char *level,
			 int priority)
{
	size_t len;

	if (to_journal)
		len = (size_t)snprintf(out, size, "<%d>", priority);
	else
		len = put_time(out, size);
	if (level)
		len += (size_t)snprintf(out + len, size - len, "%s ", level);
	return len;
}

/* One record is one line, and nothing that a terminal obeys, whatever the
 * caller lets through: sentences quote what upstreams say. */
static size_t finish_line(char *line, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)line[i];

		if (c < 0x20 || c == 0x7f)
			line[i] = ' ';
	}
	line[len++] = '\n';
	return len;
}

/* Fills line[LINE_BYTES]; what does not fit is cut and ends in "...". */
PRINTF_LIKE(4, 0)
static size_t format_line(char *line, const char *level, int priority,
			  const char *fmt, va_list ap)
{
	size_t len = put_prefix(line, LINE_BYTES, level, priority);
	size_t room = LINE_BYTES - 1 - len; /* one byte for the newline */
	int n = vsnprintf(line + len, room, fmt, ap);

	if (n < 0)
		n = 0;
	if ((size_t)n >= room) {
		n = (int)room - 1;
		memcpy(line + len + (size_t)n - 3, "...", 3);
	}
	return finish_line(line, len + (size_t)n);
}

/* ---- to stderr ---- */

static bool wait_writable(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLOUT};

	return poll(&pfd, 1, 1000) >= 0 || errno == EINTR;
}

/* False if stderr takes no more; what was not written is lost. */
static bool write_all(const char *buf, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDERR_FILENO, buf, len);

		if (n > 0) {
			buf += n;
			len -= (size_t)n;
			continue;
		}
		if (n < 0 && errno == EAGAIN && wait_writable(STDERR_FILENO))
			continue;
		if (n < 0 && errno == EINTR)
			continue;
		return false;
	}
	return true;
}

static void count_dropped(uint64_t n)
{
	__atomic_fetch_add(&dropped, n, __ATOMIC_RELAXED);
}

/* ---- the ring ---- */

/* Under mu. */
static bool append(const char *line, size_t len)
{
	struct half *half = ring.fill;

	if (HALF_BYTES - half->used < len)
		return false;
	memcpy(half->buf + half->used, line, len);
	half->used += len;
	half->lines++;
	return true;
}

PRINTF_LIKE(4, 5)
static size_t format_own(char *line, const char *level, int priority,
			 const char *fmt, ...)
{
	va_list ap;
	size_t len;

	va_start(ap, fmt);
	len = format_line(line, level, priority, fmt, ap);
	va_end(ap);
	return len;
}

/* Under mu.  The gap is named where it is, before the line that follows it;
 * if not both fit, this line too belongs to the gap. */
static bool append_after_gap(const char *line, size_t len)
{
	char note[LINE_BYTES];
	size_t note_len;

	note_len = format_own(note, "warn", 4,
			      "%" PRIu64 " log lines dropped: they came faster "
			      "than stderr took them",
			      ring.unreported);
	if (HALF_BYTES - ring.fill->used < note_len + len)
		return false;
	ring.unreported = 0;
	return append(note, note_len) && append(line, len);
}

/* Under mu. */
static void enqueue(const char *line, size_t len, bool hurry)
{
	bool was_empty = ring.fill->used == 0;
	bool was_full = ring.fill->used >= GATHER_BYTES;
	bool fits;

	fits =
	    ring.unreported ? append_after_gap(line, len) : append(line, len);
	if (!fits) {
		ring.unreported++;
		count_dropped(1);
		return;
	}
	hurry = hurry && !ring.hurry;
	ring.hurry = ring.hurry || hurry;
	if (was_empty || hurry ||
	    (!was_full && ring.fill->used >= GATHER_BYTES))
		pthread_cond_signal(&ring.work);
}

static void submit(const char *line, size_t len, bool hurry)
{
	bool queued;

	pthread_mutex_lock(&ring.mu);
	queued = ring.started;
	if (queued)
		enqueue(line, len, hurry);
	pthread_mutex_unlock(&ring.mu);
	if (!queued && !write_all(line, len))
		count_dropped(1);
}

static struct timespec gather_until(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += GATHER_MS * 1000000L;
	if (t.tv_nsec >= 1000000000L) {
		t.tv_nsec -= 1000000000L;
		t.tv_sec++;
	}
	return t;
}

/* Under mu: wait for lines, let them gather, take their half.  NULL: there
 * are none and there will be none. */
static struct half *take_half(void)
{
	struct timespec until;
	struct half *half;

	while (ring.fill->used == 0) {
		if (ring.stopping)
			return NULL;
		pthread_cond_wait(&ring.work, &ring.mu);
	}
	until = gather_until();
	while (!ring.hurry && !ring.stopping &&
	       ring.fill->used < GATHER_BYTES) {
		if (pthread_cond_timedwait(&ring.work, &ring.mu, &until))
			break;
	}
	ring.hurry = false;
	half = ring.fill;
	ring.fill = &ring.halves[half == &ring.halves[0]];
	return half;
}

static void write_half(struct half *half)
{
	if (!write_all(half->buf, half->used))
		count_dropped(half->lines);
	if (half->used > KEEP_BYTES)
		madvise(half->buf + KEEP_BYTES, HALF_BYTES - KEEP_BYTES,
			MADV_DONTNEED);
	half->used = 0;
	half->lines = 0;
}

static void *writer(void *arg)
{
	struct half *half;

	(void)arg;
	pthread_mutex_lock(&ring.mu);
	while ((half = take_half())) {
		pthread_mutex_unlock(&ring.mu);
		write_half(half);
		pthread_mutex_lock(&ring.mu);
	}
	/* From here on, under the same lock, callers write for themselves. */
	ring.started = false;
	pthread_mutex_unlock(&ring.mu);
	return NULL;
}

/* ---- life ---- */

/* systemd.exec(5): JOURNAL_STREAM names the device and inode of the stream;
 * stderr may have been sent elsewhere since. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	struct stat st;
	char own[64];

	if (!stream || fstat(STDERR_FILENO, &st) < 0)
		return false;
	snprintf(own, sizeof(own), "%ju:%ju", (uintmax_t)st.st_dev,
		 (uintmax_t)st.st_ino);
	return strcmp(own, stream) == 0;
}

static char *map_half(void)
{
	void *p = mmap(NULL, HALF_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED) {
		fputs("entrepot: out of memory\n", stderr);
		abort();
	}
	/* A huge page for a few lines would be 2 MiB of them. */
	madvise(p, HALF_BYTES, MADV_NOHUGEPAGE);
	return p;
}

static void cond_init_monotonic(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

void log_start(enum log_level level)
{
	assert(!ring.started);
	log_set_level(level);
	to_journal = stderr_is_journal();
	cond_init_monotonic(&ring.work);
	for (unsigned i = 0; i < ARRAY_LEN(ring.halves); i++)
		ring.halves[i] = (struct half){.buf = map_half()};
	ring.fill = &ring.halves[0];
	ring.stopping = false;
	ring.hurry = false;
	ring.started = true;
	ring.thread = thread_start("log", writer, NULL);
}

void log_stop(void)
{
	bool started;

	pthread_mutex_lock(&ring.mu);
	started = ring.started;
	ring.stopping = true;
	if (started)
		pthread_cond_signal(&ring.work);
	pthread_mutex_unlock(&ring.mu);
	if (!started)
		return;
	thread_join(ring.thread);
	for (unsigned i = 0; i < ARRAY_LEN(ring.halves); i++)
		munmap(ring.halves[i].buf, HALF_BYTES);
	pthread_cond_destroy(&ring.work);
}

/* ---- callers ---- */

void log_line(enum log_level level, const char *fmt, ...)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	static const int priorities[] = {3, 4, 6, 7};
	char line[LINE_BYTES];
	va_list ap;
	size_t len;

	if (!log_wants(level))
		return;
	va_start(ap, fmt);
	len = format_line(line, names[level], priorities[level], fmt, ap);
	va_end(ap);
	submit(line, len, level <= LOG_WARN);
}

void log_access(const char *fmt, ...)
{
	char line[LINE_BYTES];
	va_list ap;
	size_t len;

	va_start(ap, fmt);
	len = format_line(line, NULL, 6, fmt, ap);
	va_end(ap);
	submit(line, len, false);
}

static bool is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

char *log_escape(const char *text, size_t len, char *out, size_t out_size)
{
	static const char hex[] = "0123456789abcdef";
	size_t at = 0;

	assert(out_size > 0);
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		size_t need = is_plain(c) ? 1 : 4;

		if (out_size - at <= need)
			break;
		if (need == 1) {
			out[at++] = (char)c;
			continue;
		}
		out[at++] = '\\';
		out[at++] = 'x';
		out[at++] = hex[c >> 4];
		out[at++] = hex[c & 15];
	}
	out[at] = '\0';
	return out;
}
