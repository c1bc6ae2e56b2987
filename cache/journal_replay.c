/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the journal: the last snapshot, if all is wanted, and the logs in
 * order.  Each sequence is given once; one that is in no file was acknowledged
 * and is lost, and so is what stands where no frame begins, unless it is the
 * torn end of the last append.
 */
#include "cache/journal_file.h"

#include <stdarg.h>

struct reader {
	struct cache *c;
	struct journal_replaying *r;
	struct why *why;
	uint64_t next; /* the sequence that is to come */
};

/* ERR_OK: go on without it. */
static enum err damage(struct reader *rd, const char *fmt, ...)
    PRINTF_LIKE(2, 3) MUST_CHECK;
static enum err damage(struct reader *rd, const char *fmt, ...)
{
	char text[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	rd->r->damages++;
	if (!rd->r->damage)
		return journal_damaged(rd->why, "%s", text);
	rd->r->damage(rd->r->damage_arg, text);
	return ERR_OK;
}

/* ---- frames ---- */

/* A snapshot's has no sequence. */
static enum err bad_record(struct reader *rd, const char *path, uint64_t seq)
{
	if (!seq)
		return damage(rd, "%s has a record that cannot be read", path);
	return damage(rd, "record %" PRIu64 " in %s cannot be read", seq, path);
}

static enum err give(struct reader *rd, const char *path, uint64_t seq,
		     struct slice payload)
{
	struct journal_entry e;

	if (payload.len && payload.ptr[0] > JOURNAL_ENTRY_VERSION)
		return why_set(
		    rd->why, ERR_INVALID,
		    "%s was written by a newer entrepot (its records "
		    "have version %u, this one knows %d): run that "
		    "one",
		    path, payload.ptr[0], JOURNAL_ENTRY_VERSION);
	if (journal_entry_decode(payload.ptr, payload.len, &e) != ERR_OK)
		return bad_record(rd, path, seq);
	return rd->r->cb(rd->r->arg, seq, &e);
}

/* Of a log, those from rd->next on; of a snapshot (first = 0) all. */
static enum err give_records(struct reader *rd, const char *path,
			     const struct journal_frame *frame)
{
	struct slice records = frame->records, payload;
	enum err err = ERR_OK;

	for (uint32_t i = 0; err == ERR_OK && i < frame->n; i++) {
		uint64_t seq = frame->first ? frame->first + i : 0;

		if (!journal_record_take(&records, &payload))
			return damage(rd, "%s has a frame that breaks off",
				      path);
		if (!seq || seq >= rd->next)
			err = give(rd, path, seq, payload);
	}
	if (err == ERR_OK && records.len)
		err = damage(rd, "%s has a frame of more than it says", path);
	return err;
}

/* Here is sequence `first`: what should have come before it? */
static enum err arrive(struct reader *rd, uint64_t first)
{
	enum err err = ERR_OK;

	if (first > rd->next) {
		err = damage(
		    rd, "journal/ has no records from %" PRIu64 " to %" PRIu64,
		    rd->next, first - 1);
		rd->next = first;
	}
	return err;
}

static enum err read_log_frame(struct reader *rd, const char *path,
			       const struct journal_frame *frame)
{
	uint64_t end = frame->first + frame->n;
	enum err err;

	if (end <= rd->next)
		return ERR_OK;
	err = arrive(rd, frame->first);
	if (err == ERR_OK)
		err = give_records(rd, path, frame);
	rd->next = end;
	return err;
}

/* ---- files ---- */

static enum err read_file(struct reader *rd, const char *path, uint8_t **buf,
			  size_t *len)
{
	enum err err = journal_read(rd->c, path, UINT64_MAX, buf, len, rd->why);

	if (err != ERR_OK && rd->r->damage)
		return damage(rd, "%s cannot be read", path);
	return err;
}

/* At a frame that is whole, or at one behind damage.  False: that is all;
 * what is left in `rest` is a torn tail. */
static bool find_next(struct reader *rd, const char *path, struct slice *rest,
		      uint64_t min, uint64_t max, size_t len, enum err *err)
{
	struct slice peek = *rest;
	struct journal_frame frame;

	*err = ERR_OK;
	if (journal_frame_take(&peek, &frame) && frame.first >= min &&
	    frame.first <= max)
		return true;
	if (!journal_frame_find(rest, min, max))
		return false;
	*err =
	    damage(rd, "%s is damaged before byte %zu", path, len - rest->len);
	return *err == ERR_OK;
}

static enum err read_log(struct reader *rd, uint64_t seq)
{
	struct journal_frame frame;
	char path[PATH_LEN_MAX];
	struct slice rest;
	uint8_t *buf;
	size_t len;
	enum err err = arrive(rd, seq);

	journal_path(seq, "log", path);
	if (err == ERR_OK)
		err = read_file(rd, path, &buf, &len);
	if (err != ERR_OK)
		return err;
	rest = slice_of(buf, len);
	while (err == ERR_OK &&
	       find_next(rd, path, &rest, MAX(seq, 1), JOURNAL_SEQ_MAX, len,
			 &err) &&
	       journal_frame_take(&rest, &frame))
		err = read_log_frame(rd, path, &frame);
	free(buf);
	return err;
}

/* It has its name only once all of it is on the disk. */
static enum err read_snapshot(struct reader *rd, uint64_t seq)
{
	struct journal_frame frame = {.n = 1};
	char path[PATH_LEN_MAX];
	struct slice rest;
	uint8_t *buf;
	size_t len;
	enum err err;

	journal_path(seq, "snap", path);
	err = read_file(rd, path, &buf, &len);
	if (err != ERR_OK)
		return err;
	rest = slice_of(buf, len);
	while (err == ERR_OK && find_next(rd, path, &rest, 0, 0, len, &err) &&
	       journal_frame_take(&rest, &frame))
		err = give_records(rd, path, &frame);
	free(buf);
	if (err == ERR_OK && (rest.len || frame.n))
		err = damage(rd, "%s is damaged at its end", path);
	if (err == ERR_OK)
		err = rd->r->cb(rd->r->arg, seq, NULL);
	rd->next = seq + 1;
	return err;
}

/* Those that have something behind what was read. */
static enum err read_logs(struct reader *rd, const uint64_t *logs, size_t n)
{
	enum err err = ERR_OK;

	for (size_t i = 0; err == ERR_OK && i < n; i++)
		if (i + 1 == n || logs[i + 1] > rd->next)
			err = read_log(rd, logs[i]);
	return err;
}

enum err journal_replay(struct cache *c, struct journal_replaying *r,
			struct why *why)
{
	struct reader rd = {.c = c, .r = r, .why = why, .next = r->after + 1};
	uint64_t *logs = NULL, *snaps = NULL;
	size_t n_logs = 0, n_snaps = 0;
	enum err err = journal_list(c, "log", &logs, &n_logs, why);

	if (err == ERR_OK)
		err = journal_list(c, "snap", &snaps, &n_snaps, why);
	/* A snapshot does not tell what has gone: only for an index that has
	 * nothing yet. */
	if (err == ERR_OK && n_snaps && !r->after)
		err = read_snapshot(&rd, snaps[n_snaps - 1]);
	if (err == ERR_OK)
		err = read_logs(&rd, logs, n_logs);
	r->last = rd.next - 1;
	free(logs);
	free(snaps);
	return err;
}
