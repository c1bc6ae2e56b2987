/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Docker's config.json and containers' auth.json, as docker and podman write
 * them, and what credential helpers print.
 */
#include "proxy/credential.h"

#include <jansson.h>

#define HUB_SERVER "https://index.docker.io/v1/"
#define HELPER_MAX 64

void secret_wipe(char **text)
{
	if (*text)
		explicit_bzero(*text, strlen(*text));
	free(*text);
	*text = NULL;
}

void credential_release(struct credential *c)
{
	secret_wipe(&c->username);
	secret_wipe(&c->password);
	secret_wipe(&c->identity_token);
	secret_wipe(&c->registry_token);
}

static char *dup_or_null(const char *text)
{
	return text ? xstrdup(text) : NULL;
}

void credential_copy(struct credential *out, const struct credential *c)
{
	out->username = dup_or_null(c->username);
	out->password = dup_or_null(c->password);
	out->identity_token = dup_or_null(c->identity_token);
	out->registry_token = dup_or_null(c->registry_token);
}

bool credential_is_none(const struct credential *c)
{
	return !c->password && !c->identity_token && !c->registry_token;
}

void credential_list_release(struct credential_list *list)
{
	for (size_t i = 0; i < list->n; i++) {
		free(list->v[i].path);
		credential_release(&list->v[i].cred);
	}
	free(list->v);
	free(list->helper);
	free(list->server);
	memset(list, 0, sizeof(*list));
}

/* ---- hosts and keys ---- */

static bool is_hub(const char *host)
{
	static const char *const names[] = {"docker.io", "index.docker.io",
					    "registry-1.docker.io"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(host, names[i]) == 0)
			return true;
	return false;
}

const char *credential_server(const char *host)
{
	return is_hub(host) ? HUB_SERVER : host;
}

static const char *skip_scheme(const char *key, bool *had)
{
	const char *colon = strstr(key, "://");

	*had = colon != NULL;
	return colon ? colon + 3 : key;
}

/*
 * Is this key for `host`?  *path is what stands behind it: "" or "ns/repo".
 * "https://host/v1/" and the like are the host itself.
 */
static bool key_is_for(const char *key, const char *host, const char **path)
{
	size_t len = strlen(host);
	bool url;
	const char *rest = skip_scheme(key, &url);

	if (strncasecmp(rest, host, len) != 0)
		return false;
	rest += len;
	if (strncmp(rest, ":443", 4) == 0 && (!rest[4] || rest[4] == '/'))
		rest += 4;
	if (*rest && *rest != '/')
		return false;
	rest += strspn(rest, "/");
	if (url || strcmp(rest, "v1") == 0 || strcmp(rest, "v1/") == 0 ||
	    strcmp(rest, "v2") == 0 || strcmp(rest, "v2/") == 0)
		rest = "";
	*path = rest;
	return true;
}

/* The same, where docker.io's names are one. */
static bool key_matches(const char *key, const char *host, const char **path)
{
	return key_is_for(key, host, path) ||
	       (is_hub(host) &&
		(key_is_for(key, "index.docker.io", path) ||
		 key_is_for(key, "docker.io", path) ||
		 key_is_for(key, "registry-1.docker.io", path)));
}

/* ---- base64 ---- */

static int digit_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+' || c == '-')
		return 62;
	return c == '/' || c == '_' ? 63 : -1;
}

/* NUL-terminated, or NULL if it is not base64. */
static char *base64_decode(const char *text, size_t *len)
{
	size_t in = strlen(text);
	char *out = xmalloc(in / 4 * 3 + 4);
	uint32_t bits = 0;
	unsigned have = 0;

	*len = 0;
	while (in && text[in - 1] == '=')
		in--;
	for (size_t i = 0; i < in; i++) {
		int v = digit_value(text[i]);

		if (v < 0) {
			out[*len] = '\0';
			secret_wipe(&out);
			return NULL;
		}
		bits = bits << 6 | (uint32_t)v;
		have += 6;
		if (have >= 8) {
			have -= 8;
			out[(*len)++] = (char)(bits >> have & 0xff);
		}
	}
	out[*len] = '\0';
	return out;
}

/* "user:password", with the NULs that some tools pad it with. */
static bool parse_auth(const char *text, struct credential *out)
{
	size_t len;
	char *plain = base64_decode(text, &len), *colon;

	if (!plain)
		return false;
	while (len && plain[len - 1] == '\0')
		len--;
	colon = memchr(plain, ':', len);
	if (!colon || memchr(plain, '\0', len)) {
		explicit_bzero(plain, len);
		free(plain);
		return false;
	}
	out->username = xstrndup(plain, (size_t)(colon - plain));
	out->password = xstrndup(colon + 1, len - (size_t)(colon - plain) - 1);
	explicit_bzero(plain, len);
	free(plain);
	return true;
}

/* ---- the file ---- */

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text && *text ? text : NULL;
}

/* One value of `auths`; {} stands where a store has the secret. */
static bool parse_entry(const json_t *value, struct credential *out)
{
	const char *auth = text_of(value, "auth");
	const char *user = text_of(value, "username");
	const char *password = text_of(value, "password");

	memset(out, 0, sizeof(*out));
	if (auth && !parse_auth(auth, out))
		return false;
	if (!auth && user && password) {
		out->username = xstrdup(user);
		out->password = xstrdup(password);
	}
	out->identity_token = dup_or_null(text_of(value, "identitytoken"));
	out->registry_token = dup_or_null(text_of(value, "registrytoken"));
	/* The user beside an identity token has no password of his own. */
	if (out->identity_token)
		secret_wipe(&out->password);
	return true;
}

static void add_entry(struct credential_list *list, const char *path,
		      const struct credential *cred)
{
	list->v = xrealloc(list->v, (list->n + 1) * sizeof(*list->v));
	list->v[list->n].path = xstrdup(path);
	list->v[list->n].cred = *cred;
	list->n++;
}

static bool has_path(const struct credential_list *list, const char *path)
{
	for (size_t i = 0; i < list->n; i++)
		if (strcmp(list->v[i].path, path) == 0)
			return true;
	return false;
}

/* All entries for one host.  Two keys that mean the same: the first. */
static enum err read_auths(json_t *auths, const char *host,
			   struct credential_list *list, struct why *why)
{
	const char *key, *path;
	json_t *value;

	json_object_foreach (auths, key, value) {
		struct credential cred;

		if (!key_matches(key, host, &path) || has_path(list, path))
			continue;
		if (!parse_entry(value, &cred))
			return why_set(why, ERR_INVALID,
				       "the entry for %s in its auths is "
				       "garbled",
				       host);
		if (credential_is_none(&cred))
			credential_release(&cred);
		else
			add_entry(list, path, &cred);
	}
	return ERR_OK;
}

static bool helper_ok(const char *text)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyz"
				   "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

	return text && *text && strlen(text) <= HELPER_MAX &&
	       text[strspn(text, good)] == '\0';
}

static void set_helper(struct credential_list *list, const char *helper,
		       const char *server)
{
	if (list->helper || !helper_ok(helper))
		return;
	list->helper = xstrdup(helper);
	list->server = xstrdup(server);
}

static void find_helper(json_t *root, const char *const *hosts, size_t n,
			struct credential_list *list)
{
	json_t *helpers = json_object_get(root, "credHelpers"), *value;
	const char *key, *path;

	for (size_t i = 0; i < n; i++)
		json_object_foreach (helpers, key, value)
			if (key_matches(key, hosts[i], &path) && !*path)
				set_helper(list, json_string_value(value),
					   credential_server(hosts[i]));
	if (n)
		set_helper(list, text_of(root, "credsStore"),
			   credential_server(hosts[n - 1]));
}

enum err credential_file_parse(const char *text, size_t len,
			       const char *const *hosts, size_t n,
			       struct credential_list *out, struct why *why)
{
	json_t *root = json_loadb(text, len, 0, NULL);
	enum err err = ERR_OK;

	memset(out, 0, sizeof(*out));
	if (!json_is_object(root)) {
		json_decref(root);
		return why_set(why, ERR_INVALID, "it is no JSON object");
	}
	for (size_t i = 0; i < n && !err && !out->n; i++)
		err = read_auths(json_object_get(root, "auths"), hosts[i], out,
				 why);
	find_helper(root, hosts, n, out);
	json_decref(root);
	if (err)
		credential_list_release(out);
	return err;
}

const struct credential *credential_list_find(const struct credential_list *l,
					      const char *repo)
{
	const struct credential *best = NULL;
	size_t best_len = 0;

	for (size_t i = 0; i < l->n; i++) {
		const char *path = l->v[i].path;
		size_t len = strlen(path);
		bool fits = len == 0 || (strncmp(repo, path, len) == 0 &&
					 (!repo[len] || repo[len] == '/'));

		if (fits && (!best || len > best_len)) {
			best = &l->v[i].cred;
			best_len = len;
		}
	}
	return best;
}

enum err credential_helper_parse(const char *text, size_t len,
				 struct credential *out, struct why *why)
{
	json_t *root = json_loadb(text, len, 0, NULL);
	const char *user = text_of(root, "Username");
	const char *secret = text_of(root, "Secret");

	memset(out, 0, sizeof(*out));
	if (!json_is_object(root) || !secret) {
		json_decref(root);
		return why_set(why, ERR_INVALID, "it printed no credential");
	}
	if (user && strcmp(user, "<token>") == 0) {
		out->identity_token = xstrdup(secret);
	} else {
		out->username = xstrdup(user ? user : "");
		out->password = xstrdup(secret);
	}
	json_decref(root);
	return ERR_OK;
}
