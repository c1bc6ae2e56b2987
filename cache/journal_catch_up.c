/* SPDX-License-Identifier: Apache-2.0 */
/* Start-up: does the index have what the journal has? */
#include "cache/journal_apply.h"

#include "cache/cache_int.h"

#include <fcntl.h>

enum err journal_check_index(struct cache *c, bool there, struct why *why)
{
	if (there || journal_last(c->journal) == 0)
		return ERR_OK;
	return why_set(why, ERR_CORRUPT,
		       "%s/journal tells of hosted content, but there is no "
		       "index; 'entrepot rebuild' makes one",
		       c->data);
}

enum err journal_catch_up(struct cache *c, struct why *why)
{
	struct index_txn *txn = index_read(c->index);
	uint64_t has = index_log_last(txn);
	struct journal_replaying r = {.after = has};
	uint64_t last = journal_last(c->journal);
	struct statements s;
	enum err err;

	index_read_end(txn);
	if (has == last)
		return ERR_OK;
	if (has > last)
		return why_set(why, ERR_CORRUPT,
			       "the index knows %" PRIu64
			       " records, %s/journal has %" PRIu64
			       ": put back what is missing, or 'entrepot "
			       "rebuild journal' writes it anew from the "
			       "index",
			       has, c->data, last);
	statements_init(&s, c);
	err = statements_replay(&s, &r, NULL, NULL, why);
	statements_release(&s);
	if (err == ERR_OK && r.last < last)
		return why_set(why, ERR_CORRUPT,
			       "the index in %s is older than the journal's "
			       "snapshot; 'entrepot rebuild' makes another one",
			       c->data);
	return err;
}
