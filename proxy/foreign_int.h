/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_FOREIGN_INT_H
#define PROXY_FOREIGN_INT_H
/* What the kinds of foreign layouts have in common; only foreign*.c. */
#include "proxy/foreign.h"

struct foreign_kind {
	void (*items)(struct foreign *f, size_t i, struct foreign_items *out,
		      foreign_finding_cb *finding, void *arg);
	enum err (*open)(struct foreign *f, const struct digest *dg,
			 struct foreign_file *out, struct why *why);
	void (*free)(struct foreign *f);
};

/* Each kind embeds it as its first member. */
struct foreign {
	const struct foreign_kind *kind;
	char **repos;
	size_t n_repos, room;
	bool was_cache;
};

void foreign_add_repo(struct foreign *f, const char *name);

/* printf for findings. */
void foreign_find(foreign_finding_cb *finding, void *arg, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* A whole file of a folder that is given; `path` is relative to dir_fd, and
 * its last part may be no symbolic link.  ERR_NOT_FOUND, ERR_IO. */
enum err foreign_open_at(int dir_fd, const char *folder, const char *name,
			 struct foreign_file *out, struct why *why) MUST_CHECK;

/* All of a small file.  ERR_TOO_BIG past `max`.  The caller frees *out, which
 * has a NUL behind its end. */
enum err foreign_read(const struct foreign_file *file, size_t max, char **out,
		      size_t *len, struct why *why) MUST_CHECK;

#endif
