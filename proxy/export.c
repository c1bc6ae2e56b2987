/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/export_int.h"

#include <search.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

void export_fail(struct export *ex, const char *fmt, ...)
{
	va_list ap;

	if (!ex->lines)
		ex->lines = open_memstream(&ex->lines_text, &ex->lines_len);
	assert(ex->lines);
	fputs("failed: ", ex->lines);
	va_start(ap, fmt);
	vfprintf(ex->lines, fmt, ap);
	va_end(ap);
	fputc('\n', ex->lines);
	ex->failed++;
}

char *export_take_lines(struct export *ex)
{
	char *text;

	if (!ex->lines)
		return NULL;
	fclose(ex->lines);
	ex->lines = NULL;
	text = ex->lines_text;
	ex->lines_text = NULL;
	return text;
}

void export_progress(const struct export *ex, uint64_t *done, uint64_t *of,
		     char *text, size_t size)
{
	*done = ex->bytes / MIB;
	*of = ex->begun ? ex->bytes_in_all / MIB : 0;
	snprintf(text, size, "MiB, %zu images", ex->n_entries);
}

bool export_is_whole(const struct export *ex, char *last, size_t size)
{
	last[0] = '\0';
	if (ex->broken)
		snprintf(last, size, "%s", ex->why.text);
	else if (ex->failed)
		snprintf(last, size,
			 "%" PRIu64 " things failed; what is printed above "
			 "names them, and nothing is written",
			 ex->failed);
	return ex->finished && !ex->broken && !ex->failed;
}

/* ---- steps ---- */

/* A file that holds only some of what was asked for would be taken for all. */
static bool plan_one(struct export *ex)
{
	struct stat st;

	if (ex->next == 0 &&
	    (fstat(ex->fd, &st) != 0 || !S_ISREG(st.st_mode))) {
		ex->broken = true;
		(void)why_set(&ex->why, ERR_INVALID,
			      "images are written to a regular file");
		return false;
	}
	export_plan(ex, ex->asked[ex->next++]);
	return ex->next < ex->n_asked || !ex->failed;
}

bool export_step(struct export *ex)
{
	if (ex->next < ex->n_asked)
		return plan_one(ex);
	if (export_write(ex) != ERR_OK)
		ex->broken = true;
	return !ex->broken && !ex->finished;
}

/* ---- life ---- */

struct export *export_new(struct cache *c, struct conf *conf, unsigned n,
			  char *const *names, int fd)
{
	struct export *ex = xcalloc(1, sizeof(*ex));

	ex->c = c;
	ex->conf = conf_ref(conf);
	ex->names = conf_names_new(conf);
	ex->fd = fd;
	ex->n_asked = n;
	ex->asked = xcalloc(n + 1, sizeof(*ex->asked));
	for (unsigned i = 0; i < n; i++)
		ex->asked[i] = xstrdup(names[i]);
	return ex;
}

static void free_lists(struct export *ex)
{
	for (unsigned i = 0; i < ex->n_asked; i++)
		free(ex->asked[i]);
	for (size_t i = 0; i < ex->n_entries; i++) {
		free(ex->entries[i].media_type);
		free(ex->entries[i].name);
	}
	free(ex->asked);
	free(ex->blobs);
	free(ex->entries);
	tdestroy(ex->known, free);
	tdestroy(ex->referred, free);
}

void export_free(struct export **exp)
{
	struct export *ex = *exp;

	if (!ex)
		return;
	*exp = NULL;
	export_close_blob(ex);
	hasher_free(&ex->hasher);
	close(ex->fd);
	free(export_take_lines(ex));
	free_lists(ex);
	conf_names_free(&ex->names);
	conf_unref(&ex->conf);
	free(ex);
}
