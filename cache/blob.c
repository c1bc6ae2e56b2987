/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/blob.h"
#include "cache/cache_int.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOB_BUCKETS 1024

/*
 *   listed, pinned      in its bucket
 *   listed, not pinned  in its bucket and in the LRU
 *   forgotten, pinned   in neither; the last unpin closes it
 */
struct blob {
	LIST_ENTRY(blob) bucket;
	TAILQ_ENTRY(blob) lru;
	struct blobs *all;
	struct digest dg;
	uint64_t size;
	int fd;
	unsigned pins; /* by blobs->mu, as is `listed` */
	bool listed;
};

struct blobs {
	pthread_mutex_t mu; /* guards all below, and the blobs' lists */
	LIST_HEAD(, blob) buckets[BLOB_BUCKETS];
	TAILQ_HEAD(, blob) lru; /* the least recent first */
	unsigned open, max_open;
	/* Counts what was forgotten: who opened a file before that does not
	 * list it after. */
	uint64_t generation;
};

struct blobs *blobs_new(unsigned max_open)
{
	struct blobs *all = xcalloc(1, sizeof(*all));

	pthread_mutex_init(&all->mu, NULL);
	TAILQ_INIT(&all->lru);
	all->max_open = MAX(max_open, 1);
	return all;
}

static void blob_free(struct blob *b)
{
	if (!b)
		return;
	close(b->fd);
	free(b);
}

void blobs_free(struct blobs **ap)
{
	struct blobs *all = *ap;
	struct blob *b;

	*ap = NULL;
	while ((b = TAILQ_FIRST(&all->lru))) {
		TAILQ_REMOVE(&all->lru, b, lru);
		LIST_REMOVE(b, bucket);
		blob_free(b);
	}
	for (size_t i = 0; i < BLOB_BUCKETS; i++)
		assert(LIST_EMPTY(&all->buckets[i]));
	pthread_mutex_destroy(&all->mu);
	free(all);
}

/* ---- with the lock ---- */

static struct blob *find(struct blobs *all, const struct digest *dg)
{
	struct blob *b;

	LIST_FOREACH (b, &all->buckets[digest_hash(dg) % BLOB_BUCKETS], bucket)
		if (digest_equal(&b->dg, dg))
			return b;
	return NULL;
}

static void pin(struct blob *b)
{
	if (b->listed && b->pins == 0)
		TAILQ_REMOVE(&b->all->lru, b, lru);
	b->pins++;
}

static void unlist(struct blob *b)
{
	if (b->pins == 0)
		TAILQ_REMOVE(&b->all->lru, b, lru);
	LIST_REMOVE(b, bucket);
	b->listed = false;
	b->all->open--;
}

static void list(struct blob *b)
{
	struct blobs *all = b->all;

	LIST_INSERT_HEAD(&all->buckets[digest_hash(&b->dg) % BLOB_BUCKETS], b,
			 bucket);
	if (b->pins == 0)
		TAILQ_INSERT_TAIL(&all->lru, b, lru);
	b->listed = true;
	all->open++;
}

/* One blob too many, taken out for the caller to close, or NULL. */
static struct blob *surplus(struct blobs *all)
{
	struct blob *b = TAILQ_FIRST(&all->lru);

	if (all->open <= all->max_open || !b)
		return NULL;
	unlist(b);
	return b;
}

/* ---- pins ---- */

struct blob *blob_pin_hot(struct cache *c, const struct digest *dg)
{
	struct blobs *all = c->blobs;
	struct blob *b;

	pthread_mutex_lock(&all->mu);
	b = find(all, dg);
	if (b)
		pin(b);
	pthread_mutex_unlock(&all->mu);
	return b;
}

struct blob *blob_repin(struct blob *b)
{
	pthread_mutex_lock(&b->all->mu);
	assert(b->pins > 0);
	b->pins++;
	pthread_mutex_unlock(&b->all->mu);
	return b;
}

void blob_unpin(struct blob **bp)
{
	struct blob *b = *bp, *dead = NULL;
	struct blobs *all = b->all;

	*bp = NULL;
	pthread_mutex_lock(&all->mu);
	assert(b->pins > 0);
	if (--b->pins == 0) {
		if (b->listed) {
			TAILQ_INSERT_TAIL(&all->lru, b, lru);
			dead = surplus(all);
		} else {
			dead = b;
		}
	}
	pthread_mutex_unlock(&all->mu);
	blob_free(dead);
}

void blobs_forget(struct cache *c, const struct digest *dg)
{
	struct blob *b;

	pthread_mutex_lock(&c->blobs->mu);
	c->blobs->generation++;
	b = find(c->blobs, dg);
	if (b) {
		unlist(b);
		if (b->pins)
			b = NULL; /* its last unpin closes it */
	}
	pthread_mutex_unlock(&c->blobs->mu);
	blob_free(b);
}

static uint64_t generation(struct cache *c)
{
	uint64_t found;

	pthread_mutex_lock(&c->blobs->mu);
	found = c->blobs->generation;
	pthread_mutex_unlock(&c->blobs->mu);
	return found;
}

/*
 * Make the open file known, and pin it if asked.  Another thread may have
 * been first: then its descriptor serves.  If something was forgotten since
 * `since`, this may be it: the descriptor then serves its caller alone.
 */
static struct blob *add(struct cache *c, const struct digest *dg, int fd,
			uint64_t size, uint64_t since, bool pinned)
{
	struct blob *b = xcalloc(1, sizeof(*b)), *other, *dead = NULL;
	struct blobs *all = c->blobs;

	b->all = all;
	b->dg = *dg;
	b->fd = fd;
	b->size = size;
	pthread_mutex_lock(&all->mu);
	other = all->generation == since ? find(all, dg) : NULL;
	if (other) {
		dead = b;
		b = other;
	}
	if (pinned)
		pin(b);
	if (!other && all->generation == since) {
		list(b);
		dead = surplus(all);
	} else if (!other && !pinned) {
		dead = b;
	}
	pthread_mutex_unlock(&all->mu);
	blob_free(dead);
	return b;
}

void blobs_prime(struct cache *c, const struct digest *dg, uint64_t size)
{
	uint64_t since = generation(c);
	char path[PATH_LEN_MAX];
	int fd = store_open(c, blob_path(dg, path), O_RDONLY);

	if (fd >= 0)
		add(c, dg, fd, size, since, false);
}

/* ---- opening ---- */

/* Open the file and see that it is as long as the record says: ERR_CORRUPT if
 * there is none, or it is not. */
static enum err open_file(struct cache *c, const struct digest *dg,
			  uint64_t size, int *fd, struct why *why)
{
	char path[PATH_LEN_MAX];
	struct stat st;

	*fd = store_open(c, blob_path(dg, path), O_RDONLY);
	if (*fd < 0 && errno == ENOENT)
		return why_set(why, ERR_CORRUPT, "%s is missing", path);
	if (*fd < 0)
		return store_error(why, errno, "open", path);
	if (fstat(*fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    (uint64_t)st.st_size == size)
		return ERR_OK;
	close(*fd);
	return why_set(why, ERR_CORRUPT,
		       "%s is not the file of %" PRIu64
		       " bytes that was stored",
		       path, size);
}

/* What the index says, then what the disk says. */
static enum err open_recorded(struct cache *c, const struct digest *dg, int *fd,
			      uint64_t *size, struct why *why)
{
	char text[DIGEST_TEXT_MAX];
	struct blob_row row;
	enum err err = store_blob_row(c, dg, &row);

	if (err == ERR_CORRUPT)
		return why_set(why, err, "the record of blob %s is corrupt",
			       digest_text(dg, text));
	if (err != ERR_OK)
		return why_set(why, err, "blob %s is not stored here",
			       digest_text(dg, text));
	*size = row.size;
	return open_file(c, dg, row.size, fd, why);
}

/*
 * The first look found no such file; it may have been removed and published
 * again between the two looks.  With the hold nothing moves: what is wrong
 * now is wrong.
 */
static enum err open_held(struct cache *c, const struct digest *dg, int *fd,
			  uint64_t *size, struct why *why)
{
	struct hold hold;
	enum err err, drop = ERR_NOT_FOUND;

	hold_wait(c->holds, &hold, dg);
	err = open_recorded(c, dg, fd, size, why);
	if (err == ERR_CORRUPT)
		drop = trash_drop_held(c, dg, NULL);
	hold_release(c->holds, &hold);
	if (drop == ERR_OK || drop == ERR_BUSY)
		cache_tell(c, CACHE_CORRUPT_BLOB, dg, why);
	return err;
}

enum err blob_pin(struct cache *c, const struct digest *dg, struct blob **out,
		  struct why *why)
{
	uint64_t since = generation(c), size = 0;
	struct why mine;
	enum err err;
	int fd;

	*out = blob_pin_hot(c, dg);
	if (*out)
		return ERR_OK;
	err = open_recorded(c, dg, &fd, &size, &mine);
	if (err == ERR_CORRUPT) {
		since = generation(c);
		err = open_held(c, dg, &fd, &size, &mine);
	}
	if (err != ERR_OK)
		return why_set(why, err, "%s", mine.text);
	*out = add(c, dg, fd, size, since, true);
	return ERR_OK;
}

int blob_fd(const struct blob *b)
{
	return b->fd;
}

uint64_t blob_size(const struct blob *b)
{
	return b->size;
}

const struct digest *blob_digest(const struct blob *b)
{
	return &b->dg;
}
