/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/conf_value.h"

#include "cache/name.h"

#include <arpa/inet.h>
#include <ctype.h>

/* A decimal number that ends at *end; false without digits or past 64 bits. */
static bool digits_parse(const char *text, const char **end, uint64_t *out)
{
	uint64_t value = 0;
	const char *p = text;

	for (; *p >= '0' && *p <= '9'; p++) {
		if (!size_mul(value, 10, &value) ||
		    !size_add(value, (uint64_t)(*p - '0'), &value))
			return false;
	}
	if (p == text)
		return false;
	*end = p;
	*out = value;
	return true;
}

struct unit {
	const char *name;
	uint64_t factor;
};

static bool scaled_parse(const char *text, const struct unit *units,
			 uint64_t max, uint64_t *out)
{
	uint64_t value;
	const char *end;

	if (!digits_parse(text, &end, &value))
		return false;
	while (units->name && strcmp(units->name, end) != 0)
		units++;
	if (!units->name || !size_mul(value, units->factor, &value) ||
	    value > max)
		return false;
	*out = value;
	return true;
}

bool conf_duration_parse(const char *text, uint64_t *ms)
{
	static const struct unit units[] = {
	    {"ms", 1},          {"s", 1000},         {"m", 60 * 1000},
	    {"h", 3600 * 1000}, {"d", 86400 * 1000}, {NULL, 0},
	};

	return scaled_parse(text, units, CONF_DURATION_MAX_MS, ms);
}

bool conf_size_parse(const char *text, uint64_t *bytes)
{
	static const struct unit units[] = {
	    {"", 1},           {"K", KIB},       {"M", MIB}, {"G", GIB},
	    {"T", 1024 * GIB}, {"P", MIB * GIB}, {NULL, 0},
	};

	return scaled_parse(text, units, CONF_SIZE_MAX, bytes);
}

/* "1".."65535" (or from 0), nothing else. */
static bool port_parse(const char *text, size_t len, uint16_t min,
		       uint16_t *out)
{
	uint32_t port = 0;

	if (len < 1 || len > 5)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		port = port * 10 + (uint32_t)(text[i] - '0');
	}
	if (port < min || port > UINT16_MAX)
		return false;
	*out = (uint16_t)port;
	return true;
}

/*
 * Split "host", "host:port", "[v6]" or "[v6]:port".  The host has no brackets
 * any more; *port_at is NULL without a port.
 */
static bool authority_split(const char *text, size_t len, const char **host,
			    size_t *host_len, const char **port_at, bool *v6)
{
	const char *end = text + len, *after;

	*v6 = len > 0 && text[0] == '[';
	if (*v6) {
		after = memchr(text, ']', len);
		if (!after)
			return false;
		*host = text + 1;
		*host_len = (size_t)(after - *host);
		after++;
	} else {
		after = memchr(text, ':', len);
		if (!after)
			after = end;
		*host = text;
		*host_len = (size_t)(after - text);
	}
	if (after < end && *after != ':')
		return false;
	*port_at = after < end ? after + 1 : NULL;
	return *host_len > 0;
}

/* An IPv4 or IPv6 address into `out`; returns its family, or 0. */
static int ip_parse(const char *text, uint8_t out[16])
{
	if (inet_pton(AF_INET, text, out) == 1)
		return AF_INET;
	if (inet_pton(AF_INET6, text, out) == 1)
		return AF_INET6;
	return 0;
}

static char *lower_dup(const char *text, size_t len)
{
	char *copy = xstrndup(text, len);

	for (char *p = copy; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return copy;
}

/*
 * "host[:port]" taken apart and judged: *host is the normal form of the host
 * without brackets, *port is untouched if there is none.  The two are judged
 * apart because host_normalise() drops ":443", which a http URL must keep.
 */
static bool authority_parse(const char *text, size_t len, uint16_t min_port,
			    char **host, uint16_t *port, bool *v6)
{
	const char *at, *port_at;
	char normal[HOST_MAX + 1];
	uint16_t given = *port;
	size_t host_len;

	if (!authority_split(text, len, &at, &host_len, &port_at, v6))
		return false;
	if (port_at && !port_parse(port_at, (size_t)(text + len - port_at),
				   min_port, &given))
		return false;
	if (host_normalise(at - *v6, host_len + 2 * *v6, normal) != ERR_OK)
		return false;
	*host = xstrndup(normal + *v6, strlen(normal) - 2 * *v6);
	*port = given;
	return true;
}

static void fill_sockaddr(struct conf_listen *out, int family,
			  const uint8_t *addr, uint16_t port)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET,
				 .sin_port = htons(port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
				  .sin6_port = htons(port)};

	memset(&out->addr, 0, sizeof(out->addr));
	if (family == AF_INET) {
		memcpy(&v4.sin_addr, addr, 4);
		memcpy(&out->addr, &v4, sizeof(v4));
		out->addr_len = sizeof(v4);
	} else {
		memcpy(&v6.sin6_addr, addr, 16);
		memcpy(&out->addr, &v6, sizeof(v6));
		out->addr_len = sizeof(v6);
	}
}

bool conf_listen_parse(const char *text, struct conf_listen *out)
{
	uint8_t addr[16];
	uint16_t port = 0;
	char *host;
	bool v6;
	int family;

	/* both forms end in a colon and the port, which is not optional */
	if (!strchr(text, ':') || text[strlen(text) - 1] == ']' ||
	    !authority_parse(text, strlen(text), 0, &host, &port, &v6))
		return false;
	family =
	    ip_parse(strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, addr);
	free(host);
	if (family == 0)
		return false;
	fill_sockaddr(out, family, addr, port);
	out->text = xstrdup(text);
	out->mirror_of = NULL;
	return true;
}

void conf_listen_release(struct conf_listen *l)
{
	free(l->text);
	free(l->mirror_of);
}

/* Is `scheme` one of the words of `schemes`? */
static bool scheme_known(const char *schemes, const char *scheme, size_t len)
{
	for (const char *p = schemes; *p; p += strspn(p, " ")) {
		size_t n = strcspn(p, " ");

		if (n == len && strncasecmp(p, scheme, len) == 0)
			return true;
		p += n;
	}
	return false;
}

static uint16_t default_port(const char *scheme)
{
	if (strcmp(scheme, "https") == 0)
		return 443;
	return strcmp(scheme, "http") == 0 ? 80 : 1080;
}

/*
 * A path that curl and every proxy read alike: unreserved characters and
 * percent codes, and no empty, "." or ".." segment.
 */
static bool url_path_valid(const char *path, size_t len)
{
	size_t segment = 0, dots = 0;

	for (size_t i = 1; i <= len; i++) {
		if (i == len || path[i] == '/') {
			if (segment == 0 || (dots == segment && dots <= 2))
				return false;
			segment = dots = 0;
			continue;
		}
		if (!isalnum((unsigned char)path[i]) &&
		    !memchr("-._~%+:=,@", path[i], 10))
			return false;
		segment++;
		dots += path[i] == '.';
	}
	return true;
}

static char *url_text(const struct conf_url *url, bool v6)
{
	char port[8] = "";

	if (url->port != default_port(url->scheme))
		snprintf(port, sizeof(port), ":%u", url->port);
	return xasprintf("%s://%s%s%s%s%s", url->scheme, v6 ? "[" : "",
			 url->host, v6 ? "]" : "", port, url->path);
}

bool conf_url_parse(const char *text, const char *schemes, struct conf_url *out)
{
	const char *colon = strstr(text, "://"), *auth, *path;
	struct conf_url url = {0};
	size_t path_len;
	bool v6;

	if (!colon || !scheme_known(schemes, text, (size_t)(colon - text)))
		return false;
	auth = colon + 3;
	path = auth + strcspn(auth, "/");
	path_len = strlen(path);
	if (path_len > 0 && path[path_len - 1] == '/')
		path_len--;
	if (path_len > 0 && !url_path_valid(path, path_len))
		return false;
	url.scheme = lower_dup(text, (size_t)(colon - text));
	url.port = default_port(url.scheme);
	if (!authority_parse(auth, (size_t)(path - auth), 1, &url.host,
			     &url.port, &v6)) {
		free(url.scheme);
		return false;
	}
	url.https = strcmp(url.scheme, "https") == 0;
	url.path = xstrndup(path, path_len);
	url.text = url_text(&url, v6);
	*out = url;
	return true;
}

void conf_url_release(struct conf_url *url)
{
	free(url->text);
	free(url->scheme);
	free(url->host);
	free(url->path);
}

/* Do the first `bits` bits of both agree? */
static bool bits_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	if (memcmp(a, b, whole) != 0)
		return false;
	return rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0;
}

/* "10.0.0.0/8": the network's own address and its length. */
static bool network_parse(const char *text, const char *slash,
			  struct conf_allow *allow)
{
	char *addr = xstrndup(text, (size_t)(slash - text));
	uint8_t masked[16] = {0};
	uint16_t bits;

	allow->family = ip_parse(addr, allow->addr);
	free(addr);
	if (allow->family == 0 ||
	    !port_parse(slash + 1, strlen(slash + 1), 0, &bits) ||
	    bits > (allow->family == AF_INET ? 32 : 128))
		return false;
	allow->bits = bits;
	for (unsigned i = 0; i < bits; i++)
		masked[i / 8] |=
		    (uint8_t)(allow->addr[i / 8] & (0x80 >> i % 8));
	return memcmp(masked, allow->addr, sizeof(masked)) == 0;
}

/* A host or an address, with a port or without. */
static bool allow_host_parse(const char *text, struct conf_allow *allow)
{
	char *host;
	bool v6;

	allow->below = strncmp(text, "*.", 2) == 0;
	if (allow->below)
		text += 2;
	if (!authority_parse(text, strlen(text), 1, &host, &allow->port, &v6))
		return false;
	allow->family = ip_parse(host, allow->addr);
	if (allow->family == 0) {
		allow->host = host;
		return true;
	}
	allow->bits = allow->family == AF_INET ? 32 : 128;
	free(host);
	return !allow->below;
}

bool conf_allow_parse(const char *text, struct conf_allow *out)
{
	struct conf_allow allow = {0};
	const char *slash = strchr(text, '/');
	bool good;

	if (slash) {
		good = network_parse(text, slash, &allow);
	} else if (inet_pton(AF_INET6, text, allow.addr) == 1) {
		allow.family = AF_INET6;
		allow.bits = 128;
		good = true;
	} else {
		good = allow_host_parse(text, &allow);
	}
	if (!good)
		return false;
	allow.text = xstrdup(text);
	*out = allow;
	return true;
}

void conf_allow_release(struct conf_allow *allow)
{
	free(allow->text);
	free(allow->host);
}

/* The address as family and bytes; IPv4 inside IPv6 is IPv4. */
static int addr_bytes(const char *host, const struct sockaddr *addr,
		      uint8_t out[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	if (!addr)
		return ip_parse(host, out);
	if (addr->sa_family == AF_INET) {
		memcpy(&v4, addr, sizeof(v4));
		memcpy(out, &v4.sin_addr, 4);
		return AF_INET;
	}
	if (addr->sa_family != AF_INET6)
		return 0;
	memcpy(&v6, addr, sizeof(v6));
	memcpy(out, &v6.sin6_addr, 16);
	if (memcmp(out, mapped, sizeof(mapped)) != 0)
		return AF_INET6;
	memmove(out, out + 12, 4);
	return AF_INET;
}

bool conf_allow_matches(const struct conf_allow *allow, const char *host,
			uint16_t port, const struct sockaddr *addr)
{
	size_t host_len = strlen(host), want_len;
	uint8_t bytes[16] = {0};

	if (allow->port != 0 && allow->port != port)
		return false;
	if (allow->family != 0)
		return addr_bytes(host, addr, bytes) == allow->family &&
		       bits_equal(bytes, allow->addr, allow->bits);
	if (!allow->below)
		return strcmp(host, allow->host) == 0;
	want_len = strlen(allow->host);
	return host_len > want_len + 1 &&
	       host[host_len - want_len - 1] == '.' &&
	       strcmp(host + host_len - want_len, allow->host) == 0;
}
