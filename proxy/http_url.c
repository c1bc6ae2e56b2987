/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/http_url.h"

#include <arpa/inet.h>
#include <ctype.h>

static bool parse_port(struct span s, uint16_t *port)
{
	uint64_t value;

	if (s.len > 5 || span_uint(s, &value) || value < 1 ||
	    value > UINT16_MAX)
		return false;
	*port = (uint16_t)value;
	return true;
}

/* Would some reader take it for a number, and so for an address? */
static bool looks_numeric(const char *host)
{
	const char *dot = strrchr(host, '.');
	const char *last = dot ? dot + 1 : host;

	if (last[0] == '0' && last[1] == 'x')
		return true;
	return *last && last[strspn(last, "0123456789")] == '\0';
}

/* Names may have underscores here: some buckets do. */
static bool parse_name(struct span s, struct http_url *url)
{
	struct in_addr v4;

	if (s.len == 0 || s.len > HTTP_URL_HOST_MAX || *s.ptr == '.' ||
	    *s.ptr == '-')
		return false;
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.ptr[i];

		if (!isalnum(c) && c != '-' && c != '.' && c != '_')
			return false;
		if (c == '.' && i + 1 < s.len && s.ptr[i + 1] == '.')
			return false;
		url->host[i] = (char)tolower(c);
	}
	url->host[s.len] = '\0';
	if (s.len > 1 && url->host[s.len - 1] == '.')
		url->host[s.len - 1] = '\0'; /* the root's dot */
	return !looks_numeric(url->host) ||
	       inet_pton(AF_INET, url->host, &v4) == 1;
}

static bool parse_v6(struct span s, struct http_url *url)
{
	char plain[INET6_ADDRSTRLEN];
	struct in6_addr addr;

	if (s.len >= sizeof(plain))
		return false;
	memcpy(plain, s.ptr, s.len);
	plain[s.len] = '\0';
	url->v6 = true;
	return inet_pton(AF_INET6, plain, &addr) == 1 &&
	       inet_ntop(AF_INET6, &addr, url->host, sizeof(url->host));
}

/* host[:port]; a user before it is refused with the '@'. */
static bool parse_authority(struct span s, struct http_url *url)
{
	struct span host = s, port = {NULL, 0};
	const char *colon;

	url->port = url->https ? 443 : 80;
	if (s.len && *s.ptr == '[') {
		span_skip(&s, 1);
		if (!span_cut(&s, ']', &host) || !parse_v6(host, url))
			return false;
		if (s.len == 0)
			return true;
		if (*s.ptr != ':')
			return false;
		span_skip(&s, 1);
		return s.len == 0 || parse_port(s, &url->port);
	}
	colon = s.len ? memchr(s.ptr, ':', s.len) : NULL;
	if (colon) {
		host.len = (size_t)(colon - s.ptr);
		port = (struct span){colon + 1, s.len - host.len - 1};
	}
	if (port.len && !parse_port(port, &url->port))
		return false;
	return parse_name(host, url);
}

static bool has_control(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f)
			return true;
	return false;
}

/* The path and query as they go on the wire. */
static char *clean_target(struct span s)
{
	static const char hex[] = "0123456789ABCDEF";
	char *out = xmalloc(s.len * 3 + 2), *p = out;

	if (s.len == 0 || *s.ptr != '/')
		*p++ = '/';
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.ptr[i];

		if (c > 0x20 && c < 0x7f && !strchr("\"<>\\^`{|}", c)) {
			*p++ = (char)c;
			continue;
		}
		*p++ = '%';
		*p++ = hex[c >> 4];
		*p++ = hex[c & 15];
	}
	*p = '\0';
	return out;
}

static void build(struct http_url *url, struct span target)
{
	char *rest = clean_target(target);
	char port[8] = "";

	if (url->port != (url->https ? 443 : 80))
		snprintf(port, sizeof(port), ":%u", url->port);
	url->text = xasprintf("http%s://%s%s%s%s%s", url->https ? "s" : "",
			      url->v6 ? "[" : "", url->host, url->v6 ? "]" : "",
			      port, rest);
	url->target = url->text + strlen(url->text) - strlen(rest);
	free(rest);
}

static bool skip_nocase(struct span *s, const char *prefix)
{
	size_t len = strlen(prefix);

	if (s->len < len || strncasecmp(s->ptr, prefix, len) != 0)
		return false;
	span_skip(s, len);
	return true;
}

static void drop_fragment(struct span *s)
{
	const char *hash = s->len ? memchr(s->ptr, '#', s->len) : NULL;

	if (hash)
		s->len = (size_t)(hash - s->ptr);
}

enum err http_url_parse(struct span text, struct http_url *out)
{
	struct http_url url = {0};
	struct span s = span_trim(text), authority;

	if (s.len > HTTP_URL_MAX)
		return ERR_TOO_BIG;
	drop_fragment(&s);
	if (has_control(s))
		return ERR_INVALID;
	url.https = skip_nocase(&s, "https://");
	if (!url.https && !skip_nocase(&s, "http://"))
		return ERR_INVALID;
	authority = s;
	for (size_t i = 0; i < s.len; i++)
		if (strchr("/?\\", s.ptr[i])) {
			authority.len = i;
			break;
		}
	span_skip(&s, authority.len);
	if ((s.len && *s.ptr == '\\') || !parse_authority(authority, &url))
		return ERR_INVALID;
	build(&url, s);
	*out = url;
	return ERR_OK;
}

/* Up to and with the last '/' of the path (query excluded). */
static size_t folder_len(const char *target)
{
	size_t len = strcspn(target, "?");

	while (len > 0 && target[len - 1] != '/')
		len--;
	return len;
}

static bool is_absolute(struct span s)
{
	return skip_nocase(&s, "http://") || skip_nocase(&s, "https://");
}

/* "ftp:", "data:": a colon before the first '/' or '?'. */
static bool has_scheme(struct span s)
{
	size_t i = 0;

	while (i < s.len && !strchr("/?:", s.ptr[i]))
		i++;
	return i < s.len && s.ptr[i] == ':';
}

enum err http_url_join(const struct http_url *base, struct span reference,
		       struct http_url *out)
{
	struct span s = span_trim(reference);
	size_t keep = (size_t)(base->target - base->text);
	char *joined;
	enum err err;

	if (s.len > HTTP_URL_MAX)
		return ERR_TOO_BIG;
	drop_fragment(&s);
	/* A NUL would end the joined text early. */
	if (s.len == 0 || has_control(s))
		return ERR_INVALID;
	if (is_absolute(s))
		return http_url_parse(s, out);
	if (has_scheme(s))
		return ERR_INVALID;
	if (s.len >= 2 && s.ptr[0] == '/' && s.ptr[1] == '/')
		keep = base->https ? strlen("https:") : strlen("http:");
	else if (*s.ptr == '?')
		keep += strcspn(base->target, "?");
	else if (*s.ptr != '/')
		keep += folder_len(base->target);
	joined =
	    xasprintf("%.*s%.*s", (int)keep, base->text, (int)s.len, s.ptr);
	err = http_url_parse(span_of(joined), out);
	free(joined);
	return err;
}

void http_url_release(struct http_url *url)
{
	free(url->text);
	memset(url, 0, sizeof(*url));
}

bool http_url_same_origin(const struct http_url *a, const struct http_url *b)
{
	return a->https == b->https && a->port == b->port &&
	       strcmp(a->host, b->host) == 0;
}

char *http_url_escape(const char *text)
{
	static const char hex[] = "0123456789ABCDEF";
	char *out = xmalloc(strlen(text) * 3 + 1), *p = out;

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (isalnum(c) || strchr("-._~", c)) {
			*p++ = (char)c;
			continue;
		}
		*p++ = '%';
		*p++ = hex[c >> 4];
		*p++ = hex[c & 15];
	}
	*p = '\0';
	return out;
}
