/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/http_challenge.h"

void http_challenge_init(struct http_challenge *ch)
{
	ch->scheme = HTTP_AUTH_NONE;
	ch->realm[0] = ch->service[0] = ch->scope[0] = ch->error[0] = '\0';
}

static void skip_blanks(struct span *s)
{
	while (s->len && (s->ptr[0] == ' ' || s->ptr[0] == '\t'))
		span_skip(s, 1);
}

static void skip_separators(struct span *s)
{
	skip_blanks(s);
	while (s->len && s->ptr[0] == ',') {
		span_skip(s, 1);
		skip_blanks(s);
	}
}

static struct span take_token(struct span *s)
{
	struct span token = {s->ptr, http_token_len(*s)};

	span_skip(s, token.len);
	return token;
}

/* A quoted string with its quotes; one that does not end takes the rest. */
static size_t quoted_len(struct span s)
{
	for (size_t i = 1; i < s.len; i++) {
		if (s.ptr[i] == '\\')
			i++;
		else if (s.ptr[i] == '"')
			return i + 1;
	}
	return s.len;
}

/* Bare values are more than tokens in the wild: URLs, scopes with colons. */
static size_t bare_len(struct span s)
{
	size_t n = 0;

	while (n < s.len && s.ptr[n] != ' ' && s.ptr[n] != '\t' &&
	       s.ptr[n] != ',')
		n++;
	return n;
}

/*
 * name BWS "=" BWS value.  False, and *rest unmoved, if that is not what
 * comes: then it is the next scheme, or nothing.  The padding of a token68
 * passes as a parameter that nobody knows.
 */
static bool take_param(struct span *rest, struct span *name, struct span *value)
{
	struct span s = *rest;

	*name = take_token(&s);
	skip_blanks(&s);
	if (!name->len || !s.len || s.ptr[0] != '=')
		return false;
	span_skip(&s, 1);
	skip_blanks(&s);
	value->ptr = s.ptr;
	value->len = s.len && s.ptr[0] == '"' ? quoted_len(s) : bare_len(s);
	span_skip(&s, value->len);
	*rest = s;
	return true;
}

/* A token68 stands alone behind its scheme: drop it, to look for the next. */
static void skip_token68(struct span *rest)
{
	struct span s = *rest;
	size_t n = bare_len(s);

	span_skip(&s, n);
	skip_blanks(&s);
	if (!s.len || s.ptr[0] == ',')
		*rest = s;
}

/* False if the parameter is one we want but cannot keep. */
static bool keep_param(struct http_challenge *ch, struct span name,
		       struct span value)
{
	const struct {
		const char *name;
		char *out;
		size_t size;
	} wanted[] = {
	    {"realm", ch->realm, sizeof(ch->realm)},
	    {"service", ch->service, sizeof(ch->service)},
	    {"scope", ch->scope, sizeof(ch->scope)},
	    {"error", ch->error, sizeof(ch->error)},
	};

	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		/* Of a repeated parameter the first one counts. */
		if (span_is_nocase(name, wanted[i].name) && !wanted[i].out[0])
			return !http_unquote(value, wanted[i].out,
					     wanted[i].size);
	}
	return true;
}

static enum http_auth_scheme scheme_of(struct span name)
{
	if (span_is_nocase(name, "bearer"))
		return HTTP_AUTH_BEARER;
	if (span_is_nocase(name, "basic"))
		return HTTP_AUTH_BASIC;
	return HTTP_AUTH_NONE;
}

/*
 * The challenge whose scheme begins *rest.  False: none that we can answer;
 * *rest moves behind it in any case.
 */
static bool take_challenge(struct span *rest, struct http_challenge *out)
{
	struct span name, value, scheme = take_token(rest);
	bool usable = true;

	http_challenge_init(out);
	out->scheme = scheme_of(scheme);
	skip_blanks(rest);
	if (!take_param(&(struct span){rest->ptr, rest->len}, &name, &value))
		skip_token68(rest);
	for (;;) {
		skip_separators(rest);
		if (!take_param(rest, &name, &value))
			break;
		usable &= keep_param(out, name, value);
	}
	if (out->scheme == HTTP_AUTH_BEARER && !out->realm[0])
		usable = false;
	return usable && out->scheme != HTTP_AUTH_NONE;
}

void http_challenge_add(struct http_challenge *ch, struct span value)
{
	struct http_challenge found;

	skip_separators(&value);
	while (value.len) {
		if (!http_token_len(value)) {
			/* Nothing begins like this: look behind it. */
			span_skip(&value, MAX(bare_len(value), 1));
			skip_separators(&value);
			continue;
		}
		/* A higher scheme is a better one; of equals the first. */
		if (take_challenge(&value, &found) && found.scheme > ch->scheme)
			*ch = found;
		skip_separators(&value);
	}
}
