/* SPDX-License-Identifier: Apache-2.0 */
/* What is done with a session: jobs on its strand. */
#include "proxy/upload_session_int.h"

/* ---- jobs ---- */

enum op_kind { OP_BEGIN, OP_TAKE, OP_APPEND, OP_MARK, OP_FINISH, OP_CANCEL };

struct op {
	struct job job;
	enum op_kind kind;
	struct session *session;
	struct session_hold *hold; /* of its owner; of a first job it lives,
				      else its owner may have gone */
	uint64_t epoch;

	/* what it is about */
	char *repo;
	enum digest_alg alg;
	bool for_bytes; /* OP_TAKE: more are to come */
	const void *buf;
	size_t len;
	struct digest dg;
	struct hosting hosting; /* its texts are copies */
	struct slice *events;

	/* what came of it */
	enum err err;
	struct why why;
	uint64_t offset;

	session_got_cb *got;
	session_done_cb *done;
	void *arg;
};

static void op_free(struct op *op)
{
	free(op->repo);
	free((char *)(uintptr_t)op->hosting.shadow_host);
	free((char *)(uintptr_t)op->hosting.shadow_name);
	for (size_t i = 0; i < op->hosting.n_events; i++)
		free((char *)(uintptr_t)op->events[i].ptr);
	free(op->events);
	free(op);
}

static enum err op_begin(struct op *op)
{
	struct session *s = op->session;

	return upload_new(s->all->cache, op->repo, op->alg, &s->upload,
			  &op->why);
}

enum err session_go_back(struct session *s, struct why *why)
{
	enum err err;

	if (!s->marked)
		return ERR_OK;
	err = upload_rewind(s->upload, why);
	if (!err)
		s->marked = false;
	return err;
}

static enum err not_found(struct op *op)
{
	return why_set(&op->why, ERR_NOT_FOUND, "there is no such upload");
}

static enum err op_take(struct op *op)
{
	struct session *s = op->session;

	enum err err = ERR_OK;

	if (!s->upload)
		err = upload_open(s->all->cache, s->id, &s->upload, &op->why);
	if (err)
		return err;
	if (strcmp(upload_repo(s->upload), op->repo) != 0)
		return not_found(op);
	if (!op->epoch)
		session_grant(op->hold);
	err = session_go_back(s, &op->why);
	if (!err && op->for_bytes)
		err = upload_check_index(s->upload, &op->why);
	return err;
}

static enum err op_mark(struct op *op)
{
	struct session *s = op->session;
	enum err err = upload_begin_put(s->upload, &op->why);

	s->marked = !err;
	return err;
}

static enum err op_finish(struct op *op)
{
	struct session *s = op->session;
	enum err err = upload_finish(&s->upload, &op->dg, &op->hosting, NULL,
				     NULL, &op->why);

	s->marked = false; /* it is gone, or back there */
	return err;
}

/* After a failed write it is opened again, or found to be lost. */
static enum err op_append(struct op *op)
{
	struct session *s = op->session;
	enum err err = upload_append(s->upload, op->buf, op->len, &op->why);

	if (err == ERR_IO) {
		s->marked = false;
		upload_close(&s->upload);
	}
	return err;
}

static enum err op_cancel(struct op *op)
{
	struct session *s = op->session;
	enum err err = ERR_OK;

	if (!s->upload)
		err = upload_open(s->all->cache, s->id, &s->upload, &op->why);
	if (!err)
		upload_cancel(&s->upload);
	return err;
}

static enum err op_do(struct op *op)
{
	switch (op->kind) {
	case OP_BEGIN:
		return op_begin(op);
	case OP_TAKE:
		return op_take(op);
	case OP_APPEND:
		return op_append(op);
	case OP_MARK:
		return op_mark(op);
	case OP_FINISH:
		return op_finish(op);
	case OP_CANCEL:
		return op_cancel(op);
	}
	assert(!"no such job");
	return ERR_OK;
}

/* May it begin?  Under mu. */
static enum err op_judge(struct op *op)
{
	struct session *s = op->session;

	if (s->gone)
		return not_found(op);
	if (!op->epoch) /* op_take() asks for it */
		return ERR_OK;
	if (op->epoch != s->epoch)
		return why_set(&op->why, ERR_CANCELED,
			       "another request has taken this upload over");
	/* What follows bytes that are missing does not belong there. */
	if (op->epoch == s->spoiled && op->kind != OP_CANCEL)
		return why_set(&op->why, ERR_CANCELED,
			       "bytes before these could not be added");
	if (op->kind == OP_FINISH)
		s->finishing = true;
	return ERR_OK;
}

/* Has the session ended with this job, or is it only closed? */
static bool is_over(const struct op *op)
{
	switch (op->kind) {
	case OP_TAKE:
	case OP_APPEND:
	case OP_CANCEL:
		return op->err == ERR_OK || op->err == ERR_NOT_FOUND;
	case OP_BEGIN:
	case OP_MARK:
	case OP_FINISH:
		break;
	}
	return true;
}

/* Under mu: what others are told from now on. */
static void op_note(struct op *op)
{
	struct session *s = op->session;
	bool had_none = op->kind == OP_BEGIN || op->kind == OP_TAKE;

	s->finishing = false;
	if (op->err && (op->kind == OP_APPEND || op->kind == OP_MARK))
		s->spoiled = op->epoch;
	if (!s->upload) {
		s->gone = is_over(op);
		if (s->gone)
			session_unlist(s);
		return;
	}
	if (op->kind == OP_BEGIN && !op->err)
		session_list(s, upload_id(s->upload));
	op->offset = upload_offset(s->upload);
	if (had_none && !s->known) {
		snprintf(s->info.repo, sizeof(s->info.repo), "%s",
			 upload_repo(s->upload));
		s->known = true;
	}
	if (!s->marked)
		s->info.offset = op->offset;
}

static void op_run(struct job *job)
{
	struct op *op = container_of(job, struct op, job);
	struct upload_sessions *all = op->session->all;
	bool runs;

	pthread_mutex_lock(&all->mu);
	op->err = op_judge(op);
	pthread_mutex_unlock(&all->mu);
	runs = op->err == ERR_OK;
	if (runs)
		op->err = op_do(op);
	pthread_mutex_lock(&all->mu);
	if (runs)
		op_note(op);
	session_unuse(op->session);
	pthread_mutex_unlock(&all->mu);
}

static void op_home(struct job *job, void *object)
{
	struct op *op = container_of(job, struct op, job);
	struct session_hold *hold = op->hold;

	if (op->done) {
		/* Who still has the object still has the hold, or has dropped
		 * it and does not look. */
		op->done(object, op->arg, op->err, &op->why);
	} else if (!object || op->err) {
		session_drop(&hold);
		if (object)
			op->got(object, NULL, op->err, &op->why);
	} else {
		hold->offset = op->offset;
		op->got(object, hold, ERR_OK, NULL);
	}
	op_free(op);
}

static struct op *op_new(struct session_hold *hold, enum op_kind kind)
{
	struct op *op = xcalloc(1, sizeof(*op));
	bool heavy = kind == OP_APPEND;

	op->kind = kind;
	op->session = hold->session;
	op->hold = hold;
	op->epoch = hold->epoch;
	op->job.lane = heavy ? JOB_DATA : JOB_SYNC;
	op->job.run = op_run;
	op->job.done = op_home;
	op->job.home = hold->owner.loop;
	op->job.to = hold->owner.to;
	op->job.magic = hold->owner.magic;
	return op;
}

static void submit(struct op *op)
{
	struct upload_sessions *all = op->session->all;

	pthread_mutex_lock(&all->mu);
	session_use(op->session);
	pthread_mutex_unlock(&all->mu);
	job_submit_on(op->session->strand, &op->job);
}

void session_submit_begin(struct session_hold *hold, const char *repo,
			  enum digest_alg alg, session_got_cb *cb)
{
	struct op *op = op_new(hold, OP_BEGIN);

	op->repo = xstrdup(repo);
	op->alg = alg;
	op->got = cb;
	submit(op);
}

void session_submit_take(struct session_hold *hold, const char *repo,
			 bool for_bytes, session_got_cb *cb)
{
	struct op *op = op_new(hold, OP_TAKE);

	op->repo = xstrdup(repo);
	op->for_bytes = for_bytes;
	op->got = cb;
	submit(op);
}

/* ---- what an owner does ---- */

/* Constant while there is a hold. */
const char *session_id(const struct session_hold *hold)
{
	return hold->session->id;
}

uint64_t session_offset(const struct session_hold *hold)
{
	return hold->offset;
}

static void submit_done(struct op *op, session_done_cb *done, void *arg)
{
	op->done = done;
	op->arg = arg;
	submit(op);
}

void session_append(struct session_hold *hold, const void *buf, size_t len,
		    session_done_cb *done, void *arg)
{
	struct op *op = op_new(hold, OP_APPEND);

	op->buf = buf;
	op->len = len;
	hold->offset += len;
	submit_done(op, done, arg);
}

void session_mark(struct session_hold *hold, session_done_cb *done, void *arg)
{
	submit_done(op_new(hold, OP_MARK), done, arg);
}

static const char *copy(const char *text)
{
	return text ? xstrdup(text) : NULL;
}

static void copy_hosting(struct op *op, const struct hosting *h)
{
	op->repo = xstrdup(h->repo);
	op->hosting = *h;
	op->hosting.repo = op->repo;
	op->hosting.shadow_host = copy(h->shadow_host);
	op->hosting.shadow_name = copy(h->shadow_name);
	op->events = xcalloc(h->n_events + 1, sizeof(*op->events));
	for (size_t i = 0; i < h->n_events; i++) {
		op->events[i].ptr = xmemdup(h->events[i].ptr, h->events[i].len);
		op->events[i].len = h->events[i].len;
	}
	op->hosting.events = op->events;
}

void session_finish(struct session_hold *hold, const struct digest *dg,
		    const struct hosting *h, session_done_cb *done, void *arg)
{
	struct op *op = op_new(hold, OP_FINISH);

	op->dg = *dg;
	copy_hosting(op, h);
	submit_done(op, done, arg);
}

void session_cancel(struct session_hold *hold, session_done_cb *done, void *arg)
{
	submit_done(op_new(hold, OP_CANCEL), done, arg);
}
