/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/cache_int.h"

#include "cache/manifest.h"
#include "tests/unit/cache_help.h"
#include "tests/unit/unit.h"

static const struct repo_row *repo_now(struct cache *c, const char *name)
{
	static struct repo_row row;
	struct index_txn *txn = index_read(c->index);
	uint64_t id;
	enum err err = repo_id(txn, HOST, name, &id);

	if (err == ERR_OK)
		err = repo_get(txn, id, &row);
	index_read_end(txn);
	return err == ERR_OK ? &row : NULL;
}

static bool tag_now(struct cache *c, const char *name, const char *tag,
		    struct tag_row *row)
{
	struct index_txn *txn = index_read(c->index);
	uint64_t id;
	enum err err = repo_id(txn, HOST, name, &id);

	if (err == ERR_OK)
		err = tag_get(txn, id, tag, strlen(tag), row);
	index_read_end(txn);
	return err == ERR_OK;
}

static enum err link_now(struct cache *c, const char *name,
			 const struct digest *dg, enum link_kind *kind)
{
	struct index_txn *txn = index_read(c->index);
	struct link_row row;
	uint64_t id;
	enum err err = repo_id(txn, HOST, name, &id);

	if (err == ERR_OK)
		err = link_get(txn, id, dg, &row);
	if (err == ERR_OK)
		*kind = row.kind;
	index_read_end(txn);
	return err;
}

static enum err note_tag(struct cache *c, const char *tag, enum tag_news news,
			 const struct digest *dg, bool drop)
{
	struct answer a = ANSWER;

	cache_note_tag(c, HOST, "app", tag, news, dg, drop, answered, &a);
	return wait_for(&a);
}

static enum err note_repo(struct cache *c, const char *name,
			  enum repo_news news)
{
	struct answer a = ANSWER;

	cache_note_repo(c, HOST, name, news, answered, &a);
	return wait_for(&a);
}

static enum err note_yes(struct cache *c, const struct digest *dg,
			 enum link_kind kind, const char *type, bool public_yes)
{
	struct answer a = ANSWER;

	cache_note_yes(c, HOST, "app", dg, kind, type, public_yes, answered,
		       &a);
	return wait_for(&a);
}

static void a_stored_manifest_has_all_its_rows(void)
{
	struct cache *c = open_cache(64 * KIB);
	struct digest dg, config = test_digest(1), layer = test_digest(2);
	char *text = image_text(1, 2);
	struct index_txn *txn;
	struct manifest_row row;
	struct tag_row tag;
	enum link_kind kind;
	uint64_t size;

	dg = store(c, "app", "v1", text, false);
	txn = index_read(c->index);
	CHECK(manifest_get(txn, &dg, &row) == ERR_OK);
	CHECK(row.bytes.len == strlen(text) &&
	      memcmp(row.bytes.ptr, text, row.bytes.len) == 0);
	CHECK(row.media_type.len == strlen(IMAGE_TYPE) && !row.public_yes);
	CHECK(edge_from(txn, &config, &dg, &size) == EDGE_CONFIG && size == 7);
	CHECK(edge_from(txn, &layer, &dg, &size) == EDGE_LAYER && size == 77);
	index_read_end(txn);
	CHECK(link_now(c, "app", &dg, &kind) == ERR_OK &&
	      kind == LINK_MANIFEST);
	CHECK(link_now(c, "app", &layer, &kind) == ERR_NOT_FOUND);
	CHECK(tag_now(c, "app", "v1", &tag));
	CHECK(digest_equal(&tag.held[0], &dg) && !tag.held[1].alg);
	CHECK(digest_equal(&tag.seen, &dg) && tag.state == TAG_PRESENT);
	CHECK(tag.fetched_s > 0 && tag.checked_ms / 1000 >= tag.fetched_s);
	CHECK(repo_now(c, "app")->kind == REPO_MIRROR);
	free(text);
	close_cache(&c);
}

static void a_large_manifest_goes_into_a_file(void)
{
	struct cache *c = open_cache(100);
	char *text = image_text(1, 2);
	struct digest dg = store(c, "app", NULL, text, true);
	struct index_txn *txn = index_read(c->index);
	struct manifest_row row;
	struct blob_row blob;

	CHECK(manifest_get(txn, &dg, &row) == ERR_OK && !row.bytes.ptr);
	CHECK(row.size == strlen(text) && row.public_yes);
	CHECK(blob_get(txn, &dg, &blob) == ERR_OK &&
	      blob.size == strlen(text) && blob.public_yes);
	index_read_end(txn);
	CHECK(check_cache(c, true) == 0);
	free(text);
	close_cache(&c);
}

static void a_tag_keeps_the_newest_and_the_one_before(void)
{
	struct cache *c = open_cache(64 * KIB);
	char *text[3] = {image_text(1, 2), image_text(1, 3), image_text(1, 4)};
	struct tag_row tag;
	struct digest dg[3];

	for (int i = 0; i < 3; i++)
		dg[i] = store(c, "app", "latest", text[i], false);
	CHECK(tag_now(c, "app", "latest", &tag));
	CHECK(digest_equal(&tag.held[0], &dg[2]) &&
	      digest_equal(&tag.held[1], &dg[1]));
	store(c, "app", "latest", text[2], false); /* the same again */
	CHECK(tag_now(c, "app", "latest", &tag));
	CHECK(digest_equal(&tag.held[0], &dg[2]) &&
	      digest_equal(&tag.held[1], &dg[1]));
	/* Back to one that is held already, without fetching it. */
	CHECK(note_tag(c, "latest", TAG_NEWS_SEEN, &dg[0], false) == ERR_OK);
	CHECK(tag_now(c, "app", "latest", &tag));
	CHECK(digest_equal(&tag.held[0], &dg[0]) &&
	      digest_equal(&tag.held[1], &dg[2]) &&
	      digest_equal(&tag.seen, &dg[0]));
	for (int i = 0; i < 3; i++)
		free(text[i]);
	close_cache(&c);
}

static void a_digest_seen_but_not_held_is_only_seen(void)
{
	struct cache *c = open_cache(64 * KIB);
	char *text = image_text(1, 2);
	struct digest dg = store(c, "app", "t", text, false);
	struct digest unknown = test_digest(50), blob = test_digest(51);
	struct tag_row tag;

	CHECK(note_tag(c, "t", TAG_NEWS_SEEN, &unknown, false) == ERR_OK);
	CHECK(tag_now(c, "app", "t", &tag));
	CHECK(digest_equal(&tag.held[0], &dg) && !tag.held[1].alg);
	CHECK(digest_equal(&tag.seen, &unknown));
	/* Linked, but as a blob: that is not a manifest held. */
	CHECK(note_yes(c, &blob, LINK_BLOB, NULL, false) == ERR_OK);
	CHECK(note_tag(c, "t", TAG_NEWS_SEEN, &blob, false) == ERR_OK);
	CHECK(tag_now(c, "app", "t", &tag));
	CHECK(digest_equal(&tag.held[0], &dg));
	CHECK(note_tag(c, "new", TAG_NEWS_SEEN, &unknown, false) == ERR_OK);
	CHECK(tag_now(c, "app", "new", &tag) && !tag.held[0].alg);
	free(text);
	close_cache(&c);
}

static void a_digest_seen_and_linked_later_is_held_when_the_tag_moves(void)
{
	struct cache *c = open_cache(64 * KIB);
	char *first = image_text(1, 2), *second = image_text(3, 4);
	struct digest dg = store(c, "other", "t", first, false), moved;
	struct tag_row tag;

	CHECK(note_tag(c, "t", TAG_NEWS_SEEN, &dg, false) == ERR_OK);
	CHECK(tag_now(c, "app", "t", &tag) && !tag.held[0].alg);
	store(c, "app", NULL, first, false); /* by its digest */
	moved = store(c, "app", "t", second, false);
	CHECK(tag_now(c, "app", "t", &tag));
	CHECK(digest_equal(&tag.held[0], &moved) &&
	      digest_equal(&tag.held[1], &dg));
	free(first);
	free(second);
	close_cache(&c);
}

static void a_tag_gone_upstream_is_marked_or_dropped(void)
{
	struct cache *c = open_cache(64 * KIB);
	char *text = image_text(1, 2);
	struct digest dg = store(c, "app", "t", text, false);
	struct tag_row tag;

	CHECK(note_tag(c, "t", TAG_NEWS_GONE, NULL, false) == ERR_OK);
	CHECK(tag_now(c, "app", "t", &tag));
	CHECK(tag.state == TAG_GONE && digest_equal(&tag.held[0], &dg));
	CHECK(note_tag(c, "t", TAG_NEWS_SEEN, &dg, false) == ERR_OK);
	CHECK(tag_now(c, "app", "t", &tag) && tag.state == TAG_PRESENT);
	CHECK(note_tag(c, "t", TAG_NEWS_GONE, NULL, true) == ERR_OK);
	CHECK(!tag_now(c, "app", "t", &tag));
	CHECK(note_tag(c, "never", TAG_NEWS_GONE, NULL, false) == ERR_OK);
	CHECK(!tag_now(c, "app", "never", &tag));
	free(text);
	close_cache(&c);
}

static void a_tag_that_cannot_be_one_is_refused(void)
{
	struct cache *c = open_cache(64 * KIB);
	struct digest dg = test_digest(1);
	char longest[TAG_MAX + 2];

	memset(longest, 't', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	CHECK(note_tag(c, longest, TAG_NEWS_SEEN, &dg, false) == ERR_INVALID);
	CHECK(note_tag(c, "", TAG_NEWS_GONE, NULL, true) == ERR_INVALID);
	close_cache(&c);
}

static void a_denial_is_dated_once_until_allowed(void)
{
	struct cache *c = open_cache(64 * KIB);
	char *text = image_text(1, 2);
	uint64_t first;

	/* Where nothing was ever had there is nothing to date. */
	CHECK(note_repo(c, "app", REPO_DENIED) == ERR_OK);
	CHECK(!repo_now(c, "app"));
	store(c, "app", "t", text, false);
	CHECK(note_repo(c, "app", REPO_DENIED) == ERR_OK);
	first = repo_now(c, "app")->denied_ms;
	CHECK(first > 0);
	CHECK(note_repo(c, "app", REPO_DENIED) == ERR_OK);
	CHECK(repo_now(c, "app")->denied_ms == first);
	CHECK(repo_now(c, "app")->denied_checked_ms >= first);
	CHECK(note_repo(c, "app", REPO_ALLOWED) == ERR_OK);
	CHECK(repo_now(c, "app")->denied_ms == 0);
	CHECK(note_repo(c, "app", REPO_DENIED) == ERR_OK);
	store(c, "app", "t", text, false);
	CHECK(repo_now(c, "app")->denied_ms == 0);
	CHECK(repo_now(c, "app")->denied_checked_ms == 0);
	free(text);
	close_cache(&c);
}

static void visibility_is_marked_and_dated(void)
{
	struct cache *c = open_cache(64 * KIB);

	CHECK(note_repo(c, "app", REPO_IS_PRIVATE) == ERR_OK);
	CHECK(repo_now(c, "app")->visibility == VIS_PRIVATE);
	CHECK(repo_now(c, "app")->marked_ms > 0);
	CHECK(note_repo(c, "app", REPO_IS_PUBLIC) == ERR_OK);
	CHECK(repo_now(c, "app")->visibility == VIS_PUBLIC);
	close_cache(&c);
}

static void a_public_yes_stays(void)
{
	struct cache *c = open_cache(64 * KIB);
	char *text = image_text(1, 2);
	struct digest dg = store(c, "app", NULL, text, true);
	struct digest blob = test_digest(60);
	struct manifest_row row;
	struct index_txn *txn;
	struct blob_row b;

	store(c, "other", NULL, text, false);
	put_blob(c, &blob, 5, false);
	CHECK(note_yes(c, &blob, LINK_BLOB, NULL, true) == ERR_OK);
	CHECK(note_yes(c, &blob, LINK_BLOB, NULL, false) == ERR_OK);
	txn = index_read(c->index);
	CHECK(manifest_get(txn, &dg, &row) == ERR_OK && row.public_yes);
	CHECK(row.bytes.len == strlen(text));
	CHECK(blob_get(txn, &blob, &b) == ERR_OK && b.public_yes);
	index_read_end(txn);
	free(text);
	close_cache(&c);
}

static void a_yes_marks_a_manifest_that_was_private(void)
{
	struct cache *c = open_cache(64 * KIB);
	char *text = image_text(1, 2);
	struct digest dg = store(c, "app", NULL, text, false);
	struct manifest_row row;
	struct index_txn *txn;

	CHECK(note_yes(c, &dg, LINK_MANIFEST, IMAGE_TYPE, true) == ERR_OK);
	txn = index_read(c->index);
	CHECK(manifest_get(txn, &dg, &row) == ERR_OK && row.public_yes);
	CHECK(row.bytes.len == strlen(text) &&
	      memcmp(row.bytes.ptr, text, row.bytes.len) == 0);
	index_read_end(txn);
	CHECK(check_cache(c, true) == 0);
	free(text);
	close_cache(&c);
}

static void a_manifests_link_never_becomes_a_blobs(void)
{
	struct cache *c = open_cache(64 * KIB);
	struct digest dg = test_digest(70);
	enum link_kind kind;

	CHECK(note_yes(c, &dg, LINK_BLOB, NULL, false) == ERR_OK);
	CHECK(link_now(c, "app", &dg, &kind) == ERR_OK && kind == LINK_BLOB);
	CHECK(note_yes(c, &dg, LINK_MANIFEST, "a/b", false) == ERR_OK);
	CHECK(note_yes(c, &dg, LINK_BLOB, NULL, false) == ERR_OK);
	CHECK(link_now(c, "app", &dg, &kind) == ERR_OK &&
	      kind == LINK_MANIFEST);
	close_cache(&c);
}

static bool one_descriptor(void *arg, const struct digest *dg UNUSED,
			   struct slice descriptor)
{
	unsigned *n = arg;

	CHECK(descriptor.len > 2 && descriptor.ptr[0] == '{');
	++*n;
	return true;
}

static void a_manifest_with_a_subject_is_its_referrer(void)
{
	struct cache *c = open_cache(64 * KIB);
	struct digest subject = test_digest(80), dg;
	char hex[DIGEST_TEXT_MAX], *plain = image_text(1, 2), *text;
	struct index_txn *txn;
	unsigned n = 0;
	uint64_t id, size;

	text = xasprintf("%.*s,\"subject\":{\"mediaType\":\"%s\","
			 "\"digest\":\"%s\",\"size\":3}}",
			 (int)strlen(plain) - 1, plain, IMAGE_TYPE,
			 digest_text(&subject, hex));
	dg = store(c, "app", NULL, text, false);
	txn = index_read(c->index);
	CHECK(repo_id(txn, HOST, "app", &id) == ERR_OK);
	CHECK(referrer_walk(txn, id, &subject, NULL, one_descriptor, &n) ==
	      ERR_OK);
	CHECK(n == 1);
	CHECK(edge_from(txn, &subject, &dg, &size) == EDGE_SUBJECT);
	index_read_end(txn);
	CHECK(check_cache(c, true) == 0);
	free(text);
	free(plain);
	close_cache(&c);
}

struct queue {
	unsigned n;
	struct digest last;
};

static bool note_last(void *arg, uint64_t position UNUSED,
		      const struct digest *dg)
{
	struct queue *q = arg;

	q->n++;
	q->last = *dg;
	return true;
}

static struct queue queue_now(struct cache *c)
{
	struct index_txn *txn = index_read(c->index);
	struct queue q = {0};

	CHECK(recency_walk(txn, note_last, &q) == ERR_OK);
	index_read_end(txn);
	return q;
}

/* Background operations come after what was queued before them; so a second
 * flush, and a wait for something behind it, sees all of the first. */
static void touches_reach_the_queue_in_batches(void)
{
	struct cache *c = open_cache(64 * KIB);
	struct digest dg, gone = test_digest(999);
	struct index_stats before, after;

	for (unsigned i = 0; i < 100; i++) {
		dg = test_digest(i);
		put_blob(c, &dg, 1, false);
	}
	index_stats(c->index, &before);
	for (int round = 0; round < 50; round++) {
		for (unsigned i = 0; i < 100; i++) {
			dg = test_digest(i);
			cache_touch(c, &dg);
		}
		cache_touch(c, &gone);
	}
	index_stats(c->index, &after);
	CHECK(after.commits == before.commits); /* a hit costs none */
	cache_flush_recency(c);
	settle(c);
	CHECK(queue_now(c).n == 100); /* `gone` has no row, so no place */
	index_stats(c->index, &after);
	CHECK(after.commits - before.commits <= 4);
	dg = test_digest(17);
	cache_touch(c, &dg);
	cache_flush_recency(c);
	settle(c);
	CHECK(queue_now(c).n == 100);
	dg = queue_now(c).last;
	CHECK(digest_equal(&dg, &(struct digest){0}) == false);
	gone = test_digest(17);
	CHECK(digest_equal(&dg, &gone));
	close_cache(&c);
}

static void more_touches_than_the_set_holds_are_forgotten(void)
{
	struct cache *c = open_cache(64 * KIB);

	for (unsigned i = 0; i < 20000; i++) {
		struct digest dg = test_digest(i);

		cache_touch(c, &dg);
	}
	cache_flush_recency(c);
	settle(c);
	CHECK(queue_now(c).n == 0); /* none of them has a row */
	close_cache(&c);
}

int main(void)
{
	RUN(a_stored_manifest_has_all_its_rows);
	RUN(a_large_manifest_goes_into_a_file);
	RUN(a_tag_keeps_the_newest_and_the_one_before);
	RUN(a_digest_seen_but_not_held_is_only_seen);
	RUN(a_digest_seen_and_linked_later_is_held_when_the_tag_moves);
	RUN(a_tag_gone_upstream_is_marked_or_dropped);
	RUN(a_tag_that_cannot_be_one_is_refused);
	RUN(a_denial_is_dated_once_until_allowed);
	RUN(visibility_is_marked_and_dated);
	RUN(a_public_yes_stays);
	RUN(a_yes_marks_a_manifest_that_was_private);
	RUN(a_manifests_link_never_becomes_a_blobs);
	RUN(a_manifest_with_a_subject_is_its_referrer);
	RUN(touches_reach_the_queue_in_batches);
	RUN(more_touches_than_the_set_holds_are_forgotten);
	return unit_done();
}
