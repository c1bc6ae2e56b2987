/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/base.h"

#include <stdarg.h>
#include <time.h>

static NORETURN void out_of_memory(void)
{
	static const char msg[] = "entrepot: out of memory\n";

	fputs(msg, stderr);
	abort();
}

void *xmalloc(size_t size)
{
	void *p = malloc(size ? size : 1);

	if (!p)
		out_of_memory();
	return p;
}

void *xcalloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size ? size : 1);

	if (!p)
		out_of_memory();
	return p;
}

void *xrealloc(void *ptr, size_t size)
{
	void *p = realloc(ptr, size ? size : 1);

	if (!p)
		out_of_memory();
	return p;
}

char *xstrdup(const char *s)
{
	return xstrndup(s, strlen(s));
}

char *xstrndup(const char *s, size_t len)
{
	char *p = strndup(s, len);

	if (!p)
		out_of_memory();
	return p;
}

void *xmemdup(const void *src, size_t len)
{
	void *p = xmalloc(len);

	if (len)
		memcpy(p, src, len);
	return p;
}

char *xasprintf(const char *fmt, ...)
{
	va_list ap;
	char *p = NULL;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&p, fmt, ap);
	va_end(ap);
	if (n < 0)
		out_of_memory();
	return p;
}

static uint64_t clock_us(clockid_t clock)
{
	struct timespec ts;
	int rc = clock_gettime(clock, &ts);

	assert(rc == 0);
	(void)rc;
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t now_ms(void)
{
	return clock_us(CLOCK_MONOTONIC) / 1000;
}

uint64_t now_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

/* The last tick's time, which costs a third and is right to the second. */
uint64_t wall_s(void)
{
	return clock_us(CLOCK_REALTIME_COARSE) / 1000000;
}

uint64_t wall_ms(void)
{
	return clock_us(CLOCK_REALTIME) / 1000;
}
