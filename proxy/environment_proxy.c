/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/environment_proxy.h"

#include <arpa/inet.h>
#include <ctype.h>

static const char *variable(const char *lower, const char *upper)
{
	const char *value = getenv(lower);

	if ((!value || !*value) && upper)
		value = getenv(upper);
	return value && *value ? value : NULL;
}

void proxy_environment_read(struct proxy_environment *env)
{
	env->http = variable("http_proxy", NULL);
	env->https = variable("https_proxy", "HTTPS_PROXY");
	env->all = variable("all_proxy", "ALL_PROXY");
	env->no = variable("no_proxy", "NO_PROXY");
}

const char *proxy_environment_pick(const struct proxy_environment *env,
				   bool https, const char *host, uint16_t port)
{
	const char *proxy = https ? env->https : env->http;

	if (!proxy)
		proxy = env->all;
	if (!proxy ||
	    (env->no && proxy_environment_excludes(env->no, host, port)))
		return NULL;
	return proxy;
}

/* ---- no_proxy ---- */

/* An address in either family; returns its length in bytes, or 0. */
static unsigned parse_ip(const char *text, uint8_t out[16])
{
	if (inet_pton(AF_INET, text, out) == 1)
		return 4;
	return inet_pton(AF_INET6, text, out) == 1 ? 16 : 0;
}

static bool bits_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	return memcmp(a, b, whole) == 0 &&
	       (!rest || (a[whole] ^ b[whole]) >> (8 - rest) == 0);
}

/* "10.0.0.0/8" or "10.0.0.1" against the address `ip` of `len` bytes. */
static bool network_has(char *entry, const uint8_t *ip, unsigned len)
{
	char *slash = strchr(entry, '/'), *end;
	uint8_t net[16];
	unsigned long bits = len * 8;

	if (slash) {
		*slash = '\0';
		bits = strtoul(slash + 1, &end, 10);
		if (!isdigit((unsigned char)slash[1]) || *end)
			return false;
	}
	return parse_ip(entry, net) == len && bits <= len * 8 &&
	       bits_equal(net, ip, (unsigned)bits);
}

static bool domain_has(const char *entry, const char *host)
{
	size_t len = strlen(entry), host_len = strlen(host);

	if (len && entry[len - 1] == '.')
		len--;
	if (host_len && host[host_len - 1] == '.')
		host_len--;
	if (len && *entry == '.') {
		entry++;
		len--;
	}
	if (len == 0 || len > host_len ||
	    strncasecmp(entry, host + host_len - len, len) != 0)
		return false;
	return len == host_len || host[host_len - len - 1] == '.';
}

/* Cut ":port" and brackets off an entry; false if it is another port's. */
static bool cut_port(char **entry, uint16_t port)
{
	char *text = *entry, *colon = strrchr(text, ':'), *end;
	char *close = text[0] == '[' ? strchr(text, ']') : NULL;

	if (close) {
		colon = close[1] == ':' ? close + 1 : NULL;
		*entry = text + 1;
		*close = '\0';
	} else if (colon && strchr(text, ':') != colon) {
		return true; /* an IPv6 address */
	}
	if (!colon)
		return true;
	*colon = '\0';
	return isdigit((unsigned char)colon[1]) &&
	       strtoul(colon + 1, &end, 10) == port && !*end;
}

static bool entry_has(char *entry, const char *host, uint16_t port)
{
	uint8_t ip[16];
	unsigned len = parse_ip(host, ip);

	if (!cut_port(&entry, port))
		return false;
	return len ? network_has(entry, ip, len) : domain_has(entry, host);
}

bool proxy_environment_excludes(const char *list, const char *host,
				uint16_t port)
{
	char entry[PROXY_HOST_MAX + 16];

	if (strcmp(list, "*") == 0)
		return true;
	while (*list) {
		size_t len = strcspn(list, ", \t");

		if (len && len < sizeof(entry)) {
			memcpy(entry, list, len);
			entry[len] = '\0';
			if (entry_has(entry, host, port))
				return true;
		}
		list += len;
		list += strspn(list, ", \t");
	}
	return false;
}

/* ---- a proxy's URL ---- */

struct scheme {
	const char *name;
	const char *told; /* to libcurl, which must look up no name itself */
	uint16_t port;
};

static const struct scheme *scheme_find(const char *text, size_t len)
{
	static const struct scheme schemes[] = {
	    {"http", "http", 1080},      {"https", "https", 443},
	    {"socks5", "socks5h", 1080}, {"socks5h", "socks5h", 1080},
	    {"socks4", "socks4a", 1080}, {"socks4a", "socks4a", 1080},
	    {"socks", "socks4a", 1080},
	};

	for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
		if (strlen(schemes[i].name) == len &&
		    strncasecmp(schemes[i].name, text, len) == 0)
			return &schemes[i];
	return NULL;
}

static bool copy_host(struct proxy_url *url, const char *text, size_t len)
{
	if (len == 0 || len > PROXY_HOST_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)text[i]) &&
		    !strchr("-._:", text[i]))
			return false;
		url->host[i] = (char)tolower((unsigned char)text[i]);
	}
	url->host[len] = '\0';
	return true;
}

/* What else there is in a user or password is to be escaped. */
static bool is_visible(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] <= 0x20 || text[i] >= 0x7f)
			return false;
	return true;
}

/* "host", "host:port", "[v6]:port" in text[len]. */
static bool parse_place(struct proxy_url *url, const char *text, size_t len)
{
	const char *end = text + len, *port, *close;
	bool v6 = len && *text == '[', ok;
	char *stop;
	unsigned long value;

	close = memchr(text, v6 ? ']' : ':', len);
	if (v6 && !close)
		return false;
	if (!close)
		close = end;
	ok = copy_host(url, text + v6, (size_t)(close - text) - v6);
	port = close + v6;
	if (!ok || port >= end)
		return ok;
	if (*port != ':' || !isdigit((unsigned char)port[1]))
		return false;
	value = strtoul(port + 1, &stop, 10);
	url->port = (uint16_t)value;
	return stop == end && value >= 1 && value <= UINT16_MAX;
}

enum err proxy_url_parse(const char *text, bool web_port, struct proxy_url *out)
{
	const char *colon = strstr(text, "://"), *at, *place;
	const struct scheme *scheme;
	struct proxy_url url = {{0}, 0, NULL};
	size_t len;
	bool v6;

	scheme = colon ? scheme_find(text, (size_t)(colon - text))
		       : scheme_find("http", 4);
	if (!scheme)
		return ERR_INVALID;
	if (colon)
		text = colon + 3;
	len = strcspn(text, "/?#");
	at = memrchr(text, '@', len);
	place = at ? at + 1 : text;
	url.port = web_port && scheme->port == 1080 && scheme->told[0] == 'h'
		       ? 80
		       : scheme->port;
	if (!is_visible(text, len) ||
	    !parse_place(&url, place, len - (size_t)(place - text)))
		return ERR_INVALID;
	v6 = strchr(url.host, ':') != NULL;
	url.text =
	    xasprintf("%s://%.*s%s%s%s:%u", scheme->told, (int)(place - text),
		      text, v6 ? "[" : "", url.host, v6 ? "]" : "", url.port);
	*out = url;
	return ERR_OK;
}

void proxy_url_release(struct proxy_url *url)
{
	if (url->text)
		explicit_bzero(url->text, strlen(url->text));
	free(url->text);
	memset(url, 0, sizeof(*url));
}
