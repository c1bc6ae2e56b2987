/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Manifests.  The first line of the input is the Content-Type, the rest the
 * body.  What must hold: facts of an accepted manifest are whole and within
 * their types, its type can stand in a header, a refusal leaves nothing behind
 * and says why.
 */
#include "cache/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
	if (!ok)
		abort();
}

static bool type_is_safe(const char *type)
{
	for (const char *p = type; *p; p++)
		if (*p <= ' ' || *p > '~' || *p == ';' || *p == ',')
			return false;
	return strlen(type) < MEDIA_TYPE_MAX;
}

static void check_child(const struct manifest_child *child)
{
	require(child->size <= INT64_MAX);
	require(child->role >= CHILD_CONFIG && child->role <= CHILD_BLOB);
	require(child->skipped == (child->dg.alg == 0));
	require(type_is_safe(child->media_type));
	require(child->os && child->arch && child->variant);
}

/* It is JSON: inside a document of an unknown type it can be read. */
static void check_descriptor(const struct manifest_facts *facts)
{
	char *text = manifest_referrer_descriptor(facts, &facts->subject, 1);
	char *wrapped = xasprintf("{\"d\":%s}", text);
	struct manifest_facts opaque;

	require(manifest_parse(wrapped, strlen(wrapped), SIZE_MAX,
			       "application/x", &opaque, NULL) == ERR_OK);
	manifest_facts_release(&opaque);
	free(wrapped);
	free(text);
}

static void check_facts(const struct manifest_facts *facts)
{
	require(*facts->media_type && type_is_safe(facts->media_type));
	for (size_t i = 0; i < facts->n_children; i++)
		check_child(&facts->children[i]);
	if (facts->kind == MANIFEST_OPAQUE || facts->kind == MANIFEST_SCHEMA1)
		require(!facts->n_children && !facts->has_subject);
	if (facts->kind == MANIFEST_IMAGE)
		require(facts->n_children &&
			facts->children[0].role == CHILD_CONFIG);
	if (facts->has_subject)
		check_descriptor(facts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *split = size ? memchr(data, '\n', size) : NULL;
	struct manifest_facts facts;
	struct why why = {""};
	char *type = NULL;

	if (split) {
		type = xstrndup((const char *)data, (size_t)(split - data));
		size -= (size_t)(split - data) + 1;
		data = split + 1;
	}
	if (manifest_parse(data, size, 1 * MIB, type, &facts, &why) == ERR_OK)
		check_facts(&facts);
	else
		require(why.text[0] && !facts.json && !facts.children);
	manifest_facts_release(&facts);
	free(type);
	return 0;
}
