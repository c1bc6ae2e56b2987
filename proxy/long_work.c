/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/long_work.h"

void long_work_say(struct long_work *w, const char *before, const char *fmt,
		   va_list ap)
{
	if (!w->lines)
		w->lines = open_memstream(&w->text, &w->len);
	assert(w->lines);
	fputs(before, w->lines);
	vfprintf(w->lines, fmt, ap);
	fputc('\n', w->lines);
}

char *long_work_take_lines(struct long_work *w)
{
	char *text;

	if (!w->lines)
		return NULL;
	fclose(w->lines);
	w->lines = NULL;
	text = w->text;
	w->text = NULL;
	return text;
}

void long_work_free(struct long_work **wp)
{
	struct long_work *w = *wp;

	if (!w)
		return;
	*wp = NULL;
	free(long_work_take_lines(w));
	w->kind->free(w);
}
