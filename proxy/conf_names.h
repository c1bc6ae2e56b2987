/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_CONF_NAMES_H
#define PROXY_CONF_NAMES_H
/* The name table of names.h, made from a configuration. */
#include "proxy/conf.h"
#include "proxy/names.h"

struct conf_names;

/* Keeps a reference to `conf` until conf_names_free().  Any thread. */
struct conf_names *conf_names_new(struct conf *conf) MUST_CHECK;
void conf_names_free(struct conf_names **n);
/* As for a listener without `mirror_of`; a copy may be given one. */
const struct names_conf *conf_names_table(const struct conf_names *n);
const struct conf *conf_names_conf(const struct conf_names *n);

#endif
