/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_IMPORT_H
#define PROXY_IMPORT_H
/*
 * Taking over the images of a foreign layout (proxy/foreign.h), a step at a
 * time, so that what else a worker has to do comes in between.
 *
 *   import_new -> import_step* (while it says that there is more) ->
 * import_free
 *
 *   OPEN   the layout is looked at
 *   PLAN   whose is each name; those that nobody here may hold are listed,
 *          before anything is copied
 *   WORK   for each repository, for each manifest: what it names first, then
 *          itself with its tag
 *   DONE
 *
 * Restartable: what is there already is skipped.  A tag that is another image
 * here is left as it is, and told of, unless `move_tags`.
 */
#include "cache/cache.h"
#include "proxy/conf.h"

struct import;

enum import_kind { IMPORT_REGISTRY_V2, IMPORT_OCI };

struct import_ask {
	enum import_kind kind;
	const char
	    *as_mirror; /* a configured upstream's host; NULL: host them */
	const char *as; /* of OCI: the name for all; or NULL */
	bool move_tags;
};

/* Copies the words, takes `fd` in every case and a reference to `conf`. */
struct import *import_new(struct cache *c, struct conf *conf,
			  const struct import_ask *ask,
			  int STEALS fd) MUST_CHECK;

/*
 * Do some of it.  False: it is done, or cannot go on.  Worker.
 */
bool import_step(struct import *im) MUST_CHECK;

/* ---- between steps, on any one thread ---- */

/* What there is to print since the last call, oldest first, each line ended
 * by "\n"; NULL: nothing.  The caller frees it. */
char *import_take_lines(struct import *im);
/* How far it is: `done` of `of` images; where, and how many bytes, as text. */
void import_progress(const struct import *im, uint64_t *done, uint64_t *of,
		     char *text, size_t size);
/* At the end: all that was found is here?  `last` is one sentence. */
bool import_is_whole(const struct import *im, char *last, size_t size);

void import_free(struct import **im);

#endif
