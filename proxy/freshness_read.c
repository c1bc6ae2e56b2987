/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/freshness_read.h"

#include "proxy/mirror.h"

/* Linked here and stored. */
static bool is_here(struct index_txn *txn, uint64_t repo,
		    const struct digest *dg)
{
	struct manifest_row row;
	struct link_row link;

	return dg->alg && link_get(txn, repo, dg, &link) == ERR_OK &&
	       link.kind == LINK_MANIFEST &&
	       manifest_get(txn, dg, &row) == ERR_OK;
}

void freshness_of_repo(const struct conf_upstream *up,
		       const struct repo_row *row, struct freshness *f)
{
	f->now_ms = wall_ms();
	f->deny_check_ms = up->check_ms;
	f->max_stale_ms = up->max_stale_ms;
	f->max_denied_ms = up->max_denied_ms;
	f->follow = up->gone == CONF_GONE_FOLLOW;
	f->offline = up->offline;
	if (row) {
		f->denied_ms = row->denied_ms;
		f->denied_checked_ms = row->denied_checked_ms;
	}
}

void freshness_read_repo(struct request *r, struct index_txn *txn,
			 struct freshness *f)
{
	struct repo_row repo;
	bool known =
	    request_repo(r, txn) && repo_get(txn, r->repo_id, &repo) == ERR_OK;

	freshness_of_repo(r->up, known ? &repo : NULL, f);
}

static void read_tag(struct request *r, struct index_txn *txn,
		     struct freshness *f)
{
	struct tag_row *row = &f->row;

	f->known = r->repo_id && tag_get(txn, r->repo_id, r->route.ref,
					 strlen(r->route.ref), row) == ERR_OK;
	if (!f->known)
		return;
	f->seen_held = is_here(txn, r->repo_id, &row->seen);
	f->held = f->seen_held || is_here(txn, r->repo_id, &row->held[0]) ||
		  is_here(txn, r->repo_id, &row->held[1]);
}

void freshness_read_tag(struct request *r, struct freshness *f)
{
	struct mirror *m = r->server->mirror;
	struct index_txn *txn = index_read(cache_index(r->server->cache));
	bool may_ask;

	freshness_read_repo(r, txn, f);
	read_tag(r, txn, f);
	index_read_end(txn);
	f->check_ms = conf_check_ms(r->up, r->route.ref);
	/* Only where it matters: a hit takes no mutex. */
	may_ask = !f->seen_held ||
		  freshness_age_ms(f->now_ms, f->row.checked_ms) >= f->check_ms;
	f->out = f->held && may_ask &&
		 (mirror_is_out(m, r->names.upstream) ||
		  mirror_tag_is_out(m, r->names.upstream, r->names.repo,
				    r->route.ref));
}

bool freshness_pick(struct request *r, const struct tag_row *row,
		    struct digest *out)
{
	const struct digest *all[] = {&row->seen, &row->held[0], &row->held[1]};
	struct index_txn *txn = index_read(cache_index(r->server->cache));
	const struct digest *held[ARRAY_LEN(all)], *older;
	size_t n = 0, i;

	for (i = 0; i < ARRAY_LEN(all); i++)
		if ((!n || !digest_equal(held[n - 1], all[i])) &&
		    is_here(txn, r->repo_id, all[i]))
			held[n++] = all[i];
	for (i = 0; i < n; i++) {
		older = i + 1 < n ? held[i + 1] : NULL;
		if (cache_is_whole(txn, held[i], older))
			break;
	}
	index_read_end(txn);
	if (n)
		*out = *held[i < n ? i : 0];
	return n > 0;
}

void freshness_reply_denied(struct request *r, const struct freshness *f,
			    enum api_code unknown)
{
	struct why why;

	(void)why_set(&why, ERR_DENIED,
		      "%.100s has denied it for %" PRIu64 " s; what is held of "
		      "it is served no longer than max_denied (%" PRIu64 " s)",
		      r->up->name,
		      freshness_age_ms(f->now_ms, f->denied_ms) / 1000,
		      f->max_denied_ms / 1000);
	reply_err(r, ERR_DENIED, unknown, 0, &why);
}
