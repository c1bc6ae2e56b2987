/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/manifest_int.h"

#define OCI_INDEX "application/vnd.oci.image.index.v1+json"
#define OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define OCI_ARTIFACT "application/vnd.oci.artifact.manifest.v1+json"
#define DOCKER "application/vnd.docker.distribution.manifest."
#define DOCKER_LIST DOCKER "list.v2+json"
#define DOCKER_MANIFEST DOCKER "v2+json"

static const struct known_type {
	const char *media_type;
	enum manifest_kind kind;
} known_types[] = {
    {OCI_INDEX, MANIFEST_INDEX},
    {DOCKER_LIST, MANIFEST_INDEX},
    {OCI_MANIFEST, MANIFEST_IMAGE},
    {DOCKER_MANIFEST, MANIFEST_IMAGE},
    {OCI_ARTIFACT, MANIFEST_ARTIFACT},
    {DOCKER "v1+prettyjws", MANIFEST_SCHEMA1},
    {DOCKER "v1+json", MANIFEST_SCHEMA1},
};

const char *manifest_accept_list(void)
{
	return OCI_INDEX ", " DOCKER_LIST ", " OCI_MANIFEST
			 ", " DOCKER_MANIFEST;
}

enum manifest_kind manifest_type_kind(const char *media_type)
{
	for (size_t i = 0; i < ARRAY_LEN(known_types); i++)
		if (strcasecmp(known_types[i].media_type, media_type) == 0)
			return known_types[i].kind;
	return MANIFEST_OPAQUE;
}

/* RFC 6838, 4.2: the characters of a restricted-name, and "/" once. */
bool manifest_type_is_valid(const char *s, size_t len)
{
	static const char marks[] = "!#$&-^_.+";
	size_t slashes = 0;

	if (!len || len >= MEDIA_TYPE_MAX || s[0] == '/' || s[len - 1] == '/')
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = s[i];

		if (c == '/')
			slashes++;
		else if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			   (c >= '0' && c <= '9') || (c && strchr(marks, c))))
			return false;
	}
	return slashes == 1;
}

/* ---- of one document ---- */

/* Copy a Content-Type without parameters and blanks into out. */
static enum err header_type(const char *header, char *out, struct why *why)
{
	size_t len;

	out[0] = '\0';
	if (!header)
		return ERR_OK;
	header += strspn(header, " \t");
	len = strcspn(header, ";");
	while (len && (header[len - 1] == ' ' || header[len - 1] == '\t'))
		len--;
	if (!len)
		return ERR_OK;
	if (!manifest_type_is_valid(header, len))
		return why_set(why, ERR_INVALID,
			       "manifest: Content-Type is not a media type");
	memcpy(out, header, len);
	out[len] = '\0';
	return ERR_OK;
}

static bool is_schema1(const json_t *root)
{
	return json_integer_value(manifest_field(root, "schemaVersion")) == 1;
}

/* Neither a header nor the body names a type. */
static enum err guess_type(const json_t *root, char *out, struct why *why)
{
	const char *type;

	if (is_schema1(root))
		type = DOCKER "v1+prettyjws";
	else if (manifest_field(root, "manifests"))
		type = OCI_INDEX;
	else if (manifest_field(root, "config") ||
		 manifest_field(root, "layers"))
		type = OCI_MANIFEST;
	else
		return why_set(why, ERR_INVALID,
			       "manifest: neither Content-Type nor mediaType "
			       "nor its keys tell its type");
	memcpy(out, type, strlen(type) + 1);
	return ERR_OK;
}

static enum err find_type(const json_t *root, const char *header, char *out,
			  struct why *why)
{
	json_t *value = manifest_field(root, "mediaType");
	const char *type = manifest_text(value);
	enum err err = header_type(header, out, why);

	if (err)
		return err;
	if (!value)
		return *out ? ERR_OK : guess_type(root, out, why);
	if (!type || !manifest_type_is_valid(type, strlen(type)))
		return why_set(why, ERR_INVALID,
			       "manifest: mediaType is not a media type");
	if (*out && strcasecmp(out, type) != 0)
		return why_set(why, ERR_INVALID,
			       "manifest: Content-Type is %.90s but mediaType "
			       "is %.90s",
			       out, type);
	memcpy(out, type, strlen(type) + 1);
	return ERR_OK;
}

/*
 * One document must not be two: a client that reads `manifests` and one that
 * reads `layers` would pull different content under one digest.
 */
static enum err check_kind(const json_t *root, enum manifest_kind kind,
			   struct why *why)
{
	json_t *version = manifest_field(root, "schemaVersion");
	bool image =
	    manifest_field(root, "config") || manifest_field(root, "layers");
	bool index = manifest_field(root, "manifests");

	if (kind != MANIFEST_IMAGE && kind != MANIFEST_INDEX)
		return ERR_OK;
	if (version && json_integer_value(version) != 2)
		return why_set(why, ERR_INVALID,
			       "manifest: schemaVersion is not 2");
	if (kind == MANIFEST_IMAGE ? index : image)
		return why_set(
		    why, ERR_INVALID, "manifest: %s, but it has the keys of %s",
		    kind == MANIFEST_IMAGE ? "an image" : "an index",
		    kind == MANIFEST_IMAGE ? "an index" : "an image");
	if (kind == MANIFEST_IMAGE && !manifest_field(root, "config"))
		return why_set(why, ERR_INVALID,
			       "manifest: an image without a config");
	return ERR_OK;
}

enum err manifest_read_type(const json_t *root, const char *content_type,
			    struct manifest_facts *facts, struct why *why)
{
	enum err err = find_type(root, content_type, facts->media_type, why);

	if (err)
		return err;
	facts->kind = manifest_type_kind(facts->media_type);
	if (facts->kind == MANIFEST_OPAQUE && is_schema1(root) &&
	    manifest_field(root, "fsLayers"))
		facts->kind = MANIFEST_SCHEMA1;
	return check_kind(root, facts->kind, why);
}
