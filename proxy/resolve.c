/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/resolve_int.h"

#include <netdb.h>
#include <netinet/in.h>

#define LOOKUPS_MAX 1024

struct lookup {
	LIST_ENTRY(lookup) link;
	struct resolver *resolver;
	char *host;
	struct resolve_task *task; /* under way; NULL: none */
	struct timer late;         /* when that is late */
	bool failed;               /* the last lookup did, or is late */
	struct resolved good;
	uint64_t good_ms; /* when it was had; 0 = never */
	LIST_HEAD(, resolution) waiters;
};

struct resolution {
	LIST_ENTRY(resolution) link;
	struct resolver *resolver;
	struct lookup *lookup; /* NULL: a literal, or answered */
	uint16_t port;
	struct timer timer; /* the deadline, or when the old answer serves */
	bool late_serves;
	struct resolved literal;
	resolve_cb *cb;
	void *arg;
};

struct resolver {
	struct loop *loop;
	struct resolve_queue *queue;
	struct resolver_options opt;
	LIST_HEAD(, lookup) lookups;
	unsigned n_lookups;
};

/* ---- answers ---- */

static void resolution_free(struct resolution *r)
{
	if (r->lookup)
		LIST_REMOVE(r, link);
	timer_release(&r->timer);
	free(r);
}

static void set_port(struct resolved *found, uint16_t port)
{
	for (unsigned i = 0; i < found->n; i++) {
		void *p = &found->addr[i];

		if (found->addr[i].ss_family == AF_INET)
			((struct sockaddr_in *)p)->sin_port = htons(port);
		else
			((struct sockaddr_in6 *)p)->sin6_port = htons(port);
	}
}

static void answer(struct resolution *r, enum err err,
		   const struct resolved *found, const struct why *why)
{
	struct resolved copy = {0};
	struct why none = {{0}};
	resolve_cb *cb = r->cb;
	void *arg = r->arg;
	uint16_t port = r->port;

	if (found)
		copy = *found;
	set_port(&copy, port);
	resolution_free(r);
	cb(arg, err, &copy, why ? why : &none);
}

static enum err task_error(const struct resolve_task *t, struct why *why)
{
	if (t->error == 0 && t->found.n)
		return ERR_OK;
	if (t->error == EAI_NONAME || t->error == EAI_NODATA || !t->error)
		return why_set(why, ERR_NOT_FOUND, "there is no host %s",
			       t->host);
	return why_set(why, ERR_UNAVAILABLE, "cannot look up %s: %s", t->host,
		       gai_strerror(t->error));
}

static struct lookup *lookup_find(struct resolver *rs, const char *host)
{
	struct lookup *l;

	LIST_FOREACH (l, &rs->lookups, link)
		if (strcmp(l->host, host) == 0)
			return l;
	return NULL;
}

static void lookup_home(struct message *msg, void *object)
{
	struct resolve_task *t = container_of(msg, struct resolve_task, msg);
	struct resolver *rs = resolve_task_resolver(t);
	struct lookup *l = rs ? lookup_find(rs, t->host) : NULL;
	struct resolution *r;
	struct why why = {{0}};
	enum err err = task_error(t, &why);

	(void)object;
	if (!l) {
		resolve_task_free(t);
		return;
	}
	l->task = NULL;
	timer_clear(&l->late);
	l->failed = err != ERR_OK;
	if (!err) {
		l->good = t->found;
		l->good_ms = loop_now_ms(rs->loop);
	}
	/* A name that had addresses and fails now: the last good ones. */
	if (err && l->good.n)
		err = ERR_OK;
	while ((r = LIST_FIRST(&l->waiters)))
		answer(r, err, err ? NULL : &l->good, &why);
	resolve_task_free(t);
}

/* ---- asking ---- */

static void lookup_free(struct lookup *l)
{
	assert(LIST_EMPTY(&l->waiters));
	LIST_REMOVE(l, link);
	timer_release(&l->late);
	free(l->host);
	free(l);
}

/* Forget names that nobody has asked for lately: the one used longest ago is
 * last, because lookup_get() moves what it finds to the front. */
static void forget_one(struct resolver *rs)
{
	struct lookup *l, *victim = NULL;

	LIST_FOREACH (l, &rs->lookups, link)
		if (!l->task && LIST_EMPTY(&l->waiters))
			victim = l;
	if (!victim)
		return;
	rs->n_lookups--;
	lookup_free(victim);
}

static void lookup_late(void *arg);

static struct lookup *lookup_get(struct resolver *rs, const char *host)
{
	struct lookup *l = lookup_find(rs, host);

	if (l) {
		LIST_REMOVE(l, link);
	} else {
		if (rs->n_lookups >= LOOKUPS_MAX)
			forget_one(rs);
		l = xcalloc(1, sizeof(*l));
		l->resolver = rs;
		l->host = xstrdup(host);
		LIST_INIT(&l->waiters);
		timer_init(&l->late, rs->loop, lookup_late, l);
		rs->n_lookups++;
	}
	LIST_INSERT_HEAD(&rs->lookups, l, link);
	return l;
}

static void lookup_start(struct resolver *rs, struct lookup *l)
{
	struct resolve_task *t = xcalloc(1, sizeof(*t));

	l->task = t;
	t->host = xstrdup(l->host);
	t->failing = l->failed;
	t->msg.run = lookup_home;
	if (!t->failing) /* those have their half already */
		timer_set(&l->late, rs->opt.late_ms);
	resolve_queue_put(rs->queue, t);
}

static void lookup_late(void *arg)
{
	struct lookup *l = arg;
	struct resolver *rs = l->resolver;

	if (!l->task)
		return;
	if (resolve_queue_late(rs->queue, l->task))
		l->failed = true;
	else
		timer_set(&l->late, rs->opt.late_ms);
}

static void resolution_fire(void *arg)
{
	struct resolution *r = arg;
	struct why why;

	if (!r->lookup) {
		answer(r, ERR_OK, &r->literal, NULL);
	} else if (r->late_serves) {
		answer(r, ERR_OK, &r->lookup->good, NULL);
	} else {
		why_set(&why, ERR_TIMEOUT, "the lookup of %s takes too long",
			r->lookup->host);
		answer(r, ERR_TIMEOUT, NULL, &why);
	}
}

struct resolution *resolve_start(struct resolver *rs, const char *host,
				 uint16_t port, uint64_t timeout_ms,
				 resolve_cb *cb, void *arg)
{
	struct resolution *r = xcalloc(1, sizeof(*r));
	struct lookup *l;
	bool fresh;

	loop_assert(rs->loop);
	r->resolver = rs;
	r->port = port;
	r->cb = cb;
	r->arg = arg;
	timer_init(&r->timer, rs->loop, resolution_fire, r);
	if (address_parse(host, port, &r->literal.addr[0])) {
		r->literal.n = 1;
		timer_set(&r->timer, 0);
		return r;
	}
	l = lookup_get(rs, host);
	fresh =
	    l->good.n && loop_now_ms(rs->loop) - l->good_ms < rs->opt.fresh_ms;
	r->lookup = l;
	r->late_serves = l->good.n > 0;
	LIST_INSERT_HEAD(&l->waiters, r, link);
	if (!fresh && !l->task)
		lookup_start(rs, l);
	timer_set(&r->timer, fresh            ? 0
			     : r->late_serves ? MIN(rs->opt.late_ms, timeout_ms)
					      : timeout_ms);
	return r;
}

void resolve_cancel(struct resolution **r)
{
	if (!*r)
		return;
	resolution_free(*r);
	*r = NULL;
}

/* ---- the resolver ---- */

struct resolver *resolver_new(struct loop *l,
			      const struct resolver_options *opt)
{
	struct resolver *rs = xcalloc(1, sizeof(*rs));

	rs->loop = l;
	rs->opt.fresh_ms = opt->fresh_ms ? opt->fresh_ms : 30000;
	rs->opt.late_ms = opt->late_ms ? opt->late_ms : 500;
	LIST_INIT(&rs->lookups);
	rs->queue = resolve_queue_new(l, rs, opt->threads ? opt->threads : 4);
	return rs;
}

void resolver_free(struct resolver **rsp)
{
	struct resolver *rs = *rsp;
	struct lookup *l;

	if (!rs)
		return;
	*rsp = NULL;
	resolve_queue_close(&rs->queue);
	while ((l = LIST_FIRST(&rs->lookups)))
		lookup_free(l);
	free(rs);
}
