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

enum err link_get(struct index_txn *txn, uint64_t repo, const struct digest *dg,
		  struct link_row *out)
{
	struct slice payload;
	struct row_in in;
	struct key k;
	enum err err =
	    index_get(txn, TABLE_LINK, link_key(&k, repo, dg), &payload);

	if (err != ERR_OK)
		return err;
	row_in_begin(&in, payload);
	out->kind = row_in_enum(&in, LINK_BLOB, LINK_MANIFEST);
	out->created_s = row_in_u64(&in);
	out->media_type = row_in_bytes(&in);
	return row_in_end(&in);
}

void link_put(struct index_txn *txn, uint64_t repo, const struct digest *dg,
	      const struct link_row *row)
{
	struct row_out out;
	struct key k;

	row_out_begin(&out);
	row_out_u8(&out, (uint8_t)row->kind);
	row_out_u64(&out, row->created_s);
	row_out_bytes(&out, row->media_type.ptr, row->media_type.len);
	row_out_put(&out, txn, TABLE_LINK, link_key(&k, repo, dg));
}

void link_del(struct index_txn *txn, uint64_t repo, const struct digest *dg)
{
	struct key k;

	index_del(txn, TABLE_LINK, link_key(&k, repo, dg));
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

struct edge_walk {
	edge_walk_cb *cb;
	void *arg;
};

static bool edge_row(void *arg, struct slice key, struct slice payload)
{
	struct edge_walk *w = arg;
	struct digest child, parent;
	struct edge_row row;
	struct row_in in;

	row_in_begin(&in, payload);
	row.size = row_in_u64(&in);
	row.role = row_in_enum(&in, EDGE_CONFIG, EDGE_SUBJECT);
	row.media_type = row_in_bytes(&in);
	if (row_in_end(&in) != ERR_OK || !key_take_digest(&key, &child) ||
	    !key_take_digest(&key, &parent))
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
