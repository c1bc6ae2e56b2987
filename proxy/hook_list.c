/* SPDX-License-Identifier: Apache-2.0 */
/* What makes events: what a request says of itself, and its changes. */
#include "proxy/hook_int.h"

#define HOST_MAX 255
#define USERAGENT_MAX 512

bool hooks_want(const struct conf *conf, enum conf_event action,
		const char *repo)
{
	for (size_t i = 0; i < conf->notifications.endpoints.n; i++) {
		const struct conf_hook *hook =
		    &conf->notifications.endpoints.v[i];

		if ((hook->actions & action) && conf_hook_wants(hook, repo))
			return true;
	}
	return false;
}

static void copy_span(char *out, size_t size, struct span s)
{
	snprintf(out, size, "%.*s", (int)MIN(s.len, size), s.ptr ? s.ptr : "");
}

static void read_request(struct hook_origin *o, const struct request *r)
{
	const struct hooks *h = r->server->hooks;
	char id[40], host[HOST_MAX + 1], agent[USERAGENT_MAX + 1];
	struct hook_request what = {
	    .id = id,
	    .addr = conn_peer(r->conn),
	    .host = host,
	    .method = http_method_name(r->head->method),
	    .useragent = agent,
	    .source = h->source,
	    .instance = h->instance,
	    .https =
		span_is(http_head_find(r->head, "x-forwarded-proto"), "https"),
	};

	/* The number that the log has, and not that of another run. */
	snprintf(id, sizeof(id), "%.8s-%" PRIu64, h->instance, r->id);
	copy_span(host, sizeof(host), r->head->host);
	copy_span(agent, sizeof(agent), http_head_find(r->head, "user-agent"));
	hook_origin_init(o, &what);
}

void hook_list_init(struct hook_list *l, const struct request *r)
{
	read_request(&l->origin, r);
}

void hook_list_command(struct hook_list *l, const struct hooks *h,
		       const char *command)
{
	struct hook_request what = {
	    .method = command,
	    .source = h->source,
	    .instance = h->instance,
	};

	hook_origin_init(&l->origin, &what);
}

void hook_list_add(struct hook_list *l, const struct hook_target *t)
{
	size_t len;
	char *text;

	if (!l->origin.fields)
		return;
	text = hook_event_text(&l->origin, t, &len);
	l->v = xrealloc(l->v, (l->n + 1) * sizeof(*l->v));
	l->v[l->n++] = slice_of(text, len);
}

void hook_list_into(const struct hook_list *l, struct hosting *h)
{
	h->events = l->v;
	h->n_events = l->n;
}

void hook_list_release(struct hook_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		union {
			const void *in;
			void *out;
		} cast = {l->v[i].ptr}; /* our own */

		free(cast.out);
	}
	free(l->v);
	hook_origin_release(&l->origin);
	memset(l, 0, sizeof(*l));
}

void hook_repo(const struct request *r, char *out)
{
	bool mirrored = r->names.kind == NAMES_MIRROR;

	snprintf(out, REPO_PATH_MAX + 1, "%s%s%s",
		 mirrored ? r->names.upstream : "", mirrored ? "/" : "",
		 r->names.repo);
}

/* ---- pulls ---- */

static void queue_pull(struct hooks *h, char *STEALS text, size_t len)
{
	struct hook_pull *p = xcalloc(1, sizeof(*p));
	bool room;

	p->text = text;
	p->len = len;
	pthread_mutex_lock(&h->mu);
	room = h->n_pulls < HOOK_PULLS_MAX;
	if (room) {
		STAILQ_INSERT_TAIL(&h->pulls, p, link);
		h->n_pulls++;
	}
	pthread_mutex_unlock(&h->mu);
	if (!room) {
		metric_inc(METRIC_NOTIFICATIONS_DROPPED, 0);
		hook_pull_free(p);
	}
}

void hook_pulled(const struct request *r, bool is_blob, const struct digest *dg,
		 const char *media_type, uint64_t size)
{
	char repo[REPO_PATH_MAX + 1];
	struct hook_target t = {
	    .action = CONF_EVENT_PULL,
	    .repo = repo,
	    .media_type = media_type,
	    .dg = dg,
	    .is_blob = is_blob,
	    .has_size = true,
	    .size = size,
	};
	struct hook_origin origin;
	size_t len;
	char *text;

	if (r->is_head || r->conf->notifications.endpoints.n == 0)
		return;
	hook_repo(r, repo);
	if (!hooks_want(r->conf, CONF_EVENT_PULL, repo))
		return;
	if (r->route.reference == REFERENCE_TAG)
		t.tag = r->route.ref;
	read_request(&origin, r);
	text = hook_event_text(&origin, &t, &len);
	hook_origin_release(&origin);
	queue_pull(r->server->hooks, text, len);
	hooks_wake(r->server->hooks);
}
