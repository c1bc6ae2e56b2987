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
#include "proxy/list_text.h"
#include "proxy/mirror.h"
#include "proxy/reply.h"

/* Tags in one page at most, whatever `n` says. */
#define PAGE_MAX 10000
#define OCI_INDEX "application/vnd.oci.image.index.v1+json"

struct list_state {
	/* the question */
	char query[ASK_QUERY_MAX]; /* tags: as upstream gets it */
	uint64_t n;                /* tags: at most so many */
	bool has_n;
	char last[TAG_MAX + 128]; /* tags: after this one, decoded */
	bool has_last;
	char type[MEDIA_TYPE_MAX]; /* referrers: "" = all */
	uint64_t asked_us;

	/* the reply */
	struct list_page page;
	char next[ASK_QUERY_MAX]; /* query of the next page, without ns */
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

/*
 * Distribution-spec, "Content Discovery": the link "MUST" hold the next page.
 * Relative and with the client's own path, because clients refuse another
 * host, and know this repository by their name for it.
 */
static void add_link(struct request *r)
{
	const struct list_state *st = state_of(r);
	const struct span path = r->head->path;
	char ns[3 * sizeof(r->ns)];
	bool has_ns = r->ns[0] && list_escape(r->ns, ns, sizeof(ns));

	reply_header(r, "Link", "<%.*s?%s%s%s>; rel=\"next\"", (int)path.len,
		     path.ptr, st->next, has_ns ? "&ns=" : "",
		     has_ns ? ns : "");
}

static void send_page(struct request *r)
{
	struct list_state *st = state_of(r);
	struct list_page *page = &st->page;
	struct body *body;

	reply_begin(r, 200);
	reply_header(r, "Content-Type", "%s",
		     is_tags(r) ? "application/json" : OCI_INDEX);
	if (st->next[0])
		add_link(r);
	if (st->type[0])
		reply_header(r, "OCI-Filters-Applied", "artifactType");
	if (st->warning.text[0])
		reply_warning(r, st->warning.text);
	body = body_memory(page->text, page->len);
	page->text = NULL;
	reply_send(r, page->len, body);
}

/* An empty list names nothing that could be private, but where others are
 * refused it tells that there is nothing more. */
static void show(struct request *r)
{
	const struct list_page *page = &state_of(r)->page;

	if (!page->first[0]) {
		if (!request_hide(r))
			send_page(r);
		return;
	}
	memcpy(r->witness, page->first, sizeof(r->witness));
	request_may_see(r, send_page);
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
		l->page.text = NULL;
		show(r);
	} else if (r) {
		reply_err(r, l->err, unknown_code(r), 0, &l->why);
	}
	free(l->page.text);
	buffer_unref(&l->in);
	free(l);
}

/* Takes the buffer. */
static void read_list(struct request *r, struct buffer *STEALS in)
{
	const struct list_state *st = state_of(r);
	struct list_job *l = xcalloc(1, sizeof(*l));

	l->in = in;
	l->tags = is_tags(r);
	l->none = st->has_n && st->n == 0;
	memcpy(l->name, r->route.name, sizeof(l->name));
	memcpy(l->type, st->type, sizeof(l->type));
	l->job.lane = JOB_DATA;
	l->job.run = list_run;
	l->job.home = r->loop;
	l->job.to = r->handle;
	l->job.magic = REQUEST_MAGIC;
	l->job.done = list_done;
	job_submit(r->server->jobs, &l->job);
}

/* ---- what is held ---- */

struct held_tags {
	struct list_text text;
	uint64_t max;
	bool more;
	char first[TAG_MAX + 1], last[TAG_MAX + 1];
};

static bool add_tag(void *arg, const char *tag, size_t len,
		    const struct tag_row *row)
{
	struct held_tags *h = arg;

	if (row->state == TAG_GONE || !tag_valid(tag, len))
		return true;
	h->more = h->text.n >= h->max;
	if (h->more)
		return false;
	snprintf(h->last, sizeof(h->last), "%.*s", (int)len, tag);
	if (!h->text.n)
		memcpy(h->first, h->last, sizeof(h->first));
	list_tags_add(&h->text, tag, len);
	return true;
}

/* False: none. */
static bool held_tags(struct request *r, struct index_txn *txn,
		      struct list_state *st)
{
	struct held_tags h = {.max = st->has_n ? st->n : PAGE_MAX};
	enum err err;

	list_tags_begin(&h.text, r->route.name);
	err = tag_walk(txn, r->repo_id, st->has_last ? st->last : NULL, add_tag,
		       &h);
	list_tags_end(&h.text);
	/* A page after the last tag is an answer as well. */
	if (err != ERR_OK || (!h.text.n && !h.more && !st->has_last)) {
		list_text_release(&h.text);
		return false;
	}
	if (h.more && h.max)
		snprintf(st->next, sizeof(st->next), "n=%" PRIu64 "&last=%s",
			 h.max, h.last);
	memcpy(st->page.first, h.first, sizeof(h.first));
	st->page.text = h.text.text;
	st->page.len = h.text.len;
	st->page.n = h.text.n;
	return true;
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
	if (err == ERR_OK &&
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

	if (st->has_n && st->n == 0)
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

static void refuse_page(struct request *r, const char *sentence)
{
	reply_error(r, 400, CODE_PAGINATION_NUMBER_INVALID, sentence, NULL);
}

/* `n` and `last`.  False: a reply has been sent. */
static bool read_page(struct request *r)
{
	struct list_state *st = state_of(r);
	struct span value;
	unsigned times = http_query_find(r->head->query, "n", &value);
	enum err err;

	if (times == 1) {
		err = span_uint(value, &st->n);
		if (err == ERR_TOO_BIG)
			st->n = PAGE_MAX;
		else if (err != ERR_OK)
			times = 2;
		st->has_n = true;
		st->n = MIN(st->n, (uint64_t)PAGE_MAX);
	}
	if (times > 1) {
		refuse_page(r, "the parameter n is not one number");
		return false;
	}
	times = http_query_find(r->head->query, "last", &value);
	st->has_last = times > 0;
	if (times && !request_query(r, "last", st->last, sizeof(st->last))) {
		refuse_page(r, "the parameter last is not one tag");
		return false;
	}
	return true;
}

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
		refuse_page(r, "the query is too long, or has bytes that may "
			       "not be in one");
		return false;
	}
	if (st->has_n)
		snprintf(st->query, sizeof(st->query), "n=%" PRIu64 "%s%s",
			 MAX(st->n, (uint64_t)1), rest[0] ? "&" : "", rest);
	else
		memcpy(st->query, rest, sizeof(rest));
	return true;
}

static void start_tags(struct request *r)
{
	r->state = xcalloc(1, sizeof(struct list_state));
	if (read_page(r) && make_query(r))
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
	free(st->page.text);
	free(st);
	r->state = NULL;
}

const struct handler serve_tags = {.start = start_tags, .release = release};
const struct handler serve_referrers = {.start = start_referrers,
					.release = release};
