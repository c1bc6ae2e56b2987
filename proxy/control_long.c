/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/control_long.h"

#include "cache/name.h"
#include "proxy/job.h"
#include "proxy/log.h"
#include "proxy/server.h"

#define LONG_MAGIC 0x4c4f4e47
#define PROGRESS_MS 200

/* What the call has; `turn` is the loop's and the worker's by turns. */
struct long_call {
	struct control_call *call;
	struct loop *loop;
	struct handle handle;
	struct long_turn *turn; /* NULL: the worker has it */
};

struct long_turn {
	struct job job;
	struct server *server;
	struct long_work *work;
	uint64_t told_ms; /* when progress was last told */
	bool more;
};

static void turn_free(struct long_turn *t)
{
	long_work_free(&t->work);
	free(t);
}

static void long_call_free(struct long_call *lc)
{
	loop_unregister(lc->loop, &lc->handle);
	if (lc->turn)
		turn_free(lc->turn);
	free(lc);
}

/* ---- the turns ---- */

static void run(struct job *job)
{
	struct long_turn *t = container_of(job, struct long_turn, job);

	t->more = !__atomic_load_n(&t->server->stopping, __ATOMIC_RELAXED) &&
		  t->work->kind->step(t->work);
}

static void done(struct job *job, void *object);

static void send_on(struct long_call *lc)
{
	struct long_turn *t = lc->turn;

	lc->turn = NULL;
	memset(&t->job, 0, sizeof(t->job));
	t->job.lane = JOB_SLOW;
	t->job.run = run;
	t->job.home = lc->loop;
	t->job.to = lc->handle;
	t->job.magic = LONG_MAGIC;
	t->job.done = done;
	job_submit(t->server->jobs, &t->job);
}

static void on_ready(struct control_call *call)
{
	send_on(control_state(call));
}

static void print(struct long_call *lc, const struct long_turn *t)
{
	char *text = long_work_take_lines(t->work), *rest = text, *line;

	while (rest && *rest) {
		line = rest;
		rest = strchrnul(rest, '\n');
		if (*rest)
			*rest++ = '\0';
		control_print(lc->call, "%s", line);
	}
	free(text);
}

static void tell_progress(struct long_call *lc, struct long_turn *t)
{
	uint64_t of, so_far, now = now_ms();
	char text[128 + REPO_PATH_MAX];

	if (now - t->told_ms < PROGRESS_MS)
		return;
	t->told_ms = now;
	t->work->kind->progress(t->work, &so_far, &of, text, sizeof(text));
	control_progress(lc->call, so_far, of, text);
}

static void end(struct long_call *lc, const struct long_turn *t)
{
	char last[512];
	bool whole = t->work->kind->is_whole(t->work, last, sizeof(last));

	if (__atomic_load_n(&t->server->stopping, __ATOMIC_RELAXED))
		control_end(lc->call, 1,
			    "the daemon is stopping; the same command goes on "
			    "with it");
	else
		control_end(lc->call, whole ? 0 : 1, "%s", last);
	log_info("%s: ended: %s", t->work->kind->name, whole ? "whole" : last);
}

static void done(struct job *job, void *object)
{
	struct long_turn *t = container_of(job, struct long_turn, job);
	struct long_call *lc = object;

	if (!lc) {
		log_info("%s: cut off by its client", t->work->kind->name);
		turn_free(t);
		return;
	}
	print(lc, t);
	lc->turn = t;
	if (!t->more) {
		end(lc, t);
		long_call_free(lc);
		return;
	}
	tell_progress(lc, t);
	if (control_is_full(lc->call))
		control_when_ready(lc->call, on_ready);
	else
		send_on(lc);
}

/* ---- the command ---- */

void control_long_start(struct control_call *call, struct long_work *work)
{
	struct long_call *lc = xcalloc(1, sizeof(*lc));

	lc->call = call;
	lc->loop = control_loop(call);
	lc->handle = loop_register(lc->loop, lc, LONG_MAGIC);
	lc->turn = xcalloc(1, sizeof(*lc->turn));
	lc->turn->server = control_server(call);
	lc->turn->work = work;
	control_set_state(call, lc);
	log_info("%s: begins", work->kind->name);
	send_on(lc);
}

void control_long_gone(struct control_call *call)
{
	long_call_free(control_state(call));
}
