/* SPDX-License-Identifier: Apache-2.0 */
/*
 * May this repository have this blob, which is stored here already?  GET of
 * bytes=0-0, cut after the head: HEAD of a blob is refused by registries that
 * would give it (public.ecr.aws).  416 is a yes, too: the blob is empty.
 */
#include "proxy/question.h"

/* Committed or not, this client may have it: its upstream has said so. */
static void yes_noted(struct question *q, enum err err, const struct why *why)
{
	(void)why;
	q->found.stored = err == ERR_OK;
	question_answer(q);
}

static void yes_marked(struct question *q)
{
	question_note_yes(q, LINK_BLOB, yes_noted);
}

/*
 * Whoever says yes to another blob than the one that is stored says it to
 * anything: a captive portal, say.  True: it has been answered so.
 */
static bool is_another(struct question *q)
{
	struct index_txn *txn = index_read(cache_index(q->all->cache));
	struct blob_row row;
	bool stored = blob_get(txn, &q->dg, &row) == ERR_OK;

	index_read_end(txn);
	if (!stored)
		return false;
	if (q->found.size == row.size ||
	    (q->found.size == CALL_LENGTH_UNKNOWN &&
	     (q->found.status != 416 || !row.size)))
		return false;
	question_fail(q, ERR_BAD_UPSTREAM,
		      "%s says another size of this blob of %s than it has",
		      question_upstream(q), q->repo);
	return true;
}

static void yes_heard(struct question *q, const struct heard *h)
{
	const struct call_head *head = h->head;

	if (h->err || (head->status != 200 && head->status != 206 &&
		       head->status != 416)) {
		question_refuse(q, h, "this blob");
		return;
	}
	q->found.status = head->status;
	q->found.digest = q->dg;
	q->found.size = head->status == 200 ? head->length
			: head->has_range   ? head->range_total
					    : CALL_LENGTH_UNKNOWN;
	if (!is_another(q))
		question_mark(q, head->authorized, CALL_BLOB, q->reference,
			      yes_marked);
}

void ask_yes_blob(struct question *q)
{
	struct call_spec spec =
	    question_spec(q, CALL_BLOB, q->reference, false);

	spec.ranged = true; /* bytes=0-0 */
	question_call_head(q, &spec, yes_heard);
}
