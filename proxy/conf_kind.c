/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/conf_kind.h"

#include "cache/name.h"
#include "proxy/conf_hook.h"
#include "proxy/conf_list.h"
#include "proxy/conf_value.h"

#include <stdarg.h>

/* The kinds' expectations, to which the option's words are added. */
static const char *const expectations[] = {
    [KIND_BOOL] = "true or false",
    [KIND_COUNT] = "a whole number",
    [KIND_SIZE] = "a size such as \"10G\" or a number of bytes",
    [KIND_DURATION] = "a duration such as \"250ms\", \"90s\", \"5m\", \"24h\"",
    [KIND_WORD] = "one of",
    [KIND_WORDS] = "a list of",
    [KIND_STRING] = "a text that is not empty",
    [KIND_SECRET] = "a text that is not empty",
    [KIND_PATH] = "an absolute path, or one that begins with \"~/\"",
    [KIND_FILE] = "an absolute path, or one that begins with \"~/\"",
    [KIND_HOST] = "a host or host:port",
    [KIND_NAME] = "a repository path such as \"team/cache\"",
    [KIND_HELPER] = "the X of a program docker-credential-X",
    [KIND_WEBHOOK] = "a URL such as \"https://host:port/path?query\"",
    [KIND_PROXY] = "a proxy's URL (http, https, socks5, socks5h) and no more",
    [KIND_HOSTS] = "a list of hosts",
    [KIND_PATTERNS] = "a list of name patterns",
    [KIND_LISTEN] = "a list of addresses",
    [KIND_ADDRESSES] = "a list of addresses",
    [KIND_ENDPOINTS] = "a list of URLs",
    [KIND_ALLOWS] = "a list of hosts and networks",
    [KIND_TAGS] = "a list of {\"match\": ..., \"check\": ...}",
    [KIND_ORIGINS] = "a list of origins",
    [KIND_TAG_RULES] = "a list of {\"repo\": ..., \"tags\": ...}",
    [KIND_HEADERS] = "an object of texts by header name",
    [KIND_HOOKS] = "a list of objects",
    [KIND_UPSTREAMS] = "an object",
};

static void append(char *out, size_t size, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

static void append(char *out, size_t size, const char *fmt, ...)
{
	size_t used = strlen(out);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out + used, size - used, fmt, ap);
	va_end(ap);
}

/* May a bad value be repeated in a message? */
static bool kind_is_secret(enum conf_kind kind)
{
	return kind == KIND_SECRET || kind == KIND_WEBHOOK;
}

void conf_reject(const struct conf_setting *s)
{
	const struct conf_option *opt = s->opt;
	char expected[256] = "";
	bool is_word = opt->kind == KIND_WORD || opt->kind == KIND_WORDS;
	const char *before = is_word ? " " : " or ";

	append(expected, sizeof(expected), "%s", expectations[opt->kind]);
	if (opt->min > 0 && opt->max > 0)
		append(expected, sizeof(expected),
		       " from %" PRIu64 " to %" PRIu64, opt->min, opt->max);
	else if (opt->max > 0)
		append(expected, sizeof(expected), " up to %" PRIu64, opt->max);
	else if (opt->min > 0)
		append(expected, sizeof(expected), " that is not 0");
	for (const struct conf_word *w = opt->words; w && w->name; w++) {
		append(expected, sizeof(expected), "%s\"%s\"", before, w->name);
		before = is_word ? ", " : " or ";
	}
	if (kind_is_secret(opt->kind))
		conf_complain(s->ctx, s->key,
			      "expected %s, found another value", expected);
	else
		conf_complain_value(s->ctx, s->key, expected, s->value);
}

bool conf_word_find(const struct conf_setting *s, uint64_t *out)
{
	const char *text = json_string_value(s->value);

	for (const struct conf_word *w = s->opt->words; text && w && w->name;
	     w++) {
		if (strcmp(w->name, text) == 0) {
			*out = w->value;
			return true;
		}
	}
	return false;
}

static bool in_range(const struct conf_option *opt, uint64_t value)
{
	return value >= opt->min && (opt->max == 0 || value <= opt->max);
}

static bool integer_get(const json_t *value, uint64_t *out)
{
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	*out = (uint64_t)json_integer_value(value);
	return true;
}

static bool size_get(const json_t *value, uint64_t *out)
{
	const char *text = json_string_value(value);

	return text ? conf_size_parse(text, out) : integer_get(value, out);
}

static bool duration_get(const json_t *value, uint64_t *out)
{
	const char *text = json_string_value(value);

	return text && conf_duration_parse(text, out);
}

static void set_bool(const struct conf_setting *s)
{
	if (!json_is_boolean(s->value)) {
		conf_reject(s);
		return;
	}
	*(bool *)s->field = json_is_true(s->value);
}

static void set_count(const struct conf_setting *s)
{
	uint64_t value;

	if (!conf_word_find(s, &value) &&
	    (!integer_get(s->value, &value) || !in_range(s->opt, value))) {
		conf_reject(s);
		return;
	}
	assert(value <= UINT32_MAX); /* the table's own bounds */
	*(uint32_t *)s->field = (uint32_t)value;
}

void conf_u64_set(const struct conf_setting *s)
{
	uint64_t value;
	bool good = conf_word_find(s, &value);

	if (!good) {
		good = s->opt->kind == KIND_SIZE
			   ? size_get(s->value, &value)
			   : duration_get(s->value, &value);
		good = good && in_range(s->opt, value);
	}
	if (!good) {
		conf_reject(s);
		return;
	}
	*(uint64_t *)s->field = value;
}

static void set_word(const struct conf_setting *s)
{
	uint64_t value;

	if (!conf_word_find(s, &value)) {
		conf_reject(s);
		return;
	}
	*(int *)s->field = (int)value;
}

static void wipe_free(char **text)
{
	if (*text)
		explicit_bzero(*text, strlen(*text));
	free(*text);
	*text = NULL;
}

/* "~/x" is below $HOME; NULL if this is no path for a configuration. */
static char *path_expand(const char *text)
{
	const char *home = getenv("HOME");

	if (text[0] == '/')
		return xstrdup(text);
	if (strncmp(text, "~/", 2) == 0 && home && home[0] == '/')
		return xasprintf("%s%s", home, text + 1);
	return NULL;
}

static bool helper_valid(const char *text)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyz"
				   "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

	return *text && strlen(text) <= 64 && text[strspn(text, good)] == '\0';
}

static char *proxy_dup(const char *text)
{
	struct conf_url url;
	char *copy = NULL;

	if (!conf_url_parse(text, "http https socks5 socks5h", &url))
		return NULL;
	if (!*url.path)
		copy = xstrdup(url.text);
	conf_url_release(&url);
	return copy;
}

/* The text as the field shall hold it, or NULL if the kind refuses it. */
static char *text_get(enum conf_kind kind, const char *text)
{
	switch (kind) {
	case KIND_STRING:
	case KIND_SECRET:
		return *text ? xstrdup(text) : NULL;
	case KIND_PATH:
	case KIND_FILE:
		return path_expand(text);
	case KIND_HOST:
		return conf_host_dup(text);
	case KIND_NAME:
		return repo_name_valid(text, strlen(text)) ? xstrdup(text)
							   : NULL;
	case KIND_HELPER:
		return helper_valid(text) ? xstrdup(text) : NULL;
	case KIND_WEBHOOK:
		return conf_webhook_dup(text);
	case KIND_PROXY:
		return proxy_dup(text);
	default:
		assert(!"a kind that is one text");
		return NULL;
	}
}

/* A text, or none by word or, where there is such a word, by null. */
static void set_text(const struct conf_setting *s)
{
	const char *text = json_string_value(s->value);
	char *value = NULL;
	uint64_t none;

	if (!conf_word_find(s, &none) &&
	    !(s->opt->words && json_is_null(s->value))) {
		value = text ? text_get(s->opt->kind, text) : NULL;
		if (!value) {
			conf_reject(s);
			return;
		}
	}
	wipe_free(s->field);
	*(char **)s->field = value;
	if (s->opt->kind == KIND_PROXY)
		container_of((char **)s->field, struct conf_upstream, proxy)
		    ->proxy_env = false;
}

void conf_field_set(struct conf_ctx *ctx, const struct conf_option *opt,
		    const char *key, json_t *value, void *base)
{
	struct conf_setting s = {ctx, opt, key, value, conf_field(opt, base)};

	switch (opt->kind) {
	case KIND_BOOL:
		set_bool(&s);
		return;
	case KIND_COUNT:
		set_count(&s);
		return;
	case KIND_SIZE:
	case KIND_DURATION:
		conf_u64_set(&s);
		return;
	case KIND_WORD:
		set_word(&s);
		return;
	case KIND_STRING:
	case KIND_SECRET:
	case KIND_PATH:
	case KIND_FILE:
	case KIND_HOST:
	case KIND_NAME:
	case KIND_HELPER:
	case KIND_WEBHOOK:
	case KIND_PROXY:
		set_text(&s);
		return;
	case KIND_HEADERS:
		conf_headers_set(&s);
		return;
	case KIND_WORDS:
	case KIND_HOSTS:
	case KIND_PATTERNS:
	case KIND_LISTEN:
	case KIND_ADDRESSES:
	case KIND_ENDPOINTS:
	case KIND_ALLOWS:
	case KIND_TAGS:
	case KIND_ORIGINS:
	case KIND_TAG_RULES:
		conf_list_set(&s);
		return;
	case KIND_HOOKS:
	case KIND_UPSTREAMS:
		assert(!"these are set entry by entry");
	}
}

/* "push delete" as a list of two. */
static json_t *words_json(const char *text)
{
	json_t *list = json_array();

	for (const char *p = text; *p; p += strspn(p, " ")) {
		size_t n = strcspn(p, " ");

		json_array_append_new(list, json_stringn(p, n));
		p += n;
	}
	return list;
}

/* The table's default text as the JSON that a file would have. */
static json_t *default_json(const struct conf_option *opt)
{
	uint64_t number;

	switch (opt->kind) {
	case KIND_BOOL:
		return json_boolean(strcmp(opt->def, "true") == 0);
	case KIND_COUNT:
		if (conf_size_parse(opt->def, &number))
			return json_integer((json_int_t)number);
		return json_string(opt->def);
	case KIND_WORDS:
		return words_json(opt->def);
	case KIND_LISTEN:
		return json_pack("[s]", opt->def);
	default:
		return json_string(opt->def);
	}
}

void conf_fields_default(enum conf_scope scope, void *base)
{
	struct conf_ctx ctx = {.source = "default"};

	CONF_EACH_OPTION(opt, scope)
	{
		json_t *value;

		if (!opt->def)
			continue;
		value = default_json(opt);
		conf_field_set(&ctx, opt, opt->path, value, base);
		json_decref(value);
	}
	assert(ctx.errors.n == 0);
}

static void upstreams_release(struct conf_upstreams *list)
{
	for (size_t i = 0; i < list->n; i++) {
		free(list->v[i].name);
		conf_fields_release(SCOPE_UPSTREAM, &list->v[i]);
	}
	free(list->v);
}

static void hooks_release(struct conf_hooks *list)
{
	for (size_t i = 0; i < list->n; i++)
		conf_fields_release(SCOPE_HOOK, &list->v[i]);
	free(list->v);
}

static void field_release(enum conf_kind kind, void *field)
{
	switch (kind) {
	case KIND_BOOL:
	case KIND_COUNT:
	case KIND_SIZE:
	case KIND_DURATION:
	case KIND_WORD:
	case KIND_WORDS:
		return;
	case KIND_STRING:
	case KIND_SECRET:
	case KIND_PATH:
	case KIND_FILE:
	case KIND_HOST:
	case KIND_NAME:
	case KIND_HELPER:
	case KIND_WEBHOOK:
	case KIND_PROXY:
		wipe_free(field);
		return;
	case KIND_HEADERS:
		conf_headers_release(field);
		return;
	case KIND_HOOKS:
		hooks_release(field);
		return;
	case KIND_HOSTS:
	case KIND_PATTERNS:
	case KIND_LISTEN:
	case KIND_ADDRESSES:
	case KIND_ENDPOINTS:
	case KIND_ALLOWS:
	case KIND_TAGS:
	case KIND_ORIGINS:
	case KIND_TAG_RULES:
		conf_list_release(kind, field);
		return;
	case KIND_UPSTREAMS:
		upstreams_release(field);
	}
}

void conf_fields_release(enum conf_scope scope, void *base)
{
	CONF_EACH_OPTION(opt, scope)
	field_release(opt->kind, conf_field(opt, base));
}

static bool text_equal(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool listens_equal(const struct conf_listens *a,
			  const struct conf_listens *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		if (!text_equal(a->v[i].text, b->v[i].text) ||
		    !text_equal(a->v[i].mirror_of, b->v[i].mirror_of))
			return false;
	}
	return true;
}

bool conf_field_equal(const struct conf_option *opt, const void *a,
		      const void *b)
{
	const char *x = (const char *)a + opt->offset;
	const char *y = (const char *)b + opt->offset;

	switch (opt->kind) {
	case KIND_BOOL:
		return memcmp(x, y, sizeof(bool)) == 0;
	case KIND_COUNT:
		return memcmp(x, y, sizeof(uint32_t)) == 0;
	case KIND_SIZE:
	case KIND_DURATION:
		return memcmp(x, y, sizeof(uint64_t)) == 0;
	case KIND_WORD:
		return memcmp(x, y, sizeof(int)) == 0;
	case KIND_LISTEN:
	case KIND_ADDRESSES:
		return listens_equal((const void *)x, (const void *)y);
	default:
		assert(opt->kind >= KIND_STRING && opt->kind <= KIND_PROXY);
		return text_equal(*(char *const *)(const void *)x,
				  *(char *const *)(const void *)y);
	}
}
