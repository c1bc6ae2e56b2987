/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/staged.h"

#include <pthread.h>

#define STAGED_BUCKETS 256

LIST_HEAD(staged_list, staged);

struct staged_files {
	pthread_mutex_t mu; /* guards the table and each entry's state */
	pthread_cond_t moved;
	struct staged_list buckets[STAGED_BUCKETS];
};

struct staged_files *staged_new(void)
{
	struct staged_files *t = xcalloc(1, sizeof(*t));

	pthread_mutex_init(&t->mu, NULL);
	pthread_cond_init(&t->moved, NULL);
	return t;
}

void staged_free(struct staged_files **tp)
{
	struct staged_files *t = *tp;
	struct staged *s;

	*tp = NULL;
	for (size_t i = 0; i < STAGED_BUCKETS; i++)
		while ((s = LIST_FIRST(&t->buckets[i]))) {
			assert(s->users == 0);
			LIST_REMOVE(s, link);
			free(s);
		}
	pthread_cond_destroy(&t->moved);
	pthread_mutex_destroy(&t->mu);
	free(t);
}

static struct staged_list *bucket_of(struct staged_files *t,
				     const struct digest *dg)
{
	return &t->buckets[digest_hash(dg) % STAGED_BUCKETS];
}

static struct staged *find(struct staged_files *t, const struct digest *dg,
			   const char *path)
{
	struct staged *s;

	LIST_FOREACH (s, bucket_of(t, dg), link)
		if (strcmp(s->path, path) == 0)
			return s;
	return NULL;
}

static struct staged *add(struct staged_files *t, const struct digest *dg,
			  const char *path)
{
	struct staged *s = xcalloc(1, sizeof(*s));

	s->dg = *dg;
	s->state = STAGED_KEPT;
	snprintf(s->path, sizeof(s->path), "%s", path);
	LIST_INSERT_HEAD(bucket_of(t, dg), s, link);
	return s;
}

void staged_found(struct staged_files *t, const struct digest *dg,
		  const char *path)
{
	pthread_mutex_lock(&t->mu);
	assert(!find(t, dg, path));
	add(t, dg, path);
	pthread_mutex_unlock(&t->mu);
}

bool staged_exists(struct staged_files *t, const struct digest *dg,
		   const char *path)
{
	bool found;

	pthread_mutex_lock(&t->mu);
	found = find(t, dg, path) != NULL;
	pthread_mutex_unlock(&t->mu);
	return found;
}

struct staged *staged_take(struct staged_files *t, const struct digest *dg,
			   const char *path, struct partial **open)
{
	struct staged *s;

	pthread_mutex_lock(&t->mu);
	while ((s = find(t, dg, path)) && s->state == STAGED_MOVING)
		pthread_cond_wait(&t->moved, &t->mu);
	if (!s)
		s = add(t, dg, path);
	*open = s->open;
	if (s->state == STAGED_OPEN)
		s->users++;
	else
		s->state = STAGED_MOVING;
	pthread_mutex_unlock(&t->mu);
	return s;
}

/* With the lock held. */
static void set_state(struct staged_files *t, struct staged *s,
		      enum staged_state state)
{
	s->state = state;
	pthread_cond_broadcast(&t->moved);
}

void staged_opened(struct staged_files *t, struct staged *s, struct partial *p)
{
	pthread_mutex_lock(&t->mu);
	s->open = p;
	s->users = 1;
	set_state(t, s, STAGED_OPEN);
	pthread_mutex_unlock(&t->mu);
}

bool staged_put(struct staged_files *t, struct staged *s)
{
	bool last;

	pthread_mutex_lock(&t->mu);
	assert(s->users > 0);
	last = --s->users == 0;
	if (last) {
		s->open = NULL;
		s->state = STAGED_MOVING;
	}
	pthread_mutex_unlock(&t->mu);
	return last;
}

void staged_end(struct staged_files *t, struct staged *s)
{
	pthread_mutex_lock(&t->mu);
	assert(!s->gone && s->state == STAGED_OPEN);
	s->state = STAGED_MOVING;
	pthread_mutex_unlock(&t->mu);
}

void staged_kept(struct staged_files *t, struct staged *s)
{
	pthread_mutex_lock(&t->mu);
	assert(s->users == 0);
	set_state(t, s, STAGED_KEPT);
	pthread_mutex_unlock(&t->mu);
}

void staged_gone(struct staged_files *t, struct staged *s)
{
	bool used;

	pthread_mutex_lock(&t->mu);
	LIST_REMOVE(s, link);
	s->gone = true;
	used = s->users > 0;
	set_state(t, s, STAGED_OPEN);
	pthread_mutex_unlock(&t->mu);
	if (!used)
		free(s);
}

void staged_release(struct staged **s)
{
	assert((*s)->gone && (*s)->users == 0);
	free(*s);
	*s = NULL;
}
