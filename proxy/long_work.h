/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_LONG_WORK_H
#define PROXY_LONG_WORK_H
/*
 * Work that takes long, done a step at a time, so that what else its thread
 * has to do comes in between: an import, an export.  Who does it embeds
 * struct long_work; who drives it knows no more of it (proxy/control_long.c).
 *
 *   _new -> step* (while it says that there is more) -> is_whole -> free
 *
 * `step` runs on a worker, everything else between steps, on any one thread.
 */
#include "cache/base.h"

#include <stdarg.h>

struct long_work;

struct long_kind {
	const char *name;
	/* Do some of it.  False: it is done, or cannot go on. */
	bool (*step)(struct long_work *w);
	/* How far it is, and at what; `of` 0: nobody knows. */
	void (*progress)(struct long_work *w, uint64_t *done, uint64_t *of,
			 char *text, size_t size);
	/* At the end: has all come out well?  `last` is one sentence. */
	bool (*is_whole)(struct long_work *w, char *last, size_t size);
	void (*free)(struct long_work *w);
};

/* Zeroed but for its kind. */
struct long_work {
	const struct long_kind *kind;
	FILE *lines; /* what is to be printed */
	char *text;
	size_t len;
};

/* A line to be printed, behind `before`.  From within a step. */
void long_work_say(struct long_work *w, const char *before, const char *fmt,
		   va_list ap) PRINTF_LIKE(3, 0);
/* What there is to print since the last call, oldest first, each line ended
 * by "\n"; NULL: nothing.  The caller frees it. */
char *long_work_take_lines(struct long_work *w);
void long_work_free(struct long_work **w);

#endif
