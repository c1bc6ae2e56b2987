/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/conf_names.h"

struct conf_names {
	struct conf *conf;
	struct names_conf table;
	struct names_upstream upstreams[];
};

struct conf_names *conf_names_new(struct conf *conf)
{
	size_t n = conf->upstreams.n;
	struct conf_names *names =
	    xcalloc(1, sizeof(*names) + n * sizeof(names->upstreams[0]));

	names->conf = conf_ref(conf);
	for (size_t i = 0; i < n; i++) {
		const struct conf_upstream *up = &conf->upstreams.v[i];

		names->upstreams[i].name = up->name;
		names->upstreams[i].aliases = up->aliases.v;
		names->upstreams[i].n_aliases = up->aliases.n;
	}
	names->table.upstreams = names->upstreams;
	names->table.n_upstreams = n;
	names->table.own = conf->names.v;
	names->table.n_own = conf->names.n;
	names->table.hosted = conf->hosted.v;
	names->table.n_hosted = conf->hosted.n;
	names->table.default_upstream = conf->default_upstream;
	return names;
}

void conf_names_free(struct conf_names **names)
{
	struct conf_names *n = *names;

	if (!n)
		return;
	conf_unref(&n->conf);
	free(n);
	*names = NULL;
}

const struct names_conf *conf_names_table(const struct conf_names *n)
{
	return &n->table;
}

const struct conf *conf_names_conf(const struct conf_names *n)
{
	return n->conf;
}
