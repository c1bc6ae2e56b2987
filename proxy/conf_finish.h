/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_CONF_FINISH_H
#define PROXY_CONF_FINISH_H
/*
 * What follows once every option has been read: the values that depend on
 * others or on the machine, and the rules between options.
 */
#include "proxy/conf_json.h"

/* The upstream of that name (not alias), or NULL. */
struct conf_upstream *conf_upstream_named(struct conf *conf, const char *name);

/* Add an upstream with every option at its default; the pointer is good until
   the next one is added. */
struct conf_upstream *conf_upstream_add(struct conf *conf, const char *name);

/* Does the host of a URL speak of this machine?  By its form alone. */
bool conf_host_is_loopback(const char *host);

/*
 * Complain unless `path`, the value of option `key`, is a file that can be
 * read; warn if it is a private key that everybody can read.  NULL is no file.
 */
void conf_file_check(struct conf_ctx *ctx, const char *key, const char *path);

/*
 * Fill in what is still unset and judge the whole; complaints and warnings go
 * to `ctx`.  Reads password files.
 */
void conf_finish(struct conf_ctx *ctx, struct conf *conf);

#endif
