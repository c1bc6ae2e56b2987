/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/cache_int.h"

#include "tests/unit/cache_help.h"
#include "tests/unit/unit.h"

static void note_yes(struct cache *c, const char *name, const struct digest *dg,
		     enum link_kind kind)
{
	struct answer a = ANSWER;

	cache_note_yes(c, HOST, name, dg, kind, "link/type", false, answered,
		       &a);
	CHECK(wait_for(&a) == ERR_OK);
}

typedef enum err lookup_fn(struct index_txn *txn, uint64_t repo,
			   const struct digest *dg, struct lookup *out);

static struct lookup look(struct cache *c, lookup_fn *fn, const char *name,
			  const struct digest *dg)
{
	struct index_txn *txn = index_read(c->index);
	struct lookup out;
	uint64_t repo = 0;

	(void)!repo_id(txn, HOST, name, &repo);
	CHECK(fn(txn, repo, dg, &out) == ERR_OK);
	index_read_end(txn);
	return out;
}

static struct lookup look_blob(struct cache *c, const char *name,
			       const struct digest *dg)
{
	return look(c, cache_lookup_blob, name, dg);
}

static struct lookup look_manifest(struct cache *c, const char *name,
				   const struct digest *dg)
{
	return look(c, cache_lookup_manifest, name, dg);
}

static void a_link_is_a_yes_in_its_repository_only(void)
{
	struct cache *c = open_cache(64 * KIB);
	struct digest dg = test_digest(1);
	struct lookup l;

	put_blob(c, &dg, 1234, false);
	note_yes(c, "app", &dg, LINK_BLOB);
	l = look_blob(c, "app", &dg);
	CHECK(l.may == MAY_YES && l.stored && l.size_known && l.size == 1234);
	note_yes(c, "other", &(struct digest){DIGEST_SHA256, {9}}, LINK_BLOB);
	l = look_blob(c, "other", &dg);
	CHECK(l.may == MAY_NO && l.stored && l.size == 1234);
	l = look_blob(c, "never/seen", &dg);
	CHECK(l.may == MAY_NO);
	close_cache(&c);
}

static void a_linked_blob_that_is_not_stored_has_its_parents_size(void)
{
	struct cache *c = open_cache(64 * KIB);
	char *text = image_text(1, 2);
	struct digest layer = test_digest(2), alone = test_digest(3);
	struct lookup l;

	store(c, "app", NULL, text, false);
	note_yes(c, "app", &layer, LINK_BLOB);
	note_yes(c, "app", &alone, LINK_BLOB);
	l = look_blob(c, "app", &layer);
	CHECK(l.may == MAY_YES && !l.stored && l.size_known && l.size == 77);
	l = look_blob(c, "app", &alone);
	CHECK(l.may == MAY_YES && !l.stored && !l.size_known);
	free(text);
	close_cache(&c);
}

static void a_child_needs_its_own_yes_unless_it_is_public(void)
{
	struct cache *c = open_cache(64 * KIB);
	char *text = image_text(1, 2);
	struct digest config = test_digest(1), layer = test_digest(2);
	struct lookup l;

	store(c, "app", NULL, text, true); /* the mark is the manifest's own */
	l = look_blob(c, "app", &layer);
	CHECK(l.may == MAY_ASK && !l.stored && l.size_known && l.size == 77);
	CHECK_STR(l.media_type, "application/vnd.oci.image.layer.v1.tar+gzip");
	put_blob(c, &layer, 77, false);
	l = look_blob(c, "app", &layer);
	CHECK(l.may == MAY_ASK && l.stored);
	put_blob(c, &layer, 77, true);
	CHECK(look_blob(c, "app", &layer).may == MAY_YES);
	put_blob(c, &config, 7, true);
	CHECK(look_blob(c, "app", &config).may == MAY_YES);
	/* Named by a manifest of another repository only. */
	note_yes(c, "other", &(struct digest){DIGEST_SHA256, {9}}, LINK_BLOB);
	l = look_blob(c, "other", &layer);
	CHECK(l.may == MAY_NO && l.media_type[0] == '\0');
	free(text);
	close_cache(&c);
}

static void sizes_come_from_parents_linked_here_only(void)
{
	struct cache *c = open_cache(64 * KIB);
	char *text = image_text(1, 2);
	struct digest layer = test_digest(2);

	store(c, "elsewhere", NULL, text, true);
	note_yes(c, "app", &layer, LINK_BLOB);
	CHECK(!look_blob(c, "app", &layer).size_known);
	free(text);
	close_cache(&c);
}

/* The parent's digest has a yes here, but as a blob: its bytes may be had,
 * what they name may not. */
static void a_parent_linked_as_a_blob_earns_nothing(void)
{
	struct cache *c = open_cache(64 * KIB);
	char *text = image_text(1, 2);
	struct digest layer = test_digest(2), dg;

	dg = store(c, "elsewhere", NULL, text, true);
	put_blob(c, &layer, 77, true);
	note_yes(c, "app", &dg, LINK_BLOB);
	CHECK(look_blob(c, "app", &layer).may == MAY_NO);
	note_yes(c, "app", &dg, LINK_MANIFEST);
	CHECK(look_blob(c, "app", &layer).may == MAY_YES);
	free(text);
	close_cache(&c);
}

static void foreign_layers_and_subjects_earn_nothing(void)
{
	struct cache *c = open_cache(64 * KIB);
	struct digest config = test_digest(1), foreign = test_digest(2),
		      subject = test_digest(3);
	char ct[DIGEST_TEXT_MAX], ft[DIGEST_TEXT_MAX], st[DIGEST_TEXT_MAX];
	char *text = xasprintf(
	    "{\"schemaVersion\":2,\"mediaType\":\"%s\",\"config\":{"
	    "\"mediaType\":\"a/b\",\"digest\":\"%s\",\"size\":7},\"layers\":[{"
	    "\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\","
	    "\"digest\":\"%s\",\"size\":5,\"urls\":[\"https://x.example\"]}],"
	    "\"subject\":{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":3}}",
	    IMAGE_TYPE, digest_text(&config, ct), digest_text(&foreign, ft),
	    IMAGE_TYPE, digest_text(&subject, st));

	store(c, "app", NULL, text, true);
	put_blob(c, &config, 7, true);
	put_blob(c, &foreign, 5, true);
	put_blob(c, &subject, 3, true);
	CHECK(look_blob(c, "app", &config).may == MAY_YES);
	CHECK(look_blob(c, "app", &foreign).may == MAY_NO);
	CHECK(look_blob(c, "app", &subject).may == MAY_NO);
	CHECK(look_manifest(c, "app", &subject).may == MAY_NO);
	free(text);
	close_cache(&c);
}

struct child_spec {
	const struct digest *dg;
	const char *os, *arch;
};

static char *index_text(const struct child_spec *list, size_t n)
{
	char *text = xasprintf("{\"schemaVersion\":2,\"mediaType\":\"%s\","
			       "\"manifests\":[",
			       INDEX_TYPE);
	char *closed;

	for (size_t i = 0; i < n; i++) {
		char dt[DIGEST_TEXT_MAX];
		char *more = xasprintf(
		    "%s%s{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":500,"
		    "\"platform\":{\"os\":\"%s\",\"architecture\":\"%s\"}}",
		    text, i ? "," : "", IMAGE_TYPE, digest_text(list[i].dg, dt),
		    list[i].os, list[i].arch);

		free(text);
		text = more;
	}
	closed = xasprintf("%s]}", text);
	free(text);
	return closed;
}

static void an_index_names_its_manifests(void)
{
	struct cache *c = open_cache(64 * KIB);
	char *image = image_text(1, 2), *text;
	struct digest child, dg, layer = test_digest(2);
	struct lookup l;

	child = store(c, "elsewhere", NULL, image, true);
	text = index_text(&(struct child_spec){&child, "linux", "amd64"}, 1);
	dg = store(c, "app", NULL, text, false);
	l = look_manifest(c, "app", &dg);
	CHECK(l.may == MAY_YES && l.stored && l.size == strlen(text));
	CHECK_STR(l.media_type, INDEX_TYPE);
	l = look_manifest(c, "app", &child);
	CHECK(l.may == MAY_YES && l.stored && l.size == strlen(image));
	/* But what that one names is earned once it is served here. */
	CHECK(look_blob(c, "app", &layer).may == MAY_NO);
	note_yes(c, "app", &child, LINK_MANIFEST);
	CHECK(look_blob(c, "app", &layer).may == MAY_ASK);
	free(text);
	free(image);
	close_cache(&c);
}

/* A layer of very many images, all of other repositories. */
static enum err put_many_edges(struct index_txn *txn, void *arg)
{
	struct edge_row row = {1, EDGE_LAYER, {NULL, 0}};
	struct digest child = test_digest(1);

	for (unsigned i = 0; i < 5000; i++) {
		struct digest parent = test_digest(1000 + i);

		edge_put(txn, &child, &parent, &row);
	}
	(void)arg;
	return ERR_OK;
}

static void a_search_among_parents_is_bounded(void)
{
	struct cache *c = open_cache(64 * KIB);
	struct digest child = test_digest(1);
	uint64_t began;

	CHECK(test_write(c->index, put_many_edges, NULL) == ERR_OK);
	note_yes(c, "app", &(struct digest){DIGEST_SHA256, {9}}, LINK_BLOB);
	began = now_ms();
	CHECK(look_blob(c, "app", &child).may == MAY_NO);
	CHECK(now_ms() - began < 2000);
	close_cache(&c);
}

/* ---- whole ---- */

static bool whole(struct cache *c, const struct digest *dg,
		  const struct digest *older)
{
	struct index_txn *txn = index_read(c->index);
	bool found = cache_is_whole(txn, dg, older);

	index_read_end(txn);
	return found;
}

static void hold_blob(struct cache *c, unsigned n)
{
	struct digest dg = test_digest(n);

	put_blob(c, &dg, 7, true);
}

static void an_image_is_whole_with_config_and_layers(void)
{
	struct cache *c = open_cache(64 * KIB);
	char *text = image_text(1, 2);
	struct digest dg = store(c, "app", NULL, text, true);
	struct digest unknown = test_digest(99);

	CHECK(!whole(c, &unknown, NULL));
	CHECK(!whole(c, &dg, NULL));
	hold_blob(c, 1);
	CHECK(!whole(c, &dg, NULL));
	hold_blob(c, 2);
	CHECK(whole(c, &dg, NULL));
	CHECK(whole(c, &dg, &unknown));
	free(text);
	close_cache(&c);
}

static void a_large_image_is_whole_with_its_file(void)
{
	struct cache *c = open_cache(100);
	char *text = image_text(1, 2);
	struct digest dg = store(c, "app", NULL, text, true);

	CHECK(!whole(c, &dg, NULL));
	hold_blob(c, 1);
	hold_blob(c, 2);
	CHECK(whole(c, &dg, NULL));
	free(text);
	close_cache(&c);
}

static enum err del_blob(struct index_txn *txn, void *arg)
{
	blob_del(txn, arg);
	return ERR_OK;
}

static void an_index_is_whole_with_what_the_older_has(void)
{
	struct cache *c = open_cache(64 * KIB);
	char *t_old_amd = image_text(1, 2), *t_old_arm = image_text(1, 3);
	char *t_amd = image_text(1, 4), *t_arm = image_text(1, 5);
	struct digest old_amd = store(c, "app", NULL, t_old_amd, true);
	struct digest old_arm = store(c, "app", NULL, t_old_arm, true);
	struct digest amd = store(c, "app", NULL, t_amd, true), arm;
	struct child_spec old_list[2] = {{&old_amd, "linux", "amd64"},
					 {&old_arm, "linux", "arm64"}};
	struct child_spec list[2] = {{&amd, "linux", "amd64"},
				     {&arm, "linux", "arm64"}};
	struct digest old, dg, layer = test_digest(4);
	char *t_old, *t_new;

	digest_of(DIGEST_SHA256, t_arm, strlen(t_arm), &arm);
	t_old = index_text(old_list, 2);
	t_new = index_text(list, 2);
	old = store(c, "app", "t", t_old, true);
	dg = store(c, "app", "t", t_new, true);
	hold_blob(c, 1);
	CHECK(!whole(c, &dg, &old)); /* no child is */
	hold_blob(c, 4);
	CHECK(whole(c, &dg, NULL));
	CHECK(whole(c, &dg, &old)); /* the older has none whole */
	hold_blob(c, 2);
	CHECK(whole(c, &dg, &old)); /* both have amd64 */
	hold_blob(c, 3);
	CHECK(!whole(c, &dg, &old)); /* the older has arm64 as well */
	store(c, "app", NULL, t_arm, true);
	CHECK(!whole(c, &dg, &old));
	hold_blob(c, 5);
	CHECK(whole(c, &dg, &old));
	CHECK(test_write(c->index, del_blob, &layer) == ERR_OK);
	CHECK(whole(c, &dg, NULL)); /* by arm64 */
	CHECK(!whole(c, &dg, &old));
	CHECK(whole(c, &old, &dg));
	free(t_old_amd);
	free(t_old_arm);
	free(t_amd);
	free(t_arm);
	free(t_old);
	free(t_new);
	close_cache(&c);
}

static void an_empty_index_is_whole(void)
{
	struct cache *c = open_cache(64 * KIB);
	char *text = index_text(NULL, 0);
	struct digest dg = store(c, "app", NULL, text, true);

	CHECK(whole(c, &dg, NULL));
	free(text);
	close_cache(&c);
}

int main(void)
{
	RUN(a_link_is_a_yes_in_its_repository_only);
	RUN(a_linked_blob_that_is_not_stored_has_its_parents_size);
	RUN(a_child_needs_its_own_yes_unless_it_is_public);
	RUN(sizes_come_from_parents_linked_here_only);
	RUN(a_parent_linked_as_a_blob_earns_nothing);
	RUN(foreign_layers_and_subjects_earn_nothing);
	RUN(an_index_names_its_manifests);
	RUN(a_search_among_parents_is_bounded);
	RUN(an_image_is_whole_with_config_and_layers);
	RUN(a_large_image_is_whole_with_its_file);
	RUN(an_index_is_whole_with_what_the_older_has);
	RUN(an_empty_index_is_whole);
	return unit_done();
}
