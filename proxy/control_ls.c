/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ls: every repository that is known here, with what it holds; the hosted ones
 * first, then each upstream's, by name.
 *
 * A repository may hold any number of tags and links, and as long as a snapshot
 * is open the index cannot use again what commits free.  So one looks at a
 * bounded number of rows, and the control loop has its turn before the next
 * goes on there; what changes meanwhile is counted as it is found.
 */
#include "cache/cache.h"
#include "proxy/conf_names.h"
#include "proxy/control_commands.h"
#include "proxy/server.h"

#define PAGE 64
#define ROWS_PER_SNAPSHOT 4096

/* How far the counting of a repository has come. */
struct counts {
	uint64_t tags, manifests, blobs;
	bool tags_done;
	char tag[TAG_MAX + 1]; /* the last one; "" = none yet */
	struct digest dg;      /* likewise, of its links; alg 0 = none yet */
};

struct listing {
	struct control_call *call;
	struct conf *conf;
	struct conf_names *names;
	struct timer timer; /* to the next snapshot */
	enum err err;
	/* where the last page ended; `host` empty and `name` too: before all */
	char host[REPO_HOST_MAX + 1];
	char name[REPO_NAME_MAX + 1];
	uint64_t ids[PAGE];
	unsigned n, at; /* `at`: is being counted, or the next to be */
	bool last_page;
	struct counts counts;
	uint64_t rows; /* looked at in all */
	unsigned left; /* that this snapshot may look at */
};

static bool take_id(void *arg, const char *host, struct slice name, uint64_t id)
{
	struct listing *l = arg;

	snprintf(l->host, sizeof(l->host), "%s", host);
	snprintf(l->name, sizeof(l->name), "%.*s", (int)name.len,
		 (const char *)name.ptr);
	l->ids[l->n++] = id;
	return l->n < PAGE;
}

/* False: not in this snapshot. */
static bool take_row(struct listing *l)
{
	if (l->left == 0)
		return false;
	l->left--;
	l->rows++;
	return true;
}

static bool count_tag(void *arg, const char *tag, size_t len,
		      const struct tag_row *row UNUSED)
{
	struct listing *l = arg;

	if (!take_row(l))
		return false;
	l->counts.tags++;
	snprintf(l->counts.tag, sizeof(l->counts.tag), "%.*s", (int)len, tag);
	return true;
}

static bool count_link(void *arg, const struct digest *dg,
		       const struct link_row *row)
{
	struct listing *l = arg;

	if (!take_row(l))
		return false;
	if (row->kind == LINK_MANIFEST)
		l->counts.manifests++;
	else
		l->counts.blobs++;
	l->counts.dg = *dg;
	return true;
}

/* Go on with it; complete once something is left to be looked at. */
static enum err count_repo(struct listing *l, struct index_txn *txn,
			   uint64_t id)
{
	struct counts *n = &l->counts;
	enum err err = ERR_OK;

	if (!n->tags_done)
		err =
		    tag_walk(txn, id, n->tag[0] ? n->tag : NULL, count_tag, l);
	if (err != ERR_OK || l->left == 0)
		return err;
	n->tags_done = true;
	return link_walk(txn, id, n->dg.alg ? &n->dg : NULL, count_link, l);
}

/* What a name that is hosted by a claim, and not by a pattern, hides. */
static void note_of(const struct listing *l, const struct repo_row *row,
		    char *out, size_t size)
{
	struct names_conf table = *conf_names_table(l->names);
	struct names_answer a;

	out[0] = '\0';
	/* Without claims: by rows 3 to 7, as if nobody had pushed. */
	if (row->kind != REPO_HOSTED ||
	    names_resolve(&table, row->name, NULL, &a) != ERR_OK)
		return;
	if (a.row == 6)
		snprintf(out, size, "  hides %s/%s", a.upstream, a.repo);
	else if (a.row == 3)
		snprintf(out, size, "  hidden by the upstream %s", a.upstream);
}

static void print_repo(struct listing *l, const struct repo_row *row)
{
	char note[REPO_HOST_MAX + REPO_NAME_MAX + 32];
	const struct counts *n = &l->counts;

	note_of(l, row, note, sizeof(note));
	control_print(l->call,
		      "%s%s%s  %s  tags %" PRIu64 "  manifests %" PRIu64
		      "  blobs %" PRIu64 "%s",
		      row->host, row->host[0] ? "/" : "", row->name,
		      row->kind == REPO_HOSTED ? "hosted" : "mirror", n->tags,
		      n->manifests, n->blobs, note);
}

/* One repository, or what is left of it.  False: not all in this snapshot. */
static bool list_repo(struct listing *l, struct index_txn *txn, uint64_t id)
{
	struct repo_row row;
	enum err err = repo_get(txn, id, &row);

	if (err == ERR_OK)
		err = count_repo(l, txn, id);
	if (err == ERR_OK && l->left == 0)
		return false;
	if (err == ERR_OK)
		print_repo(l, &row);
	else if (err != ERR_NOT_FOUND) /* released meanwhile */
		control_print(l->call, "(a repository that cannot be read: %s)",
			      err_name(err));
	memset(&l->counts, 0, sizeof(l->counts));
	return true;
}

static void next_page(struct listing *l, struct index_txn *txn)
{
	char host[sizeof(l->host)], name[sizeof(l->name)];

	l->n = l->at = 0;
	memcpy(host, l->host, sizeof(host));
	memcpy(name, l->name, sizeof(name));
	l->err = repo_walk(txn, host, name, take_id, l);
	l->last_page = l->err != ERR_OK || l->n < PAGE;
}

/* One snapshot.  False: all have been listed. */
static bool list_some(struct listing *l)
{
	struct cache *cache = control_server(l->call)->cache;
	struct index_txn *txn = index_read(cache_index(cache));

	l->left = ROWS_PER_SNAPSHOT;
	if (l->at == l->n)
		next_page(l, txn);
	while (l->at < l->n && list_repo(l, txn, l->ids[l->at]))
		l->at++;
	index_read_end(txn);
	return l->at < l->n || !l->last_page;
}

static void tell_progress(struct listing *l)
{
	struct index_stats stats;

	index_stats(cache_index(control_server(l->call)->cache), &stats);
	control_progress(
	    l->call, l->rows,
	    MAX(l->rows, stats.rows[TABLE_TAG] + stats.rows[TABLE_LINK]),
	    "tags, manifests and blobs counted");
}

static void listing_free(struct listing *l)
{
	timer_release(&l->timer);
	conf_names_free(&l->names);
	conf_unref(&l->conf);
	free(l);
}

static void finish(struct listing *l)
{
	if (l->err)
		control_end(l->call, 1, "the index cannot be read: %s",
			    err_name(l->err));
	else
		control_end(l->call, 0, "%s", "");
	listing_free(l);
}

static void go_on(struct control_call *call)
{
	struct listing *l = control_state(call);

	if (!list_some(l)) {
		finish(l);
		return;
	}
	if (l->at < l->n)
		tell_progress(l);
	if (control_is_full(call))
		control_when_ready(call, go_on);
	else
		timer_set(&l->timer, 0);
}

static void next_turn(void *arg)
{
	struct listing *l = arg;

	go_on(l->call);
}

void ls_start(struct control_call *call, unsigned n_words,
	      char *const *words UNUSED)
{
	struct listing *l;

	if (n_words != 1) {
		control_end(call, 2, "expected ls");
		return;
	}
	l = xcalloc(1, sizeof(*l));
	l->call = call;
	timer_init(&l->timer, control_loop(call), next_turn, l);
	l->conf = server_conf(control_server(call));
	l->names = conf_names_new(l->conf);
	control_set_state(call, l);
	go_on(call);
}

void ls_gone(struct control_call *call)
{
	listing_free(control_state(call));
}
