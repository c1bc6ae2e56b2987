/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/dial_way.h"

#include "proxy/address.h"

#include <netinet/in.h>

void dial_way_release(struct dial_way *w)
{
	proxy_url_release(&w->proxy);
	http_url_release(&w->url);
}

const char *dial_way_host(const struct dial_way *w)
{
	return w->proxy.text ? w->proxy.host : w->url.host;
}

uint16_t dial_way_port(const struct dial_way *w)
{
	return w->proxy.text ? w->proxy.port : w->url.port;
}

static void add_address(char *list, size_t size, const struct sockaddr *sa)
{
	char text[INET6_ADDRSTRLEN];
	size_t len = strlen(list);
	bool v6 = sa->sa_family == AF_INET6;

	address_text(sa, text);
	snprintf(list + len, size - len, "%s%s%s%s", len ? "," : "",
		 v6 ? "[" : "", text, v6 ? "]" : "");
}

enum err dial_way_resolve(const struct dial_way *w,
			  const struct resolved *found,
			  bool (*ok)(void *arg, const struct sockaddr *sa),
			  void *arg, char **out)
{
	char list[RESOLVED_MAX * (INET6_ADDRSTRLEN + 3)] = "";
	const char *host = dial_way_host(w);
	uint16_t port = dial_way_port(w);
	struct sockaddr_storage literal;

	*out = NULL;
	for (unsigned i = 0; i < found->n; i++) {
		const void *sa = &found->addr[i];

		if (!ok || ok(arg, sa))
			add_address(list, sizeof(list), sa);
	}
	if (!*list)
		return ERR_DENIED;
	if (!address_parse(host, port, &literal))
		*out = xasprintf("%s:%u:%s", host, port, list);
	return ERR_OK;
}
