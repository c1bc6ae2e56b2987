/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/conf_list.h"

#include "cache/name.h"
#include "proxy/conf_value.h"

char *conf_host_dup(const char *text)
{
	char normal[HOST_MAX + 1];

	if (host_normalise(text, strlen(text), normal) != ERR_OK)
		return NULL;
	return xstrdup(normal);
}

void conf_strings_add(struct conf_strings *list, const char *text)
{
	list->v = xrealloc(list->v, (list->n + 1) * sizeof(*list->v));
	list->v[list->n++] = xstrdup(text);
}

void conf_strings_release(struct conf_strings *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->v[i]);
	free(list->v);
	*list = (struct conf_strings){0};
}

bool conf_name_pattern(struct conf_ctx *ctx, const char *key,
		       const json_t *value)
{
	const char *text = json_string_value(value);
	struct why why;

	if (text && name_pattern_check(text, &why) == ERR_OK)
		return true;
	if (text)
		conf_complain(ctx, key,
			      "expected a name pattern, found \"%.60s\": %s",
			      text, why.text);
	else if (value)
		conf_complain_value(ctx, key, "a name pattern", value);
	else
		conf_complain(ctx, key, "expected a name pattern");
	return false;
}

static void pattern_get(const struct conf_setting *s, const char *key,
			const json_t *element, struct conf_strings *list)
{
	if (conf_name_pattern(s->ctx, key, element))
		conf_strings_add(list, json_string_value(element));
}

/* One word of a list of them, as the option's single word would be. */
static void word_get(const struct conf_setting *s, const char *key,
		     json_t *element, uint32_t *bits)
{
	struct conf_option one = *s->opt;
	struct conf_setting word = {s->ctx, &one, key, element, NULL};
	uint64_t bit;

	one.kind = KIND_WORD;
	if (conf_word_find(&word, &bit))
		*bits |= (uint32_t)bit;
	else
		conf_reject(&word);
}

/* RFC 6454, section 6.2: scheme, host, and the port where it is not the
   scheme's own, all in lower case: as a browser sends it. */
static void origin_get(const struct conf_setting *s, const char *key,
		       const json_t *element, struct conf_strings *list)
{
	const char *text = json_string_value(element);
	struct conf_url url;
	bool good;

	if (text && strcmp(text, "*") == 0) {
		conf_strings_add(list, text);
		return;
	}
	good = text && conf_url_parse(text, "http https", &url);
	if (good && !*url.path && text[strlen(text) - 1] != '/')
		conf_strings_add(list, url.text);
	else
		conf_complain_value(s->ctx, key,
				    "an origin such as \"https://ui.example\""
				    " without a slash at its end, or \"*\"",
				    element);
	if (good)
		conf_url_release(&url);
}

static void host_get(const struct conf_setting *s, const char *key,
		     const json_t *element, struct conf_strings *list)
{
	const char *text = json_string_value(element);
	char *host = text ? conf_host_dup(text) : NULL;

	if (host)
		conf_strings_add(list, host);
	else
		conf_complain_value(s->ctx, key, "a host or host:port",
				    element);
	free(host);
}

static const char *const address_expected =
    "an address and port such as \"0.0.0.0:5000\" or \"[::]:5000\"";

/* Complain of every key of an entry but these two. */
static void two_keys(const struct conf_setting *s, const char *key,
		     json_t *object, const char *one, const char *other)
{
	const char *name;
	json_t *value;

	json_object_foreach (object, name, value) {
		if (!conf_json_comment(name) && strcmp(name, one) != 0 &&
		    strcmp(name, other) != 0)
			conf_complain(s->ctx, key,
				      "expected the keys \"%s\" and \"%s\", "
				      "found \"%.60s\"",
				      one, other, name);
	}
}

/* {"address": ..., "mirror_of": ...} */
static void listen_object(const struct conf_setting *s, const char *key,
			  json_t *object, struct conf_listen *out)
{
	const char *address, *of;
	const json_t *value;

	two_keys(s, key, object, "address", "mirror_of");
	address = json_string_value(json_object_get(object, "address"));
	if (!address || !conf_listen_parse(address, out)) {
		conf_complain(s->ctx, key,
			      "expected \"address\": %s, found %s%.60s%s",
			      address_expected, address ? "\"" : "",
			      address ? address : "none", address ? "\"" : "");
		return;
	}
	value = json_object_get(object, "mirror_of");
	of = json_string_value(value);
	out->mirror_of = of ? conf_host_dup(of) : NULL;
	if (value && !out->mirror_of)
		conf_complain_value(s->ctx, key,
				    "\"mirror_of\": the name of an upstream",
				    value);
}

static void listen_get(const struct conf_setting *s, const char *key,
		       json_t *element, struct conf_listens *list)
{
	const char *text = json_string_value(element);
	struct conf_listen l = {0};

	if (json_is_object(element) && s->opt->kind == KIND_LISTEN)
		listen_object(s, key, element, &l);
	else if (!text || !conf_listen_parse(text, &l))
		conf_complain_value(s->ctx, key, address_expected, element);
	if (!l.text)
		return;
	list->v = xrealloc(list->v, (list->n + 1) * sizeof(l));
	list->v[list->n++] = l;
}

static void endpoint_get(const struct conf_setting *s, const char *key,
			 const json_t *element, struct conf_urls *list)
{
	const char *text = json_string_value(element);
	struct conf_url url;

	if (!text || !conf_url_parse(text, "http https", &url)) {
		conf_complain_value(s->ctx, key,
				    "a URL such as \"https://host:port/prefix\""
				    " without user, query and fragment",
				    element);
		return;
	}
	list->v = xrealloc(list->v, (list->n + 1) * sizeof(url));
	list->v[list->n++] = url;
}

static void allow_get(const struct conf_setting *s, const char *key,
		      const json_t *element, struct conf_allows *list)
{
	const char *text = json_string_value(element);
	struct conf_allow allow;

	if (!text || !conf_allow_parse(text, &allow)) {
		conf_complain_value(s->ctx, key,
				    "a host, \"*.domain\", address or network "
				    "such as \"10.0.0.0/8\"",
				    element);
		return;
	}
	list->v = xrealloc(list->v, (list->n + 1) * sizeof(allow));
	list->v[list->n++] = allow;
}

/* The "check" of one entry of tags: as the upstream's option of that name. */
static bool tag_check(const struct conf_setting *s, const char *key,
		      json_t *value, uint64_t *check_ms)
{
	const struct conf_option *opt =
	    conf_option_find(SCOPE_UPSTREAM, "check");
	struct conf_setting check = {s->ctx, opt, key, value, check_ms};
	size_t errors = s->ctx->errors.n;

	if (value)
		conf_u64_set(&check);
	else
		conf_complain(s->ctx, key, "expected %s, found nothing",
			      "a duration, \"always\" or \"never\"");
	return s->ctx->errors.n == errors && value;
}

bool conf_tag_pattern(struct conf_ctx *ctx, const char *key,
		      const json_t *value)
{
	const char *text = json_string_value(value);
	struct why why;

	if (text && tag_pattern_check(text, &why) == ERR_OK)
		return true;
	if (text)
		conf_complain(ctx, key,
			      "expected a tag pattern such as \"v*\", found "
			      "\"%.60s\": %s",
			      text, why.text);
	else
		conf_complain(ctx, key,
			      "expected a tag pattern such as \"v*\"");
	return false;
}

static void tag_get(const struct conf_setting *s, const char *key,
		    json_t *element, struct conf_tags *list)
{
	char *match_key = xasprintf("%s.match", key);
	char *check_key = xasprintf("%s.check", key);
	const json_t *match = json_object_get(element, "match");
	struct conf_tag tag = {0};
	bool good;

	if (!json_is_object(element))
		conf_complain_value(
		    s->ctx, key, "{\"match\": ..., \"check\": ...}", element);
	two_keys(s, key, element, "match", "check");
	good = json_is_object(element) &&
	       conf_tag_pattern(s->ctx, match_key, match);
	if (good && tag_check(s, check_key, json_object_get(element, "check"),
			      &tag.check_ms)) {
		tag.match = xstrdup(json_string_value(match));
		list->v = xrealloc(list->v, (list->n + 1) * sizeof(tag));
		list->v[list->n++] = tag;
	}
	free(match_key);
	free(check_key);
}

static void tag_rule_get(const struct conf_setting *s, const char *key,
			 json_t *element, struct conf_tag_rules *list)
{
	char *repo_key = xasprintf("%s.repo", key);
	char *tags_key = xasprintf("%s.tags", key);
	const json_t *repo = json_object_get(element, "repo");
	const json_t *tags = json_object_get(element, "tags");
	struct conf_tag_rule rule;

	if (!json_is_object(element))
		conf_complain_value(s->ctx, key,
				    "{\"repo\": ..., \"tags\": ...}", element);
	two_keys(s, key, element, "repo", "tags");
	if (json_is_object(element) &&
	    conf_name_pattern(s->ctx, repo_key, repo) &&
	    conf_tag_pattern(s->ctx, tags_key, tags)) {
		rule.repo = xstrdup(json_string_value(repo));
		rule.tags = xstrdup(json_string_value(tags));
		list->v = xrealloc(list->v, (list->n + 1) * sizeof(rule));
		list->v[list->n++] = rule;
	}
	free(repo_key);
	free(tags_key);
}

static void element_get(const struct conf_setting *s, const char *key,
			json_t *element, void *list)
{
	switch (s->opt->kind) {
	case KIND_HOSTS:
		host_get(s, key, element, list);
		return;
	case KIND_PATTERNS:
		pattern_get(s, key, element, list);
		return;
	case KIND_LISTEN:
	case KIND_ADDRESSES:
		listen_get(s, key, element, list);
		return;
	case KIND_ENDPOINTS:
		endpoint_get(s, key, element, list);
		return;
	case KIND_ALLOWS:
		allow_get(s, key, element, list);
		return;
	case KIND_TAGS:
		tag_get(s, key, element, list);
		return;
	case KIND_WORDS:
		word_get(s, key, element, list);
		return;
	case KIND_ORIGINS:
		origin_get(s, key, element, list);
		return;
	case KIND_TAG_RULES:
		tag_rule_get(s, key, element, list);
		return;
	default:
		assert(!"a kind that is a list");
	}
}

/* Fits every list: a pointer and a count, or bits. */
union any_list {
	struct conf_strings strings;
	struct conf_listens listens;
	struct conf_urls urls;
	struct conf_allows allows;
	struct conf_tags tags;
	struct conf_tag_rules rules;
	uint32_t bits;
};

static size_t list_size(enum conf_kind kind)
{
	switch (kind) {
	case KIND_LISTEN:
	case KIND_ADDRESSES:
		return sizeof(struct conf_listens);
	case KIND_ENDPOINTS:
		return sizeof(struct conf_urls);
	case KIND_ALLOWS:
		return sizeof(struct conf_allows);
	case KIND_TAGS:
		return sizeof(struct conf_tags);
	case KIND_TAG_RULES:
		return sizeof(struct conf_tag_rules);
	case KIND_WORDS:
		return sizeof(uint32_t);
	default:
		return sizeof(struct conf_strings);
	}
}

static void listens_release(struct conf_listens *list)
{
	for (size_t i = 0; i < list->n; i++)
		conf_listen_release(&list->v[i]);
	free(list->v);
}

static void urls_release(struct conf_urls *list)
{
	for (size_t i = 0; i < list->n; i++)
		conf_url_release(&list->v[i]);
	free(list->v);
}

static void allows_release(struct conf_allows *list)
{
	for (size_t i = 0; i < list->n; i++)
		conf_allow_release(&list->v[i]);
	free(list->v);
}

static void tags_release(struct conf_tags *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->v[i].match);
	free(list->v);
}

static void rules_release(struct conf_tag_rules *list)
{
	for (size_t i = 0; i < list->n; i++) {
		free(list->v[i].repo);
		free(list->v[i].tags);
	}
	free(list->v);
}

void conf_list_release(enum conf_kind kind, void *field)
{
	switch (kind) {
	case KIND_WORDS:
		return;
	case KIND_TAG_RULES:
		rules_release(field);
		return;
	case KIND_HOSTS:
	case KIND_PATTERNS:
	case KIND_ORIGINS:
		conf_strings_release(field);
		return;
	case KIND_LISTEN:
	case KIND_ADDRESSES:
		listens_release(field);
		return;
	case KIND_ENDPOINTS:
		urls_release(field);
		return;
	case KIND_ALLOWS:
		allows_release(field);
		return;
	case KIND_TAGS:
		tags_release(field);
		return;
	default:
		assert(!"a kind that is a list");
	}
}

void conf_list_set(const struct conf_setting *s)
{
	size_t errors = s->ctx->errors.n;
	union any_list list = {0};
	json_t *element;
	size_t i;

	if (!json_is_array(s->value)) {
		conf_reject(s);
		return;
	}
	json_array_foreach (s->value, i, element) {
		char *key = xasprintf("%s[%zu]", s->key, i);

		element_get(s, key, element, &list);
		free(key);
	}
	if (s->ctx->errors.n != errors) {
		conf_list_release(s->opt->kind, &list);
		return;
	}
	conf_list_release(s->opt->kind, s->field);
	memcpy(s->field, &list, list_size(s->opt->kind));
}
