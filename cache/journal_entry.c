/* SPDX-License-Identifier: Apache-2.0 */
/* The journal's statements as bytes. */
#include "cache/journal.h"

/* ---- writing ---- */

struct out {
	uint8_t *buf;
	size_t len;
};

static void out_bytes(struct out *o, const void *ptr, size_t len)
{
	assert(len <= JOURNAL_ENTRY_MAX - o->len);
	memcpy(o->buf + o->len, ptr, len);
	o->len += len;
}

static void out_u8(struct out *o, uint8_t v)
{
	out_bytes(o, &v, 1);
}

static void out_u64(struct out *o, uint64_t v)
{
	uint8_t bytes[8];

	put_be64(bytes, v);
	out_bytes(o, bytes, 8);
}

static void out_text(struct out *o, const char *text)
{
	out_bytes(o, text, strlen(text) + 1);
}

static void out_digest(struct out *o, const struct digest *dg)
{
	uint8_t key[DIGEST_KEY_MAX];

	out_bytes(o, key, digest_to_key(dg, key));
}

static void out_link(struct out *o, const struct journal_entry *e)
{
	out_digest(o, &e->dg);
	out_u8(o, (uint8_t)e->link);
	out_u8(o, e->sparse);
	out_u64(o, e->time_s);
	out_text(o, e->media_type ? e->media_type : "");
}

size_t journal_entry_encode(const struct journal_entry *e, uint8_t *buf)
{
	struct out o = {.buf = buf};

	out_u8(&o, JOURNAL_ENTRY_VERSION);
	out_u8(&o, (uint8_t)e->kind);
	out_text(&o, e->repo);
	switch (e->kind) {
	case JOURNAL_REPO:
		out_u8(&o, e->hosted);
		out_u64(&o, e->time_s);
		break;
	case JOURNAL_LINK:
		out_link(&o, e);
		break;
	case JOURNAL_UNLINK:
		out_digest(&o, &e->dg);
		break;
	case JOURNAL_TAG:
		out_text(&o, e->tag);
		out_digest(&o, &e->dg);
		out_u64(&o, e->time_s);
		break;
	case JOURNAL_UNTAG:
		out_text(&o, e->tag);
		break;
	}
	return o.len;
}

/* ---- reading ---- */

/* Remembers failure: after it, every field is zero. */
struct in {
	const uint8_t *at;
	size_t left;
	bool bad;
};

static const uint8_t *in_bytes(struct in *in, size_t len)
{
	const uint8_t *at = in->at;

	if (in->bad || len > in->left) {
		in->bad = true;
		return NULL;
	}
	in->at += len;
	in->left -= len;
	return at;
}

static uint8_t in_enum(struct in *in, uint8_t first, uint8_t last)
{
	const uint8_t *p = in_bytes(in, 1);

	if (!p)
		return 0;
	in->bad = *p < first || *p > last;
	return in->bad ? 0 : *p;
}

static uint64_t in_u64(struct in *in)
{
	const uint8_t *p = in_bytes(in, 8);

	return p ? get_be64(p) : 0;
}

/* At most `max` bytes and a NUL; *len is without it. */
static const char *in_text(struct in *in, size_t max, size_t *len)
{
	size_t room = MIN(in->left, max + 1);
	const uint8_t *nul = in->bad || !room ? NULL : memchr(in->at, 0, room);

	*len = 0;
	if (!nul) {
		in->bad = true;
		return "";
	}
	*len = (size_t)(nul - in->at);
	return (const char *)in_bytes(in, *len + 1);
}

static void in_digest(struct in *in, struct digest *out)
{
	size_t len = in->bad ? 0 : digest_from_key(in->at, in->left, out);

	if (!len)
		in->bad = true;
	(void)in_bytes(in, len);
}

static void in_repo(struct in *in, struct journal_entry *out)
{
	size_t len;

	out->repo = in_text(in, REPO_NAME_MAX, &len);
	in->bad |= !repo_name_valid(out->repo, len);
}

static void in_tag(struct in *in, struct journal_entry *out)
{
	size_t len;

	out->tag = in_text(in, TAG_MAX, &len);
	in->bad |= !tag_valid(out->tag, len);
}

static void in_link(struct in *in, struct journal_entry *out)
{
	size_t len;

	in_digest(in, &out->dg);
	out->link = in_enum(in, LINK_BLOB, LINK_MANIFEST);
	out->sparse = in_enum(in, 0, 1);
	out->time_s = in_u64(in);
	out->media_type = in_text(in, MEDIA_TYPE_MAX - 1, &len);
}

static void in_fields(struct in *in, struct journal_entry *out)
{
	switch (out->kind) {
	case JOURNAL_REPO:
		out->hosted = in_enum(in, 0, 1);
		out->time_s = in_u64(in);
		break;
	case JOURNAL_LINK:
		in_link(in, out);
		break;
	case JOURNAL_UNLINK:
		in_digest(in, &out->dg);
		break;
	case JOURNAL_TAG:
		in_tag(in, out);
		in_digest(in, &out->dg);
		out->time_s = in_u64(in);
		break;
	case JOURNAL_UNTAG:
		in_tag(in, out);
		break;
	}
}

enum err journal_entry_decode(const uint8_t *buf, size_t len,
			      struct journal_entry *out)
{
	struct in in = {.at = buf, .left = len};

	memset(out, 0, sizeof(*out));
	(void)in_enum(&in, JOURNAL_ENTRY_VERSION, JOURNAL_ENTRY_VERSION);
	out->kind = in_enum(&in, JOURNAL_REPO, JOURNAL_UNTAG);
	in_repo(&in, out);
	if (!in.bad)
		in_fields(&in, out);
	return in.bad || in.left ? ERR_CORRUPT : ERR_OK;
}
