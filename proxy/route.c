/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/route.h"

#define BIT(method) (1u << (method))
#define READ (BIT(HTTP_GET) | BIT(HTTP_HEAD))
#define MANIFEST_WRITES (BIT(HTTP_PUT) | BIT(HTTP_DELETE))
#define UPLOAD_WRITES                                                          \
	(READ | BIT(HTTP_PATCH) | BIT(HTTP_PUT) | BIT(HTTP_DELETE))

/* What the last segment of a path is. */
enum last {
	LAST_FIXED, /* part of the table's text */
	LAST_DIGEST,
	LAST_TAG_OR_DIGEST,
	LAST_UPLOAD,
};

/* Paths without a repository: compared whole. */
static const struct fixed_rule {
	const char *path;
	enum endpoint endpoint;
	unsigned reads, writes;
} fixed_rules[] = {
    {"/v2/", ENDPOINT_BASE, READ, 0},
    {"/v2", ENDPOINT_BASE, READ, 0},
    {"/v2/_catalog", ENDPOINT_CATALOG, READ, 0},
    {"/v2/_oci/ext/discover", ENDPOINT_EXTENSIONS, READ, 0},
    {"/v1/_ping", ENDPOINT_V1_PING, READ, 0},
    {"/v1/search", ENDPOINT_V1_SEARCH, READ, 0},
    {"/metrics", ENDPOINT_METRICS, READ, 0},
    {"/healthz", ENDPOINT_HEALTHZ, READ, 0},
    {"/readyz", ENDPOINT_READYZ, READ, 0},
};

/*
 * /v2/<name><tail>[<last>].  The first that fits: `uploads` is a word of the
 * API before it is a (malformed) digest.
 */
static const struct rule {
	const char *tail;
	enum last last;
	enum endpoint endpoint;
	unsigned reads, writes;
} rules[] = {
    {"/blobs/uploads", LAST_FIXED, ENDPOINT_UPLOADS, 0, BIT(HTTP_POST)},
    {"/blobs/uploads/", LAST_FIXED, ENDPOINT_UPLOADS, 0, BIT(HTTP_POST)},
    {"/blobs/uploads/", LAST_UPLOAD, ENDPOINT_UPLOAD, 0, UPLOAD_WRITES},
    {"/blobs/", LAST_DIGEST, ENDPOINT_BLOB, READ, BIT(HTTP_DELETE)},
    {"/manifests/", LAST_TAG_OR_DIGEST, ENDPOINT_MANIFEST, READ,
     MANIFEST_WRITES},
    {"/tags/list", LAST_FIXED, ENDPOINT_TAGS, READ, 0},
    {"/referrers/", LAST_DIGEST, ENDPOINT_REFERRERS, READ, 0},
    {"/_oci/ext/discover", LAST_FIXED, ENDPOINT_EXTENSIONS, READ, 0},
};

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* The byte that "%XY" at `s` stands for; -1 if it may not be there. */
static int decode_escape(const char *s, size_t len)
{
	int hi, lo, byte;

	if (len < 3)
		return -1;
	hi = hex_value(s[1]);
	lo = hex_value(s[2]);
	if (hi < 0 || lo < 0)
		return -1;
	byte = hi << 4 | lo;
	return byte == '/' ? -1 : byte;
}

/*
 * Percent-decode into out[size] with a NUL.  False: a malformed escape, an
 * encoded "/" (it would move the borders between segments), a NUL, or no
 * room; `out` is "" then.
 */
static bool decode(const char *s, size_t len, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		int byte = (unsigned char)s[i];

		if (byte == '%') {
			byte = decode_escape(s + i, len - i);
			i += 2;
		}
		if (byte <= 0 || n + 1 >= size) {
			out[0] = '\0';
			return false;
		}
		out[n++] = (char)byte;
	}
	out[n] = '\0';
	return true;
}

static enum err refuse(struct route *out, enum err err, const char *code,
		       struct why *why, const char *sentence)
{
	out->code = code;
	return why_set(why, err, "%s", sentence);
}

static enum err take_name(const char *s, size_t len, struct route *out,
			  struct why *why)
{
	if (decode(s, len, out->name, sizeof(out->name)) &&
	    repo_path_valid(out->name, strlen(out->name)))
		return ERR_OK;
	out->name[0] = '\0';
	return refuse(out, ERR_INVALID, "NAME_INVALID", why,
		      "the repository name breaks the grammar of names "
		      "(lower-case letters, digits, single separators, at most "
		      "255 characters)");
}

static enum err take_digest(struct route *out, struct why *why)
{
	out->reference = REFERENCE_DIGEST;
	if (digest_parse(out->ref, strlen(out->ref), &out->digest) == ERR_OK)
		return ERR_OK;
	out->ref[0] = '\0';
	return refuse(out, ERR_INVALID, "DIGEST_INVALID", why,
		      "the digest is malformed, or its algorithm is neither "
		      "sha256 nor sha512");
}

static enum err take_tag(struct route *out, struct why *why)
{
	out->reference = REFERENCE_TAG;
	if (tag_valid(out->ref, strlen(out->ref)))
		return ERR_OK;
	out->ref[0] = '\0';
	return refuse(out, ERR_INVALID, "TAG_INVALID", why,
		      "the tag breaks the grammar of tags (letters, digits, "
		      "\"_\", \".\", \"-\", at most 128 characters)");
}

/* Ids are ours: nothing that we gave out has other characters. */
static enum err take_upload(struct route *out, struct why *why)
{
	static const char chars[] = "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
	size_t len = strlen(out->ref);

	out->reference = REFERENCE_UPLOAD;
	if (len && len <= UPLOAD_ID_MAX && strspn(out->ref, chars) == len)
		return ERR_OK;
	out->ref[0] = '\0';
	return refuse(out, ERR_NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", why,
		      "there is no such upload");
}

/*
 * Distribution-spec: "<reference> MUST be either (a) the digest of the
 * manifest or (b) a tag"; no tag has a ":".  What does not even fit the
 * buffer is neither, and is judged as the empty text by the same rules.
 */
static enum err take_reference(const char *s, size_t len, enum last last,
			       struct route *out, struct why *why)
{
	bool has_colon;

	if (last == LAST_FIXED)
		return ERR_OK;
	if (!decode(s, len, out->ref, sizeof(out->ref)))
		has_colon = len && memchr(s, ':', len);
	else
		has_colon = strchr(out->ref, ':');
	if (last == LAST_UPLOAD)
		return take_upload(out, why);
	if (last == LAST_DIGEST || has_colon)
		return take_digest(out, why);
	return take_tag(out, why);
}

static size_t last_segment_len(const char *rest, size_t len)
{
	size_t n = 0;

	while (n < len && rest[len - 1 - n] != '/')
		n++;
	return n;
}

/*
 * Does `rest` (what follows "/v2") end in this rule's tail and last segment
 * (of `last` bytes), with something left for a name?  *name_len: "/" and the
 * name.
 */
static bool rule_fits(const struct rule *rule, const char *rest, size_t len,
		      size_t last, size_t *name_len)
{
	size_t tail = strlen(rule->tail);

	if (rule->last == LAST_FIXED)
		last = 0;
	else if (!last)
		return false;
	if (len < tail + last + 2)
		return false;
	*name_len = len - tail - last;
	return memcmp(rest + *name_len, rule->tail, tail) == 0;
}

static enum err apply_rule(const struct rule *rule, const char *rest,
			   size_t len, size_t name_len, struct route *out,
			   struct why *why)
{
	size_t used = name_len + strlen(rule->tail);
	enum err err;

	out->endpoint = rule->endpoint;
	out->reads = rule->reads;
	out->writes = rule->writes;
	err = take_name(rest + 1, name_len - 1, out, why);
	if (err)
		return err;
	return take_reference(rest + used, len - used, rule->last, out, why);
}

static const struct fixed_rule *find_fixed(const char *path, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(fixed_rules); i++)
		if (strlen(fixed_rules[i].path) == len &&
		    memcmp(fixed_rules[i].path, path, len) == 0)
			return &fixed_rules[i];
	return NULL;
}

enum err route_parse(const char *path, size_t len, struct route *out,
		     struct why *why)
{
	static const char base[] = "/v2";
	const struct fixed_rule *fixed = find_fixed(path, len);
	size_t name_len;

	memset(out, 0, sizeof(*out));
	if (fixed) {
		out->endpoint = fixed->endpoint;
		out->reads = fixed->reads;
		out->writes = fixed->writes;
		return ERR_OK;
	}
	if (len > strlen(base) && memcmp(path, "/v2/", strlen(base) + 1) == 0) {
		const char *rest = path + strlen(base);
		size_t last;

		len -= strlen(base);
		last = last_segment_len(rest, len);
		for (size_t i = 0; i < ARRAY_LEN(rules); i++)
			if (rule_fits(&rules[i], rest, len, last, &name_len))
				return apply_rule(&rules[i], rest, len,
						  name_len, out, why);
	}
	return refuse(out, ERR_NOT_FOUND, "NAME_UNKNOWN", why,
		      "there is nothing at this path: the API is below /v2/");
}

char *route_allow(unsigned methods, char out[ROUTE_ALLOW_MAX])
{
	static const char *const names[] = {
	    [HTTP_GET] = "GET",         [HTTP_HEAD] = "HEAD",
	    [HTTP_POST] = "POST",       [HTTP_PUT] = "PUT",
	    [HTTP_PATCH] = "PATCH",     [HTTP_DELETE] = "DELETE",
	    [HTTP_OPTIONS] = "OPTIONS",
	};
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (!(methods & BIT(i)))
			continue;
		used += (size_t)snprintf(out + used, ROUTE_ALLOW_MAX - used,
					 "%s%s", used ? ", " : "", names[i]);
		assert(used < ROUTE_ALLOW_MAX);
	}
	return out;
}

const char *endpoint_name(enum endpoint endpoint)
{
	static const char *const names[ENDPOINT_LAST] = {
	    [ENDPOINT_UNKNOWN] = "unknown",
	    [ENDPOINT_BASE] = "base",
	    [ENDPOINT_BLOB] = "blob",
	    [ENDPOINT_MANIFEST] = "manifest",
	    [ENDPOINT_TAGS] = "tags",
	    [ENDPOINT_REFERRERS] = "referrers",
	    [ENDPOINT_UPLOADS] = "uploads",
	    [ENDPOINT_UPLOAD] = "upload",
	    [ENDPOINT_CATALOG] = "catalog",
	    [ENDPOINT_EXTENSIONS] = "extensions",
	    [ENDPOINT_V1_PING] = "v1_ping",
	    [ENDPOINT_V1_SEARCH] = "v1_search",
	    [ENDPOINT_METRICS] = "metrics",
	    [ENDPOINT_HEALTHZ] = "healthz",
	    [ENDPOINT_READYZ] = "readyz",
	};

	assert(endpoint < ENDPOINT_LAST);
	return names[endpoint];
}
