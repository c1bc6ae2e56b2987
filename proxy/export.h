/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_EXPORT_H
#define PROXY_EXPORT_H
/*
 * Images into a tar file that is an OCI image layout, as long work.
 *
 *   PLAN   for each name: what it stands for, and what goes with that
 *          (export_plan.c)
 *   WRITE  oci-layout, index.json, each blob, proven again as it is read
 *          (export_write.c)
 *
 * An image goes out whole or not at all; of an index the platforms that are
 * held.  What refers to an image goes with it.  Entries of index.json are named
 * "NAME:TAG", and "NAME@DIGEST" where there is no tag: so an import brings
 * each back to its place.
 */
#include "cache/cache.h"
#include "proxy/conf.h"
#include "proxy/long_work.h"

/* `names`: NAME (all its tags), NAME:TAG, NAME@DIGEST, as clients call them;
 * copied.  `fd`, a regular file that is empty, is taken in every case. */
struct long_work *export_new(struct cache *c, struct conf *conf, unsigned n,
			     char *const *names, int STEALS fd) MUST_CHECK;

#endif
