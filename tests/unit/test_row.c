/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/row.h"

#include "cache/children.h"
#include "tests/unit/index_help.h"
#include "tests/unit/unit.h"

static struct index *open_index(void)
{
	struct index_options opt = {0};
	struct index *ix = NULL;
	char *dir;

	test_dir_make();
	dir = test_path("index");
	if (index_open(dir, &opt, &ix, NULL) != ERR_OK)
		abort();
	free(dir);
	return ix;
}

static void close_index(struct index *ix)
{
	index_close(&ix);
	test_dir_remove();
}

/* Each test is an apply: what it writes it reads back in the same one, which
 * goes through the same bytes as a commit would. */
static void in_apply(enum err (*fn)(struct index_txn *, void *))
{
	struct index *ix = open_index();

	CHECK(test_write(ix, fn, NULL) == ERR_OK);
	close_index(ix);
}

static bool says(struct slice s, const char *text)
{
	return s.len == strlen(text) && memcmp(s.ptr, text, s.len) == 0;
}

static enum err try_repos(struct index_txn *txn, void *arg UNUSED)
{
	struct repo_row row, again;
	char longest[REPO_NAME_MAX + 2];
	uint64_t id = 7;

	CHECK(repo_id(txn, "docker.io", "library/debian", &id) ==
	      ERR_NOT_FOUND);
	CHECK(repo_ensure(txn, "docker.io", "library/debian", REPO_MIRROR, 100,
			  &row) == ERR_OK);
	CHECK(row.id == 1 && row.created_s == 100);
	CHECK(repo_ensure(txn, "", "library/debian", REPO_HOSTED, 101,
			  &again) == ERR_OK);
	CHECK(again.id == 2 && again.kind == REPO_HOSTED);
	row.visibility = VIS_PRIVATE;
	row.marked_ms = 200;
	row.denied_ms = 201;
	row.denied_checked_ms = 202;
	repo_put(txn, &row);
	CHECK(repo_ensure(txn, "docker.io", "library/debian", REPO_MIRROR, 999,
			  &again) == ERR_OK);
	CHECK(again.id == 1 && again.created_s == 100 &&
	      again.kind == REPO_MIRROR && again.visibility == VIS_PRIVATE &&
	      again.marked_ms == 200 && again.denied_ms == 201 &&
	      again.denied_checked_ms == 202);
	CHECK_STR(again.host, "docker.io");
	CHECK_STR(again.name, "library/debian");
	CHECK(repo_id(txn, "", "library/debian", &id) == ERR_OK && id == 2);
	CHECK(repo_get(txn, 3, &again) == ERR_NOT_FOUND);
	/* The longest that fit a key, and what no key can hold. */
	memset(longest, 'n', sizeof(longest) - 1);
	longest[REPO_NAME_MAX + 1] = '\0';
	CHECK(repo_id(txn, "h", longest, &id) == ERR_NOT_FOUND);
	CHECK(repo_ensure(txn, "h", longest, REPO_MIRROR, 1, &row) ==
	      ERR_INVALID);
	CHECK(repo_ensure(txn, "h", "", REPO_MIRROR, 1, &row) == ERR_INVALID);
	longest[REPO_NAME_MAX] = '\0';
	CHECK(repo_ensure(txn, longest, longest, REPO_MIRROR, 1, &row) ==
	      ERR_OK);
	CHECK(row.id == 3);
	return ERR_OK;
}

static void repositories_have_ids_that_stay(void)
{
	in_apply(try_repos);
}

struct walked {
	char text[200];
	unsigned n, most;
	char host[16], name[16];
};

static bool note_repo(void *arg, const char *host, struct slice name,
		      uint64_t id)
{
	struct walked *w = arg;
	size_t used = strlen(w->text);

	snprintf(w->host, sizeof(w->host), "%s", host);
	snprintf(w->name, sizeof(w->name), "%.*s", (int)name.len,
		 (const char *)name.ptr);
	snprintf(w->text + used, sizeof(w->text) - used, "%s:%s=%u ", host,
		 w->name, (unsigned)id);
	return ++w->n % w->most != 0;
}

static enum err try_repo_walk(struct index_txn *txn, void *arg UNUSED)
{
	static const char *const hosts[] = {"quay.io", "", "docker.io"};
	static const char all[] = ":a=3 :a/b=4 docker.io:a=5 docker.io:a/b=6 "
				  "quay.io:a=1 quay.io:a/b=2 ";
	struct walked w = {.most = 99};
	struct repo_row row;

	CHECK(repo_walk(txn, "", "", note_repo, &w) == ERR_OK && w.n == 0);
	for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
		enum repo_kind kind = *hosts[i] ? REPO_MIRROR : REPO_HOSTED;

		CHECK(repo_ensure(txn, hosts[i], "a", kind, 1, &row) == ERR_OK);
		CHECK(repo_ensure(txn, hosts[i], "a/b", kind, 1, &row) ==
		      ERR_OK);
	}
	CHECK(repo_walk(txn, "", "", note_repo, &w) == ERR_OK);
	CHECK_STR(w.text, all);

	/* from page to page, whatever their size */
	for (unsigned most = 1; most < 8; most++) {
		unsigned n;

		w = (struct walked){.most = most};
		do {
			char host[16], name[16];

			n = w.n;
			memcpy(host, w.host, sizeof(host));
			memcpy(name, w.name, sizeof(name));
			CHECK(repo_walk(txn, host, name, note_repo, &w) ==
			      ERR_OK);
		} while (w.n > n);
		CHECK_STR(w.text, all);
	}

	/* after one that has gone since; a name is not another's beginning */
	w = (struct walked){.most = 99};
	CHECK(repo_walk(txn, "docker.io", "a/a", note_repo, &w) == ERR_OK);
	CHECK_STR(w.text, "docker.io:a/b=6 quay.io:a=1 quay.io:a/b=2 ");
	return ERR_OK;
}

static void repositories_are_walked_by_host_and_name(void)
{
	in_apply(try_repo_walk);
}

static enum err try_lost_counter(struct index_txn *txn, void *arg UNUSED)
{
	struct repo_row row;

	CHECK(repo_ensure(txn, "h", "a", REPO_MIRROR, 1, &row) == ERR_OK);
	CHECK(repo_ensure(txn, "h", "b", REPO_MIRROR, 1, &row) == ERR_OK);
	index_put(txn, TABLE_META, test_text("repo/next"), test_text("bad"));
	CHECK(repo_ensure(txn, "h", "c", REPO_MIRROR, 1, &row) == ERR_OK);
	CHECK(row.id == 3);
	CHECK(repo_ensure(txn, "h", "d", REPO_MIRROR, 1, &row) == ERR_OK);
	CHECK(row.id == 4);
	return ERR_OK;
}

static void a_lost_counter_of_ids_is_counted_again(void)
{
	in_apply(try_lost_counter);
}

static enum err try_rotten_repo(struct index_txn *txn, void *arg UNUSED)
{
	struct repo_row row;
	uint8_t id[8];

	CHECK(repo_ensure(txn, "h", "a", REPO_MIRROR, 1, &row) == ERR_OK);
	put_be64(id, row.id);
	index_put(txn, TABLE_REPO, slice_of(id, 8), test_text("rot"));
	CHECK(repo_get(txn, row.id, &row) == ERR_CORRUPT);
	CHECK(repo_ensure(txn, "h", "a", REPO_MIRROR, 5, &row) == ERR_OK);
	CHECK(row.id == 1 && row.created_s == 5);
	CHECK(repo_get(txn, 1, &row) == ERR_OK);
	return ERR_OK;
}

static void a_rotten_repository_is_made_anew(void)
{
	in_apply(try_rotten_repo);
}

static enum err try_blobs(struct index_txn *txn, void *arg UNUSED)
{
	struct blob_row row = {1000, 1, 2, true}, got;
	struct digest a = test_digest(1), b = test_digest(2);
	uint8_t key[DIGEST_KEY_MAX];

	CHECK(total_get(txn, "blobs") == 0);
	blob_put(txn, &a, &row);
	CHECK(blob_get(txn, &a, &got) == ERR_OK);
	CHECK(got.size == 1000 && got.created_s == 1 && got.verified_s == 2 &&
	      got.public_yes);
	CHECK(blob_get(txn, &b, &got) == ERR_NOT_FOUND);
	row.size = 5;
	row.public_yes = false;
	blob_put(txn, &b, &row);
	CHECK(total_get(txn, "blobs") == 2);
	CHECK(total_get(txn, "blob_bytes") == 1005);
	row.size = 7; /* again, not one more */
	blob_put(txn, &a, &row);
	CHECK(total_get(txn, "blobs") == 2);
	CHECK(total_get(txn, "blob_bytes") == 12);
	blob_del(txn, &a);
	blob_del(txn, &a);
	CHECK(total_get(txn, "blobs") == 1);
	CHECK(total_get(txn, "blob_bytes") == 5);
	index_put(txn, TABLE_BLOB, slice_of(key, digest_to_key(&b, key)),
		  test_text("rot"));
	CHECK(blob_get(txn, &b, &got) == ERR_CORRUPT);
	blob_del(txn, &b);
	CHECK(total_get(txn, "blobs") == 0);
	return ERR_OK;
}

static void blobs_keep_the_totals(void)
{
	in_apply(try_blobs);
}

static enum err try_manifests(struct index_txn *txn, void *arg UNUSED)
{
	struct digest dg = test_digest(1), none = {0}, subject;
	struct manifest_row row = {
	    .public_yes = true,
	    .size = 4,
	    .created_s = 9,
	    .media_type = test_text("application/x"),
	    .artifact_type = test_text("text/a"),
	    .children = test_text("ch"),
	    .bytes = test_text("{\"a\""),
	};
	struct manifest_row got;

	digest_of(DIGEST_SHA512, "s", 1, &subject);
	row.subject = subject;
	manifest_put(txn, &dg, &row);
	CHECK(manifest_get(txn, &dg, &got) == ERR_OK);
	CHECK(got.public_yes && got.size == 4 && got.created_s == 9);
	CHECK(says(got.media_type, "application/x"));
	CHECK(says(got.artifact_type, "text/a"));
	CHECK(says(got.children, "ch") && says(got.bytes, "{\"a\""));
	CHECK(digest_equal(&got.subject, &subject));
	/* What was read may be written back as it is. */
	got.public_yes = false;
	got.subject = none;
	manifest_put(txn, &dg, &got);
	CHECK(manifest_get(txn, &dg, &got) == ERR_OK);
	CHECK(!got.public_yes && says(got.bytes, "{\"a\"") && !got.subject.alg);
	row.bytes = slice_of(NULL, 0);
	row.size = 100000;
	manifest_put(txn, &dg, &row);
	CHECK(manifest_get(txn, &dg, &got) == ERR_OK);
	CHECK(got.bytes.ptr == NULL && got.size == 100000);
	row.bytes = test_text("not as many");
	manifest_put(txn, &dg, &row);
	CHECK(manifest_get(txn, &dg, &got) == ERR_CORRUPT);
	manifest_del(txn, &dg);
	CHECK(manifest_get(txn, &dg, &got) == ERR_NOT_FOUND);
	return ERR_OK;
}

static void manifests_keep_their_bytes(void)
{
	in_apply(try_manifests);
}

struct tags {
	char text[256];
	const char *stop_at;
};

static bool note_tag(void *arg, const char *tag, size_t tag_len,
		     const struct tag_row *row)
{
	struct tags *t = arg;
	size_t used = strlen(t->text);

	CHECK(row->state == TAG_PRESENT);
	snprintf(t->text + used, sizeof(t->text) - used, "%.*s ", (int)tag_len,
		 tag);
	return !t->stop_at || strncmp(tag, t->stop_at, tag_len) != 0;
}

static void expect_tags(struct index_txn *txn, uint64_t repo, const char *last,
			const char *stop_at, const char *want)
{
	struct tags t = {"", stop_at};

	CHECK(tag_walk(txn, repo, last, note_tag, &t) == ERR_OK);
	CHECK_STR(t.text, want);
}

static enum err try_tags(struct index_txn *txn, void *arg UNUSED)
{
	struct tag_row row = {{test_digest(1), test_digest(2)},
			      test_digest(3),
			      10,
			      11,
			      TAG_PRESENT},
		       got;
	char longest[TAG_MAX + 1], beyond[1000];

	CHECK(tag_get(txn, 1, "latest", 6, &got) == ERR_NOT_FOUND);
	tag_put(txn, 1, "latest", 6, &row);
	tag_put(txn, 1, "1.0", 3, &row);
	tag_put(txn, 1, "late", 4, &row);
	tag_put(txn, 2, "other", 5, &row);
	CHECK(tag_get(txn, 1, "latest", 6, &got) == ERR_OK);
	CHECK(memcmp(&got.held, &row.held, sizeof(got.held)) == 0);
	CHECK(digest_equal(&got.seen, &row.seen));
	CHECK(got.fetched_s == 10 && got.checked_ms == 11);
	expect_tags(txn, 1, NULL, NULL, "1.0 late latest ");
	expect_tags(txn, 1, "late", NULL, "latest ");
	expect_tags(txn, 1, "k", NULL, "late latest ");
	expect_tags(txn, 1, NULL, "late", "1.0 late ");
	expect_tags(txn, 1, "latest", NULL, "");
	expect_tags(txn, 3, NULL, NULL, "");
	/* `last` is a client's, and may be of any length. */
	memset(beyond, 'l', sizeof(beyond) - 1);
	beyond[sizeof(beyond) - 1] = '\0';
	expect_tags(txn, 1, beyond, NULL, "");
	beyond[0] = '1';
	expect_tags(txn, 1, beyond, NULL, "late latest ");
	memset(longest, 'z', TAG_MAX);
	longest[TAG_MAX] = '\0';
	tag_put(txn, 1, longest, TAG_MAX, &row);
	CHECK(tag_get(txn, 1, longest, TAG_MAX, &got) == ERR_OK);
	CHECK(tag_get(txn, 1, beyond, sizeof(beyond) - 1, &got) ==
	      ERR_NOT_FOUND);
	CHECK(tag_get(txn, 1, "", 0, &got) == ERR_NOT_FOUND);
	tag_del(txn, 1, "late", 4);
	CHECK(tag_get(txn, 1, "late", 4, &got) == ERR_NOT_FOUND);
	return ERR_OK;
}

static void tags_are_listed_in_order(void)
{
	in_apply(try_tags);
}

static bool count_edges(void *arg, const struct digest *parent,
			const struct edge_row *row)
{
	unsigned *n = arg;
	struct digest p1 = test_digest(11), p2 = test_digest(12);

	CHECK(digest_equal(parent, *n == 0 ? &p1 : &p2) ||
	      digest_equal(parent, *n == 0 ? &p2 : &p1));
	CHECK(row->size == 77 && row->role == EDGE_LAYER &&
	      says(row->media_type, "layer/type"));
	++*n;
	return true;
}

static enum err try_links(struct index_txn *txn, void *arg UNUSED)
{
	struct digest child = test_digest(1), p1 = test_digest(11),
		      p2 = test_digest(12), other = test_digest(2);
	struct link_row link = {.kind = LINK_MANIFEST,
				.sparse = true,
				.created_s = 4,
				.media_type = test_text("a/b")};
	struct link_row got;
	struct edge_row edge = {77, EDGE_LAYER, test_text("layer/type")};
	unsigned n = 0;

	link_put(txn, 5, &child, &link);
	CHECK(link_get(txn, 5, &child, &got) == ERR_OK);
	CHECK(got.kind == LINK_MANIFEST && got.sparse && got.created_s == 4 &&
	      says(got.media_type, "a/b"));
	CHECK(link_get(txn, 6, &child, &got) == ERR_NOT_FOUND);
	link_del(txn, 5, &child);
	CHECK(link_get(txn, 5, &child, &got) == ERR_NOT_FOUND);

	edge_put(txn, &child, &p1, &edge);
	edge_put(txn, &child, &p2, &edge);
	edge_put(txn, &other, &p1, &edge);
	CHECK(edge_walk(txn, &child, count_edges, &n) == ERR_OK && n == 2);
	CHECK(edge_get(txn, &other, &p1, &edge) == ERR_OK && edge.size == 77);
	CHECK(edge_get(txn, &other, &p2, &edge) == ERR_NOT_FOUND);
	edge_del(txn, &child, &p1);
	edge_del(txn, &child, &p2);
	n = 0;
	CHECK(edge_walk(txn, &child, count_edges, &n) == ERR_OK && n == 0);
	return ERR_OK;
}

static void links_and_edges_are_found_from_the_child(void)
{
	in_apply(try_links);
}

/* Rows as they come: "<letter><number> ". */
struct listed {
	char text[256];
	unsigned max;
};

static bool list(struct listed *l, char letter, uint64_t v)
{
	size_t used = strlen(l->text);

	snprintf(l->text + used, sizeof(l->text) - used, "%c%u ", letter,
		 (unsigned)v);
	return --l->max > 0;
}

static bool list_link(void *arg, const struct digest *dg,
		      const struct link_row *row)
{
	return list(arg, row->hosted ? 'h' : 'm', dg->bytes[0]);
}

static bool list_holder(void *arg, uint64_t repo, bool hosted)
{
	return list(arg, hosted ? 'h' : 'm', repo);
}

/* Sorted by its one byte. */
static struct digest short_digest(uint8_t n)
{
	struct digest dg = {.alg = DIGEST_SHA256, .bytes = {n}};

	return dg;
}

static void check_links(struct index_txn *txn, uint64_t repo,
			const struct digest *last, unsigned max,
			const char *want)
{
	struct listed l = {.max = max};

	CHECK(link_walk(txn, repo, last, list_link, &l) == ERR_OK);
	CHECK_STR(l.text, want);
}

static void check_holders(struct index_txn *txn, const struct digest *dg,
			  unsigned max, const char *want)
{
	struct listed l = {.max = max};

	CHECK(holder_walk(txn, dg, list_holder, &l) == ERR_OK);
	CHECK_STR(l.text, want);
}

static enum err try_holders(struct index_txn *txn, void *arg UNUSED)
{
	struct link_row mirror = {.kind = LINK_BLOB, .created_s = 1};
	struct link_row hosted = {.kind = LINK_BLOB, .hosted = true};
	struct digest a = short_digest(1), b = short_digest(2),
		      c = short_digest(3);
	struct link_row got;

	link_put(txn, 1, &a, &mirror);
	link_put(txn, 1, &b, &mirror);
	link_put(txn, 1, &c, &mirror);
	link_put(txn, 2, &b, &hosted);
	link_put(txn, 9, &b, &hosted);
	link_put(txn, 3, &b, &mirror);
	CHECK(link_get(txn, 2, &b, &got) == ERR_OK && got.hosted);
	CHECK(link_get(txn, 3, &b, &got) == ERR_OK && !got.hosted);
	check_links(txn, 1, NULL, 9, "m1 m2 m3 ");
	check_links(txn, 1, NULL, 2, "m1 m2 ");
	check_links(txn, 1, &a, 9, "m2 m3 ");
	check_links(txn, 1, &c, 9, "");
	check_links(txn, 2, NULL, 9, "h2 ");
	check_holders(txn, &b, 9, "h2 h9 m1 m3 ");
	check_holders(txn, &b, 1, "h2 ");
	check_holders(txn, &a, 9, "m1 ");
	link_put(txn, 2, &b, &hosted); /* again, not one more */
	link_del(txn, 9, &b);
	link_del(txn, 1, &b);
	check_holders(txn, &b, 9, "h2 m3 ");
	link_del(txn, 2, &b);
	link_del(txn, 3, &b);
	check_holders(txn, &b, 9, "");
	check_links(txn, 1, &a, 9, "m3 ");
	return ERR_OK;
}

static void who_links_a_digest_is_found_from_it(void)
{
	in_apply(try_holders);
}

static bool list_garbage(void *arg, uint64_t since_s, const struct digest *dg,
			 uint64_t repo)
{
	return list(arg, (char)('a' + since_s), 10 * repo + dg->bytes[0]);
}

static enum err try_garbage(struct index_txn *txn, void *arg UNUSED)
{
	struct digest a = short_digest(1), b = short_digest(2);
	struct listed l = {.max = 9}, first = {.max = 1}, rest = {.max = 9};

	garbage_put(txn, 25, &a, 3);
	garbage_put(txn, 2, &b, 0);
	garbage_put(txn, 2, &a, 0);
	garbage_put(txn, 2, &a, 0);
	CHECK(garbage_walk(txn, list_garbage, &l) == ERR_OK);
	CHECK_STR(l.text, "c1 c2 z31 ");
	CHECK(garbage_walk(txn, list_garbage, &first) == ERR_OK);
	CHECK_STR(first.text, "c1 ");
	garbage_del(txn, 2, &a, 0);
	garbage_del(txn, 3, &b, 0); /* not there */
	CHECK(garbage_walk(txn, list_garbage, &rest) == ERR_OK);
	CHECK_STR(rest.text, "c2 z31 ");
	return ERR_OK;
}

static bool list_tag(void *arg, const char *tag, size_t tag_len)
{
	return list(arg, tag[0], tag_len);
}

static void check_tags_of(struct index_txn *txn, const struct digest *dg,
			  const char *want)
{
	struct listed l = {.max = 9};

	CHECK(tag_of_walk(txn, 1, dg, list_tag, &l) == ERR_OK);
	CHECK_STR(l.text, want);
}

static enum err try_tags_of(struct index_txn *txn, void *arg UNUSED)
{
	struct digest a = short_digest(1), b = short_digest(2),
		      c = short_digest(3);
	struct tag_row row = {.held = {a, b}}, other = {.held = {a}};

	tag_put(txn, 1, "x", 1, &row);
	tag_put(txn, 1, "yy", 2, &other);
	tag_put(txn, 2, "z", 1, &other); /* another repository's */
	check_tags_of(txn, &a, "x1 y2 ");
	check_tags_of(txn, &b, "x1 ");
	row.held[0] = c;
	row.held[1] = a; /* as a tag moves in a mirror */
	tag_put(txn, 1, "x", 1, &row);
	check_tags_of(txn, &a, "x1 y2 ");
	check_tags_of(txn, &b, "");
	check_tags_of(txn, &c, "x1 ");
	tag_put(txn, 1, "x", 1, &row); /* again */
	tag_del(txn, 1, "yy", 2);
	check_tags_of(txn, &a, "x1 ");
	tag_del(txn, 1, "x", 1);
	tag_del(txn, 1, "x", 1); /* not there */
	check_tags_of(txn, &a, "");
	check_tags_of(txn, &c, "");
	return ERR_OK;
}

static void which_tags_hold_a_digest_is_found_from_it(void)
{
	in_apply(try_tags_of);
}

static void garbage_is_listed_oldest_first(void)
{
	in_apply(try_garbage);
}

static bool one_referrer(void *arg, const struct digest *dg,
			 struct slice descriptor)
{
	struct digest want = test_digest(3);
	unsigned *n = arg;

	CHECK(digest_equal(dg, &want) && says(descriptor, "{}"));
	++*n;
	return true;
}

static enum err try_referrers(struct index_txn *txn, void *arg UNUSED)
{
	struct digest subject = test_digest(1), other = test_digest(2),
		      dg = test_digest(3);
	unsigned n = 0;

	referrer_put(txn, 1, &subject, &dg, test_text("{}"));
	referrer_put(txn, 1, &other, &dg, test_text("{}"));
	referrer_put(txn, 2, &subject, &dg, test_text("{}"));
	CHECK(referrer_walk(txn, 1, &subject, NULL, one_referrer, &n) ==
	      ERR_OK);
	CHECK(n == 1);
	return ERR_OK;
}

static void referrers_belong_to_repository_and_subject(void)
{
	in_apply(try_referrers);
}

static bool first_path(void *arg, const char *path)
{
	CHECK_STR(path, arg);
	return false;
}

struct queue {
	unsigned n;
	uint64_t last;
	struct digest order[8];
};

static bool note_place(void *arg, uint64_t position, const struct digest *dg)
{
	struct queue *q = arg;

	CHECK(q->n == 0 || position > q->last);
	q->last = position;
	q->order[q->n++] = *dg;
	return true;
}

static enum err try_queues(struct index_txn *txn, void *arg UNUSED)
{
	struct digest a = test_digest(1), b = test_digest(2),
		      c = test_digest(3);
	char path[] = "blobs/sha256/ab/abcd";
	struct queue q = {0}, empty = {0};
	uint64_t before;

	trash_put(txn, path);
	CHECK(trash_walk(txn, first_path, path) == ERR_OK);
	trash_del(txn, path);

	recency_touch(txn, &a);
	recency_touch(txn, &b);
	recency_touch(txn, &c);
	before = index_writes(txn);
	recency_touch(txn, &a);
	CHECK(index_writes(txn) - before == 4); /* of 128 in a batch */
	CHECK(recency_walk(txn, note_place, &q) == ERR_OK);
	CHECK(q.n == 3 && digest_equal(&q.order[0], &b) &&
	      digest_equal(&q.order[1], &c) && digest_equal(&q.order[2], &a));
	recency_del(txn, &a);
	recency_del(txn, &b);
	recency_del(txn, &c);
	recency_del(txn, &c);
	CHECK(recency_walk(txn, note_place, &empty) == ERR_OK && !empty.n);
	/* The counter lost: still behind all that is there. */
	recency_touch(txn, &a);
	index_del(txn, TABLE_META, test_text("recency/next"));
	recency_touch(txn, &b);
	q.n = 0;
	CHECK(recency_walk(txn, note_place, &q) == ERR_OK);
	CHECK(q.n == 2 && digest_equal(&q.order[1], &b));
	return ERR_OK;
}

static void touching_moves_to_the_end_of_the_queue(void)
{
	in_apply(try_queues);
}

/* Every stored value cut short, or with a byte changed, is an error or
 * another row; never a read past its end (the sanitizers watch). */
static enum err try_damage(struct index_txn *txn, void *arg UNUSED)
{
	struct digest dg = test_digest(1);
	struct manifest_row row = {
	    .size = 3,
	    .media_type = test_text("a/b"),
	    .subject = test_digest(2),
	    .children = test_text("c"),
	    .bytes = test_text("{}\n"),
	};
	uint8_t key[DIGEST_KEY_MAX], *whole;
	struct slice k = slice_of(key, digest_to_key(&dg, key)), payload;
	size_t len;

	manifest_put(txn, &dg, &row);
	CHECK(index_get(txn, TABLE_MANIFEST, k, &payload) == ERR_OK);
	len = payload.len;
	whole = xmemdup(payload.ptr, len);
	for (size_t cut = 0; cut < len; cut++) {
		index_put(txn, TABLE_MANIFEST, k, slice_of(whole, cut));
		CHECK(manifest_get(txn, &dg, &row) == ERR_CORRUPT);
	}
	for (size_t i = 0; i < len; i++) {
		enum err err;

		whole[i] ^= 0xff;
		index_put(txn, TABLE_MANIFEST, k, slice_of(whole, len));
		err = manifest_get(txn, &dg, &row);
		CHECK(err == ERR_OK || err == ERR_CORRUPT);
		whole[i] ^= 0xff;
	}
	free(whole);
	return ERR_OK;
}

static void a_damaged_row_is_corrupt(void)
{
	in_apply(try_damage);
}

static void children_survive_packing(void)
{
	struct manifest_child list[] = {
	    {.dg = test_digest(1),
	     .role = CHILD_MANIFEST,
	     .os = "linux",
	     .arch = "arm64",
	     .variant = "v8"},
	    {.role = CHILD_LAYER,
	     .skipped = true,
	     .os = "",
	     .arch = "",
	     .variant = ""},
	    {.dg = test_digest(3),
	     .role = CHILD_LAYER,
	     .foreign = true,
	     .os = "",
	     .arch = "",
	     .variant = ""},
	};
	struct manifest_facts facts = {
	    .kind = MANIFEST_INDEX, .children = list, .n_children = 3};
	enum manifest_kind kind;
	struct slice rest;
	struct child child;
	bool bad = false;
	size_t len;
	uint8_t *packed = children_pack(&facts, &len);

	CHECK(children_begin(slice_of(packed, len), &kind, &rest));
	CHECK(kind == MANIFEST_INDEX);
	CHECK(children_next(&rest, &child, &bad));
	CHECK(digest_equal(&child.dg, &list[0].dg) && !child.foreign &&
	      child.role == CHILD_MANIFEST);
	CHECK(says(child.platform, "linux/arm64/v8"));
	CHECK(children_next(&rest, &child, &bad));
	CHECK(!child.dg.alg && !child.platform.len);
	CHECK(children_next(&rest, &child, &bad));
	CHECK(child.foreign && child.role == CHILD_LAYER);
	CHECK(!children_next(&rest, &child, &bad) && !bad);
	for (size_t cut = 0; cut < len; cut++) {
		uint8_t *copy = xmemdup(packed, cut);
		unsigned n = 0;

		bad = false;
		if (children_begin(slice_of(copy, cut), &kind, &rest)) {
			while (children_next(&rest, &child, &bad))
				n++;
		}
		CHECK(n < 3);
		free(copy);
	}
	CHECK(!children_begin(slice_of(NULL, 0), &kind, &rest));
	free(packed);
}

int main(void)
{
	RUN(repositories_have_ids_that_stay);
	RUN(repositories_are_walked_by_host_and_name);
	RUN(a_lost_counter_of_ids_is_counted_again);
	RUN(a_rotten_repository_is_made_anew);
	RUN(blobs_keep_the_totals);
	RUN(manifests_keep_their_bytes);
	RUN(tags_are_listed_in_order);
	RUN(links_and_edges_are_found_from_the_child);
	RUN(who_links_a_digest_is_found_from_it);
	RUN(garbage_is_listed_oldest_first);
	RUN(which_tags_hold_a_digest_is_found_from_it);
	RUN(referrers_belong_to_repository_and_subject);
	RUN(touching_moves_to_the_end_of_the_queue);
	RUN(a_damaged_row_is_corrupt);
	RUN(children_survive_packing);
	return unit_done();
}
