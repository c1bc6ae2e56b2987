/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_CHANGE_H
#define CACHE_CHANGE_H
/*
 * What the changes of a mirror's index have in common: each is one operation,
 * so one commit; its struct holds copies of all it needs and is freed once its
 * caller has been told.  Only the change*.c files use it.
 *
 *   change_new -> fields -> change_submit -> (apply) -> cb -> release, freed
 *                        -> change_wait (apply) -> change_finish -> as above
 */
#include "cache/cache_int.h"

struct change {
	struct index_op op;
	cache_done_cb *cb; /* may be NULL */
	void *cb_arg;
	void (*release)(struct change *ch); /* what more it owns; or NULL */

	char *host, *name; /* the repository */
	char *tag;         /* or NULL */
	char *media_type;  /* or NULL */
	struct digest dg;
	uint64_t now_s, now_ms;
	bool public_yes;
	enum link_kind kind;
	enum repo_news repo_news;
	bool drop;

	enum err (*apply)(struct index_txn *txn, struct change *ch);
	/* Not ERR_OK: it failed before it was submitted; apply returns this,
	 * so that failures too are told on the writer thread. */
	enum err early;
	struct why why;
};

/* `size` bytes of zeros that begin with a struct change. */
void *change_new(size_t size, const char *host, const char *name,
		 cache_done_cb *cb, void *arg) MUST_CHECK;
void change_submit(struct cache *c, struct change *STEALS ch,
		   enum err (*apply)(struct index_txn *txn, struct change *ch));

/* The same in two parts, for a worker that waits and has something to do
 * between the commit and the telling; it is then told on the worker. */
enum err change_wait(struct cache *c, struct change *ch,
		     enum err (*apply)(struct index_txn *txn,
				       struct change *ch)) MUST_CHECK;
void change_finish(struct change *STEALS ch, enum err err);

/* Parts of an apply. */
enum err change_ensure_repo(struct index_txn *txn, const struct change *ch,
			    struct repo_row *repo) MUST_CHECK;
void change_clear_denied(struct index_txn *txn, struct repo_row *repo);
void change_put_link(struct index_txn *txn, const struct change *ch,
		     uint64_t repo);
/* The upstream says that ch->tag is ch->dg; `held`: so it is linked here. */
enum err change_tag_seen(struct index_txn *txn, const struct change *ch,
			 uint64_t repo, bool held) MUST_CHECK;

/* xstrdup() of what may be NULL. */
char *dup_or_null(const char *text) MUST_CHECK;

static inline struct slice slice_of_text(const char *text)
{
	return slice_of(text, text ? strlen(text) : 0);
}

#endif
