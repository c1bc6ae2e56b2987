/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/control_long.h"

#include "cache/name.h"
#include "proxy/job.h"
#include "proxy/log.h"
#include "proxy/server.h"

#define LONG_MAGIC 0x4c4f4e47
#define PROGRESS_MS 200

/* What the call has; `work` is the loop's or the worker's in turn. */
struct long_call {
	struct control_call *call;
	struct loop *loop;
	struct handle handle;
	struct long_work *work; /* NULL: the worker has it */
};

struct long_work {
	struct job job;
	struct server *server;
	const struct long_kind *kind;
	void *work;
	uint64_t told_ms; /* when progress was last told */
	bool more;
};

static void work_free(struct long_work *w)
{
	w->kind->free(w->work);
	free(w);
}

static void long_call_free(struct long_call *lc)
{
	loop_unregister(lc->loop, &lc->handle);
	if (lc->work)
		work_free(lc->work);
	free(lc);
}

/* ---- the turns ---- */

static void run(struct job *job)
{
	struct long_work *w = container_of(job, struct long_work, job);

	w->more = !__atomic_load_n(&w->server->stopping, __ATOMIC_RELAXED) &&
		  w->kind->step(w->work);
}

static void done(struct job *job, void *object);

static void send_on(struct long_call *lc)
{
	struct long_work *w = lc->work;

	lc->work = NULL;
	memset(&w->job, 0, sizeof(w->job));
	w->job.lane = JOB_SLOW;
	w->job.run = run;
	w->job.home = lc->loop;
	w->job.to = lc->handle;
	w->job.magic = LONG_MAGIC;
	w->job.done = done;
	job_submit(w->server->jobs, &w->job);
}

static void on_ready(struct control_call *call)
{
	send_on(control_state(call));
}

static void print(struct long_call *lc, const struct long_work *w)
{
	char *text = w->kind->take_lines(w->work), *rest = text, *line;

	while (rest && *rest) {
		line = rest;
		rest = strchrnul(rest, '\n');
		if (*rest)
			*rest++ = '\0';
		control_print(lc->call, "%s", line);
	}
	free(text);
}

static void tell_progress(struct long_call *lc, struct long_work *w)
{
	uint64_t of, so_far, now = now_ms();
	char text[128 + REPO_PATH_MAX];

	if (now - w->told_ms < PROGRESS_MS)
		return;
	w->told_ms = now;
	w->kind->progress(w->work, &so_far, &of, text, sizeof(text));
	control_progress(lc->call, so_far, of, text);
}

static void end(struct long_call *lc, const struct long_work *w)
{
	char last[512];
	bool whole = w->kind->is_whole(w->work, last, sizeof(last));

	if (__atomic_load_n(&w->server->stopping, __ATOMIC_RELAXED))
		control_end(lc->call, 1,
			    "the daemon is stopping; the same command goes on "
			    "with it");
	else
		control_end(lc->call, whole ? 0 : 1, "%s", last);
	log_info("%s: ended: %s", w->kind->name, whole ? "whole" : last);
}

static void done(struct job *job, void *object)
{
	struct long_work *w = container_of(job, struct long_work, job);
	struct long_call *lc = object;

	if (!lc) {
		log_info("%s: cut off by its client", w->kind->name);
		work_free(w);
		return;
	}
	print(lc, w);
	lc->work = w;
	if (!w->more) {
		end(lc, w);
		long_call_free(lc);
		return;
	}
	tell_progress(lc, w);
	if (control_is_full(lc->call))
		control_when_ready(lc->call, on_ready);
	else
		send_on(lc);
}

/* ---- the command ---- */

void control_long_start(struct control_call *call, const struct long_kind *kind,
			void *work)
{
	struct long_call *lc = xcalloc(1, sizeof(*lc));

	lc->call = call;
	lc->loop = control_loop(call);
	lc->handle = loop_register(lc->loop, lc, LONG_MAGIC);
	lc->work = xcalloc(1, sizeof(*lc->work));
	lc->work->server = control_server(call);
	lc->work->kind = kind;
	lc->work->work = work;
	control_set_state(call, lc);
	log_info("%s: begins", kind->name);
	send_on(lc);
}

void control_long_gone(struct control_call *call)
{
	long_call_free(control_state(call));
}
