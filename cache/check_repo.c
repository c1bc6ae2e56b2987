/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of a repository: its name and row, its tags, what it links,
 * and the ways back from a digest.
 */
#include "cache/check.h"

#include "cache/children.h"
#include "cache/key.h"
#include "cache/manifest.h"

/* ---- small questions ---- */

static bool blob_row_exists(struct check *c, const struct digest *dg)
{
	struct blob_row row;

	return blob_get(c->txn, dg, &row) == ERR_OK;
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

/* A key that is an integer and one digest. */
static bool id_and_digest(struct slice key, uint64_t *id, struct digest *dg)
{
	return key_take_u64(&key, id) && check_only_digest(key, dg);
}

/* ---- names ---- */

/* text[INDEX_KEY_MAX + 1] becomes the host; NULL: that was a finding. */
static const char *name_of_key(struct check *c, struct slice key, char *text)
{
	memcpy(text, key.ptr, key.len);
	text[key.len] = '\0';
	if (strlen(text) < key.len)
		return text + strlen(text) + 1;
	check_bad_row(c, key, "the key is no host and name");
	return NULL;
}

void check_row_repo_name(struct check *c, struct slice key)
{
	char text[INDEX_KEY_MAX + 1];
	const char *name = name_of_key(c, key, text);
	struct repo_row row;
	uint64_t id;

	if (!name)
		return;
	if (repo_id(c->txn, text, name, &id) != ERR_OK)
		check_bad_row(c, key, "does not decode");
	else if (repo_get(c->txn, id, &row) != ERR_OK)
		check_bad_row(c, key, "leads to no repository");
	else if (strcmp(row.host, text) != 0 || strcmp(row.name, name) != 0)
		check_bad_row(c, key, "leads to a repository of another name");
}

/* The way back is check_row_link()'s. */
void check_row_repo_held(struct check *c, struct slice key)
{
	char text[INDEX_KEY_MAX + 1];
	const char *name = name_of_key(c, key, text);
	uint64_t named, held;

	if (!name)
		return;
	if (!repo_is_held(c->txn, text, name, &held))
		check_bad_row(c, key, "does not decode");
	else if (repo_id(c->txn, text, name, &named) != ERR_OK || named != held)
		check_bad_row(c, key, "is not the repository of that name");
	else if (!repo_holds_anything(c->txn, held))
		check_bad_row(c, key, "holds nothing");
}

void check_row_repo(struct check *c, struct slice key)
{
	struct slice rest = key;
	struct repo_row row;
	uint64_t id, found;

	if (!key_take_u64(&rest, &id) || rest.len || !id) {
		check_bad_row(c, key, "the key is no id");
		return;
	}
	if (repo_get(c->txn, id, &row) != ERR_OK)
		check_bad_row(c, key, "does not decode");
	else if (repo_id(c->txn, row.host, row.name, &found) != ERR_OK ||
		 found != id)
		check_bad_row(c, key, "its name does not lead to it");
}

/* ---- tags ---- */

static void check_held(struct check *c, struct slice key, uint64_t repo,
		       const struct digest *held)
{
	enum link_kind kind;

	if (!check_has_manifest(c, held))
		check_bad_digest(c, key, "holds a manifest that is not there",
				 held);
	else if (!link_exists(c, repo, held, &kind) || kind != LINK_MANIFEST)
		check_bad_digest(c, key, "holds a manifest that is not linked",
				 held);
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

void check_row_tag(struct check *c, struct slice key)
{
	struct slice tag = key;
	struct repo_row repo;
	struct tag_row row;
	uint64_t id;

	if (!key_take_u64(&tag, &id) || !tag.len) {
		check_bad_row(c, key, "the key is no repository and tag");
		return;
	}
	if (tag_get(c->txn, id, (const char *)tag.ptr, tag.len, &row) !=
	    ERR_OK) {
		check_bad_row(c, key, "does not decode");
		return;
	}
	if (repo_get(c->txn, id, &repo) != ERR_OK)
		check_bad_row(c, key, "without a repository");
	if (row.held[1].alg && !row.held[0].alg)
		check_bad_row(c, key, "holds an older manifest but no newest");
	for (int i = 0; i < 2; i++) {
		if (!row.held[i].alg)
			continue;
		check_held(c, key, id, &row.held[i]);
		if (!tag_leads_back(c, id, &row.held[i], tag))
			check_bad_digest(c, key, "is not led back to by",
					 &row.held[i]);
	}
}

/* The way back of check_row_tag(). */
void check_row_tag_of(struct check *c, struct slice key)
{
	struct slice rest = key;
	struct tag_row row;
	struct digest dg;
	uint64_t id;

	if (!key_take_u64(&rest, &id) || !key_take_digest(&rest, &dg) ||
	    !rest.len)
		check_bad_row(c, key,
			      "the key is no repository, digest and tag");
	else if (tag_get(c->txn, id, (const char *)rest.ptr, rest.len, &row) !=
		     ERR_OK ||
		 (!digest_equal(&row.held[0], &dg) &&
		  !digest_equal(&row.held[1], &dg)))
		check_bad_row(c, key, "of a tag that does not hold it");
}

/* ---- links ---- */

/* A child that a hosted manifest requires. */
static void check_required(struct check *c, struct slice key, uint64_t repo,
			   const struct child *child)
{
	enum link_kind kind;

	if (!blob_row_exists(c, &child->dg))
		check_bad_digest(c, key,
				 "is hosted, but has no row for its child",
				 &child->dg);
	if (!link_exists(c, repo, &child->dg, &kind))
		check_bad_digest(c, key,
				 "is hosted, but has no link to its child",
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
		check_bad_row(c, key, "is hosted, but has no file");
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
void check_row_link(struct check *c, struct slice key)
{
	struct repo_row repo;
	struct link_row row;
	struct digest dg;
	bool hosted;
	uint64_t id, listed;

	if (!id_and_digest(key, &id, &dg)) {
		check_bad_row(c, key, "the key is no repository and digest");
		return;
	}
	if (link_get(c->txn, id, &dg, &row) != ERR_OK) {
		check_bad_row(c, key, "does not decode");
		return;
	}
	if (repo_get(c->txn, id, &repo) != ERR_OK) {
		check_bad_row(c, key, "without a repository");
		return;
	}
	hosted = repo.kind == REPO_HOSTED;
	if (row.hosted != hosted)
		check_bad_row(c, key, "of a repository of another kind");
	if (!holder_exists(c, id, &dg, hosted))
		check_bad_row(c, key, "its digest does not lead back");
	if (!repo_is_held(c->txn, repo.host, repo.name, &listed) ||
	    listed != id)
		check_bad_row(c, key, "of a repository that counts as empty");
	if (row.kind == LINK_MANIFEST && !check_has_manifest(c, &dg))
		check_bad_row(c, key, "to a manifest that is not there");
	if (row.kind == LINK_BLOB && hosted && !blob_row_exists(c, &dg))
		check_bad_row(c, key, "to a blob that is not there");
	if (row.kind == LINK_MANIFEST && hosted)
		check_hosted(c, key, id, &dg, &row);
}

/* The way back of check_row_link(). */
void check_row_holder(struct check *c, struct slice key)
{
	struct slice rest = key;
	struct link_row row;
	struct digest dg;
	uint8_t kind = 0;

	if (key_take_digest(&rest, &dg) && rest.len == 1 + 8)
		kind = rest.ptr[0];
	if (kind != HOLDER_HOSTED && kind != HOLDER_MIRROR) {
		check_bad_row(c, key,
			      "the key is no digest, kind and repository");
		return;
	}
	if (link_get(c->txn, get_be64(rest.ptr + 1), &dg, &row) != ERR_OK)
		check_bad_row(c, key, "without its link");
	else if (row.hosted != (kind == HOLDER_HOSTED))
		check_bad_row(c, key, "of a link of another kind");
}

void check_row_referrer(struct check *c, struct slice key)
{
	struct digest subject, dg;
	struct manifest_row row;
	struct slice rest = key;
	struct repo_row repo;
	uint64_t id;

	if (!key_take_u64(&rest, &id) || !key_take_digest(&rest, &subject) ||
	    !check_only_digest(rest, &dg)) {
		check_bad_row(c, key,
			      "the key is no repository, subject and digest");
		return;
	}
	if (repo_get(c->txn, id, &repo) != ERR_OK)
		check_bad_row(c, key, "without a repository");
	if (manifest_get(c->txn, &dg, &row) != ERR_OK)
		check_bad_row(c, key, "of a manifest that is not there");
	else if (!digest_equal(&row.subject, &subject))
		check_bad_row(c, key, "of a manifest with another subject");
}
