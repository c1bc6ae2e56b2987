/* SPDX-License-Identifier: Apache-2.0 */
/* What is still to be done: queues, sessions, files to unlink. */
#include "cache/check.h"

#include "cache/key.h"
#include "cache/row_meta.h"

void check_row_garbage(struct check *c, struct slice key)
{
	struct slice rest = key;
	struct digest dg;
	uint64_t since_s, repo;

	if (!key_take_u64(&rest, &since_s) || !key_take_digest(&rest, &dg) ||
	    !key_take_u64(&rest, &repo) || rest.len)
		check_bad_row(c, key,
			      "the key is no time, digest and repository");
}

void check_row_event(struct check *c, struct slice key)
{
	struct slice rest = key;
	uint64_t seq, next;

	c->events++;
	if (!key_take_u64(&rest, &seq) || rest.len)
		check_bad_row(c, key, "the key is no number");
	else if (meta_get(c->txn, "event/next", &next) != ERR_OK || seq >= next)
		check_bad_row(c, key, "its number was not given out yet");
}

/* Its file is check_files()'s matter. */
void check_row_upload(struct check *c, struct slice key)
{
	char id[INDEX_KEY_MAX + 1];
	struct upload_row row;

	memcpy(id, key.ptr, key.len);
	id[key.len] = '\0';
	if (strlen(id) != key.len || !upload_id_valid(id))
		check_bad_row(c, key, "the key is no upload's id");
	else if (upload_get(c->txn, id, &row) != ERR_OK)
		check_bad_row(c, key, "does not decode");
	else if (!repo_name_valid(row.repo, strlen(row.repo)))
		check_bad_row(c, key, "for a repository without a name");
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
		check_bad_row(c, key, what);
}

void check_row_recency(struct check *c, struct slice key)
{
	check_mirrored(c, key, TABLE_RECENCY_PLACE,
		       "its digest does not lead back");
}

void check_row_place(struct check *c, struct slice key)
{
	check_mirrored(c, key, TABLE_RECENCY,
		       "its position does not lead back");
}

/* What is to be unlinked must lie in the data folder. */
void check_row_trash(struct check *c, struct slice key)
{
	char path[INDEX_KEY_MAX + 3];

	snprintf(path, sizeof(path), "/%.*s/", (int)key.len,
		 (const char *)key.ptr);
	if (strlen(path) != key.len + 2 || strstr(path, "/../") ||
	    strstr(path, "//"))
		check_bad_row(c, key, "no path below the data folder");
}
