/* SPDX-License-Identifier: Apache-2.0 */
/* A stored blob becomes another repository's too. */
#include "cache/hosted_int.h"

/* Repositories asked for one mount that names none. */
#define HOLDERS_MAX 64

struct mount {
	struct hosted_change hc;
	char *from_host, *from_name; /* or NULL */
	bool (*readable)(void *arg, const char *name);
	void *readable_arg;
};

static struct mount *of(struct hosted_change *hc)
{
	return container_of(hc, struct mount, hc);
}

static void release(struct hosted_change *hc)
{
	free(of(hc)->from_host);
	free(of(hc)->from_name);
}

struct search {
	struct index_txn *txn;
	const struct mount *m;
	unsigned left;
	bool found;
};

static bool consider(void *arg, uint64_t repo, bool hosted)
{
	struct search *s = arg;
	struct repo_row row;

	if (!hosted || !s->left--)
		return false; /* hosted ones come first */
	if (repo_get(s->txn, repo, &row) != ERR_OK)
		return true;
	s->found =
	    !s->m->readable || s->m->readable(s->m->readable_arg, row.name);
	return !s->found;
}

static bool anywhere(struct index_txn *txn, const struct mount *m)
{
	struct search s = {txn, m, HOLDERS_MAX, false};

	return holder_walk(txn, &m->hc.ch.dg, consider, &s) == ERR_OK &&
	       s.found;
}

/* May `from` give it?  A mirrored repository gives what it may serve. */
static bool gives(struct index_txn *txn, const struct mount *m)
{
	const struct digest *dg = &m->hc.ch.dg;
	struct lookup found;
	uint64_t repo;

	if (!m->from_name)
		return anywhere(txn, m);
	if (repo_id(txn, m->from_host, m->from_name, &repo) != ERR_OK)
		return false;
	if (!*m->from_host)
		return hosted_lookup_blob(txn, repo, dg, &found) == ERR_OK;
	return cache_lookup_blob(txn, repo, dg, &found) == ERR_OK &&
	       found.may == MAY_YES && found.stored;
}

static bool has_it(struct index_txn *txn, const struct hosted_change *hc)
{
	struct lookup found;
	uint64_t repo;

	return hosted_repo(txn, hc->ch.name, &repo) == ERR_OK &&
	       hosted_lookup_blob(txn, repo, &hc->ch.dg, &found) == ERR_OK;
}

static enum err mount_apply(struct index_txn *txn, struct hosted_change *hc)
{
	struct change *ch = &hc->ch;
	char text[DIGEST_TEXT_MAX];
	struct blob_row blob;
	uint64_t repo;
	enum err err = blob_get(txn, &ch->dg, &blob);

	if (err == ERR_IO)
		return err;
	if (err != ERR_OK || (!has_it(txn, hc) && !gives(txn, of(hc))))
		return why_set(&ch->why, ERR_NOT_FOUND,
			       "%s cannot be mounted into %s from there",
			       digest_text(&ch->dg, text), ch->name);
	err = hosted_ensure_repo(txn, ch->name, hc->claims, ch->now_s, &repo,
				 &hc->res.claimed);
	if (err != ERR_OK)
		return err;
	hosted_link_blob(txn, ch->name, repo, &ch->dg, ch->now_s);
	hosted_put_events(txn, hc->events, hc->n_events);
	/* Whatever becomes of the commit, this harms nobody. */
	lease_take(hc->c->leases, &ch->dg);
	return ERR_OK;
}

void cache_mount_blob(struct cache *c, const struct mount_ask *ask,
		      hosted_done_cb *cb, void *arg)
{
	struct mount *m = hosted_new(sizeof(*m), c, &ask->to, cb, arg);

	m->hc.release = release;
	m->hc.ch.dg = ask->dg;
	m->from_name = dup_or_null(ask->from_name);
	if (ask->from_name)
		m->from_host = xstrdup(ask->from_host ? ask->from_host : "");
	m->readable = ask->readable;
	m->readable_arg = ask->readable_arg;
	hosted_submit(&m->hc, mount_apply);
}
