/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/key.h"
#include "cache/row.h"
#include "cache/row_code.h"

static struct slice tag_key(struct key *k, uint64_t repo, const char *tag,
			    size_t tag_len)
{
	key_start(k);
	key_u64(k, repo);
	key_bytes(k, tag, tag_len);
	return key_slice(k);
}

static enum err decode(struct slice payload, struct tag_row *out)
{
	struct row_in in;

	row_in_begin(&in, payload);
	row_in_digest(&in, &out->held[0]);
	row_in_digest(&in, &out->held[1]);
	row_in_digest(&in, &out->seen);
	out->fetched_s = row_in_u64(&in);
	out->checked_ms = row_in_u64(&in);
	out->state = row_in_enum(&in, TAG_PRESENT, TAG_GONE);
	return row_in_end(&in);
}

enum err tag_get(struct index_txn *txn, uint64_t repo, const char *tag,
		 size_t tag_len, struct tag_row *out)
{
	struct slice payload;
	struct key k;
	enum err err;

	if (!tag_len || tag_len > TAG_MAX)
		return ERR_NOT_FOUND;
	err = index_get(txn, TABLE_TAG, tag_key(&k, repo, tag, tag_len),
			&payload);
	return err == ERR_OK ? decode(payload, out) : err;
}

/* ---- from a digest back to its tags ---- */

static struct slice tag_of_key(struct key *k, uint64_t repo,
			       const struct digest *dg, const char *tag,
			       size_t tag_len)
{
	key_start(k);
	key_u64(k, repo);
	key_digest(k, dg);
	key_bytes(k, tag, tag_len);
	return key_slice(k);
}

static bool holds(const struct tag_row *row, const struct digest *dg)
{
	return row && (digest_equal(&row->held[0], dg) ||
		       digest_equal(&row->held[1], dg));
}

/* `old` and `now` may be NULL: there was none, or will be none. */
static void lead_back(struct index_txn *txn, uint64_t repo, const char *tag,
		      size_t tag_len, const struct tag_row *old,
		      const struct tag_row *now)
{
	struct key k;

	for (int i = 0; i < 2; i++) {
		const struct digest *was = old ? &old->held[i] : NULL;
		const struct digest *is = now ? &now->held[i] : NULL;

		if (was && was->alg && !holds(now, was))
			index_del(txn, TABLE_TAG_OF,
				  tag_of_key(&k, repo, was, tag, tag_len));
		if (is && is->alg && !holds(old, is))
			index_put(txn, TABLE_TAG_OF,
				  tag_of_key(&k, repo, is, tag, tag_len),
				  slice_of(NULL, 0));
	}
}

struct tag_of_walk {
	tag_of_walk_cb *cb;
	void *arg;
};

static bool tag_of_row(void *arg, struct slice key, struct slice payload UNUSED)
{
	struct tag_of_walk *w = arg;
	struct digest dg;
	uint64_t repo;

	if (!key_take_u64(&key, &repo) || !key_take_digest(&key, &dg))
		return true;
	return w->cb(w->arg, (const char *)key.ptr, key.len);
}

enum err tag_of_walk(struct index_txn *txn, uint64_t repo,
		     const struct digest *dg, tag_of_walk_cb *cb, void *arg)
{
	struct tag_of_walk w = {cb, arg};
	struct key prefix;

	return index_walk(txn, TABLE_TAG_OF,
			  tag_of_key(&prefix, repo, dg, "", 0),
			  slice_of(NULL, 0), tag_of_row, &w);
}

/* ---- writing ---- */

void tag_put(struct index_txn *txn, uint64_t repo, const char *tag,
	     size_t tag_len, const struct tag_row *row)
{
	struct tag_row old;
	struct row_out out;
	struct key k;
	bool had;

	assert(tag_len && tag_len <= TAG_MAX);
	had = tag_get(txn, repo, tag, tag_len, &old) == ERR_OK;
	lead_back(txn, repo, tag, tag_len, had ? &old : NULL, row);
	row_out_begin(&out);
	row_out_digest(&out, &row->held[0]);
	row_out_digest(&out, &row->held[1]);
	row_out_digest(&out, &row->seen);
	row_out_u64(&out, row->fetched_s);
	row_out_u64(&out, row->checked_ms);
	row_out_u8(&out, (uint8_t)row->state);
	row_out_put(&out, txn, TABLE_TAG, tag_key(&k, repo, tag, tag_len));
}

void tag_del(struct index_txn *txn, uint64_t repo, const char *tag,
	     size_t tag_len)
{
	struct tag_row old;
	struct key k;

	assert(tag_len && tag_len <= TAG_MAX);
	if (tag_get(txn, repo, tag, tag_len, &old) == ERR_OK)
		lead_back(txn, repo, tag, tag_len, &old, NULL);
	index_del(txn, TABLE_TAG, tag_key(&k, repo, tag, tag_len));
}

/* ---- listing ---- */

struct tag_walk {
	struct index_txn *txn;
	struct slice after; /* a whole key; none if empty */
	tag_walk_cb *cb;
	void *arg;
};

static bool tag_row(void *arg, struct slice key, struct slice payload)
{
	struct tag_walk *w = arg;
	struct slice tag = key;
	struct tag_row row;
	uint64_t repo;

	if (key.len == w->after.len &&
	    memcmp(key.ptr, w->after.ptr, key.len) == 0)
		return true;
	if (!key_take_u64(&tag, &repo) || decode(payload, &row) != ERR_OK) {
		index_note_undecodable(w->txn, payload);
		return true;
	}
	return w->cb(w->arg, (const char *)tag.ptr, tag.len, &row);
}

/* `last` comes from a request.  Beyond one byte more than a tag can have, it
 * sorts against every tag as its beginning does. */
enum err tag_walk(struct index_txn *txn, uint64_t repo, const char *last,
		  tag_walk_cb *cb, void *arg)
{
	struct tag_walk w = {.txn = txn, .cb = cb, .arg = arg};
	struct key prefix, after;

	tag_key(&prefix, repo, "", 0);
	if (last)
		w.after =
		    tag_key(&after, repo, last, strnlen(last, TAG_MAX + 1));
	return index_walk(txn, TABLE_TAG, key_slice(&prefix), w.after, tag_row,
			  &w);
}
