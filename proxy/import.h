/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_IMPORT_H
#define PROXY_IMPORT_H
/*
 * Taking over the images of a foreign layout (proxy/foreign.h), as long work.
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
#include "proxy/long_work.h"

struct hooks;

enum import_kind { IMPORT_REGISTRY_V2, IMPORT_OCI };

struct import_ask {
	enum import_kind kind;
	const char *as_mirror; /* an upstream's host; NULL: host them */
	const char *as;        /* of OCI: the name for all; or NULL */
	bool move_tags;
};

/* Copies the words, takes `fd` in every case and a reference to `conf`.  What
 * it makes hosted is a push, of which `hooks` are told.  Progress is in images;
 * the text says how many bytes, and where it is. */
struct long_work *import_new(struct cache *c, struct conf *conf,
			     struct hooks *hooks, const struct import_ask *ask,
			     int STEALS fd) MUST_CHECK;

#endif
