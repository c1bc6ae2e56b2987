/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/conf_hook.h"
#include "proxy/conf_json.h"
#include "proxy/conf_table.h"

/* The start of every upstream option's key path. */
#define UPSTREAM_PATH "upstreams.*."
/* And of every receiver of events. */
#define HOOK_PATH CONF_HOOKS "[]."

static void print_words(const struct conf_option *opt, FILE *out)
{
	bool is_word = opt->kind == KIND_WORD || opt->kind == KIND_WORDS;
	const char *before = is_word ? ": " : " or ";

	for (const struct conf_word *w = opt->words; w && w->name; w++) {
		fprintf(out, "%s%s", before, w->name);
		before = is_word ? ", " : " or ";
	}
}

static void print_scope(enum conf_scope scope, const char *within, FILE *out)
{
	CONF_EACH_OPTION(opt, scope)
	{
		fprintf(out, "%s%s\n    %s", within, opt->path,
			conf_kind_name(opt->kind));
		print_words(opt, out);
		if (opt->def)
			fprintf(out, "; default %s", opt->def);
		fprintf(out, "; %s\n    %s\n",
			opt->reloadable ? "reloadable" : "needs a restart",
			opt->help);
	}
}

void conf_print_options(FILE *out)
{
	fputs("Durations are \"250ms\", \"90s\", \"5m\", \"24h\", \"7d\"; "
	      "sizes \"64K\", \"10G\" (binary)\n"
	      "or a number of bytes.  A dot stands for one object inside "
	      "another.\n\n",
	      out);
	print_scope(SCOPE_TOP, "", out);
	print_scope(SCOPE_HOOK, HOOK_PATH, out);
	print_scope(SCOPE_UPSTREAM, UPSTREAM_PATH, out);
}

/* The value at a dotted path, or NULL. */
static json_t *at_path(json_t *object, const char *path)
{
	while (object && *path) {
		size_t len = strcspn(path, ".");
		char *key = xstrndup(path, len);

		object = json_object_get(object, key);
		free(key);
		path += len + (path[len] == '.');
	}
	return object;
}

/* Is the upstream option set in any upstream of the file? */
static bool in_some_upstream(json_t *root, const char *path)
{
	json_t *upstreams = json_object_get(root, "upstreams"), *up;
	const char *name;

	json_object_foreach (upstreams, name, up) {
		if (at_path(up, path))
			return true;
	}
	return false;
}

/* Is the option of receivers set in any of them? */
static bool in_some_hook(json_t *root, const char *path)
{
	json_t *hooks = at_path(root, CONF_HOOKS), *hook;
	size_t i;

	json_array_foreach (hooks, i, hook) {
		if (at_path(hook, path))
			return true;
	}
	return false;
}

static int print_missing(const char *path, json_t *root, FILE *out)
{
	int missing = 0;

	CONF_EACH_OPTION(opt, SCOPE_TOP)
	{
		if (at_path(root, opt->path))
			continue;
		fprintf(out, "%s: %s is missing\n", path, opt->path);
		missing++;
	}
	CONF_EACH_OPTION(opt, SCOPE_UPSTREAM)
	{
		if (in_some_upstream(root, opt->path))
			continue;
		fprintf(out, "%s: " UPSTREAM_PATH "%s is missing\n", path,
			opt->path);
		missing++;
	}
	CONF_EACH_OPTION(opt, SCOPE_HOOK)
	{
		if (in_some_hook(root, opt->path))
			continue;
		fprintf(out, "%s: " HOOK_PATH "%s is missing\n", path,
			opt->path);
		missing++;
	}
	return missing;
}

int conf_check_full(const char *path, FILE *out)
{
	struct conf_strings errors = {0};
	struct conf *conf = NULL;
	struct why why;
	json_t *root;
	char *text;
	size_t len;
	bool others;
	int bad = 0;

	if (conf_file_read(path, CONF_TEXT_MAX, &text, &len, &others, &why) !=
	    ERR_OK) {
		fprintf(out, "%s\n", why.text);
		return 1;
	}
	if (conf_load_text(path, text, len, NULL, &conf, &errors, &why) !=
	    ERR_OK)
		bad = (int)errors.n;
	for (size_t i = 0; i < errors.n; i++)
		fprintf(out, "%s\n", errors.v[i]);
	root = json_loadb(text, len, 0, NULL);
	if (root)
		bad += print_missing(path, root, out);
	json_decref(root);
	conf_strings_release(&errors);
	conf_unref(&conf);
	free(text);
	return bad;
}
