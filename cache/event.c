/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/event.h"

#include "cache/cache_int.h"
#include "cache/key.h"
#include "cache/row_meta.h"

#define TEXT_MAX (64 * 1024)
/* A background operation has at most 128 row operations; beside the rows that
 * go there are the cursor and the totals. */
#define ROWS_PER_OP 100

static struct slice event_key(struct key *k, uint64_t seq)
{
	key_start(k);
	key_u64(k, seq);
	return key_slice(k);
}

static bool note_last(void *arg, struct slice key, struct slice payload UNUSED)
{
	uint64_t *last = arg;

	(void)!key_take_u64(&key, last);
	return true;
}

/* From 1.  A counter that is lost is found again by counting. */
static uint64_t next_sequence(struct index_txn *txn)
{
	uint64_t seq = 0;

	if (meta_get(txn, "event/next", &seq) == ERR_OK)
		return seq;
	if (index_walk(txn, TABLE_EVENT, slice_of(NULL, 0), slice_of(NULL, 0),
		       note_last, &seq) != ERR_OK)
		return 1; /* the transaction has failed */
	return seq + 1;
}

void event_put(struct index_txn *txn, struct slice text)
{
	uint64_t seq;
	struct key k;

	if (text.len > TEXT_MAX) {
		total_add(txn, "events_too_long", 1);
		return;
	}
	seq = next_sequence(txn);
	index_put(txn, TABLE_EVENT, event_key(&k, seq), text);
	meta_put(txn, "event/next", seq + 1);
	total_add(txn, "events", 1);
}

struct walk {
	uint64_t after;
	event_walk_cb *cb;
	void *arg;
};

static bool walk_row(void *arg, struct slice key, struct slice payload)
{
	struct walk *w = arg;
	uint64_t seq;

	if (!payload.ptr || !key_take_u64(&key, &seq) || seq <= w->after)
		return true;
	return w->cb(w->arg, seq, payload);
}

enum err event_walk(struct index_txn *txn, uint64_t after, event_walk_cb *cb,
		    void *arg)
{
	struct walk w = {after, cb, arg};
	struct key k;

	return index_walk(txn, TABLE_EVENT, slice_of(NULL, 0),
			  event_key(&k, after), walk_row, &w);
}

static const char *cursor_name(const char *receiver, char *out, size_t size)
{
	int n = snprintf(out, size, "event/at/%s", receiver);

	assert(n > 0 && (size_t)n < size);
	return out;
}

uint64_t event_cursor(struct index_txn *txn, const char *receiver)
{
	char name[INDEX_KEY_MAX + 1];
	uint64_t seq;

	cursor_name(receiver, name, sizeof(name));
	return meta_get(txn, name, &seq) == ERR_OK ? seq : 0;
}

uint64_t event_count(struct index_txn *txn)
{
	return total_get(txn, "events");
}

/* ---- what has been told ---- */

struct told_op {
	struct index_op op;
	const char *receiver;
	uint64_t seq;
	const char *const *all;
	size_t n;
	uint64_t max_rows;

	/* Of the last apply. */
	uint64_t told; /* by all of them */
	uint64_t surplus;
	struct index_txn *txn;
	unsigned gone;
	bool more;
};

static void move_cursor(struct index_txn *txn, const struct told_op *t)
{
	char name[INDEX_KEY_MAX + 1];

	if (event_cursor(txn, t->receiver) >= t->seq)
		return;
	meta_put(txn, cursor_name(t->receiver, name, sizeof(name)), t->seq);
}

static uint64_t told_by_all(struct index_txn *txn, const struct told_op *t)
{
	uint64_t told = UINT64_MAX;

	for (size_t i = 0; i < t->n; i++)
		told = MIN(told, event_cursor(txn, t->all[i]));
	return told;
}

/* Rows that have rotted go like the others. */
static bool drop_row(void *arg, struct slice key, struct slice payload UNUSED)
{
	struct told_op *t = arg;
	struct slice rest = key;
	uint64_t seq;

	if (!key_take_u64(&rest, &seq))
		return true;
	if (seq > t->told && t->gone >= t->surplus)
		return false;
	t->more = t->gone == ROWS_PER_OP;
	if (t->more)
		return false;
	index_del(t->txn, TABLE_EVENT, key);
	t->gone++;
	return true;
}

static enum err told_apply(struct index_txn *txn, struct index_op *op)
{
	struct told_op *t = container_of(op, struct told_op, op);
	uint64_t rows = event_count(txn);

	t->txn = txn;
	t->gone = 0;
	t->more = false;
	t->surplus = rows > t->max_rows ? rows - t->max_rows : 0;
	move_cursor(txn, t);
	t->told = told_by_all(txn, t);
	if (index_walk(txn, TABLE_EVENT, slice_of(NULL, 0), slice_of(NULL, 0),
		       drop_row, t) != ERR_OK)
		return ERR_OK; /* the transaction has failed, and says so */
	total_add(txn, "events", -(int64_t)t->gone);
	return ERR_OK;
}

enum err event_told(struct cache *c, const char *receiver, uint64_t seq,
		    const char *const *all, size_t n, uint64_t max_rows)
{
	struct told_op t = {
	    .op = {.apply = told_apply, .background = true},
	    .receiver = receiver,
	    .seq = seq,
	    .all = all,
	    .n = n,
	    .max_rows = max_rows,
	};
	enum err err;

	do
		err = index_submit_wait(c->index, &t.op);
	while (err == ERR_OK && t.more);
	return err;
}
