/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/http_field.h"

/* RFC 9110 section 5.6.2. */
static const bool tchar[256] = {
    ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true,
    ['!'] = true,         ['#'] = true,         ['$'] = true,
    ['%'] = true,         ['&'] = true,         ['\''] = true,
    ['*'] = true,         ['+'] = true,         ['-'] = true,
    ['.'] = true,         ['^'] = true,         ['_'] = true,
    ['`'] = true,         ['|'] = true,         ['~'] = true,
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_control(char c)
{
	unsigned char u = (unsigned char)c;

	return (u < 0x20 && u != '\t') || u == 0x7f;
}

/* Not tolower(): that one asks the locale. */
static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool span_is(struct span s, const char *text)
{
	return s.len == strlen(text) &&
	       (!s.len || memcmp(s.ptr, text, s.len) == 0);
}

bool span_is_nocase(struct span s, const char *text)
{
	if (s.len != strlen(text))
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (lower(s.ptr[i]) != lower(text[i]))
			return false;
	}
	return true;
}

struct span span_trim(struct span s)
{
	while (s.len && is_blank(s.ptr[0]))
		span_skip(&s, 1);
	while (s.len && is_blank(s.ptr[s.len - 1]))
		s.len--;
	return s;
}

enum err span_uint(struct span s, uint64_t *out)
{
	bool overflow = false;
	uint64_t n = 0;

	if (!s.len)
		return ERR_INVALID;
	for (size_t i = 0; i < s.len; i++) {
		if (!is_digit(s.ptr[i]))
			return ERR_INVALID;
		if (!size_mul(n, 10, &n) ||
		    !size_add(n, (uint64_t)(s.ptr[i] - '0'), &n))
			overflow = true;
	}
	if (overflow)
		return ERR_TOO_BIG;
	*out = n;
	return ERR_OK;
}

bool span_cut(struct span *rest, char end, struct span *out)
{
	const char *found =
	    rest->len ? memchr(rest->ptr, end, rest->len) : NULL;

	if (!found)
		return false;
	*out = (struct span){rest->ptr, (size_t)(found - rest->ptr)};
	span_skip(rest, out->len + 1);
	return true;
}

int http_hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	c = lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t http_token_len(struct span s)
{
	size_t n = 0;

	while (n < s.len && tchar[(unsigned char)s.ptr[n]])
		n++;
	return n;
}

bool http_is_token(struct span s)
{
	return s.len && http_token_len(s) == s.len;
}

/*
 * Bytes up to the first `end` outside a quoted string.  A quote that never
 * closes takes the rest.
 */
static size_t len_until(struct span s, char end)
{
	bool quoted = false;
	size_t i;

	for (i = 0; i < s.len; i++) {
		if (quoted && s.ptr[i] == '\\')
			i++;
		else if (s.ptr[i] == '"')
			quoted = !quoted;
		else if (!quoted && s.ptr[i] == end)
			return i;
	}
	return s.len;
}

static void skip_blanks_and(struct span *s, char also)
{
	while (s->len && (is_blank(s->ptr[0]) || s->ptr[0] == also))
		span_skip(s, 1);
}

bool http_list_next(struct span *rest, struct span *item)
{
	skip_blanks_and(rest, ',');
	if (!rest->len)
		return false;
	item->ptr = rest->ptr;
	item->len = len_until(*rest, ',');
	span_skip(rest, item->len);
	*item = span_trim(*item);
	return true;
}

bool http_param_next(struct span *rest, struct span *name, struct span *value)
{
	struct span param;
	size_t equals;

	skip_blanks_and(rest, ';');
	if (!rest->len)
		return false;
	param.ptr = rest->ptr;
	param.len = len_until(*rest, ';');
	span_skip(rest, param.len);
	equals = len_until(param, '=');
	*name = span_trim((struct span){param.ptr, equals});
	span_skip(&param, equals < param.len ? equals + 1 : equals);
	*value = span_trim(param);
	return true;
}

enum err http_unquote(struct span raw, char *out, size_t size)
{
	bool quoted = raw.len && raw.ptr[0] == '"';
	size_t n = 0;

	if (quoted) {
		/* Also refuses a lone quote: nothing would close it. */
		if (raw.len < 2 || raw.ptr[raw.len - 1] != '"')
			return ERR_INVALID;
		raw = (struct span){raw.ptr + 1, raw.len - 2};
	}
	for (size_t i = 0; i < raw.len; i++) {
		bool escaped = quoted && raw.ptr[i] == '\\';

		if (escaped && ++i == raw.len)
			return ERR_INVALID;
		if (is_control(raw.ptr[i]) || (raw.ptr[i] == '"' && !escaped))
			return ERR_INVALID;
		if (n + 1 >= size)
			return ERR_TOO_BIG;
		out[n++] = raw.ptr[i];
	}
	if (n >= size)
		return ERR_TOO_BIG;
	out[n] = '\0';
	return ERR_OK;
}

/*
 * One entity tag off the front of *rest.  Unlike a quoted string it has no
 * escapes (RFC 9110 section 8.8.3), so http_list_next() would not do.
 */
static struct span etag_next(struct span *rest)
{
	struct span tag;
	const char *end;

	if (rest->len >= 2 && memcmp(rest->ptr, "W/", 2) == 0)
		span_skip(rest, 2);
	if (rest->len && rest->ptr[0] == '"') {
		span_skip(rest, 1);
		end = memchr(rest->ptr, '"', rest->len);
	} else {
		end = memchr(rest->ptr, ',', rest->len);
	}
	tag = (struct span){rest->ptr, rest->len};
	if (end)
		tag.len = (size_t)(end - rest->ptr);
	span_skip(rest, end ? tag.len + 1 : tag.len);
	return tag;
}

bool http_etag_listed(struct span value, const char *etag)
{
	if (span_is(span_trim(value), "*"))
		return true;
	for (;;) {
		skip_blanks_and(&value, ',');
		if (!value.len)
			return false;
		if (span_is(span_trim(etag_next(&value)), etag))
			return true;
	}
}

enum err http_media_type(struct span value, char *out, size_t size)
{
	struct span type = {value.ptr, len_until(value, ';')};
	struct span subtype;
	size_t slash;

	type = span_trim(type);
	slash = http_token_len(type);
	if (!slash || slash == type.len || type.ptr[slash] != '/')
		return ERR_INVALID;
	subtype = type;
	span_skip(&subtype, slash + 1);
	if (!http_is_token(subtype))
		return ERR_INVALID;
	if (type.len >= size)
		return ERR_TOO_BIG;
	for (size_t i = 0; i < type.len; i++)
		out[i] = lower(type.ptr[i]);
	out[type.len] = '\0';
	return ERR_OK;
}

enum err http_ratelimit(struct span value, uint64_t *number, uint64_t *window_s)
{
	struct span rest = value, first = {value.ptr, len_until(value, ';')};
	struct span name, param;
	uint64_t window = 0;
	enum err err = span_uint(span_trim(first), number);

	if (err)
		return err;
	span_skip(&rest, first.len);
	while (http_param_next(&rest, &name, &param)) {
		if (!span_is_nocase(name, "w"))
			continue;
		err = span_uint(param, &window);
		if (err)
			return err;
		break;
	}
	*window_s = window;
	return ERR_OK;
}

/* Is `rel` one of the blank-separated words of a rel parameter's value? */
static bool rel_includes(struct span value, const char *rel)
{
	if (value.len >= 2 && value.ptr[0] == '"' &&
	    value.ptr[value.len - 1] == '"')
		value = (struct span){value.ptr + 1, value.len - 2};
	for (;;) {
		struct span word;

		value = span_trim(value);
		if (!value.len)
			return false;
		word = (struct span){value.ptr, 0};
		while (word.len < value.len && !is_blank(value.ptr[word.len]))
			word.len++;
		if (span_is_nocase(word, rel))
			return true;
		span_skip(&value, word.len);
	}
}

/* RFC 8288 section 3.3: only the first rel of a link counts. */
static bool link_has_rel(struct span params, const char *rel)
{
	struct span name, value;

	while (http_param_next(&params, &name, &value)) {
		if (span_is_nocase(name, "rel"))
			return rel_includes(value, rel);
	}
	return false;
}

bool http_link_find(struct span value, const char *rel, struct span *target)
{
	for (;;) {
		struct span uri = {NULL, 0}, params;
		const char *end;

		skip_blanks_and(&value, ',');
		if (!value.len)
			return false;
		/* The target may contain commas: cut it off first. */
		end = value.ptr[0] == '<' ? memchr(value.ptr, '>', value.len)
					  : NULL;
		if (end) {
			uri.ptr = value.ptr + 1;
			uri.len = (size_t)(end - uri.ptr);
			span_skip(&value, uri.len + 2);
		}
		params = (struct span){value.ptr, len_until(value, ',')};
		span_skip(&value, params.len);
		if (end && link_has_rel(params, rel)) {
			*target = uri;
			return true;
		}
	}
}

/* The next byte of an escaped text; -1 for a bad escape or a NUL. */
static int take_escaped(struct span *in)
{
	int high, low, byte = (unsigned char)in->ptr[0];

	if (byte == '%') {
		if (in->len < 3)
			return -1;
		high = http_hex_value(in->ptr[1]);
		low = http_hex_value(in->ptr[2]);
		if (high < 0 || low < 0)
			return -1;
		byte = high * 16 + low;
		span_skip(in, 2);
	}
	span_skip(in, 1);
	return byte ? byte : -1;
}

enum err http_percent_decode(struct span in, char *out, size_t size,
			     size_t *len)
{
	size_t n = 0;

	while (in.len) {
		int byte = take_escaped(&in);

		if (byte < 0)
			return ERR_INVALID;
		if (n + 1 >= size)
			return ERR_TOO_BIG;
		out[n++] = (char)byte;
	}
	if (n >= size)
		return ERR_TOO_BIG;
	out[n] = '\0';
	*len = n;
	return ERR_OK;
}

bool http_query_next(struct span *rest, struct span *key, struct span *value)
{
	const char *end, *equals;
	struct span pair;

	while (rest->len && rest->ptr[0] == '&')
		span_skip(rest, 1);
	if (!rest->len)
		return false;
	end = memchr(rest->ptr, '&', rest->len);
	pair = (struct span){rest->ptr,
			     end ? (size_t)(end - rest->ptr) : rest->len};
	span_skip(rest, pair.len);
	equals = memchr(pair.ptr, '=', pair.len);
	*key = pair;
	if (equals)
		key->len = (size_t)(equals - pair.ptr);
	*value = pair;
	span_skip(value, equals ? key->len + 1 : pair.len);
	return true;
}

bool http_query_key_is(struct span key, const char *name)
{
	while (key.len) {
		if (take_escaped(&key) != (unsigned char)*name++)
			return false;
		if (!*name)
			break;
	}
	return !key.len && !*name;
}

unsigned http_query_find(struct span query, const char *name,
			 struct span *value)
{
	struct span key, found;
	unsigned count = 0;

	*value = (struct span){NULL, 0};
	while (http_query_next(&query, &key, &found)) {
		if (!http_query_key_is(key, name))
			continue;
		if (count++ == 0)
			*value = found;
	}
	return count;
}
