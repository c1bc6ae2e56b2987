/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_HOSTED_INT_H
#define CACHE_HOSTED_INT_H
/*
 * What the changes of hosted repositories have in common.  Only files of
 * cache/ that make such changes include it.
 *
 *   hosted_new -> fields -> hosted_submit -> (apply) -> cb -> release, freed
 *
 * An apply returns an error if it has written nothing; one that has claimed a
 * name, and refuses the rest, sets res.err and returns ERR_OK.  Either way it
 * explains in ch.why.
 */
#include "cache/change.h"
#include "cache/event.h"
#include "cache/hosted.h"
#include "cache/journal.h"

struct hosted_change {
	struct change ch; /* host "": the hosted repository */
	struct cache *c;
	hosted_done_cb *cb; /* may be NULL */
	void *cb_arg;
	enum err (*apply)(struct index_txn *txn, struct hosted_change *hc);
	void (*release)(struct hosted_change *hc); /* what more it owns */
	bool claims;
	char *shadow_host, *shadow_name; /* or NULL */
	struct slice *events;
	size_t n_events;
	struct hosted_result res;
};

/* `size` bytes of zeros that begin with a struct hosted_change. */
void *hosted_new(size_t size, struct cache *c, const struct hosting *h,
		 hosted_done_cb *cb, void *arg) MUST_CHECK;
void hosted_submit(struct hosted_change *STEALS hc,
		   enum err (*apply)(struct index_txn *txn,
				     struct hosted_change *hc));
/* As change_wait() and change_finish().  The wait's result is the index's;
 * what the apply refused is in res. */
enum err hosted_wait(struct hosted_change *hc,
		     enum err (*apply)(struct index_txn *txn,
				       struct hosted_change *hc)) MUST_CHECK;
void hosted_finish(struct hosted_change *STEALS hc, enum err err);

/* ---- parts of an apply; each notes in the journal what it changes ---- */

/* ERR_NOT_FOUND.  ERR_IO: also if the row has rotted, since a second row of
 * that name would hide what the first one linked. */
enum err hosted_repo(struct index_txn *txn, const char *name,
		     uint64_t *id) MUST_CHECK;
/* The same, and make it if `claims`. */
enum err hosted_ensure_repo(struct index_txn *txn, const char *name,
			    bool claims, uint64_t now_s, uint64_t *id,
			    bool *claimed) MUST_CHECK;

/* A link keeps its first date; one that is a manifest's stays one. */
void hosted_put_link(struct index_txn *txn, const char *name, uint64_t repo,
		     const struct digest *dg, const struct link_row *row);
/* Of a blob that no manifest may name yet: the end of an upload, a mount.  It
 * is looked at again after the grace period. */
void hosted_link_blob(struct index_txn *txn, const char *name, uint64_t repo,
		      const struct digest *dg, uint64_t now_s);
void hosted_del_link(struct index_txn *txn, const char *name, uint64_t repo,
		     const struct digest *dg);
void hosted_put_tag(struct index_txn *txn, const char *name, uint64_t repo,
		    const char *tag, const struct digest *dg, uint64_t now_ms);
void hosted_del_tag(struct index_txn *txn, const char *name, uint64_t repo,
		    const char *tag);
void hosted_put_events(struct index_txn *txn, const struct slice *events,
		       size_t n);

/*
 * Does a manifest linked in `repo` name dg, so that it cannot be without it?
 * *parent is the first found.
 */
bool hosted_names(struct index_txn *txn, uint64_t repo, const struct digest *dg,
		  struct digest *parent);

#endif
