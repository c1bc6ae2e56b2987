/* SPDX-License-Identifier: Apache-2.0 */
/* WWW-Authenticate, one field per line: strings end, Bearer wins. */
#include "proxy/http_challenge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_string(const char *s, size_t size)
{
	size_t len = strnlen(s, size);

	assert(len < size);
	for (size_t i = 0; i < len; i++)
		assert((unsigned char)s[i] >= 0x20 || s[i] == '\t');
}

static void check(const struct http_challenge *ch)
{
	check_string(ch->realm, sizeof(ch->realm));
	check_string(ch->service, sizeof(ch->service));
	check_string(ch->scope, sizeof(ch->scope));
	check_string(ch->error, sizeof(ch->error));
	assert(ch->scheme != HTTP_AUTH_BEARER || ch->realm[0]);
	assert(ch->scheme != HTTP_AUTH_NONE || !ch->realm[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span rest = {(const char *)data, size}, line;
	static struct http_challenge ch;
	enum http_auth_scheme before;

	http_challenge_init(&ch);
	do {
		if (!span_cut(&rest, '\n', &line)) {
			line = rest;
			rest.len = 0;
		}
		before = ch.scheme;
		http_challenge_add(&ch, line);
		assert(ch.scheme >= before);
		check(&ch);
	} while (rest.len);
	http_challenge_add(&ch, span_of("Bearer realm=\"r\""));
	assert(ch.scheme == HTTP_AUTH_BEARER);
	return 0;
}
