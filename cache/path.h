/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_PATH_H
#define CACHE_PATH_H
/*
 * Names of files below the data folder, relative to it.  Pure; any thread.
 *
 *   blobs/<alg>/<2 hex>/<hex>       a blob
 *   partial/<alg>/<hex>@<host>      a staged file; its map: the same + ".map"
 *   partial/<alg>/<hex>@            a large manifest on its way in
 *   uploads/<id>                    an upload session
 *   uploads/<id>@put                one that a PUT fills from its first byte
 *   uploads/<id>@<alg>-<hex>        one whose digest has matched
 *
 * <host> is an upstream's configured name, written so that any name gives one
 * safe file name, and no two give the same: bytes other than letters, digits
 * and "._:-" become %XX, as does a dot at the start or before a final "map".
 * A name that would become too long is "%h" and 32 digits of its SHA-256.
 */
#include "cache/digest.h"

#define PATH_LEN_MAX 320

/* Each writes into out[PATH_LEN_MAX] and returns it. */
char *blob_path(const struct digest *dg, char *out);
char *blob_dir_path(const struct digest *dg, char *out);
char *staged_path(const struct digest *dg, const char *host, char *out);
char *map_path(const char *staged, char *out);

/* The digest that a path of a blob, or a file name in partial/<alg>/, stands
 * for.  ERR_INVALID: no such name. */
enum err blob_path_parse(const char *path, struct digest *out) MUST_CHECK;
enum err staged_name_parse(const char *alg, const char *name, bool *is_map,
			   struct digest *out) MUST_CHECK;

/* An upload's id is a random UUID (RFC 9562 version 4) in its text form, in
 * lower case, with a NUL. */
#define UPLOAD_ID_SIZE 37
bool upload_id_valid(const char *id);

char *upload_path(const char *id, char *out);
char *upload_put_path(const char *id, char *out);
char *upload_proven_path(const char *id, const struct digest *dg, char *out);
/* The id of a file name in uploads/, into id[UPLOAD_ID_SIZE]; and the digest
 * (alg 0 = none in it).  ERR_INVALID: no such name. */
enum err upload_name_parse(const char *name, char *id,
			   struct digest *out) MUST_CHECK;

#endif
