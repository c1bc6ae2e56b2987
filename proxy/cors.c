/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/cors.h"

#include "proxy/reply.h"

/* How long a browser may remember a preflight, in seconds. */
#define MAX_AGE_S 600
/* More names of fields than this are not repeated. */
#define REQUEST_HEADERS_MAX 1024

/* What a page may read of a reply besides the few that it always may. */
static const char exposed[] =
    "Docker-Content-Digest, Docker-Distribution-Api-Version, "
    "Docker-Upload-UUID, WWW-Authenticate, Link, Location, Range, "
    "Content-Range, Accept-Ranges, ETag, Age, Warning, Retry-After, "
    "OCI-Subject, OCI-Filters-Applied, OCI-Tag, OCI-Namespace, "
    "OCI-Chunk-Min-Length, X-Cache";

/* It is going to stand in a header. */
static bool is_visible(struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] <= 0x20 || s.ptr[i] >= 0x7f)
			return false;
	}
	return s.len > 0;
}

bool cors_allows(const struct conf *conf, struct span origin)
{
	const struct conf_strings *list = &conf->cors.origins;

	if (origin.len > CORS_ORIGIN_MAX || !is_visible(origin))
		return false;
	for (size_t i = 0; i < list->n; i++) {
		if (strcmp(list->v[i], "*") == 0 || span_is(origin, list->v[i]))
			return true;
	}
	return false;
}

/* The origin of a request, if CORS allows it; ptr NULL: none. */
static struct span allowed_origin(const struct request *r)
{
	struct span origin = http_head_find(r->head, "origin");

	if (origin.ptr && (http_head_count(r->head, "origin") > 1 ||
			   !cors_allows(r->conf, origin)))
		origin.ptr = NULL;
	return origin;
}

bool cors_is_foreign(const struct request *r, struct span *out)
{
	*out = http_head_find(r->head, "origin");
	return out->ptr && !allowed_origin(r).ptr;
}

void cors_add(struct request *r)
{
	struct span origin;

	if (r->conf->cors.origins.n == 0)
		return;
	/* The reply to another origin, or to none, is another one. */
	reply_header(r, "Vary", "Origin");
	origin = allowed_origin(r);
	if (!origin.ptr)
		return;
	reply_header(r, "Access-Control-Allow-Origin", "%.*s", (int)origin.len,
		     origin.ptr);
	if (r->conf->cors.credentials)
		reply_header(r, "Access-Control-Allow-Credentials", "true");
	if (r->head->method != HTTP_OPTIONS)
		reply_header(r, "Access-Control-Expose-Headers", "%s", exposed);
}

bool cors_is_preflight(const struct request *r)
{
	return r->head->method == HTTP_OPTIONS &&
	       http_head_find(r->head, "origin").ptr &&
	       http_head_find(r->head, "access-control-request-method").ptr;
}

/* 1#field-name, and not endless. */
static bool is_name_list(struct span list)
{
	struct span element;

	if (list.len > REQUEST_HEADERS_MAX)
		return false;
	while (http_list_next(&list, &element)) {
		if (!http_is_token(element))
			return false;
	}
	return true;
}

/* Any field is good enough for us, so those that are asked for are allowed. */
static void allow_fields(struct request *r)
{
	struct span asked =
	    http_head_find(r->head, "access-control-request-headers");

	if (asked.ptr && asked.len > 0 && is_name_list(asked))
		reply_header(r, "Access-Control-Allow-Headers", "%.*s",
			     (int)asked.len, asked.ptr);
	/* A public page that asks for an address on a private network. */
	if (http_head_find(r->head, "access-control-request-private-network")
		.ptr)
		reply_header(r, "Access-Control-Allow-Private-Network", "true");
}

void cors_reply_options(struct request *r, unsigned methods)
{
	char allow[ROUTE_ALLOW_MAX];

	reply_begin(r, 204);
	reply_header(r, "Allow", "%s",
		     route_allow(methods | 1u << HTTP_OPTIONS, allow));
	if (cors_is_preflight(r) && allowed_origin(r).ptr) {
		reply_header(r, "Access-Control-Allow-Methods",
			     "GET, HEAD, POST, PUT, PATCH, DELETE");
		allow_fields(r);
		reply_header(r, "Access-Control-Max-Age", "%d", MAX_AGE_S);
	}
	reply_send(r, 0, NULL);
}
