/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/chores.h"

#include "cache/hosted.h"
#include "cache/journal.h"
#include "cache/upload.h"
#include "proxy/server.h"

/* Sessions removed in one piece. */
#define EXPIRE_AT_ONCE 16

enum chore { CHORE_EXPIRE, CHORE_COLLECT, CHORE_SNAPSHOT, CHORE_NONE };

struct chores {
	struct server *server;
	struct job job;
	enum chore next; /* the job's, while it runs; the next one, too */
	char expired_to[UPLOAD_ID_SIZE];
	uint64_t ended_ms; /* atomic */
	bool running;      /* atomic */
};

/* One piece.  True: there is more of this chore. */
static bool do_some(struct chores *c)
{
	struct server *s = c->server;
	struct conf *conf = server_conf(s);
	bool more = false;

	switch (c->next) {
	case CHORE_EXPIRE:
		more = uploads_expire(s->cache, conf->uploads.expire_ms / 1000,
				      EXPIRE_AT_ONCE, c->expired_to);
		break;
	case CHORE_COLLECT:
		more = cache_collect_step(s->cache);
		break;
	case CHORE_SNAPSHOT:
		more = journal_snapshot_step(cache_journal(s->cache));
		break;
	case CHORE_NONE:
		break;
	}
	conf_unref(&conf);
	return more;
}

static void run(struct job *job)
{
	struct chores *c = container_of(job, struct chores, job);
	bool stop = __atomic_load_n(&c->server->stopping, __ATOMIC_RELAXED);

	if (!stop && !do_some(c))
		c->next++;
	if (!stop && c->next != CHORE_NONE) {
		job_submit(c->server->jobs, &c->job);
		return;
	}
	__atomic_store_n(&c->ended_ms, now_ms(), __ATOMIC_RELAXED);
	__atomic_store_n(&c->running, false, __ATOMIC_RELEASE);
}

struct chores *chores_new(struct server *s)
{
	struct chores *c = xcalloc(1, sizeof(*c));

	c->server = s;
	return c;
}

void chores_tick(struct chores *c)
{
	struct conf *conf = server_conf(c->server);
	uint64_t interval_ms = conf->collect.interval_ms;
	uint64_t ended_ms = __atomic_load_n(&c->ended_ms, __ATOMIC_RELAXED);

	conf_unref(&conf);
	if (__atomic_load_n(&c->running, __ATOMIC_ACQUIRE) ||
	    now_ms() - ended_ms < interval_ms)
		return;
	c->running = true;
	c->next = CHORE_EXPIRE;
	memset(&c->job, 0, sizeof(c->job));
	c->job.lane = JOB_SLOW;
	c->job.run = run;
	job_submit(c->server->jobs, &c->job);
}

void chores_free(struct chores **c)
{
	free(*c);
	*c = NULL;
}
