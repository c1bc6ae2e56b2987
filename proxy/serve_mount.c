/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cross-repository mounts: POST ?mount=<digest>&from=<name>, or without
 * `from`.  A blob that is not there is no error: the client uploads it.
 */
#include "proxy/serve_upload.h"

#include "cache/hosted.h"
#include "proxy/hook.h"
#include "proxy/permit.h"
#include "proxy/reply.h"

/* It outlives the request: whoever has asked may leave. */
struct mount {
	struct way_home home; /* for the writer's answer */
	struct cache *cache;
	struct digest dg;
	bool anywhere;
	char to[REPO_NAME_MAX + 1];
	char from_host[REPO_HOST_MAX + 1], from_name[REPO_NAME_MAX + 1];
	struct hosted_result result;
	struct hooks *hooks;
	struct hook_list events;
};

/* Where it comes from is known only if the client has said so. */
static void add_event(struct mount *m)
{
	char from[REPO_PATH_MAX + 1] = "";
	struct hook_target t = {
	    .action = CONF_EVENT_MOUNT,
	    .repo = m->to,
	    .from = from,
	    .media_type = "application/octet-stream",
	    .dg = &m->dg,
	    .is_blob = true,
	};
	struct index_txn *txn = index_read(cache_index(m->cache));
	struct blob_row row;

	t.has_size = blob_get(txn, &m->dg, &row) == ERR_OK;
	t.size = t.has_size ? row.size : 0;
	index_read_end(txn);
	if (!m->anywhere)
		snprintf(from, sizeof(from), "%s%s%s", m->from_host,
			 m->from_host[0] ? "/" : "", m->from_name);
	hook_list_add(&m->events, &t);
}

static void mounted(struct message *msg, void *object)
{
	struct mount *m = container_of(msg, struct mount, home.msg);
	struct request *r = object;

	if (m->events.n && !m->result.err)
		hooks_wake(m->hooks);
	hook_list_release(&m->events);
	if (r && m->result.err)
		upload_start(r);
	else if (r)
		upload_created(r);
	free(m);
}

static void on_commit(void *arg, const struct hosted_result *result)
{
	struct mount *m = arg;

	m->result = *result;
	way_home_go(&m->home);
}

static void submit(struct mount *m)
{
	struct mount_ask ask = {
	    .to = {.repo = m->to, .claims = true},
	    .dg = m->dg,
	    .from_host = m->anywhere ? NULL : m->from_host,
	    .from_name = m->anywhere ? NULL : m->from_name,
	};

	hook_list_into(&m->events, &ask.to);
	cache_mount_blob(m->cache, &ask, on_commit, m);
}

/* Where to mount from.  False: from nowhere.  Whoever may not pull is not told
 * what there is, not even what the name that he pushes to holds already. */
static bool find_source(struct request *r, struct mount *m)
{
	struct names_answer from;
	struct span value;
	char name[REPO_PATH_MAX + 1];

	if (!permit_would(r, ACTION_PULL))
		return false;
	if (http_query_find(r->head->query, "from", &value) == 0) {
		m->anywhere = true;
		return true;
	}
	if (!request_query(r, "from", name, sizeof(name)) ||
	    request_resolve_other(r, name, &from) != ERR_OK ||
	    from.kind == NAMES_UNKNOWN)
		return false;
	if (from.kind == NAMES_MIRROR && !request_sees_now(r, &from))
		return false;
	if (from.kind == NAMES_MIRROR)
		snprintf(m->from_host, sizeof(m->from_host), "%s",
			 from.upstream);
	snprintf(m->from_name, sizeof(m->from_name), "%s", from.repo);
	return true;
}

bool upload_mount(struct request *r)
{
	struct upload_state *st = upload_state(r);
	struct digest dg;
	struct mount *m;

	if (!request_query(r, "mount", st->digest, sizeof(st->digest)) ||
	    digest_parse(st->digest, strlen(st->digest), &dg) != ERR_OK)
		return false;
	m = xcalloc(1, sizeof(*m));
	if (!find_source(r, m)) {
		free(m);
		return false;
	}
	m->cache = r->server->cache;
	m->hooks = r->server->hooks;
	m->home = request_way_home(r, mounted);
	m->dg = dg;
	snprintf(m->to, sizeof(m->to), "%s", r->names.repo);
	if (hooks_want(r->conf, CONF_EVENT_MOUNT, m->to)) {
		hook_list_init(&m->events, r);
		add_event(m);
	}
	submit(m);
	return true;
}
