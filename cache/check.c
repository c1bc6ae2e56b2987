/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each table is walked once; what a row promises of other tables is looked up
 * there.  Nothing is remembered from row to row but two sums, so that an index
 * of any size is checked in the same memory.
 */
#include "cache/check.h"

#include "cache/key.h"

#include <stdarg.h>

#define KEY_TEXT_MAX (2 * INDEX_KEY_MAX + 1)

void check_finding(struct check *c, const char *fmt, ...)
{
	char text[KEY_TEXT_MAX + 256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->findings++;
	c->cb(c->arg, text);
}

/* A key as text: as it is where it is printable, else in hex. */
static const char *key_text(struct slice key, char *out)
{
	bool printable = true;

	for (size_t i = 0; i < key.len; i++)
		printable &= key.ptr[i] > 0x20 && key.ptr[i] < 0x7f;
	if (printable) {
		memcpy(out, key.ptr, key.len);
		out[key.len] = '\0';
		return out;
	}
	for (size_t i = 0; i < key.len; i++)
		snprintf(out + 2 * i, 3, "%02x", key.ptr[i]);
	return out;
}

void check_bad_row(struct check *c, struct slice key, const char *what)
{
	char text[KEY_TEXT_MAX];

	check_finding(c, "%s %s: %s", c->table, key_text(key, text), what);
}

void check_bad_digest(struct check *c, struct slice key, const char *what,
		      const struct digest *dg)
{
	char text[KEY_TEXT_MAX], dg_text[DIGEST_TEXT_MAX];

	check_finding(c, "%s %s: %s %s", c->table, key_text(key, text), what,
		      digest_text(dg, dg_text));
}

/* ---- what the rows of several tables are asked ---- */

bool check_has_manifest(struct check *c, const struct digest *dg)
{
	struct manifest_row row;

	return manifest_get(c->txn, dg, &row) == ERR_OK;
}

bool check_only_digest(struct slice key, struct digest *dg)
{
	return key_take_digest(&key, dg) && !key.len;
}

/* ---- all tables ---- */

static const struct {
	enum index_table table;
	const char *name;
	void (*row)(struct check *c, struct slice key); /* NULL = decodes */
} tables[] = {
    {TABLE_META, "meta", NULL},
    {TABLE_REPO_NAME, "repo_name", check_row_repo_name},
    {TABLE_REPO, "repo", check_row_repo},
    {TABLE_BLOB, "blob", check_row_blob},
    {TABLE_MANIFEST, "manifest", check_row_manifest},
    {TABLE_TAG, "tag", check_row_tag},
    {TABLE_LINK, "link", check_row_link},
    {TABLE_EDGE, "edge", check_row_edge},
    {TABLE_REFERRER, "referrer", check_row_referrer},
    {TABLE_UPLOAD, "upload", check_row_upload},
    {TABLE_RECENCY, "recency", check_row_recency},
    {TABLE_RECENCY_PLACE, "recency_place", check_row_place},
    {TABLE_TRASH, "trash", check_row_trash},
    {TABLE_HOLDER, "holder", check_row_holder},
    {TABLE_GARBAGE, "garbage", check_row_garbage},
    {TABLE_EVENT, "event", check_row_event},
    {TABLE_TAG_OF, "tag_of", check_row_tag_of},
    {TABLE_REPO_HELD, "repo_held", check_row_repo_held},
};

struct table_walk {
	struct check *check;
	void (*row)(struct check *c, struct slice key);
	bool blobs;
};

static bool walk_row(void *arg, struct slice key, struct slice payload)
{
	struct table_walk *w = arg;

	if (!payload.ptr) {
		check_bad_row(w->check, key, "its checksum is wrong");
		w->check->blobs += w->blobs;
	} else if (w->row) {
		w->row(w->check, key);
	}
	return true;
}

static void check_tables(struct check *c)
{
	for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
		struct table_walk w = {c, tables[i].row,
				       tables[i].table == TABLE_BLOB};

		c->table = tables[i].name;
		if (index_walk(c->txn, tables[i].table, slice_of(NULL, 0),
			       slice_of(NULL, 0), walk_row, &w) != ERR_OK)
			check_finding(c, "%s: the table cannot be read",
				      c->table);
	}
}

static void check_total(struct check *c, const char *name, uint64_t counted)
{
	uint64_t told = total_get(c->txn, name);

	if (told != counted)
		check_finding(c,
			      "total %s is %" PRIu64 ", but there are %" PRIu64,
			      name, told, counted);
}

uint64_t cache_check(struct cache *cache, bool rehash, cache_check_cb *cb,
		     void *arg)
{
	struct check c = {
	    .cache = cache, .rehash = rehash, .cb = cb, .arg = arg};

	c.txn = index_read(cache->index);
	check_tables(&c);
	check_total(&c, "blobs", c.blobs);
	check_total(&c, "blob_bytes", c.blob_bytes);
	check_total(&c, "events", c.events);
	index_read_end(c.txn);
	c.txn = NULL;
	check_files(&c);
	return c.findings;
}
