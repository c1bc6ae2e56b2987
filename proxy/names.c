/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/names.h"

#define DOCKER_IO "docker.io"

static const char *const docker_aliases[] = {
    "index.docker.io",
    "registry-1.docker.io",
};

static bool is_docker_io(const struct names_upstream *up)
{
	return strcmp(up->name, DOCKER_IO) == 0;
}

static bool is_one_of(char *const *list, size_t n, const char *text)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i], text) == 0)
			return true;
	return false;
}

/* Is `host`, in normal form, this upstream's name or one of its aliases? */
static bool upstream_is(const struct names_upstream *up, const char *host)
{
	if (strcmp(up->name, host) == 0 ||
	    is_one_of(up->aliases, up->n_aliases, host))
		return true;
	for (size_t i = 0; is_docker_io(up) && i < ARRAY_LEN(docker_aliases);
	     i++)
		if (strcmp(docker_aliases[i], host) == 0)
			return true;
	return false;
}

/*
 * Configured names first, so that nobody's alias takes another one's name.
 */
static const struct names_upstream *find_upstream(const struct names_conf *conf,
						  const char *host)
{
	for (size_t i = 0; i < conf->n_upstreams; i++)
		if (strcmp(conf->upstreams[i].name, host) == 0)
			return &conf->upstreams[i];
	for (size_t i = 0; i < conf->n_upstreams; i++)
		if (upstream_is(&conf->upstreams[i], host))
			return &conf->upstreams[i];
	return NULL;
}

/*
 * The host at the front of a name of several components, in normal form, and
 * what follows it; NULL when the first component can be no host's name.
 */
static const char *split_host(const char *name, char *host)
{
	size_t n = repo_first_component(name, strlen(name));

	if (!name[n] || host_normalise(name, n, host) != ERR_OK)
		return NULL;
	return name + n + 1;
}

/* A repository of `up`: what N becomes there. */
static enum err answer_mirror(const struct names_upstream *up, const char *repo,
			      struct names_answer *out)
{
	bool one = !strchr(repo, '/');
	const char *library = one && is_docker_io(up) ? "library/" : "";
	size_t prefix = strlen(library), len = strlen(repo);

	out->kind = NAMES_MIRROR;
	out->upstream = up->name;
	if (!repo_name_valid(repo, len) || prefix + len > REPO_NAME_MAX)
		return why_set(&out->detail, ERR_INVALID,
			       "\"%s%.120s\" is no repository name of at most "
			       "%d characters at %.60s",
			       library, repo, REPO_NAME_MAX, up->name);
	memcpy(out->repo, library, prefix);
	memcpy(out->repo + prefix, repo, len + 1);
	return ERR_OK;
}

static enum err answer_hosted(const char *name, struct names_answer *out)
{
	size_t len = strlen(name);

	out->kind = NAMES_HOSTED;
	if (!repo_name_valid(name, len))
		return why_set(&out->detail, ERR_INVALID,
			       "\"%.150s\" is no repository name", name);
	memcpy(out->repo, name, len + 1);
	return ERR_OK;
}

static enum err answer_unknown(const char *host, const char *where,
			       struct names_answer *out)
{
	out->kind = NAMES_UNKNOWN;
	(void)why_set(&out->detail, ERR_OK,
		      "%.100s (%s) is not a configured upstream; it would "
		      "have to be listed in \"upstreams\"",
		      host, where);
	return ERR_OK;
}

/* Rows 1 and 2, for an ns that counts. */
static enum err resolve_ns(const struct names_conf *conf, const char *name,
			   const char *ns, struct names_answer *out)
{
	const struct names_upstream *up = find_upstream(conf, ns);
	char host[HOST_MAX + 1];
	const char *rest;

	if (!up) {
		out->row = 2;
		return answer_unknown(ns, "the request's ns", out);
	}
	out->row = 1;
	out->echo_namespace = true;
	rest = split_host(name, host);
	if (rest && upstream_is(up, host))
		name = rest;
	return answer_mirror(up, name, out);
}

/* Row 4.  A pattern needs no look at the claims. */
static bool is_hosted(const struct names_conf *conf, const char *name,
		      bool *claimed)
{
	if (!repo_name_valid(name, strlen(name)))
		return false;
	for (size_t i = 0; i < conf->n_hosted; i++)
		if (name_pattern_match(conf->hosted[i], name))
			return true;
	*claimed = conf->claimed && conf->claimed(conf->claimed_arg, name);
	return *claimed;
}

/* Rows 5 and 6. */
static enum err resolve_default(const struct names_upstream *up,
				const char *name, struct names_answer *out)
{
	size_t n = repo_first_component(name, strlen(name));
	char first[HOST_MAX + 1];

	if (name[n] && component_is_host(name, n)) {
		out->row = 5;
		snprintf(first, sizeof(first), "%.*s", (int)n, name);
		return answer_unknown(first, "the name's first component", out);
	}
	out->row = 6;
	return answer_mirror(up, name, out);
}

/* Rows 3 to 7. */
static enum err resolve_name(const struct names_conf *conf, const char *name,
			     struct names_answer *out)
{
	const char *standard =
	    conf->mirror_of ? conf->mirror_of : conf->default_upstream;
	const struct names_upstream *up;
	char host[HOST_MAX + 1];
	const char *rest = split_host(name, host);

	up = rest ? find_upstream(conf, host) : NULL;
	if (up) {
		out->row = 3;
		return answer_mirror(up, rest, out);
	}
	if (!conf->mirror_of && is_hosted(conf, name, &out->claimed)) {
		out->row = 4;
		return answer_hosted(name, out);
	}
	if (standard) {
		up = find_upstream(conf, standard);
		assert(up);
		return resolve_default(up, name, out);
	}
	out->row = 7;
	return answer_hosted(name, out);
}

enum err names_resolve(const struct names_conf *conf, const char *name,
		       const char *ns, struct names_answer *out)
{
	char host[HOST_MAX + 1];

	memset(out, 0, sizeof(*out));
	if (!ns || !*ns)
		return resolve_name(conf, name, out);
	if (host_normalise(ns, strlen(ns), host) != ERR_OK) {
		out->row = 2;
		return answer_unknown("what it names", "the request's ns", out);
	}
	/* An upstream may carry our own name only by a mistake; row 1 first. */
	if (!find_upstream(conf, host) &&
	    is_one_of(conf->own, conf->n_own, host))
		return resolve_name(conf, name, out);
	return resolve_ns(conf, name, host, out);
}

bool names_shadow(const struct names_conf *conf, const char *name,
		  struct names_answer *out)
{
	memset(out, 0, sizeof(*out));
	if (conf->mirror_of || !conf->default_upstream)
		return false;
	if (resolve_default(find_upstream(conf, conf->default_upstream), name,
			    out) == ERR_OK &&
	    out->kind == NAMES_MIRROR)
		return true;
	memset(out, 0, sizeof(*out));
	return false;
}
