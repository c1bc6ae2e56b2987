/* SPDX-License-Identifier: Apache-2.0 */
/*
 * refresh NAME[:TAG]: ask the upstream now, whatever is remembered of its last
 * answer.  Without a tag: every tag that is held of the repository, a page of
 * them at a time, some of a page at once; of those that are not held it is
 * forgotten that upstream lacked them.
 */
#include "cache/cache.h"
#include "proxy/conf_names.h"
#include "proxy/control_commands.h"
#include "proxy/mirror.h"
#include "proxy/server.h"

#define TAG_MAGIC 0x52465447
#define PAGE 64
#define AT_ONCE 8

struct refresh;

/* One tag that is being asked. */
struct refresh_tag {
	struct refresh *refresh;
	struct handle handle;
	char tag[TAG_MAX + 1];
	LIST_ENTRY(refresh_tag) link;
};

struct refresh {
	struct control_call *call;
	struct mirror *mirror;
	struct loop *loop;
	char upstream[REPO_HOST_MAX + 1];
	char repo[REPO_NAME_MAX + 1];
	enum err err; /* of reading the index */
	bool pages;   /* there may be another one after `last` */
	char last[TAG_MAX + 1];
	char page[PAGE][TAG_MAX + 1];
	unsigned n_page, next; /* page[next, n_page) is still to be asked */
	LIST_HEAD(, refresh_tag) asked;
	unsigned n_asked;
	unsigned good, bad;
};

static void go_on(struct refresh *r);

/* ---- the held tags ---- */

static bool take_tag(void *arg, const char *tag, size_t len,
		     const struct tag_row *row UNUSED)
{
	struct refresh *r = arg;

	if (r->n_page == PAGE)
		return false;
	snprintf(r->page[r->n_page++], sizeof(r->page[0]), "%.*s", (int)len,
		 tag);
	return true;
}

static enum err walk(struct refresh *r, struct index_txn *txn)
{
	uint64_t id;
	enum err err = repo_id(txn, r->upstream, r->repo, &id);

	if (err)
		return err == ERR_NOT_FOUND ? ERR_OK : err;
	return tag_walk(txn, id, r->last[0] ? r->last : NULL, take_tag, r);
}

static void next_page(struct refresh *r)
{
	struct cache *cache = control_server(r->call)->cache;
	struct index_txn *txn = index_read(cache_index(cache));

	r->n_page = r->next = 0;
	r->err = walk(r, txn);
	index_read_end(txn);
	r->pages = r->n_page == PAGE && !r->err;
	if (r->n_page > 0)
		memcpy(r->last, r->page[r->n_page - 1], sizeof(r->last));
}

/* ---- one tag ---- */

static void tag_free(struct refresh_tag *t)
{
	loop_unregister(t->refresh->loop, &t->handle);
	LIST_REMOVE(t, link);
	t->refresh->n_asked--;
	free(t);
}

static void report(struct refresh *r, const char *tag,
		   const struct mirror_answer *a)
{
	char digest[DIGEST_TEXT_MAX];

	if (a->err == ERR_OK) {
		r->good++;
		control_print(r->call, "%s/%s:%s %s %s", r->upstream, r->repo,
			      tag, digest_text(&a->digest, digest),
			      a->fetched ? "fetched" : "unchanged");
		return;
	}
	r->bad++;
	control_print(r->call, "%s/%s:%s failed: %s", r->upstream, r->repo, tag,
		      a->why.text[0] ? a->why.text : err_name(a->err));
}

static void on_answer(struct message *msg, void *object)
{
	struct mirror_answer *a = container_of(msg, struct mirror_answer, msg);
	struct refresh_tag *t = object;

	if (t) {
		struct refresh *r = t->refresh;

		report(r, t->tag, a);
		tag_free(t);
		go_on(r);
	}
	mirror_answer_free(&a);
}

static void ask(struct refresh *r, const char *tag)
{
	struct refresh_tag *t = xcalloc(1, sizeof(*t));
	struct mirror_ask question = {
	    .kind = ASK_TAG,
	    .upstream = r->upstream,
	    .repo = r->repo,
	    .reference = t->tag,
	    .forget = true,
	};

	t->refresh = r;
	snprintf(t->tag, sizeof(t->tag), "%s", tag);
	t->handle = loop_register(r->loop, t, TAG_MAGIC);
	LIST_INSERT_HEAD(&r->asked, t, link);
	r->n_asked++;
	mirror_ask(r->mirror, &question, r->loop, t->handle, TAG_MAGIC,
		   on_answer);
}

/* ---- all of them ---- */

static void refresh_free(struct refresh *r)
{
	while (!LIST_EMPTY(&r->asked))
		tag_free(LIST_FIRST(&r->asked));
	free(r);
}

static void finish(struct refresh *r)
{
	struct control_call *call = r->call;

	if (r->err)
		control_end(call, 1, "the index cannot be read: %s",
			    err_name(r->err));
	else if (r->bad > 0)
		control_end(call, 1, "%u of %u tags could not be refreshed",
			    r->bad, r->good + r->bad);
	else if (r->good == 0)
		control_end(call, 1,
			    "no tag of %s/%s is held here; it is asked for "
			    "with the next pull",
			    r->upstream, r->repo);
	else
		control_end(call, 0, "%s", "");
	refresh_free(r);
}

static void on_ready(struct control_call *call)
{
	go_on(control_state(call));
}

static void go_on(struct refresh *r)
{
	if (control_is_full(r->call)) {
		control_when_ready(r->call, on_ready);
		return;
	}
	if (r->next == r->n_page && r->pages)
		next_page(r);
	while (r->next < r->n_page && r->n_asked < AT_ONCE)
		ask(r, r->page[r->next++]);
	if (r->n_asked == 0)
		finish(r);
}

/* ---- the command ---- */

/* Cut "name:tag"; the tag is NULL if there is none. */
static char *cut_tag(char *name)
{
	char *slash = strrchr(name, '/');
	char *colon = strchr(slash ? slash : name, ':');

	if (!colon)
		return NULL;
	*colon = '\0';
	return colon + 1;
}

/* Whose is it?  False: the call has been ended. */
static bool resolve(struct refresh *r, const char *name)
{
	struct conf *conf = server_conf(control_server(r->call));
	struct conf_names *names = conf_names_new(conf);
	struct names_answer answer;
	enum err err =
	    names_resolve(conf_names_table(names), name, NULL, &answer);
	bool found = !err && answer.kind == NAMES_MIRROR;

	if (found) {
		snprintf(r->upstream, sizeof(r->upstream), "%s",
			 answer.upstream);
		snprintf(r->repo, sizeof(r->repo), "%s", answer.repo);
	} else if (!err && answer.kind == NAMES_HOSTED) {
		control_end(r->call, 1, "%s lives here: no upstream has it",
			    name);
	} else {
		control_end(r->call, err ? 2 : 1, "%s", answer.detail.text);
	}
	conf_names_free(&names);
	conf_unref(&conf);
	return found;
}

static struct refresh *refresh_new(struct control_call *call, const char *tag)
{
	struct refresh *r = xcalloc(1, sizeof(*r));

	r->call = call;
	r->mirror = control_server(call)->mirror;
	r->loop = control_loop(call);
	LIST_INIT(&r->asked);
	r->pages = !tag;
	if (tag)
		snprintf(r->page[r->n_page++], sizeof(r->page[0]), "%s", tag);
	return r;
}

void refresh_start(struct control_call *call, unsigned n_words,
		   char *const *words)
{
	struct refresh *r;
	char *name, *tag;

	if (n_words != 2) {
		control_end(call, 2, "expected refresh NAME[:TAG]");
		return;
	}
	name = words[1];
	tag = cut_tag(name);
	if (!repo_path_valid(name, strlen(name)) ||
	    (tag && !tag_valid(tag, strlen(tag)))) {
		control_end(call, 2, "%s is not NAME[:TAG]", name);
		return;
	}
	r = refresh_new(call, tag);
	if (!resolve(r, name)) {
		refresh_free(r);
		return;
	}
	if (!tag)
		mirror_forget(r->mirror, r->upstream, r->repo);
	control_set_state(call, r);
	go_on(r);
}

void refresh_gone(struct control_call *call)
{
	refresh_free(control_state(call));
}
