/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/digest.h"

#include <openssl/evp.h>

struct hasher {
	EVP_MD_CTX *ctx;
	enum digest_alg alg;
};

static const struct alg {
	enum digest_alg id;
	const char *name;
	size_t bytes;
} algs[] = {
    {DIGEST_SHA256, "sha256", 32},
    {DIGEST_SHA512, "sha512", 64},
};

static const struct alg *alg_by_id(unsigned id)
{
	for (size_t i = 0; i < ARRAY_LEN(algs); i++)
		if (algs[i].id == id)
			return &algs[i];
	return NULL;
}

static const struct alg *alg_by_prefix(const char *text, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(algs); i++) {
		size_t n = strlen(algs[i].name);

		if (len > n && text[n] == ':' &&
		    memcmp(text, algs[i].name, n) == 0)
			return &algs[i];
	}
	return NULL;
}

/* Lower case only: the grammar has no other. */
static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

size_t digest_len(const struct digest *dg)
{
	const struct alg *alg = alg_by_id(dg->alg);

	assert(alg);
	return alg->bytes;
}

enum err digest_parse(const char *text, size_t len, struct digest *out)
{
	const struct alg *alg = alg_by_prefix(text, len);
	struct digest dg = {0};
	const char *hex;

	if (!alg)
		return ERR_INVALID;
	hex = text + strlen(alg->name) + 1;
	if (len - (size_t)(hex - text) != alg->bytes * 2)
		return ERR_INVALID;
	for (size_t i = 0; i < alg->bytes; i++) {
		int hi = hex_value(hex[2 * i]);
		int lo = hex_value(hex[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return ERR_INVALID;
		dg.bytes[i] = (uint8_t)(hi << 4 | lo);
	}
	dg.alg = (uint8_t)alg->id;
	*out = dg;
	return ERR_OK;
}

char *digest_hex(const struct digest *dg, char *out)
{
	static const char digits[] = "0123456789abcdef";
	size_t n = digest_len(dg);

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[dg->bytes[i] >> 4];
		out[2 * i + 1] = digits[dg->bytes[i] & 15];
	}
	out[2 * n] = '\0';
	return out;
}

char *digest_text(const struct digest *dg, char *out)
{
	const struct alg *alg = alg_by_id(dg->alg);
	size_t n;

	assert(alg);
	n = strlen(alg->name);
	memcpy(out, alg->name, n);
	out[n] = ':';
	digest_hex(dg, out + n + 1);
	return out;
}

const char *digest_alg_name(const struct digest *dg)
{
	const struct alg *alg = alg_by_id(dg->alg);

	assert(alg);
	return alg->name;
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

size_t digest_to_key(const struct digest *dg, uint8_t *key)
{
	size_t n = digest_len(dg);

	key[0] = dg->alg;
	memcpy(key + 1, dg->bytes, n);
	return n + 1;
}

size_t digest_from_key(const uint8_t *key, size_t len, struct digest *out)
{
	const struct alg *alg = len ? alg_by_id(key[0]) : NULL;

	if (!alg || len < alg->bytes + 1)
		return 0;
	memset(out, 0, sizeof(*out));
	out->alg = key[0];
	memcpy(out->bytes, key + 1, alg->bytes);
	return alg->bytes + 1;
}

static const EVP_MD *alg_md(enum digest_alg alg)
{
	return alg == DIGEST_SHA512 ? EVP_sha512() : EVP_sha256();
}

/* EVP fails only for want of memory or a broken library: our own fault. */
static void must(int ok)
{
	if (ok != 1) {
		fputs("entrepot: OpenSSL's digests do not work\n", stderr);
		abort();
	}
}

struct hasher *hasher_new(enum digest_alg alg)
{
	struct hasher *h = xcalloc(1, sizeof(*h));

	h->alg = alg;
	h->ctx = EVP_MD_CTX_new();
	must(h->ctx != NULL);
	must(EVP_DigestInit_ex(h->ctx, alg_md(alg), NULL));
	return h;
}

struct hasher *hasher_clone(const struct hasher *h)
{
	struct hasher *copy = xcalloc(1, sizeof(*copy));

	copy->alg = h->alg;
	copy->ctx = EVP_MD_CTX_new();
	must(copy->ctx != NULL);
	must(EVP_MD_CTX_copy_ex(copy->ctx, h->ctx));
	return copy;
}

void hasher_update(struct hasher *h, const void *buf, size_t len)
{
	must(EVP_DigestUpdate(h->ctx, buf, len));
}

void hasher_final(struct hasher *h, struct digest *out)
{
	unsigned len = 0;

	memset(out, 0, sizeof(*out));
	out->alg = (uint8_t)h->alg;
	must(EVP_DigestFinal_ex(h->ctx, out->bytes, &len));
	assert(len == digest_len(out));
}

void hasher_free(struct hasher **h)
{
	if (!*h)
		return;
	EVP_MD_CTX_free((*h)->ctx);
	free(*h);
	*h = NULL;
}

void digest_of(enum digest_alg alg, const void *buf, size_t len,
	       struct digest *out)
{
	struct hasher *h = hasher_new(alg);

	hasher_update(h, buf, len);
	hasher_final(h, out);
	hasher_free(&h);
}
