/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/journal_int.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* A log of this size is followed by another one: start-up reads the last. */
#define LOG_BYTES (8 * MIB)

void journal_note(struct index_txn *txn, const struct journal_entry *e)
{
	uint8_t payload[JOURNAL_ENTRY_MAX];

	index_log_put(txn, payload, journal_entry_encode(e, payload));
}

/* ---- appending, on the writer's thread ---- */

/* No record that was refused may come back, so nothing more goes in. */
static enum err give_up(struct journal *j, int error, const char *what)
{
	(void)why_errno(&j->why_broken, error,
			"the journal %s; pushes are refused until a restart",
			what);
	j->broken = true;
	return ERR_IO;
}

static int make_log(struct journal *j, uint64_t first)
{
	char path[PATH_LEN_MAX];
	int error = FAULT(journal_create);

	if (error)
		return error;
	/* One of that name can only be empty: nothing came after it. */
	j->fd = store_open(j->c, journal_path(first, "log", path),
			   O_RDWR | O_CREAT);
	if (j->fd < 0)
		return errno;
	j->size = 0;
	error = ftruncate(j->fd, 0) != 0 ? errno : 0;
	if (!error)
		error = store_sync_dir(j->c, "journal");
	if (error) {
		close(j->fd);
		j->fd = -1;
	}
	return error;
}

static void leave_log(struct journal *j)
{
	if (j->fd >= 0)
		close(j->fd);
	j->fd = -1;
}

/* Back to where the last append began, durably. */
static int cut(struct journal *j)
{
	int error = FAULT(journal_cut);

	if (!error && ftruncate(j->fd, (off_t)j->size_before) != 0)
		error = errno;
	if (!error && fsync(j->fd) != 0)
		error = errno;
	j->size = j->size_before;
	return error;
}

static int write_frame(struct journal *j, const void *records, size_t len,
		       uint64_t first, size_t n)
{
	uint8_t head[JOURNAL_FRAME_HEAD + JOURNAL_FRAME_MIN];
	int error = FAULT(journal_write);
	size_t done;

	journal_frame_head(head, first, (uint32_t)n, records, len);
	if (!error)
		error = store_pwrite(j->fd, head, sizeof(head), j->size, &done);
	if (!error)
		error = store_pwrite(j->fd, records, len,
				     j->size + sizeof(head), &done);
	return error;
}

static void note_append(struct journal *j, uint64_t last, uint64_t bytes)
{
	pthread_mutex_lock(&j->mu);
	j->last_before = j->last;
	j->last = last;
	j->log_bytes += bytes;
	pthread_mutex_unlock(&j->mu);
}

/* Take back what was written of a frame.  After a failed sync nobody knows
 * what the disk holds of this file: it is left, and another one begun. */
static enum err append_failed(struct journal *j, int error, bool synced,
			      struct why *why)
{
	enum err err = store_error(why, error, "write", "the journal");
	int undone = cut(j);

	if (undone) {
		(void)give_up(j, undone, "cannot be cut back");
		return why_set(why, ERR_IO, "%s", j->why_broken.text);
	}
	if (synced)
		leave_log(j);
	return err;
}

enum err journal_append(void *journal, const void *records, size_t len,
			uint64_t first, size_t n, struct why *why)
{
	struct journal *j = journal;
	uint64_t bytes = JOURNAL_FRAME_HEAD + JOURNAL_FRAME_MIN + len;
	int error = 0;

	if (j->broken)
		return why_set(why, ERR_IO, "%s", j->why_broken.text);
	if (first != journal_last(j) + 1)
		return why_set(why, ERR_IO,
			       "the index forgot how much of the journal it "
			       "has seen; a restart brings them together");
	if (j->fd >= 0 && j->size >= LOG_BYTES)
		leave_log(j);
	if (j->fd < 0)
		error = make_log(j, first);
	if (error)
		return store_error(why, error, "make", "a log in journal/");
	j->size_before = j->size;
	error = write_frame(j, records, len, first, n);
	if (error)
		return append_failed(j, error, false, why);
	error = FAULT(journal_sync);
	if (!error && fdatasync(j->fd) != 0)
		error = errno;
	if (error)
		return append_failed(j, error, true, why);
	j->size += bytes;
	note_append(j, first + n - 1, bytes);
	return ERR_OK;
}

void journal_cut(void *journal)
{
	struct journal *j = journal;
	uint64_t bytes = j->size - j->size_before;
	int error = cut(j);

	if (error)
		(void)give_up(j, error, "cannot be cut back");
	pthread_mutex_lock(&j->mu);
	j->last = j->last_before;
	j->log_bytes -= bytes;
	pthread_mutex_unlock(&j->mu);
}

uint64_t journal_last(struct journal *j)
{
	uint64_t last;

	pthread_mutex_lock(&j->mu);
	last = j->last;
	pthread_mutex_unlock(&j->mu);
	return last;
}

/* ---- opening ---- */

/*
 * The last log: how much of it counts, and its last sequence.  A snapshot may
 * be newer, if the log's end was lost.
 */
static enum err scan_last(struct journal *j, uint64_t first, struct why *why)
{
	struct journal_frame frame;
	char path[PATH_LEN_MAX];
	struct slice rest;
	uint64_t last = first - 1;
	uint8_t *buf;
	size_t len;
	enum err err = journal_read(j->c, journal_path(first, "log", path),
				    UINT64_MAX, &buf, &len, why);

	if (err != ERR_OK)
		return err;
	rest = slice_of(buf, len);
	while (journal_frame_take(&rest, &frame))
		last = frame.first + frame.n - 1;
	j->size = len - rest.len;
	j->is_torn = rest.len != 0;
	if (journal_frame_find(&rest, first, JOURNAL_SEQ_MAX))
		err = journal_damaged(why, "%s is damaged at byte %" PRIu64,
				      path, j->size);
	free(buf);
	if (last < j->last)
		return err; /* and another log will be begun */
	j->last = last;
	j->fd = err == ERR_OK ? store_open(j->c, path, O_RDWR) : -1;
	if (err == ERR_OK && j->fd < 0)
		return store_error(why, errno, "open", path);
	return err;
}

enum err journal_start(struct journal *j, struct why *why)
{
	if (j->fd < 0 || !j->is_torn)
		return ERR_OK;
	if (ftruncate(j->fd, (off_t)j->size) != 0 || fsync(j->fd) != 0)
		return store_error(why, errno, "cut the torn end of",
				   "the journal");
	j->is_torn = false;
	return ERR_OK;
}

static uint64_t file_size(struct cache *c, const char *path)
{
	int fd = store_open(c, path, O_RDONLY);
	off_t end = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;

	if (fd >= 0)
		close(fd);
	return end > 0 ? (uint64_t)end : 0;
}

static void measure(struct journal *j, const uint64_t *logs, size_t n)
{
	char path[PATH_LEN_MAX];

	for (size_t i = 0; i < n; i++)
		if (logs[i] > j->snap_seq)
			j->log_bytes +=
			    file_size(j->c, journal_path(logs[i], "log", path));
	j->snap_bytes =
	    file_size(j->c, journal_path(j->snap_seq, "snap", path));
}

static enum err open_files(struct journal *j, struct why *why)
{
	uint64_t *logs = NULL, *snaps = NULL;
	size_t n_logs = 0, n_snaps = 0;
	enum err err = journal_list(j->c, "log", &logs, &n_logs, why);

	if (err == ERR_OK)
		err = journal_list(j->c, "snap", &snaps, &n_snaps, why);
	if (err == ERR_OK && n_snaps)
		j->snap_seq = j->last = snaps[n_snaps - 1];
	if (err == ERR_OK && n_logs)
		err = scan_last(j, logs[n_logs - 1], why);
	if (err == ERR_OK)
		measure(j, logs, n_logs);
	free(logs);
	free(snaps);
	return err;
}

enum err journal_open(struct cache *c, struct journal **out, struct why *why)
{
	struct journal *j = xcalloc(1, sizeof(*j));
	enum err err = ERR_OK;

	j->c = c;
	j->fd = -1;
	j->worth_bytes = JOURNAL_WORTH_BYTES;
	pthread_mutex_init(&j->mu, NULL);
	err = open_files(j, why);
	if (err != ERR_OK)
		journal_free(&j);
	*out = j;
	return err;
}

void journal_free(struct journal **jp)
{
	struct journal *j = *jp;

	*jp = NULL;
	snapshot_abandon(j);
	leave_log(j);
	pthread_mutex_destroy(&j->mu);
	free(j);
}
