/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any body as a token server's answer: a token that a header may hold, with a
 * life within bounds, or no token.
 */
#include "proxy/upstream_token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t life_s = 0;
	char *token = NULL;
	struct why why = {{0}};
	size_t len;

	if (token_answer_parse((const char *)data, size, &token, &life_s,
			       &why)) {
		assert(!token && why.text[0]);
		return 0;
	}
	len = strlen(token);
	assert(len > 0 && len <= TOKEN_TEXT_MAX);
	for (size_t i = 0; i < len; i++)
		assert(token[i] > 0x20 && token[i] < 0x7f);
	assert(life_s >= TOKEN_LIFE_MIN_S && life_s <= TOKEN_LIFE_MAX_S);
	free(token);
	return 0;
}
