/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/body_flow.h"

#include "proxy/conn.h"
#include "proxy/log.h"
#include "proxy/pass.h"
#include "proxy/server.h"

#define BODY_FLOW_MAGIC 0x42464c57
#define WINDOW_BYTES (2 * MIB)

struct body_flow {
	struct body b;
	struct mirror *mirror;
	char upstream[REPO_HOST_MAX + 1], repo[REPO_NAME_MAX + 1];
	struct flow_reader *reader;
	struct handle handle; /* for wake-ups; registered with the first send */
	uint64_t off, end;
	uint64_t resident; /* [off, resident) is in the page cache */
	bool warming;
	bool asked;        /* the upstream, to pass the rest through */
	struct body *rest; /* what it answered */
	bool broken;
};

/* ---- a reader far behind the fill: its bytes may have left memory ---- */

struct warm_job {
	struct job job;
	struct flow *flow; /* keeps the file open */
	int fd;
	uint64_t off, len;
};

static void warm_run(struct job *job)
{
	struct warm_job *w = container_of(job, struct warm_job, job);

	file_warm(w->fd, w->off, w->len);
}

static void warm_done(struct job *job, void *object)
{
	struct warm_job *w = container_of(job, struct warm_job, job);
	struct body_flow *bf = object;

	if (bf) {
		bf->warming = false;
		bf->resident = w->off + w->len;
		conn_wake(bf->b.conn);
	}
	flow_unref(&w->flow);
	free(w);
}

static void warm(struct body_flow *bf, uint64_t len)
{
	struct warm_job *w = xcalloc(1, sizeof(*w));

	w->flow = flow_ref(flow_of(bf->reader));
	w->fd = flow_fd(bf->reader);
	w->off = bf->off;
	w->len = len;
	w->job.lane = JOB_DATA;
	w->job.run = warm_run;
	w->job.done = warm_done;
	w->job.home = conn_loop(bf->b.conn);
	w->job.to = bf->handle;
	w->job.magic = BODY_FLOW_MAGIC;
	bf->warming = true;
	job_submit(conn_server(bf->b.conn)->jobs, &w->job);
}

/* Is there something at `off` that can be sent without waiting for the disk?
 * If not, a worker brings it. */
static bool is_resident(struct body_flow *bf, uint64_t ready)
{
	uint64_t len = MIN(ready - bf->off, WINDOW_BYTES);

	if (bf->warming)
		return false;
	if (bf->resident > bf->off)
		return true;
	if (file_resident(flow_fd(bf->reader), bf->off, len) == RESIDENT_YES) {
		bf->resident = bf->off + len;
		return true;
	}
	warm(bf, len);
	return false;
}

/* ---- the disk gave up: the rest passes through ---- */

static void passed(struct message *msg, void *object)
{
	struct pass_answer *a = container_of(msg, struct pass_answer, msg);
	struct body_flow *bf = object;

	if (bf) {
		if (a->err) {
			log_debug("a reply is cut: %s", a->why.text);
			bf->broken = true;
		} else {
			bf->rest = body_pass(a->pass);
			bf->rest->conn = bf->b.conn;
			bf->rest->waited_us = bf->b.waited_us;
			a->pass = NULL;
		}
		conn_wake(bf->b.conn);
	}
	pass_answer_free(&a);
}

static void pass_rest(struct body_flow *bf)
{
	struct pass_spec spec = {
	    .upstream = bf->upstream,
	    .repo = bf->repo,
	    .dg = *flow_digest(bf->reader),
	    .goes_on = true,
	    .off = bf->off,
	    .end = bf->end,
	    .size = flow_size(bf->reader),
	    .flow = flow_of(bf->reader),
	};

	bf->asked = true;
	if (flow_is_whole(bf->reader))
		spec.hasher = flow_hasher(bf->reader, &spec.hashed);
	pass_open(bf->mirror, &spec, conn_loop(bf->b.conn), bf->handle,
		  BODY_FLOW_MAGIC, passed);
}

/* ---- the body ---- */

static void woken(struct message *msg, void *object)
{
	struct body_flow *bf = object;

	free(msg);
	if (bf)
		conn_wake(bf->b.conn);
}

static void first_send(struct body_flow *bf)
{
	struct loop *loop = conn_loop(bf->b.conn);

	bf->handle = loop_register(loop, bf, BODY_FLOW_MAGIC);
	flow_reader_home(bf->reader, loop, bf->handle, BODY_FLOW_MAGIC, woken);
}

static enum body_state cut(struct body_flow *bf)
{
	struct why why;

	flow_error(bf->reader, &why);
	log_debug("a reply is cut: %s", why.text);
	return BODY_CUT;
}

static enum body_state flow_send(struct body *b, struct sink *s)
{
	struct body_flow *bf = container_of(b, struct body_flow, b);
	uint64_t ready, n;

	body_waits_no_more(b);
	if (!bf->handle.generation)
		first_send(bf);
	if (bf->rest)
		return bf->rest->ops->send(bf->rest, s);
	while (bf->off < bf->end) {
		if (bf->broken)
			return BODY_CUT;
		switch (flow_look(bf->reader, bf->off, bf->end, &ready)) {
		case FLOW_FAILED:
			return cut(bf);
		case FLOW_WAITS:
			body_waits(b);
			return BODY_WAIT;
		case FLOW_SPILLED:
			if (!bf->asked)
				pass_rest(bf);
			body_waits(b);
			return BODY_WAIT;
		case FLOW_READY:
			break;
		}
		if (!is_resident(bf, ready))
			return BODY_WAIT;
		ready = MIN(ready, bf->resident);
		n = sink_file(s, flow_fd(bf->reader), bf->off, ready - bf->off,
			      false);
		bf->off += n;
		if (n == 0 || sink_budget(s) == 0)
			break;
	}
	return bf->off == bf->end ? BODY_END : BODY_MORE;
}

static void flow_body_free(struct body *b)
{
	struct body_flow *bf = container_of(b, struct body_flow, b);

	body_waits_no_more(b);
	if (bf->handle.generation)
		loop_unregister(conn_loop(b->conn), &bf->handle);
	body_free(&bf->rest);
	flow_reader_free(&bf->reader);
	free(bf);
}

struct body *body_flow(struct mirror *m, const char *upstream, const char *repo,
		       struct flow_reader *r, uint64_t first, uint64_t last)
{
	static const struct body_ops ops = {flow_send, flow_body_free};
	struct body_flow *bf = xcalloc(1, sizeof(*bf));

	assert(first <= last && last < UINT64_MAX);
	bf->b.ops = &ops;
	bf->mirror = m;
	snprintf(bf->upstream, sizeof(bf->upstream), "%s", upstream);
	snprintf(bf->repo, sizeof(bf->repo), "%s", repo);
	bf->reader = r;
	bf->off = bf->resident = first;
	bf->end = last + 1;
	return &bf->b;
}
