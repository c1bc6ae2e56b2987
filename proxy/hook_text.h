/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_HOOK_TEXT_H
#define PROXY_HOOK_TEXT_H
/*
 * Events as text, in the envelope that Docker's registry documents
 * ("notifications"), field by field:
 *
 *   {"events":[{"id","timestamp","action",
 *     "target":{"mediaType","digest","size","length","repository",
 *               "fromRepository","url","tag"},
 *     "request":{"id","addr","host","method","useragent"},
 *     "actor":{"name"}, "source":{"addr","instanceID"}}]}
 *
 * As there, a field that says nothing is left out.  In the queue (and in
 * memory) an event has a line before it that says who wants it:
 *
 *   <action> SP <repository> LF <the event, one JSON object>
 *
 * Pure functions, but for the clock and the kernel's random numbers.
 */
#include "cache/digest.h"
#include "proxy/conf.h"

/* What Docker's registry 2.x sends, and receivers therefore look for; 3.x
 * calls the same fields v2.  An endpoint's "headers" may say another one. */
#define HOOK_MEDIA_TYPE "application/vnd.docker.distribution.events.v1+json"

#define UUID_TEXT_SIZE 37
/* A random UUID (version 4); returns out. */
char *uuid_text(char out[UUID_TEXT_SIZE]);

/* What the events of one request have in common. */
struct hook_request {
	const char *id, *addr, *host, *method, *useragent;
	const char *actor; /* NULL: nobody is known */
	const char *source, *instance;
	bool https; /* the client's end of the connection is */
};

struct hook_origin {
	char *fields; /* "request", "actor" and "source", rendered */
	char *base;   /* "http://host", or NULL */
};
/* The caller calls hook_origin_release(). */
void hook_origin_init(struct hook_origin *o, const struct hook_request *r);
void hook_origin_release(struct hook_origin *o);

struct hook_target {
	enum conf_event action;
	const char *repo;
	const char *from;        /* NULL: none */
	const char *tag;         /* NULL: none */
	const char *media_type;  /* NULL: unknown */
	const struct digest *dg; /* NULL: unknown */
	bool is_blob;
	bool has_size;
	uint64_t size;
};
/* One event with its line; malloc'd, *len without the NUL. */
char *hook_event_text(const struct hook_origin *o, const struct hook_target *t,
		      size_t *len) MUST_CHECK;

/* The line of an event: its action and repository (into repo[size]); `rest`
 * is the event.  False: not one of ours. */
bool hook_event_line(const char *text, size_t len, enum conf_event *action,
		     char *repo, size_t size, const char **rest,
		     size_t *rest_len) MUST_CHECK;

/* How long to wait after the `failures`th failure in a row (from 1). */
uint64_t hook_pause_ms(unsigned failures, uint64_t min_ms, uint64_t max_ms);

#endif
