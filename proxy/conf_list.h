/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_CONF_LIST_H
#define PROXY_CONF_LIST_H
/*
 * Options whose value is a list; and what conf_kind.c shares with them.
 */
#include "proxy/conf_json.h"
#include "proxy/conf_table.h"

/* One value on its way from JSON into a field. */
struct conf_setting {
	struct conf_ctx *ctx;
	const struct conf_option *opt;
	const char *key;
	json_t *value;
	void *field;
};

/* Complain that the value is not what the option's kind expects. */
void conf_reject(const struct conf_setting *s);

/* Is the value one of the option's words? */
bool conf_word_find(const struct conf_setting *s, uint64_t *out);

/* Set a size or a duration; complain if it is none. */
void conf_u64_set(const struct conf_setting *s);

/* The host's normal form, or NULL if it is none; caller frees. */
char *conf_host_dup(const char *text);

/* Is it a pattern of names, or of tags?  False: complained. */
bool conf_name_pattern(struct conf_ctx *ctx, const char *key,
		       const json_t *value);
bool conf_tag_pattern(struct conf_ctx *ctx, const char *key,
		      const json_t *value);

/* Set a list of any kind from an array, or complain of each bad element and
   leave it as it is. */
void conf_list_set(const struct conf_setting *s);

/* Free what a list field holds; the field is stale afterwards. */
void conf_list_release(enum conf_kind kind, void *field);

#endif
