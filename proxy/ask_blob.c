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
	question_mark(q, head->authorized, CALL_BLOB, q->reference, yes_marked);
}

void ask_yes_blob(struct question *q)
{
	struct call_spec spec =
	    question_spec(q, CALL_BLOB, q->reference, false);

	spec.ranged = true; /* bytes=0-0 */
	question_call_head(q, &spec, yes_heard);
}
