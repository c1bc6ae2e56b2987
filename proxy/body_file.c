/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stored file, or a part of it, by sendfile.
 *
 *        off                    ready
 *   ......|======================|- - - - - - - -|..........
 *   sent    in the page cache      being warmed
 *
 * sendfile of a page that is not in memory stops the whole loop until the
 * disk has brought it.  So nothing past `ready` is sent; the next window is
 * looked at, and brought in by a worker if need be, while the last one goes
 * out.
 */
#include "cache/blob.h"
#include "proxy/body.h"
#include "proxy/conn.h"
#include "proxy/job.h"

#define WINDOW_BYTES (2 * MIB)
#define FILE_MAGIC 0x626f6466u

struct body_file {
	struct body b;
	struct jobs *jobs;
	struct blob *blob;
	uint64_t off, end;
	uint64_t ready;
	bool warming; /* a job works on the window at `ready` */
	bool waits;   /* the connection, for `ready` to move */
	struct handle handle;
};

/* Has its own pin: the body may be gone before the disk has answered. */
struct warm_job {
	struct job job;
	struct blob *blob;
	uint64_t off, len;
};

static void warm_run(struct job *job)
{
	struct warm_job *w = container_of(job, struct warm_job, job);

	file_warm(blob_fd(w->blob), w->off, w->len);
}

static void warm_done(struct job *job, void *object)
{
	struct warm_job *w = container_of(job, struct warm_job, job);
	struct body_file *f = object;

	if (f) {
		f->ready = w->off + w->len;
		f->warming = false;
		if (f->waits) {
			f->waits = false;
			conn_wake(f->b.conn);
		}
	}
	blob_unpin(&w->blob);
	free(w);
}

static void warm(struct body_file *f, uint64_t len)
{
	struct warm_job *w = xcalloc(1, sizeof(*w));
	struct loop *loop = conn_loop(f->b.conn);

	if (f->handle.generation == 0)
		f->handle = loop_register(loop, f, FILE_MAGIC);
	w->blob = blob_repin(f->blob);
	w->off = f->ready;
	w->len = len;
	w->job.lane = JOB_DATA;
	w->job.run = warm_run;
	w->job.done = warm_done;
	w->job.home = loop;
	w->job.to = f->handle;
	w->job.magic = FILE_MAGIC;
	f->warming = true;
	job_submit(f->jobs, &w->job);
}

/* Let `ready` be a window ahead of `off`, now or as soon as the disk allows.
 * Where the kernel cannot tell, the worker's read-ahead is the answer. */
static void look_ahead(struct body_file *f)
{
	while (!f->warming && f->ready < f->end &&
	       f->ready - f->off < WINDOW_BYTES) {
		uint64_t len = MIN(f->end - f->ready, WINDOW_BYTES);

		if (file_resident(blob_fd(f->blob), f->ready, len) ==
		    RESIDENT_YES)
			f->ready += len;
		else
			warm(f, len);
	}
}

static enum body_state file_send(struct body *b, struct sink *s)
{
	struct body_file *f = container_of(b, struct body_file, b);

	while (f->off < f->end) {
		uint64_t n;

		look_ahead(f);
		if (f->off == f->ready) {
			f->waits = true;
			return BODY_WAIT;
		}
		n = sink_file(s, blob_fd(f->blob), f->off, f->ready - f->off,
			      f->ready < f->end);
		f->off += n;
		if (sink_budget(s) == 0 || n == 0)
			break;
	}
	return f->off == f->end ? BODY_END : BODY_MORE;
}

static void file_free(struct body *b)
{
	struct body_file *f = container_of(b, struct body_file, b);

	if (f->handle.generation != 0)
		loop_unregister(conn_loop(b->conn), &f->handle);
	blob_unpin(&f->blob);
	free(f);
}

struct body *body_file(struct jobs *jobs, struct blob *blob, uint64_t first,
		       uint64_t last)
{
	static const struct body_ops ops = {file_send, file_free};
	struct body_file *f = xcalloc(1, sizeof(*f));

	assert(first <= last && last < UINT64_MAX);
	f->b.ops = &ops;
	f->jobs = jobs;
	f->blob = blob;
	f->off = f->ready = first;
	f->end = last + 1;
	return &f->b;
}
