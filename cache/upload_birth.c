/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a session's file says of it until there is a row: an extended
 * attribute of a few dozen bytes, which most filesystems keep in the inode.
 *
 * A kill takes nothing from it, and a session of which nothing was synced has
 * nothing to keep from a loss of power.  So it does what a commit would, for
 * the moments that most sessions last.
 *
 *   version:8 alg:8 boot:128 started:64 repo
 */
#include "cache/upload_int.h"

#include <sys/xattr.h>

#define BIRTH_NAME "user.entrepot"
#define BIRTH_VERSION 1
#define BIRTH_HEAD 26

bool upload_birth_write(const struct upload *u)
{
	const struct upload_row *row = &u->row;
	uint8_t buf[BIRTH_HEAD + REPO_NAME_MAX];
	size_t len = strlen(row->repo);

	buf[0] = BIRTH_VERSION;
	buf[1] = row->alg;
	memcpy(buf + 2, row->boot, sizeof(row->boot));
	put_be64(buf + 18, row->started_s);
	memcpy(buf + BIRTH_HEAD, row->repo, len);
	return fsetxattr(u->fd, BIRTH_NAME, buf, BIRTH_HEAD + len, 0) == 0;
}

enum err upload_birth_read(const struct cache *c, int fd,
			   struct upload_row *out)
{
	uint8_t buf[BIRTH_HEAD + REPO_NAME_MAX];
	ssize_t n = fgetxattr(fd, BIRTH_NAME, buf, sizeof(buf));

	memset(out, 0, sizeof(*out));
	if (n <= BIRTH_HEAD || buf[0] != BIRTH_VERSION ||
	    (buf[1] != DIGEST_SHA256 && buf[1] != DIGEST_SHA512) ||
	    memcmp(buf + 2, c->boot.bytes, sizeof(out->boot)) != 0)
		return ERR_NOT_FOUND;
	out->alg = buf[1];
	memcpy(out->boot, buf + 2, sizeof(out->boot));
	out->started_s = out->touched_s = get_be64(buf + 18);
	memcpy(out->repo, buf + BIRTH_HEAD, (size_t)n - BIRTH_HEAD);
	return ERR_OK;
}

void upload_birth_drop(const struct upload *u)
{
	(void)!fremovexattr(u->fd, BIRTH_NAME);
}
