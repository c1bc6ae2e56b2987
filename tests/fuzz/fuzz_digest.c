/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests as text and as index keys.  What must hold: what is read is written
 * back byte by byte, and what is refused leaves the output alone.
 */
#include "cache/digest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void try_text(const char *text, size_t len)
{
	struct digest dg, before;
	char out[DIGEST_TEXT_MAX];

	memset(&dg, 0x5a, sizeof(dg));
	before = dg;
	if (digest_parse(text, len, &dg) != ERR_OK) {
		require(memcmp(&dg, &before, sizeof(dg)) == 0);
		return;
	}
	require(strlen(digest_text(&dg, out)) == len);
	require(memcmp(out, text, len) == 0);
	require(strlen(digest_hex(&dg, out)) == 2 * digest_len(&dg));
	require(strncmp(text, digest_alg_name(&dg), 6) == 0);
}

static void try_key(const uint8_t *key, size_t len)
{
	struct digest dg, again;
	uint8_t out[DIGEST_KEY_MAX];
	char text[DIGEST_TEXT_MAX];
	size_t used = digest_from_key(key, len, &dg);

	if (!used)
		return;
	require(used <= len);
	require(digest_to_key(&dg, out) == used);
	require(memcmp(out, key, used) == 0);
	digest_text(&dg, text);
	require(digest_parse(text, strlen(text), &again) == ERR_OK);
	require(digest_equal(&dg, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_text((const char *)data, size);
	try_key(data, size);
	return 0;
}
