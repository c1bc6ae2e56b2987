/* SPDX-License-Identifier: Apache-2.0 */
/* The registry's errors: codes, statuses and the JSON that carries them.  The
 * pure half of reply.h. */
#include "proxy/reply.h"

static const char *const code_names[CODE_LAST] = {
    [CODE_BLOB_UNKNOWN] = "BLOB_UNKNOWN",
    [CODE_BLOB_UPLOAD_INVALID] = "BLOB_UPLOAD_INVALID",
    [CODE_BLOB_UPLOAD_UNKNOWN] = "BLOB_UPLOAD_UNKNOWN",
    [CODE_MANIFEST_UNKNOWN] = "MANIFEST_UNKNOWN",
    [CODE_MANIFEST_INVALID] = "MANIFEST_INVALID",
    [CODE_MANIFEST_BLOB_UNKNOWN] = "MANIFEST_BLOB_UNKNOWN",
    [CODE_NAME_UNKNOWN] = "NAME_UNKNOWN",
    [CODE_NAME_INVALID] = "NAME_INVALID",
    [CODE_TAG_INVALID] = "TAG_INVALID",
    [CODE_DIGEST_INVALID] = "DIGEST_INVALID",
    [CODE_RANGE_INVALID] = "RANGE_INVALID",
    [CODE_SIZE_INVALID] = "SIZE_INVALID",
    [CODE_PAGINATION_NUMBER_INVALID] = "PAGINATION_NUMBER_INVALID",
    [CODE_UNAUTHORIZED] = "UNAUTHORIZED",
    [CODE_DENIED] = "DENIED",
    [CODE_UNSUPPORTED] = "UNSUPPORTED",
    [CODE_TOOMANYREQUESTS] = "TOOMANYREQUESTS",
    [CODE_UNAVAILABLE] = "UNAVAILABLE",
    [CODE_UNKNOWN] = "UNKNOWN",
};

const char *api_code_name(enum api_code code)
{
	assert(code < CODE_LAST);
	return code_names[code];
}

enum api_code api_code_find(const char *name)
{
	for (size_t i = 0; name && i < CODE_LAST; i++)
		if (strcmp(code_names[i], name) == 0)
			return (enum api_code)i;
	return CODE_UNKNOWN;
}

/*
 * The one table from enum err to a status.  Nothing that went wrong between
 * us and an upstream, or on our disk, is ever a 404: clients take that for an
 * answer, and caches keep it.
 */
unsigned reply_status(enum err err)
{
	switch (err) {
	case ERR_NOT_FOUND:
		return 404;
	case ERR_DENIED:
		return 403;
	case ERR_LIMITED:
		return 429;
	case ERR_TIMEOUT:
		return 504;
	case ERR_BAD_UPSTREAM:
	case ERR_MISMATCH:
	case ERR_TOO_BIG: /* no client sends bodies: an upstream's answer */
	case ERR_INVALID:
		return 502;
	case ERR_NO_SPACE:
		return 507;
	case ERR_UNAVAILABLE:
	case ERR_IO:
	case ERR_CORRUPT: /* its record has gone; the next try fetches it */
	case ERR_BUSY:
	case ERR_CANCELED:
		return 503;
	case ERR_OK:
	case ERR_EXISTS:
	case ERR_LAST:
		break;
	}
	return 500;
}

static const struct {
	unsigned status;
	const char *text;
} reasons[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {206, "Partial Content"},
    {304, "Not Modified"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

const char *reply_reason(unsigned status)
{
	for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].text;
	return "Unknown";
}

/* ---- JSON text ---- */

struct text {
	char *out;
	size_t len, max;
};

static void put(struct text *t, const char *bytes, size_t len)
{
	if (len > t->max - t->len)
		return;
	memcpy(t->out + t->len, bytes, len);
	t->len += len;
}

static void put_text(struct text *t, const char *text)
{
	put(t, text, strlen(text));
}

/*
 * Length of the UTF-8 character at `s` (which ends in a NUL), 0 if there is
 * none: overlong forms, surrogates and cut-off ones are not text.
 */
static size_t utf8_len(const unsigned char *s)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = s[0] < 0x80   ? 1
		   : s[0] < 0xc0 ? 0
		   : s[0] < 0xe0 ? 2
		   : s[0] < 0xf0 ? 3
		   : s[0] < 0xf8 ? 4
				 : 0;
	uint32_t c;

	if (n < 2)
		return n;
	c = s[0] & (0xffu >> (n + 1));
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3fu);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	return n;
}

/* A quoted string; what is too long for `room` is cut between characters. */
static void put_string(struct text *t, const char *text, size_t room)
{
	const unsigned char *s = (const void *)text;
	size_t end = MIN(t->max, t->len + room);
	char escape[8];
	size_t n;

	put(t, "\"", 1);
	for (; *s && t->len + 8 < end; s += n ? n : 1) {
		n = utf8_len(s);
		if (n == 0) {
			put_text(t, "\\ufffd");
		} else if (*s == '"' || *s == '\\') {
			snprintf(escape, sizeof(escape), "\\%c", *s);
			put_text(t, escape);
		} else if (*s < 0x20 || *s == 0x7f) {
			snprintf(escape, sizeof(escape), "\\u%04x", *s);
			put_text(t, escape);
		} else {
			put(t, (const char *)s, n);
		}
	}
	put(t, "\"", 1);
}

size_t reply_error_body(enum api_code code, const char *message,
			const char *detail, char *out)
{
	/* Room for the rest is left at the end, so that cut texts are still
	 * JSON. */
	struct text t = {out, 0, REPLY_ERROR_MAX};
	size_t room = REPLY_ERROR_MAX / 2 - 128;

	put_text(&t, "{\"errors\":[{\"code\":\"");
	put_text(&t, api_code_name(code));
	put_text(&t, "\",\"message\":");
	put_string(&t, message, room);
	if (detail && *detail) {
		put_text(&t, ",\"detail\":");
		put_string(&t, detail, room);
	}
	put_text(&t, "}]}\n");
	return t.len;
}
