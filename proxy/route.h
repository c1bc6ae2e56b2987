/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_ROUTE_H
#define PROXY_ROUTE_H
/*
 * The whole API as one table: a request's path to an endpoint, a repository
 * name and a reference.  If a URL is answered with 404, look here first.
 *
 * A name's components may themselves be called `manifests`, `blobs` or
 * `tags`, so paths are read from the right-hand end.  Pure; any thread.
 */
#include "cache/digest.h"
#include "cache/name.h"
#include "proxy/http_parse.h"

enum endpoint {
	ENDPOINT_UNKNOWN,
	ENDPOINT_BASE,       /* /v2/ and /v2 */
	ENDPOINT_BLOB,       /* /v2/N/blobs/D */
	ENDPOINT_MANIFEST,   /* /v2/N/manifests/R */
	ENDPOINT_TAGS,       /* /v2/N/tags/list */
	ENDPOINT_REFERRERS,  /* /v2/N/referrers/D */
	ENDPOINT_UPLOADS,    /* /v2/N/blobs/uploads/ (also without the "/") */
	ENDPOINT_UPLOAD,     /* /v2/N/blobs/uploads/U */
	ENDPOINT_CATALOG,    /* /v2/_catalog */
	ENDPOINT_EXTENSIONS, /* /v2/_oci/ext/discover, /v2/N/_oci/... */
	ENDPOINT_V1_PING,    /* /v1/_ping */
	ENDPOINT_V1_SEARCH,  /* /v1/search */
	ENDPOINT_METRICS,    /* /metrics */
	ENDPOINT_HEALTHZ,    /* /healthz */
	ENDPOINT_READYZ,     /* /readyz */
	ENDPOINT_LAST
};

enum reference {
	REFERENCE_NONE,
	REFERENCE_TAG,
	REFERENCE_DIGEST,
	REFERENCE_UPLOAD, /* the id of an upload session */
};

#define UPLOAD_ID_MAX 128

struct route {
	enum endpoint endpoint;
	/*
	 * As repo_path_valid() has it, percent-decoded: it may begin with a
	 * registry's host.  "" for endpoints without a repository.
	 */
	char name[REPO_PATH_MAX + 1];
	enum reference reference;
	char ref[DIGEST_TEXT_MAX]; /* the tag, digest or id as text */
	struct digest digest;      /* when REFERENCE_DIGEST */
	/*
	 * Methods of this endpoint, as bits 1u << enum http_method: those that
	 * only read, and those that belong to pushing and deleting.  What the
	 * caller does not serve of these is 405.
	 */
	unsigned reads, writes;
	/* The registry's error code when the result is not ERR_OK. */
	const char *code;
};

/*
 * Route a path as it was received: without its query, still percent-encoded.
 * It is decoded once, name and reference only; an encoded "/" and a NUL are
 * never part of either.
 *
 * ERR_OK.  ERR_NOT_FOUND: no such endpoint, or an upload id that we never
 * give out (code BLOB_UPLOAD_UNKNOWN).  ERR_INVALID: the endpoint is known
 * and *out has it with its methods, but the name (NAME_INVALID), the tag
 * (TAG_INVALID) or the digest (DIGEST_INVALID) breaks its grammar; a
 * reference with a ":" is meant as a digest, never as a tag.  On any error
 * `code` and `why` are set, and name and ref hold only what was valid.
 */
enum err route_parse(const char *path, size_t len, struct route *out,
		     struct why *why) MUST_CHECK;

/*
 * The value of an Allow header for a set of methods, "GET, HEAD, PUT"; the
 * order is that of enum http_method.  Returns out.
 */
#define ROUTE_ALLOW_MAX 64
char *route_allow(unsigned methods, char out[ROUTE_ALLOW_MAX]);

/* "manifest", "blob", ...: a word for logs and metrics; static storage. */
const char *endpoint_name(enum endpoint endpoint);

#endif
