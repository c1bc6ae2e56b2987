/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A question's dealings with its upstream: calls, the pauses that a 429
 * imposes, and what an answer that is no success means.
 */
#include "proxy/question.h"

struct call_spec question_spec(const struct question *q, enum call_what what,
			       const char *reference, bool head)
{
	struct call_spec spec = {
	    .up = q->up,
	    .repo = q->repo,
	    .what = what,
	    .reference = reference,
	    .head = head,
	};

	return spec;
}

/* ---- calls ---- */

static void small_heard(void *arg, enum err err,
			const struct call_answer *answer, const struct why *why)
{
	struct question *q = arg;
	question_step *step = q->step;
	struct heard h = {.err = err, .why = why};

	q->small = NULL;
	if (err == ERR_OK) {
		h.head = answer->head;
		h.body = answer->body;
		h.len = answer->len;
	}
	step(q, &h);
}

void question_call(struct question *q, const struct call_spec *spec,
		   size_t max_body, question_step *step)
{
	assert(!q->small && !q->call && !q->ended);
	q->found.asked = true;
	q->step = step;
	q->small = call_small_start(mirror_caller(q->all->mirror), spec,
				    max_body, small_heard, q);
}

static bool cut_head(void *arg, const struct call_head *head)
{
	struct question *q = arg;

	q->cut_head = *head;
	/* They end with this callback, and no step asks for them. */
	q->cut_head.content_type = "";
	q->cut_head.next = NULL;
	q->cut_head.filters_applied = NULL;
	return false;
}

static enum fetch_take cut_data(void *arg, const void *buf, size_t len)
{
	(void)arg;
	(void)buf;
	(void)len;
	return FETCH_STOP;
}

/* What breaks after the head is none of our business. */
static void cut_done(void *arg, enum err err, bool had_head,
		     const struct why *why)
{
	struct question *q = arg;
	question_step *step = q->step;
	struct heard h = {.err = had_head ? ERR_OK : err, .why = why};

	q->call = NULL;
	if (h.err == ERR_OK)
		h.head = &q->cut_head;
	step(q, &h);
}

static const struct call_events cut_events = {
    .head = cut_head,
    .data = cut_data,
    .done = cut_done,
};

void question_call_head(struct question *q, const struct call_spec *spec,
			question_step *step)
{
	assert(!q->small && !q->call && !q->ended);
	q->found.asked = true;
	q->step = step;
	q->call =
	    call_start(mirror_caller(q->all->mirror), spec, &cut_events, q);
}

/* ---- 429 ---- */

void question_note_limit(struct question *q, const struct call_head *h,
			 enum limit_kind kind)
{
	upstream_note_limit(q->up, kind, !upstream_has_credentials(q->up),
			    h->has_retry_after ? h->retry_after_s : 0);
}

/* A pause is worth its while where nothing is held that could be answered
 * instead, and the client would wait as long for a slow answer. */
static bool is_worth_waiting(const struct question *q, uint64_t limited_ms)
{
	uint64_t until = loop_now_ms(q->all->loop) + limited_ms;

	return !q->tag_held && q->kind != ASK_REFERRERS &&
	       until <= q->patience_ms;
}

bool question_limited(struct question *q, enum limit_kind kind, question_go *go)
{
	uint64_t limited_ms =
	    upstream_limited_ms(q->up, kind, !upstream_has_credentials(q->up));

	if (!limited_ms)
		return false;
	if (is_worth_waiting(q, limited_ms)) {
		q->go = go;
		timer_set(&q->pause, limited_ms);
		return true;
	}
	q->found.status = 429;
	q->found.retry_after_s = (limited_ms + 999) / 1000;
	question_fail(q, ERR_LIMITED,
		      "%s limits our requests (429); it may be asked again in "
		      "%" PRIu64 " s",
		      question_upstream(q), q->found.retry_after_s);
	return true;
}

/* ---- what is no success ---- */

/* The call's sentence, with the upstream's name if it lacks it. */
static void set_call_error(struct question *q, const struct heard *h)
{
	const char *name = question_upstream(q);
	const char *text =
	    h->why && h->why->text[0] ? h->why->text : err_name(h->err);

	if (strstr(text, name))
		question_set_error(q, h->err, "%s", text);
	else
		question_set_error(q, h->err, "%s: %s", name, text);
}

/* The reply says "private or does not exist"; this says what was tried. */
static void set_denied(struct question *q, const struct call_head *head)
{
	const char *how = upstream_has_credentials(q->up)
			      ? "with our credentials for it"
			      : "without credentials; none are configured "
				"for it";

	question_set_error(q, ERR_DENIED, "%s answered %u when asked for %s %s",
			   question_upstream(q), head->status, q->repo, how);
}

static void set_status_error(struct question *q, const struct call_head *head,
			     const char *thing)
{
	const char *name = question_upstream(q);

	switch (head->status) {
	case 401:
	case 403:
	case 451:
		if (!head->from_registry) {
			question_set_error(q, ERR_UNAVAILABLE,
					   "%s answered %u for %s of %s where "
					   "it had redirected to",
					   name, head->status, thing, q->repo);
			return;
		}
		set_denied(q, head);
		return;
	case 404:
		question_set_error(q, ERR_NOT_FOUND,
				   "%s does not have %s of %s", name, thing,
				   q->repo);
		return;
	case 429:
		q->found.retry_after_s =
		    head->has_retry_after ? head->retry_after_s : 0;
		question_set_error(q, ERR_LIMITED,
				   "%s limits our requests (429)", name);
		return;
	default:
		question_set_error(q,
				   head->status >= 500 || head->status == 408
				       ? ERR_UNAVAILABLE
				       : ERR_BAD_UPSTREAM,
				   "%s answered %u when asked for %s of %s",
				   name, head->status, thing, q->repo);
	}
}

static bool is_denied(const struct heard *h)
{
	if (h->err) /* the token server's word */
		return h->err == ERR_DENIED;
	return h->head->status == 401 || h->head->status == 403 ||
	       h->head->status == 451;
}

/* What a redirect's target refuses, a signed URL's say, is nothing that the
 * upstream has said of the repository. */
bool question_is_denial(const struct heard *h)
{
	return is_denied(h) && (h->err || h->head->from_registry);
}

bool question_knows_no_head(const struct heard *h)
{
	return !h->err && (h->head->status == 400 || h->head->status == 405 ||
			   h->head->status == 501);
}

bool question_head_refused(struct question *q, const struct heard *h)
{
	bool anonymous = !upstream_has_credentials(q->up);
	bool refused =
	    question_knows_no_head(h) ||
	    (is_denied(h) && !upstream_limited_ms(q->up, LIMIT_GET, anonymous));

	q->no_head = q->no_head || refused;
	return refused;
}

void question_refuse(struct question *q, const struct heard *h,
		     const char *thing)
{
	if (h->err) {
		set_call_error(q, h);
	} else {
		q->found.status = h->head->status;
		set_status_error(q, h->head, thing);
	}
	/* A repository that nobody has had anything of gets no row for what
	 * a client made up; and many registries refuse lists of what they let
	 * everybody pull. */
	if (question_is_denial(h) && q->repo_id && q->kind != ASK_TAGS &&
	    q->kind != ASK_REFERRERS)
		question_note_repo(q, REPO_DENIED, question_answer_noted);
	else
		question_answer(q);
}
