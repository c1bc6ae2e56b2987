/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A link file of Docker's registry, and the name of an image in a layout.
 * What must hold: what is accepted is a name, a tag, a digest by our grammars,
 * and nothing that leads out of a folder.
 */
#include "proxy/foreign.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char name[REPO_PATH_MAX + 1], tag[TAG_MAX + 1];
	char text[DIGEST_TEXT_MAX];
	uint8_t *exact = xmemdup(data, MAX(size, 1));
	char *string = xstrndup((const char *)data, size);
	struct digest dg;

	if (foreign_link_parse(exact, size, &dg) == ERR_OK) {
		digest_text(&dg, text);
		require(size >= strlen(text) &&
			memcmp(text, exact, strlen(text)) == 0);
	}
	if (foreign_ref_parse(string, name, tag, &dg) == ERR_OK) {
		require(!*name || repo_path_valid(name, strlen(name)));
		require(!*tag || tag_valid(tag, strlen(tag)));
		require(*name || *tag);
		require(!strstr(name, ".."));
	}
	free(string);
	free(exact);
	return 0;
}
