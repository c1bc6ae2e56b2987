/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A URL, and in further lines references relative to it: what is taken apart
 * is put together so that it is read the same way again.
 */
#include "proxy/http_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text)
{
	for (; *text; text++)
		assert(*text > 0x20 && *text < 0x7f && *text != '#');
}

/* What libcurl is told has the host that the policy judges. */
static void check(const struct http_url *url)
{
	size_t len = strlen(url->host);
	const char *host = url->text + (url->https ? 8 : 7);
	struct http_url again;
	enum err err;

	check_text(url->text);
	assert(len > 0 && len <= HTTP_URL_HOST_MAX && url->port > 0);
	assert(strncmp(url->text, url->https ? "https://" : "http://",
		       url->https ? 8 : 7) == 0);
	host += url->v6;
	assert(strncmp(host, url->host, len) == 0);
	assert(strchr(url->v6 ? "]" : ":/", host[len]) && host[len]);
	assert(url->target > host && url->target[0] == '/');
	assert(!memchr(host, '@', (size_t)(url->target - host)));
	err = http_url_parse(span_of(url->text), &again);
	/* Only its length, which escapes have made, may be against it. */
	assert(err == ERR_OK || err == ERR_TOO_BIG);
	if (err == ERR_OK) {
		assert(strcmp(again.text, url->text) == 0);
		assert(http_url_same_origin(url, &again));
		http_url_release(&again);
	}
}

static bool next_line(struct span *rest, struct span *line)
{
	if (!rest->len)
		return false;
	if (!span_cut(rest, '\n', line)) {
		*line = *rest;
		rest->len = 0;
	}
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span rest = {(const char *)data, size}, line;
	struct http_url base, next;

	if (!next_line(&rest, &line) || http_url_parse(line, &base))
		return 0;
	check(&base);
	while (next_line(&rest, &line)) {
		if (http_url_join(&base, line, &next))
			continue;
		check(&next);
		http_url_release(&base);
		base = next;
	}
	http_url_release(&base);
	return 0;
}
