/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/hook.h"

#include "cache/event.h"
#include "proxy/hook_int.h"

#include <unistd.h>

/* Who waits is woken by what is put behind it; past the bound by so much the
 * queue is cut, so that not each event costs a commit of its own. */
#define SLACK_MAX 100

const struct conf_hook *receiver_conf(const struct receiver *r)
{
	const struct conf_hooks *all = &r->hooks->conf->notifications.endpoints;

	for (size_t i = 0; i < all->n; i++)
		if (strcmp(all->v[i].name, r->name) == 0)
			return &all->v[i];
	return NULL;
}

const char **hook_names(const struct conf *conf)
{
	const struct conf_hooks *all = &conf->notifications.endpoints;
	const char **names = xcalloc(all->n + 1, sizeof(*names));

	for (size_t i = 0; i < all->n; i++)
		names[i] = all->v[i].name;
	return names;
}

/* ---- being woken ---- */

/* Each pull, to each receiver that wants it. */
static void hand_out(struct hooks *h, const struct hook_pull *p)
{
	char repo[REPO_PATH_MAX + 1];
	enum conf_event action;
	struct receiver *r;
	const char *event;
	size_t len;

	if (!hook_event_line(p->text, p->len, &action, repo, sizeof(repo),
			     &event, &len))
		return;
	LIST_FOREACH (r, &h->receivers, link) {
		const struct conf_hook *conf = receiver_conf(r);

		if ((conf->actions & action) && conf_hook_wants(conf, repo))
			receiver_add_pull(r, event, len);
	}
}

static void take_pulls(struct hooks *h)
{
	struct hook_pulls pulls = STAILQ_HEAD_INITIALIZER(pulls);
	struct hook_pull *p;

	pthread_mutex_lock(&h->mu);
	STAILQ_CONCAT(&pulls, &h->pulls);
	h->n_pulls = 0;
	pthread_mutex_unlock(&h->mu);
	while ((p = STAILQ_FIRST(&pulls))) {
		STAILQ_REMOVE_HEAD(&pulls, link);
		if (!h->closed)
			hand_out(h, p);
		hook_pull_free(p);
	}
}

static void check_bound(struct hooks *h)
{
	uint64_t max = h->conf->notifications.queue_max;
	struct index_txn *txn = index_read(cache_index(h->server->cache));
	uint64_t rows = event_count(txn);

	index_read_end(txn);
	if (rows > max + MIN(max / 10, SLACK_MAX) ||
	    (rows && LIST_EMPTY(&h->receivers)))
		hooks_tidy(h, h->conf);
}

static void wake_all(void *arg)
{
	struct hooks *h = arg;
	struct receiver *r;

	__atomic_store_n(&h->woken, false, __ATOMIC_SEQ_CST);
	take_pulls(h);
	if (h->closed)
		return;
	check_bound(h);
	LIST_FOREACH (r, &h->receivers, link)
		receiver_wake(r);
}

void hooks_wake(struct hooks *h)
{
	if (!__atomic_exchange_n(&h->woken, true, __ATOMIC_SEQ_CST))
		loop_call(h->loop, wake_all, h);
}

/* ---- configuration ---- */

static struct receiver *find(struct hooks *h, const char *name)
{
	struct receiver *r;

	LIST_FOREACH (r, &h->receivers, link)
		if (strcmp(r->name, name) == 0)
			return r;
	return NULL;
}

/* Those that are gone end with what they were doing; an exchange goes on with
 * the options that it began with. */
static void match_receivers(struct hooks *h)
{
	const struct conf_hooks *all = &h->conf->notifications.endpoints;
	struct receiver *r, *next;

	LIST_FOREACH (r, &h->receivers, link)
		r->kept = false;
	for (size_t i = 0; i < all->n; i++) {
		r = find(h, all->v[i].name);
		if (!r)
			r = receiver_new(h, all->v[i].name);
		r->kept = true;
	}
	for (r = LIST_FIRST(&h->receivers); r; r = next) {
		next = LIST_NEXT(r, link);
		if (!r->kept)
			receiver_free(r);
	}
}

static void reload(void *arg)
{
	struct hooks *h = arg;
	struct conf *before = h->conf;

	if (h->closed)
		return;
	h->conf = server_conf(h->server);
	match_receivers(h);
	conf_unref(&before);
	wake_all(h);
}

void hooks_reload(struct hooks *h)
{
	loop_call(h->loop, reload, h);
}

/* ---- life ---- */

struct hooks *hooks_new(struct server *s)
{
	const struct conf *conf = s->conf_start;
	struct hooks *h = xcalloc(1, sizeof(*h));
	const char *port =
	    conf->listen.n ? strrchr(conf->listen.v[0].text, ':') : NULL;
	char host[256] = "localhost";

	gethostname(host, sizeof(host) - 1);
	snprintf(h->source, sizeof(h->source), "%s%s", host, port ? port : "");
	uuid_text(h->instance);
	h->server = s;
	h->loop = mirror_loop(s->mirror);
	pthread_mutex_init(&h->mu, NULL);
	STAILQ_INIT(&h->pulls);
	LIST_INIT(&h->receivers);
	return h;
}

void hooks_close(struct hooks *h)
{
	struct receiver *r;

	h->closed = true;
	while ((r = LIST_FIRST(&h->receivers)))
		receiver_free(r);
}

void hooks_free(struct hooks **hp)
{
	struct hooks *h = *hp;
	struct hook_pull *p;

	if (!h)
		return;
	*hp = NULL;
	while ((p = STAILQ_FIRST(&h->pulls))) {
		STAILQ_REMOVE_HEAD(&h->pulls, link);
		hook_pull_free(p);
	}
	conf_unref(&h->conf);
	pthread_mutex_destroy(&h->mu);
	free(h);
}
