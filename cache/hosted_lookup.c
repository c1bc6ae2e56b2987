/* SPDX-License-Identifier: Apache-2.0 */
/* What is read of hosted repositories: each answer is one key's look-up. */
#include "cache/hosted.h"

/*
 * A row that has rotted says that there is such a repository.  Its name must
 * not go to an upstream.
 */
bool hosted_is_claimed(struct index_txn *txn, const char *name)
{
	uint64_t id;
	enum err err = repo_id(txn, "", name, &id);

	return err == ERR_OK || err == ERR_CORRUPT;
}

/* With the link, which is all that gives access. */
static enum err find_link(struct index_txn *txn, uint64_t repo,
			  const struct digest *dg, struct link_row *link,
			  struct lookup *out)
{
	memset(out, 0, sizeof(*out));
	return repo ? link_get(txn, repo, dg, link) : ERR_NOT_FOUND;
}

/* Of hosted content a row that has rotted is a loss, and not a miss. */
static enum err found(enum err err, uint64_t size, struct lookup *out)
{
	if (err != ERR_OK)
		return err == ERR_CORRUPT ? ERR_IO : err;
	out->may = MAY_YES;
	out->stored = true;
	out->size_known = true;
	out->size = size;
	return ERR_OK;
}

enum err hosted_lookup_blob(struct index_txn *txn, uint64_t repo,
			    const struct digest *dg, struct lookup *out)
{
	struct blob_row blob = {0};
	struct link_row link;
	enum err err = find_link(txn, repo, dg, &link, out);

	if (err == ERR_OK)
		err = blob_get(txn, dg, &blob);
	return found(err, blob.size, out);
}

enum err hosted_lookup_manifest(struct index_txn *txn, uint64_t repo,
				const struct digest *dg, struct lookup *out)
{
	struct manifest_row row = {0};
	struct link_row link;
	enum err err = find_link(txn, repo, dg, &link, out);
	struct slice type;

	if (err == ERR_OK && link.kind != LINK_MANIFEST)
		return ERR_NOT_FOUND;
	if (err == ERR_OK)
		err = manifest_get(txn, dg, &row);
	err = found(err, row.size, out);
	if (err != ERR_OK)
		return err;
	type = link.media_type.len ? link.media_type : row.media_type;
	if (type.len && type.len < sizeof(out->media_type)) {
		memcpy(out->media_type, type.ptr, type.len);
		out->media_type[type.len] = '\0';
	}
	return ERR_OK;
}

static bool is_hosted(void *arg, uint64_t repo UNUSED, bool hosted)
{
	*(bool *)arg = hosted;
	return false; /* hosted ones come first */
}

bool hosted_has(struct index_txn *txn, const struct digest *dg)
{
	bool hosted = false;

	return holder_walk(txn, dg, is_hosted, &hosted) == ERR_OK && hosted;
}
