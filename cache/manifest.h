/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_MANIFEST_H
#define CACHE_MANIFEST_H
/*
 * What a manifest says: its type, what it names, what it is about.  The only
 * place in cache/ that reads JSON; a pure function over foreign bytes, which
 * are never changed and never written out again.
 *
 * Strictness.  What we read here decides what may be served through a
 * repository and what collection keeps, and clients read the same bytes with
 * another parser.  So everything on which two parsers may differ is refused:
 * a key that is twice in one object, a document that is both an image and an
 * index, bytes that are not UTF-8.  `null` is the same as absent, because Go
 * programs write it for an empty list.  Unknown keys are nobody's business.
 */
#include "cache/digest.h"

/* With its NUL.  RFC 6838 allows 127 + "/" + 127. */
#define MEDIA_TYPE_MAX 256
/* Levels of {} and [] within each other. */
#define MANIFEST_DEPTH_MAX 100
/*
 * Values in the whole document.  A parsed value costs up to 350 bytes for two
 * bytes of text, so the limit on bytes alone would allow half a gigabyte; a
 * true manifest of 4 MiB has fewer values than this.
 */
#define MANIFEST_VALUES_MAX 131072

enum manifest_kind {
	MANIFEST_OPAQUE = 1, /* unknown type: kept as it is, names nothing */
	MANIFEST_IMAGE,      /* OCI image manifest, Docker schema 2 */
	MANIFEST_INDEX,      /* OCI image index, Docker manifest list */
	MANIFEST_ARTIFACT,   /* OCI artifact manifest, withdrawn before 1.1 */
	MANIFEST_SCHEMA1,    /* Docker schema 1: callers refuse it */
};

enum child_role {
	CHILD_CONFIG = 1,
	CHILD_LAYER,
	CHILD_MANIFEST, /* an index's entry whose type is a manifest's */
	CHILD_BLOB,     /* an artifact's blob; an index's entry of another type
			   (BuildKit's cache lists layers there).  An unknown
			   type may still be a manifest: look among both. */
};

struct manifest_child {
	struct digest dg; /* alg 0 when `skipped` */
	uint64_t size;    /* at most INT64_MAX */
	enum child_role role;
	/*
	 * Not to be had here: a foreign or non-distributable layer type, or
	 * `urls` that say where else.  Earns no link, is never required.
	 */
	bool foreign;
	/*
	 * Well-formed digest of an algorithm that we do not serve.  The
	 * manifest is stored and served still; this child is not.
	 */
	bool skipped;
	const char *media_type; /* "" when absent or not a media type */
	/* Of an index's entries; "" when absent.  Borrowed from the facts. */
	const char *os, *arch, *variant;
};

struct json_t;

struct manifest_facts {
	enum manifest_kind kind;
	char media_type[MEDIA_TYPE_MAX]; /* as it is to be served */
	bool has_subject;                /* with a digest that we serve */
	struct digest subject;
	/* For referrers: artifactType, of an image else its config's type.
	 * NULL = none. */
	const char *artifact_type;
	char *annotations; /* the object as JSON text; NULL = none or empty */
	struct manifest_child *children; /* in document order, config first;
					    may name one digest twice */
	size_t n_children;
	struct json_t *json; /* what the borrowed strings live in */
};

/*
 * Read a manifest.  `content_type` is the header's value, with or without
 * parameters, or NULL.  `max_len` is the caller's limit on size.
 *
 * Type (OCI distribution-spec, "Pushing Manifests"): the Content-Type without
 * parameters; if absent the body's mediaType; both and different is an error;
 * neither (old OCI) is told by `manifests` against `config`/`layers`.  Docker
 * schema 1 is recognised by either or by its schemaVersion, and is ERR_OK.
 *
 * ERR_OK: the caller owns *out and calls manifest_facts_release().
 * ERR_TOO_BIG: more than max_len bytes.  ERR_INVALID: not JSON, no object,
 * too deep, too many values, types that disagree, or a descriptor that is
 * none; `why` says which.  On errors *out is empty.  Any thread.
 */
enum err manifest_parse(const void *buf, size_t len, size_t max_len,
			const char *content_type, struct manifest_facts *out,
			struct why *why) MUST_CHECK;
void manifest_facts_release(struct manifest_facts *facts);

/*
 * The descriptor by which this manifest stands in its subject's referrers:
 * {mediaType, digest, size[, artifactType][, annotations]} as JSON text.
 * `dg` and `size` are the manifest's own.  The caller frees it.
 */
char *manifest_referrer_descriptor(const struct manifest_facts *facts,
				   const struct digest *dg,
				   uint64_t size) MUST_CHECK;

/*
 * Which kind a media type (without parameters) names; MANIFEST_OPAQUE for all
 * others.  Case does not matter (RFC 2045, 5.1).
 */
enum manifest_kind manifest_type_kind(const char *media_type);

/*
 * The Accept value of every manifest request to an upstream: OCI index,
 * Docker list, OCI manifest, Docker schema 2.  Always all of them, because a
 * client's narrow Accept would poison the tag for the others; never the
 * obsolete schema 1, hence no wildcard either.  Static storage.
 */
const char *manifest_accept_list(void);

#endif
