/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_TAR_H
#define PROXY_TAR_H
/*
 * Tar archives, as far as OCI image layouts in them need it: POSIX.1-2017
 * (ustar, and pax records "path" and "size"), GNU's long names and large
 * sizes.  Pure functions over blocks of 512 bytes; whoever calls reads and
 * writes.  Written here rather than taken from a library, because an import
 * needs to know where in the file each blob is, to come back for it.
 *
 *   header [pax or long name: its body, padded; the header it speaks of]
 *   body, padded to a whole block
 *   two blocks of zeros
 */
#include "cache/err.h"

#define TAR_BLOCK 512
#define TAR_NAME_MAX 255 /* ustar's prefix, "/", name */
/* What tar_header_write() makes at most. */
#define TAR_HEADER_MAX (4 * TAR_BLOCK)
/* Bodies of pax records and long names that are worth reading. */
#define TAR_EXTRA_MAX 65536

enum tar_kind {
	TAR_FILE = 1,  /* a regular file */
	TAR_PAX,       /* its body says more of the next header: tar_pax_read */
	TAR_LONG_NAME, /* its body is the next header's name: tar_long_name */
	TAR_OTHER,     /* has a body of `size` bytes none the less */
	TAR_END,
};

struct tar_entry {
	enum tar_kind kind;
	uint64_t size;
	char name[TAR_NAME_MAX + 2];
};

/* What earlier headers say of the next one: all zero is nothing. */
struct tar_extra {
	bool has_name, has_size;
	char
	    name[TAR_NAME_MAX + 2]; /* one that is longer is none of ours: "" */
	uint64_t size;
};

/* ERR_INVALID: this is no header, by its checksum or its numbers. */
enum err tar_header_read(const uint8_t block[TAR_BLOCK],
			 struct tar_entry *out) MUST_CHECK;
/* Pax: "LENGTH KEY=VALUE\n" and again.  Unknown keys are skipped.
 * ERR_INVALID. */
enum err tar_pax_read(const char *body, size_t len,
		      struct tar_extra *extra) MUST_CHECK;
void tar_long_name(const char *body, size_t len, struct tar_extra *extra);
/* Bring into the entry what was said of it, and forget that. */
void tar_apply(struct tar_extra *extra, struct tar_entry *entry);

/* Bytes that follow a body of that size, to a whole block. */
static inline size_t tar_padding(uint64_t size)
{
	return (size_t)(-size % TAR_BLOCK);
}

/* The header of a regular file, with pax records if name or size need them,
 * into out[TAR_HEADER_MAX]; its length.  `name` has at most TAR_NAME_MAX
 * bytes. */
size_t tar_header_write(const char *name, uint64_t size, uint8_t *out);

#endif
