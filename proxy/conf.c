/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/conf.h"

#include "cache/name.h"
#include "proxy/conf_finish.h"
#include "proxy/conf_hook.h"
#include "proxy/conf_kind.h"
#include "proxy/conf_value.h"

#include <stdatomic.h>
#include <unistd.h>

/* The count stands before the struct, so that readers see only options. */
struct conf_box {
	atomic_uint refs;
	struct conf conf;
};

static struct conf *conf_new(void)
{
	struct conf_box *box = xcalloc(1, sizeof(*box));

	atomic_init(&box->refs, 1);
	conf_fields_default(SCOPE_TOP, &box->conf);
	return &box->conf;
}

struct conf *conf_ref(struct conf *conf)
{
	struct conf_box *box = container_of(conf, struct conf_box, conf);

	atomic_fetch_add(&box->refs, 1);
	return conf;
}

void conf_unref(struct conf **conf)
{
	struct conf_box *box;

	if (!*conf)
		return;
	box = container_of(*conf, struct conf_box, conf);
	*conf = NULL;
	if (atomic_fetch_sub(&box->refs, 1) != 1)
		return;
	conf_fields_release(SCOPE_TOP, &box->conf);
	conf_strings_release(&box->conf.warnings);
	free(box);
}

static void unknown_key(struct conf_ctx *ctx, enum conf_scope scope,
			const char *within, const char *key, const char *path)
{
	const char *nearest = conf_option_nearest(scope, path);

	if (nearest)
		conf_complain(ctx, key,
			      "expected a known option (%s%s?), found this key",
			      within, nearest);
	else
		conf_complain(ctx, key,
			      "expected a known option, found this key");
}

static void set_upstreams(struct conf_ctx *ctx, struct conf *conf,
			  json_t *object);
static void set_hooks(struct conf_ctx *ctx, struct conf *conf, json_t *array);

/* Where the walk is: keys of `scope`, fields in `base`. */
struct level {
	enum conf_scope scope;
	void *base;
	const char *within; /* "" or "upstreams.<name>." ..., for messages */
};

/*
 * Set every option below `object`; `prefix` is the group's path and a dot, or
 * "".
 */
static void set_group(struct conf_ctx *ctx, const struct level *level,
		      const char *prefix, json_t *object);

static void set_member(struct conf_ctx *ctx, const struct level *level,
		       const char *path, json_t *value)
{
	const struct conf_option *opt = conf_option_find(level->scope, path);
	char *key = xasprintf("%s%.300s", level->within, path);
	char *prefix = xasprintf("%.300s.", path);

	if (opt && opt->kind == KIND_UPSTREAMS)
		set_upstreams(ctx, level->base, value);
	else if (opt && opt->kind == KIND_HOOKS)
		set_hooks(ctx, level->base, value);
	else if (opt)
		conf_field_set(ctx, opt, key, value, level->base);
	else if (!conf_option_is_group(level->scope, path))
		unknown_key(ctx, level->scope, level->within, key, path);
	else if (!json_is_object(value))
		conf_complain_value(ctx, key, "an object", value);
	else
		set_group(ctx, level, prefix, value);
	free(prefix);
	free(key);
}

static void set_group(struct conf_ctx *ctx, const struct level *level,
		      const char *prefix, json_t *object)
{
	const char *name;
	json_t *value;

	json_object_foreach (object, name, value) {
		char *path;

		if (conf_json_comment(name))
			continue;
		path = xasprintf("%s%s", prefix, name);
		/* "a.b" is how messages write it, not a key */
		if (strchr(name, '.'))
			conf_complain(ctx, path,
				      "expected one object inside another, "
				      "found a key with a dot");
		else
			set_member(ctx, level, path, value);
		free(path);
	}
}

static void set_upstream(struct conf_ctx *ctx, struct conf *conf,
			 const char *name, json_t *object)
{
	char host[HOST_MAX + 1];
	char *within = xasprintf("upstreams.%.300s.", name);
	char *key = xasprintf("upstreams.%.300s", name);
	struct level level = {.scope = SCOPE_UPSTREAM, .within = within};

	if (host_normalise(name, strlen(name), host) != ERR_OK) {
		conf_complain(ctx, key,
			      "expected a host or host:port, found this key");
	} else if (!json_is_object(object)) {
		conf_complain_value(ctx, key, "an object", object);
	} else {
		level.base = conf_upstream_named(conf, host);
		if (level.base && !ctx->overriding)
			conf_complain(ctx, key,
				      "expected each upstream once, found %s "
				      "again",
				      host);
		if (!level.base)
			level.base = conf_upstream_add(conf, host);
		set_group(ctx, &level, "", object);
	}
	free(key);
	free(within);
}

static void set_upstreams(struct conf_ctx *ctx, struct conf *conf,
			  json_t *object)
{
	const char *name;
	json_t *value;

	if (!json_is_object(object)) {
		conf_complain_value(ctx, "upstreams", "an object", object);
		return;
	}
	json_object_foreach (object, name, value) {
		if (!conf_json_comment(name))
			set_upstream(ctx, conf, name, value);
	}
}

/* Each entry of notifications.endpoints. */
static void set_hooks(struct conf_ctx *ctx, struct conf *conf, json_t *array)
{
	json_t *object;
	size_t i;

	if (!json_is_array(array)) {
		conf_complain_value(ctx, CONF_HOOKS, "a list of objects",
				    array);
		return;
	}
	json_array_foreach (array, i, object) {
		char *key = xasprintf(CONF_HOOKS "[%zu]", i);
		char *within = xasprintf("%s.", key);
		struct level level = {.scope = SCOPE_HOOK, .within = within};

		level.base = conf_hook_add(conf);
		if (json_is_object(object))
			set_group(ctx, &level, "", object);
		else
			conf_complain_value(ctx, key, "an object", object);
		free(within);
		free(key);
	}
}

static json_t *texts_json(const struct conf_strings *list)
{
	json_t *array = json_array();

	for (size_t i = 0; i < list->n; i++)
		json_array_append_new(array, json_string_nocheck(list->v[i]));
	return array;
}

/* NAME or NAME=URL; several URLs of one NAME are its endpoints in order. */
static void upstream_flag_json(json_t *upstreams, const char *flag)
{
	const char *url = strchr(flag, '=');
	char *name = xstrndup(flag, url ? (size_t)(url - flag) : strlen(flag));
	json_t *object = json_object_get(upstreams, name), *endpoints;

	if (!object) {
		object = json_object();
		json_object_set_new_nocheck(upstreams, name, object);
	}
	endpoints = json_object_get(object, "endpoints");
	if (url && !endpoints) {
		endpoints = json_array();
		json_object_set_new(object, "endpoints", endpoints);
	}
	if (url)
		json_array_append_new(endpoints, json_string_nocheck(url + 1));
	free(name);
}

/* In a file a relative path would depend on who starts us; a flag's may. */
static json_t *data_flag_json(const char *data)
{
	char *cwd = NULL, *path;
	json_t *value;

	if (data[0] != '/' && data[0] != '\0')
		cwd = getcwd(NULL, 0);
	path = cwd ? xasprintf("%s/%s", cwd, data) : xstrdup(data);
	value = json_string_nocheck(path);
	free(path);
	free(cwd);
	return value;
}

/* The flags as the file that would say the same. */
static json_t *args_json(const struct conf_args *args)
{
	json_t *root = json_object(), *upstreams = json_object();

	if (args->listen.n > 0)
		json_object_set_new(root, "listen", texts_json(&args->listen));
	if (args->hosted.n > 0)
		json_object_set_new(root, "hosted", texts_json(&args->hosted));
	if (args->data)
		json_object_set_new(root, "data", data_flag_json(args->data));
	if (args->default_upstream)
		json_object_set_new(
		    root, "default_upstream",
		    json_string_nocheck(args->default_upstream));
	for (size_t i = 0; i < args->upstreams.n; i++)
		upstream_flag_json(upstreams, args->upstreams.v[i]);
	json_object_set_new(root, "upstreams", upstreams);
	return root;
}

static void set_args(struct conf_ctx *ctx, const struct conf_args *args,
		     struct conf *conf)
{
	struct level level = {.scope = SCOPE_TOP, .base = conf, .within = ""};
	const char *source = ctx->source;
	json_t *root = args_json(args);

	ctx->source = CONF_COMMAND_LINE;
	ctx->overriding = true;
	set_group(ctx, &level, "", root);
	json_decref(root);
	ctx->source = source;
}

static void set_text(struct conf_ctx *ctx, const char *text, size_t len,
		     struct conf *conf)
{
	struct level level = {.scope = SCOPE_TOP, .base = conf, .within = ""};
	json_t *root = conf_json_parse(ctx, text, len);

	if (root)
		set_group(ctx, &level, "", root);
	json_decref(root);
}

/* Hand the result or the errors over. */
static enum err load_end(struct conf_ctx *ctx, struct conf *conf,
			 struct conf **out, struct conf_strings *errors,
			 struct why *why)
{
	enum err err = ERR_OK;

	conf->warnings = ctx->warnings;
	if (ctx->errors.n > 0) {
		err = why_set(why, ERR_INVALID, "%s", ctx->errors.v[0]);
		for (size_t i = 0; errors && i < ctx->errors.n; i++)
			conf_strings_add(errors, ctx->errors.v[i]);
		conf_unref(&conf);
	} else {
		*out = conf;
	}
	conf_strings_release(&ctx->errors);
	return err;
}

static enum err build(struct conf_ctx *ctx, const char *text, size_t len,
		      const struct conf_args *args, struct conf **out,
		      struct conf_strings *errors, struct why *why)
{
	struct conf *conf = conf_new();

	ctx->args = args;
	if (text)
		set_text(ctx, text, len, conf);
	if (args)
		set_args(ctx, args, conf);
	/* rules between options would only echo what is wrong already */
	if (ctx->errors.n == 0)
		conf_finish(ctx, conf);
	return load_end(ctx, conf, out, errors, why);
}

enum err conf_load_text(const char *name, const char *text, size_t len,
			const struct conf_args *args, struct conf **out,
			struct conf_strings *errors, struct why *why)
{
	struct conf_ctx ctx = {.source = name, .skip_files = true};

	return build(&ctx, text, len, args, out, errors, why);
}

enum err conf_load(const char *path, const struct conf_args *args,
		   struct conf **out, struct conf_strings *errors,
		   struct why *why)
{
	struct conf_ctx ctx = {.source = path ? path : "no configuration file"};
	struct why reason;
	enum err err;
	char *text;
	size_t len;

	if (!path)
		return build(&ctx, NULL, 0, args, out, errors, why);
	err = conf_file_read(path, CONF_TEXT_MAX, &text, &len,
			     &ctx.source_public, &reason);
	if (err != ERR_OK) {
		if (errors)
			conf_strings_add(errors, reason.text);
		return why_set(why, err, "%s", reason.text);
	}
	err = build(&ctx, text, len, args, out, errors, why);
	explicit_bzero(text, len);
	free(text);
	return err;
}

static bool text_is(const char *text, const char *other, size_t len)
{
	return strncmp(text, other, len) == 0 && text[len] == '\0';
}

const struct conf_upstream *conf_upstream_find(const struct conf *conf,
					       const char *host, size_t len)
{
	for (size_t i = 0; i < conf->upstreams.n; i++) {
		const struct conf_upstream *up = &conf->upstreams.v[i];

		if (text_is(up->name, host, len))
			return up;
		for (size_t j = 0; j < up->aliases.n; j++) {
			if (text_is(up->aliases.v[j], host, len))
				return up;
		}
	}
	return NULL;
}

uint64_t conf_check_ms(const struct conf_upstream *up, const char *tag)
{
	for (size_t i = 0; i < up->tags.n; i++) {
		if (tag_pattern_match(up->tags.v[i].match, tag))
			return up->tags.v[i].check_ms;
	}
	return up->check_ms;
}

bool conf_redirect_allowed(const struct conf_upstream *up, const char *host,
			   uint16_t port, const struct sockaddr *addr)
{
	for (size_t i = 0; i < up->redirect_allow.n; i++) {
		if (conf_allow_matches(&up->redirect_allow.v[i], host, port,
				       addr))
			return true;
	}
	return false;
}

static bool some_pattern_matches(const struct conf_strings *list,
				 const char *repo)
{
	for (size_t i = 0; i < list->n; i++) {
		if (name_pattern_match(list->v[i], repo))
			return true;
	}
	return false;
}

bool conf_tag_is_immutable(const struct conf *conf, const char *repo,
			   const char *tag)
{
	for (size_t i = 0; i < conf->immutable_tags.n; i++) {
		const struct conf_tag_rule *rule = &conf->immutable_tags.v[i];

		if (name_pattern_match(rule->repo, repo) &&
		    tag_pattern_match(rule->tags, tag))
			return true;
	}
	return false;
}

bool conf_is_sparse(const struct conf *conf, const char *repo)
{
	return some_pattern_matches(&conf->allow_sparse, repo);
}

bool conf_hook_wants(const struct conf_hook *hook, const char *repo)
{
	return hook->repositories.n == 0 ||
	       some_pattern_matches(&hook->repositories, repo);
}

size_t conf_diff_reload(const struct conf *before, const struct conf *now,
			struct conf_strings *changed)
{
	size_t n = 0;

	CONF_EACH_OPTION(opt, SCOPE_TOP)
	{
		if (opt->reloadable || conf_field_equal(opt, before, now))
			continue;
		conf_strings_add(changed, opt->path);
		n++;
	}
	/* an upstream that changes is simply another one */
	CONF_EACH_OPTION(opt, SCOPE_UPSTREAM)
	assert(opt->reloadable);
	CONF_EACH_OPTION(opt, SCOPE_HOOK)
	assert(opt->reloadable);
	return n;
}
