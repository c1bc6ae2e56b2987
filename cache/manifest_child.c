/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/manifest_int.h"

/* OCI image-spec, layer.md, and Docker's "foreign" layers. */
static const char *const foreign_prefixes[] = {
    "application/vnd.oci.image.layer.nondistributable.",
    "application/vnd.docker.image.rootfs.foreign.",
};

/* A descriptor's media type, which nothing depends on: odd is as absent. */
static const char *media_type_or_empty(const json_t *descriptor)
{
	const char *s = manifest_text(manifest_field(descriptor, "mediaType"));

	return s && manifest_type_is_valid(s, strlen(s)) ? s : "";
}

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

enum err manifest_read_digest(const json_t *descriptor, const char *what,
			      struct digest *out, bool *skipped,
			      struct why *why)
{
	const char *s = manifest_text(manifest_field(descriptor, "digest"));

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
	json_t *value = manifest_field(descriptor, "size");

	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return why_set(why, ERR_INVALID,
			       "manifest: the size of %s is not a size", what);
	*out = (uint64_t)json_integer_value(value);
	return ERR_OK;
}

static bool is_foreign(const json_t *descriptor, const char *media_type)
{
	if (json_array_size(manifest_field(descriptor, "urls")))
		return true;
	for (size_t i = 0; i < ARRAY_LEN(foreign_prefixes); i++)
		if (strncasecmp(media_type, foreign_prefixes[i],
				strlen(foreign_prefixes[i])) == 0)
			return true;
	return false;
}

static const char *text_or_empty(const json_t *object, const char *key)
{
	const char *s = manifest_text(manifest_field(object, key));

	return s ? s : "";
}

static void parse_platform(const json_t *descriptor,
			   struct manifest_child *child)
{
	const json_t *platform = manifest_field(descriptor, "platform");

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
	err = manifest_read_digest(descriptor, what, &child->dg,
				   &child->skipped, why);
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

bool manifest_has_children(enum manifest_kind kind)
{
	return keys_of(kind);
}

enum err manifest_read_children(const json_t *root,
				struct manifest_facts *facts, struct why *why)
{
	const struct kind_keys *keys = keys_of(facts->kind);
	json_t *list;
	enum err err =
	    manifest_optional(root, keys->list, JSON_ARRAY, &list, why);

	if (err)
		return err;
	facts->children = xcalloc(json_array_size(list) + keys->config,
				  sizeof(*facts->children));
	if (keys->config) {
		err = parse_child(manifest_field(root, "config"), "config",
				  &facts->children[0], why);
		if (err)
			return err;
		facts->children[0].role = CHILD_CONFIG;
		facts->n_children = 1;
	}
	return parse_list(list, keys->list, keys->role, facts, why);
}
