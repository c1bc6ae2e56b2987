/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/key.h"
#include "cache/row.h"
#include "cache/row_code.h"
#include "cache/row_meta.h"

/* False if these cannot be a repository's: they may come from a request. */
static bool name_key(struct key *k, const char *host, const char *name)
{
	size_t host_len = strlen(host), name_len = strlen(name);

	if (host_len > REPO_HOST_MAX || !name_len || name_len > REPO_NAME_MAX)
		return false;
	key_start(k);
	key_bytes(k, host, host_len + 1);
	key_bytes(k, name, name_len);
	return true;
}

static struct slice id_key(struct key *k, uint64_t id)
{
	key_start(k);
	key_u64(k, id);
	return key_slice(k);
}

static enum err decode_id(struct slice payload, uint64_t *id)
{
	struct row_in in;
	uint64_t found;

	row_in_begin(&in, payload);
	found = row_in_u64(&in);
	if (row_in_end(&in) != ERR_OK || !found)
		return ERR_CORRUPT;
	*id = found;
	return ERR_OK;
}

static void put_name(struct index_txn *txn, enum index_table table,
		     const struct key *k, uint64_t id)
{
	struct row_out out;

	row_out_begin(&out);
	row_out_u64(&out, id);
	row_out_put(&out, txn, table, key_slice(k));
}

static enum err find_id(struct index_txn *txn, enum index_table table,
			const char *host, const char *name, uint64_t *id)
{
	struct slice payload;
	struct key k;
	enum err err;

	if (!name_key(&k, host, name))
		return ERR_NOT_FOUND;
	err = index_get(txn, table, key_slice(&k), &payload);
	return err == ERR_OK ? decode_id(payload, id) : err;
}

enum err repo_id(struct index_txn *txn, const char *host, const char *name,
		 uint64_t *id)
{
	return find_id(txn, TABLE_REPO_NAME, host, name, id);
}

enum err repo_get(struct index_txn *txn, uint64_t id, struct repo_row *out)
{
	struct slice payload;
	struct row_in in;
	struct key k;
	enum err err = index_get(txn, TABLE_REPO, id_key(&k, id), &payload);

	if (err != ERR_OK)
		return err;
	row_in_begin(&in, payload);
	out->id = id;
	out->kind = row_in_enum(&in, REPO_MIRROR, REPO_HOSTED);
	out->created_s = row_in_u64(&in);
	out->visibility = row_in_enum(&in, VIS_UNKNOWN, VIS_PRIVATE);
	out->marked_ms = row_in_u64(&in);
	out->denied_ms = row_in_u64(&in);
	out->denied_checked_ms = row_in_u64(&in);
	row_in_text(&in, out->host, sizeof(out->host));
	row_in_text(&in, out->name, sizeof(out->name));
	return row_in_end(&in);
}

void repo_put(struct index_txn *txn, const struct repo_row *row)
{
	struct row_out out;
	struct key k;

	row_out_begin(&out);
	row_out_u8(&out, (uint8_t)row->kind);
	row_out_u64(&out, row->created_s);
	row_out_u8(&out, (uint8_t)row->visibility);
	row_out_u64(&out, row->marked_ms);
	row_out_u64(&out, row->denied_ms);
	row_out_u64(&out, row->denied_checked_ms);
	row_out_bytes(&out, row->host, strlen(row->host));
	row_out_bytes(&out, row->name, strlen(row->name));
	row_out_put(&out, txn, TABLE_REPO, id_key(&k, row->id));
}

void repo_del(struct index_txn *txn, const struct repo_row *row)
{
	struct key k;

	index_del(txn, TABLE_REPO, id_key(&k, row->id));
	if (!name_key(&k, row->host, row->name))
		return;
	index_del(txn, TABLE_REPO_NAME, key_slice(&k));
	index_del(txn, TABLE_REPO_HELD, key_slice(&k));
}

static bool note_highest(void *arg, struct slice key,
			 struct slice payload UNUSED)
{
	uint64_t *highest = arg, id;

	if (key_take_u64(&key, &id))
		*highest = MAX(*highest, id);
	return true;
}

/*
 * Ids are never given twice, because links and tags may outlive a
 * repository's row.  A counter that is lost is found again by counting.
 */
static enum err next_id(struct index_txn *txn, uint64_t *id)
{
	enum err err = meta_get(txn, "repo/next", id);

	if (err == ERR_OK)
		return ERR_OK;
	if (err == ERR_IO)
		return err;
	*id = 0;
	err = index_walk(txn, TABLE_REPO, slice_of(NULL, 0), slice_of(NULL, 0),
			 note_highest, id);
	++*id;
	return err;
}

/*
 * Rows that have rotted are made anew, so that one bad row does not close a
 * repository for ever.  What was linked to a lost id is fetched again.
 */
enum err repo_ensure(struct index_txn *txn, const char *host, const char *name,
		     enum repo_kind kind, uint64_t now_s, struct repo_row *out)
{
	struct repo_row row = {.kind = kind, .created_s = now_s};
	struct key k;
	enum err err;

	if (!name_key(&k, host, name))
		return ERR_INVALID;
	memcpy(row.host, host, strlen(host));
	memcpy(row.name, name, strlen(name));
	err = repo_id(txn, host, name, &row.id);
	if (err == ERR_OK) {
		err = repo_get(txn, row.id, out);
		if (err == ERR_OK || err == ERR_IO)
			return err;
	} else {
		err = err == ERR_IO ? err : next_id(txn, &row.id);
		if (err != ERR_OK)
			return err;
		meta_put(txn, "repo/next", row.id + 1);
		put_name(txn, TABLE_REPO_NAME, &k, row.id);
	}
	repo_put(txn, &row);
	*out = row;
	return ERR_OK;
}

/* ---- in order ---- */

struct repo_walking {
	struct index_txn *txn;
	struct slice after; /* a whole key; none if empty */
	repo_walk_cb *cb;
	void *arg;
};

/* Rows that do not decode are the checker's business. */
static bool walk_row(void *arg, struct slice key, struct slice payload)
{
	struct repo_walking *w = arg;
	const uint8_t *nul = memchr(key.ptr, '\0', key.len);
	struct slice name;
	uint64_t id;

	if (key.len == w->after.len &&
	    memcmp(key.ptr, w->after.ptr, key.len) == 0)
		return true;
	if (!nul || decode_id(payload, &id) != ERR_OK) {
		index_note_undecodable(w->txn, payload);
		return true;
	}
	name = slice_of(nul + 1, key.len - (size_t)(nul + 1 - key.ptr));
	return w->cb(w->arg, (const char *)key.ptr, name, id);
}

enum err repo_walk(struct index_txn *txn, const char *host, const char *name,
		   repo_walk_cb *cb, void *arg)
{
	struct repo_walking w = {.txn = txn, .cb = cb, .arg = arg};
	struct slice none = slice_of(NULL, 0);
	struct key k;

	if (*name && name_key(&k, host, name))
		w.after = key_slice(&k);
	else
		w.after = none;
	return index_walk(txn, TABLE_REPO_NAME, none, w.after, walk_row, &w);
}

struct next {
	char *out;
	uint64_t *id;
	bool found;
};

static bool take_next(void *arg, const char *host UNUSED, struct slice name,
		      uint64_t id)
{
	struct next *n = arg;

	if (!name.len || name.len > REPO_NAME_MAX)
		return true;
	memcpy(n->out, name.ptr, name.len);
	n->out[name.len] = '\0';
	*n->id = id;
	n->found = true;
	return false;
}

static enum err next_in(struct index_txn *txn, enum index_table table,
			const char *host, const char *after, char *out,
			uint64_t *id)
{
	struct next n = {.out = out, .id = id};
	struct repo_walking w = {.txn = txn, .cb = take_next, .arg = &n};
	struct key prefix, from;
	enum err err;

	key_start(&prefix);
	key_bytes(&prefix, host, strlen(host) + 1);
	from = prefix;
	key_bytes(&from, after, strnlen(after, REPO_NAME_MAX));
	if (*after)
		w.after = key_slice(&from);
	err = index_walk(txn, table, key_slice(&prefix), key_slice(&from),
			 walk_row, &w);
	if (err == ERR_OK && !n.found)
		err = ERR_NOT_FOUND;
	return err;
}

enum err repo_next(struct index_txn *txn, const char *host, const char *after,
		   char *out, uint64_t *id)
{
	return next_in(txn, TABLE_REPO_NAME, host, after, out, id);
}

/* ---- those that hold anything ---- */

enum err repo_next_held(struct index_txn *txn, const char *host,
			const char *after, char *out, uint64_t *id)
{
	return next_in(txn, TABLE_REPO_HELD, host, after, out, id);
}

bool repo_is_held(struct index_txn *txn, const char *host, const char *name,
		  uint64_t *id)
{
	return find_id(txn, TABLE_REPO_HELD, host, name, id) == ERR_OK;
}

/* Links of a repository whose row has rotted lead to no name. */
void repo_note_held(struct index_txn *txn, uint64_t repo, bool held)
{
	struct repo_row row;
	struct key k;

	if (repo_get(txn, repo, &row) != ERR_OK ||
	    !name_key(&k, row.host, row.name))
		return;
	if (held)
		put_name(txn, TABLE_REPO_HELD, &k, repo);
	else
		index_del(txn, TABLE_REPO_HELD, key_slice(&k));
}

static bool find_held(void *arg, const char *host UNUSED,
		      struct slice name UNUSED, uint64_t id)
{
	struct index_txn *txn = arg;

	if (repo_holds_anything(txn, id))
		repo_note_held(txn, id, true);
	return true;
}

void repos_find_held(struct index_txn *txn)
{
	/* An error is the transaction's. */
	(void)!repo_walk(txn, "", "", find_held, txn);
}
