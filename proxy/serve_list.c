/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tags/list and referrers of a mirrored repository.
 *
 *   ASK ──► upstream's page, or all referrers ──► a worker reads the JSON
 *    │                                              └─► SHOW
 *    └─ failed, or known to be out ──► what is held, with a Warning ─► SHOW
 *
 * An upstream's 404 is an answer, not a failure.
 */
#include "cache/cache.h"
#include "proxy/freshness.h"
#include "proxy/list_page.h"
#include "proxy/mirror.h"
#include "proxy/reply.h"

#define OCI_INDEX "application/vnd.oci.image.index.v1+json"

struct list_state {
	/* the question */
	char query[ASK_QUERY_MAX]; /* tags: as upstream gets it */
	struct list_ask ask;       /* tags: as it is for us */
	char type[MEDIA_TYPE_MAX]; /* referrers: "" = all */
	uint64_t asked_us;

	/* the reply */
	struct list_page page;
	char next[LIST_NEXT_MAX]; /* query of the next page, without ns */
	struct why warning;       /* "" = fresh */
};

static struct list_state *state_of(const struct request *r)
{
	return r->state;
}

static bool is_tags(const struct request *r)
{
	return r->route.endpoint == ENDPOINT_TAGS;
}

static enum api_code unknown_code(const struct request *r)
{
	return is_tags(r) ? CODE_NAME_UNKNOWN : CODE_MANIFEST_UNKNOWN;
}

/* ---- SHOW ---- */

static void send_page(struct request *r)
{
	struct list_state *st = state_of(r);

	reply_begin(r, 200);
	reply_header(r, "Content-Type", "%s",
		     is_tags(r) ? "application/json" : OCI_INDEX);
	if (st->next[0])
		list_page_link(r, st->next);
	if (st->type[0])
		reply_header(r, "OCI-Filters-Applied", "artifactType");
	if (st->warning.text[0])
		reply_warning(r, st->warning.text);
	list_page_send(r, &st->page.text);
}

/*
 * An empty list names nothing that could be private, but it tells: of tags,
 * that there is such a repository; and where others are refused, that there is
 * nothing more.  An upstream that has not the subject has no referrers, too.
 */
static void show(struct request *r)
{
	const struct list_page *page = &state_of(r)->page;

	if (page->first[0] || is_tags(r)) {
		memcpy(r->witness, page->first, sizeof(r->witness));
		request_may_see(r, send_page);
	} else if (!request_hide(r)) {
		send_page(r);
	}
}

/* ---- reading lists, on a worker ---- */

struct list_job {
	struct job job;
	struct buffer *in;
	bool tags, none;
	char name[REPO_PATH_MAX + 1];
	char type[MEDIA_TYPE_MAX];
	enum err err;
	struct why why;
	struct list_page page;
};

static void list_run(struct job *job)
{
	struct list_job *l = container_of(job, struct list_job, job);
	struct buffer *in = l->in;

	if (l->tags)
		l->err = list_tags(in->bytes, in->len, l->name, l->none,
				   &l->page, &l->why);
	else
		l->err = list_referrers(in->bytes, in->len,
					l->type[0] ? l->type : NULL, &l->page,
					&l->why);
}

static void list_done(struct job *job, void *object)
{
	struct list_job *l = container_of(job, struct list_job, job);
	struct request *r = object;

	if (r && l->err == ERR_OK) {
		state_of(r)->page = l->page;
		memset(&l->page, 0, sizeof(l->page));
		show(r);
	} else if (r) {
		reply_err(r, l->err, unknown_code(r), l->err == ERR_BUSY,
			  &l->why);
	}
	list_text_release(&l->page.text);
	buffer_unref(&l->in);
	free(l);
}

/*
 * Takes the buffer.  What comes out is about as long as what goes in; its room
 * is counted here, so that who finds none does not queue for a worker either.
 */
static void read_list(struct request *r, struct buffer *STEALS in)
{
	const struct list_state *st = state_of(r);
	struct list_text room = {0};
	struct list_job *l;

	if (!list_text_reserve(&room, in->len)) {
		buffer_unref(&in);
		list_page_failed(r, ERR_BUSY);
		return;
	}
	l = xcalloc(1, sizeof(*l));
	l->page.text = room;
	l->in = in;
	l->tags = is_tags(r);
	l->none = st->ask.has_n && st->ask.n == 0;
	memcpy(l->name, r->route.name, sizeof(l->name));
	memcpy(l->type, st->type, sizeof(l->type));
	l->job.run = list_run;
	l->job.done = list_done;
	list_page_submit(r, &l->job);
}

/* ---- what is held ---- */

/* False: none. */
static bool held_tags(struct request *r, struct index_txn *txn,
		      struct list_state *st)
{
	if (list_page_tags(txn, r->repo_id, r->route.name, &st->ask, &st->page,
			   st->next) != ERR_OK)
		return false;
	/* A page after the last tag is an answer as well. */
	if (st->page.text.n || st->next[0] || st->ask.has_last ||
	    (st->ask.has_n && !st->ask.n))
		return true;
	list_text_release(&st->page.text);
	return false;
}

static bool add_referrer(void *arg, const struct digest *dg UNUSED,
			 struct slice descriptor)
{
	list_referrers_add(arg, descriptor.ptr, descriptor.len);
	return true;
}

/* False: none, and the subject is not here either, so that nothing says that
 * we would know. */
static bool held_referrers(struct request *r, struct index_txn *txn,
			   struct list_text *text)
{
	struct link_row link;
	enum err err;

	list_referrers_begin(text);
	err = referrer_walk(txn, r->repo_id, &r->route.digest, NULL,
			    add_referrer, text);
	list_referrers_end(text);
	if (err == ERR_OK && !text->full &&
	    (text->n ||
	     link_get(txn, r->repo_id, &r->route.digest, &link) == ERR_OK))
		return true;
	list_text_release(text);
	return false;
}

/* Is there anything to answer with, and may it be used?  Answers then. */
static bool show_held(struct request *r, enum err err, const struct why *why)
{
	struct list_state *st = state_of(r);
	struct index_txn *txn = index_read(cache_index(r->server->cache));
	struct list_text text = {0};
	struct freshness f = {
	    .now_ms = wall_ms(),
	    .max_stale_ms = CONF_UNLIMITED,
	    .max_denied_ms = r->up->max_denied_ms,
	    .held = true,
	};
	struct repo_row repo;
	enum stale_reason reason;
	bool found = false;

	if (request_repo(r, txn) &&
	    repo_get(txn, r->repo_id, &repo) == ERR_OK) {
		f.denied_ms = repo.denied_ms;
		if (freshness_after(&f, err, &reason) == FRESHNESS_STALE)
			found = is_tags(r) ? held_tags(r, txn, st)
					   : held_referrers(r, txn, &text);
	}
	index_read_end(txn);
	if (!found)
		return false;
	r->verdict = VERDICT_STALE;
	(void)why_set(&st->warning, ERR_OK, "stale: %.240s", why->text);
	if (is_tags(r)) {
		show(r);
	} else {
		read_list(r, buffer_new(text.text, text.len));
		list_text_release(&text);
	}
	return true;
}

/* ---- ASK ---- */

static void failed(struct request *r, const struct mirror_answer *a)
{
	if (a->err == ERR_NOT_FOUND || !show_held(r, a->err, &a->why))
		reply_err(r, a->err, unknown_code(r), a->retry_after_s,
			  &a->why);
}

/* Upstream's link goes on through us; one that cannot would end the list. */
static bool take_next(struct request *r, const char *next)
{
	static const char *const drop[] = {"ns", NULL};
	struct list_state *st = state_of(r);
	struct why why;

	if (st->ask.has_n && st->ask.n == 0)
		return true; /* no more of nothing */
	if (list_query(span_of(next), drop, st->next, sizeof(st->next)) ==
	    ERR_OK)
		return true;
	reply_err(r,
		  why_set(&why, ERR_BAD_UPSTREAM,
			  "%.200s links to a next page that cannot be asked "
			  "for",
			  r->up->name),
		  unknown_code(r), 0, &why);
	return false;
}

static enum verdict verdict_of(const struct mirror_answer *a)
{
	if (!a->asked && !a->joined)
		return VERDICT_HIT; /* remembered */
	return a->joined ? VERDICT_JOINED : VERDICT_MISS;
}

static void answered(struct message *msg, void *object)
{
	struct mirror_answer *a = container_of(msg, struct mirror_answer, msg);
	struct request *r = object;

	if (!r) {
		mirror_answer_free(&a);
		return;
	}
	r->upstream_us += now_us() - state_of(r)->asked_us;
	r->verdict = verdict_of(a);
	if (a->err == ERR_OK && !a->body)
		a->err = why_set(&a->why, ERR_BAD_UPSTREAM,
				 "%.200s answered without a list", r->up->name);
	if (a->err != ERR_OK)
		failed(r, a);
	else if (!is_tags(r) || take_next(r, a->next))
		read_list(r, buffer_ref(a->body));
	mirror_answer_free(&a);
}

static void ask(struct request *r)
{
	struct list_state *st = state_of(r);
	struct mirror_ask question = {
	    .kind = is_tags(r) ? ASK_TAGS : ASK_REFERRERS,
	    .upstream = r->names.upstream,
	    .repo = r->names.repo,
	    .reference = r->route.ref,
	    .query = st->query,
	};
	struct why why;

	/* What is known to fail need not be waited for. */
	if (r->up->offline ||
	    mirror_is_out(r->server->mirror, r->names.upstream)) {
		(void)why_set(&why, ERR_UNAVAILABLE,
			      r->up->offline
				  ? "%.200s is configured to be offline"
				  : "%.200s could not be asked a moment ago",
			      r->up->name);
		if (show_held(r, ERR_UNAVAILABLE, &why))
			return;
	}
	st->asked_us = now_us();
	mirror_ask(r->server->mirror, &question, r->loop, r->handle,
		   REQUEST_MAGIC, answered);
}

/* ---- START ---- */

/*
 * Upstream's query: all of the client's, because some registries page by
 * parameters of their own.  Of no tags one is asked for, since what registries
 * answer to n=0 differs.  False: a reply has been sent.
 */
static bool make_query(struct request *r)
{
	static const char *const drop[] = {"ns", "n", NULL};
	struct list_state *st = state_of(r);
	char rest[ASK_QUERY_MAX - 32];

	if (list_query(r->head->query, drop, rest, sizeof(rest)) != ERR_OK) {
		reply_error(r, 400, CODE_PAGINATION_NUMBER_INVALID,
			    "the query is too long, or has bytes that may not "
			    "be in one",
			    NULL);
		return false;
	}
	if (st->ask.has_n)
		snprintf(st->query, sizeof(st->query), "n=%" PRIu64 "%s%s",
			 MAX(st->ask.n, (uint64_t)1), rest[0] ? "&" : "", rest);
	else
		memcpy(st->query, rest, sizeof(rest));
	return true;
}

static void start_tags(struct request *r)
{
	struct list_state *st = xcalloc(1, sizeof(*st));

	r->state = st;
	if (list_page_read(r, &st->ask) && make_query(r))
		ask(r);
}

static void start_referrers(struct request *r)
{
	struct list_state *st = xcalloc(1, sizeof(*st));

	r->state = st;
	/* One that cannot be read is not applied; clients filter again where
	 * OCI-Filters-Applied does not say that it was. */
	if (!request_query(r, "artifactType", st->type, sizeof(st->type)))
		st->type[0] = '\0';
	ask(r);
}

static void release(struct request *r)
{
	struct list_state *st = state_of(r);

	if (!st)
		return;
	list_text_release(&st->page.text);
	free(st);
	r->state = NULL;
}

const struct handler serve_tags = {.start = start_tags, .release = release};
const struct handler serve_referrers = {.start = start_referrers,
					.release = release};
