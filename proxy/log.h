/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_LOG_H
#define PROXY_LOG_H
/*
 * Log lines and access lines to stderr, through a bounded ring that a thread
 * of its own empties: a slow terminal or journal never stalls a loop.  When
 * the ring is full lines are dropped and counted, and the next line that fits
 * is preceded by one that says how many.
 *
 * error = someone must act; warn = degraded but served; info = state changed;
 * debug = for us.  Log once, where the decision is made.  Secrets never reach
 * a format string.  Control bytes in foreign text are escaped.
 */
#include "cache/base.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Start the thread; until then, and after log_stop(), lines are written by
 * the caller.  Main thread. */
void log_start(enum log_level level);
void log_stop(void);
/* Any thread (SIGHUP changes it). */
void log_set_level(enum log_level level);
bool log_wants(enum log_level level);

/* One line; no newline in it.  Any thread. */
void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);
#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                                         \
	do {                                                                   \
		if (log_wants(LOG_DEBUG))                                      \
			log_line(LOG_DEBUG, __VA_ARGS__);                      \
	} while (0)

/* An access line: the same ring, no level. */
void log_access(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Lines dropped since the start.  Any thread. */
uint64_t log_dropped(void);

/* Copy foreign text with all but printable ASCII, and quotes and backslashes
 * too, escaped as \xNN; what does not fit is cut between characters; always
 * NUL-terminates; returns out. */
char *log_escape(const char *text, size_t len, char *out, size_t out_size);

#endif
