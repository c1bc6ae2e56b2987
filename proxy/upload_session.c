/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/upload_session_int.h"

/* Open with nobody using them: a client comes back within moments, and what
 * is closed must be hashed again from its first byte. */
#define IDLE_MS (60 * 1000)
#define IDLE_MAX 256

/* ---- the table; under mu ---- */

static unsigned bucket_of(const char *id)
{
	uint32_t h = 2166136261u;

	for (; *id; id++)
		h = (h ^ (unsigned char)*id) * 16777619u;
	return h % SESSION_BUCKETS;
}

static struct session *find(struct upload_sessions *all, const char *id)
{
	struct session *s;

	LIST_FOREACH (s, &all->buckets[bucket_of(id)], link)
		if (strcmp(s->id, id) == 0)
			return s;
	return NULL;
}

static struct session *session_make(struct upload_sessions *all)
{
	struct session *s = xcalloc(1, sizeof(*s));

	s->all = all;
	s->strand = strand_new(all->jobs);
	return s;
}

void session_list(struct session *s, const char *id)
{
	snprintf(s->id, sizeof(s->id), "%s", id);
	LIST_INSERT_HEAD(&s->all->buckets[bucket_of(s->id)], s, link);
	s->listed = true;
}

void session_unlist(struct session *s)
{
	if (s->listed)
		LIST_REMOVE(s, link);
	s->listed = false;
}

static void not_idle(struct session *s)
{
	if (!s->idle)
		return;
	s->idle = false;
	TAILQ_REMOVE(&s->all->idle, s, idle_link);
	s->all->n_idle--;
}

void session_use(struct session *s)
{
	not_idle(s);
	s->users++;
}

/* Nobody uses it: it waits for somebody if it is open, else it goes. */
static void rest(struct session *s)
{
	if (s->upload) {
		s->idle = true;
		s->idle_since_ms = now_ms();
		TAILQ_INSERT_TAIL(&s->all->idle, s, idle_link);
		s->all->n_idle++;
		return;
	}
	session_unlist(s);
	strand_free(&s->strand);
	free(s);
}

void session_unuse(struct session *s)
{
	assert(s->users > 0);
	if (--s->users == 0)
		rest(s);
}

/* ---- owning ---- */

/* Under mu. */
static struct session_hold *hold_new(struct session *s,
				     const struct session_owner *o)
{
	struct session_hold *hold = xcalloc(1, sizeof(*hold));

	hold->owner = *o;
	hold->session = s;
	session_use(s);
	return hold;
}

/* Under mu.  True: *before has lost it and must be cut. */
static bool own(struct session_hold *hold, struct session_owner *before)
{
	struct session *s = hold->session;
	bool lost = s->owner && !s->finishing;

	if (lost)
		*before = s->owner->owner;
	hold->epoch = ++s->epoch;
	s->owner = hold;
	return lost;
}

struct cut {
	struct message msg;
	void (*cut)(void *object);
};

static void deliver_cut(struct message *msg, void *object)
{
	struct cut *cut = container_of(msg, struct cut, msg);

	if (object)
		cut->cut(object);
	free(cut);
}

static void send_cut(const struct session_owner *o)
{
	struct cut *cut = xcalloc(1, sizeof(*cut));

	cut->cut = o->cut;
	cut->msg.to = o->to;
	cut->msg.magic = o->magic;
	cut->msg.run = deliver_cut;
	loop_post(o->loop, &cut->msg);
}

void session_begin(struct upload_sessions *all, const struct session_owner *o,
		   const char *repo, enum digest_alg alg, session_got_cb *cb)
{
	struct session_owner nobody;
	struct session_hold *hold;

	pthread_mutex_lock(&all->mu);
	hold = hold_new(session_make(all), o);
	(void)own(hold, &nobody);
	pthread_mutex_unlock(&all->mu);
	session_submit_begin(hold, repo, alg, cb);
}

void session_grant(struct session_hold *hold)
{
	struct upload_sessions *all = hold->session->all;
	struct session_owner before;
	bool lost;

	pthread_mutex_lock(&all->mu);
	lost = own(hold, &before);
	pthread_mutex_unlock(&all->mu);
	if (lost)
		send_cut(&before);
}

/* What nobody has opened yet, nobody has begun to use either: whose it is
 * turns out, and it is owned, in the job that opens it. */
void session_take(struct upload_sessions *all, const struct session_owner *o,
		  const char *id, const char *repo, bool for_bytes,
		  session_got_cb *cb)
{
	struct session_owner before;
	struct session_hold *hold;
	struct session *s;
	bool lost = false;

	pthread_mutex_lock(&all->mu);
	s = find(all, id);
	if (!s) {
		s = session_make(all);
		session_list(s, id);
	}
	hold = hold_new(s, o);
	if (s->known && strcmp(s->info.repo, repo) == 0)
		lost = own(hold, &before);
	pthread_mutex_unlock(&all->mu);
	if (lost)
		send_cut(&before);
	session_submit_take(hold, repo, for_bytes, cb);
}

void session_drop(struct session_hold **holdp)
{
	struct session_hold *hold = *holdp;
	struct upload_sessions *all;

	if (!hold)
		return;
	*holdp = NULL;
	all = hold->session->all;
	pthread_mutex_lock(&all->mu);
	if (hold->session->owner == hold)
		hold->session->owner = NULL;
	session_unuse(hold->session);
	pthread_mutex_unlock(&all->mu);
	free(hold);
}

/* ---- what anybody may know ---- */

enum err session_look(struct upload_sessions *all, const char *id,
		      struct upload_info *out)
{
	enum err err = ERR_BUSY;
	struct session *s;

	pthread_mutex_lock(&all->mu);
	s = find(all, id);
	if (s && s->known) {
		*out = s->info;
		err = ERR_OK;
	}
	pthread_mutex_unlock(&all->mu);
	return err;
}

/* ---- closing ---- */

struct closing {
	struct job job;
	struct session *session;
};

/* What has been asked for meanwhile is opened again behind us. */
static void close_run(struct job *job)
{
	struct closing *c = container_of(job, struct closing, job);
	struct session *s = c->session;
	struct upload_sessions *all = s->all;
	struct why why;

	if (s->upload) {
		(void)!session_go_back(s, &why); /* else start-up does */
		s->marked = false;
		upload_close(&s->upload);
	}
	pthread_mutex_lock(&all->mu);
	session_unuse(s);
	pthread_mutex_unlock(&all->mu);
	free(c);
}

/* Under mu. */
static struct session *next_to_close(struct upload_sessions *all, uint64_t now)
{
	struct session *s = TAILQ_FIRST(&all->idle);

	if (!s || (all->n_idle <= IDLE_MAX && now - s->idle_since_ms < IDLE_MS))
		return NULL;
	session_use(s);
	return s;
}

void sessions_tick(struct upload_sessions *all)
{
	uint64_t now = now_ms();
	struct closing *c;
	struct session *s;

	for (;;) {
		pthread_mutex_lock(&all->mu);
		s = next_to_close(all, now);
		pthread_mutex_unlock(&all->mu);
		if (!s)
			return;
		c = xcalloc(1, sizeof(*c));
		c->session = s;
		c->job.lane = JOB_SYNC;
		c->job.run = close_run;
		job_submit_on(s->strand, &c->job);
	}
}

/* ---- the beginning and the end ---- */

struct upload_sessions *sessions_new(struct cache *c, struct jobs *jobs)
{
	struct upload_sessions *all = xcalloc(1, sizeof(*all));

	all->cache = c;
	all->jobs = jobs;
	pthread_mutex_init(&all->mu, NULL);
	TAILQ_INIT(&all->idle);
	return all;
}

void sessions_free(struct upload_sessions **allp)
{
	struct upload_sessions *all = *allp;
	struct session *s;
	struct why why;

	if (!all)
		return;
	*allp = NULL;
	while ((s = TAILQ_FIRST(&all->idle))) {
		assert(s->users == 0);
		not_idle(s);
		(void)!session_go_back(s, &why);
		upload_close(&s->upload);
		rest(s);
	}
	for (unsigned i = 0; i < SESSION_BUCKETS; i++)
		assert(LIST_EMPTY(&all->buckets[i]));
	pthread_mutex_destroy(&all->mu);
	free(all);
}
