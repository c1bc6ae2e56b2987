/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_MANIFEST_INT_H
#define CACHE_MANIFEST_INT_H
/*
 * What the files that read a manifest share; the first is the one to enter by.
 *
 *   manifest.c         bytes to JSON, and the whole of it
 *   manifest_type.c    media types; which kind of document it is
 *   manifest_child.c   descriptors: what the document names
 *
 * Pure, as the whole module; what is found is borrowed from the document.
 */
#include "cache/manifest.h"

#include <jansson.h>

/* The value of a key; NULL when absent or null. */
json_t *manifest_field(const json_t *object, const char *key);

/* A string's text; NULL when it is none, is empty or has a NUL within. */
const char *manifest_text(const json_t *value);

/* An optional key, NULL when absent.  ERR_INVALID: it is of another JSON type
 * than the given one. */
enum err manifest_optional(const json_t *object, const char *key,
			   json_type type, json_t **out,
			   struct why *why) MUST_CHECK;

/* ---- manifest_type.c ---- */

bool manifest_type_is_valid(const char *s, size_t len);

/*
 * Set facts->media_type and facts->kind, by the header (NULL: none) and the
 * document.  ERR_INVALID: they disagree, or it is of two kinds at once.
 */
enum err manifest_read_type(const json_t *root, const char *content_type,
			    struct manifest_facts *facts,
			    struct why *why) MUST_CHECK;

/* ---- manifest_child.c ---- */

/*
 * A descriptor's digest; `what` names it in `why`.  *skipped: well-formed, but
 * of an algorithm that we do not serve; *out is not set then.
 */
enum err manifest_read_digest(const json_t *descriptor, const char *what,
			      struct digest *out, bool *skipped,
			      struct why *why) MUST_CHECK;

/* Does a document of this kind name anything? */
bool manifest_has_children(enum manifest_kind kind);

/* facts->children, by facts->kind, which has some.  Also on errors what was
 * allocated is in *facts. */
enum err manifest_read_children(const json_t *root,
				struct manifest_facts *facts,
				struct why *why) MUST_CHECK;

#endif
