/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A manifest and what it names, from a foreign layout into ours: blobs and the
 * manifests of an index first, so that nothing is ever here before what it
 * requires.  One blob, or 16 MiB of one, is a step.
 */
#include "proxy/import_int.h"

#include <pthread.h>
#include <search.h>

#define STEP_BYTES (16 * MIB)

static struct import_target *target(struct import *im)
{
	return &im->targets[im->at];
}

static struct import_frame *top(struct import *im)
{
	return &im->stack[im->depth - 1];
}

/* "team/app:1": what is in hand, for a person. */
static const char *whole_name(struct import *im, char *out, size_t size)
{
	char text[DIGEST_TEXT_MAX];
	const struct import_target *to = target(im);

	snprintf(out, size, "%s%s%s%s%s", to->host, *to->host ? "/" : "",
		 to->repo, im->tag[0] ? ":" : "@",
		 im->tag[0] ? im->tag : digest_text(&im->stack[0].dg, text));
	return out;
}

#define WHOLE_NAME_MAX (REPO_PATH_MAX + DIGEST_TEXT_MAX + 2)

/* ---- what has been taken ---- */

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct digest));
}

static bool is_taken(struct import *im, const struct digest *dg)
{
	return tfind(dg, &im->taken, compare);
}

static void note_taken(struct import *im, const struct digest *dg)
{
	if (!is_taken(im, dg))
		tsearch(xmemdup(dg, sizeof(*dg)), &im->taken, compare);
}

void import_taken_clear(struct import *im)
{
	tdestroy(im->taken, free);
	im->taken = NULL;
}

/* ---- waiting for the index ---- */

struct waiter {
	pthread_mutex_t mu;
	pthread_cond_t cond;
	bool done;
	enum err err;
	struct why why;
};

static void waiter_end(struct waiter *w, enum err err, const struct why *why)
{
	pthread_mutex_lock(&w->mu);
	w->err = err;
	w->why = *why;
	w->done = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->mu);
}

static void on_pushed(void *arg, const struct hosted_result *res)
{
	waiter_end(arg, res->err, &res->why);
}

static void on_stored(void *arg, enum err err, const struct why *why)
{
	waiter_end(arg, err, why);
}

static void waiter_wait(struct waiter *w)
{
	pthread_mutex_lock(&w->mu);
	while (!w->done)
		pthread_cond_wait(&w->cond, &w->mu);
	pthread_mutex_unlock(&w->mu);
}

/* ---- who is told ---- */

/* As of a push; `t` lacks what all have in common.  A mirror's images come as
 * if they had been pulled before: nobody is told. */
static void add_event(struct import *im, struct hook_list *l,
		      struct hook_target t)
{
	t.action = CONF_EVENT_PUSH;
	t.repo = target(im)->repo;
	t.has_size = true;
	if (*target(im)->host || !hooks_want(im->conf, t.action, t.repo))
		return;
	hook_list_command(l, im->hooks, "import");
	hook_list_add(l, &t);
}

static void tell_all(struct import *im, struct hook_list *l)
{
	if (l->n)
		hooks_wake(im->hooks);
	hook_list_release(l);
}

/* ---- the manifest itself ---- */

/* What is here of the repository, the tag and the manifest. */
struct here {
	bool linked; /* the manifest, and it is stored */
	bool tagged; /* there is such a tag */
	struct digest tag_is;
};

static void look(struct import *im, const struct digest *dg, const char *tag,
		 struct here *out)
{
	struct index_txn *txn = index_read(cache_index(im->c));
	struct manifest_row manifest;
	struct link_row link;
	struct tag_row row;
	uint64_t repo;

	memset(out, 0, sizeof(*out));
	if (repo_id(txn, target(im)->host, target(im)->repo, &repo) == ERR_OK) {
		out->linked = link_get(txn, repo, dg, &link) == ERR_OK &&
			      link.kind == LINK_MANIFEST &&
			      manifest_get(txn, dg, &manifest) == ERR_OK;
		if (*tag &&
		    tag_get(txn, repo, tag, strlen(tag), &row) == ERR_OK)
			out->tag_is = row.held[0].alg ? row.held[0] : row.seen;
		out->tagged = out->tag_is.alg != 0;
	}
	index_read_end(txn);
}

static void push(struct import *im, const struct import_frame *f,
		 const char *tag, struct waiter *w)
{
	struct hook_target t = {.media_type = f->facts.media_type,
				.dg = &f->dg,
				.tag = tag,
				.size = f->len};
	struct hook_list events = {0};
	const char *repo = target(im)->repo;
	bool immutable = tag && conf_tag_is_immutable(im->conf, repo, tag);
	struct push_manifest m = {
	    .to = {.repo = repo, .claims = true},
	    .dg = f->dg,
	    .media_type = f->facts.media_type,
	    .facts = &f->facts,
	    .bytes = f->bytes,
	    .len = f->len,
	    .tags = &tag,
	    .n_tags = tag ? 1 : 0,
	    .immutable = &immutable,
	    .allow_sparse = conf_is_sparse(im->conf, repo),
	};

	add_event(im, &events, t);
	hook_list_into(&events, &m.to);
	cache_push_manifest(im->c, &m, on_pushed, w);
	waiter_wait(w);
	tell_all(im, &events);
}

static void store(struct import *im, const struct import_frame *f,
		  const char *tag, struct waiter *w)
{
	struct store_manifest m = {
	    .host = target(im)->host,
	    .name = target(im)->repo,
	    .tag = tag,
	    .dg = f->dg,
	    .media_type = f->facts.media_type,
	    .facts = &f->facts,
	    .bytes = f->bytes,
	    .len = f->len,
	};

	cache_store_manifest(im->c, &m, on_stored, w);
	waiter_wait(w);
}

static void write_manifest(struct import *im, const char *tag)
{
	struct waiter w = {.mu = PTHREAD_MUTEX_INITIALIZER,
			   .cond = PTHREAD_COND_INITIALIZER};
	const struct import_frame *f = top(im);
	char name[WHOLE_NAME_MAX];

	if (*target(im)->host)
		store(im, f, tag, &w);
	else
		push(im, f, tag, &w);
	if (w.err == ERR_NO_SPACE) {
		im->broken = true;
		im->why = w.why;
	} else if (w.err != ERR_OK) {
		import_fail(im, "%s: %s", whole_name(im, name, sizeof(name)),
			    w.why.text);
	}
}

/* What was pushed or pulled here since is not to be undone by an old copy. */
static bool may_tag(struct import *im, const struct import_frame *f,
		    const struct here *here)
{
	char ours[DIGEST_TEXT_MAX], theirs[DIGEST_TEXT_MAX];
	char name[WHOLE_NAME_MAX];

	if (!here->tagged || im->move_tags ||
	    digest_equal(&here->tag_is, &f->dg))
		return true;
	import_fail(im,
		    "%s is %.80s here and %.80s there; --move-tags would move "
		    "it",
		    whole_name(im, name, sizeof(name)),
		    digest_text(&here->tag_is, ours),
		    digest_text(&f->dg, theirs));
	return false;
}

static void tell_partial(struct import *im, const struct import_frame *f)
{
	char text[DIGEST_TEXT_MAX], name[WHOLE_NAME_MAX];

	im->missing += f->missing_blobs + f->missing_manifests;
	if (f->missing_manifests && !*target(im)->host)
		import_say(im,
			   "%s: of the %zu manifest%s that %.80s names, %zu %s "
			   "not there",
			   whole_name(im, name, sizeof(name)),
			   f->facts.n_children, plural(f->facts.n_children),
			   digest_text(&f->dg, text), f->missing_manifests,
			   f->missing_manifests == 1 ? "is" : "are");
}

static void finish_manifest(struct import *im)
{
	const struct import_frame *f = top(im);
	bool root = im->depth == 1;
	const char *tag = root && im->tag[0] ? im->tag : NULL;
	struct here here;

	look(im, &f->dg, tag ? tag : "", &here);
	tell_partial(im, f);
	if (tag && !may_tag(im, f, &here))
		tag = NULL;
	if (!here.linked ||
	    (tag && (!here.tagged || !digest_equal(&here.tag_is, &f->dg))))
		write_manifest(im, tag);
	else if (!is_taken(im, &f->dg))
		im->there++;
}

/* ---- the stack ---- */

static void pop(struct import *im)
{
	struct import_frame *f = top(im);

	manifest_facts_release(&f->facts);
	free(f->bytes);
	memset(f, 0, sizeof(*f));
	im->depth--;
}

static enum err read_manifest(struct import *im, struct import_frame *f,
			      struct why *why)
{
	enum err err = foreign_bytes(im->foreign, &f->dg,
				     im->conf->cache.manifest_max_bytes,
				     &f->bytes, &f->len, why);

	if (err == ERR_OK)
		err = manifest_parse(f->bytes, f->len,
				     im->conf->cache.manifest_max_bytes, NULL,
				     &f->facts, why);
	if (err == ERR_OK && f->facts.kind == MANIFEST_SCHEMA1) {
		manifest_facts_release(&f->facts);
		err = why_set(why, ERR_INVALID,
			      "Docker's image manifest schema 1 is obsolete "
			      "and not stored");
	}
	return err;
}

/* ERR_NOT_FOUND: it is not there, which the caller judges. */
static enum err begin_manifest(struct import *im, const struct digest *dg)
{
	struct import_frame *f = &im->stack[im->depth];
	char text[DIGEST_TEXT_MAX], name[WHOLE_NAME_MAX];
	struct why why;
	enum err err;

	memset(f, 0, sizeof(*f));
	f->dg = *dg;
	err = read_manifest(im, f, &why);
	if (err == ERR_OK) {
		if (is_taken(im, dg))
			f->next = f->facts.n_children;
		im->depth++;
		return ERR_OK;
	}
	free(f->bytes);
	f->bytes = NULL;
	if (err != ERR_NOT_FOUND || im->depth == 0)
		import_fail(
		    im, "%s: manifest %.80s: %s",
		    whole_name(im, name, sizeof(name)), digest_text(dg, text),
		    err == ERR_NOT_FOUND ? "its file is missing" : why.text);
	return err;
}

void import_item(struct import *im, const struct foreign_item *item)
{
	assert(im->depth == 0);
	if (!item->tag[0] && is_taken(im, &item->dg))
		return; /* listed twice, or an index has brought it */
	memcpy(im->tag, item->tag, sizeof(im->tag));
	(void)!begin_manifest(im, &item->dg);
}

/* ---- what it names ---- */

static void end_blob(struct import *im)
{
	struct import_blob *b = &im->blob;

	adoption_free(&b->adoption);
	tell_all(im, &b->events);
	foreign_file_close(&b->file);
}

static void begin_blob(struct import *im, const struct digest *dg)
{
	struct import_blob *b = &im->blob;
	struct adoption_ask ask = {
	    .dg = *dg, .host = target(im)->host, .repo = target(im)->repo};
	struct hook_target t = {.media_type = "application/octet-stream",
				.dg = dg,
				.is_blob = true};
	char text[DIGEST_TEXT_MAX];
	struct why why;
	enum err err;

	if (adoption_is_there(im->c, dg, ask.host, ask.repo)) {
		im->there++;
		return;
	}
	err = foreign_file_open(im->foreign, dg, &b->file, &why);
	if (err == ERR_NOT_FOUND)
		top(im)->missing_blobs++;
	else if (err != ERR_OK)
		import_fail(im, "blob %.80s: %s", digest_text(dg, text),
			    why.text);
	if (err != ERR_OK)
		return;
	b->dg = *dg;
	ask.fd = b->file.fd;
	ask.at = b->file.at;
	ask.size = b->file.size;
	ask.dir_fd = b->file.dir_fd;
	ask.file = b->file.dir_fd >= 0 ? b->file.name : NULL;
	t.size = b->file.size;
	add_event(im, &b->events, t);
	ask.events = b->events.v;
	ask.n_events = b->events.n;
	b->adoption = adoption_new(im->c, &ask);
}

static void count_blob(struct import *im)
{
	switch (adoption_how(im->blob.adoption)) {
	case ADOPTED_THERE:
		im->there++;
		return;
	case ADOPTED_LINK:
		im->linked++;
		break;
	case ADOPTED_COPY:
		im->copied++;
		break;
	}
	im->bytes += im->blob.file.size;
}

static void step_blob(struct import *im)
{
	char text[DIGEST_TEXT_MAX];
	struct why why;
	bool more;
	enum err err =
	    adoption_step(im->blob.adoption, STEP_BYTES, &more, &why);

	if (more)
		return;
	if (err == ERR_OK) {
		count_blob(im);
	} else if (err == ERR_NO_SPACE) {
		im->broken = true;
		im->why = why;
	} else {
		import_fail(im, "blob %.80s: %s",
			    digest_text(&im->blob.dg, text), why.text);
	}
	end_blob(im);
}

/* An entry of an index whose type is unknown may be either. */
static void begin_child(struct import *im, const struct manifest_child *child)
{
	if (child->foreign || child->skipped)
		return;
	if (child->role != CHILD_MANIFEST) {
		begin_blob(im, &child->dg);
		return;
	}
	if (im->depth == IMPORT_DEPTH)
		import_fail(im, "indexes are nested more than %d deep",
			    IMPORT_DEPTH);
	else if (begin_manifest(im, &child->dg) == ERR_NOT_FOUND)
		top(im)->missing_manifests++;
}

void import_image_step(struct import *im)
{
	struct import_frame *f = top(im);

	if (im->blob.adoption) {
		step_blob(im);
	} else if (f->next < f->facts.n_children) {
		begin_child(im, &f->facts.children[f->next++]);
	} else {
		finish_manifest(im);
		note_taken(im, &f->dg);
		pop(im);
	}
}

void import_image_drop(struct import *im)
{
	end_blob(im);
	while (im->depth > 0)
		pop(im);
}
