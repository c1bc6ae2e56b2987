/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/resolve_int.h"

#include "proxy/thread.h"

#include <netdb.h>

#define THREADS_MAX 64

STAILQ_HEAD(tasks, resolve_task);

/* Shared with the threads, and freed by the last of them: one that hangs in
 * getaddrinfo(3) may outlive the resolver. */
struct resolve_queue {
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

void resolve_task_free(struct resolve_task *t)
{
	free(t->host);
	free(t);
}

/* ---- threads ---- */

static void collect(struct resolve_task *t, const struct addrinfo *list)
{
	for (; list && t->found.n < RESOLVED_MAX; list = list->ai_next) {
		if (list->ai_addrlen > sizeof(t->found.addr[0]))
			continue;
		memcpy(&t->found.addr[t->found.n++], list->ai_addr,
		       list->ai_addrlen);
	}
}

static void task_run(struct resolve_task *t)
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
static struct resolve_task *queue_take(struct resolve_queue *q)
{
	struct resolve_task *t = STAILQ_FIRST(&q->good);

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
static bool has_enough_threads(const struct resolve_queue *q)
{
	return q->threads - q->late >= q->threads_wanted ||
	       q->threads >= THREADS_MAX;
}

/* One too many, when those that were late are back.  Under mu. */
static bool is_spare(const struct resolve_queue *q)
{
	return q->threads - q->late > q->threads_wanted;
}

static void task_begins(struct resolve_queue *q, struct resolve_task *t)
{
	t->running = true;
	if (t->failing)
		q->failing_running++;
}

static void task_ends(struct resolve_queue *q, struct resolve_task *t)
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
static void queue_unref(struct resolve_queue *q)
{
	bool last = --q->refs == 0;

	pthread_mutex_unlock(&q->mu);
	if (!last)
		return;
	pthread_cond_destroy(&q->wake);
	pthread_mutex_destroy(&q->mu);
	free(q);
}

static void *resolver_thread(void *arg)
{
	struct resolve_queue *q = arg;
	struct resolve_task *t;

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
			resolve_task_free(t);
		} else {
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

/* ---- the loop's side ---- */

void resolve_queue_put(struct resolve_queue *q, struct resolve_task *t)
{
	t->queue = q;
	pthread_mutex_lock(&q->mu);
	if (t->failing)
		STAILQ_INSERT_TAIL(&q->failing, t, link);
	else
		STAILQ_INSERT_TAIL(&q->good, t, link);
	pthread_cond_signal(&q->wake);
	pthread_mutex_unlock(&q->mu);
}

struct resolver *resolve_task_resolver(struct resolve_task *t)
{
	struct resolve_queue *q = t->queue;
	struct resolver *rs;

	pthread_mutex_lock(&q->mu);
	rs = q->resolver;
	queue_unref(q); /* the task's */
	return rs;
}

/* Under mu, which it gives back. */
static void write_off(struct resolve_queue *q, struct resolve_task *t)
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

bool resolve_queue_late(struct resolve_queue *q, struct resolve_task *t)
{
	pthread_mutex_lock(&q->mu);
	if (t->running) {
		write_off(q, t);
		return true;
	}
	pthread_mutex_unlock(&q->mu);
	return false;
}

/* ---- life ---- */

struct resolve_queue *resolve_queue_new(struct loop *l, struct resolver *rs,
					unsigned threads)
{
	struct resolve_queue *q = xcalloc(1, sizeof(*q));
	unsigned n = MAX(threads, 2); /* half of one thread is none */

	pthread_mutex_init(&q->mu, NULL);
	pthread_cond_init(&q->wake, NULL);
	STAILQ_INIT(&q->good);
	STAILQ_INIT(&q->failing);
	q->failing_max = n / 2;
	q->threads = q->threads_wanted = n;
	q->loop = l;
	q->resolver = rs;
	q->refs = n + 1;
	for (unsigned i = 0; i < n; i++)
		pthread_detach(thread_start("resolve", resolver_thread, q));
	return q;
}

static void drop_tasks(struct tasks *tasks)
{
	struct resolve_task *t;

	while ((t = STAILQ_FIRST(tasks))) {
		STAILQ_REMOVE_HEAD(tasks, link);
		resolve_task_free(t);
	}
}

void resolve_queue_close(struct resolve_queue **qp)
{
	struct resolve_queue *q = *qp;

	*qp = NULL;
	pthread_mutex_lock(&q->mu);
	q->closed = true;
	q->loop = NULL;
	q->resolver = NULL;
	drop_tasks(&q->good);
	drop_tasks(&q->failing);
	pthread_cond_broadcast(&q->wake);
	queue_unref(q);
}
