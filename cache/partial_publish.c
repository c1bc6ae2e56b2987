/* SPDX-License-Identifier: Apache-2.0 */
/* A partial becomes a blob, and is linked to the repositories that asked. */
#include "cache/partial_int.h"

#include <errno.h>
#include <unistd.h>

struct partial_publishing {
	struct publishing pub;
	const struct publish_repo *repos;
	size_t n_repos;
};

/* ---- its rows ---- */

/* A repository that cannot be recorded loses its link only: its next request
 * asks its upstream for a yes. */
static void put_link(struct index_txn *txn, const struct digest *dg,
		     const struct publish_repo *repo, uint64_t now_s)
{
	struct link_row link = {.kind = LINK_BLOB, .created_s = now_s}, old;
	struct repo_row row;

	if (repo_ensure(txn, repo->host, repo->name, REPO_MIRROR, now_s,
			&row) != ERR_OK)
		return;
	if (link_get(txn, row.id, dg, &old) != ERR_OK)
		link_put(txn, row.id, dg, &link);
}

static enum err put_links(struct index_txn *txn, struct publishing *pub,
			  uint64_t now_s)
{
	struct partial_publishing *p =
	    container_of(pub, struct partial_publishing, pub);

	for (size_t i = 0; i < p->n_repos; i++)
		put_link(txn, &pub->dg, &p->repos[i], now_s);
	if (p->n_repos == 0)
		garbage_put(txn, now_s, &pub->dg, 0);
	return ERR_OK;
}

static bool any_public(const struct publish_repo *repos, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (repos[i].public_yes)
			return true;
	return false;
}

/* ---- its bytes ---- */

/* The file has grown past the size that was told later: nothing held is cut,
 * and with one link it is nobody's blob yet. */
static enum err trim(struct partial *p, struct why *why)
{
	if (p->complete || ftruncate(p->fd, (off_t)p->size) == 0)
		return ERR_OK;
	return store_error(why, errno, "cut", p->path);
}

static enum err publish_named(struct partial *p, struct publishing *pub,
			      struct why *why)
{
	struct why mine;
	enum err err = trim(p, &mine);

	if (err == ERR_OK)
		err = publish_staged(p->c, pub, &mine);
	if (err == ERR_OK)
		partial_published(p);
	else if (pub->sync_failed)
		partial_give_up(p, NULL);
	return err == ERR_OK ? err : why_set(why, err, "%s", mine.text);
}

enum err partial_publish(struct partial *p, const struct publish_repo *repos,
			 size_t n, struct why *why)
{
	struct partial_publishing with = {
	    .pub = {.fd = p->fd,
		    .path = p->path,
		    .map = p->map,
		    .dg = p->dg,
		    .public_yes = any_public(repos, n),
		    .rows = put_links},
	    .repos = repos,
	    .n_repos = n,
	};
	enum err err;

	partial_begin(p);
	assert(p->proven);
	with.pub.size = p->size;
	if (p->published)
		err = publish_rows(p->c, &with.pub, why);
	else if (p->nameless)
		err = why_set(why, ERR_IO, "%s was thrown away", p->path);
	else
		err = publish_named(p, &with.pub, why);
	partial_end(p);
	return err;
}
