/* SPDX-License-Identifier: Apache-2.0 */
/* Whose a request's name is.  Each serve loop keeps the name table of the
 * configuration that it last asked by. */
#include "proxy/conf_names.h"
#include "proxy/request.h"

void request_names_free(struct serve *s)
{
	conf_names_free(&s->names);
}

static const struct names_conf *table_of(struct serve *s, struct conf *conf)
{
	if (s->names && conf_names_conf(s->names) != conf)
		request_names_free(s);
	if (!s->names)
		s->names = conf_names_new(conf);
	return conf_names_table(s->names);
}

enum err request_resolve(struct request *r, const char *ns)
{
	struct serve *serve = server_serve(r->server, r->loop);
	struct names_conf table = *table_of(serve, r->conf);
	const char *mirror_of = conn_role(r->conn)->mirror_of;
	enum err err;

	/* Listeners stay as they were at the start; upstreams may go. */
	if (mirror_of &&
	    !conf_upstream_find(r->conf, mirror_of, strlen(mirror_of))) {
		r->names.kind = NAMES_UNKNOWN;
		(void)why_set(&r->names.detail, ERR_OK,
			      "%.200s, which this listener mirrors, is no "
			      "longer configured",
			      mirror_of);
		return ERR_OK;
	}
	table.mirror_of = mirror_of;
	err = names_resolve(&table, r->route.name, ns, &r->names);
	if (err == ERR_OK && r->names.kind == NAMES_MIRROR)
		r->up = conf_upstream_find(r->conf, r->names.upstream,
					   strlen(r->names.upstream));
	return err;
}
