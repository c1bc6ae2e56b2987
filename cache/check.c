/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each table is walked once; what a row promises of other tables is looked up
 * there.  Nothing is remembered from row to row but two sums, so that an index
 * of any size is checked in the same memory.
 */
#include "cache/check.h"

#include "cache/children.h"
#include "cache/key.h"
#include "cache/manifest.h"
#include "cache/row_meta.h"

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

/* A finding about the row under `key`. */
static void bad_row(struct check *c, struct slice key, const char *what)
{
	char text[KEY_TEXT_MAX];

	check_finding(c, "%s %s: %s", c->table, key_text(key, text), what);
}

/* A finding about what a row under `key` says of `dg`. */
static void bad_digest(struct check *c, struct slice key, const char *what,
		       const struct digest *dg)
{
	char text[KEY_TEXT_MAX], dg_text[DIGEST_TEXT_MAX];

	check_finding(c, "%s %s: %s %s", c->table, key_text(key, text), what,
		      digest_text(dg, dg_text));
}

/* ---- small questions ---- */

static bool blob_row_exists(struct check *c, const struct digest *dg)
{
	struct blob_row row;

	return blob_get(c->txn, dg, &row) == ERR_OK;
}

static bool manifest_row_exists(struct check *c, const struct digest *dg)
{
	struct manifest_row row;

	return manifest_get(c->txn, dg, &row) == ERR_OK;
}

static bool link_exists(struct check *c, uint64_t repo, const struct digest *dg,
			enum link_kind *kind)
{
	struct link_row row;

	if (link_get(c->txn, repo, dg, &row) != ERR_OK)
		return false;
	*kind = row.kind;
	return true;
}

static bool edge_exists(struct check *c, const struct digest *child,
			const struct digest *parent)
{
	struct edge_row row;

	return edge_get(c->txn, child, parent, &row) == ERR_OK;
}

/* A key that is one digest, or an integer and one. */
static bool only_digest(struct slice key, struct digest *dg)
{
	return key_take_digest(&key, dg) && !key.len;
}

static bool id_and_digest(struct slice key, uint64_t *id, struct digest *dg)
{
	return key_take_u64(&key, id) && only_digest(key, dg);
}

/* ---- one function for the rows of each table ---- */

static void check_repo_name(struct check *c, struct slice key)
{
	char text[INDEX_KEY_MAX + 1];
	struct repo_row row;
	const char *name;
	uint64_t id;

	memcpy(text, key.ptr, key.len);
	text[key.len] = '\0';
	if (strlen(text) >= key.len) {
		bad_row(c, key, "the key is no host and name");
		return;
	}
	name = text + strlen(text) + 1;
	if (repo_id(c->txn, text, name, &id) != ERR_OK)
		bad_row(c, key, "does not decode");
	else if (repo_get(c->txn, id, &row) != ERR_OK)
		bad_row(c, key, "leads to no repository");
	else if (strcmp(row.host, text) != 0 || strcmp(row.name, name) != 0)
		bad_row(c, key, "leads to a repository of another name");
}

static void check_repo(struct check *c, struct slice key)
{
	struct slice rest = key;
	struct repo_row row;
	uint64_t id, found;

	if (!key_take_u64(&rest, &id) || rest.len || !id) {
		bad_row(c, key, "the key is no id");
		return;
	}
	if (repo_get(c->txn, id, &row) != ERR_OK)
		bad_row(c, key, "does not decode");
	else if (repo_id(c->txn, row.host, row.name, &found) != ERR_OK ||
		 found != id)
		bad_row(c, key, "its name does not lead to it");
}

static void check_blob(struct check *c, struct slice key)
{
	struct blob_row row;
	struct digest dg;

	if (!only_digest(key, &dg)) {
		bad_row(c, key, "the key is no digest");
		return;
	}
	c->blobs++;
	if (blob_get(c->txn, &dg, &row) == ERR_OK)
		c->blob_bytes += row.size;
	else
		bad_row(c, key, "does not decode");
}

/* Each child must have its edge.  One of another algorithm has none. */
static void check_children(struct check *c, struct slice key,
			   const struct digest *parent, struct slice packed)
{
	enum manifest_kind kind;
	struct slice rest;
	struct child child;
	bool bad = false;

	if (!children_begin(packed, &kind, &rest)) {
		bad_row(c, key, "its list of children does not decode");
		return;
	}
	while (children_next(&rest, &child, &bad)) {
		if (child.dg.alg && !edge_exists(c, &child.dg, parent))
			bad_digest(c, key, "no edge to its child", &child.dg);
	}
	if (bad)
		bad_row(c, key, "its list of children breaks off");
}

/* Do the exact bytes say what the row says of them? */
static void check_bytes(struct check *c, struct slice key,
			const struct digest *dg, const struct manifest_row *row)
{
	char *type =
	    xstrndup((const char *)row->media_type.ptr, row->media_type.len);
	struct manifest_facts facts;
	struct digest found;
	uint8_t *packed;
	size_t len;

	if (manifest_parse(row->bytes.ptr, row->bytes.len, row->bytes.len,
			   *type ? type : NULL, &facts, NULL) == ERR_OK) {
		packed = children_pack(&facts, &len);
		if (len != row->children.len ||
		    memcmp(packed, row->children.ptr, len) != 0)
			bad_row(c, key,
				"its list of children is another "
				"than in its bytes");
		free(packed);
		manifest_facts_release(&facts);
	} else {
		bad_row(c, key, "its bytes are no manifest");
	}
	free(type);
	if (!c->rehash)
		return;
	digest_of(dg->alg, row->bytes.ptr, row->bytes.len, &found);
	if (!digest_equal(&found, dg))
		bad_row(c, key, "its bytes have another digest");
}

static bool note_holder(void *arg, uint64_t repo UNUSED, bool hosted UNUSED)
{
	*(bool *)arg = true;
	return false;
}

static bool has_holder(struct check *c, const struct digest *dg)
{
	bool any = false;

	return holder_walk(c->txn, dg, note_holder, &any) != ERR_OK || any;
}

static void check_manifest(struct check *c, struct slice key)
{
	struct manifest_row row;
	struct blob_row blob;
	struct digest dg;

	if (!only_digest(key, &dg)) {
		bad_row(c, key, "the key is no digest");
		return;
	}
	if (manifest_get(c->txn, &dg, &row) != ERR_OK) {
		bad_row(c, key, "does not decode");
		return;
	}
	if (row.bytes.ptr)
		check_bytes(c, key, &dg, &row);
	else if (blob_get(c->txn, &dg, &blob) != ERR_OK ||
		 blob.size != row.size)
		bad_row(c, key, "its bytes are in a file that has no row");
	if (!has_holder(c, &dg))
		return; /* a removal may be half way, edges first */
	if (row.subject.alg && !edge_exists(c, &row.subject, &dg))
		bad_digest(c, key, "no edge to its subject", &row.subject);
	check_children(c, key, &dg, row.children);
}

static void check_held(struct check *c, struct slice key, uint64_t repo,
		       const struct digest *held)
{
	enum link_kind kind;

	if (!manifest_row_exists(c, held))
		bad_digest(c, key, "holds a manifest that is not there", held);
	else if (!link_exists(c, repo, held, &kind) || kind != LINK_MANIFEST)
		bad_digest(c, key, "holds a manifest that is not linked", held);
}

static bool tag_leads_back(struct check *c, uint64_t repo,
			   const struct digest *held, struct slice tag)
{
	struct slice payload;
	struct key k;

	key_start(&k);
	key_u64(&k, repo);
	key_digest(&k, held);
	key_bytes(&k, tag.ptr, tag.len);
	return index_get(c->txn, TABLE_TAG_OF, key_slice(&k), &payload) ==
	       ERR_OK;
}

static void check_tag(struct check *c, struct slice key)
{
	struct slice tag = key;
	struct repo_row repo;
	struct tag_row row;
	uint64_t id;

	if (!key_take_u64(&tag, &id) || !tag.len) {
		bad_row(c, key, "the key is no repository and tag");
		return;
	}
	if (tag_get(c->txn, id, (const char *)tag.ptr, tag.len, &row) !=
	    ERR_OK) {
		bad_row(c, key, "does not decode");
		return;
	}
	if (repo_get(c->txn, id, &repo) != ERR_OK)
		bad_row(c, key, "without a repository");
	if (row.held[1].alg && !row.held[0].alg)
		bad_row(c, key, "holds an older manifest but no newest");
	for (int i = 0; i < 2; i++) {
		if (!row.held[i].alg)
			continue;
		check_held(c, key, id, &row.held[i]);
		if (!tag_leads_back(c, id, &row.held[i], tag))
			bad_digest(c, key, "is not led back to by",
				   &row.held[i]);
	}
}

/* The way back of check_tag(). */
static void check_tag_of(struct check *c, struct slice key)
{
	struct slice rest = key;
	struct tag_row row;
	struct digest dg;
	uint64_t id;

	if (!key_take_u64(&rest, &id) || !key_take_digest(&rest, &dg) ||
	    !rest.len)
		bad_row(c, key, "the key is no repository, digest and tag");
	else if (tag_get(c->txn, id, (const char *)rest.ptr, rest.len, &row) !=
		     ERR_OK ||
		 (!digest_equal(&row.held[0], &dg) &&
		  !digest_equal(&row.held[1], &dg)))
		bad_row(c, key, "of a tag that does not hold it");
}

/* A child that a hosted manifest requires. */
static void check_required(struct check *c, struct slice key, uint64_t repo,
			   const struct child *child)
{
	enum link_kind kind;

	if (!blob_row_exists(c, &child->dg))
		bad_digest(c, key, "is hosted, but has no row for its child",
			   &child->dg);
	if (!link_exists(c, repo, &child->dg, &kind))
		bad_digest(c, key, "is hosted, but has no link to its child",
			   &child->dg);
}

/* What it requires goes by the type that it was pushed as: an index requires
 * none of its entries, and a type that we do not know nothing. */
static bool requires_children(const struct link_row *link)
{
	char type[MEDIA_TYPE_MAX] = "";
	enum manifest_kind kind;

	if (link->media_type.len && link->media_type.len < sizeof(type))
		memcpy(type, link->media_type.ptr, link->media_type.len);
	kind = manifest_type_kind(type);
	return !link->sparse &&
	       (kind == MANIFEST_IMAGE || kind == MANIFEST_ARTIFACT);
}

/* A manifest that a hosted repository links: its file, so that it outlives the
 * index, and all it requires. */
static void check_hosted(struct check *c, struct slice key, uint64_t repo,
			 const struct digest *dg, const struct link_row *link)
{
	struct manifest_row row;
	enum manifest_kind kind;
	struct slice rest;
	struct child child;
	bool bad = false;

	if (!blob_row_exists(c, dg))
		bad_row(c, key, "is hosted, but has no file");
	if (manifest_get(c->txn, dg, &row) != ERR_OK ||
	    !children_begin(row.children, &kind, &rest))
		return; /* told of already */
	while (requires_children(link) && children_next(&rest, &child, &bad)) {
		if (!child.foreign && child.dg.alg)
			check_required(c, key, repo, &child);
	}
}

static bool holder_exists(struct check *c, uint64_t repo,
			  const struct digest *dg, bool hosted)
{
	uint8_t kind = hosted ? HOLDER_HOSTED : HOLDER_MIRROR;
	struct slice payload;
	struct key k;

	key_start(&k);
	key_digest(&k, dg);
	key_bytes(&k, &kind, 1);
	key_u64(&k, repo);
	return index_get(c->txn, TABLE_HOLDER, key_slice(&k), &payload) ==
	       ERR_OK;
}

/*
 * A mirror's link to a blob may outlive the blob: it says what the upstream
 * has allowed, and the bytes can be fetched again.
 */
static void check_link(struct check *c, struct slice key)
{
	struct repo_row repo;
	struct link_row row;
	struct digest dg;
	bool hosted;
	uint64_t id;

	if (!id_and_digest(key, &id, &dg)) {
		bad_row(c, key, "the key is no repository and digest");
		return;
	}
	if (link_get(c->txn, id, &dg, &row) != ERR_OK) {
		bad_row(c, key, "does not decode");
		return;
	}
	if (repo_get(c->txn, id, &repo) != ERR_OK) {
		bad_row(c, key, "without a repository");
		return;
	}
	hosted = repo.kind == REPO_HOSTED;
	if (row.hosted != hosted)
		bad_row(c, key, "of a repository of another kind");
	if (!holder_exists(c, id, &dg, hosted))
		bad_row(c, key, "its digest does not lead back");
	if (row.kind == LINK_MANIFEST && !manifest_row_exists(c, &dg))
		bad_row(c, key, "to a manifest that is not there");
	if (row.kind == LINK_BLOB && hosted && !blob_row_exists(c, &dg))
		bad_row(c, key, "to a blob that is not there");
	if (row.kind == LINK_MANIFEST && hosted)
		check_hosted(c, key, id, &dg, &row);
}

/* The way back of check_link(). */
static void check_holder(struct check *c, struct slice key)
{
	struct slice rest = key;
	struct link_row row;
	struct digest dg;
	uint8_t kind = 0;

	if (key_take_digest(&rest, &dg) && rest.len == 1 + 8)
		kind = rest.ptr[0];
	if (kind != HOLDER_HOSTED && kind != HOLDER_MIRROR) {
		bad_row(c, key, "the key is no digest, kind and repository");
		return;
	}
	if (link_get(c->txn, get_be64(rest.ptr + 1), &dg, &row) != ERR_OK)
		bad_row(c, key, "without its link");
	else if (row.hosted != (kind == HOLDER_HOSTED))
		bad_row(c, key, "of a link of another kind");
}

static void check_garbage(struct check *c, struct slice key)
{
	struct slice rest = key;
	struct digest dg;
	uint64_t since_s, repo;

	if (!key_take_u64(&rest, &since_s) || !key_take_digest(&rest, &dg) ||
	    !key_take_u64(&rest, &repo) || rest.len)
		bad_row(c, key, "the key is no time, digest and repository");
}

static void check_event(struct check *c, struct slice key)
{
	struct slice rest = key;
	uint64_t seq, next;

	c->events++;
	if (!key_take_u64(&rest, &seq) || rest.len)
		bad_row(c, key, "the key is no number");
	else if (meta_get(c->txn, "event/next", &next) != ERR_OK || seq >= next)
		bad_row(c, key, "its number was not given out yet");
}

static void check_edge(struct check *c, struct slice key)
{
	struct digest child, parent;
	struct slice rest = key;

	if (!key_take_digest(&rest, &child) || !only_digest(rest, &parent))
		bad_row(c, key, "the key is no child and parent");
	else if (!manifest_row_exists(c, &parent))
		bad_row(c, key, "without its parent");
}

static void check_referrer(struct check *c, struct slice key)
{
	struct digest subject, dg;
	struct manifest_row row;
	struct slice rest = key;
	struct repo_row repo;
	uint64_t id;

	if (!key_take_u64(&rest, &id) || !key_take_digest(&rest, &subject) ||
	    !only_digest(rest, &dg)) {
		bad_row(c, key, "the key is no repository, subject and digest");
		return;
	}
	if (repo_get(c->txn, id, &repo) != ERR_OK)
		bad_row(c, key, "without a repository");
	if (manifest_get(c->txn, &dg, &row) != ERR_OK)
		bad_row(c, key, "of a manifest that is not there");
	else if (!digest_equal(&row.subject, &subject))
		bad_row(c, key, "of a manifest with another subject");
}

/* Its file is check_files()'s matter. */
static void check_upload(struct check *c, struct slice key)
{
	char id[INDEX_KEY_MAX + 1];
	struct upload_row row;

	memcpy(id, key.ptr, key.len);
	id[key.len] = '\0';
	if (strlen(id) != key.len || !upload_id_valid(id))
		bad_row(c, key, "the key is no upload's id");
	else if (upload_get(c->txn, id, &row) != ERR_OK)
		bad_row(c, key, "does not decode");
	else if (!repo_name_valid(row.repo, strlen(row.repo)))
		bad_row(c, key, "for a repository without a name");
}

/* The two tables of recency mirror each other. */
static void check_mirrored(struct check *c, struct slice key,
			   enum index_table other, const char *what)
{
	enum index_table own =
	    other == TABLE_RECENCY ? TABLE_RECENCY_PLACE : TABLE_RECENCY;
	struct slice there, back;

	if (index_get(c->txn, own, key, &there) != ERR_OK || !there.len ||
	    there.len > INDEX_KEY_MAX ||
	    index_get(c->txn, other, there, &back) != ERR_OK ||
	    back.len != key.len || memcmp(back.ptr, key.ptr, key.len) != 0)
		bad_row(c, key, what);
}

static void check_recency(struct check *c, struct slice key)
{
	check_mirrored(c, key, TABLE_RECENCY_PLACE,
		       "its digest does not lead back");
}

static void check_place(struct check *c, struct slice key)
{
	check_mirrored(c, key, TABLE_RECENCY,
		       "its position does not lead back");
}

/* What is to be unlinked must lie in the data folder. */
static void check_trash(struct check *c, struct slice key)
{
	char path[INDEX_KEY_MAX + 3];

	snprintf(path, sizeof(path), "/%.*s/", (int)key.len,
		 (const char *)key.ptr);
	if (strlen(path) != key.len + 2 || strstr(path, "/../") ||
	    strstr(path, "//"))
		bad_row(c, key, "no path below the data folder");
}

/* ---- all tables ---- */

static const struct {
	enum index_table table;
	const char *name;
	void (*row)(struct check *c, struct slice key); /* NULL = decodes */
} tables[] = {
    {TABLE_META, "meta", NULL},
    {TABLE_REPO_NAME, "repo_name", check_repo_name},
    {TABLE_REPO, "repo", check_repo},
    {TABLE_BLOB, "blob", check_blob},
    {TABLE_MANIFEST, "manifest", check_manifest},
    {TABLE_TAG, "tag", check_tag},
    {TABLE_LINK, "link", check_link},
    {TABLE_EDGE, "edge", check_edge},
    {TABLE_REFERRER, "referrer", check_referrer},
    {TABLE_UPLOAD, "upload", check_upload},
    {TABLE_RECENCY, "recency", check_recency},
    {TABLE_RECENCY_PLACE, "recency_place", check_place},
    {TABLE_TRASH, "trash", check_trash},
    {TABLE_HOLDER, "holder", check_holder},
    {TABLE_GARBAGE, "garbage", check_garbage},
    {TABLE_EVENT, "event", check_event},
    {TABLE_TAG_OF, "tag_of", check_tag_of},
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
		bad_row(w->check, key, "its checksum is wrong");
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
