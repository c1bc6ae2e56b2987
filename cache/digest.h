/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_DIGEST_H
#define CACHE_DIGEST_H
/*
 * Content digests: "sha256:<64 hex>" and "sha512:<128 hex>", and the hash that
 * computes them.  The only file that uses OpenSSL's EVP digests.
 *
 * struct digest is a small value, copied freely; unused bytes are zero, so
 * two digests are equal exactly when memcmp() says so.
 */
#include "cache/err.h"

enum digest_alg { DIGEST_SHA256 = 1, DIGEST_SHA512 = 2 };

#define DIGEST_BYTES_MAX 64
/* "sha512:" + 128 hex digits + NUL */
#define DIGEST_TEXT_MAX (7 + 128 + 1)
/* one byte of algorithm, then the hash: the form in index keys */
#define DIGEST_KEY_MAX (1 + DIGEST_BYTES_MAX)

struct digest {
	uint8_t alg; /* enum digest_alg; 0 = none */
	uint8_t bytes[DIGEST_BYTES_MAX];
};

/* Length of the hash in bytes: 32 or 64. */
size_t digest_len(const struct digest *dg);

/*
 * Parse `len` bytes of text.  OCI image-spec, descriptor, "Digests":
 * "sha256 ... MUST match /[a-f0-9]{64}/", "sha512 ... /[a-f0-9]{128}/".
 * ERR_INVALID: malformed, or an algorithm that we do not serve; *out is
 * untouched.  Pure; any thread.
 */
enum err digest_parse(const char *text, size_t len,
		      struct digest *out) MUST_CHECK;

/* Write "alg:hex" and a NUL into out[DIGEST_TEXT_MAX]; returns out. */
char *digest_text(const struct digest *dg, char *out);

/* Only the hex part, NUL-terminated (129 bytes at most); returns out. */
char *digest_hex(const struct digest *dg, char *out);

/* "sha256" or "sha512". */
const char *digest_alg_name(const struct digest *dg);

bool digest_equal(const struct digest *a, const struct digest *b);

/* For in-memory tables; the digest's own bytes are random enough. */
static inline uint64_t digest_hash(const struct digest *dg)
{
	return get_be64(dg->bytes);
}

/*
 * Key form: one byte of algorithm and the hash, big-endian order as it
 * stands.  digest_to_key() returns the length written (33 or 65);
 * digest_from_key() returns the length read, or 0 if `len` bytes hold none.
 */
size_t digest_to_key(const struct digest *dg, uint8_t *key);
size_t digest_from_key(const uint8_t *key, size_t len, struct digest *out);

/*
 * A running hash.  A hasher belongs to one thread at a time.
 *
 *   hasher_new -> hasher_update* -> hasher_final -> hasher_free
 *                 hasher_clone at any point before final
 */
struct hasher;
struct hasher *hasher_new(enum digest_alg alg) MUST_CHECK;
struct hasher *hasher_clone(const struct hasher *h) MUST_CHECK;
void hasher_update(struct hasher *h, const void *buf, size_t len);
void hasher_final(struct hasher *h, struct digest *out);
void hasher_free(struct hasher **h);

/* The digest of one buffer. */
void digest_of(enum digest_alg alg, const void *buf, size_t len,
	       struct digest *out);

#endif
