/* SPDX-License-Identifier: Apache-2.0 */
/* Whose a request's name is.  Each serve loop keeps the name table of the
 * configuration that it last asked by. */
#include "cache/hosted.h"
#include "proxy/conf_names.h"
#include "proxy/reply.h"

void request_names_free(struct serve *s)
{
	conf_names_free(&s->names);
}

static bool is_claimed(void *arg, const char *name)
{
	struct index_txn *txn = index_read(cache_index(arg));
	bool claimed = hosted_is_claimed(txn, name);

	index_read_end(txn);
	return claimed;
}

/* The table as this request's listener has it. */
static struct names_conf table_of(struct request *r)
{
	struct serve *s = server_serve(r->server, r->loop);
	struct names_conf table;

	if (s->names && conf_names_conf(s->names) != r->conf)
		request_names_free(s);
	if (!s->names)
		s->names = conf_names_new(r->conf);
	table = *conf_names_table(s->names);
	table.mirror_of = conn_role(r->conn)->mirror_of;
	table.claimed = is_claimed;
	table.claimed_arg = r->server->cache;
	return table;
}

/* Listeners stay as they were at the start; upstreams may go. */
static bool listener_is_orphan(const struct request *r,
			       struct names_answer *out)
{
	const char *mirror_of = conn_role(r->conn)->mirror_of;

	if (!mirror_of ||
	    conf_upstream_find(r->conf, mirror_of, strlen(mirror_of)))
		return false;
	memset(out, 0, sizeof(*out));
	out->kind = NAMES_UNKNOWN;
	(void)why_set(&out->detail, ERR_OK,
		      "%.200s, which this listener mirrors, is no longer "
		      "configured",
		      mirror_of);
	return true;
}

enum err request_resolve(struct request *r, const char *ns)
{
	struct names_conf table = table_of(r);
	enum err err;

	if (listener_is_orphan(r, &r->names))
		return ERR_OK;
	err = names_resolve(&table, r->route.name, ns, &r->names);
	if (err == ERR_OK && r->names.kind == NAMES_MIRROR)
		r->up = conf_upstream_find(r->conf, r->names.upstream,
					   strlen(r->names.upstream));
	/* What a claim has hidden a push may build on; what a pattern keeps
	 * apart it may not. */
	if (err == ERR_OK && r->names.claimed)
		(void)!names_shadow(&table, r->route.name, &r->shadow);
	return err;
}

enum err request_resolve_other(struct request *r, const char *name,
			       struct names_answer *out)
{
	struct names_conf table = table_of(r);

	if (!repo_path_valid(name, strlen(name)))
		return ERR_INVALID;
	if (listener_is_orphan(r, out))
		return ERR_OK;
	return names_resolve(&table, name, NULL, out);
}

void request_claimed(struct request *r, const struct names_answer *shadow)
{
	struct why why;

	if (shadow->kind != NAMES_MIRROR) {
		request_log(r, LOG_INFO, "%s is hosted from now on",
			    r->names.repo);
		return;
	}
	(void)why_set(&why, ERR_OK,
		      "%.100s is hosted here from now on and hides "
		      "%.50s/%.100s",
		      r->names.repo, shadow->upstream, shadow->repo);
	request_log(r, LOG_WARN,
		    "%s; \"entrepot rm --release\" undoes it once it is empty",
		    why.text);
	reply_warning(r, why.text);
}
