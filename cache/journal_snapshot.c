/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of all hosted repositories, in place of the logs that led to it.
 *
 *   BEGIN   the sequence that the index has now; a file without its name
 *   PAGES   repository by repository: its row, its links, its tags; each page
 *           is a snapshot of the index of its own
 *   END     an empty frame, sync, rename, sync of the folder; then the older
 *           snapshots and logs go
 *
 * Changes go on meanwhile.  What a page has and what it lacks of them is
 * stated again by the logs behind the sequence of the beginning.
 */
#include "cache/journal_int.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Statements in a page: one snapshot of the index, one frame. */
#define PAGE 256
#define UNNAMED "journal/snapshot.new"

enum part { PART_REPO, PART_LINKS, PART_TAGS };

struct snapshot {
	uint64_t seq;
	int fd;
	uint64_t size;
	/* Where the next page begins. */
	char name[REPO_NAME_MAX + 1];
	uint64_t repo;
	enum part part;
	struct digest link;    /* PART_LINKS: after it; alg 0 = the first */
	char tag[TAG_MAX + 1]; /* PART_TAGS: after it; "" = the first */

	/* The page. */
	uint8_t *buf;
	size_t len, room;
	uint32_t n;
};

/* ---- statements ---- */

static void state(struct snapshot *s, const struct journal_entry *e)
{
	if (s->room - s->len < 4 + JOURNAL_ENTRY_MAX) {
		s->room = 2 * s->room + 64 * 1024;
		s->buf = xrealloc(s->buf, s->room);
	}
	put_be32(s->buf + s->len,
		 (uint32_t)journal_entry_encode(e, s->buf + s->len + 4));
	s->len += 4 + get_be32(s->buf + s->len);
	s->n++;
}

static bool state_link(void *arg, const struct digest *dg,
		       const struct link_row *row)
{
	struct snapshot *s = arg;
	char type[MEDIA_TYPE_MAX] = "";
	struct journal_entry e = {
	    .kind = JOURNAL_LINK,
	    .repo = s->name,
	    .dg = *dg,
	    .link = row->kind,
	    .sparse = row->sparse,
	    .time_s = row->created_s,
	    .media_type = type,
	};

	if (s->n == PAGE)
		return false;
	if (row->media_type.len < sizeof(type) && row->media_type.len)
		memcpy(type, row->media_type.ptr, row->media_type.len);
	state(s, &e);
	s->link = *dg;
	return true;
}

static bool state_tag(void *arg, const char *tag, size_t len,
		      const struct tag_row *row)
{
	struct snapshot *s = arg;
	struct journal_entry e = {
	    .kind = JOURNAL_TAG,
	    .repo = s->name,
	    .tag = s->tag,
	    .dg = row->held[0],
	    .time_s = row->fetched_s,
	};

	if (s->n == PAGE)
		return false;
	snprintf(s->tag, sizeof(s->tag), "%.*s", (int)len, tag);
	state(s, &e);
	return true;
}

/* ---- one page ---- */

static void next_part(struct snapshot *s, enum part part)
{
	s->part = part;
	s->link.alg = 0;
	s->tag[0] = '\0';
}

/* ERR_NOT_FOUND: there is none behind the last.  Of one whose row has gone,
 * the logs are all that still tells. */
static enum err state_repo(struct snapshot *s, struct index_txn *txn)
{
	struct journal_entry e = {
	    .kind = JOURNAL_REPO, .repo = s->name, .hosted = true};
	struct repo_row row;
	enum err err = repo_next(txn, "", s->name, s->name, &s->repo);

	if (err != ERR_OK)
		return err;
	if (repo_get(txn, s->repo, &row) != ERR_OK)
		return ERR_CORRUPT;
	e.time_s = row.created_s;
	state(s, &e);
	next_part(s, PART_LINKS);
	return ERR_OK;
}

/* Fill a page, or what is left.  ERR_NOT_FOUND: that was the last. */
static enum err fill(struct snapshot *s, struct index_txn *txn)
{
	enum err err = ERR_OK;

	while (err == ERR_OK && s->n < PAGE) {
		switch (s->part) {
		case PART_REPO:
			err = state_repo(s, txn);
			break;
		case PART_LINKS:
			err = link_walk(txn, s->repo,
					s->link.alg ? &s->link : NULL,
					state_link, s);
			if (s->n < PAGE)
				next_part(s, PART_TAGS);
			break;
		case PART_TAGS:
			err = tag_walk(txn, s->repo, s->tag[0] ? s->tag : NULL,
				       state_tag, s);
			if (s->n < PAGE)
				next_part(s, PART_REPO);
			break;
		}
	}
	return err;
}

static int write_page(struct snapshot *s)
{
	uint8_t head[JOURNAL_FRAME_HEAD + JOURNAL_FRAME_MIN];
	int error = FAULT(snapshot_write);
	size_t done;

	journal_frame_head(head, 0, s->n, s->buf, s->len);
	if (!error)
		error = store_pwrite(s->fd, head, sizeof(head), s->size, &done);
	if (!error && s->len)
		error = store_pwrite(s->fd, s->buf, s->len,
				     s->size + sizeof(head), &done);
	s->size += sizeof(head) + s->len;
	s->len = 0;
	s->n = 0;
	return error;
}

/* ---- begin and end ---- */

static void snapshot_free(struct journal *j)
{
	struct snapshot *s = j->snapshot;

	j->snapshot = NULL;
	if (!s)
		return;
	if (s->fd >= 0)
		close(s->fd);
	free(s->buf);
	free(s);
}

void snapshot_abandon(struct journal *j)
{
	if (j->snapshot)
		(void)!store_unlink(j->c, UNNAMED);
	snapshot_free(j);
}

static void begin(struct journal *j)
{
	struct snapshot *s = j->snapshot = xcalloc(1, sizeof(*s));
	struct index_txn *txn = index_read(j->c->index);

	s->seq = index_log_last(txn);
	index_read_end(txn);
	s->fd = store_open(j->c, UNNAMED, O_WRONLY | O_CREAT | O_TRUNC);
}

/* Every log whose successor begins with seq + 1 or before, and every older
 * snapshot, says nothing that this one does not. */
static void clean(struct journal *j, uint64_t seq)
{
	uint64_t *logs = NULL, *snaps = NULL;
	size_t n_logs = 0, n_snaps = 0;
	char path[PATH_LEN_MAX];

	if (journal_list(j->c, "log", &logs, &n_logs, NULL) == ERR_OK)
		for (size_t i = 0; i + 1 < n_logs; i++)
			if (logs[i + 1] <= seq + 1 && !FAULT(snapshot_clean))
				(void)!store_unlink(
				    j->c, journal_path(logs[i], "log", path));
	if (journal_list(j->c, "snap", &snaps, &n_snaps, NULL) == ERR_OK)
		for (size_t i = 0; i < n_snaps; i++)
			if (snaps[i] < seq && !FAULT(snapshot_clean))
				(void)!store_unlink(
				    j->c, journal_path(snaps[i], "snap", path));
	free(logs);
	free(snaps);
}

static int name_it(struct journal *j, const struct snapshot *s)
{
	char path[PATH_LEN_MAX];
	int error = FAULT(snapshot_sync);

	if (!error && fsync(s->fd) != 0)
		error = errno;
	if (!error)
		error = FAULT(snapshot_name);
	if (!error && renameat(j->c->data_fd, UNNAMED, j->c->data_fd,
			       journal_path(s->seq, "snap", path)) != 0)
		error = errno;
	return error ? error : store_sync_dir(j->c, "journal");
}

/* All pages are written: what is left to be whole, and to be the last. */
static int complete(struct journal *j)
{
	struct snapshot *s = j->snapshot;
	int error = s->n ? write_page(s) : 0;

	if (!error)
		error = write_page(s); /* the empty one */
	if (!error)
		error = name_it(j, s);
	if (error)
		return error;
	pthread_mutex_lock(&j->mu);
	j->snap_seq = s->seq;
	j->snap_bytes = s->size;
	j->log_bytes = 0;
	pthread_mutex_unlock(&j->mu);
	return 0;
}

static bool is_worth_it(struct journal *j)
{
	bool worth;

	pthread_mutex_lock(&j->mu);
	worth =
	    j->log_bytes > j->worth_bytes && j->log_bytes > 2 * j->snap_bytes;
	pthread_mutex_unlock(&j->mu);
	return worth;
}

/* What failed once is tried again when as much has been added. */
static bool failed(struct journal *j)
{
	snapshot_abandon(j);
	pthread_mutex_lock(&j->mu);
	j->log_bytes = 0;
	pthread_mutex_unlock(&j->mu);
	return false;
}

static uint64_t corrupt_rows(struct journal *j)
{
	struct index_stats stats;

	index_stats(j->c->index, &stats);
	return stats.corrupt_rows;
}

/* The next page.  ERR_NOT_FOUND: all are written.  ERR_CORRUPT: the index has
 * lost what the logs still have, and they may not go. */
static enum err next_page(struct journal *j, struct why *why)
{
	uint64_t corrupt = corrupt_rows(j);
	struct snapshot *s = j->snapshot;
	struct index_txn *txn = index_read(j->c->index);
	enum err err = fill(s, txn);
	int error;

	index_read_end(txn);
	if (corrupt_rows(j) != corrupt)
		err = ERR_CORRUPT;
	if (err == ERR_CORRUPT)
		return why_set(why, err,
			       "a row of the index cannot be read, and a "
			       "journal made from it would lack it; 'entrepot "
			       "rebuild' makes another index, of all that the "
			       "journal has");
	if (err != ERR_OK)
		return why_set(why, err, "the index cannot be read");
	error = write_page(s);
	return error ? store_error(why, error, "write", UNNAMED) : ERR_OK;
}

bool journal_snapshot_step(struct journal *j)
{
	enum err err;

	if (!j->snapshot) {
		if (!is_worth_it(j))
			return false;
		begin(j);
	}
	if (j->snapshot->fd < 0)
		return failed(j);
	err = next_page(j, NULL);
	if (err == ERR_OK)
		return true;
	if (err != ERR_NOT_FOUND || complete(j) != 0)
		return failed(j);
	clean(j, j->snapshot->seq);
	snapshot_free(j);
	return false;
}

enum err snapshot_make(struct journal *j, struct why *why)
{
	enum err err = ERR_OK;

	begin(j);
	if (j->snapshot->fd < 0)
		err = store_error(why, errno, "make", UNNAMED);
	while (err == ERR_OK)
		err = next_page(j, why);
	if (err == ERR_NOT_FOUND) {
		int error = complete(j);

		err =
		    error ? store_error(why, error, "write", UNNAMED) : ERR_OK;
	}
	if (err == ERR_OK)
		snapshot_free(j);
	else
		snapshot_abandon(j);
	return err;
}
