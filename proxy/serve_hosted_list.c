/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tags/list and referrers of a hosted repository, read from the index.
 *
 * Short pages of tags are read on the loop; long ones, and referrers, whose
 * filter looks into each descriptor, by a worker.
 */
#include "cache/cache.h"
#include "proxy/list_page.h"
#include "proxy/serve_hosted.h"

/* Rows that a loop may walk while others wait. */
#define LOOP_ROWS 1000
/* Text of referrers in one page: clients read no more than 4 MiB. */
#define REFERRERS_TEXT_MAX (4 * MIB - 64 * KIB)
#define OCI_INDEX "application/vnd.oci.image.index.v1+json"

struct list_state {
	struct list_ask ask;
	bool filtered;
	char type[MEDIA_TYPE_MAX]; /* referrers: only these */
	struct list_page page;
	char next[LIST_NEXT_MAX];
};

static struct list_state *state_of(const struct request *r)
{
	return r->state;
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

static void send_page(struct request *r, const char *content_type)
{
	struct list_state *st = state_of(r);

	reply_begin(r, 200);
	reply_header(r, "Content-Type", "%s", content_type);
	if (st->next[0])
		list_page_link(r, st->next);
	if (st->filtered)
		reply_header(r, "OCI-Filters-Applied", "artifactType");
	list_page_send(r, &st->page.text);
}

/* ---- by a worker ---- */

struct list_job {
	struct job job;
	struct cache *cache;
	uint64_t repo;
	struct digest subject; /* alg 0: tags */
	char name[REPO_PATH_MAX + 1];
	struct list_state in; /* what is asked for */
	enum err err;
	struct list_page page;
	char next[LIST_NEXT_MAX];
};

static void list_done(struct job *job, void *object)
{
	struct list_job *l = container_of(job, struct list_job, job);
	struct request *r = object;

	if (r && l->err == ERR_OK) {
		struct list_state *st = state_of(r);

		st->page = l->page;
		memset(&l->page, 0, sizeof(l->page));
		memcpy(st->next, l->next, sizeof(st->next));
		send_page(r, l->subject.alg ? OCI_INDEX : "application/json");
	} else if (r) {
		list_page_failed(r, l->err);
	}
	list_text_release(&l->page.text);
	free(l);
}

static void list_submit(struct request *r, const struct digest *subject,
			void (*run)(struct job *job))
{
	struct list_job *l = xcalloc(1, sizeof(*l));

	l->cache = r->server->cache;
	l->repo = r->repo_id;
	if (subject)
		l->subject = *subject;
	memcpy(l->name, r->route.name, sizeof(l->name));
	l->in = *state_of(r);
	l->job.run = run;
	l->job.done = list_done;
	list_page_submit(r, &l->job);
}

/* ---- tags ---- */

static void tags_run(struct job *job)
{
	struct list_job *l = container_of(job, struct list_job, job);
	struct index_txn *txn = index_read(cache_index(l->cache));

	l->err = list_page_tags(txn, l->repo, l->name, &l->in.ask, &l->page,
				l->next);
	index_read_end(txn);
}

static bool repo_is_known(struct request *r)
{
	struct index_txn *txn = index_read(cache_index(r->server->cache));
	bool known = request_repo(r, txn);

	index_read_end(txn);
	return known;
}

static void start_tags(struct request *r)
{
	struct list_state *st = xcalloc(1, sizeof(*st));
	struct index_txn *txn;
	enum err err;

	r->state = st;
	if (!list_page_read(r, &st->ask))
		return;
	if (!repo_is_known(r)) {
		reply_error(r, 404, CODE_NAME_UNKNOWN,
			    "nothing was ever pushed to this repository",
			    r->names.repo);
		return;
	}
	if (!st->ask.has_n || st->ask.n > LOOP_ROWS) {
		list_submit(r, NULL, tags_run);
		return;
	}
	txn = index_read(cache_index(r->server->cache));
	err = list_page_tags(txn, r->repo_id, r->route.name, &st->ask,
			     &st->page, st->next);
	index_read_end(txn);
	if (err == ERR_OK)
		send_page(r, "application/json");
	else
		list_page_failed(r, err);
}

const struct handler serve_hosted_tags = {.start = start_tags,
					  .release = release};

/* ---- referrers ---- */

/* Rows looked at in one snapshot: none is kept for long. */
#define SNAPSHOT_ROWS 500

struct gathering {
	struct list_job *l;
	struct list_text text;
	struct digest last; /* of those in the text */
	bool full;
	struct digest seen; /* the last that was looked at */
	unsigned rows;      /* in this snapshot */
};

/*
 * Filtered before they are paged: a page of nothing but others would look like
 * the end to a client that does not follow links.
 */
static bool add_referrer(void *arg, const struct digest *dg,
			 struct slice descriptor)
{
	struct gathering *g = arg;
	const char *type = g->l->in.filtered ? g->l->in.type : NULL;

	if (g->rows++ == SNAPSHOT_ROWS)
		return false;
	g->seen = *dg;
	if (type && !list_descriptor_is(descriptor.ptr, descriptor.len, type))
		return true;
	if (g->text.n && g->text.len + descriptor.len > REFERRERS_TEXT_MAX) {
		g->full = true;
		return false;
	}
	list_referrers_add(&g->text, descriptor.ptr, descriptor.len);
	g->last = *dg;
	return !g->text.full;
}

/* The rows of one snapshot.  True: there are more. */
static bool gather_some(struct gathering *g)
{
	struct list_job *l = g->l;
	struct index_txn *txn = index_read(cache_index(l->cache));

	g->rows = 0;
	l->err = referrer_walk(txn, l->repo, &l->subject,
			       g->seen.alg ? &g->seen : NULL, add_referrer, g);
	index_read_end(txn);
	return l->err == ERR_OK && !g->full && !g->text.full &&
	       g->rows > SNAPSHOT_ROWS;
}

static void make_next(struct list_job *l, const struct gathering *g)
{
	char type[3 * MEDIA_TYPE_MAX] = "", text[DIGEST_TEXT_MAX];
	bool filter =
	    l->in.filtered && list_escape(l->in.type, type, sizeof(type));

	digest_text(&g->last, text);
	snprintf(l->next, sizeof(l->next), "last=%s%s%s", text,
		 filter ? "&artifactType=" : "", type);
}

/*
 * OCI distribution-spec, "Listing Referrers": merged with the fallback tag's
 * index.  An entry of that counts only if its manifest is linked here and
 * names this subject; but then its push has made it a row of `referrer`
 * already.  So the rows are the merged list.
 */
static void referrers_run(struct job *job)
{
	struct list_job *l = container_of(job, struct list_job, job);
	const char *last = l->in.ask.last;
	struct gathering g = {.l = l};

	/* What is no digest is before all of them. */
	if (digest_parse(last, strlen(last), &g.seen) != ERR_OK)
		g.seen.alg = 0;
	list_referrers_begin(&g.text);
	while (l->repo && gather_some(&g))
		;
	list_referrers_end(&g.text);
	if (l->err == ERR_OK && g.text.full)
		l->err = ERR_BUSY;
	if (g.full)
		make_next(l, &g);
	l->page.text = g.text;
}

/* "MUST NOT return a 404": of a subject or a repository that was never seen
 * the list is empty. */
static void start_referrers(struct request *r)
{
	struct list_state *st = xcalloc(1, sizeof(*st));

	r->state = st;
	if (!list_page_read(r, &st->ask))
		return;
	st->filtered =
	    request_query(r, "artifactType", st->type, sizeof(st->type)) &&
	    st->type[0];
	(void)repo_is_known(r);
	list_submit(r, &r->route.digest, referrers_run);
}

const struct handler serve_hosted_referrers = {.start = start_referrers,
					       .release = release};
