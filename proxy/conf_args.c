/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/conf.h"

/* One flag: a text, or a list of them if it may be repeated. */
struct flag {
	const char *name;
	size_t offset; /* in struct conf_args */
	bool list;
	const char *value; /* what the help calls it */
	const char *help;
};

#define ONE(member) offsetof(struct conf_args, member), false
#define MANY(member) offsetof(struct conf_args, member), true

static const struct flag flags[] = {
    {"--config", ONE(config), "FILE", "read the configuration from FILE"},
    {"--listen", MANY(listen), "ADDR:PORT", "serve here; may be repeated"},
    {"--data", ONE(data), "DIR", "keep blobs and index here"},
    {"--upstream", MANY(upstreams), "NAME[=URL]",
     "mirror NAME, found at URL; may be repeated"},
    {"--default-upstream", ONE(default_upstream), "NAME|none",
     "upstream of names that carry no host"},
    {"--hosted", MANY(hosted), "PATTERN",
     "names never asked upstream; may be repeated"},
};

static void *flag_field(const struct flag *flag, struct conf_args *args)
{
	return (char *)args + flag->offset;
}

/* The flag that `arg` names, before "=" or its end. */
static const struct flag *flag_find(const char *arg, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		if (strlen(flags[i].name) == len &&
		    strncmp(flags[i].name, arg, len) == 0)
			return &flags[i];
	}
	return NULL;
}

static enum err flag_store(const struct flag *flag, const char *value,
			   struct conf_args *args, struct why *why)
{
	char **one = flag_field(flag, args);

	if (!*value)
		return why_set(why, ERR_INVALID,
			       "command line: %s: expected %s, found nothing",
			       flag->name, flag->value);
	if (flag->list) {
		conf_strings_add(flag_field(flag, args), value);
		return ERR_OK;
	}
	if (*one)
		return why_set(why, ERR_INVALID,
			       "command line: %s: expected it once, found it "
			       "again",
			       flag->name);
	*one = xstrdup(value);
	return ERR_OK;
}

enum err conf_parse_args(int argc, char *const *argv, struct conf_args *args,
			 struct why *why)
{
	*args = (struct conf_args){0};
	for (int i = 1; i < argc; i++) {
		size_t len = strcspn(argv[i], "=");
		const struct flag *flag = flag_find(argv[i], len);
		const char *value;
		enum err err;

		if (!flag)
			return why_set(why, ERR_INVALID,
				       "command line: expected a known flag, "
				       "found \"%.60s\"",
				       argv[i]);
		value = argv[i][len]   ? argv[i] + len + 1
			: i + 1 < argc ? argv[++i]
				       : "";
		err = flag_store(flag, value, args, why);
		if (err != ERR_OK)
			return err;
	}
	return ERR_OK;
}

void conf_args_release(struct conf_args *args)
{
	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		char **one = flag_field(&flags[i], args);

		if (flags[i].list)
			conf_strings_release(flag_field(&flags[i], args));
		else
			free(*one);
	}
	*args = (struct conf_args){0};
}

void conf_print_flags(FILE *out)
{
	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		fprintf(out, "  %-18s %-11s %s\n", flags[i].name,
			flags[i].value, flags[i].help);
}
