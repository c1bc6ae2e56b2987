/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/export_int.h"

#include <search.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

void export_fail(struct export *ex, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	long_work_say(&ex->work, "failed: ", fmt, ap);
	va_end(ap);
	ex->failed++;
}

static void progress(struct long_work *w, uint64_t *done, uint64_t *of,
		     char *text, size_t size)
{
	const struct export *ex = container_of(w, struct export, work);

	*done = ex->bytes / MIB;
	*of = ex->begun ? ex->bytes_in_all / MIB : 0;
	snprintf(text, size, "MiB, %zu image%s", ex->n_entries,
		 plural(ex->n_entries));
}

static bool is_whole(struct long_work *w, char *last, size_t size)
{
	const struct export *ex = container_of(w, struct export, work);

	last[0] = '\0';
	if (ex->broken)
		snprintf(last, size, "%s", ex->why.text);
	else if (ex->failed)
		snprintf(last, size,
			 "%" PRIu64 " thing%s failed; what is printed above "
			 "names them, and nothing is written",
			 ex->failed, plural(ex->failed));
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

static bool step(struct long_work *w)
{
	struct export *ex = container_of(w, struct export, work);

	if (ex->next < ex->n_asked)
		return plan_one(ex);
	if (export_write(ex) != ERR_OK)
		ex->broken = true;
	return !ex->broken && !ex->finished;
}

/* ---- life ---- */

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

static void export_free(struct long_work *w)
{
	struct export *ex = container_of(w, struct export, work);

	export_close_blob(ex);
	hasher_free(&ex->hasher);
	close(ex->fd);
	free_lists(ex);
	conf_names_free(&ex->names);
	conf_unref(&ex->conf);
	free(ex);
}

static const struct long_kind kind = {
    .name = "export",
    .step = step,
    .progress = progress,
    .is_whole = is_whole,
    .free = export_free,
};

struct long_work *export_new(struct cache *c, struct conf *conf, unsigned n,
			     char *const *names, int fd)
{
	struct export *ex = xcalloc(1, sizeof(*ex));

	ex->work.kind = &kind;
	ex->c = c;
	ex->conf = conf_ref(conf);
	ex->names = conf_names_new(conf);
	ex->fd = fd;
	ex->n_asked = n;
	ex->asked = xcalloc(n + 1, sizeof(*ex->asked));
	for (unsigned i = 0; i < n; i++)
		ex->asked[i] = xstrdup(names[i]);
	return &ex->work;
}
