/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/key.h"
#include "cache/row.h"
#include "cache/row_code.h"

static struct slice link_key(struct key *k, uint64_t repo,
			     const struct digest *dg)
{
	key_start(k);
	key_u64(k, repo);
	key_digest(k, dg);
	return key_slice(k);
}

static enum err decode_link(struct slice payload, struct link_row *out)
{
	struct row_in in;

	row_in_begin(&in, payload);
	out->kind = row_in_enum(&in, LINK_BLOB, LINK_MANIFEST);
	out->hosted = row_in_enum(&in, 0, 1);
	out->sparse = row_in_enum(&in, 0, 1);
	out->created_s = row_in_u64(&in);
	out->media_type = row_in_bytes(&in);
	return row_in_end(&in);
}

enum err link_get(struct index_txn *txn, uint64_t repo, const struct digest *dg,
		  struct link_row *out)
{
	struct slice payload;
	struct key k;
	enum err err =
	    index_get(txn, TABLE_LINK, link_key(&k, repo, dg), &payload);

	if (err != ERR_OK)
		return err;
	return decode_link(payload, out);
}

static struct slice holder_key(struct key *k, const struct digest *dg,
			       uint8_t kind, uint64_t repo)
{
	key_start(k);
	key_digest(k, dg);
	key_bytes(k, &kind, 1);
	key_u64(k, repo);
	return key_slice(k);
}

void link_put(struct index_txn *txn, uint64_t repo, const struct digest *dg,
	      const struct link_row *row)
{
	bool first = !repo_holds_anything(txn, repo);
	struct row_out out;
	struct key k;

	row_out_begin(&out);
	row_out_u8(&out, (uint8_t)row->kind);
	row_out_u8(&out, row->hosted);
	row_out_u8(&out, row->sparse);
	row_out_u64(&out, row->created_s);
	row_out_bytes(&out, row->media_type.ptr, row->media_type.len);
	row_out_put(&out, txn, TABLE_LINK, link_key(&k, repo, dg));
	index_put(txn, TABLE_HOLDER,
		  holder_key(&k, dg,
			     row->hosted ? HOLDER_HOSTED : HOLDER_MIRROR, repo),
		  slice_of(NULL, 0));
	if (first)
		repo_note_held(txn, repo, true);
}

void link_del(struct index_txn *txn, uint64_t repo, const struct digest *dg)
{
	struct key k;

	index_del(txn, TABLE_LINK, link_key(&k, repo, dg));
	/* Both: a row that has rotted does not tell which it was. */
	index_del(txn, TABLE_HOLDER, holder_key(&k, dg, HOLDER_HOSTED, repo));
	index_del(txn, TABLE_HOLDER, holder_key(&k, dg, HOLDER_MIRROR, repo));
	if (!repo_holds_anything(txn, repo))
		repo_note_held(txn, repo, false);
}

struct link_walk {
	struct index_txn *txn;
	const struct digest *last; /* or NULL */
	link_walk_cb *cb;
	void *arg;
};

static bool link_row(void *arg, struct slice key, struct slice payload)
{
	struct link_walk *w = arg;
	struct link_row row;
	struct digest dg;
	uint64_t repo;

	if (!key_take_u64(&key, &repo) || !key_take_digest(&key, &dg) ||
	    decode_link(payload, &row) != ERR_OK) {
		index_note_undecodable(w->txn, payload);
		return true;
	}
	if (w->last && digest_equal(&dg, w->last))
		return true;
	return w->cb(w->arg, &dg, &row);
}

enum err link_walk(struct index_txn *txn, uint64_t repo,
		   const struct digest *last, link_walk_cb *cb, void *arg)
{
	struct link_walk w = {txn, last, cb, arg};
	struct slice from = slice_of(NULL, 0);
	struct key prefix, after;

	key_start(&prefix);
	key_u64(&prefix, repo);
	if (last)
		from = link_key(&after, repo, last);
	return index_walk(txn, TABLE_LINK, key_slice(&prefix), from, link_row,
			  &w);
}

/* Of a row only the key counts. */
static bool is_there(void *arg, struct slice key UNUSED,
		     struct slice payload UNUSED)
{
	*(bool *)arg = true;
	return false;
}

bool repo_holds_anything(struct index_txn *txn, uint64_t repo)
{
	struct key prefix;
	bool any = false;

	key_start(&prefix);
	key_u64(&prefix, repo);
	return index_walk(txn, TABLE_LINK, key_slice(&prefix),
			  slice_of(NULL, 0), is_there, &any) == ERR_OK &&
	       any;
}

struct holder_walk {
	holder_walk_cb *cb;
	void *arg;
};

/* Of a row only the key counts. */
static bool holder_row(void *arg, struct slice key, struct slice payload UNUSED)
{
	struct holder_walk *w = arg;
	struct digest dg;
	uint64_t repo;
	uint8_t kind;

	if (!key_take_digest(&key, &dg) || key.len != 9)
		return true;
	kind = key.ptr[0];
	repo = get_be64(key.ptr + 1);
	return w->cb(w->arg, repo, kind == HOLDER_HOSTED);
}

enum err holder_walk(struct index_txn *txn, const struct digest *dg,
		     holder_walk_cb *cb, void *arg)
{
	struct holder_walk w = {cb, arg};
	struct key k;

	key_start(&k);
	key_digest(&k, dg);
	return index_walk(txn, TABLE_HOLDER, key_slice(&k), slice_of(NULL, 0),
			  holder_row, &w);
}

static struct slice edge_key(struct key *k, const struct digest *child,
			     const struct digest *parent)
{
	key_start(k);
	key_digest(k, child);
	key_digest(k, parent);
	return key_slice(k);
}

void edge_put(struct index_txn *txn, const struct digest *child,
	      const struct digest *parent, const struct edge_row *row)
{
	struct row_out out;
	struct key k;

	row_out_begin(&out);
	row_out_u64(&out, row->size);
	row_out_u8(&out, (uint8_t)row->role);
	row_out_bytes(&out, row->media_type.ptr, row->media_type.len);
	row_out_put(&out, txn, TABLE_EDGE, edge_key(&k, child, parent));
}

void edge_del(struct index_txn *txn, const struct digest *child,
	      const struct digest *parent)
{
	struct key k;

	index_del(txn, TABLE_EDGE, edge_key(&k, child, parent));
}

static enum err decode_edge(struct slice payload, struct edge_row *out)
{
	struct row_in in;

	row_in_begin(&in, payload);
	out->size = row_in_u64(&in);
	out->role = row_in_enum(&in, EDGE_CONFIG, EDGE_SUBJECT);
	out->media_type = row_in_bytes(&in);
	return row_in_end(&in);
}

enum err edge_get(struct index_txn *txn, const struct digest *child,
		  const struct digest *parent, struct edge_row *out)
{
	struct slice payload;
	struct key k;
	enum err err =
	    index_get(txn, TABLE_EDGE, edge_key(&k, child, parent), &payload);

	return err == ERR_OK ? decode_edge(payload, out) : err;
}

struct edge_walk {
	edge_walk_cb *cb;
	void *arg;
};

static bool edge_row(void *arg, struct slice key, struct slice payload)
{
	struct edge_walk *w = arg;
	struct digest child, parent;
	struct edge_row row;

	if (decode_edge(payload, &row) != ERR_OK ||
	    !key_take_digest(&key, &child) || !key_take_digest(&key, &parent))
		return true;
	return w->cb(w->arg, &parent, &row);
}

enum err edge_walk(struct index_txn *txn, const struct digest *child,
		   edge_walk_cb *cb, void *arg)
{
	struct edge_walk w = {.cb = cb, .arg = arg};
	struct key k;

	key_start(&k);
	key_digest(&k, child);
	return index_walk(txn, TABLE_EDGE, key_slice(&k), slice_of(NULL, 0),
			  edge_row, &w);
}
