/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   packed = kind:8 child*
 *   child  = flags-and-role:8 digest|0:8 length:8 platform
 */
#include "cache/children.h"

#include "cache/key.h"

#define FOREIGN 0x80
#define CHILD_MOST (1 + DIGEST_KEY_MAX + 1 + PLATFORM_MAX)

static size_t pack_platform(const struct manifest_child *c, uint8_t *out)
{
	char text[PLATFORM_MAX + 1];
	size_t len;

	if (!*c->os && !*c->arch && !*c->variant) {
		out[0] = 0;
		return 1;
	}
	snprintf(text, sizeof(text), "%s/%s/%s", c->os, c->arch, c->variant);
	len = strlen(text);
	out[0] = (uint8_t)len;
	memcpy(out + 1, text, len);
	return 1 + len;
}

static size_t pack_child(const struct manifest_child *c, uint8_t *out)
{
	size_t len = 0;

	out[len++] = (uint8_t)(c->role | (c->foreign ? FOREIGN : 0));
	if (c->skipped)
		out[len++] = 0;
	else
		len += digest_to_key(&c->dg, out + len);
	return len + pack_platform(c, out + len);
}

uint8_t *children_pack(const struct manifest_facts *facts, size_t *len)
{
	size_t n = MIN(facts->n_children, (size_t)CHILDREN_MAX);
	uint8_t *packed = xmalloc(1 + n * CHILD_MOST);

	*len = 0;
	packed[(*len)++] = (uint8_t)facts->kind;
	for (size_t i = 0; i < n; i++)
		*len += pack_child(&facts->children[i], packed + *len);
	return packed;
}

bool children_begin(struct slice packed, enum manifest_kind *kind,
		    struct slice *rest)
{
	if (!packed.len || packed.ptr[0] < MANIFEST_OPAQUE ||
	    packed.ptr[0] > MANIFEST_SCHEMA1)
		return false;
	*kind = packed.ptr[0];
	*rest = slice_of(packed.ptr + 1, packed.len - 1);
	return true;
}

static void skip(struct slice *rest, size_t n)
{
	*rest = slice_of(rest->ptr + n, rest->len - n);
}

static bool take_child(struct slice *rest, struct child *out)
{
	size_t len;

	if (rest->len < 2)
		return false;
	memset(out, 0, sizeof(*out));
	out->foreign = rest->ptr[0] & FOREIGN;
	out->role = rest->ptr[0] & ~FOREIGN;
	skip(rest, 1);
	if (out->role < CHILD_CONFIG || out->role > CHILD_BLOB)
		return false;
	if (rest->ptr[0] == 0)
		skip(rest, 1);
	else if (!key_take_digest(rest, &out->dg))
		return false;
	if (!rest->len)
		return false;
	len = rest->ptr[0];
	skip(rest, 1);
	if (len > rest->len)
		return false;
	out->platform = slice_of(rest->ptr, len);
	skip(rest, len);
	return true;
}

bool children_next(struct slice *rest, struct child *out, bool *bad)
{
	if (!rest->len)
		return false;
	if (take_child(rest, out))
		return true;
	*bad = true;
	return false;
}
