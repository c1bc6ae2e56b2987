/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/manifest_int.h"

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

/* NULs are legal in JSON strings; manifest_text() keeps them out of ours. */
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

json_t *manifest_field(const json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);

	return json_is_null(value) ? NULL : value;
}

const char *manifest_text(const json_t *value)
{
	const char *s = json_string_value(value);

	if (!s || !*s || strlen(s) != json_string_length(value))
		return NULL;
	return s;
}

enum err manifest_optional(const json_t *object, const char *key,
			   json_type type, json_t **out, struct why *why)
{
	*out = manifest_field(object, key);
	if (*out && json_typeof(*out) != type)
		return why_set(why, ERR_INVALID, "manifest: \"%s\" is not %s",
			       key,
			       type == JSON_ARRAY    ? "a list"
			       : type == JSON_OBJECT ? "an object"
						     : "a string");
	return ERR_OK;
}

/* ---- what referrers need ---- */

static enum err parse_subject(const json_t *root, struct manifest_facts *facts,
			      struct why *why)
{
	json_t *subject;
	bool skipped;
	enum err err =
	    manifest_optional(root, "subject", JSON_OBJECT, &subject, why);

	if (err || !subject)
		return err;
	err = manifest_read_digest(subject, "subject", &facts->subject,
				   &skipped, why);
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
	enum err err =
	    manifest_optional(root, "artifactType", JSON_STRING, &value, why);

	if (err)
		return err;
	facts->artifact_type = manifest_text(value);
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
	enum err err = manifest_optional(root, "annotations", JSON_OBJECT,
					 &annotations, why);

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
	enum err err = manifest_read_type(root, content_type, facts, why);

	if (err || !manifest_has_children(facts->kind))
		return err;
	err = manifest_read_children(root, facts, why);
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
		    json_incref(manifest_field(facts->json, "annotations")));
	found = json_dumps(descriptor, JSON_COMPACT);
	json_decref(descriptor);
	assert(found);
	return found;
}
