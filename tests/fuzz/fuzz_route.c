/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths, and the name table behind them.  What must hold: a route that is
 * fine has a name and a reference that are valid by their own grammars; one
 * that is not says why; writing a route out and reading it again gives the
 * same; the name table sends nobody to a host that is not configured.
 */
#include "proxy/names.h"
#include "proxy/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
	if (!ok)
		abort();
}

static bool has_name(enum endpoint endpoint)
{
	return endpoint == ENDPOINT_BLOB || endpoint == ENDPOINT_MANIFEST ||
	       endpoint == ENDPOINT_TAGS || endpoint == ENDPOINT_REFERRERS ||
	       endpoint == ENDPOINT_UPLOADS || endpoint == ENDPOINT_UPLOAD;
}

static void check_reference(const struct route *route)
{
	struct digest dg;

	switch (route->reference) {
	case REFERENCE_NONE:
		require(!*route->ref);
		break;
	case REFERENCE_TAG:
		require(tag_valid(route->ref, strlen(route->ref)));
		break;
	case REFERENCE_DIGEST:
		require(digest_parse(route->ref, strlen(route->ref), &dg) ==
			ERR_OK);
		require(digest_equal(&dg, &route->digest));
		break;
	case REFERENCE_UPLOAD:
		require(*route->ref && !strpbrk(route->ref, "/.%"));
		break;
	}
}

/* The route's path in its plainest form, read again. */
static void check_again(const struct route *route)
{
	struct route again;
	char path[1024];
	int len;

	if (route->endpoint == ENDPOINT_MANIFEST)
		len = snprintf(path, sizeof(path), "/v2/%s/manifests/%s",
			       route->name, route->ref);
	else if (route->endpoint == ENDPOINT_BLOB)
		len = snprintf(path, sizeof(path), "/v2/%s/blobs/%s",
			       route->name, route->ref);
	else
		return;
	require(route_parse(path, (size_t)len, &again, NULL) == ERR_OK);
	require(route->endpoint == again.endpoint);
	require(strcmp(route->name, again.name) == 0);
	require(strcmp(route->ref, again.ref) == 0);
}

/* `ns` is whatever bytes came before the path. */
static void check_names(const char *name, const char *ns)
{
	char *const hosted[] = {(char[]){"team/**"}};
	static const struct names_upstream upstreams[] = {
	    {.name = "docker.io"}, {.name = "localhost:5001"}};
	struct names_conf conf = {.upstreams = upstreams,
				  .n_upstreams = 2,
				  .hosted = hosted,
				  .n_hosted = 1};
	struct names_answer got;

	for (int i = 0; i < 2; i++) {
		conf.default_upstream = i ? "docker.io" : NULL;
		if (names_resolve(&conf, name, ns, &got) != ERR_OK) {
			require(got.detail.text[0] != '\0');
			continue;
		}
		require(got.row >= 1 && got.row <= 7);
		require((got.kind == NAMES_MIRROR) == (got.upstream != NULL));
		if (got.kind != NAMES_UNKNOWN)
			require(repo_name_valid(got.repo, strlen(got.repo)));
		require(got.echo_namespace == (got.row == 1));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *path = (const char *)data;
	const char *split = size ? memchr(data, '\n', size) : NULL;
	struct route route;
	struct why why = {""};
	char *ns = NULL;
	enum err err;

	if (split) {
		ns = xstrndup(path, (size_t)(split - path));
		size -= (size_t)(split - path) + 1;
		path = split + 1;
	}
	err = route_parse(path, size, &route, &why);
	require(!err == !route.code && !err == !why.text[0]);
	require(!*route.name ||
		repo_path_valid(route.name, strlen(route.name)));
	if (!err) {
		require(!has_name(route.endpoint) || *route.name);
		check_reference(&route);
		check_again(&route);
	}
	if (*route.name)
		check_names(route.name, ns);
	free(ns);
	return 0;
}
