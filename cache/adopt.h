/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_ADOPT_H
#define CACHE_ADOPT_H
/*
 * Bytes of somebody else's file become a blob, linked to a repository: how
 * another registry's storage is taken over, and images come out of an archive.
 *
 *   adoption_new -> adoption_step* (while it says that there is more)
 *     -> adoption_free
 *
 * On disk it is an upload that nobody can resume:
 *
 *   hard link, or else a copy, to uploads/<id>   start-up removes it: no row
 *   read and hashed
 *   renamed to uploads/<id>@<alg>-<hex>          start-up finishes it
 *   published as cache/publish.c has it; one commit: blob row, link, claim
 *
 * A hard link costs no space and no second write.  The file then has two
 * owners, neither of whom may write to it: registries do not, once a blob has
 * its name.  What is stored already is not read again, only linked.
 */
#include "cache/cache.h"

struct adoption;

struct adoption_ask {
	struct digest dg;
	/* `size` bytes at `at` of a readable, seekable file.  Borrowed until
	 * adoption_free(), as everything here. */
	int fd;
	uint64_t at, size;
	/* The same file, if those bytes are all of it, by its name in a folder:
	 * for the hard link.  NULL: have a copy. */
	int dir_fd;
	const char *file;
	/* Where to link it; host "": hosted, and claimed if need be; then
	 * with events that are rows of the same commit. */
	const char *host, *repo;
	const struct slice *events;
	size_t n_events;
};

/* Worker, as all the others here; one call at a time. */
struct adoption *adoption_new(struct cache *c,
			      const struct adoption_ask *ask) MUST_CHECK;

/*
 * Do about as much as `max_bytes` of reading takes.  *more: call again.
 * Otherwise ERR_OK says that it is stored, linked, and leased.  ERR_MISMATCH:
 * the bytes have another digest, or are fewer.  ERR_NO_SPACE.  ERR_IO.  After
 * an error nothing is left of it.
 */
enum err adoption_step(struct adoption *a, uint64_t max_bytes, bool *more,
		       struct why *why) MUST_CHECK;

/* How it came; after the last step. */
enum adopted { ADOPTED_THERE, ADOPTED_LINK, ADOPTED_COPY };
enum adopted adoption_how(const struct adoption *a);

/* Also in the middle: what it has made goes. */
void adoption_free(struct adoption **a);

/* Does the repository link it, and is it stored?  Then there is nothing to
 * adopt.  Any thread that may read the index. */
bool adoption_is_there(struct cache *c, const struct digest *dg,
		       const char *host, const char *repo);

#endif
