/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_HOOK_H
#define PROXY_HOOK_H
/*
 * Webhooks: who is told what has been pushed, deleted, mounted and pulled.
 *
 *   a change ── its commit ──► rows of cache/event.h ─┐  look (a worker)
 *   a pull ────► memory, bounded, may be dropped ─────┴─► POST (fetch loop)
 *                                                           │ 2xx: the cursor
 *                                                           │ moves on
 *                                       half as many, or one ◄ refused (4xx)
 *                                       less                │
 *                                            pause, doubled ◄ anything else
 *
 * One receiver never waits for another.  Each gets its events in the order of
 * the commits, in batches, at least once.  Nothing here is waited for by a
 * request.
 */
#include "cache/hosted.h"
#include "proxy/hook_text.h"
#include "proxy/request.h"

struct hooks;

/* Built by server.c; it lives on the mirror's fetch loop. */
struct hooks *hooks_new(struct server *s) MUST_CHECK;
/* Take over the configuration of now, and begin.  Any thread. */
void hooks_reload(struct hooks *h);
/* Tell nobody any more; from mirror_stop().  Fetch loop. */
void hooks_close(struct hooks *h);
/* When that loop has gone. */
void hooks_free(struct hooks **h);

/* ---- for who makes events ---- */

/* Does any receiver want such events of this repository?  Any thread. */
bool hooks_want(const struct conf *conf, enum conf_event action,
		const char *repo);

/*
 * The events of one change: made before it, put into `hosting`, and freed
 * when the change has been called for.  Zero it first.
 */
struct hook_list {
	struct hook_origin origin;
	struct slice *v;
	size_t n;
};
/* What the request says of itself.  Own loop of `r`. */
void hook_list_init(struct hook_list *l, const struct request *r);
/* Any thread; nothing if hook_list_init() was not called. */
void hook_list_add(struct hook_list *l, const struct hook_target *t);
void hook_list_into(const struct hook_list *l, struct hosting *h);
void hook_list_release(struct hook_list *l);

/* The same of a change that no request asked for: a command's, by its name. */
void hook_list_command(struct hook_list *l, const struct hooks *h,
		       const char *command);

/* The change has been committed.  Any thread. */
void hooks_wake(struct hooks *h);

/* The name by which the request's repository pulls from here, whichever the
 * client used, into out[REPO_PATH_MAX + 1]. */
void hook_repo(const struct request *r, char *out);

/* A GET of all of it is being answered.  Own loop of `r`. */
void hook_pulled(const struct request *r, bool is_blob, const struct digest *dg,
		 const char *media_type, uint64_t size);

#endif
