/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_HTTP_FIELD_H
#define PROXY_HTTP_FIELD_H
/*
 * The small grammars inside header field values and queries: tokens, lists,
 * quoted strings, entity tags, links, percent-escapes.
 *
 * Everything here is a pure function over foreign bytes.  A span borrows from
 * the buffer it was cut from and is not NUL-terminated; whatever is copied
 * out goes to storage of the caller, whose size is always checked.  Nothing
 * allocates.  Any thread.
 */
#include "cache/err.h"

/* Borrowed bytes.  ptr is NULL only where a header says so ("absent"). */
struct span {
	const char *ptr;
	size_t len;
};

static inline struct span span_of(const char *text)
{
	return (struct span){text, strlen(text)};
}

/* Drop the first n bytes; n is at most s->len. */
static inline void span_skip(struct span *s, size_t n)
{
	assert(n <= s->len);
	s->ptr += n;
	s->len -= n;
}

bool span_is(struct span s, const char *text);
bool span_is_nocase(struct span s, const char *text);

/* Without optional whitespace (space and tab) at either end. */
struct span span_trim(struct span s);

/*
 * Cut the bytes before the first `end` off *rest, and `end` with them.
 * False, and nothing changes, if there is none.
 */
bool span_cut(struct span *rest, char end, struct span *out);

/*
 * 1*DIGIT and nothing else: no sign, no blanks, at least one digit.
 * ERR_INVALID: other bytes.  ERR_TOO_BIG: digits, but past 64 bits.
 */
enum err span_uint(struct span s, uint64_t *out) MUST_CHECK;

/* 0 to 15, of either case; -1 for any other byte. */
int http_hex_value(char c);

/* How many bytes at the start of `s` are tchar (RFC 9110 section 5.6.2). */
size_t http_token_len(struct span s);
bool http_is_token(struct span s);

/*
 * The next element of a comma-separated list, trimmed and never empty; a
 * comma inside a quoted string does not separate.  Set *rest to the whole
 * value first; false at the end.
 */
bool http_list_next(struct span *rest, struct span *item);

/*
 * The next `; name=value` of the parameters in *rest.  The value is raw, with
 * its quotes, and empty without '='.  False at the end.
 */
bool http_param_next(struct span *rest, struct span *name, struct span *value);

/*
 * Copy a bare value, or the inside of a quoted string with its backslashes
 * undone, to out[size], NUL-terminated.  ERR_INVALID: a quote that does not
 * end or ends early, or a control byte.  ERR_TOO_BIG: does not fit.  After an
 * error out[] holds nothing of use, not even a NUL.
 */
enum err http_unquote(struct span raw, char *out, size_t size) MUST_CHECK;

/*
 * Does an If-None-Match value name `etag` (without quotes; ours are
 * digests)?  "*" does; so do quoted and bare forms, and W/ before them: the
 * comparison is the weak one of RFC 9110 section 13.1.2.
 */
bool http_etag_listed(struct span value, const char *etag);

/*
 * type/subtype of a Content-Type, lower-cased and without parameters, into
 * out[size].  ERR_INVALID: not that grammar.  ERR_TOO_BIG: does not fit.
 */
enum err http_media_type(struct span value, char *out, size_t size) MUST_CHECK;

/* "100;w=21600": the number and its window, 0 if none is named. */
enum err http_ratelimit(struct span value, uint64_t *number,
			uint64_t *window_s) MUST_CHECK;

/*
 * The target of the first link in a Link value whose relation types include
 * `rel` (RFC 8288; lower case).  False: no such link.
 */
bool http_link_find(struct span value, const char *rel, struct span *target);

/*
 * Undo %XX of a path segment or query value into out[size], NUL-terminated,
 * length without the NUL in *len.  '+' stays '+': media types contain it.
 * ERR_INVALID: a bad escape, or a NUL.  ERR_TOO_BIG: does not fit.
 */
enum err http_percent_decode(struct span in, char *out, size_t size,
			     size_t *len) MUST_CHECK;

/*
 * The next key=value of a query (without its '?'), both still escaped; empty
 * pairs are passed over, the value is empty without '='.  False at the end.
 */
bool http_query_next(struct span *rest, struct span *key, struct span *value);

/* Is this escaped key `name`? */
bool http_query_key_is(struct span key, const char *name);

/*
 * How often `name` occurs in the query; *value is the first one's value,
 * still escaped, or {NULL, 0} if it does not occur.
 */
unsigned http_query_find(struct span query, const char *name,
			 struct span *value);

#endif
