/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/change.h"

/* ---- the life of a change ---- */

char *dup_or_null(const char *text)
{
	return text ? xstrdup(text) : NULL;
}

static void change_free(struct change *ch)
{
	if (ch->release)
		ch->release(ch);
	free(ch->media_type);
	free(ch->tag);
	free(ch->name);
	free(ch->host);
	free(ch);
}

void change_finish(struct change *ch, enum err err)
{
	if (err == ERR_OK || ch->why.text[0])
		; /* nothing to explain, or explained where it failed */
	else if (err == ERR_NO_SPACE)
		why_set(&ch->why, err, INDEX_NO_ROOM);
	else
		why_set(&ch->why, err, "the index did not take %s%s%s: %s",
			ch->host, *ch->host ? "/" : "", ch->name,
			err_name(err));
	if (ch->cb)
		ch->cb(ch->cb_arg, err, &ch->why);
	change_free(ch);
}

static void change_done(struct index_op *op, enum err err)
{
	change_finish(container_of(op, struct change, op), err);
}

static enum err change_apply(struct index_txn *txn, struct index_op *op)
{
	struct change *ch = container_of(op, struct change, op);

	if (ch->early != ERR_OK)
		return ch->early;
	if (ch->tag && (!*ch->tag || strlen(ch->tag) > TAG_MAX))
		return ERR_INVALID;
	return ch->apply(txn, ch);
}

void *change_new(size_t size, const char *host, const char *name,
		 cache_done_cb *cb, void *arg)
{
	struct change *ch = xcalloc(1, size);

	assert(size >= sizeof(*ch));
	ch->cb = cb;
	ch->cb_arg = arg;
	ch->host = xstrdup(host);
	ch->name = xstrdup(name);
	ch->now_ms = wall_ms();
	ch->now_s = ch->now_ms / 1000;
	return ch;
}

void change_submit(struct cache *c, struct change *ch,
		   enum err (*apply)(struct index_txn *txn, struct change *ch))
{
	ch->op.apply = change_apply;
	ch->op.done = change_done;
	ch->apply = apply;
	index_submit(c->index, &ch->op);
}

enum err change_wait(struct cache *c, struct change *ch,
		     enum err (*apply)(struct index_txn *txn,
				       struct change *ch))
{
	ch->op.apply = change_apply;
	ch->apply = apply;
	return index_submit_wait(c->index, &ch->op);
}

void cache_index_health(void *arg, enum index_health now, const struct why *why)
{
	static const enum cache_event events[] = {
	    [INDEX_OK] = CACHE_INDEX_OK,
	    [INDEX_FULL] = CACHE_INDEX_FULL,
	    [INDEX_FAILED] = CACHE_INDEX_FAILED,
	};
	struct cache *c = arg;

	c->event(c->event_arg, events[now], NULL, why);
}

/* ---- repositories ---- */

enum err change_ensure_repo(struct index_txn *txn, const struct change *ch,
			    struct repo_row *repo)
{
	return repo_ensure(txn, ch->host, ch->name, REPO_MIRROR, ch->now_s,
			   repo);
}

void change_clear_denied(struct index_txn *txn, struct repo_row *repo)
{
	if (!repo->denied_ms && !repo->denied_checked_ms)
		return;
	repo->denied_ms = 0;
	repo->denied_checked_ms = 0;
	repo_put(txn, repo);
}

static void note_denied(struct index_txn *txn, struct repo_row *repo,
			uint64_t now_ms)
{
	if (!repo->denied_ms)
		repo->denied_ms = now_ms;
	repo->denied_checked_ms = now_ms;
	repo_put(txn, repo);
}

static void note_visibility(struct index_txn *txn, struct repo_row *repo,
			    enum visibility visibility, uint64_t now_ms)
{
	repo->visibility = visibility;
	repo->marked_ms = now_ms;
	repo_put(txn, repo);
}

/*
 * Where nothing was ever had, a denial says nothing worth keeping; Docker Hub
 * denies every name that does not exist, and clients invent names.
 */
static enum err find_for_news(struct index_txn *txn, const struct change *ch,
			      struct repo_row *repo)
{
	uint64_t id;
	enum err err;

	if (ch->repo_news == REPO_IS_PUBLIC || ch->repo_news == REPO_IS_PRIVATE)
		return change_ensure_repo(txn, ch, repo);
	err = repo_id(txn, ch->host, ch->name, &id);
	return err == ERR_OK ? repo_get(txn, id, repo) : err;
}

static enum err repo_apply(struct index_txn *txn, struct change *ch)
{
	struct repo_row repo;
	enum err err = find_for_news(txn, ch, &repo);

	if (err != ERR_OK)
		return err == ERR_NOT_FOUND ? ERR_OK : err;
	switch (ch->repo_news) {
	case REPO_IS_PUBLIC:
		note_visibility(txn, &repo, VIS_PUBLIC, ch->now_ms);
		break;
	case REPO_IS_PRIVATE:
		note_visibility(txn, &repo, VIS_PRIVATE, ch->now_ms);
		break;
	case REPO_DENIED:
		note_denied(txn, &repo, ch->now_ms);
		break;
	case REPO_ALLOWED:
		change_clear_denied(txn, &repo);
		break;
	}
	return ERR_OK;
}

void cache_note_repo(struct cache *c, const char *host, const char *name,
		     enum repo_news news, cache_done_cb *cb, void *arg)
{
	struct change *ch = change_new(sizeof(*ch), host, name, cb, arg);

	ch->repo_news = news;
	change_submit(c, ch, repo_apply);
}

/* ---- links, and marks on contents ---- */

static bool slice_equal(struct slice a, struct slice b)
{
	return a.len == b.len && (!a.len || !memcmp(a.ptr, b.ptr, a.len));
}

/*
 * A link keeps its first date.  One that is a manifest's stays one: to be had
 * as a blob too takes nothing from what it earns.
 */
void change_put_link(struct index_txn *txn, const struct change *ch,
		     uint64_t repo)
{
	struct link_row row = {
	    .kind = ch->kind,
	    .created_s = ch->now_s,
	    .media_type = slice_of_text(ch->media_type),
	};
	struct link_row old;

	if (link_get(txn, repo, &ch->dg, &old) == ERR_OK) {
		if (old.kind == LINK_MANIFEST && row.kind == LINK_BLOB)
			return;
		if (old.kind == row.kind &&
		    slice_equal(old.media_type, row.media_type))
			return;
		row.created_s = old.created_s;
	}
	link_put(txn, repo, &ch->dg, &row);
}

/* On the rows that exist.  A mark stays, whatever comes later. */
static void mark_public(struct index_txn *txn, const struct digest *dg)
{
	struct manifest_row manifest;
	struct blob_row blob;

	if (blob_get(txn, dg, &blob) == ERR_OK && !blob.public_yes) {
		blob.public_yes = true;
		blob_put(txn, dg, &blob);
	}
	if (manifest_get(txn, dg, &manifest) == ERR_OK &&
	    !manifest.public_yes) {
		manifest.public_yes = true;
		manifest_put(txn, dg, &manifest);
	}
}

static enum err yes_apply(struct index_txn *txn, struct change *ch)
{
	struct repo_row repo;
	enum err err = change_ensure_repo(txn, ch, &repo);

	if (err != ERR_OK)
		return err;
	change_put_link(txn, ch, repo.id);
	if (ch->public_yes)
		mark_public(txn, &ch->dg);
	return ERR_OK;
}

void cache_note_yes(struct cache *c, const char *host, const char *name,
		    const struct digest *dg, enum link_kind kind,
		    const char *media_type, bool public_yes, cache_done_cb *cb,
		    void *arg)
{
	struct change *ch = change_new(sizeof(*ch), host, name, cb, arg);

	ch->dg = *dg;
	ch->kind = kind;
	ch->media_type = dup_or_null(media_type);
	ch->public_yes = public_yes;
	change_submit(c, ch, yes_apply);
}

/* ---- tags ---- */

static void hold(struct tag_row *row, const struct digest *dg, uint64_t now_s)
{
	if (digest_equal(&row->held[0], dg))
		return;
	row->held[1] = row->held[0];
	row->held[0] = *dg;
	row->fetched_s = now_s;
}

enum err change_tag_seen(struct index_txn *txn, const struct change *ch,
			 uint64_t repo, bool held)
{
	size_t len = strlen(ch->tag);
	struct tag_row row;
	struct link_row link;
	enum err err = tag_get(txn, repo, ch->tag, len, &row);

	if (err == ERR_IO)
		return err;
	if (err != ERR_OK) /* new, or rotten: made anew */
		memset(&row, 0, sizeof(row));
	/* It may have come by its digest since, which no tag row hears of. */
	if (row.seen.alg && link_get(txn, repo, &row.seen, &link) == ERR_OK &&
	    link.kind == LINK_MANIFEST)
		hold(&row, &row.seen, ch->now_s);
	row.seen = ch->dg;
	row.checked_ms = ch->now_ms;
	row.state = TAG_PRESENT;
	if (held)
		hold(&row, &ch->dg, ch->now_s);
	tag_put(txn, repo, ch->tag, len, &row);
	return ERR_OK;
}

static enum err tag_seen_apply(struct index_txn *txn, struct change *ch)
{
	struct repo_row repo;
	struct link_row link;
	enum err err = change_ensure_repo(txn, ch, &repo);
	bool held;

	if (err != ERR_OK)
		return err;
	change_clear_denied(txn, &repo);
	held = link_get(txn, repo.id, &ch->dg, &link) == ERR_OK &&
	       link.kind == LINK_MANIFEST;
	return change_tag_seen(txn, ch, repo.id, held);
}

/* Of a tag that was never held there is nothing to note. */
static enum err tag_gone_apply(struct index_txn *txn, struct change *ch)
{
	size_t len = strlen(ch->tag);
	struct tag_row row;
	uint64_t repo;
	enum err err = repo_id(txn, ch->host, ch->name, &repo);

	if (err != ERR_OK)
		return err == ERR_IO ? err : ERR_OK;
	err = tag_get(txn, repo, ch->tag, len, &row);
	if (err == ERR_OK && !ch->drop) {
		row.state = TAG_GONE;
		row.checked_ms = ch->now_ms;
		tag_put(txn, repo, ch->tag, len, &row);
	} else if (err == ERR_OK || err == ERR_CORRUPT) {
		tag_del(txn, repo, ch->tag, len);
	}
	return err == ERR_IO ? err : ERR_OK;
}

void cache_note_tag(struct cache *c, const char *host, const char *name,
		    const char *tag, enum tag_news news,
		    const struct digest *dg, bool drop, cache_done_cb *cb,
		    void *arg)
{
	struct change *ch = change_new(sizeof(*ch), host, name, cb, arg);

	ch->tag = xstrdup(tag);
	ch->drop = drop;
	if (news == TAG_NEWS_SEEN) {
		assert(dg->alg);
		ch->dg = *dg;
	}
	change_submit(c, ch,
		      news == TAG_NEWS_SEEN ? tag_seen_apply : tag_gone_apply);
}
