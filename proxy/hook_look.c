/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/event.h"
#include "proxy/hook_int.h"

/* Events that one look reads in its snapshot. */
#define LOOK_ROWS 1000

struct look {
	struct job job;
	struct cache *cache;
	struct conf *conf;
	char *name;
	uint64_t told;
	struct look_result result;

	/* ---- of the walk ---- */
	const struct conf_hook *hook;
	unsigned rows;
};

static bool is_wanted(const struct look *l, struct slice text,
		      const char **event, size_t *len)
{
	char repo[REPO_PATH_MAX + 1];
	enum conf_event action;

	return hook_event_line((const char *)text.ptr, text.len, &action, repo,
			       sizeof(repo), event, len) &&
	       (l->hook->actions & action) && conf_hook_wants(l->hook, repo);
}

static bool look_at(void *arg, uint64_t seq, struct slice text)
{
	struct look *l = arg;
	struct look_result *res = &l->result;
	const char *event;
	size_t len;

	if (l->rows++ == LOOK_ROWS)
		return false;
	if (is_wanted(l, text, &event, &len) &&
	    !hook_batch_add(&res->batch, event, len))
		return false;
	/* The oldest go where there are too many: numbers are missing. */
	if (!res->upto && res->next && seq > res->next)
		res->lost = seq - res->next;
	if (!res->upto && seq > res->next)
		res->next = seq;
	res->upto = seq;
	return true;
}

static void read_queue(struct look *l)
{
	struct index_txn *txn = index_read(cache_index(l->cache));
	uint64_t cursor = event_cursor(txn, l->name);

	if (cursor >= l->result.next)
		l->result.next = cursor ? cursor + 1 : 0;
	l->result.err = event_walk(txn, cursor, look_at, l);
	index_read_end(txn);
	hook_batch_end(&l->result.batch);
}

static const struct conf_hook *find_hook(const struct conf *conf,
					 const char *name)
{
	const struct conf_hooks *all = &conf->notifications.endpoints;

	for (size_t i = 0; i < all->n; i++)
		if (strcmp(all->v[i].name, name) == 0)
			return &all->v[i];
	return NULL;
}

static void run(struct job *job)
{
	struct look *l = container_of(job, struct look, job);
	const char **names = hook_names(l->conf);

	l->hook = find_hook(l->conf, l->name);
	if (l->told)
		l->result.err = event_told(l->cache, l->name, l->told, names,
					   l->conf->notifications.endpoints.n,
					   l->conf->notifications.queue_max);
	free(names);
	if (l->result.err == ERR_OK)
		read_queue(l);
}

static void done(struct job *job, void *object)
{
	struct look *l = container_of(job, struct look, job);

	if (object)
		receiver_looked(object, &l->result);
	hook_batch_release(&l->result.batch);
	conf_unref(&l->conf);
	free(l->name);
	free(l);
}

void receiver_look(struct receiver *r, uint64_t told)
{
	struct look *l = xcalloc(1, sizeof(*l));
	struct hooks *h = r->hooks;

	r->state = RECEIVER_LOOKING;
	r->again = false;
	l->cache = h->server->cache;
	l->conf = conf_ref(h->conf);
	l->name = xstrdup(r->name);
	l->told = told;
	l->result.next = r->next;
	l->result.batch.max = r->batch_max;
	l->job.lane = JOB_SYNC;
	l->job.run = run;
	l->job.done = done;
	l->job.home = h->loop;
	l->job.to = r->handle;
	l->job.magic = RECEIVER_MAGIC;
	job_submit(h->server->jobs, &l->job);
}

/* ---- the bound ---- */

struct tidy {
	struct job job;
	struct hooks *hooks;
	struct conf *conf;
};

static void tidy_run(struct job *job)
{
	struct tidy *t = container_of(job, struct tidy, job);
	const struct conf *conf = t->conf;
	const char **names = hook_names(conf);

	/* No space, or no index: it is tried again as events come. */
	(void)!event_told(t->hooks->server->cache, "", 0, names,
			  conf->notifications.endpoints.n,
			  conf->notifications.queue_max);
	free(names);
	conf_unref(&t->conf);
	__atomic_store_n(&t->hooks->tidying, false, __ATOMIC_RELEASE);
	free(t);
}

void hooks_tidy(struct hooks *h, struct conf *conf)
{
	struct tidy *t;

	if (__atomic_exchange_n(&h->tidying, true, __ATOMIC_ACQ_REL))
		return;
	t = xcalloc(1, sizeof(*t));
	t->hooks = h;
	t->conf = conf_ref(conf);
	t->job.lane = JOB_SYNC;
	t->job.run = tidy_run; /* owns itself: no `done` */
	job_submit(h->server->jobs, &t->job);
}
