/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_EXPORT_INT_H
#define PROXY_EXPORT_INT_H
/* An export from within; only export*.c. */
#include "cache/blob.h"
#include "cache/digest.h"
#include "cache/hosted.h"
#include "cache/manifest.h"
#include "proxy/conf_names.h"
#include "proxy/export.h"

/* One file of the layout. */
struct export_blob {
	struct digest dg;
	uint64_t size;
	bool manifest; /* its bytes may be in the index */
};

/* One of index.json. */
struct export_entry {
	struct digest dg;
	uint64_t size;
	char *media_type;
	char *name; /* "NAME:TAG" or "NAME@DIGEST" */
};

struct export
{
	struct long_work work;
	struct cache *c;
	struct conf *conf;
	struct conf_names *names;
	int fd;
	char **asked;
	unsigned n_asked, next; /* the one to be planned */

	struct export_blob *blobs;
	size_t n_blobs, room_blobs;
	struct export_entry *entries;
	size_t n_entries, room_entries;
	void *known;    /* digests of `blobs`: a tree of tsearch(3) */
	void *referred; /* entries by name, likewise */

	/* Writing. */
	bool begun;
	uint64_t at;      /* of the file */
	size_t blob;      /* the one in hand */
	struct blob *pin; /* its file; or: */
	char *inline_bytes;
	struct hasher *hasher;
	uint64_t done; /* bytes of it */
	uint64_t bytes, bytes_in_all;

	uint64_t failed;
	bool finished, broken; /* `why` says what ended it */
	struct why why;
};

void export_fail(struct export *ex, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* ---- export_plan.c ---- */

/* What `asked` stands for: entries and blobs. */
void export_plan(struct export *ex, const char *asked);

/* ---- export_write.c ---- */

/* Some of the file.  Errors end it. */
enum err export_write(struct export *ex) MUST_CHECK;
/* Let go of the one in hand. */
void export_close_blob(struct export *ex);

#endif
