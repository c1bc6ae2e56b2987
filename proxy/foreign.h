/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_FOREIGN_H
#define PROXY_FOREIGN_H
/*
 * Images as another program keeps them: the storage of Docker's registry
 * (foreign_registry.c), an OCI image layout in a folder or in a tar file
 * (foreign_oci.c).  They are only read, and everything in them is foreign
 * bytes: no path is made of what a file says, but of digests and tags that
 * have been parsed.
 *
 *   foreign_open_* -> (foreign_items, foreign_file_open)* -> foreign_free
 *
 * Worker, one call at a time.
 */
#include "cache/digest.h"
#include "cache/name.h"

struct foreign;

/* A manifest of a repository, with a tag or ("") by its digest alone. */
struct foreign_item {
	struct digest dg;
	char tag[TAG_MAX + 1];
};
struct foreign_items {
	struct foreign_item *v; /* freed by the caller */
	size_t n, room;
};
void foreign_items_add(struct foreign_items *items, const struct digest *dg,
		       const char *tag);

/* Some bytes of a file: foreign_file_close(). */
struct foreign_file {
	int fd;
	uint64_t at, size;
	/* When they are a whole file: its folder, which it owns too, and its
	 * name there.  Else dir_fd is -1. */
	int dir_fd;
	char name[DIGEST_TEXT_MAX];
};
void foreign_file_close(struct foreign_file *file);

/* What cannot be read, by a sentence; the rest goes on. */
typedef void foreign_finding_cb(void *arg, const char *sentence);

/*
 * Open a folder of Docker's registry: the one that holds docker/registry/v2,
 * or that one.  Finds every repository's name.  ERR_INVALID: it is no such
 * folder.  ERR_IO.  `fd` is taken in every case.
 */
enum err foreign_open_registry(int STEALS fd, foreign_finding_cb *finding,
			       void *arg, struct foreign **out,
			       struct why *why) MUST_CHECK;

/*
 * The longest index.json of a layout, in and out: some 50,000 names.  It is
 * read whole, into memory of up to twenty times its length.
 */
#define OCI_INDEX_BYTES_MAX (16 * MIB)

/*
 * Open an OCI image layout: a folder, or an uncompressed tar file of one.
 * Entries of its index are named by org.opencontainers.image.ref.name
 * ("NAME:TAG", "NAME@DIGEST"), or by containerd's io.containerd.image.name.
 * With `as`, all entries belong to that name.  Without, one that has no name
 * belongs where its subject does; or else it is a finding.
 */
enum err foreign_open_oci(int STEALS fd, const char *as,
			  foreign_finding_cb *finding, void *arg,
			  struct foreign **out, struct why *why) MUST_CHECK;
void foreign_free(struct foreign **f);

/* Was this a pull-through cache of Docker's registry? */
bool foreign_was_cache(const struct foreign *f);

/* The repositories, by name, each once. */
size_t foreign_n_repos(const struct foreign *f);
const char *foreign_repo(const struct foreign *f, size_t i);

/* What repository `i` holds; one manifest may be several items. */
void foreign_items(struct foreign *f, size_t i, struct foreign_items *out,
		   foreign_finding_cb *finding, void *arg);

/* ERR_NOT_FOUND: it is not there.  ERR_IO. */
enum err foreign_file_open(struct foreign *f, const struct digest *dg,
			   struct foreign_file *out,
			   struct why *why) MUST_CHECK;

/* All bytes of a small one, checked against its digest, with a NUL behind
 * them; freed by the caller.  ERR_NOT_FOUND; ERR_TOO_BIG: more than `max`;
 * ERR_MISMATCH; ERR_IO. */
enum err foreign_bytes(struct foreign *f, const struct digest *dg, size_t max,
		       char **out, size_t *len, struct why *why) MUST_CHECK;

/* ---- the pure parts; any thread ---- */

/* A link file of Docker's registry: a digest, with white space at most at its
 * end.  ERR_INVALID. */
enum err foreign_link_parse(const void *buf, size_t len,
			    struct digest *out) MUST_CHECK;

/*
 * The name of an image, "NAME[:TAG][@DIGEST]" or ":TAG" alone as "TAG": into
 * name[REPO_PATH_MAX + 1] ("" = none), tag[TAG_MAX + 1] ("" = none), and dg
 * (alg 0 = none).  A name alone stands for its tag "latest".  ERR_INVALID.
 */
enum err foreign_ref_parse(const char *text, char *name, char *tag,
			   struct digest *dg) MUST_CHECK;

#endif
