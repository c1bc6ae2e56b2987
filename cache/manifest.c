/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/manifest.h"

#include <jansson.h>

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

/* OCI image-spec, layer.md, and Docker's "foreign" layers. */
static const char *const foreign_prefixes[] = {
    "application/vnd.oci.image.layer.nondistributable.",
    "application/vnd.docker.image.rootfs.foreign.",
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

/* ---- before the parser ---- */

/* The byte after a string that begins behind the quote at p[-1]. */
static const char *skip_string(const char *p, const char *end)
{
	while (p < end && *p != '"')
		p += *p == '\\' && p + 1 < end ? 2 : 1;
	return p < end ? p + 1 : end;
}

/*
 * Count levels and values without building anything, so that a hostile
 * document costs neither stack nor memory.  Every value but the first follows
 * a comma or opens its container; whether it is JSON at all is for the parser
 * to say.
 */
static enum err check_shape(const char *p, size_t len, struct why *why)
{
	const char *end = p + len;
	size_t depth = 0, values = 0;

	while (p < end) {
		char c = *p++;

		if (c == '"')
			p = skip_string(p, end);
		else if (c == '{' || c == '[')
			depth++, values++;
		else if (c == ',')
			values++;
		else if ((c == '}' || c == ']') && depth)
			depth--;
		if (depth > MANIFEST_DEPTH_MAX)
			return why_set(why, ERR_INVALID,
				       "manifest: more than %d levels deep",
				       MANIFEST_DEPTH_MAX);
		if (values > MANIFEST_VALUES_MAX)
			return why_set(why, ERR_INVALID,
				       "manifest: more than %d values",
				       MANIFEST_VALUES_MAX);
	}
	return ERR_OK;
}

/* NULs are legal in JSON strings; text() keeps them from being ours. */
static enum err load(const void *buf, size_t len, json_t **out, struct why *why)
{
	json_error_t error;
	enum err err = check_shape(buf, len, why);

	if (err)
		return err;
	*out = json_loadb(buf, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL,
			  &error);
	if (!*out)
		return why_set(why, ERR_INVALID,
			       "manifest: not JSON: %.150s at byte %d",
			       error.text, error.position);
	if (!json_is_object(*out))
		return why_set(why, ERR_INVALID, "manifest: not a JSON object");
	return ERR_OK;
}

/* ---- fields ---- */

/* The value of a key; NULL when absent or null. */
static json_t *field(const json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);

	return json_is_null(value) ? NULL : value;
}

/* A string's text; NULL when it is none, is empty or has a NUL within. */
static const char *text(const json_t *value)
{
	const char *s = json_string_value(value);

	if (!s || !*s || strlen(s) != json_string_length(value))
		return NULL;
	return s;
}

/* RFC 6838, 4.2: the characters of a restricted-name, and "/" once. */
static bool media_type_valid(const char *s, size_t len)
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

/* A descriptor's media type, which nothing depends on: odd is as absent. */
static const char *media_type_or_empty(const json_t *descriptor)
{
	const char *s = text(field(descriptor, "mediaType"));

	return s && media_type_valid(s, strlen(s)) ? s : "";
}

/* An optional key that must be of the given JSON type where it is. */
static enum err optional(const json_t *object, const char *key, json_type type,
			 json_t **out, struct why *why)
{
	*out = field(object, key);
	if (*out && json_typeof(*out) != type)
		return why_set(why, ERR_INVALID, "manifest: \"%s\" is not %s",
			       key,
			       type == JSON_ARRAY    ? "a list"
			       : type == JSON_OBJECT ? "an object"
						     : "a string");
	return ERR_OK;
}

/* ---- the type ---- */

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
	if (!media_type_valid(header, len))
		return why_set(why, ERR_INVALID,
			       "manifest: Content-Type is not a media type");
	memcpy(out, header, len);
	out[len] = '\0';
	return ERR_OK;
}

static bool is_schema1(const json_t *root)
{
	return json_integer_value(field(root, "schemaVersion")) == 1;
}

/* Neither a header nor the body names a type. */
static enum err guess_type(const json_t *root, char *out, struct why *why)
{
	const char *type;

	if (is_schema1(root))
		type = DOCKER "v1+prettyjws";
	else if (field(root, "manifests"))
		type = OCI_INDEX;
	else if (field(root, "config") || field(root, "layers"))
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
	json_t *value = field(root, "mediaType");
	const char *type = text(value);
	enum err err = header_type(header, out, why);

	if (err)
		return err;
	if (!value)
		return *out ? ERR_OK : guess_type(root, out, why);
	if (!type || !media_type_valid(type, strlen(type)))
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
	json_t *version = field(root, "schemaVersion");
	bool image = field(root, "config") || field(root, "layers");
	bool index = field(root, "manifests");

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
	if (kind == MANIFEST_IMAGE && !field(root, "config"))
		return why_set(why, ERR_INVALID,
			       "manifest: an image without a config");
	return ERR_OK;
}

/* ---- descriptors ---- */

/*
 * OCI image-spec, descriptor, "Digests", for an algorithm that is not ours:
 *   algorithm ::= [a-z0-9]+ ([+._-] [a-z0-9]+)*    encoded ::= [a-zA-Z0-9=_-]+
 */
static bool is_other_digest(const char *s)
{
	static const char encoded[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789=_-";
	const char *colon = strchr(s, ':');
	bool in_word = false;

	if (!colon || strncmp(s, "sha256:", 7) == 0 ||
	    strncmp(s, "sha512:", 7) == 0)
		return false;
	for (; s < colon; s++) {
		if ((*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9'))
			in_word = true;
		else if (in_word && strchr("+._-", *s))
			in_word = false;
		else
			return false;
	}
	return in_word && colon[1] && !colon[1 + strspn(colon + 1, encoded)];
}

/* *skipped: well-formed, but of an algorithm that we do not serve. */
static enum err parse_digest(const json_t *descriptor, const char *what,
			     struct digest *out, bool *skipped, struct why *why)
{
	const char *s = text(field(descriptor, "digest"));

	*skipped = false;
	if (s && digest_parse(s, strlen(s), out) == ERR_OK)
		return ERR_OK;
	*skipped = s && is_other_digest(s);
	if (*skipped)
		return ERR_OK;
	return why_set(why, ERR_INVALID, "manifest: the digest of %s is %s",
		       what, s ? "malformed" : "missing");
}

/* jansson itself refuses integers beyond int64_t, so "too big" ends there. */
static enum err parse_size(const json_t *descriptor, const char *what,
			   uint64_t *out, struct why *why)
{
	json_t *value = field(descriptor, "size");

	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return why_set(why, ERR_INVALID,
			       "manifest: the size of %s is not a size", what);
	*out = (uint64_t)json_integer_value(value);
	return ERR_OK;
}

static bool is_foreign(const json_t *descriptor, const char *media_type)
{
	if (json_array_size(field(descriptor, "urls")))
		return true;
	for (size_t i = 0; i < ARRAY_LEN(foreign_prefixes); i++)
		if (strncasecmp(media_type, foreign_prefixes[i],
				strlen(foreign_prefixes[i])) == 0)
			return true;
	return false;
}

static const char *text_or_empty(const json_t *object, const char *key)
{
	const char *s = text(field(object, key));

	return s ? s : "";
}

static void parse_platform(const json_t *descriptor,
			   struct manifest_child *child)
{
	const json_t *platform = field(descriptor, "platform");

	child->os = text_or_empty(platform, "os");
	child->arch = text_or_empty(platform, "architecture");
	child->variant = text_or_empty(platform, "variant");
}

static enum child_role index_entry_role(const char *media_type)
{
	return manifest_type_kind(media_type) == MANIFEST_OPAQUE
		   ? CHILD_BLOB
		   : CHILD_MANIFEST;
}

static enum err parse_child(const json_t *descriptor, const char *what,
			    struct manifest_child *child, struct why *why)
{
	enum err err;

	if (!json_is_object(descriptor))
		return why_set(why, ERR_INVALID,
			       "manifest: %s is not a descriptor", what);
	err = parse_digest(descriptor, what, &child->dg, &child->skipped, why);
	if (!err)
		err = parse_size(descriptor, what, &child->size, why);
	if (err)
		return err;
	child->media_type = media_type_or_empty(descriptor);
	child->foreign = is_foreign(descriptor, child->media_type);
	child->os = child->arch = child->variant = "";
	return ERR_OK;
}

static enum err parse_list(const json_t *list, const char *key,
			   enum child_role role, struct manifest_facts *facts,
			   struct why *why)
{
	char what[40];
	json_t *descriptor;
	size_t i;

	json_array_foreach (list, i, descriptor) {
		struct manifest_child *child =
		    &facts->children[facts->n_children];
		enum err err;

		snprintf(what, sizeof(what), "%s[%zu]", key, i);
		err = parse_child(descriptor, what, child, why);
		if (err)
			return err;
		child->role = role;
		if (facts->kind == MANIFEST_INDEX) {
			child->role = index_entry_role(child->media_type);
			parse_platform(descriptor, child);
		}
		facts->n_children++;
	}
	return ERR_OK;
}

/* Where each kind keeps its children. */
static const struct kind_keys {
	enum manifest_kind kind;
	const char *list;
	enum child_role role;
	bool config;
} kind_keys[] = {
    {MANIFEST_IMAGE, "layers", CHILD_LAYER, true},
    {MANIFEST_INDEX, "manifests", CHILD_MANIFEST, false},
    {MANIFEST_ARTIFACT, "blobs", CHILD_BLOB, false},
};

static const struct kind_keys *keys_of(enum manifest_kind kind)
{
	for (size_t i = 0; i < ARRAY_LEN(kind_keys); i++)
		if (kind_keys[i].kind == kind)
			return &kind_keys[i];
	return NULL;
}

static enum err parse_children(const json_t *root, const struct kind_keys *keys,
			       struct manifest_facts *facts, struct why *why)
{
	json_t *list;
	enum err err = optional(root, keys->list, JSON_ARRAY, &list, why);

	if (err)
		return err;
	facts->children = xcalloc(json_array_size(list) + keys->config,
				  sizeof(*facts->children));
	if (keys->config) {
		err = parse_child(field(root, "config"), "config",
				  &facts->children[0], why);
		if (err)
			return err;
		facts->children[0].role = CHILD_CONFIG;
		facts->n_children = 1;
	}
	return parse_list(list, keys->list, keys->role, facts, why);
}

/* ---- what referrers need ---- */

static enum err parse_subject(const json_t *root, struct manifest_facts *facts,
			      struct why *why)
{
	json_t *subject;
	bool skipped;
	enum err err = optional(root, "subject", JSON_OBJECT, &subject, why);

	if (err || !subject)
		return err;
	err = parse_digest(subject, "subject", &facts->subject, &skipped, why);
	facts->has_subject = !err && !skipped;
	return err;
}

/*
 * OCI distribution-spec, "Listing Referrers": "If the artifactType is empty
 * or missing in the image manifest, the value of artifactType MUST be set to
 * the config descriptor mediaType value".
 */
static enum err parse_artifact_type(const json_t *root,
				    struct manifest_facts *facts,
				    struct why *why)
{
	json_t *value;
	enum err err = optional(root, "artifactType", JSON_STRING, &value, why);

	if (err)
		return err;
	facts->artifact_type = text(value);
	if (!facts->artifact_type && facts->kind == MANIFEST_IMAGE &&
	    *facts->children[0].media_type)
		facts->artifact_type = facts->children[0].media_type;
	return ERR_OK;
}

/*
 * Values that are no strings would make Go's parsers refuse the whole list of
 * referrers that repeats them.
 */
static enum err parse_annotations(const json_t *root,
				  struct manifest_facts *facts, struct why *why)
{
	json_t *annotations, *value;
	const char *key;
	enum err err =
	    optional(root, "annotations", JSON_OBJECT, &annotations, why);

	if (err || !json_object_size(annotations))
		return err;
	json_object_foreach (annotations, key, value) {
		if (!json_is_string(value))
			return why_set(why, ERR_INVALID,
				       "manifest: annotation \"%.100s\" is "
				       "not a string",
				       key);
	}
	facts->annotations = json_dumps(annotations, JSON_COMPACT);
	return ERR_OK;
}

/* ---- all of it ---- */

static enum err read_facts(const json_t *root, const char *content_type,
			   struct manifest_facts *facts, struct why *why)
{
	const struct kind_keys *keys;
	enum err err = find_type(root, content_type, facts->media_type, why);

	if (err)
		return err;
	facts->kind = manifest_type_kind(facts->media_type);
	if (facts->kind == MANIFEST_OPAQUE && is_schema1(root) &&
	    field(root, "fsLayers"))
		facts->kind = MANIFEST_SCHEMA1;
	err = check_kind(root, facts->kind, why);
	keys = keys_of(facts->kind);
	if (err || !keys)
		return err;
	err = parse_children(root, keys, facts, why);
	if (!err)
		err = parse_subject(root, facts, why);
	if (!err)
		err = parse_artifact_type(root, facts, why);
	if (!err)
		err = parse_annotations(root, facts, why);
	return err;
}

enum err manifest_parse(const void *buf, size_t len, size_t max_len,
			const char *content_type, struct manifest_facts *out,
			struct why *why)
{
	enum err err;

	memset(out, 0, sizeof(*out));
	if (len > max_len)
		return why_set(why, ERR_TOO_BIG,
			       "manifest: %zu bytes, and at most %zu are taken",
			       len, max_len);
	if (!len)
		return why_set(why, ERR_INVALID, "manifest: it is empty");
	err = load(buf, len, &out->json, why);
	if (!err)
		err = read_facts(out->json, content_type, out, why);
	if (err)
		manifest_facts_release(out);
	return err;
}

void manifest_facts_release(struct manifest_facts *facts)
{
	free(facts->children);
	free(facts->annotations);
	json_decref(facts->json);
	memset(facts, 0, sizeof(*facts));
}

/* A string that came out of a valid document goes into another. */
static void set(json_t *object, const char *key, STEALS json_t *value)
{
	int rc = json_object_set_new(object, key, value);

	assert(rc == 0);
	(void)rc;
}

char *manifest_referrer_descriptor(const struct manifest_facts *facts,
				   const struct digest *dg, uint64_t size)
{
	json_t *descriptor = json_object();
	char dg_text[DIGEST_TEXT_MAX];
	char *found;

	assert(size <= INT64_MAX);
	set(descriptor, "mediaType", json_string(facts->media_type));
	set(descriptor, "digest", json_string(digest_text(dg, dg_text)));
	set(descriptor, "size", json_integer((json_int_t)size));
	if (facts->artifact_type)
		set(descriptor, "artifactType",
		    json_string(facts->artifact_type));
	if (facts->annotations)
		set(descriptor, "annotations",
		    json_incref(field(facts->json, "annotations")));
	found = json_dumps(descriptor, JSON_COMPACT);
	json_decref(descriptor);
	assert(found);
	return found;
}
