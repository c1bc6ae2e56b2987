/* SPDX-License-Identifier: Apache-2.0 */
/* A partial's two files: opening and closing them, and the map. */
#include "cache/partial_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the map ---- */

static int write_slot(struct partial *p, const struct partial_map *m)
{
	size_t len = partial_map_len(m), done;
	uint8_t *buf = xmalloc(len);
	int error = FAULT(map_write);

	partial_map_encode(m, buf, len);
	if (!error)
		error = store_pwrite(p->map_fd, buf, len,
				     partial_map_offset(m->seq), &done);
	free(buf);
	return error;
}

void partial_write_map(struct partial *p, const struct extents *written,
		       bool sync)
{
	struct partial_map m = {
	    .seq = p->map_seq + 1,
	    .boot = p->c->boot,
	    .file = p->id,
	    .written = *written,
	    .synced = p->synced,
	};
	struct partial_view view;

	if (p->nameless)
		return;
	partial_view(p, &view);
	m.size = view.size;
	if (write_slot(p, &m) != 0)
		return; /* the next try writes the same slot */
	p->map_seq = m.seq;
	if (sync && !FAULT(map_sync))
		(void)!fdatasync(p->map_fd);
}

static void trust(struct partial *p, const struct partial_map *m,
		  uint64_t length)
{
	const struct extents *set =
	    partial_map_trusted(m, &p->c->boot, &p->id, length);

	p->map_seq = m->seq;
	extent_copy(&p->held, set);
	p->held_bytes = extent_total(set);
	if (set->n == 0)
		return;
	extent_copy(&p->synced, &m->synced);
	p->size = m->size;
}

static void read_map(struct partial *p, uint64_t length)
{
	size_t max = 2 * MAP_SLOT_BYTES;
	uint8_t *buf = xmalloc(max);
	ssize_t n = store_pread(p->map_fd, buf, max, 0);
	struct partial_map m;

	if (n > 0 && partial_map_pick(buf, (size_t)n, &m) == ERR_OK) {
		trust(p, &m, length);
		partial_map_release(&m);
	}
	free(buf);
}

/* ---- opening ---- */

static enum err identify(struct partial *p, uint64_t *length, struct why *why)
{
	struct statx st;

	if (statx(p->fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME,
		  &st) != 0)
		return store_error(why, errno, "look at", p->path);
	if (!S_ISREG(st.stx_mode))
		return why_set(why, ERR_IO, "%s is not a file", p->path);
	p->complete = st.stx_nlink > 1;
	p->id.ino = st.stx_ino;
	if (st.stx_mask & STATX_BTIME) {
		p->id.birth_s = (uint64_t)st.stx_btime.tv_sec;
		p->id.birth_ns = st.stx_btime.tv_nsec;
	}
	*length = st.stx_size;
	return ERR_OK;
}

/* Whatever the map says: it was complete, and synced, before it got its second
 * name. */
static void hold_all(struct partial *p, uint64_t length)
{
	extent_release(&p->held);
	extent_init(&p->held);
	if (length)
		extent_add(&p->held, 0, length);
	extent_copy(&p->synced, &p->held);
	p->held_bytes = length;
	p->size = length;
	partial_settle(p);
}

static enum err open_files(struct partial *p, struct why *why)
{
	int error = FAULT(partial_create);
	uint64_t length = 0;
	enum err err;

	if (!error) {
		p->fd = store_open(p->c, p->path, O_RDWR | O_CREAT);
		error = p->fd < 0 ? errno : 0;
	}
	if (error)
		return store_error(why, error, "open", p->path);
	err = identify(p, &length, why);
	if (err != ERR_OK)
		return err;
	error = FAULT(map_create);
	if (!error) {
		p->map_fd = store_open(p->c, p->map, O_RDWR | O_CREAT);
		error = p->map_fd < 0 ? errno : 0;
	}
	if (error)
		return store_error(why, error, "open", p->map);
	read_map(p, length);
	if (p->complete) {
		hold_all(p, length);
		return ERR_OK;
	}
	/* Bytes that no map vouches for are no use, and take room. */
	if (p->held.n == 0 && length && ftruncate(p->fd, 0) != 0)
		return store_error(why, errno, "cut", p->path);
	return ERR_OK;
}

static struct partial *partial_new(struct cache *c, struct staged *s)
{
	struct partial *p = xcalloc(1, sizeof(*p));

	p->c = c;
	p->staged = s;
	p->dg = s->dg;
	p->fd = p->map_fd = -1;
	p->size = PARTIAL_SIZE_UNKNOWN;
	snprintf(p->path, sizeof(p->path), "%s", s->path);
	map_path(p->path, p->map);
	p->hasher = hasher_new(s->dg.alg);
	pthread_mutex_init(&p->hash_mu, NULL);
	pthread_mutex_init(&p->mu, NULL);
	pthread_cond_init(&p->idle, NULL);
	return p;
}

static void partial_free(struct partial *p)
{
	if (p->fd >= 0)
		close(p->fd);
	if (p->map_fd >= 0)
		close(p->map_fd);
	space_end(p->c->space, &p->share);
	hasher_free(&p->hasher);
	extent_release(&p->held);
	extent_release(&p->synced);
	pthread_cond_destroy(&p->idle);
	pthread_mutex_destroy(&p->mu);
	pthread_mutex_destroy(&p->hash_mu);
	free(p);
}

enum err partial_open_path(struct cache *c, const struct digest *dg,
			   const char *path, struct partial **out,
			   struct why *why)
{
	struct staged *s = staged_take(c->staged, dg, path, out);
	struct partial *p;
	enum err err;

	if (*out)
		return ERR_OK;
	p = partial_new(c, s);
	err = open_files(p, why);
	if (err == ERR_OK) {
		staged_opened(c->staged, s, p);
		*out = p;
	} else {
		partial_free(p);
		staged_gone(c->staged, s);
	}
	return err;
}

enum err partial_open(struct cache *c, const struct digest *dg,
		      const char *host, struct partial **out, struct why *why)
{
	enum err err = space_check(c->space, why);
	char path[PATH_LEN_MAX];

	*out = NULL;
	if (err != ERR_OK)
		return err;
	staged_path(dg, host, path);
	return partial_open_path(c, dg, path, out, why);
}

bool partial_exists(struct cache *c, const struct digest *dg, const char *host)
{
	char path[PATH_LEN_MAX];

	return staged_exists(c->staged, dg, staged_path(dg, host, path));
}

/* ---- losing the names ---- */

static void unlink_both(struct partial *p)
{
	if (!FAULT(discard_map))
		(void)!store_unlink(p->c, p->map);
	if (!FAULT(discard_unlink))
		(void)!store_unlink(p->c, p->path);
}

/* The name in blobs/ as well, unless it has its record. */
static void unlink_complete(struct partial *p)
{
	struct hold hold;

	hold_wait(p->c->holds, &hold, &p->dg);
	publish_undo(p->c, p->fd, &p->dg);
	unlink_both(p);
	hold_release(p->c->holds, &hold);
}

void partial_forget(struct partial *p)
{
	if (p->nameless)
		return;
	staged_end(p->c->staged, p->staged);
	if (p->complete)
		unlink_complete(p);
	else
		unlink_both(p);
	p->nameless = true;
	staged_gone(p->c->staged, p->staged);
}

void partial_published(struct partial *p)
{
	p->published = true;
	p->nameless = true;
	staged_gone(p->c->staged, p->staged);
}

/* ---- closing ---- */

void partial_close(struct partial **pp)
{
	struct partial *p = *pp;
	struct staged_files *table = p->c->staged;
	struct staged *s = p->staged;

	*pp = NULL;
	partial_settle_down(p);
	if (!staged_put(table, s))
		return;
	if (p->nameless) {
		staged_release(&s);
	} else if (p->held.n == 0 && !p->complete) {
		unlink_both(p);
		staged_gone(table, s);
	} else {
		staged_kept(table, s);
	}
	partial_free(p);
}
