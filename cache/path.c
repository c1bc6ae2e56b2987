/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/path.h"

#define HEX_MAX (2 * DIGEST_BYTES_MAX + 1)
#define MAP_SUFFIX ".map"
#define MAP_SUFFIX_LEN (sizeof(MAP_SUFFIX) - 1)
/* NAME_MAX is 255: 128 digits, "@", this, ".map" fit. */
#define HOST_WRITTEN_MAX 100

char *blob_path(const struct digest *dg, char *out)
{
	char hex[HEX_MAX];

	digest_hex(dg, hex);
	snprintf(out, PATH_LEN_MAX, "blobs/%s/%.2s/%s", digest_alg_name(dg),
		 hex, hex);
	return out;
}

char *blob_dir_path(const struct digest *dg, char *out)
{
	char hex[HEX_MAX];

	snprintf(out, PATH_LEN_MAX, "blobs/%s/%.2s", digest_alg_name(dg),
		 digest_hex(dg, hex));
	return out;
}

static bool is_plain(const char *host, size_t i)
{
	char c = host[i];

	if (c == '.')
		return i != 0 && strcmp(host + i, MAP_SUFFIX) != 0;
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || c == '_' || c == ':' || c == '-';
}

/* The host in its written form, or false if that is too long. */
static bool write_plainly(const char *host, char *out)
{
	size_t used = 0;

	for (size_t i = 0; host[i]; i++) {
		if (used + 3 > HOST_WRITTEN_MAX)
			return false;
		if (is_plain(host, i))
			out[used++] = host[i];
		else
			used += (size_t)snprintf(out + used, 4, "%%%02X",
						 (unsigned char)host[i]);
	}
	out[used] = '\0';
	return true;
}

static const char *written_host(const char *host, char *out)
{
	struct digest dg;
	char hex[HEX_MAX];

	if (!write_plainly(host, out)) {
		digest_of(DIGEST_SHA256, host, strlen(host), &dg);
		snprintf(out, HOST_WRITTEN_MAX + 1, "%%h%.32s",
			 digest_hex(&dg, hex));
	}
	return out;
}

char *staged_path(const struct digest *dg, const char *host, char *out)
{
	char hex[HEX_MAX], written[HOST_WRITTEN_MAX + 1];

	snprintf(out, PATH_LEN_MAX, "partial/%s/%s@%s", digest_alg_name(dg),
		 digest_hex(dg, hex), written_host(host, written));
	return out;
}

char *map_path(const char *staged, char *out)
{
	snprintf(out, PATH_LEN_MAX, "%s" MAP_SUFFIX, staged);
	return out;
}

static enum err parse_hex(const char *alg, const char *hex, size_t hex_len,
			  struct digest *out)
{
	char text[DIGEST_TEXT_MAX];
	int n = snprintf(text, sizeof(text), "%s:%.*s", alg, (int)hex_len, hex);

	if (n < 0 || (size_t)n >= sizeof(text))
		return ERR_INVALID;
	return digest_parse(text, (size_t)n, out);
}

enum err blob_path_parse(const char *path, struct digest *out)
{
	char again[PATH_LEN_MAX], alg[8];
	const char *slash = strrchr(path, '/');
	struct digest dg;

	if (!slash || strncmp(path, "blobs/", 6) != 0 || strlen(path) < 13)
		return ERR_INVALID;
	snprintf(alg, sizeof(alg), "%.6s", path + 6);
	if (parse_hex(alg, slash + 1, strlen(slash + 1), &dg) != ERR_OK)
		return ERR_INVALID;
	if (strcmp(blob_path(&dg, again), path) != 0)
		return ERR_INVALID;
	*out = dg;
	return ERR_OK;
}

enum err staged_name_parse(const char *alg, const char *name, bool *is_map,
			   struct digest *out)
{
	const char *at = strchr(name, '@');
	size_t len = strlen(name);

	if (!at || parse_hex(alg, name, (size_t)(at - name), out) != ERR_OK)
		return ERR_INVALID;
	*is_map = len > MAP_SUFFIX_LEN &&
		  strcmp(name + len - MAP_SUFFIX_LEN, MAP_SUFFIX) == 0;
	return ERR_OK;
}

/* ---- uploads ---- */

#define UPLOAD_ID_LEN (UPLOAD_ID_SIZE - 1)
#define PUT_SUFFIX "@put"

bool upload_id_valid(const char *id)
{
	if (strnlen(id, UPLOAD_ID_SIZE) != UPLOAD_ID_LEN)
		return false;
	for (size_t i = 0; i < UPLOAD_ID_LEN; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		bool hex = (id[i] >= '0' && id[i] <= '9') ||
			   (id[i] >= 'a' && id[i] <= 'f');

		if (dash ? id[i] != '-' : !hex)
			return false;
	}
	return true;
}

char *upload_path(const char *id, char *out)
{
	snprintf(out, PATH_LEN_MAX, "uploads/%s", id);
	return out;
}

char *upload_put_path(const char *id, char *out)
{
	snprintf(out, PATH_LEN_MAX, "uploads/%s" PUT_SUFFIX, id);
	return out;
}

char *upload_proven_path(const char *id, const struct digest *dg, char *out)
{
	char hex[HEX_MAX];

	snprintf(out, PATH_LEN_MAX, "uploads/%s@%s-%s", id, digest_alg_name(dg),
		 digest_hex(dg, hex));
	return out;
}

enum err upload_name_parse(const char *name, char *id, struct digest *out)
{
	char alg[8] = "";
	const char *rest;

	memset(out, 0, sizeof(*out));
	snprintf(id, UPLOAD_ID_SIZE, "%s", name);
	if (!upload_id_valid(id))
		return ERR_INVALID;
	rest = name + UPLOAD_ID_LEN;
	if (!*rest || strcmp(rest, PUT_SUFFIX) == 0)
		return ERR_OK;
	if (strlen(rest) < 8 || rest[0] != '@' || rest[7] != '-')
		return ERR_INVALID;
	memcpy(alg, rest + 1, 6); /* both algorithms have six letters */
	return parse_hex(alg, rest + 8, strlen(rest + 8), out);
}
