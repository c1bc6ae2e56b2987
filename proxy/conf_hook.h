/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_CONF_HOOK_H
#define PROXY_CONF_HOOK_H
/*
 * Receivers of events: their entries in the configuration, and the kinds of
 * options that only they have.  Header values and a URL's query are secrets;
 * no message repeats them.
 */
#include "proxy/conf_list.h"

/* Where they stand in the file. */
#define CONF_HOOKS "notifications.endpoints"

/* Add a receiver with every option at its default; the pointer is good until
   the next one is added. */
struct conf_hook *conf_hook_add(struct conf *conf);

/* A http or https URL, perhaps with a query, in its normal form; NULL if it
   is none.  Caller frees. */
char *conf_webhook_dup(const char *text);

/* Set a struct conf_headers from an object, or complain and leave it. */
void conf_headers_set(const struct conf_setting *s);
void conf_headers_release(struct conf_headers *list);

/* The rules between options of each receiver, and between receivers. */
void conf_hooks_finish(struct conf_ctx *ctx, const struct conf *conf);

#endif
