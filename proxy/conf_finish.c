/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/conf_finish.h"

#include "proxy/conf_hook.h"
#include "proxy/conf_kind.h"
#include "proxy/conf_value.h"

#include <pwd.h>
#include <sched.h>
#include <sys/un.h>
#include <unistd.h>

#define PASSWORD_MAX (64 * KIB)

/* Docker Hub is reached at another host than its name, and has three. */
#define HUB "docker.io"
#define HUB_ENDPOINT "https://registry-1.docker.io"
#define HUB_REALM "auth.docker.io"
static const char *const hub_aliases[] = {"index.docker.io",
					  "registry-1.docker.io"};

struct conf_upstream *conf_upstream_named(struct conf *conf, const char *name)
{
	for (size_t i = 0; i < conf->upstreams.n; i++) {
		if (strcmp(conf->upstreams.v[i].name, name) == 0)
			return &conf->upstreams.v[i];
	}
	return NULL;
}

struct conf_upstream *conf_upstream_add(struct conf *conf, const char *name)
{
	struct conf_upstreams *all = &conf->upstreams;
	struct conf_upstream *up;

	all->v = xrealloc(all->v, (all->n + 1) * sizeof(*all->v));
	up = &all->v[all->n++];
	*up = (struct conf_upstream){.name = xstrdup(name), .proxy_env = true};
	conf_fields_default(SCOPE_UPSTREAM, up);
	return up;
}

/* The home folder by the environment, else by the user's entry; or NULL. */
static const char *home_folder(void)
{
	const char *home = getenv("HOME");
	const struct passwd *pw;

	if (home && home[0] == '/')
		return home;
	pw = getpwuid(getuid());
	return pw && pw->pw_dir && pw->pw_dir[0] == '/' ? pw->pw_dir : NULL;
}

/*
 * XDG Base Directory Specification: "If $XDG_STATE_HOME is either not set or
 * empty, a default equal to $HOME/.local/state should be used", and relative
 * paths in it are to be ignored.
 */
static char *default_data(void)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = home_folder();

	if (state && state[0] == '/')
		return xasprintf("%s/entrepot", state);
	return home ? xasprintf("%s/.local/state/entrepot", home) : NULL;
}

static void finish_paths(struct conf_ctx *ctx, struct conf *conf)
{
	struct sockaddr_un un;

	if (!conf->data)
		conf->data = default_data();
	if (!conf->data) {
		conf_complain(ctx, "data",
			      "expected a folder, found neither it nor HOME");
		return;
	}
	if (!conf->control)
		conf->control = xasprintf("%s/control.sock", conf->data);
	if (strlen(conf->control) >= sizeof(un.sun_path))
		conf_complain(ctx, "control",
			      "expected a socket path of at most %zu bytes, "
			      "found \"%s\"",
			      sizeof(un.sun_path) - 1, conf->control);
}

/* The cores that this process may use. */
static uint32_t cores(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		return 2;
	return (uint32_t)CPU_COUNT(&set);
}

static void finish_counts(struct conf_ctx *ctx, struct conf *conf)
{
	uint32_t n = cores();

	if (conf->server.loops == 0)
		conf->server.loops = n;
	if (conf->workers.data == 0)
		conf->workers.data = MAX(n, 2);
	if (conf->cache.memory_fill_bytes > conf->cache.memory_total_bytes)
		conf_complain(
		    ctx, "cache.memory.fill",
		    "expected no more than cache.memory.total (%" PRIu64
		    "), found %" PRIu64,
		    conf->cache.memory_total_bytes,
		    conf->cache.memory_fill_bytes);
	if (conf->uploads.memory_bytes > conf->cache.memory_total_bytes)
		conf_complain(
		    ctx, "uploads.memory",
		    "expected no more than cache.memory.total (%" PRIu64
		    "), found %" PRIu64,
		    conf->cache.memory_total_bytes, conf->uploads.memory_bytes);
	if (conf->cache.inline_manifest_max_bytes >
	    conf->cache.manifest_max_bytes)
		conf_complain(
		    ctx, "cache.inline_manifest_max",
		    "expected no more than cache.manifest_max (%" PRIu64
		    "), found %" PRIu64,
		    conf->cache.manifest_max_bytes,
		    conf->cache.inline_manifest_max_bytes);
	if (conf->cache.max_bytes != CONF_UNLIMITED)
		conf_warn(
		    ctx, "cache.max_bytes",
		    "nothing enforces it yet; cache.min_free is honoured");
}

/* One upstream and the key path of one of its options, for messages. */
struct place {
	struct conf_ctx *ctx;
	struct conf_upstream *up;
	char key[400];
};

static const char *place_key(struct place *at, const char *option)
{
	snprintf(at->key, sizeof(at->key), "upstreams.%s.%s", at->up->name,
		 option);
	return at->key;
}

/* Add what we know ourselves, unless the file says it too. */
static void add_builtin(struct conf_strings *list, const char *text)
{
	for (size_t i = 0; i < list->n; i++) {
		if (strcmp(list->v[i], text) == 0)
			return;
	}
	conf_strings_add(list, text);
}

static void finish_endpoints(struct place *at)
{
	struct conf_upstream *up = at->up;
	bool hub = strcmp(up->name, HUB) == 0;
	char *text =
	    hub ? xstrdup(HUB_ENDPOINT) : xasprintf("https://%s", up->name);

	if (up->endpoints.n == 0) {
		up->endpoints.v = xcalloc(1, sizeof(*up->endpoints.v));
		up->endpoints.n = 1;
		if (!conf_url_parse(text, "https", up->endpoints.v))
			assert(!"a normalised host makes a URL");
	}
	free(text);
	for (size_t i = 0; hub && i < ARRAY_LEN(hub_aliases); i++)
		add_builtin(&up->aliases, hub_aliases[i]);
	if (hub)
		add_builtin(&up->token_realms, HUB_REALM);
	if (up->endpoints.n > CONF_ENDPOINTS_MAX)
		conf_complain(at->ctx, place_key(at, "endpoints"),
			      "expected at most %d URLs, found %zu",
			      CONF_ENDPOINTS_MAX, up->endpoints.n);
	if (up->retry_min_ms > up->retry_max_ms)
		conf_complain(at->ctx, place_key(at, "retry_min"),
			      "expected no more than retry_max (%" PRIu64
			      "ms), found %" PRIu64 "ms",
			      up->retry_max_ms, up->retry_min_ms);
}

/* The password is the file without the newline at its end. */
static void read_password(struct place *at)
{
	const char *key = place_key(at, "password_file");
	struct why why;
	bool others;
	size_t len;
	char *text;

	if (conf_file_read(at->up->password_file, PASSWORD_MAX, &text, &len,
			   &others, &why) != ERR_OK) {
		conf_complain(at->ctx, key, "expected a readable file: %s",
			      why.text);
		return;
	}
	if (len > 0 && text[len - 1] == '\n')
		text[--len] = '\0';
	if (len > 0 && text[len - 1] == '\r')
		text[--len] = '\0';
	if (len == 0 || strlen(text) != len || strpbrk(text, "\r\n"))
		conf_complain(
		    at->ctx, key,
		    "expected a file of one line, found another in %s",
		    at->up->password_file);
	else
		at->up->password = xstrdup(text);
	explicit_bzero(text, len);
	free(text);
	if (others)
		conf_warn(at->ctx, key, "%s can be read by every user",
			  at->up->password_file);
}

static void finish_password(struct place *at)
{
	struct conf_upstream *up = at->up;

	if (up->password && up->password_file)
		conf_complain(at->ctx, place_key(at, "password_file"),
			      "expected either this or password, found both");
	else if (!up->username)
		conf_complain(at->ctx, place_key(at, "username"),
			      "expected a user for the password, found none");
	else if (!up->password && !up->password_file)
		conf_complain(at->ctx, place_key(at, "username"),
			      "expected password or password_file with it, "
			      "found neither");
	else if (up->password && at->ctx->source_public)
		conf_warn(at->ctx, place_key(at, "password"),
			  "this file can be read by every user; password_file "
			  "keeps the secret out of it");
	if (up->password_file && !up->password && !at->ctx->skip_files)
		read_password(at);
}

static void finish_docker(struct place *at)
{
	const char *folder = getenv("DOCKER_CONFIG"), *home = home_folder();

	if (at->up->docker_config)
		return;
	if (folder && folder[0] == '/')
		at->up->docker_config = xasprintf("%s/config.json", folder);
	else if (home)
		at->up->docker_config =
		    xasprintf("%s/.docker/config.json", home);
	else
		conf_complain(at->ctx, place_key(at, "docker_config"),
			      "expected a path, found neither it nor HOME");
}

/*
 * One source of credentials per upstream: two would make it a riddle which of
 * them a 401 speaks of.
 */
static void finish_credentials(struct place *at)
{
	struct conf_upstream *up = at->up;
	bool password = up->username || up->password || up->password_file;
	bool docker = up->docker_config || up->credentials == CONF_CRED_DOCKER;
	bool helper = up->credential_helper;
	bool none = up->credentials == CONF_CRED_NONE;

	if (password + docker + helper + none > 1) {
		conf_complain(at->ctx, place_key(at, "credentials"),
			      "expected one of username with password, "
			      "docker_config, credential_helper, \"none\"; "
			      "found several");
		return;
	}
	up->credentials = password ? CONF_CRED_PASSWORD
			  : docker ? CONF_CRED_DOCKER
			  : helper ? CONF_CRED_HELPER
				   : CONF_CRED_NONE;
	if (password)
		finish_password(at);
	if (docker)
		finish_docker(at);
}

bool conf_host_is_loopback(const char *host)
{
	return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 ||
	       strcmp(host, "localhost") == 0;
}

static void warn_transport(struct place *at)
{
	const struct conf_upstream *up = at->up;

	for (size_t i = 0; i < up->endpoints.n; i++) {
		const struct conf_url *url = &up->endpoints.v[i];

		if (!url->https && up->credentials != CONF_CRED_NONE &&
		    !conf_host_is_loopback(url->host))
			conf_warn(at->ctx, place_key(at, "endpoints"),
				  "%s gets the credentials unencrypted",
				  url->text);
	}
	if (up->insecure)
		conf_warn(at->ctx, place_key(at, "insecure"),
			  "its certificate is not checked: whoever is in "
			  "between can read credentials and move tags");
}

void conf_file_check(struct conf_ctx *ctx, const char *key, const char *path)
{
	struct why why;
	bool others;
	size_t len;
	char *text;

	if (!path || ctx->skip_files)
		return;
	if (conf_file_read(path, MIB, &text, &len, &others, &why) != ERR_OK) {
		conf_complain(ctx, key, "expected a readable file: %s",
			      why.text);
		return;
	}
	if (others && strstr(text, "PRIVATE KEY-----"))
		conf_warn(
		    ctx, key,
		    "%s holds a private key and can be read by every user",
		    path);
	explicit_bzero(text, len);
	free(text);
}

static void check_files(struct place *at)
{
	struct conf_upstream *up = at->up;

	if (up->client_key && !up->client_cert)
		conf_complain(at->ctx, place_key(at, "client_cert"),
			      "expected it with client_key, found none");
	conf_file_check(at->ctx, place_key(at, "ca"), up->ca);
	conf_file_check(at->ctx, place_key(at, "client_cert"), up->client_cert);
	conf_file_check(at->ctx, place_key(at, "client_key"), up->client_key);
}

static void finish_upstreams(struct conf_ctx *ctx, struct conf *conf)
{
	/* Docker Hub needs no entry to be the default */
	if (conf->default_upstream &&
	    strcmp(conf->default_upstream, HUB) == 0 &&
	    !conf_upstream_named(conf, HUB))
		conf_upstream_add(conf, HUB);
	for (size_t i = 0; i < conf->upstreams.n; i++) {
		struct place at = {.ctx = ctx, .up = &conf->upstreams.v[i]};

		finish_endpoints(&at);
		finish_credentials(&at);
		warn_transport(&at);
		check_files(&at);
	}
	if (conf->upstreams.n == 0)
		conf_warn(ctx, "upstreams",
			  "no upstream is configured: nothing can be pulled");
}

/* Claim `host` for `owner`; complain if somebody else has it. */
static void claim_host(struct conf_ctx *ctx, json_t *owners, const char *host,
		       const char *key, const char *owner)
{
	const char *other = json_string_value(json_object_get(owners, host));

	if (other)
		conf_complain(ctx, key,
			      "expected each host once, found \"%s\" in %s too",
			      host, other);
	else
		json_object_set_new(owners, host, json_string(owner));
}

/* A name, alias or own name means one thing. */
static void check_hosts(struct conf_ctx *ctx, const struct conf *conf)
{
	json_t *owners = json_object();

	for (size_t i = 0; i < conf->upstreams.n; i++) {
		const struct conf_upstream *up = &conf->upstreams.v[i];
		char *key = xasprintf("upstreams.%s", up->name);

		claim_host(ctx, owners, up->name, key, key);
		free(key);
	}
	for (size_t i = 0; i < conf->upstreams.n; i++) {
		const struct conf_upstream *up = &conf->upstreams.v[i];
		char *key = xasprintf("upstreams.%s.aliases", up->name);

		for (size_t j = 0; j < up->aliases.n; j++)
			claim_host(ctx, owners, up->aliases.v[j], key, key);
		free(key);
	}
	for (size_t i = 0; i < conf->names.n; i++)
		claim_host(ctx, owners, conf->names.v[i], "names", "names");
	json_decref(owners);
}

/*
 * Replace the name of an upstream that an option gives, perhaps an alias, by
 * the upstream's own name.
 */
static void resolve_upstream(struct conf_ctx *ctx, const struct conf *conf,
			     const char *key, char **name)
{
	const struct conf_upstream *up;

	if (!*name)
		return;
	up = conf_upstream_find(conf, *name, strlen(*name));
	if (!up) {
		conf_complain(ctx, key,
			      "expected the name of a configured upstream, "
			      "found \"%s\"",
			      *name);
		return;
	}
	if (strcmp(up->name, *name) != 0) {
		free(*name);
		*name = xstrdup(up->name);
	}
}

/* No address twice, within one list or across both. */
static void check_listen(struct conf_ctx *ctx, const struct conf_listens *list,
			 const char *option, json_t *seen)
{
	for (size_t i = 0; i < list->n; i++) {
		char key[64];

		snprintf(key, sizeof(key), "%s[%zu]", option, i);
		if (json_object_get(seen, list->v[i].text))
			conf_complain(ctx, key,
				      "expected each address once, found "
				      "\"%s\" again",
				      list->v[i].text);
		json_object_set_new(seen, list->v[i].text, json_true());
	}
}

static void finish_listen(struct conf_ctx *ctx, struct conf *conf)
{
	json_t *seen = json_object();

	check_listen(ctx, &conf->listen, "listen", seen);
	check_listen(ctx, &conf->metrics_listen, "metrics.listen", seen);
	json_decref(seen);
	if (conf->listen.n == 0)
		conf_complain(ctx, "listen",
			      "expected at least one address, found none");
	for (size_t i = 0; i < conf->listen.n; i++) {
		char key[64];

		snprintf(key, sizeof(key), "listen[%zu].mirror_of", i);
		resolve_upstream(ctx, conf, key, &conf->listen.v[i].mirror_of);
	}
}

/*
 * The Fetch standard forbids "*" beside credentials for a reason: any page
 * could act with its reader's login.
 */
static void finish_cors(struct conf_ctx *ctx, const struct conf *conf)
{
	for (size_t i = 0; i < conf->cors.origins.n; i++) {
		if (strcmp(conf->cors.origins.v[i], "*") != 0)
			continue;
		if (conf->cors.credentials)
			conf_complain(ctx, "cors.origins",
				      "expected listed origins with "
				      "cors.credentials, found \"*\"");
		else
			conf_warn(ctx, "cors.origins",
				  "\"*\" lets every page that a browser on "
				  "this machine opens push and delete here");
		return;
	}
}

/* What a flag said is not the file's mistake. */
static void finish_flags(struct conf_ctx *ctx, struct conf *conf)
{
	const struct conf_args *args = ctx->args;
	const char *source = ctx->source;

	if (args && args->default_upstream)
		ctx->source = CONF_COMMAND_LINE;
	resolve_upstream(ctx, conf, "default_upstream",
			 &conf->default_upstream);
	ctx->source = source;
	if (args && args->listen.n)
		ctx->source = CONF_COMMAND_LINE;
	finish_listen(ctx, conf);
	ctx->source = source;
}

void conf_finish(struct conf_ctx *ctx, struct conf *conf)
{
	finish_paths(ctx, conf);
	finish_counts(ctx, conf);
	finish_upstreams(ctx, conf);
	check_hosts(ctx, conf);
	finish_flags(ctx, conf);
	finish_cors(ctx, conf);
	conf_hooks_finish(ctx, conf);
}
