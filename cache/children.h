/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_CHILDREN_H
#define CACHE_CHILDREN_H
/*
 * What a manifest names, packed into its row, so that a loop can judge what
 * is held without parsing JSON or opening the file of a large manifest.  (The
 * table `edge` leads only from child to parent.)
 *
 * At most CHILDREN_MAX are kept, in the manifest's order: no image that a
 * client can unpack comes near.
 */
#include "cache/index.h"
#include "cache/manifest.h"

#define CHILDREN_MAX 1024
#define PLATFORM_MAX 255

/* The packed form of facts' children; the caller frees it. */
uint8_t *children_pack(const struct manifest_facts *facts,
		       size_t *len) MUST_CHECK;

struct child {
	enum child_role role;
	bool foreign;
	struct digest dg;      /* alg 0: of an algorithm that we do not serve */
	struct slice platform; /* os/arch/variant, cut at PLATFORM_MAX; empty =
				  none.  Borrowed. */
};

/*
 * Read a packed form, which may be damaged: begin, then next until false.
 * begin is false for a row without one; *bad is set by next at the end of a
 * form that breaks off.
 */
bool children_begin(struct slice packed, enum manifest_kind *kind,
		    struct slice *rest) MUST_CHECK;
bool children_next(struct slice *rest, struct child *out, bool *bad) MUST_CHECK;

#endif
