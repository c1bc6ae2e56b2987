/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/request.h"

#include "cache/cache.h"
#include "proxy/cors.h"
#include "proxy/permit.h"
#include "proxy/serve_hosted.h"

#include <stdarg.h>

#define BIT(method) (1u << (method))

/* Reading; of mirrored repositories where the endpoint has one. */
static const struct handler *const mirrored[ENDPOINT_LAST] = {
    [ENDPOINT_BASE] = &serve_base,
    [ENDPOINT_BLOB] = &serve_blob,
    [ENDPOINT_MANIFEST] = &serve_manifest,
    [ENDPOINT_TAGS] = &serve_tags,
    [ENDPOINT_REFERRERS] = &serve_referrers,
    [ENDPOINT_CATALOG] = &serve_catalog,
    [ENDPOINT_EXTENSIONS] = &serve_base,
    [ENDPOINT_V1_PING] = &serve_search,
    [ENDPOINT_V1_SEARCH] = &serve_search,
    [ENDPOINT_METRICS] = &serve_base,
    [ENDPOINT_HEALTHZ] = &serve_base,
    [ENDPOINT_READYZ] = &serve_base,
};

/* Reading of hosted repositories, pushing, deleting and purging. */
static const struct handler *const hosted[ENDPOINT_LAST] = {
    [ENDPOINT_BLOB] = &serve_hosted_blob,
    [ENDPOINT_MANIFEST] = &serve_hosted_manifest,
    [ENDPOINT_TAGS] = &serve_hosted_tags,
    [ENDPOINT_REFERRERS] = &serve_hosted_referrers,
};
static const struct handler *const pushes[ENDPOINT_LAST] = {
    [ENDPOINT_MANIFEST] = &push_manifest,
    [ENDPOINT_UPLOADS] = &serve_upload,
    [ENDPOINT_UPLOAD] = &serve_upload,
};
static const struct handler *const deletes[ENDPOINT_LAST] = {
    [ENDPOINT_BLOB] = &serve_delete,
    [ENDPOINT_MANIFEST] = &serve_delete,
};

/* ---- ROUTE ---- */

static bool is_for_operators(enum endpoint endpoint)
{
	return endpoint == ENDPOINT_METRICS || endpoint == ENDPOINT_HEALTHZ ||
	       endpoint == ENDPOINT_READYZ;
}

/* Is this endpoint served by the listener that the request came by? */
static bool is_here(const struct request *r)
{
	enum endpoint endpoint = r->route.endpoint;

	if (conn_role(r->conn)->metrics_only)
		return is_for_operators(endpoint);
	return endpoint != ENDPOINT_METRICS || !r->server->metrics_apart;
}

static void refuse_method(struct request *r, unsigned methods,
			  const char *message)
{
	char allow[ROUTE_ALLOW_MAX];

	reply_begin(r, 405);
	reply_header(r, "Allow", "%s", route_allow(methods, allow));
	reply_send_error(r, CODE_UNSUPPORTED, message, NULL);
}

static bool method_ok(struct request *r)
{
	enum http_method method = r->head->method;
	unsigned methods = r->route.reads | r->route.writes;

	if (BIT(method) & methods)
		return true;
	if (method == HTTP_OPTIONS) {
		cors_reply_options(r, methods);
		return false;
	}
	if (method == HTTP_OTHER) {
		reply_error(r, 501, CODE_UNSUPPORTED,
			    "this method is not implemented", NULL);
		return false;
	}
	refuse_method(r, methods, "this path has no such method");
	return false;
}

/* False: a reply has been sent. */
static bool route(struct request *r)
{
	const struct http_head *head = r->head;
	struct why why;
	enum err err;

	if (span_is(head->path, "*")) { /* OPTIONS, of the server as a whole */
		cors_reply_options(r, BIT(HTTP_GET) | BIT(HTTP_HEAD));
		return false;
	}
	err = route_parse(head->path.ptr, head->path.len, &r->route, &why);
	if (cors_is_preflight(r)) {
		cors_reply_options(r, r->route.reads | r->route.writes);
		return false;
	}
	if (err == ERR_OK && !is_here(r)) {
		reply_error(r, 404, CODE_NAME_UNKNOWN,
			    "there is nothing at this path", NULL);
		return false;
	}
	/* A known endpoint tells first what cannot be done with it. */
	if (err != ERR_NOT_FOUND && !method_ok(r))
		return false;
	if (err != ERR_OK) {
		reply_error(r, err == ERR_NOT_FOUND ? 404 : 400,
			    api_code_find(r->route.code), why.text, NULL);
		return false;
	}
	return true;
}

/* ---- NAMES ---- */

/* The parameter ns as the client means it.  False: a reply has been sent. */
static bool read_ns(struct request *r, const char **ns)
{
	struct span value;
	size_t len;

	*ns = NULL;
	switch (http_query_find(r->head->query, "ns", &value)) {
	case 0:
		return true;
	case 1:
		break;
	default:
		reply_error(r, 400, CODE_NAME_INVALID,
			    "the parameter ns is there more than once", NULL);
		return false;
	}
	if (http_percent_decode(value, r->ns, sizeof(r->ns), &len) != ERR_OK) {
		r->ns[0] = '\0';
		reply_error(r, 400, CODE_NAME_INVALID,
			    "the parameter ns is no registry's host", NULL);
		return false;
	}
	*ns = r->ns;
	return true;
}

/* False: a reply has been sent. */
static bool resolve_name(struct request *r)
{
	const char *ns;

	if (!read_ns(r, &ns))
		return false;
	if (request_resolve(r, ns) != ERR_OK) {
		reply_error(r, 400, CODE_NAME_INVALID, r->names.detail.text,
			    NULL);
		return false;
	}
	return true;
}

uint64_t request_repo(struct request *r, struct index_txn *txn)
{
	uint64_t id;

	const char *host =
	    r->names.kind == NAMES_MIRROR ? r->names.upstream : "";

	if (!r->repo_id && repo_id(txn, host, r->names.repo, &id) == ERR_OK)
		r->repo_id = id;
	return r->repo_id;
}

static void look_up_repo(struct request *r)
{
	struct index_txn *txn = index_read(cache_index(r->server->cache));

	request_repo(r, txn);
	index_read_end(txn);
}

/* ---- PERMIT ---- */

static enum action action_of(const struct request *r)
{
	if (r->route.endpoint == ENDPOINT_UPLOADS ||
	    r->route.endpoint == ENDPOINT_UPLOAD || r->head->method == HTTP_PUT)
		return ACTION_PUSH;
	return r->head->method == HTTP_DELETE ? ACTION_DELETE : ACTION_PULL;
}

/* False: a reply has been sent. */
static bool is_known(struct request *r)
{
	if (r->names.kind != NAMES_UNKNOWN)
		return true;
	reply_error(r, 404, CODE_NAME_UNKNOWN, "this name is not served here",
		    r->names.detail.text);
	return false;
}

/* Purging is no deletion: what is mirrored comes back.  False: a reply has
 * been sent. */
static bool permit_deletion(struct request *r)
{
	if (!is_known(r))
		return false;
	if (r->names.kind == NAMES_HOSTED && !r->conf->delete_hosted) {
		refuse_method(
		    r, r->route.reads | (r->route.writes & ~BIT(HTTP_DELETE)),
		    "deleting is switched off here (\"delete\": "
		    "false)");
		return false;
	}
	return permit(r, ACTION_DELETE);
}

/* May it, with this name?  False: a reply has been sent. */
static bool permit_named(struct request *r, enum action action)
{
	switch (action) {
	case ACTION_PUSH:
		return r->route.endpoint == ENDPOINT_UPLOAD ? permit_upload(r)
							    : permit_push(r);
	case ACTION_DELETE:
		return permit_deletion(r);
	case ACTION_PULL:
		break;
	}
	return is_known(r) && permit(r, ACTION_PULL);
}

/* Of the endpoints without a repository those that tell of some. */
static bool permit_nameless(struct request *r)
{
	if (r->route.endpoint != ENDPOINT_CATALOG &&
	    r->route.endpoint != ENDPOINT_V1_SEARCH)
		return true;
	return permit(r, ACTION_PULL);
}

/* ---- the whole way ---- */

static const struct handler *find_handler(const struct request *r,
					  enum action action)
{
	enum endpoint endpoint = r->route.endpoint;

	switch (action) {
	case ACTION_PUSH:
		return pushes[endpoint];
	case ACTION_DELETE:
		return deletes[endpoint];
	case ACTION_PULL:
		break;
	}
	return r->names.kind == NAMES_HOSTED ? hosted[endpoint]
					     : mirrored[endpoint];
}

static void go(struct request *r)
{
	enum action action;

	if (!route(r))
		return;
	action = action_of(r);
	if (r->route.reference == REFERENCE_DIGEST)
		memcpy(r->witness, r->route.ref, sizeof(r->witness));
	if (r->route.name[0] && r->route.endpoint != ENDPOINT_EXTENSIONS) {
		if (!resolve_name(r) || !permit_named(r, action))
			return;
		look_up_repo(r);
	} else if (!permit_nameless(r)) {
		return;
	}
	r->handler = find_handler(r, action);
	assert(r->handler); /* route() lets nothing pass that has none */
	r->handler->start(r);
}

static uint64_t next_id(void)
{
	static uint64_t last;

	return __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
}

struct request *request_start(struct conn *c, const struct http_head *head)
{
	struct request *r = xcalloc(1, sizeof(*r));

	r->conn = c;
	r->server = conn_server(c);
	r->loop = conn_loop(c);
	r->id = next_id();
	r->started_us = now_us();
	r->conf = conf_ref(serve_conf(server_serve(r->server, r->loop)));
	r->head = head;
	r->is_head = head->method == HTTP_HEAD;
	r->handle = loop_register(r->loop, r, REQUEST_MAGIC);
	go(r);
	return r;
}

static void request_free(struct request *r)
{
	if (r->handler && r->handler->release)
		r->handler->release(r);
	request_see_release(r);
	loop_unregister(r->loop, &r->handle);
	conf_unref(&r->conf);
	free(r);
}

void request_sent(struct request *r, bool whole, uint64_t body_bytes)
{
	if (!whole)
		request_log(r, LOG_DEBUG, "cut off after %" PRIu64 " bytes",
			    body_bytes);
	access_note(r, body_bytes);
	request_free(r);
}

void request_gone(struct request *r)
{
	access_note(r, 0);
	request_free(r);
}

void request_refuse(struct conn *c, unsigned status, const char *sentence)
{
	struct serve *serve = server_serve(conn_server(c), conn_loop(c));
	size_t len = reply_refusal(c, status, sentence);

	access_note_refused(c, serve_conf(serve), status, len);
}

/* ---- for the handlers ---- */

static void come_home(const struct request *r, struct job *job)
{
	job->home = r->loop;
	job->to = r->handle;
	job->magic = REQUEST_MAGIC;
}

void request_submit(const struct request *r, struct job *job)
{
	come_home(r, job);
	job_submit(r->server->jobs, job);
}

void request_submit_on(const struct request *r, struct strand *strand,
		       struct job *job)
{
	come_home(r, job);
	job_submit_on(strand, job);
}

struct way_home request_way_home(const struct request *r,
				 void (*run)(struct message *msg, void *object))
{
	return (struct way_home){
	    .msg = {.to = r->handle, .magic = REQUEST_MAGIC, .run = run},
	    .loop = r->loop,
	};
}

void way_home_go(struct way_home *home)
{
	loop_post(home->loop, &home->msg);
}

bool request_query(const struct request *r, const char *name, char *out,
		   size_t size)
{
	struct span value;
	size_t len;

	return http_query_find(r->head->query, name, &value) == 1 &&
	       http_percent_decode(value, out, size, &len) == ERR_OK;
}

void request_log(const struct request *r, enum log_level level, const char *fmt,
		 ...)
{
	char text[512], target[256];
	struct span method = r->head->method_name;
	va_list ap;

	if (!log_wants(level))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_escape(r->head->target.ptr, r->head->target.len, target,
		   sizeof(target));
	log_line(level, "#%" PRIu64 " %s %.*s \"%s\": %s", r->id,
		 conn_peer(r->conn), (int)MIN(method.len, (size_t)32),
		 method.ptr, target, text);
}
