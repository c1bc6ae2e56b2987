/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   fetch loop                          resolver threads
 *   resolution ─► lookup (one a name) ──► queue ──► getaddrinfo(3)
 *        ◄── answered by lookup_home() ◄── message ──┘
 *
 * The table of lookups and everything in it belong to the fetch loop; the
 * queue, behind its mutex, holds tasks that carry their own copy of the name.
 *
 * A name not yet known to fail may hang all the same.  After `late_ms` its
 * thread is written off, and another one takes the place: of n threads that
 * are not late, n/2 at least are for names that have not failed.
 */
#include "proxy/resolve.h"

#include "proxy/thread.h"

#include <netdb.h>
#include <netinet/in.h>

#define LOOKUPS_MAX 1024
#define THREADS_MAX 64

struct lookup {
	LIST_ENTRY(lookup) link;
	struct resolver *resolver;
	char *host;
	struct task *task; /* under way; NULL: none */
	struct timer late; /* when that is late */
	bool failed;       /* the last lookup did, or is late */
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

/* One call of getaddrinfo(3). */
struct task {
	struct message msg; /* the way home */
	STAILQ_ENTRY(task) link;
	struct queue *queue;
	char *host;
	bool failing;       /* its name did the last time */
	bool running, late; /* in getaddrinfo(3); under the queue's mu */
	struct resolved found;
	int error; /* EAI_* */
};
STAILQ_HEAD(tasks, task);

/* Shared with the threads, and freed by the last of them: one that hangs in
 * getaddrinfo(3) may outlive the resolver. */
struct queue {
	pthread_mutex_t mu; /* guards all below */
	pthread_cond_t wake;
	struct tasks good, failing;
	unsigned failing_running, failing_max;
	unsigned threads, late, threads_wanted;
	unsigned refs;
	bool closed;
	struct loop *loop;         /* NULL once closed */
	struct resolver *resolver; /* read on its loop only */
};

struct resolver {
	struct loop *loop;
	struct queue *queue;
	struct resolver_options opt;
	LIST_HEAD(, lookup) lookups;
	unsigned n_lookups;
};

/* ---- threads ---- */

static void task_free(struct task *t)
{
	free(t->host);
	free(t);
}

static void collect(struct task *t, const struct addrinfo *list)
{
	for (; list && t->found.n < RESOLVED_MAX; list = list->ai_next) {
		if (list->ai_addrlen > sizeof(t->found.addr[0]))
			continue;
		memcpy(&t->found.addr[t->found.n++], list->ai_addr,
		       list->ai_addrlen);
	}
}

static void task_run(struct task *t)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC,
				 .ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_ADDRCONFIG};
	struct addrinfo *list = NULL;

	t->error = getaddrinfo(t->host, NULL, &hints, &list);
	if (t->error == 0) {
		collect(t, list);
		freeaddrinfo(list);
	}
}

/* The next task this thread may run; names that failed last time use at most
 * half of the threads.  Under mu. */
static struct task *queue_take(struct queue *q)
{
	struct task *t = STAILQ_FIRST(&q->good);

	if (t) {
		STAILQ_REMOVE_HEAD(&q->good, link);
		return t;
	}
	t = STAILQ_FIRST(&q->failing);
	if (t && q->failing_running < q->failing_max) {
		STAILQ_REMOVE_HEAD(&q->failing, link);
		return t;
	}
	return NULL;
}

/* Under mu. */
static bool has_enough_threads(const struct queue *q)
{
	return q->threads - q->late >= q->threads_wanted ||
	       q->threads >= THREADS_MAX;
}

/* One too many, when those that were late are back.  Under mu. */
static bool is_spare(const struct queue *q)
{
	return q->threads - q->late > q->threads_wanted;
}

static void task_begins(struct queue *q, struct task *t)
{
	t->running = true;
	if (t->failing)
		q->failing_running++;
}

static void task_ends(struct queue *q, struct task *t)
{
	t->running = false;
	if (t->late)
		q->late--;
	if (!t->failing)
		return;
	q->failing_running--;
	pthread_cond_signal(&q->wake);
}

/* Under mu, which it gives back. */
static void queue_unref(struct queue *q)
{
	bool last = --q->refs == 0;

	pthread_mutex_unlock(&q->mu);
	if (!last)
		return;
	pthread_cond_destroy(&q->wake);
	pthread_mutex_destroy(&q->mu);
	free(q);
}

static void lookup_home(struct message *msg, void *object);

static void *resolver_thread(void *arg)
{
	struct queue *q = arg;
	struct task *t;

	pthread_mutex_lock(&q->mu);
	while (!q->closed && !is_spare(q)) {
		t = queue_take(q);
		if (!t) {
			pthread_cond_wait(&q->wake, &q->mu);
			continue;
		}
		task_begins(q, t);
		pthread_mutex_unlock(&q->mu);
		task_run(t);
		pthread_mutex_lock(&q->mu);
		task_ends(q, t);
		if (q->closed) {
			task_free(t);
		} else {
			t->msg.run = lookup_home;
			q->refs++; /* the task's */
			loop_post(q->loop, &t->msg);
		}
	}
	q->threads--;
	/* It may have been woken for a task that another must take now. */
	pthread_cond_signal(&q->wake);
	queue_unref(q);
	return NULL;
}

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

static enum err task_error(const struct task *t, struct why *why)
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

/* The resolver, unless it has gone; gives a task's reference back. */
static struct resolver *queue_resolver(struct queue *q)
{
	struct resolver *rs;

	pthread_mutex_lock(&q->mu);
	rs = q->resolver;
	queue_unref(q);
	return rs;
}

static void lookup_home(struct message *msg, void *object)
{
	struct task *t = container_of(msg, struct task, msg);
	struct resolver *rs = queue_resolver(t->queue);
	struct lookup *l = rs ? lookup_find(rs, t->host) : NULL;
	struct resolution *r;
	struct why why = {{0}};
	enum err err = task_error(t, &why);

	(void)object;
	if (!l) {
		task_free(t);
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
	task_free(t);
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
	struct task *t = xcalloc(1, sizeof(*t));
	struct queue *q = rs->queue;

	l->task = t;
	t->host = xstrdup(l->host);
	t->failing = l->failed;
	t->queue = q;
	if (!t->failing) /* those have their half already */
		timer_set(&l->late, rs->opt.late_ms);
	pthread_mutex_lock(&q->mu);
	if (t->failing)
		STAILQ_INSERT_TAIL(&q->failing, t, link);
	else
		STAILQ_INSERT_TAIL(&q->good, t, link);
	pthread_cond_signal(&q->wake);
	pthread_mutex_unlock(&q->mu);
}

/* Under mu, which it gives back. */
static void write_off(struct queue *q, struct task *t)
{
	bool more;

	t->late = true;
	q->late++;
	more = !has_enough_threads(q);
	if (more) {
		q->threads++;
		q->refs++;
	}
	pthread_mutex_unlock(&q->mu);
	if (!more || thread_try("resolve", resolver_thread, q))
		return;
	pthread_mutex_lock(&q->mu);
	q->threads--;
	queue_unref(q);
}

static void lookup_late(void *arg)
{
	struct lookup *l = arg;
	struct queue *q = l->resolver->queue;

	if (!l->task)
		return;
	pthread_mutex_lock(&q->mu);
	if (l->task->running) {
		l->failed = true;
		write_off(q, l->task);
		return;
	}
	pthread_mutex_unlock(&q->mu);
	/* Still in the queue, or on its way home. */
	timer_set(&l->late, l->resolver->opt.late_ms);
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
	struct queue *q = xcalloc(1, sizeof(*q));
	unsigned n = opt->threads ? opt->threads : 4;

	rs->loop = l;
	rs->opt.fresh_ms = opt->fresh_ms ? opt->fresh_ms : 30000;
	rs->opt.late_ms = opt->late_ms ? opt->late_ms : 500;
	LIST_INIT(&rs->lookups);
	pthread_mutex_init(&q->mu, NULL);
	pthread_cond_init(&q->wake, NULL);
	STAILQ_INIT(&q->good);
	STAILQ_INIT(&q->failing);
	n = MAX(n, 2); /* half of one thread is none */
	q->failing_max = n / 2;
	q->threads = q->threads_wanted = n;
	q->loop = l;
	q->resolver = rs;
	rs->queue = q;
	q->refs = n + 1;
	for (unsigned i = 0; i < n; i++)
		pthread_detach(thread_start("resolve", resolver_thread, q));
	return rs;
}

static void drop_tasks(struct tasks *tasks)
{
	struct task *t;

	while ((t = STAILQ_FIRST(tasks))) {
		STAILQ_REMOVE_HEAD(tasks, link);
		task_free(t);
	}
}

void resolver_free(struct resolver **rsp)
{
	struct resolver *rs = *rsp;
	struct lookup *l;
	struct queue *q;

	if (!rs)
		return;
	*rsp = NULL;
	q = rs->queue;
	pthread_mutex_lock(&q->mu);
	q->closed = true;
	q->loop = NULL;
	q->resolver = NULL;
	drop_tasks(&q->good);
	drop_tasks(&q->failing);
	pthread_cond_broadcast(&q->wake);
	queue_unref(q);
	while ((l = LIST_FIRST(&rs->lookups)))
		lookup_free(l);
	free(rs);
}
