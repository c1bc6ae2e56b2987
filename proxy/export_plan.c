/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes with an image: what its manifest names, and what refers to it.
 * Nothing is asked upstream: it goes out as it is held.
 */
#include "proxy/export_int.h"

#include <search.h>
#include <unistd.h>

/* Indexes below indexes, referrers of referrers. */
#define DEPTH_MAX 8

/* The repository in hand. */
struct plan {
	struct export *ex;
	char name[REPO_PATH_MAX + 1]; /* with its host, if it has one */
	bool hosted;
	uint64_t repo;
	void *refused; /* digests that are not whole here: a tree of tsearch */
};

/* ---- what is listed already ---- */

static int by_digest(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct digest));
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

static bool is_known(struct export *ex, const struct digest *dg)
{
	return tfind(dg, &ex->known, by_digest);
}

static void add_blob(struct export *ex, const struct digest *dg, uint64_t size,
		     bool manifest)
{
	if (is_known(ex, dg))
		return;
	tsearch(xmemdup(dg, sizeof(*dg)), &ex->known, by_digest);
	if (ex->n_blobs == ex->room_blobs) {
		ex->room_blobs = ex->room_blobs ? 2 * ex->room_blobs : 64;
		ex->blobs =
		    xrealloc(ex->blobs, ex->room_blobs * sizeof(*ex->blobs));
	}
	ex->blobs[ex->n_blobs++] =
	    (struct export_blob){.dg = *dg, .size = size, .manifest = manifest};
	ex->bytes_in_all += size;
}

/* False: it has that name already. */
static bool add_entry(struct export *ex, const struct digest *dg, uint64_t size,
		      const char *media_type, char *STEALS name)
{
	if (tfind(name, &ex->referred, by_text)) {
		free(name);
		return false;
	}
	tsearch(xstrdup(name), &ex->referred, by_text);
	if (ex->n_entries == ex->room_entries) {
		ex->room_entries = ex->room_entries ? 2 * ex->room_entries : 16;
		ex->entries = xrealloc(ex->entries,
				       ex->room_entries * sizeof(*ex->entries));
	}
	ex->entries[ex->n_entries++] =
	    (struct export_entry){.dg = *dg,
				  .size = size,
				  .media_type = xstrdup(media_type),
				  .name = name};
	return true;
}

/* ---- reading what is held ---- */

static bool may_read(const struct lookup *found)
{
	return found->may != MAY_NO && found->stored;
}

static bool holds_blob(const struct plan *p, const struct digest *dg,
		       uint64_t *size)
{
	struct index_txn *txn = index_read(cache_index(p->ex->c));
	struct lookup found;
	struct blob_row row;
	enum err err = p->hosted ? hosted_lookup_blob(txn, p->repo, dg, &found)
				 : cache_lookup_blob(txn, p->repo, dg, &found);

	if (err == ERR_OK)
		err = blob_get(txn, dg, &row);
	index_read_end(txn);
	if (err != ERR_OK || !may_read(&found))
		return false;
	*size = row.size;
	return true;
}

/* From the row, where the bytes are; *bytes NULL: they are in a file. */
static enum err read_row(const struct plan *p, const struct digest *dg,
			 char *media_type, char **bytes, uint64_t *len)
{
	struct index_txn *txn = index_read(cache_index(p->ex->c));
	struct manifest_row row;
	struct lookup found;
	enum err err = p->hosted
			   ? hosted_lookup_manifest(txn, p->repo, dg, &found)
			   : cache_lookup_manifest(txn, p->repo, dg, &found);

	*bytes = NULL;
	if (err == ERR_OK && !may_read(&found))
		err = ERR_NOT_FOUND;
	if (err == ERR_OK)
		err = manifest_get(txn, dg, &row);
	if (err == ERR_OK) {
		memcpy(media_type, found.media_type, MEDIA_TYPE_MAX);
		if (!*media_type)
			snprintf(media_type, MEDIA_TYPE_MAX, "%.*s",
				 (int)row.media_type.len,
				 (const char *)row.media_type.ptr);
		*len = row.size;
		if (row.bytes.ptr)
			*bytes = xmemdup(row.bytes.ptr, row.bytes.len);
	}
	index_read_end(txn);
	return err;
}

static enum err read_file(struct export *ex, const struct digest *dg,
			  char **bytes, uint64_t *len)
{
	struct blob *b;
	enum err err = blob_pin(ex->c, dg, &b, NULL);
	size_t done = 0;

	if (err != ERR_OK)
		return err;
	*len = blob_size(b);
	*bytes = xmalloc((size_t)*len + 1);
	while (done < *len) {
		ssize_t n =
		    pread(blob_fd(b), *bytes + done, *len - done, (off_t)done);

		if (n <= 0)
			break;
		done += (size_t)n;
	}
	blob_unpin(&b);
	if (done == *len)
		return ERR_OK;
	free(*bytes);
	*bytes = NULL;
	return ERR_IO;
}

/* A manifest that this repository holds, with what it says. */
struct held {
	struct digest dg;
	char media_type[MEDIA_TYPE_MAX];
	char *bytes;
	uint64_t len;
	struct manifest_facts facts;
};

static enum err load(const struct plan *p, const struct digest *dg,
		     struct held *out)
{
	enum err err;

	memset(out, 0, sizeof(*out));
	out->dg = *dg;
	err = read_row(p, dg, out->media_type, &out->bytes, &out->len);
	if (err == ERR_OK && !out->bytes)
		err = read_file(p->ex, dg, &out->bytes, &out->len);
	if (err == ERR_OK)
		err = manifest_parse(out->bytes, (size_t)out->len,
				     (size_t)out->len, out->media_type,
				     &out->facts, NULL);
	if (err != ERR_OK) {
		free(out->bytes);
		out->bytes = NULL;
	}
	return err;
}

static void release(struct held *h)
{
	manifest_facts_release(&h->facts);
	free(h->bytes);
}

/* ---- an image, whole ---- */

static bool plan_manifest(struct plan *p, const struct digest *dg,
			  struct held *out, unsigned depth);

/* Once, whatever the number of indexes that name it: one that names another
 * twice, and so on, would be walked without an end. */
static bool plan_child(struct plan *p, const struct digest *dg, unsigned depth)
{
	struct held h;

	if (is_known(p->ex, dg))
		return true;
	if (tfind(dg, &p->refused, by_digest))
		return false;
	if (!plan_manifest(p, dg, &h, depth)) {
		tsearch(xmemdup(dg, sizeof(*dg)), &p->refused, by_digest);
		return false;
	}
	release(&h);
	return true;
}

static bool counts(const struct manifest_child *child)
{
	return !child->foreign && !child->skipped;
}

/* Its platforms that are whole: one at least.  What an index names of another
 * type is a blob. */
static bool plan_index(struct plan *p, const struct manifest_facts *f,
		       unsigned depth)
{
	size_t came = 0, wanted = 0;
	uint64_t size;

	for (size_t i = 0; i < f->n_children; i++) {
		const struct manifest_child *child = &f->children[i];

		if (!counts(child))
			continue;
		wanted++;
		if (child->role == CHILD_MANIFEST) {
			came += plan_child(p, &child->dg, depth + 1);
		} else if (holds_blob(p, &child->dg, &size)) {
			add_blob(p->ex, &child->dg, size, false);
			came++;
		}
	}
	return came > 0 || wanted == 0;
}

static bool plan_blobs(const struct plan *p, const struct manifest_facts *f)
{
	uint64_t size;

	for (size_t i = 0; i < f->n_children; i++)
		if (counts(&f->children[i]) &&
		    !holds_blob(p, &f->children[i].dg, &size))
			return false;
	for (size_t i = 0; i < f->n_children; i++)
		if (counts(&f->children[i]) &&
		    holds_blob(p, &f->children[i].dg, &size))
			add_blob(p->ex, &f->children[i].dg, size, false);
	return true;
}

/* False: it is not held whole, and nothing of it is listed.  On true the
 * caller releases *out. */
static bool plan_manifest(struct plan *p, const struct digest *dg,
			  struct held *out, unsigned depth)
{
	bool whole;

	if (depth > DEPTH_MAX || load(p, dg, out) != ERR_OK)
		return false;
	whole = out->facts.kind == MANIFEST_INDEX
		    ? plan_index(p, &out->facts, depth)
		    : plan_blobs(p, &out->facts);
	if (!whole) {
		release(out);
		return false;
	}
	add_blob(p->ex, dg, out->len, true);
	return true;
}

/* ---- with its referrers ---- */

struct digests {
	struct digest *v;
	size_t n, room;
};

static void add_digest(struct digests *list, const struct digest *dg)
{
	if (list->n == list->room) {
		list->room = list->room ? 2 * list->room : 16;
		list->v = xrealloc(list->v, list->room * sizeof(*list->v));
	}
	list->v[list->n++] = *dg;
}

static bool note_referrer(void *arg, const struct digest *dg,
			  struct slice descriptor UNUSED)
{
	add_digest(arg, dg);
	return true;
}

static void plan_entry(struct plan *p, const struct digest *dg, const char *tag,
		       unsigned depth);

static void plan_referrers(struct plan *p, const struct digest *subject,
			   unsigned depth)
{
	struct index_txn *txn = index_read(cache_index(p->ex->c));
	struct digests list = {0};
	enum err err =
	    referrer_walk(txn, p->repo, subject, NULL, note_referrer, &list);

	index_read_end(txn);
	for (size_t i = 0; err == ERR_OK && i < list.n; i++)
		plan_entry(p, &list.v[i], NULL, depth + 1);
	free(list.v);
}

/* Of an index, those of its platforms too. */
static void plan_all_referrers(struct plan *p, const struct held *h,
			       unsigned depth)
{
	plan_referrers(p, &h->dg, depth);
	for (size_t i = 0; i < h->facts.n_children; i++)
		if (h->facts.children[i].role == CHILD_MANIFEST)
			plan_referrers(p, &h->facts.children[i].dg, depth);
}

static void plan_entry(struct plan *p, const struct digest *dg, const char *tag,
		       unsigned depth)
{
	char text[DIGEST_TEXT_MAX], *name;
	struct held h;

	if (depth > DEPTH_MAX)
		return;
	name = xasprintf("%s%s%s", p->name, tag ? ":" : "@",
			 tag ? tag : digest_text(dg, text));
	if (!plan_manifest(p, dg, &h, 0)) {
		export_fail(p->ex, "%s is not held whole here", name);
		free(name);
		return;
	}
	if (add_entry(p->ex, dg, h.len, h.media_type, name))
		plan_all_referrers(p, &h, depth);
	release(&h);
}

/* ---- names ---- */

static bool is_claimed(void *arg, const char *name)
{
	struct index_txn *txn = index_read(cache_index(arg));
	bool claimed = hosted_is_claimed(txn, name);

	index_read_end(txn);
	return claimed;
}

/* Whose is it, and is anything of it here? */
static bool find_repo(struct plan *p, const char *name)
{
	struct names_conf table = *conf_names_table(p->ex->names);
	struct names_answer a;
	struct index_txn *txn;
	enum err err;

	table.claimed = is_claimed;
	table.claimed_arg = p->ex->c;
	if (names_resolve(&table, name, NULL, &a) != ERR_OK ||
	    a.kind == NAMES_UNKNOWN) {
		export_fail(p->ex, "%s: %s", name, a.detail.text);
		return false;
	}
	p->hosted = a.kind == NAMES_HOSTED;
	snprintf(p->name, sizeof(p->name), "%s%s%s",
		 p->hosted ? "" : a.upstream, p->hosted ? "" : "/", a.repo);
	txn = index_read(cache_index(p->ex->c));
	err = repo_id(txn, p->hosted ? "" : a.upstream, a.repo, &p->repo);
	index_read_end(txn);
	if (err != ERR_OK)
		export_fail(p->ex, "nothing of %s is here", p->name);
	return err == ERR_OK;
}

struct tags {
	struct index_txn *txn;
	uint64_t repo;
	char (*v)[TAG_MAX + 1];
	struct digests digests;
	size_t room;
};

/* What a pull by the tag would get: what upstream last said, if its manifest
 * has come since, or else the newest that is held.  Of a hosted tag, held. */
static const struct digest *newest(const struct tags *t,
				   const struct tag_row *row)
{
	struct link_row link;

	if (row->seen.alg &&
	    link_get(t->txn, t->repo, &row->seen, &link) == ERR_OK &&
	    link.kind == LINK_MANIFEST)
		return &row->seen;
	return &row->held[0];
}

static bool note_tag(void *arg, const char *tag, size_t len,
		     const struct tag_row *row)
{
	struct tags *t = arg;
	const struct digest *dg = newest(t, row);
	size_t n = t->digests.n;

	if (!dg->alg)
		return true;
	if (n == t->room) {
		t->room = t->room ? 2 * t->room : 64;
		t->v = xrealloc(t->v, t->room * sizeof(*t->v));
	}
	snprintf(t->v[n], sizeof(t->v[n]), "%.*s", (int)len, tag);
	add_digest(&t->digests, dg);
	return true;
}

static void plan_tags(struct plan *p, const char *only)
{
	struct index_txn *txn = index_read(cache_index(p->ex->c));
	struct tags tags = {.txn = txn, .repo = p->repo};
	struct tag_row row;
	enum err err;

	if (!only) {
		err = tag_walk(txn, p->repo, NULL, note_tag, &tags);
	} else {
		err = tag_get(txn, p->repo, only, strlen(only), &row);
		if (err == ERR_OK)
			note_tag(&tags, only, strlen(only), &row);
	}
	index_read_end(txn);
	if ((err != ERR_OK && err != ERR_NOT_FOUND) || !tags.digests.n)
		export_fail(p->ex, "%s%s%s: there is no such tag here", p->name,
			    only ? ":" : "", only ? only : "");
	for (size_t i = 0; i < tags.digests.n; i++)
		plan_entry(p, &tags.digests.v[i], tags.v[i], 0);
	free(tags.digests.v);
	free(tags.v);
}

/* Cut at the last ":" that is no port's; NULL: there is none. */
static char *cut_tag(char *name)
{
	char *slash = strrchr(name, '/');
	char *colon = strchr(slash ? slash : name, ':');

	if (colon)
		*colon++ = '\0';
	return colon;
}

void export_plan(struct export *ex, const char *asked)
{
	struct plan p = {.ex = ex};
	char *name = xstrdup(asked), *at = strchr(name, '@'), *tag = NULL;
	struct digest dg;
	bool ok = true;

	if (at) {
		*at++ = '\0';
		ok = digest_parse(at, strlen(at), &dg) == ERR_OK;
	} else {
		tag = cut_tag(name);
		ok = !tag || tag_valid(tag, strlen(tag));
	}
	if (!ok || !repo_path_valid(name, strlen(name)))
		export_fail(ex, "%s is not NAME, NAME:TAG or NAME@DIGEST",
			    asked);
	else if (find_repo(&p, name)) {
		if (at)
			plan_entry(&p, &dg, NULL, 0);
		else
			plan_tags(&p, tag);
	}
	tdestroy(p.refused, free);
	free(name);
}
