/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ls: every repository that is known here, with what it holds; the hosted ones
 * first, then each upstream's, by name.  A page of them at a time, each page
 * in a snapshot of its own.
 */
#include "cache/cache.h"
#include "proxy/conf_names.h"
#include "proxy/control_commands.h"
#include "proxy/server.h"

#define PAGE 64

struct listing {
	struct control_call *call;
	struct conf *conf;
	struct conf_names *names;
	enum err err;
	/* where the last page ended; `host` empty and `name` too: before all */
	char host[REPO_HOST_MAX + 1];
	char name[REPO_NAME_MAX + 1];
	uint64_t ids[PAGE];
	unsigned n;
};

struct counts {
	uint64_t tags, manifests, blobs;
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

static bool count_tag(void *arg, const char *tag UNUSED, size_t len UNUSED,
		      const struct tag_row *row UNUSED)
{
	((struct counts *)arg)->tags++;
	return true;
}

static bool count_link(void *arg, const struct digest *dg UNUSED,
		       const struct link_row *row)
{
	struct counts *n = arg;

	if (row->kind == LINK_MANIFEST)
		n->manifests++;
	else
		n->blobs++;
	return true;
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

static void print_repo(struct listing *l, struct index_txn *txn, uint64_t id)
{
	char note[REPO_HOST_MAX + REPO_NAME_MAX + 32];
	struct counts n = {0};
	struct repo_row row;
	enum err err = repo_get(txn, id, &row);

	if (err == ERR_OK)
		err = tag_walk(txn, id, NULL, count_tag, &n);
	if (err == ERR_OK)
		err = link_walk(txn, id, NULL, count_link, &n);
	if (err != ERR_OK) {
		control_print(l->call, "(a repository that cannot be read: %s)",
			      err_name(err));
		return;
	}
	note_of(l, &row, note, sizeof(note));
	control_print(l->call,
		      "%s%s%s  %s  tags %" PRIu64 "  manifests %" PRIu64
		      "  blobs %" PRIu64 "%s",
		      row.host, row.host[0] ? "/" : "", row.name,
		      row.kind == REPO_HOSTED ? "hosted" : "mirror", n.tags,
		      n.manifests, n.blobs, note);
}

/* False: that was the last one. */
static bool print_page(struct listing *l)
{
	struct cache *cache = control_server(l->call)->cache;
	struct index_txn *txn = index_read(cache_index(cache));
	char host[sizeof(l->host)], name[sizeof(l->name)];

	l->n = 0;
	memcpy(host, l->host, sizeof(host));
	memcpy(name, l->name, sizeof(name));
	l->err = repo_walk(txn, host, name, take_id, l);
	for (unsigned i = 0; i < l->n; i++)
		print_repo(l, txn, l->ids[i]);
	index_read_end(txn);
	return l->n == PAGE && l->err == ERR_OK;
}

static void listing_free(struct listing *l)
{
	conf_names_free(&l->names);
	conf_unref(&l->conf);
	free(l);
}

static void go_on(struct control_call *call)
{
	struct listing *l = control_state(call);

	do {
		if (control_is_full(call)) {
			control_when_ready(call, go_on);
			return;
		}
	} while (print_page(l));
	if (l->err)
		control_end(call, 1, "the index cannot be read: %s",
			    err_name(l->err));
	else
		control_end(call, 0, "%s", "");
	listing_free(l);
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
	l->conf = server_conf(control_server(call));
	l->names = conf_names_new(l->conf);
	control_set_state(call, l);
	go_on(call);
}

void ls_gone(struct control_call *call)
{
	listing_free(control_state(call));
}
