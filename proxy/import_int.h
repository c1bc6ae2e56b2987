/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_IMPORT_INT_H
#define PROXY_IMPORT_INT_H
/*
 * An import from within: import.c (its steps), import_names.c (whose is a
 * name), import_image.c (a manifest and what it names).
 */
#include "cache/adopt.h"
#include "cache/hosted.h"
#include "cache/manifest.h"
#include "proxy/conf_names.h"
#include "proxy/foreign.h"
#include "proxy/hook.h"
#include "proxy/import.h"

#include <stdarg.h>

/* A manifest that is being taken: an index stands below its entry. */
#define IMPORT_DEPTH 8

struct import_frame {
	struct digest dg;
	char *bytes;
	size_t len;
	struct manifest_facts facts;
	size_t next; /* child to be taken */
	size_t missing_blobs, missing_manifests;
};

/* A blob that is being taken. */
struct import_blob {
	struct foreign_file file;
	struct adoption *adoption; /* NULL: none */
	struct digest dg;
	struct hook_list events;
};

/* Where a repository's images go; repo "" = it is left. */
struct import_target {
	char host[REPO_HOST_MAX + 1]; /* "" = hosted */
	char repo[REPO_NAME_MAX + 1];
};

enum import_stage { IMPORT_OPEN, IMPORT_PLAN, IMPORT_WORK, IMPORT_DONE };

struct import {
	struct long_work work;
	struct cache *c;
	struct conf *conf;
	struct conf_names *names;
	struct hooks *hooks;
	enum import_kind kind;
	char *as_mirror, *as; /* or NULL */
	bool move_tags;
	int fd; /* until it is opened */

	enum import_stage stage;
	struct foreign *foreign;
	struct import_target *targets; /* one for each repository */
	size_t at;                     /* the repository in hand */
	bool has_items;
	struct foreign_items items;
	size_t item; /* the next of them */
	/* What has been taken with all that it names, of this repository: a
	 * tree of tsearch(3). */
	void *taken;

	char tag[TAG_MAX + 1]; /* of the manifest at the bottom */
	struct import_frame stack[IMPORT_DEPTH];
	unsigned depth;
	struct import_blob blob;

	uint64_t n_items, done_items; /* images, in all */
	uint64_t bytes, linked, copied, there, missing;
	uint64_t left, failed; /* repositories; everything else */
	bool broken;           /* `why` says what ended it */
	struct why why;
};

void import_say(struct import *im, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The same of what should have come, and has not. */
void import_fail(struct import *im, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Whose is repository `i` here?  False: it is left, and that was said. */
bool import_name(struct import *im, size_t i) MUST_CHECK;
/* Can `as_mirror` be meant at all?  False: `why` says why not. */
bool import_names_check(struct import *im) MUST_CHECK;

/* Begin with an item of the repository in hand. */
void import_item(struct import *im, const struct foreign_item *item);
/* Some of what the stack says. */
void import_image_step(struct import *im);
/* Forget what was taken: another repository comes. */
void import_taken_clear(struct import *im);
/* Let go of it. */
void import_image_drop(struct import *im);

#endif
