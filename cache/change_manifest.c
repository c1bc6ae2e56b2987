/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storing a mirrored manifest: one commit of its rows and of the link and tag
 * by which it was asked for.
 */
#include "cache/change.h"
#include "cache/manifest_rows.h"

struct manifest_change {
	struct change ch;
	struct manifest_rows rows;
};

static struct manifest_change *of(struct change *ch)
{
	return container_of(ch, struct manifest_change, ch);
}

static void release(struct change *ch)
{
	manifest_rows_release(&of(ch)->rows);
}

static enum err store_apply(struct index_txn *txn, struct change *ch)
{
	struct repo_row repo;
	enum err err = change_ensure_repo(txn, ch, &repo);

	if (err != ERR_OK)
		return err;
	change_clear_denied(txn, &repo);
	manifest_rows_put(txn, &of(ch)->rows, repo.id, ch->now_s,
			  ch->public_yes);
	change_put_link(txn, ch, repo.id);
	recency_touch(txn, &ch->dg);
	return ch->tag ? change_tag_seen(txn, ch, repo.id, true) : ERR_OK;
}

/* In several commits, and told on this thread. */
static void store_many(struct cache *c, struct manifest_change *STEALS m)
{
	struct change *ch = &m->ch;
	struct hold hold;
	enum err err;

	hold_wait(c->holds, &hold, &ch->dg);
	err = manifest_rows_put_ahead(c, &m->rows, ch->now_s, ch->public_yes);
	if (err == ERR_OK)
		err = change_wait(c, ch, store_apply);
	hold_release(c->holds, &hold);
	change_finish(ch, err);
}

void cache_store_manifest(struct cache *c, const struct store_manifest *sm,
			  cache_done_cb *cb, void *arg)
{
	struct manifest_change *m =
	    change_new(sizeof(*m), sm->host, sm->name, cb, arg);
	struct manifest_source src = {
	    .dg = &sm->dg,
	    .media_type = sm->media_type,
	    .facts = sm->facts,
	    .bytes = sm->bytes,
	    .len = sm->len,
	    .max_inline = c->max_inline_bytes,
	};
	struct change *ch = &m->ch;

	ch->release = release;
	ch->dg = sm->dg;
	ch->kind = LINK_MANIFEST;
	ch->tag = dup_or_null(sm->tag);
	ch->media_type = xstrdup(sm->media_type);
	ch->public_yes = sm->public_yes;
	manifest_rows_init(&m->rows, &src);
	if (m->rows.in_file)
		ch->early =
		    store_small_file(c, &sm->dg, sm->bytes, sm->len, &ch->why);
	if (manifest_rows_are_many(&m->rows) && ch->early == ERR_OK)
		store_many(c, m);
	else
		change_submit(c, ch, store_apply);
}
