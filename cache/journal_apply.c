/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/journal_apply.h"

#include "cache/journal_file.h"
#include "cache/manifest_rows.h"

#include <fcntl.h>
#include <search.h>
#include <sys/stat.h>
#include <unistd.h>

/* No manifest is larger, whatever the configuration says. */
#define MANIFEST_BYTES_MAX (64 * MIB)

/* What a manifest requires, that is there. */
struct required {
	struct digest dg;
	uint64_t size;
};

struct statement {
	struct journal_entry e; /* its texts are owned */
	char *repo, *tag, *media_type;
	bool has_file; /* LINK: there is one in blobs/ */
	uint64_t size;
	bool has_rows;             /* LINK of a manifest */
	struct required *required; /* of one that is not sparse */
	size_t n_required;
	bool lacks_some;   /* of what it requires */
	bool tags_nothing; /* TAG: what it names is not linked */
	bool has_rotted;   /* the row of its repository: it is left out */
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
	free(st->required);
	free(st->repo);
	free(st->tag);
	free(st->media_type);
}

/* ---- links that cannot be ---- */

/* Of one repository and digest, the last reason. */
struct missing {
	struct digest dg;
	const char *what; /* static */
	bool tagged;      /* it was to be a tag's */
	char repo[REPO_NAME_MAX + 1];
};

static int by_link(const void *a, const void *b)
{
	const struct missing *x = a, *y = b;
	int order = memcmp(&x->dg, &y->dg, sizeof(x->dg));

	return order ? order : strcmp(x->repo, y->repo);
}

/* What is deleted later in the journal is not missed. */
static void forget(struct statements *s, const struct statement *st)
{
	struct missing key = {.dg = st->e.dg}, **at, *m;

	snprintf(key.repo, sizeof(key.repo), "%s", st->repo);
	at = tfind(&key, &s->missing, by_link);
	if (!at)
		return;
	m = *at;
	tdelete(m, &s->missing, by_link);
	free(m);
}

static void miss(struct statements *s, const struct statement *st,
		 const char *what)
{
	struct missing *m = xcalloc(1, sizeof(*m));

	forget(s, st);
	m->dg = st->e.dg;
	m->what = what;
	snprintf(m->repo, sizeof(m->repo), "%s", st->repo);
	tsearch(m, &s->missing, by_link);
}

/* Of the last apply: a tag that could not be moved to what is missed. */
static void miss_tagged(struct statements *s, const struct statement *st)
{
	struct missing key = {.dg = st->e.dg}, **at;

	snprintf(key.repo, sizeof(key.repo), "%s", st->repo);
	at = tfind(&key, &s->missing, by_link);
	if (at)
		(*at)->tagged = true;
}

struct telling {
	cache_check_cb *finding;
	void *arg;
};

static void tell(const void *node, VISIT visit, void *arg)
{
	const struct missing *m = *(struct missing *const *)node;
	char text[DIGEST_TEXT_MAX], *sentence;
	struct telling *t = arg;

	if (visit != postorder && visit != leaf)
		return;
	sentence = xasprintf(
	    "%s%s%s: %s%s", m->dg.alg ? digest_text(&m->dg, text) : "",
	    m->dg.alg ? " in " : "", m->repo, m->what,
	    m->tagged ? "; a tag that it was given stays as it was" : "");
	t->finding(t->arg, sentence);
	free(sentence);
}

/* ---- what files say ---- */

static bool find_file(struct statements *s, const struct digest *dg,
		      uint64_t *size)
{
	char path[PATH_LEN_MAX];
	struct blob_row row;
	struct stat file;

	if (s->rows_tell) {
		if (store_blob_row(s->c, dg, &row) != ERR_OK)
			return false;
		*size = row.size;
		return true;
	}
	if (fstatat(s->c->data_fd, blob_path(dg, path), &file,
		    AT_SYMLINK_NOFOLLOW) != 0 ||
	    !S_ISREG(file.st_mode))
		return false;
	*size = (uint64_t)file.st_size;
	return true;
}

/*
 * It would not have been taken without its children, so they were linked too,
 * whatever has become of the records that said so.
 */
static void find_required(struct statements *s, struct statement *st,
			  const struct manifest_facts *facts)
{
	if (st->e.sparse ||
	    (facts->kind != MANIFEST_IMAGE && facts->kind != MANIFEST_ARTIFACT))
		return;
	st->required = xcalloc(facts->n_children + 1, sizeof(*st->required));
	for (size_t i = 0; i < facts->n_children; i++) {
		const struct manifest_child *child = &facts->children[i];
		struct required *r = &st->required[st->n_required];

		if (child->foreign || child->skipped)
			continue;
		r->dg = child->dg;
		if (find_file(s, &r->dg, &r->size))
			st->n_required++;
		else
			st->lacks_some = true;
	}
	if (st->lacks_some)
		miss(s, st, "a blob that it names is missing");
}

static void take_manifest(struct statements *s, struct statement *st,
			  const struct manifest_facts *facts,
			  const uint8_t *buf, size_t len)
{
	struct manifest_source src = {
	    .dg = &st->e.dg,
	    .media_type = facts->media_type,
	    .facts = facts,
	    .bytes = buf,
	    .len = len,
	    .max_inline = s->c->max_inline_bytes,
	    .always_file = true,
	};

	manifest_rows_init(&st->rows, &src);
	st->has_rows = true;
	find_required(s, st, facts);
}

/* The row will say that it was verified now. */
static bool is_proven(const struct digest *dg, const uint8_t *buf, size_t len)
{
	struct digest found;

	digest_of((enum digest_alg)dg->alg, buf, len, &found);
	return digest_equal(&found, dg);
}

static void read_manifest(struct statements *s, struct statement *st,
			  const char *path)
{
	struct manifest_facts facts;
	uint8_t *buf;
	size_t len;

	if (journal_read(s->c, path, MANIFEST_BYTES_MAX, &buf, &len, NULL) !=
	    ERR_OK) {
		miss(s, st, "its manifest cannot be read");
		return;
	}
	if (!is_proven(&st->e.dg, buf, len)) {
		miss(s, st, "its file has bytes of another digest");
	} else if (manifest_parse(buf, len, len, st->media_type, &facts,
				  NULL) == ERR_OK) {
		take_manifest(s, st, &facts, buf, len);
		manifest_facts_release(&facts);
	} else {
		miss(s, st, "its file holds no manifest");
	}
	free(buf);
}

static void look_at_file(struct statements *s, struct statement *st)
{
	char path[PATH_LEN_MAX];

	forget(s, st);
	st->has_file = find_file(s, &st->e.dg, &st->size);
	if (!st->has_file)
		miss(s, st, "its file is missing, or is none of that digest");
	else if (st->e.link == LINK_MANIFEST)
		read_manifest(s, st, blob_path(&st->e.dg, path));
}

/* ---- rows ---- */

static void put_blob_row(struct index_txn *txn, const struct digest *dg,
			 uint64_t size, uint64_t since_s)
{
	struct blob_row row = {.size = size, .created_s = since_s};
	struct blob_row old;

	if (blob_get(txn, dg, &old) != ERR_OK)
		blob_put(txn, dg, &row);
}

static void put_blob_link(struct index_txn *txn, uint64_t repo,
			  const struct digest *dg, uint64_t since_s)
{
	struct link_row row = {
	    .kind = LINK_BLOB, .hosted = true, .created_s = since_s};

	link_put(txn, repo, dg, &row);
	garbage_put(txn, wall_s(), dg, repo); /* no manifest may name it */
}

static void put_manifest_link(struct index_txn *txn, const struct statement *st,
			      uint64_t repo)
{
	const char *type = st->media_type;
	struct link_row old,
	    row = {
		.kind = LINK_MANIFEST,
		.hosted = true,
		.sparse = st->e.sparse || st->lacks_some,
		.created_s = st->e.time_s,
		.media_type = slice_of(type, type ? strlen(type) : 0),
	    };

	for (size_t i = 0; i < st->n_required; i++) {
		const struct required *r = &st->required[i];

		put_blob_row(txn, &r->dg, r->size, st->e.time_s);
		if (link_get(txn, repo, &r->dg, &old) != ERR_OK)
			put_blob_link(txn, repo, &r->dg, st->e.time_s);
	}
	manifest_rows_put(txn, &st->rows, repo, st->e.time_s, false);
	link_put(txn, repo, &st->e.dg, &row);
}

/* A link to what is not there would promise what cannot be kept. */
static void apply_link(struct index_txn *txn, const struct statement *st,
		       uint64_t repo)
{
	if (!st->has_file || (st->e.link == LINK_MANIFEST && !st->has_rows))
		return;
	put_blob_row(txn, &st->e.dg, st->size, st->e.time_s);
	if (st->has_rows)
		put_manifest_link(txn, st, repo);
	else
		put_blob_link(txn, repo, &st->e.dg, st->e.time_s);
}

static void unlink_one(struct index_txn *txn, uint64_t repo,
		       const struct digest *dg)
{
	struct manifest_row manifest;
	struct digest subject;

	if (manifest_get(txn, dg, &manifest) == ERR_OK &&
	    manifest.subject.alg) {
		subject = manifest.subject;
		referrer_del(txn, repo, &subject, dg);
	}
	link_del(txn, repo, dg);
	garbage_put(txn, wall_s(), dg, repo);
}

/*
 * Where the commit failed, and what it had written of the journal could not be
 * cut off, the manifest's file has gone, and what the tag was is what was
 * acknowledged.  So it stays as it was, and that is told.
 */
static void apply_tag(struct index_txn *txn, struct statement *st,
		      uint64_t repo)
{
	struct tag_row row = {
	    .held = {st->e.dg},
	    .fetched_s = st->e.time_s,
	    .checked_ms = st->e.time_s * 1000,
	    .state = TAG_PRESENT,
	};
	struct link_row link;

	st->tags_nothing = link_get(txn, repo, &st->e.dg, &link) != ERR_OK;
	if (!st->tags_nothing)
		tag_put(txn, repo, st->tag, strlen(st->tag), &row);
}

struct first {
	struct digest dg; /* alg 0: there is none */
	char tag[TAG_MAX + 1];
};

static bool first_link(void *arg, const struct digest *dg,
		       const struct link_row *row UNUSED)
{
	((struct first *)arg)->dg = *dg;
	return false;
}

static bool first_tag(void *arg, const char *tag, size_t len,
		      const struct tag_row *row UNUSED)
{
	struct first *first = arg;

	snprintf(first->tag, sizeof(first->tag), "%.*s", (int)len, tag);
	return false;
}

/*
 * What was released held nothing.  Only a snapshot's pages, which may be from
 * after its sequence, can have brought what the name held when it was claimed
 * again; the logs will say so once more.
 */
static void empty_repo(struct index_txn *txn, uint64_t repo)
{
	struct first first = {0};

	while (tag_walk(txn, repo, NULL, first_tag, &first) == ERR_OK &&
	       first.tag[0]) {
		tag_del(txn, repo, first.tag, strlen(first.tag));
		first.tag[0] = '\0';
	}
	while (link_walk(txn, repo, NULL, first_link, &first) == ERR_OK &&
	       first.dg.alg) {
		unlink_one(txn, repo, &first.dg);
		first.dg.alg = 0;
	}
}

static enum err apply_repo(struct index_txn *txn, const struct statement *st)
{
	struct repo_row row;
	uint64_t id;

	if (st->e.hosted)
		return repo_ensure(txn, "", st->repo, REPO_HOSTED, st->e.time_s,
				   &row);
	if (repo_id(txn, "", st->repo, &id) == ERR_OK &&
	    repo_get(txn, id, &row) == ERR_OK) {
		empty_repo(txn, id);
		repo_del(txn, &row);
	}
	return ERR_OK;
}

static enum err apply_one(struct index_txn *txn, struct statement *st)
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
		unlink_one(txn, row.id, &st->e.dg);
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

	for (size_t i = 0; i < s->n; i++)
		if (apply_one(txn, &s->v[i]) != ERR_OK)
			s->v[i].has_rotted = true;
	if (s->seq)
		index_log_set_last(txn, s->seq);
	return ERR_OK;
}

/* One commit of what was collected, with its last sequence. */
static enum err flush(struct statements *s)
{
	struct flush_op f = {.op = {.apply = flush_apply}, .s = s};
	enum err err;

	if (!s->n && s->seq == s->flushed)
		return ERR_OK;
	err = index_submit_wait(s->c->index, &f.op);
	for (size_t i = 0; i < s->n; i++) {
		if (s->v[i].has_rotted)
			miss(s, &s->v[i],
			     "the row of its repository has rotted");
		if (s->v[i].tags_nothing)
			miss_tagged(s, &s->v[i]);
		statement_release(&s->v[i]);
	}
	s->flushed = s->seq;
	s->n = 0;
	return err;
}

static void collect(struct statements *s, const struct journal_entry *e)
{
	struct statement *st = &s->v[s->n++];

	memset(st, 0, sizeof(*st));
	st->e = *e;
	st->e.repo = st->repo = own(e->repo);
	st->e.tag = st->tag = own(e->tag);
	/* None is no Content-Type, not an empty one. */
	if (e->media_type && *e->media_type)
		st->media_type = xstrdup(e->media_type);
	st->e.media_type = st->media_type;
	if (e->kind == JOURNAL_LINK)
		look_at_file(s, st);
	else if (e->kind == JOURNAL_UNLINK)
		forget(s, st);
}

/* Half a snapshot has no sequence: killed in it, all of it is read again. */
static enum err add(void *arg, uint64_t seq, const struct journal_entry *e)
{
	struct statements *s = arg;

	if (e)
		collect(s, e);
	s->seq = MAX(s->seq, seq);
	return s->n == STATEMENTS_MAX ? flush(s) : ERR_OK;
}

enum err statements_replay(struct statements *s, struct journal_replaying *r,
			   cache_check_cb *finding, void *arg, struct why *why)
{
	struct telling t = {finding, arg};
	struct why failed = {""};
	enum err err;

	r->cb = add;
	r->arg = s;
	err = journal_replay(s->c, r, &failed);
	if (err == ERR_OK) {
		s->seq = MAX(s->seq, r->last);
		err = flush(s);
	}
	if (err != ERR_OK && !failed.text[0])
		return why_set(why, err,
			       "the index in %s does not take the journal's "
			       "records: %s%s",
			       s->c->data, err_name(err),
			       err == ERR_NO_SPACE ? "; make room on that disk"
						   : "");
	if (err != ERR_OK)
		return why_set(why, err, "%s", failed.text);
	if (finding)
		twalk_r(s->missing, tell, &t);
	return ERR_OK;
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
	tdestroy(s->missing, free);
	s->missing = NULL;
}
