/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A proxy's URL, then no_proxy lists, one a line: what is accepted is read the
 * same way again, and names a place.
 */
#include "proxy/environment_proxy.h"
#include "proxy/http_field.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct proxy_url *url)
{
	struct proxy_url again;

	assert(url->host[0] && strlen(url->host) <= PROXY_HOST_MAX);
	assert(url->port > 0 && strstr(url->text, "://"));
	assert(!strpbrk(url->text, " \t\r\n"));
	if (proxy_url_parse(url->text, false, &again))
		assert(!"its own text is no URL");
	assert(strcmp(again.text, url->text) == 0);
	assert(strcmp(again.host, url->host) == 0 && again.port == url->port);
	proxy_url_release(&again);
}

static void exclude(const char *list)
{
	static const char *const hosts[] = {"quay.io", "10.1.2.3", "fd00::1",
					    "a.b.example"};

	for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
		(void)proxy_environment_excludes(list, hosts[i], 443);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* What comes from the environment ends in a NUL. */
	char *text = xstrndup((const char *)data, size), *list;
	struct proxy_url url;

	list = strchr(text, '\n');
	if (list)
		*list++ = '\0';
	for (int web_port = 0; web_port < 2; web_port++)
		if (proxy_url_parse(text, web_port, &url) == ERR_OK) {
			check(&url);
			proxy_url_release(&url);
		}
	if (list)
		exclude(list);
	free(text);
	return 0;
}
