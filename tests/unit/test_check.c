/* SPDX-License-Identifier: Apache-2.0 */
/* Each test breaks one promise and expects to be told of that one. */
#include "cache/cache_int.h"

#include "cache/key.h"
#include "tests/unit/cache_help.h"
#include "tests/unit/unit.h"

#include <sys/stat.h>

static char *blob_file(const struct digest *dg)
{
	char below[PATH_LEN_MAX];

	return xasprintf("%s/data/%s", test_dir, blob_path(dg, below));
}

static void write_blob(const struct digest *dg, const char *text)
{
	char *path = blob_file(dg);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	CHECK(fd >= 0 &&
	      write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
	free(path);
}

/* A blob as it should be; its digest. */
static struct digest sound_blob(struct cache *c, const char *text)
{
	struct digest dg;

	digest_of(DIGEST_SHA256, text, strlen(text), &dg);
	write_blob(&dg, text);
	put_blob(c, &dg, strlen(text), true);
	return dg;
}

/* A cache with something in every table. */
static struct cache *sound_cache(struct digest *manifest, struct digest *blob)
{
	struct cache *c = open_cache(64 * KIB);
	char *text = image_text(1, 2);

	*manifest = store(c, "app", "v1", text, true);
	free(text);
	*blob = sound_blob(c, "the bytes of a blob");
	CHECK(check_cache(c, true) == 0);
	CHECK_STR(findings, "");
	return c;
}

static void expect_one(struct cache *c, bool rehash, const char *what)
{
	uint64_t n = check_cache(c, rehash);

	CHECK(n == 1);
	if (!strstr(findings, what)) {
		fprintf(stderr, "no \"%s\" in: %s\n", what, findings);
		CHECK(false);
	}
}

static void a_sound_cache_has_no_findings(void)
{
	struct digest manifest, blob;
	struct cache *c = sound_cache(&manifest, &blob);

	close_cache(&c);
}

static void a_missing_file_is_found(void)
{
	struct digest manifest, blob;
	struct cache *c = sound_cache(&manifest, &blob);
	char *path = blob_file(&blob);

	CHECK(unlink(path) == 0);
	expect_one(c, false, "has a row but no file");
	free(path);
	close_cache(&c);
}

static void a_file_of_another_size_is_found(void)
{
	struct digest manifest, blob;
	struct cache *c = sound_cache(&manifest, &blob);

	write_blob(&blob, "other");
	expect_one(c, false, "another size");
	close_cache(&c);
}

static void wrong_bytes_are_found_by_rehashing(void)
{
	struct digest manifest, blob;
	struct cache *c = sound_cache(&manifest, &blob);

	write_blob(&blob, "the bytes of a BLOB");
	CHECK(check_cache(c, false) == 0);
	expect_one(c, true, "another digest");
	close_cache(&c);
}

static void a_file_without_a_row_is_found(void)
{
	struct digest manifest, blob, stray = test_digest(5);
	struct cache *c = sound_cache(&manifest, &blob);
	char *path = blob_file(&stray), *staged = test_path("data/staged");

	write_blob(&stray, "x");
	expect_one(c, false, "is a file without a row");
	/* With its staged name, start-up will publish it. */
	CHECK(link(path, staged) == 0);
	CHECK(check_cache(c, false) == 0);
	CHECK(unlink(staged) == 0);
	free(path);
	free(staged);
	close_cache(&c);
}

static enum err trash(struct index_txn *txn, void *arg)
{
	trash_put(txn, arg);
	return ERR_OK;
}

static void a_file_in_the_trash_is_none_without_a_row(void)
{
	struct digest manifest, blob, stray = test_digest(5);
	struct cache *c = sound_cache(&manifest, &blob);
	char below[PATH_LEN_MAX], outside[] = "blobs/../../etc/passwd";

	write_blob(&stray, "x");
	CHECK(test_write(c->index, trash, blob_path(&stray, below)) == ERR_OK);
	CHECK(check_cache(c, false) == 0);
	CHECK(test_write(c->index, trash, outside) == ERR_OK);
	expect_one(c, false, "no path below the data folder");
	close_cache(&c);
}

static void a_file_that_is_no_blob_is_found(void)
{
	struct digest manifest, blob;
	struct cache *c = sound_cache(&manifest, &blob);
	char *path = test_path("data/blobs/sha256/ab/notes.txt");
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	CHECK(fd >= 0);
	close(fd);
	expect_one(c, false, "does not belong there");
	free(path);
	close_cache(&c);
}

/* ---- rows ---- */

struct raw {
	enum index_table table;
	struct key key;
	struct slice payload;
	bool del;
};

static enum err write_raw(struct index_txn *txn, void *arg)
{
	struct raw *r = arg;

	if (r->del)
		index_del(txn, r->table, key_slice(&r->key));
	else
		index_put(txn, r->table, key_slice(&r->key), r->payload);
	return ERR_OK;
}

static void put_raw(struct cache *c, struct raw *r)
{
	CHECK(test_write(c->index, write_raw, r) == ERR_OK);
}

static void rows_that_do_not_decode_are_found(void)
{
	static const enum index_table by_digest[] = {TABLE_BLOB,
						     TABLE_MANIFEST};
	struct digest manifest, blob;
	struct cache *c = sound_cache(&manifest, &blob);

	for (size_t i = 0; i < ARRAY_LEN(by_digest); i++) {
		struct digest dg = test_digest(40);
		struct raw r = {.table = by_digest[i],
				.payload = test_text("rot")};

		key_digest(&r.key, &dg);
		put_raw(c, &r);
		CHECK(check_cache(c, false) >= 1);
		CHECK(strstr(findings, "does not decode") != NULL);
		r.del = true;
		put_raw(c, &r);
		CHECK(check_cache(c, false) == 0);
	}
	close_cache(&c);
}

static void keys_that_are_none_are_found(void)
{
	struct digest manifest, blob;
	struct cache *c = sound_cache(&manifest, &blob);

	for (int table = TABLE_REPO_NAME; table < TABLE_COUNT; table++) {
		struct raw r = {.table = (enum index_table)table,
				.payload = test_text("x")};

		if (table == TABLE_TRASH)
			continue; /* takes any path */
		key_bytes(&r.key, "\xff", 1);
		put_raw(c, &r);
		CHECK(check_cache(c, false) >= 1);
		r.del = true;
		put_raw(c, &r);
		CHECK(check_cache(c, false) == 0);
	}
	close_cache(&c);
}

static void an_edge_without_its_parent_is_found(void)
{
	struct digest manifest, blob, parent = test_digest(41);
	struct cache *c = sound_cache(&manifest, &blob);
	struct raw r = {.table = TABLE_EDGE, .payload = test_text("x")};

	key_digest(&r.key, &blob);
	key_digest(&r.key, &parent);
	put_raw(c, &r);
	expect_one(c, false, "without its parent");
	close_cache(&c);
}

static void a_manifest_without_an_edge_is_found(void)
{
	struct digest manifest, blob, layer = test_digest(2);
	struct cache *c = sound_cache(&manifest, &blob);
	struct raw r = {.table = TABLE_EDGE, .del = true};

	key_digest(&r.key, &layer);
	key_digest(&r.key, &manifest);
	put_raw(c, &r);
	expect_one(c, false, "no edge to its child");
	close_cache(&c);
}

static enum err unlink_manifest(struct index_txn *txn, void *arg)
{
	link_del(txn, 1, arg);
	return ERR_OK;
}

static void a_tag_whose_manifest_is_not_linked_is_found(void)
{
	struct digest manifest, blob;
	struct cache *c = sound_cache(&manifest, &blob);

	CHECK(test_write(c->index, unlink_manifest, &manifest) == ERR_OK);
	expect_one(c, false, "not linked");
	close_cache(&c);
}

static enum err link_nowhere(struct index_txn *txn, void *arg)
{
	struct link_row row = {.kind = LINK_BLOB, .created_s = 1};

	link_put(txn, 77, arg, &row);
	return ERR_OK;
}

static void a_link_without_a_repository_is_found(void)
{
	struct digest manifest, blob;
	struct cache *c = sound_cache(&manifest, &blob);

	CHECK(test_write(c->index, link_nowhere, &blob) == ERR_OK);
	expect_one(c, false, "without a repository");
	close_cache(&c);
}

static enum err link_missing(struct index_txn *txn, void *arg UNUSED)
{
	struct link_row row = {.kind = LINK_MANIFEST, .created_s = 1};
	struct digest dg = test_digest(42), blob = test_digest(43);

	link_put(txn, 1, &dg, &row);
	row.kind = LINK_BLOB; /* in a mirror it may outlive its blob */
	link_put(txn, 1, &blob, &row);
	return ERR_OK;
}

static void a_link_to_a_missing_manifest_is_found(void)
{
	struct digest manifest, blob;
	struct cache *c = sound_cache(&manifest, &blob);

	CHECK(test_write(c->index, link_missing, NULL) == ERR_OK);
	expect_one(c, false, "to a manifest that is not there");
	close_cache(&c);
}

static enum err host_it(struct index_txn *txn, void *arg)
{
	struct link_row row = {
	    .kind = LINK_MANIFEST,
	    .hosted = true,
	    .created_s = 1,
	    .media_type = test_text(IMAGE_TYPE),
	};
	struct repo_row repo;

	CHECK(repo_ensure(txn, "", "mine", REPO_HOSTED, 1, &repo) == ERR_OK);
	link_put(txn, repo.id, arg, &row);
	return ERR_OK;
}

/* Of a mirror's manifest nobody promises the children, or a file; here there
 * is no file, and neither of the two has a row, or a link. */
static void a_hosted_manifest_without_its_children_is_found(void)
{
	struct digest manifest, blob;
	struct cache *c = sound_cache(&manifest, &blob);

	CHECK(test_write(c->index, host_it, &manifest) == ERR_OK);
	CHECK(check_cache(c, false) == 5);
	CHECK(strstr(findings, "has no file") != NULL);
	CHECK(strstr(findings, "has no row for its child") != NULL);
	CHECK(strstr(findings, "has no link to its child") != NULL);
	close_cache(&c);
}

static void totals_that_do_not_add_up_are_found(void)
{
	struct digest manifest, blob;
	struct cache *c = sound_cache(&manifest, &blob);
	uint8_t five[8] = {0, 0, 0, 0, 0, 0, 0, 5};
	struct raw r = {.table = TABLE_META, .payload = slice_of(five, 8)};

	key_bytes(&r.key, "total/blobs", 11);
	put_raw(c, &r);
	expect_one(c, false, "total blobs is 5, but there are 1");
	close_cache(&c);
}

static enum err touch_both(struct index_txn *txn, void *arg)
{
	recency_touch(txn, arg);
	return ERR_OK;
}

static void a_place_that_leads_nowhere_is_found(void)
{
	struct digest manifest, blob;
	struct cache *c = sound_cache(&manifest, &blob);
	struct raw r = {.table = TABLE_RECENCY_PLACE, .del = true};

	CHECK(test_write(c->index, touch_both, &blob) == ERR_OK);
	CHECK(check_cache(c, false) == 0);
	key_digest(&r.key, &blob);
	put_raw(c, &r);
	expect_one(c, false, "does not lead back");
	close_cache(&c);
}

static void an_unreadable_map_is_found(void)
{
	struct digest manifest, blob;
	struct cache *c = sound_cache(&manifest, &blob);
	char staged[PATH_LEN_MAX], map[PATH_LEN_MAX], *path;
	int fd;

	map_path(staged_path(&blob, HOST, staged), map);
	path = xasprintf("%s/data/partial", test_dir);
	(void)!mkdir(path, 0700);
	free(path);
	path = xasprintf("%s/data/partial/sha256", test_dir);
	(void)!mkdir(path, 0700);
	free(path);
	path = xasprintf("%s/data/%s", test_dir, map);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	CHECK(fd >= 0 && write(fd, "garbage", 7) == 7);
	close(fd);
	expect_one(c, false, "a map that cannot be read");
	free(path);
	close_cache(&c);
}

/* More rows than are looked at in one go. */
static void every_one_of_many_blobs_is_looked_at(void)
{
	struct cache *c = open_cache(64 * KIB);

	for (unsigned i = 0; i < 2100; i++) {
		struct digest dg = test_digest(i);

		put_blob(c, &dg, 1, false);
	}
	CHECK(check_cache(c, false) == 2100);
	for (unsigned i = 0; i < 2100; i++) {
		struct digest dg = test_digest(i);

		if (i != 1500)
			write_blob(&dg, "x");
	}
	expect_one(c, false, "has a row but no file");
	close_cache(&c);
}

int main(void)
{
	RUN(a_sound_cache_has_no_findings);
	RUN(a_missing_file_is_found);
	RUN(a_file_of_another_size_is_found);
	RUN(wrong_bytes_are_found_by_rehashing);
	RUN(a_file_without_a_row_is_found);
	RUN(a_file_in_the_trash_is_none_without_a_row);
	RUN(a_file_that_is_no_blob_is_found);
	RUN(rows_that_do_not_decode_are_found);
	RUN(keys_that_are_none_are_found);
	RUN(an_edge_without_its_parent_is_found);
	RUN(a_manifest_without_an_edge_is_found);
	RUN(a_tag_whose_manifest_is_not_linked_is_found);
	RUN(a_link_without_a_repository_is_found);
	RUN(a_link_to_a_missing_manifest_is_found);
	RUN(a_hosted_manifest_without_its_children_is_found);
	RUN(totals_that_do_not_add_up_are_found);
	RUN(a_place_that_leads_nowhere_is_found);
	RUN(an_unreadable_map_is_found);
	RUN(every_one_of_many_blobs_is_looked_at);
	return unit_done();
}
