/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/blob_open.h"

#include "proxy/reply.h"

struct open_job {
	struct job job;
	struct cache *cache;
	struct blob_opening how;
	enum err err;
	struct why why;
	struct blob *blob;
};

static void run(struct job *job)
{
	struct open_job *o = container_of(job, struct open_job, job);

	o->err = blob_pin(o->cache, &o->how.dg, &o->blob, &o->why);
}

static void opened(struct request *r, const struct blob_opening *how,
		   struct blob *blob)
{
	cache_touch(r->server->cache, &how->dg);
	how->opened(r, blob);
}

static void done(struct job *job, void *object)
{
	struct open_job *o = container_of(job, struct open_job, job);
	struct request *r = object;

	if (!r) {
		if (o->blob)
			blob_unpin(&o->blob);
	} else if (!o->err) {
		opened(r, &o->how, o->blob);
	} else if (o->err == ERR_NOT_FOUND || o->err == ERR_CORRUPT) {
		o->how.lost(r); /* its record has gone */
	} else {
		reply_err(r, o->err, CODE_BLOB_UNKNOWN, 0, &o->why);
	}
	free(o);
}

void blob_open(struct request *r, const struct blob_opening *how)
{
	struct blob *blob = blob_pin_hot(r->server->cache, &how->dg);
	struct open_job *o;

	if (blob) {
		opened(r, how, blob);
		return;
	}
	o = xcalloc(1, sizeof(*o));
	o->cache = r->server->cache;
	o->how = *how;
	o->job.lane = JOB_SYNC;
	o->job.run = run;
	o->job.done = done;
	request_submit(r, &o->job);
}
