/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UPLOAD_HELP_H
#define TESTS_UPLOAD_HELP_H
/* For the tests of uploads: sending bytes in pieces, and what is linked. */
#include "cache/upload.h"
#include "tests/unit/temp_cache.h"

#define REPO "team/app"

static inline struct hosting upload_hosting(void)
{
	static const uint8_t text[] = "{\"action\":\"push\"}";
	static const struct slice event = {text, sizeof(text) - 1};

	return (struct hosting){
	    .repo = REPO,
	    .claims = true,
	    .events = &event,
	    .n_events = 1,
	};
}

/* Send bytes [from, to) of `bytes`. */
static inline enum err upload_send(struct upload *u, const uint8_t *bytes,
				   size_t from, size_t to, struct why *why)
{
	enum err err = ERR_OK;

	for (size_t at = from; err == ERR_OK && at < to; at += 100000)
		err = upload_append(u, bytes + at, MIN(to - at, 100000), why);
	return err;
}

static inline enum err upload_end(struct upload **u, const struct digest *dg,
				  struct why *why)
{
	struct hosting h = upload_hosting();

	return upload_finish(u, dg, &h, NULL, NULL, why);
}

/* Is dg linked to the hosted repository `name`? */
static inline bool upload_is_linked(struct cache *c, const char *name,
				    const struct digest *dg)
{
	struct index_txn *txn = index_read(c->index);
	struct link_row row;
	uint64_t repo;
	bool linked = repo_id(txn, "", name, &repo) == ERR_OK &&
		      link_get(txn, repo, dg, &row) == ERR_OK &&
		      row.kind == LINK_BLOB;

	index_read_end(txn);
	return linked;
}

static inline enum err upload_read_row(struct cache *c, const char *id,
				       struct upload_row *row)
{
	struct index_txn *txn = index_read(c->index);
	enum err err = upload_get(txn, id, row);

	index_read_end(txn);
	return err;
}

#endif
