/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/name.h"

#include <arpa/inet.h>

/* ctype.h asks the locale; a grammar must not. */
static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_lower_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || is_digit(c);
}

static char to_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_alnum(char c)
{
	return is_lower_alnum(to_lower(c));
}

static bool is_tag_char(char c)
{
	return is_alnum(c) || c == '_' || c == '.' || c == '-';
}

/* Length of the separator at `text`: ".", "_", "__" or a run of "-"; or 0. */
static size_t separator_len(const char *text, size_t len)
{
	size_t n = 0;

	while (n < len && text[n] == '-')
		n++;
	if (n || !len)
		return n;
	if (text[0] == '.')
		return 1;
	while (n < len && n < 2 && text[n] == '_')
		n++;
	return n;
}

/* [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)* */
static bool component_valid(const char *text, size_t len)
{
	size_t i = 0;

	for (;;) {
		size_t word = i, sep;

		while (i < len && is_lower_alnum(text[i]))
			i++;
		if (i == word)
			return false;
		if (i == len)
			return true;
		sep = separator_len(text + i, len - i);
		if (!sep)
			return false;
		i += sep;
	}
}

size_t repo_first_component(const char *text, size_t len)
{
	const char *slash = len ? memchr(text, '/', len) : NULL;

	return slash ? (size_t)(slash - text) : len;
}

bool repo_name_valid(const char *text, size_t len)
{
	if (len > REPO_NAME_MAX)
		return false;
	for (;;) {
		size_t n = repo_first_component(text, len);

		if (!component_valid(text, n))
			return false;
		if (n == len)
			return true;
		text += n + 1;
		len -= n + 1;
	}
}

bool component_is_host(const char *text, size_t len)
{
	static const char localhost[] = "localhost";

	if (len == strlen(localhost) && memcmp(text, localhost, len) == 0)
		return true;
	for (size_t i = 0; i < len; i++)
		if (text[i] == '.' || text[i] == ':')
			return true;
	return false;
}

bool repo_path_valid(const char *text, size_t len)
{
	size_t n = repo_first_component(text, len);
	char host[HOST_MAX + 1];

	if (repo_name_valid(text, len))
		return true;
	return n < len && component_is_host(text, n) &&
	       host_normalise(text, n, host) == ERR_OK &&
	       repo_name_valid(text + n + 1, len - n - 1);
}

bool tag_valid(const char *text, size_t len)
{
	if (len < 1 || len > TAG_MAX)
		return false;
	if (!is_alnum(text[0]) && text[0] != '_')
		return false;
	for (size_t i = 1; i < len; i++)
		if (!is_tag_char(text[i]))
			return false;
	return true;
}

/* One label of a domain name: letters, digits, inner hyphens; 63 at most. */
static bool label_valid(const char *text, size_t len)
{
	if (len < 1 || len > 63)
		return false;
	if (!is_alnum(text[0]) || !is_alnum(text[len - 1]))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_alnum(text[i]) && text[i] != '-')
			return false;
	return true;
}

static bool domain_valid(const char *text, size_t len)
{
	for (;;) {
		const char *dot = len ? memchr(text, '.', len) : NULL;
		size_t n = dot ? (size_t)(dot - text) : len;

		if (!label_valid(text, n))
			return false;
		if (n == len)
			return true;
		text += n + 1;
		len -= n + 1;
	}
}

/* ":1" to ":65535" without leading zeros; or nothing, which is 0. */
static bool port_parse(const char *text, size_t len, unsigned *port)
{
	unsigned value = 0;

	*port = 0;
	if (!len)
		return true;
	if (text[0] != ':' || len < 2 || len > 6 || text[1] == '0')
		return false;
	for (size_t i = 1; i < len; i++) {
		if (!is_digit(text[i]))
			return false;
		value = value * 10 + (unsigned)(text[i] - '0');
	}
	*port = value;
	return value <= 65535;
}

/* `text` is what stands between the brackets. */
static bool ipv6_normalise(const char *text, size_t len, char *out,
			   size_t out_size)
{
	char in[INET6_ADDRSTRLEN], shortest[INET6_ADDRSTRLEN];
	struct in6_addr addr;

	if (len >= sizeof(in) || memchr(text, '\0', len))
		return false;
	memcpy(in, text, len);
	in[len] = '\0';
	if (inet_pton(AF_INET6, in, &addr) != 1 ||
	    !inet_ntop(AF_INET6, &addr, shortest, sizeof(shortest)))
		return false;
	snprintf(out, out_size, "[%s]", shortest);
	return true;
}

static bool domain_normalise(const char *text, size_t len, char *out,
			     size_t out_size)
{
	if (len >= out_size || !domain_valid(text, len))
		return false;
	for (size_t i = 0; i < len; i++)
		out[i] = to_lower(text[i]);
	out[len] = '\0';
	return true;
}

/* Length of the host without its port; 0 if a bracket is not closed. */
static size_t host_without_port(const char *text, size_t len)
{
	const char *end;

	if (text[0] == '[') {
		end = memchr(text, ']', len);
		return end ? (size_t)(end - text) + 1 : 0;
	}
	end = memchr(text, ':', len);
	return end ? (size_t)(end - text) : len;
}

enum err host_normalise(const char *text, size_t len, char *out)
{
	char host[HOST_MAX + 1];
	size_t n, used;
	unsigned port;
	bool ok;

	if (len < 1 || len > HOST_MAX)
		return ERR_INVALID;
	n = host_without_port(text, len);
	if (!n || !port_parse(text + n, len - n, &port))
		return ERR_INVALID;
	if (text[0] == '[')
		ok = ipv6_normalise(text + 1, n - 2, host, sizeof(host));
	else
		ok = domain_normalise(text, n, host, sizeof(host));
	if (!ok)
		return ERR_INVALID;
	used = strlen(host);
	memcpy(out, host, used + 1);
	if (port && port != 443)
		snprintf(out + used, HOST_MAX + 1 - used, ":%u", port);
	return ERR_OK;
}

static bool is_stars(const char *text, size_t len, size_t stars)
{
	return len == stars && memcmp(text, "**", stars) == 0;
}

enum err name_pattern_check(const char *pattern, struct why *why)
{
	size_t left = strlen(pattern);
	const char *p = pattern;

	if (left > NAME_PATTERN_MAX)
		return why_set(why, ERR_INVALID,
			       "a name pattern has at most %d characters",
			       NAME_PATTERN_MAX);
	for (;;) {
		size_t n = repo_first_component(p, left);

		if (!is_stars(p, n, 1) && !is_stars(p, n, 2) &&
		    !component_valid(p, n))
			return why_set(why, ERR_INVALID,
				       "\"%.*s\" in pattern \"%.100s\" is "
				       "neither *, ** nor a lower-case "
				       "component of a repository name",
				       (int)MIN(n, 60), p, pattern);
		if (n == left)
			return ERR_OK;
		p += n + 1;
		left -= n + 1;
	}
}

/* The component at `s` and what follows it; NULL after the last. */
static const char *next_component(const char *s, size_t *len)
{
	*len = repo_first_component(s, strlen(s));
	return s[*len] ? s + *len + 1 : NULL;
}

/*
 * Walk both sides component by component.  On a mismatch let the last "**"
 * take one more component and go on from there; earlier ones never need to
 * be tried again, because whatever they could reach the last one can too.
 */
bool name_pattern_match(const char *pattern, const char *name)
{
	const char *after_stars = NULL, *taken = NULL;
	const char *p = pattern, *s = name;
	bool seen_stars = false;

	while (s) {
		size_t plen = 0, slen;
		const char *p_next = p ? next_component(p, &plen) : NULL;
		const char *s_next = next_component(s, &slen);

		if (p && is_stars(p, plen, 2)) {
			seen_stars = true;
			after_stars = p_next;
			taken = s_next;
		} else if (!p || (!is_stars(p, plen, 1) &&
				  (plen != slen || memcmp(p, s, slen) != 0))) {
			if (!seen_stars || !taken)
				return false;
			(void)next_component(taken, &slen);
			taken = taken[slen] ? taken + slen + 1 : NULL;
			p = after_stars;
			s = taken;
			continue;
		}
		p = p_next;
		s = s_next;
	}
	return !p;
}

enum err tag_pattern_check(const char *pattern, struct why *why)
{
	size_t len = strlen(pattern);

	if (len < 1 || len > TAG_PATTERN_MAX)
		return why_set(why, ERR_INVALID,
			       "a tag pattern has 1 to %d characters",
			       TAG_PATTERN_MAX);
	for (size_t i = 0; i < len; i++)
		if (pattern[i] != '*' && !is_tag_char(pattern[i]))
			return why_set(why, ERR_INVALID,
				       "tag pattern \"%.100s\": only *, "
				       "letters, digits, \"_\", \".\" and "
				       "\"-\" may stand in it",
				       pattern);
	return ERR_OK;
}

/* As above, one character at a time, and "*" may take none. */
bool tag_pattern_match(const char *pattern, const char *tag)
{
	const char *after_star = NULL, *taken = NULL;
	const char *p = pattern, *s = tag;

	while (*s) {
		if (*p == '*') {
			after_star = ++p;
			taken = s;
		} else if (*p == *s) {
			p++;
			s++;
		} else if (after_star) {
			p = after_star;
			s = ++taken;
		} else {
			return false;
		}
	}
	while (*p == '*')
		p++;
	return !*p;
}
