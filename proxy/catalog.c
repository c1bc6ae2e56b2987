/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/catalog.h"

#include "cache/hosted.h"

/* Look-ups in one snapshot: none is kept for long. */
#define SNAPSHOT_ROWS 1000

/* One sorted run of names: of one host. */
struct run {
	const struct conf_upstream *up; /* NULL: hosted */
	char name[REPO_NAME_MAX + 1];   /* the next one; as the index has it */
	char shown[REPO_PATH_MAX + 1];  /* as it pulls */
	bool ended;
};

struct walk {
	struct cache *cache;
	struct index_txn *txn;
	unsigned rows;
	struct run *runs;
	size_t n_runs;
	enum err err;
};

bool catalog_is_public(const struct conf_upstream *up,
		       const struct repo_row *repo)
{
	if (up->private_content == CONF_PRIVATE_SHARE)
		return true;
	if (up->credentials == CONF_CRED_NONE)
		return repo->visibility != VIS_PRIVATE;
	return repo->visibility == VIS_PUBLIC;
}

static const char *host_of(const struct run *run)
{
	return run->up ? run->up->name : "";
}

static void renew(struct walk *w)
{
	if (++w->rows < SNAPSHOT_ROWS)
		return;
	index_read_end(w->txn);
	w->txn = index_read(cache_index(w->cache));
	w->rows = 0;
}

static bool is_shown(const struct walk *w, const struct run *run, uint64_t id)
{
	struct repo_row repo;

	return !run->up || (repo_get(w->txn, id, &repo) == ERR_OK &&
			    catalog_is_public(run->up, &repo));
}

/* Go to the run's first name after run->name that is shown. */
static void advance(struct walk *w, struct run *run)
{
	uint64_t id;

	do {
		renew(w);
		w->err = repo_next_held(w->txn, host_of(run), run->name,
					run->name, &id);
		if (w->err != ERR_OK) {
			run->ended = true;
			if (w->err == ERR_NOT_FOUND)
				w->err = ERR_OK;
			return;
		}
	} while (!is_shown(w, run, id));
	snprintf(run->shown, sizeof(run->shown), "%s%s%s", host_of(run),
		 run->up ? "/" : "", run->name);
}

/*
 * Stand before the first name of the run whose shown form is after `after`.
 * All of a mirror's names share "host/"; when `after` does not, it is before
 * or behind the whole run.
 */
static void place(struct walk *w, struct run *run, const char *after)
{
	const char *host = host_of(run);
	size_t len = strlen(host);
	int order = strncmp(after, host, len);

	run->name[0] = '\0';
	if (!run->up)
		snprintf(run->name, sizeof(run->name), "%s", after);
	else if (order == 0 && after[len] == '/')
		snprintf(run->name, sizeof(run->name), "%s", after + len + 1);
	else if (order > 0 || (order == 0 && after[len] > '/'))
		run->ended = true;
	if (!run->ended)
		advance(w, run);
}

static struct run *first_of(struct walk *w)
{
	struct run *first = NULL;

	for (size_t i = 0; i < w->n_runs; i++) {
		struct run *run = &w->runs[i];

		if (!run->ended &&
		    (!first || strcmp(run->shown, first->shown) < 0))
			first = run;
	}
	return first;
}

enum err catalog_walk(struct cache *c, const struct conf *conf,
		      const char *after, catalog_cb *cb, void *arg)
{
	struct walk w = {
	    .cache = c,
	    .txn = index_read(cache_index(c)),
	    .runs = xcalloc(conf->upstreams.n + 1, sizeof(*w.runs)),
	    .n_runs = conf->upstreams.n + 1,
	};
	struct run *run;

	for (size_t i = 0; i < w.n_runs && w.err == ERR_OK; i++) {
		if (i > 0)
			w.runs[i].up = &conf->upstreams.v[i - 1];
		place(&w, &w.runs[i], after);
	}
	while (w.err == ERR_OK && (run = first_of(&w)) && cb(arg, run->shown))
		advance(&w, run);
	index_read_end(w.txn);
	free(w.runs);
	return w.err;
}
