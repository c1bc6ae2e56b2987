/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_CONF_TABLE_H
#define PROXY_CONF_TABLE_H
/*
 * The option table of conf.def as data, and what can be asked of it.  Only
 * the conf*.c files include this.
 */
#include "proxy/conf.h"

/* How an option is written, and the type of its field. */
enum conf_kind {
	KIND_BOOL,     /* bool */
	KIND_COUNT,    /* uint32_t */
	KIND_SIZE,     /* uint64_t */
	KIND_DURATION, /* uint64_t */
	KIND_WORD,     /* int: one of the option's words */
	KIND_WORDS,    /* uint32_t: the bits of some of the option's words */
	KIND_STRING,   /* char *, as all up to PROXY */
	KIND_SECRET,
	KIND_PATH,
	KIND_FILE, /* a path of something that must be readable */
	KIND_HOST,
	KIND_NAME,
	KIND_HELPER,
	KIND_WEBHOOK,
	KIND_PROXY,
	KIND_HOSTS,     /* struct conf_strings */
	KIND_PATTERNS,  /* struct conf_strings */
	KIND_LISTEN,    /* struct conf_listens */
	KIND_ADDRESSES, /* struct conf_listens */
	KIND_ENDPOINTS, /* struct conf_urls */
	KIND_ALLOWS,    /* struct conf_allows */
	KIND_TAGS,      /* struct conf_tags */
	KIND_ORIGINS,   /* struct conf_strings */
	KIND_TAG_RULES, /* struct conf_tag_rules */
	KIND_HEADERS,   /* struct conf_headers */
	KIND_HOOKS,     /* struct conf_hooks */
	KIND_UPSTREAMS  /* struct conf_upstreams */
};

enum conf_scope { SCOPE_TOP, SCOPE_UPSTREAM, SCOPE_HOOK };

struct conf_word {
	const char *name; /* NULL ends the list */
	uint64_t value;
};

struct conf_option {
	enum conf_scope scope;
	const char *path; /* within its scope */
	enum conf_kind kind;
	size_t offset; /* in struct conf, conf_upstream or conf_hook */
	const char *def;
	const struct conf_word *words;
	uint64_t min, max;
	bool reloadable;
	const char *help;
};

extern const struct conf_option conf_options[];
extern const size_t conf_options_n;

/* Walk the options of one scope. */
#define CONF_EACH_OPTION(opt, want)                                            \
	for (const struct conf_option *opt = conf_options;                     \
	     opt < conf_options + conf_options_n; opt++)                       \
		if (opt->scope == (want))

/* The option at `path`, or NULL. */
const struct conf_option *conf_option_find(enum conf_scope scope,
					   const char *path);

/* Is `path` the common part of several options ("cache", "cache.memory")? */
bool conf_option_is_group(enum conf_scope scope, const char *path);

/* The path that somebody who wrote `path` may have meant, or NULL. */
const char *conf_option_nearest(enum conf_scope scope, const char *path);

/* "duration", "size", ...: what the help says of a kind. */
const char *conf_kind_name(enum conf_kind kind);

#endif
