/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/row_code.h"

static uint8_t *grow(struct row_out *out, size_t len)
{
	uint8_t *at;

	if (len > out->room - out->len) {
		out->room = MAX(2 * out->room, out->len + len);
		out->buf = xrealloc(out->buf, out->room);
	}
	at = out->buf + out->len;
	out->len += len;
	return at;
}

void row_out_begin(struct row_out *out)
{
	out->room = 256;
	out->buf = xmalloc(out->room);
	out->len = 0;
	row_out_u8(out, ROW_VERSION);
}

void row_out_u8(struct row_out *out, uint8_t v)
{
	*grow(out, 1) = v;
}

void row_out_u64(struct row_out *out, uint64_t v)
{
	put_be64(grow(out, 8), v);
}

void row_out_bytes(struct row_out *out, const void *ptr, size_t len)
{
	assert(len <= UINT32_MAX);
	put_be32(grow(out, 4), (uint32_t)len);
	if (len)
		memcpy(grow(out, len), ptr, len);
}

void row_out_digest(struct row_out *out, const struct digest *dg)
{
	if (dg->alg)
		digest_to_key(dg, grow(out, 1 + digest_len(dg)));
	else
		row_out_u8(out, 0);
}

void row_out_put(struct row_out *out, struct index_txn *txn,
		 enum index_table table, struct slice key)
{
	index_put(txn, table, key, slice_of(out->buf, out->len));
	free(out->buf);
	out->buf = NULL;
}

void row_in_begin(struct row_in *in, struct slice payload)
{
	in->rest = payload;
	in->bad = false;
	if (row_in_u8(in) != ROW_VERSION)
		in->bad = true;
}

/* The next `len` bytes, or NULL. */
static const uint8_t *take(struct row_in *in, size_t len)
{
	const uint8_t *p = in->rest.ptr;

	if (in->bad || len > in->rest.len) {
		in->bad = true;
		return NULL;
	}
	in->rest = slice_of(p + len, in->rest.len - len);
	return p;
}

uint8_t row_in_u8(struct row_in *in)
{
	const uint8_t *p = take(in, 1);

	return p ? *p : 0;
}

uint64_t row_in_u64(struct row_in *in)
{
	const uint8_t *p = take(in, 8);

	return p ? get_be64(p) : 0;
}

struct slice row_in_bytes(struct row_in *in)
{
	const uint8_t *p = take(in, 4);
	size_t len = p ? get_be32(p) : 0;

	p = take(in, len);
	return slice_of(p, p ? len : 0);
}

void row_in_digest(struct row_in *in, struct digest *out)
{
	size_t len = 1;

	memset(out, 0, sizeof(*out));
	if (in->bad)
		return;
	if (!in->rest.len || in->rest.ptr[0] != 0)
		len = digest_from_key(in->rest.ptr, in->rest.len, out);
	if (!len)
		in->bad = true;
	take(in, len);
}

uint8_t row_in_enum(struct row_in *in, uint8_t first, uint8_t last)
{
	uint8_t v = row_in_u8(in);

	if (v < first || v > last)
		in->bad = true;
	return v;
}

void row_in_text(struct row_in *in, char *out, size_t size)
{
	struct slice text = row_in_bytes(in);

	out[0] = '\0';
	if (in->bad || !text.len)
		return;
	if (text.len >= size || memchr(text.ptr, 0, text.len)) {
		in->bad = true;
		return;
	}
	memcpy(out, text.ptr, text.len);
	out[text.len] = '\0';
}

enum err row_in_end(const struct row_in *in)
{
	return in->bad || in->rest.len ? ERR_CORRUPT : ERR_OK;
}
