/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/import_int.h"

#include <errno.h>
#include <stdarg.h>
#include <unistd.h>

/* Repositories in one step of the plan; children that are there in one of the
 * work, or until a quarter of a second is over. */
#define PLAN_AT_ONCE 64
#define WORK_AT_ONCE 256
#define WORK_MS 250

/* ---- what it says ---- */

void import_say(struct import *im, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	long_work_say(&im->work, "", fmt, ap);
	va_end(ap);
}

void import_fail(struct import *im, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	long_work_say(&im->work, "failed: ", fmt, ap);
	va_end(ap);
	im->failed++;
}

static void on_finding(void *arg, const char *sentence)
{
	import_fail(arg, "%s", sentence);
}

/* The plan reads what the work reads again: once is enough to be told. */
static void no_finding(void *arg UNUSED, const char *sentence UNUSED)
{
}

static void bytes_text(uint64_t bytes, char *out, size_t size)
{
	if (bytes >= GIB)
		snprintf(out, size, "%.1f GiB", (double)bytes / (double)GIB);
	else
		snprintf(out, size, "%.1f MiB", (double)bytes / (double)MIB);
}

static void progress(struct long_work *w, uint64_t *done, uint64_t *of,
		     char *text, size_t size)
{
	const struct import *im = container_of(w, struct import, work);
	const char *repo = im->foreign && im->at < foreign_n_repos(im->foreign)
			       ? foreign_repo(im->foreign, im->at)
			       : "";
	char bytes[32];

	bytes_text(im->bytes, bytes, sizeof(bytes));
	*done = im->done_items;
	*of = im->stage == IMPORT_WORK ? im->n_items : 0;
	snprintf(text, size, "%s, %s", bytes, repo);
}

static bool is_whole(struct long_work *w, char *last, size_t size)
{
	const struct import *im = container_of(w, struct import, work);

	if (im->broken)
		snprintf(last, size, "%s%s", im->why.text,
			 im->stage == IMPORT_WORK
			     ? "; the same command goes on where this ends"
			     : "");
	else if (im->left + im->failed)
		snprintf(last, size,
			 "%" PRIu64 " %s left, %" PRIu64
			 " thing%s failed; what is printed above names them",
			 im->left,
			 im->left == 1 ? "repository was" : "repositories were",
			 im->failed, plural(im->failed));
	else
		last[0] = '\0';
	return !im->broken && im->left + im->failed == 0;
}

/* ---- the steps ---- */

static void stop(struct import *im, enum err err)
{
	if (err == ERR_OK)
		return;
	im->broken = true;
}

static enum err open_foreign(struct import *im)
{
	int fd = im->fd;

	im->fd = -1;
	if (im->kind == IMPORT_OCI)
		return foreign_open_oci(fd, im->as, on_finding, im,
					&im->foreign, &im->why);
	return foreign_open_registry(fd, on_finding, im, &im->foreign,
				     &im->why);
}

static void do_open(struct import *im)
{
	enum err err = ERR_OK;

	if (!import_names_check(im))
		err = ERR_INVALID;
	if (err == ERR_OK)
		err = open_foreign(im);
	if (err == ERR_OK && foreign_was_cache(im->foreign) && !im->as_mirror)
		err = why_set(&im->why, ERR_INVALID,
			      "this was a pull-through cache "
			      "(scheduler-state.json): its images belong to "
			      "the registry that it mirrored; --as-mirror "
			      "docker.io takes them as that one's");
	if (err == ERR_OK && foreign_n_repos(im->foreign) == 0 && !im->failed)
		err = why_set(&im->why, ERR_NOT_FOUND,
			      "there are no images in it");
	stop(im, err);
	if (err == ERR_OK)
		im->targets = xcalloc(foreign_n_repos(im->foreign) + 1,
				      sizeof(*im->targets));
	im->stage = IMPORT_PLAN;
}

static void plan_one(struct import *im)
{
	struct foreign_items items;

	if (!import_name(im, im->at))
		return;
	foreign_items(im->foreign, im->at, &items, no_finding, NULL);
	im->n_items += items.n;
	free(items.v);
}

static void do_plan(struct import *im)
{
	size_t n = foreign_n_repos(im->foreign);

	for (unsigned i = 0; i < PLAN_AT_ONCE && im->at < n; i++, im->at++)
		plan_one(im);
	if (im->at < n)
		return;
	im->at = 0;
	im->stage = IMPORT_WORK;
}

static void end_repo(struct import *im)
{
	import_taken_clear(im);
	free(im->items.v);
	memset(&im->items, 0, sizeof(im->items));
	im->item = 0;
	im->has_items = false;
	im->at++;
}

static void end_item(struct import *im)
{
	im->done_items++;
}

/* The smallest thing that can be done next. */
static void work_one(struct import *im)
{
	if (im->depth > 0) {
		import_image_step(im);
		if (im->depth == 0)
			end_item(im);
	} else if (im->at == foreign_n_repos(im->foreign)) {
		im->stage = IMPORT_DONE;
	} else if (!im->targets[im->at].repo[0]) {
		im->at++;
	} else if (!im->has_items) {
		foreign_items(im->foreign, im->at, &im->items, on_finding, im);
		im->has_items = true;
	} else if (im->item < im->items.n) {
		import_item(im, &im->items.v[im->item++]);
		if (im->depth == 0)
			end_item(im);
	} else {
		end_repo(im);
	}
}

static void do_work(struct import *im)
{
	uint64_t until = now_ms() + WORK_MS, bytes = im->bytes;

	for (unsigned i = 0; i < WORK_AT_ONCE && im->stage == IMPORT_WORK;
	     i++) {
		work_one(im);
		/* A blob that came, or a part of one, is enough. */
		if (im->broken || im->bytes != bytes || now_ms() > until ||
		    im->blob.adoption)
			break;
	}
}

static void summarise(struct import *im)
{
	char bytes[32];

	bytes_text(im->bytes, bytes, sizeof(bytes));
	import_say(im,
		   "%" PRIu64 " image%s: %" PRIu64 " blob%s linked, %" PRIu64
		   " copied, %s; %" PRIu64 " piece%s here already, %" PRIu64
		   " %s not there",
		   im->done_items, plural(im->done_items), im->linked,
		   plural(im->linked), im->copied, bytes, im->there,
		   im->there == 1 ? " was" : "s were", im->missing,
		   im->missing == 1 ? "is" : "are");
}

static bool step(struct long_work *w)
{
	struct import *im = container_of(w, struct import, work);

	switch (im->stage) {
	case IMPORT_OPEN:
		do_open(im);
		break;
	case IMPORT_PLAN:
		do_plan(im);
		break;
	case IMPORT_WORK:
		do_work(im);
		break;
	case IMPORT_DONE:
		break;
	}
	if (im->stage == IMPORT_DONE)
		summarise(im);
	return im->stage != IMPORT_DONE && !im->broken;
}

/* ---- life ---- */

static void import_free(struct long_work *w)
{
	struct import *im = container_of(w, struct import, work);

	if (im->fd >= 0)
		close(im->fd);
	if (im->targets)
		import_image_drop(im);
	import_taken_clear(im);
	free(im->items.v);
	free(im->targets);
	foreign_free(&im->foreign);
	free(im->as_mirror);
	free(im->as);
	conf_names_free(&im->names);
	conf_unref(&im->conf);
	free(im);
}

static const struct long_kind kind = {
    .name = "import",
    .step = step,
    .progress = progress,
    .is_whole = is_whole,
    .free = import_free,
};

struct long_work *import_new(struct cache *c, struct conf *conf,
			     struct hooks *hooks, const struct import_ask *ask,
			     int fd)
{
	struct import *im = xcalloc(1, sizeof(*im));

	im->work.kind = &kind;
	im->c = c;
	im->conf = conf_ref(conf);
	im->hooks = hooks;
	im->names = conf_names_new(conf);
	im->kind = ask->kind;
	im->as_mirror = ask->as_mirror ? xstrdup(ask->as_mirror) : NULL;
	im->as = ask->as ? xstrdup(ask->as) : NULL;
	im->move_tags = ask->move_tags;
	im->fd = fd;
	im->blob.file.fd = im->blob.file.dir_fd = -1;
	return &im->work;
}
