/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/key.h"

static uint8_t *grow(struct key *k, size_t len)
{
	uint8_t *at = k->bytes + k->len;

	assert(len <= sizeof(k->bytes) - k->len);
	k->len += len;
	return at;
}

void key_u64(struct key *k, uint64_t v)
{
	put_be64(grow(k, 8), v);
}

void key_digest(struct key *k, const struct digest *dg)
{
	assert(dg->alg);
	digest_to_key(dg, grow(k, 1 + digest_len(dg)));
}

void key_bytes(struct key *k, const void *ptr, size_t len)
{
	memcpy(grow(k, len), ptr, len);
}

bool key_take_u64(struct slice *rest, uint64_t *out)
{
	if (rest->len < 8)
		return false;
	*out = get_be64(rest->ptr);
	rest->ptr += 8;
	rest->len -= 8;
	return true;
}

bool key_take_digest(struct slice *rest, struct digest *out)
{
	size_t used = digest_from_key(rest->ptr, rest->len, out);

	rest->ptr += used;
	rest->len -= used;
	return used > 0;
}
