/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/space.h"

#include <errno.h>
#include <pthread.h>
#include <sys/statvfs.h>

struct space {
	int fd;
	pthread_mutex_t mu; /* guards what follows */
	uint64_t min_free;
	uint64_t outstanding;
};

struct space *space_new(int fd, uint64_t min_free_bytes)
{
	struct space *s = xcalloc(1, sizeof(*s));

	s->fd = fd;
	s->min_free = min_free_bytes;
	pthread_mutex_init(&s->mu, NULL);
	return s;
}

void space_set_min_free(struct space *s, uint64_t bytes)
{
	pthread_mutex_lock(&s->mu);
	s->min_free = bytes;
	pthread_mutex_unlock(&s->mu);
}

void space_free(struct space **sp)
{
	struct space *s = *sp;

	*sp = NULL;
	assert(s->outstanding == 0);
	pthread_mutex_destroy(&s->mu);
	free(s);
}

bool space_fits(uint64_t free_bytes, uint64_t min_free, uint64_t outstanding,
		uint64_t want)
{
	uint64_t needed;

	return size_add(min_free, outstanding, &needed) &&
	       size_add(needed, want, &needed) && needed <= free_bytes;
}

/* What an unprivileged writer may use; blocks that wait to be allocated are
 * counted as used by the filesystems that delay. */
static enum err free_bytes_of(int fd, uint64_t *out, struct why *why)
{
	struct statvfs st;

	if (fstatvfs(fd, &st) != 0) {
		why_errno(why, errno, "cannot ask how much room the disk has");
		return ERR_IO;
	}
	if (!size_mul(st.f_bavail, st.f_frsize, out))
		*out = UINT64_MAX;
	return ERR_OK;
}

/* For a person, who has to make room or to change the option. */
static enum err no_room(struct why *why, uint64_t bytes, uint64_t room,
			uint64_t min_free, uint64_t outstanding)
{
	char what[40] = "anything new", promised[64] = "";

	if (bytes)
		snprintf(what, sizeof(what), "%" PRIu64 " KiB more",
			 (bytes + KIB - 1) / KIB);
	if (outstanding)
		snprintf(promised, sizeof(promised),
			 ", and %" PRIu64 " KiB are promised to other writes",
			 (outstanding + KIB - 1) / KIB);
	return why_set(why, ERR_NO_SPACE,
		       "the disk has no room for %s: %" PRIu64
		       " KiB are free,%s cache.min_free is %" PRIu64
		       " KiB%s; delete what is not needed, or lower that",
		       what, room / KIB, outstanding ? "" : " and",
		       min_free / KIB, promised);
}

/* The call to the filesystem is made without the lock: the sum may be late by
 * what others write meanwhile, never by what they have reserved. */
static enum err reserve(struct space *s, uint64_t bytes, struct why *why)
{
	uint64_t room, outstanding, min_free;
	enum err err = free_bytes_of(s->fd, &room, why);
	bool fits;

	if (err != ERR_OK)
		return err;
	pthread_mutex_lock(&s->mu);
	outstanding = s->outstanding;
	min_free = s->min_free;
	fits = space_fits(room, min_free, outstanding, bytes);
	if (fits)
		s->outstanding += bytes;
	pthread_mutex_unlock(&s->mu);
	if (fits)
		return ERR_OK;
	return no_room(why, bytes, room, min_free, outstanding);
}

static void give_back(struct space *s, uint64_t bytes)
{
	pthread_mutex_lock(&s->mu);
	assert(bytes <= s->outstanding);
	s->outstanding -= bytes;
	pthread_mutex_unlock(&s->mu);
}

enum err space_check(struct space *s, struct why *why)
{
	return reserve(s, 0, why);
}

enum err space_take(struct space *s, struct space_share *share, uint64_t bytes,
		    struct why *why)
{
	uint64_t missing, step;
	enum err err;

	if (share->left >= bytes)
		return ERR_OK;
	missing = bytes - share->left;
	step = MAX(missing, SPACE_STEP);
	if (reserve(s, step, NULL) != ERR_OK) {
		step = missing;
		err = reserve(s, step, why);
		if (err != ERR_OK)
			return err;
	}
	share->left += step;
	return ERR_OK;
}

void space_spend(struct space *s, struct space_share *share, uint64_t bytes)
{
	assert(bytes <= share->left);
	share->left -= bytes;
	give_back(s, bytes);
}

void space_end(struct space *s, struct space_share *share)
{
	give_back(s, share->left);
	share->left = 0;
}

uint64_t space_outstanding(struct space *s)
{
	uint64_t bytes;

	pthread_mutex_lock(&s->mu);
	bytes = s->outstanding;
	pthread_mutex_unlock(&s->mu);
	return bytes;
}
