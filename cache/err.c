/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/err.h"

#include <errno.h>
#include <stdarg.h>

static const char *const names[ERR_LAST] = {
    [ERR_OK] = "ok",
    [ERR_NOT_FOUND] = "not found",
    [ERR_EXISTS] = "exists",
    [ERR_INVALID] = "invalid",
    [ERR_MISMATCH] = "digest mismatch",
    [ERR_TOO_BIG] = "too big",
    [ERR_CORRUPT] = "corrupt",
    [ERR_IO] = "input/output error",
    [ERR_NO_SPACE] = "no space",
    [ERR_BUSY] = "busy",
    [ERR_DENIED] = "denied",
    [ERR_LIMITED] = "rate limited",
    [ERR_UNAVAILABLE] = "unavailable",
    [ERR_TIMEOUT] = "timed out",
    [ERR_BAD_UPSTREAM] = "bad upstream answer",
    [ERR_CANCELED] = "canceled",
};

const char *err_name(enum err err)
{
	assert(err >= 0 && err < ERR_LAST);
	return names[err];
}

enum err why_set(struct why *why, enum err err, const char *fmt, ...)
{
	va_list ap;

	if (!why)
		return err;
	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	return err;
}

static enum err err_from_errno(int error)
{
	switch (error) {
	case ENOENT:
		return ERR_NOT_FOUND;
	case EEXIST:
		return ERR_EXISTS;
	case ENOSPC:
	case EDQUOT:
		return ERR_NO_SPACE;
	default:
		return ERR_IO;
	}
}

enum err why_errno(struct why *why, int error, const char *fmt, ...)
{
	va_list ap;
	size_t used;

	if (!why)
		return err_from_errno(error);
	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	used = strlen(why->text);
	snprintf(why->text + used, sizeof(why->text) - used, ": %s",
		 strerrordesc_np(error) ? strerrordesc_np(error) : "unknown");
	return err_from_errno(error);
}
