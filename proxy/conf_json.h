/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_CONF_JSON_H
#define PROXY_CONF_JSON_H
/*
 * Strict JSON for the configuration, and the errors that name a file and a key
 * path.  Main thread, but for what tests do.
 */
#include "proxy/conf.h"

#include <jansson.h>

#define CONF_TEXT_MAX (4 * MIB)
#define CONF_ERRORS_MAX 100

#define CONF_COMMAND_LINE "command line"

/* What one load carries along. */
struct conf_ctx {
	const char *source;           /* the file, or CONF_COMMAND_LINE */
	const struct conf_args *args; /* NULL: no flags */
	bool skip_files;    /* do not look at the files that options name */
	bool overriding;    /* an upstream may be there already */
	bool source_public; /* others may read the source */
	struct conf_strings errors;
	struct conf_strings warnings;
};

/*
 * Record "SOURCE: KEY: <sentence>".  `key` may be "" for the file as a whole.
 * Past CONF_ERRORS_MAX errors are dropped.
 */
void conf_complain(struct conf_ctx *ctx, const char *key, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
void conf_warn(struct conf_ctx *ctx, const char *key, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* conf_complain() of a value: "expected <expected>, found <what it is>". */
void conf_complain_value(struct conf_ctx *ctx, const char *key,
			 const char *expected, const json_t *found);

/*
 * Parse `text` into an object.  Key paths of duplicate keys are complained of;
 * keys that begin with "//" are comments and may be repeated.
 * NULL: complained; else the caller owns a reference.
 */
json_t *conf_json_parse(struct conf_ctx *ctx, const char *text, size_t len);

static inline bool conf_json_comment(const char *key)
{
	return key[0] == '/' && key[1] == '/';
}

/*
 * Read the whole file `path` (at most `max` bytes) into a NUL-terminated
 * buffer that the caller frees; *others tells whether everybody may read it.
 * ERR_NOT_FOUND, ERR_IO, ERR_TOO_BIG (with why).
 */
enum err conf_file_read(const char *path, size_t max, char **text, size_t *len,
			bool *others, struct why *why) MUST_CHECK;

#endif
