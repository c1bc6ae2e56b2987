/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_CONF_KIND_H
#define PROXY_CONF_KIND_H
/*
 * What can be done to a field of struct conf by the kind of its option: set it
 * from JSON, set its default, free it, compare it.
 */
#include "proxy/conf_json.h"
#include "proxy/conf_table.h"

/* The field of `opt` in `base`, a struct conf or a struct conf_upstream. */
static inline void *conf_field(const struct conf_option *opt, void *base)
{
	return (char *)base + opt->offset;
}

/*
 * Set the field of `opt` in `base` from `value`; what it held is freed.  On a
 * bad value: complains of `key`, and the field stays.  Not for KIND_UPSTREAMS.
 */
void conf_field_set(struct conf_ctx *ctx, const struct conf_option *opt,
		    const char *key, json_t *value, void *base);

/* Set every field of a zeroed `base` to its default. */
void conf_fields_default(enum conf_scope scope, void *base);

/* Free every field of `base`; secrets are wiped. */
void conf_fields_release(enum conf_scope scope, void *base);

/* Is the field equal in both?  For the kinds of options that no reload
   changes: numbers, single texts, addresses. */
bool conf_field_equal(const struct conf_option *opt, const void *a,
		      const void *b);

#endif
