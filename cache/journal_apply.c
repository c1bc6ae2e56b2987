/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/journal_apply.h"

#include "cache/journal_file.h"
#include "cache/manifest_rows.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct statement {
	struct journal_entry e; /* its texts are owned */
	char *repo, *tag, *media_type;
	bool has_file; /* LINK: there is one in blobs/ */
	uint64_t size;
	bool has_rows; /* LINK of a manifest */
	struct manifest_rows rows;
};

static char *own(const char *text)
{
	return text ? xstrdup(text) : NULL;
}

static void statement_release(struct statement *st)
{
	if (st->has_rows)
		manifest_rows_release(&st->rows);
	free(st->repo);
	free(st->tag);
	free(st->media_type);
}

/* ---- what files say ---- */

static void tell(struct statements *s, const struct statement *st,
		 const char *what)
{
	char text[DIGEST_TEXT_MAX], *finding;

	if (!s->finding)
		return;
	finding = xasprintf("%s in %s: %s", digest_text(&st->e.dg, text),
			    st->repo, what);
	s->finding(s->arg, finding);
	free(finding);
}

static void read_manifest(struct statements *s, struct statement *st,
			  const char *path)
{
	struct manifest_source src = {
	    .dg = &st->e.dg,
	    .max_inline = s->c->max_inline_bytes,
	    .always_file = true,
	};
	struct manifest_facts facts;
	uint8_t *buf;
	size_t len;

	if (journal_read(s->c, path, &buf, &len, NULL) != ERR_OK) {
		tell(s, st, "its manifest cannot be read");
		return;
	}
	if (manifest_parse(buf, len, len, st->media_type, &facts, NULL) ==
	    ERR_OK) {
		src.media_type = facts.media_type;
		src.facts = &facts;
		src.bytes = buf;
		src.len = len;
		manifest_rows_init(&st->rows, &src);
		st->has_rows = true;
		manifest_facts_release(&facts);
	} else {
		tell(s, st, "its file holds no manifest");
	}
	free(buf);
}

static void look_at_file(struct statements *s, struct statement *st)
{
	char path[PATH_LEN_MAX];
	struct stat file;

	if (fstatat(s->c->data_fd, blob_path(&st->e.dg, path), &file,
		    AT_SYMLINK_NOFOLLOW) != 0) {
		tell(s, st, "its file is missing");
		return;
	}
	st->has_file = true;
	st->size = (uint64_t)file.st_size;
	if (st->e.link == LINK_MANIFEST)
		read_manifest(s, st, path);
}

/* ---- rows ---- */

static void put_blob_row(struct index_txn *txn, const struct statement *st)
{
	struct blob_row row = {
	    .size = st->size,
	    .created_s = st->e.time_s,
	};
	struct blob_row old;

	if (blob_get(txn, &st->e.dg, &old) != ERR_OK)
		blob_put(txn, &st->e.dg, &row);
}

/* A link to what is not there would promise what cannot be kept. */
static void apply_link(struct index_txn *txn, const struct statement *st,
		       uint64_t repo)
{
	struct link_row row = {
	    .kind = st->e.link,
	    .hosted = true,
	    .sparse = st->e.sparse,
	    .created_s = st->e.time_s,
	};
	const char *type = st->media_type;

	if (!st->has_file || (row.kind == LINK_MANIFEST && !st->has_rows))
		return;
	put_blob_row(txn, st);
	if (st->has_rows) {
		row.media_type = slice_of(type, type ? strlen(type) : 0);
		manifest_rows_put(txn, &st->rows, repo, st->e.time_s, false);
	}
	link_put(txn, repo, &st->e.dg, &row);
	if (row.kind == LINK_BLOB) /* no manifest may name it */
		garbage_put(txn, wall_s(), &st->e.dg, repo);
}

static void apply_unlink(struct index_txn *txn, const struct statement *st,
			 uint64_t repo)
{
	const struct digest *dg = &st->e.dg;
	struct manifest_row manifest;

	if (manifest_get(txn, dg, &manifest) == ERR_OK && manifest.subject.alg)
		referrer_del(txn, repo, &manifest.subject, dg);
	link_del(txn, repo, dg);
	garbage_put(txn, wall_s(), dg, repo);
}

static void apply_tag(struct index_txn *txn, const struct statement *st,
		      uint64_t repo)
{
	struct tag_row row = {
	    .held = {st->e.dg},
	    .fetched_s = st->e.time_s,
	    .checked_ms = st->e.time_s * 1000,
	    .state = TAG_PRESENT,
	};
	struct link_row link;

	if (link_get(txn, repo, &st->e.dg, &link) == ERR_OK)
		tag_put(txn, repo, st->tag, strlen(st->tag), &row);
}

static enum err apply_repo(struct index_txn *txn, const struct statement *st)
{
	struct repo_row row;
	uint64_t id;

	if (st->e.hosted)
		return repo_ensure(txn, "", st->repo, REPO_HOSTED, st->e.time_s,
				   &row);
	if (repo_id(txn, "", st->repo, &id) == ERR_OK &&
	    repo_get(txn, id, &row) == ERR_OK)
		repo_del(txn, &row);
	return ERR_OK;
}

static enum err apply_one(struct index_txn *txn, const struct statement *st)
{
	struct repo_row row;
	enum err err;

	if (st->e.kind == JOURNAL_REPO)
		return apply_repo(txn, st);
	err = repo_ensure(txn, "", st->repo, REPO_HOSTED, st->e.time_s, &row);
	if (err != ERR_OK)
		return err;
	switch (st->e.kind) {
	case JOURNAL_LINK:
		apply_link(txn, st, row.id);
		break;
	case JOURNAL_UNLINK:
		apply_unlink(txn, st, row.id);
		break;
	case JOURNAL_TAG:
		apply_tag(txn, st, row.id);
		break;
	case JOURNAL_UNTAG:
		tag_del(txn, row.id, st->tag, strlen(st->tag));
		break;
	case JOURNAL_REPO:
		break;
	}
	return ERR_OK;
}

struct flush_op {
	struct index_op op;
	struct statements *s;
};

/* An error after the first write would be the writer's to assert on; what can
 * fail here is a row that has rotted, and it is passed over. */
static enum err flush_apply(struct index_txn *txn, struct index_op *op)
{
	struct statements *s = container_of(op, struct flush_op, op)->s;

	for (size_t i = 0; i < s->n; i++) {
		if (apply_one(txn, &s->v[i]) != ERR_OK)
			tell(s, &s->v[i],
			     "the row of its repository has "
			     "rotted");
	}
	index_log_set_last(txn, s->seq);
	return ERR_OK;
}

enum err statements_flush(struct statements *s)
{
	struct flush_op f = {.op = {.apply = flush_apply}, .s = s};
	enum err err;

	if (!s->seq)
		return ERR_OK;
	err = index_submit_wait(s->c->index, &f.op);
	for (size_t i = 0; i < s->n; i++)
		statement_release(&s->v[i]);
	s->applied += s->n;
	s->n = 0;
	return err;
}

enum err statements_add(void *arg, uint64_t seq, const struct journal_entry *e)
{
	struct statements *s = arg;
	struct statement *st = &s->v[s->n++];

	memset(st, 0, sizeof(*st));
	st->e = *e;
	st->e.repo = st->repo = own(e->repo);
	st->e.tag = st->tag = own(e->tag);
	/* None is no Content-Type, not an empty one. */
	if (e->media_type && *e->media_type)
		st->media_type = xstrdup(e->media_type);
	st->e.media_type = st->media_type;
	s->seq = MAX(s->seq, seq);
	if (e->kind == JOURNAL_LINK)
		look_at_file(s, st);
	return s->n == STATEMENTS_MAX ? statements_flush(s) : ERR_OK;
}

void statements_init(struct statements *s, struct cache *c)
{
	memset(s, 0, sizeof(*s));
	s->c = c;
	s->v = xcalloc(STATEMENTS_MAX, sizeof(*s->v));
}

void statements_release(struct statements *s)
{
	for (size_t i = 0; i < s->n; i++)
		statement_release(&s->v[i]);
	free(s->v);
	s->v = NULL;
}
