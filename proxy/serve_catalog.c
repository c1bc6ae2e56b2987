/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /v2/_catalog: the repositories that can be pulled from here, by the names
 * that pull them: hosted ones ("team/app"), and public mirrored ones
 * ("docker.io/library/alpine") of which something is held.
 *
 * Names of one host lie together in the index, in order.  So a page is a merge
 * of a few sorted runs: hosted names, and one run for each upstream.  Each step
 * is one look-up, wherever in a catalog of any size the page begins.
 */
#include "cache/hosted.h"
#include "proxy/catalog.h"
#include "proxy/list_page.h"
#include "proxy/serve_hosted.h"

#define PAGE_DEFAULT 1000

struct catalog_job {
	struct job job;
	struct cache *cache;
	struct conf *conf;
	struct list_ask ask;
	enum err err;
	struct list_text text;
	char next[LIST_NEXT_MAX];
};

static bool add(void *arg, const char *name)
{
	struct catalog_job *j = arg;
	uint64_t max = j->ask.n;
	char last[LIST_NEXT_MAX - 64];

	if (j->text.n < max) {
		list_names_add(&j->text, name);
		snprintf(j->ask.last, sizeof(j->ask.last), "%s", name);
		return !j->text.full;
	}
	if (max && list_escape(j->ask.last, last, sizeof(last)))
		snprintf(j->next, sizeof(j->next), "n=%" PRIu64 "&last=%s", max,
			 last);
	return false;
}

static void run(struct job *job)
{
	struct catalog_job *j = container_of(job, struct catalog_job, job);
	char after[sizeof(j->ask.last)];

	memcpy(after, j->ask.last, sizeof(after));
	list_names_begin(&j->text);
	j->err = catalog_walk(j->cache, j->conf, after, add, j);
	list_names_end(&j->text);
	if (j->err == ERR_OK && j->text.full)
		j->err = ERR_BUSY;
}

static void done(struct job *job, void *object)
{
	struct catalog_job *j = container_of(job, struct catalog_job, job);
	struct request *r = object;

	if (r && j->err == ERR_OK) {
		reply_begin(r, 200);
		reply_header(r, "Content-Type", "application/json");
		if (j->next[0])
			list_page_link(r, j->next);
		list_page_send(r, &j->text);
	} else if (r) {
		list_page_failed(r, j->err);
	}
	list_text_release(&j->text);
	conf_unref(&j->conf);
	free(j);
}

static void start(struct request *r)
{
	struct catalog_job *j;
	struct list_ask ask;

	if (!list_page_read(r, &ask))
		return;
	if (!ask.has_n)
		ask.n = PAGE_DEFAULT;
	j = xcalloc(1, sizeof(*j));
	j->cache = r->server->cache;
	j->conf = conf_ref(r->conf);
	j->ask = ask;
	j->job.run = run;
	j->job.done = done;
	list_page_submit(r, &j->job);
}

const struct handler serve_catalog = {.start = start};
