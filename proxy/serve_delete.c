/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DELETE of a tag, a manifest or a blob.
 *
 *   hosted    one commit, by the index's writer ─► 202
 *             405 where a manifest of this repository names it
 *   mirrored  a purge: what is held of it goes, and the next pull fetches
 *             again ─► 202
 */
#include "cache/hosted.h"
#include "proxy/hook.h"
#include "proxy/serve_hosted.h"

/* It outlives the request: whoever has asked may leave. */
struct deletion {
	struct job job;
	struct way_home home; /* for the writer's answer */
	struct cache *cache;
	enum endpoint endpoint;
	bool hosted;
	char host[REPO_HOST_MAX + 1];
	char name[REPO_NAME_MAX + 1];
	char tag[TAG_MAX + 1]; /* "" = by digest */
	struct digest dg;
	struct hooks *hooks;
	struct hook_list events;
	struct hosted_result res;
};

static enum api_code unknown_code(const struct deletion *d)
{
	return d->endpoint == ENDPOINT_BLOB ? CODE_BLOB_UNKNOWN
					    : CODE_MANIFEST_UNKNOWN;
}

static void reply(struct request *r, const struct deletion *d)
{
	const struct hosted_result *res = &d->res;
	char text[DIGEST_TEXT_MAX] = "";

	switch (res->err) {
	case ERR_OK:
		reply_begin(r, 202);
		reply_send(r, 0, NULL);
		break;
	case ERR_NOT_FOUND:
		reply_error(r, 404, unknown_code(d),
			    d->hosted ? "this repository does not have it"
				      : "nothing of it is held here",
			    NULL);
		break;
	case ERR_BUSY:
		if (res->dg.alg)
			digest_text(&res->dg, text);
		reply_error(r, 405, CODE_UNSUPPORTED, res->why.text, text);
		break;
	default:
		reply_err(r, res->err, unknown_code(d), 0, &res->why);
	}
}

static void deleted(struct message *msg, void *object)
{
	struct deletion *d = container_of(msg, struct deletion, home.msg);

	if (d->events.n)
		hooks_wake(d->hooks);
	if (object)
		reply(object, d);
	hook_list_release(&d->events);
	free(d);
}

static void on_commit(void *arg, const struct hosted_result *res)
{
	struct deletion *d = arg;

	d->res = *res;
	way_home_go(&d->home);
}

static void delete_hosted(struct deletion *d)
{
	struct hosting h = {.repo = d->name};

	hook_list_into(&d->events, &h);
	if (d->tag[0])
		cache_delete_tag(d->cache, &h, d->tag, on_commit, d);
	else if (d->endpoint == ENDPOINT_BLOB)
		cache_delete_blob(d->cache, &h, &d->dg, on_commit, d);
	else
		cache_delete_manifest(d->cache, &h, &d->dg, on_commit, d);
}

/* Files go too: a worker's. */
static void purge(struct job *job)
{
	struct deletion *d = container_of(job, struct deletion, job);
	struct hosting h = {.repo = d->name};

	hook_list_into(&d->events, &h);
	if (d->tag[0])
		cache_purge_tag(d->cache, d->host, &h, d->tag, on_commit, d);
	else if (d->endpoint == ENDPOINT_BLOB)
		cache_purge_blob(d->cache, d->host, &h, &d->dg, on_commit, d);
	else
		cache_purge_manifest(d->cache, d->host, &h, &d->dg, on_commit,
				     d);
}

static void add_event(const struct request *r, struct deletion *d)
{
	char repo[REPO_PATH_MAX + 1];
	struct hook_target t = {
	    .action = CONF_EVENT_DELETE,
	    .repo = repo,
	    .tag = d->tag,
	    .dg = d->tag[0] ? NULL : &d->dg,
	};

	d->hooks = r->server->hooks;
	hook_repo(r, repo);
	if (!hooks_want(r->conf, t.action, t.repo))
		return;
	hook_list_init(&d->events, r);
	hook_list_add(&d->events, &t);
}

static void start(struct request *r)
{
	struct deletion *d = xcalloc(1, sizeof(*d));

	d->cache = r->server->cache;
	d->home = request_way_home(r, deleted);
	d->endpoint = r->route.endpoint;
	d->hosted = r->names.kind == NAMES_HOSTED;
	memcpy(d->name, r->names.repo, sizeof(d->name));
	if (r->route.reference == REFERENCE_TAG)
		snprintf(d->tag, sizeof(d->tag), "%.*s", TAG_MAX, r->route.ref);
	else
		d->dg = r->route.digest;
	add_event(r, d);
	if (d->hosted) {
		delete_hosted(d);
		return;
	}
	snprintf(d->host, sizeof(d->host), "%s", r->names.upstream);
	d->job.lane = JOB_SYNC;
	d->job.run = purge; /* owns itself: no `done` */
	job_submit(r->server->jobs, &d->job);
}

const struct handler serve_delete = {.start = start};
