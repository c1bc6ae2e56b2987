/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_TEMP_CACHE_H
#define TESTS_TEMP_CACHE_H
/*
 * A cache in a folder of its own, for tests of the store: made by temp_open(),
 * opened again after temp_close() or a crash, removed by temp_remove().
 */
#include "cache/blob.h"
#include "cache/cache_int.h"
#include "cache/partial.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

struct temp {
	char dir[64];
	struct cache *c;
	uint64_t min_free;
	unsigned retry_full_ms; /* of the index; 0 = its own */
	unsigned events[CACHE_INDEX_OK + 1];
};

static inline void temp_event(void *arg, enum cache_event event,
			      const struct digest *dg, const struct why *why)
{
	struct temp *t = arg;

	(void)dg;
	(void)why;
	__atomic_add_fetch(&t->events[event], 1, __ATOMIC_RELAXED);
}

static inline void temp_make_in(struct temp *t, const char *folder)
{
	memset(t, 0, sizeof(*t));
	snprintf(t->dir, sizeof(t->dir), "%s/test_store.XXXXXX", folder);
	if (!mkdtemp(t->dir))
		abort();
}

static inline void temp_make(struct temp *t)
{
	temp_make_in(t, "/tmp");
}

/* Where a sync costs nothing: for tests of kills, after which the kernel has
 * all bytes anyway. */
static inline void temp_make_fast(struct temp *t)
{
	temp_make_in(t, access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
}

static inline enum err temp_try(struct temp *t, struct why *why)
{
	struct cache_options opt = {
	    .data = t->dir,
	    .min_free_bytes = t->min_free,
	    .max_inline_bytes = 64 * 1024,
	    .max_open_blobs = 4,
	    .event = temp_event,
	    .event_arg = t,
	    .index = {.map_bytes = 64 * MIB, .retry_full_ms = t->retry_full_ms},
	};

	return cache_open(&opt, &t->c, why);
}

static inline void temp_open(struct temp *t)
{
	struct why why;

	if (temp_try(t, &why) != ERR_OK) {
		fprintf(stderr, "cannot open: %s\n", why.text);
		abort();
	}
}

static inline void temp_close(struct temp *t)
{
	cache_close(&t->c);
}

static inline int temp_remove_one(const char *path, const struct stat *st,
				  int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void temp_remove(struct temp *t)
{
	nftw(t->dir, temp_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* The same bytes for the same seed. */
static inline uint8_t *temp_bytes(uint64_t seed, size_t len, struct digest *dg)
{
	uint8_t *bytes = xmalloc(len);
	uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		bytes[i] = (uint8_t)x;
	}
	digest_of(DIGEST_SHA256, bytes, len, dg);
	return bytes;
}

/* Fill `p` with what it does not hold of `bytes`, in pieces; hash it whole. */
static inline enum err temp_fill(struct partial *p, const uint8_t *bytes,
				 size_t len, size_t piece, struct why *why)
{
	enum err err = partial_set_size(p, len, why);
	bool more = true;

	while (err == ERR_OK) {
		uint64_t at = partial_run(p, 0), end;

		if (at >= len)
			break;
		end = MIN(MIN(at + piece, len), partial_next(p, at));
		err = partial_write(p, at, bytes + at, (size_t)(end - at), why);
	}
	while (err == ERR_OK && more)
		err = partial_hash(p, 1 * MIB, &more, why);
	return err;
}

/* From nothing, or from what is held, to a blob. */
static inline enum err temp_store(struct temp *t, const struct digest *dg,
				  const uint8_t *bytes, size_t len,
				  struct why *why)
{
	struct publish_repo repo = {"docker.io", "library/test", true};
	struct partial *p;
	enum err err = partial_open(t->c, dg, "docker.io", &p, why);

	if (err != ERR_OK)
		return err;
	err = temp_fill(p, bytes, len, 256 * 1024, why);
	if (err == ERR_OK)
		err = partial_publish(p, &repo, 1, why);
	partial_close(&p);
	return err;
}

static inline bool temp_file(struct temp *t, const char *path, struct stat *st)
{
	return fstatat(t->c->data_fd, path, st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Is the blob there, with exactly these bytes? */
static inline bool temp_has(struct temp *t, const struct digest *dg,
			    const uint8_t *bytes, size_t len)
{
	uint8_t *got = xmalloc(len);
	struct blob *b;
	bool same;

	if (blob_pin(t->c, dg, &b, NULL) != ERR_OK) {
		free(got);
		return false;
	}
	same = blob_size(b) == len &&
	       store_pread(blob_fd(b), got, len, 0) == (ssize_t)len &&
	       memcmp(got, bytes, len) == 0;
	blob_unpin(&b);
	free(got);
	return same;
}

#endif
