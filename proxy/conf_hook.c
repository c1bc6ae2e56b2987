/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/conf_hook.h"

#include "proxy/conf_finish.h"
#include "proxy/conf_kind.h"
#include "proxy/conf_value.h"

/* Names end up in the index's keys and in metrics. */
#define HOOK_NAME_MAX 64

struct conf_hook *conf_hook_add(struct conf *conf)
{
	struct conf_hooks *all = &conf->notifications.endpoints;
	struct conf_hook *hook;

	all->v = xrealloc(all->v, (all->n + 1) * sizeof(*all->v));
	hook = &all->v[all->n++];
	*hook = (struct conf_hook){0};
	conf_fields_default(SCOPE_HOOK, hook);
	return hook;
}

/* Visible ASCII, and no fragment. */
static bool query_valid(const char *query)
{
	for (const char *p = query; *p; p++) {
		if (*p <= 0x20 || *p >= 0x7f || *p == '#')
			return false;
	}
	return true;
}

char *conf_webhook_dup(const char *text)
{
	const char *query = text + strcspn(text, "?");
	char *front = xstrndup(text, (size_t)(query - text)), *whole = NULL;
	struct conf_url url;

	if (query_valid(query) && conf_url_parse(front, "http https", &url)) {
		whole =
		    xasprintf("%s%s%s", url.text, *url.path ? "" : "/", query);
		conf_url_release(&url);
	}
	free(front);
	return whole;
}

/* RFC 9110, section 5.6.2: a token; and none that the sender makes itself. */
static bool header_name_valid(const char *name)
{
	static const char *const ours[] = {
	    "Connection", "Content-Length",    "Expect",
	    "Host",       "Transfer-Encoding",
	};
	static const char good[] = "abcdefghijklmnopqrstuvwxyz"
				   "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				   "!#$%&'*+-.^_`|~";

	if (!*name || name[strspn(name, good)])
		return false;
	for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
		if (strcasecmp(name, ours[i]) == 0)
			return false;
	}
	return true;
}

/* Visible characters, with spaces and tabs only between them. */
static bool header_value_valid(const char *value)
{
	size_t len = strlen(value);

	if (len == 0 || strchr(" \t", value[0]) ||
	    strchr(" \t", value[len - 1]))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (((unsigned char)value[i] < 0x20 && value[i] != '\t') ||
		    value[i] == 0x7f)
			return false;
	}
	return true;
}

static void header_add(const struct conf_setting *s, const char *name,
		       const json_t *value, struct conf_headers *list)
{
	const char *text = json_string_value(value);
	struct conf_header *h;

	if (!text || !header_value_valid(text)) {
		conf_complain(s->ctx, s->key,
			      "expected a text of one line for %.60s, found "
			      "another value",
			      name);
		return;
	}
	list->v = xrealloc(list->v, (list->n + 1) * sizeof(*list->v));
	h = &list->v[list->n++];
	h->name = xstrdup(name);
	h->value = xstrdup(text);
}

/* A header's value, or the values of one that is sent more than once. */
static void header_get(const struct conf_setting *s, const char *name,
		       json_t *value, struct conf_headers *list)
{
	json_t *element;
	size_t i;

	if (!header_name_valid(name)) {
		conf_complain(s->ctx, s->key,
			      "expected names of headers that are free to set, "
			      "found \"%.60s\"",
			      name);
		return;
	}
	if (!json_is_array(value))
		header_add(s, name, value, list);
	json_array_foreach (value, i, element)
		header_add(s, name, element, list);
}

void conf_headers_release(struct conf_headers *list)
{
	for (size_t i = 0; i < list->n; i++) {
		explicit_bzero(list->v[i].value, strlen(list->v[i].value));
		free(list->v[i].value);
		free(list->v[i].name);
	}
	free(list->v);
	*list = (struct conf_headers){0};
}

void conf_headers_set(const struct conf_setting *s)
{
	size_t errors = s->ctx->errors.n;
	json_t *object = s->value, *value;
	struct conf_headers list = {0};
	const char *name;

	if (!json_is_object(object)) {
		conf_complain(s->ctx, s->key,
			      "expected an object of texts by header name, "
			      "found another value");
		return;
	}
	json_object_foreach (object, name, value) {
		if (!conf_json_comment(name))
			header_get(s, name, value, &list);
	}
	if (s->ctx->errors.n != errors) {
		conf_headers_release(&list);
		return;
	}
	conf_headers_release(s->field);
	*(struct conf_headers *)s->field = list;
}

static bool url_is_clear(const char *text)
{
	char *front = xstrndup(text, strcspn(text, "?"));
	struct conf_url url;
	bool clear = false;

	if (conf_url_parse(front, "http https", &url)) {
		clear = !url.https && !conf_host_is_loopback(url.host);
		conf_url_release(&url);
	}
	free(front);
	return clear;
}

static void check_secrets(struct conf_ctx *ctx, const struct conf_hook *hook,
			  const char *key)
{
	bool secret = hook->headers.n > 0 || strchr(hook->url, '?');

	if (secret && ctx->source_public)
		conf_warn(ctx, key,
			  "this file, with the secrets of %s in it, can be "
			  "read by every user",
			  hook->name);
	if (secret && url_is_clear(hook->url))
		conf_warn(ctx, key, "%s gets its secrets unencrypted",
			  hook->name);
}

static void check_name(struct conf_ctx *ctx, const struct conf_hooks *all,
		       const struct conf_hook *hook, const char *key)
{
	if (strlen(hook->name) > HOOK_NAME_MAX)
		conf_complain(ctx, key,
			      "expected a name of at most %d bytes, found %zu",
			      HOOK_NAME_MAX, strlen(hook->name));
	for (const struct conf_hook *other = all->v; other < hook; other++) {
		if (other->name && strcmp(other->name, hook->name) == 0)
			conf_complain(ctx, key,
				      "expected each name once, found \"%s\" "
				      "again",
				      hook->name);
	}
}

static void check_transport(struct conf_ctx *ctx, const struct conf_hook *hook,
			    const char *at)
{
	char *key = xasprintf("%s.ca", at);

	conf_file_check(ctx, key, hook->ca);
	free(key);
	key = xasprintf("%s.insecure", at);
	if (hook->insecure)
		conf_warn(ctx, key,
			  "its certificate is not checked: whoever is in "
			  "between can read the events and their secrets");
	free(key);
}

void conf_hooks_finish(struct conf_ctx *ctx, const struct conf *conf)
{
	const struct conf_hooks *all = &conf->notifications.endpoints;

	for (size_t i = 0; i < all->n; i++) {
		const struct conf_hook *hook = &all->v[i];
		char *key = xasprintf(CONF_HOOKS "[%zu]", i);

		if (!hook->name || !hook->url)
			conf_complain(ctx, key,
				      "expected \"name\" and \"url\", found "
				      "no %s",
				      hook->name ? "url" : "name");
		else
			check_secrets(ctx, hook, key);
		if (hook->name)
			check_name(ctx, all, hook, key);
		check_transport(ctx, hook, key);
		if (hook->retry_min_ms > hook->retry_max_ms)
			conf_complain(ctx, key,
				      "expected retry_min of no more than "
				      "retry_max (%" PRIu64
				      "ms), found %" PRIu64 "ms",
				      hook->retry_max_ms, hook->retry_min_ms);
		free(key);
	}
}
