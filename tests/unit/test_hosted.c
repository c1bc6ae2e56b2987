/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/hosted.h"

#include "cache/children.h"
#include "cache/event.h"
#include "cache/key.h"
#include "cache/manifest_rows.h"
#include "tests/unit/hosted_help.h"
#include "tests/unit/unit.h"

static bool claimed(struct cache *c, const char *name)
{
	struct index_txn *txn = index_read(c->index);
	bool is = hosted_is_claimed(txn, name);

	index_read_end(txn);
	return is;
}

/* ---- pushing ---- */

static void a_push_needs_its_blobs(void)
{
	struct cache *c = open_cache(64 * 1024);
	char *text = image_of(1, 2, NULL);
	struct digest dg = text_digest(text), config = blob_digest(1),
		      layer = blob_digest(2);
	struct hosted_result res = push(c, "team/app", "v1", text);

	CHECK(res.err == ERR_NOT_FOUND && res.claimed);
	CHECK(digest_equal(&res.dg, &config));
	CHECK(strstr(res.why.text, "team/app does not hold sha256:") != NULL);
	CHECK(claimed(c, "team/app"));
	CHECK(!has_rows(c, &dg) && !has_file(c, &dg));
	upload(c, "team/app", 1);
	res = push(c, "team/app", "v1", text);
	CHECK(res.err == ERR_NOT_FOUND && !res.claimed);
	CHECK(digest_equal(&res.dg, &layer));
	upload(c, "other", 2); /* gives this one nothing */
	CHECK(push(c, "team/app", "v1", text).err == ERR_NOT_FOUND);
	CHECK(!has_manifest(c, "team/app", &dg));
	expect_sound(c);
	upload(c, "team/app", 2);
	CHECK(push(c, "team/app", "v1", text).err == ERR_OK);
	CHECK(has_manifest(c, "team/app", &dg) && has_file(c, &dg));
	CHECK(has_blob(c, "team/app", &dg)); /* and it is a file */
	CHECK(push(c, "team/app", "v1", text).err == ERR_OK);
	expect_sound(c);
	free(text);
	close_cache(&c);
}

static void tags_move_whole_unless_they_may_not(void)
{
	struct cache *c = open_cache(64 * 1024);
	struct digest one = push_image(c, "a", "v1", 1, 2);
	struct digest two = push_image(c, "a", "v1", 1, 3), held;
	char *text = image_of(1, 2, NULL), *same = image_of(1, 3, NULL);
	const bool immutable[] = {true};
	struct push_manifest m = {.immutable = immutable};
	struct hosted_result res;

	held = tag_digest(c, "a", "v1");
	CHECK(digest_equal(&held, &two));
	CHECK(has_manifest(c, "a", &one)); /* the manifest stays */
	res = push_with(c, &m, "a", "v1", text);
	CHECK(res.err == ERR_DENIED && digest_equal(&res.dg, &two));
	CHECK(strstr(res.why.text, "immutable") != NULL);
	m = (struct push_manifest){.immutable = immutable};
	CHECK(push_with(c, &m, "a", "v1", same).err == ERR_OK);
	m = (struct push_manifest){.immutable = immutable};
	CHECK(push_with(c, &m, "a", "new", text).err == ERR_OK);
	held = tag_digest(c, "a", "v1");
	CHECK(digest_equal(&held, &two));
	expect_sound(c);
	free(text);
	free(same);
	close_cache(&c);
}

static void a_shadow_lends_what_it_may_serve(void)
{
	struct cache *c = open_cache(64 * 1024);
	struct push_manifest m = {
	    .to = {.shadow_host = HOST, .shadow_name = "app"}};
	char *text = image_of(1, 2, NULL);
	struct digest config = fetch_blob(c, "app", 1, true), layer;

	CHECK(push_with(c, &m, "app", "v1", text).err == ERR_NOT_FOUND);
	CHECK(!has_blob(c, "app", &config)); /* refused, it mounts nothing */
	layer = fetch_blob(c, "another", 2, false);
	m = (struct push_manifest){
	    .to = {.shadow_host = HOST, .shadow_name = "app"}};
	CHECK(push_with(c, &m, "app", "v1", text).err == ERR_NOT_FOUND);
	fetch_blob(c, "app", 2, false);
	m = (struct push_manifest){
	    .to = {.shadow_host = HOST, .shadow_name = "app"}};
	CHECK(push(c, "app", "v1", text).err == ERR_NOT_FOUND); /* without */
	CHECK(push_with(c, &m, "app", "v1", text).err == ERR_OK);
	CHECK(has_blob(c, "app", &config) && has_blob(c, "app", &layer));
	expect_sound(c);
	free(text);
	close_cache(&c);
}

static void an_index_requires_nothing_and_gives_nothing(void)
{
	struct cache *c = open_cache(64 * 1024);
	struct digest layer = upload(c, "other", 2), image;
	char *blobs = index_of(&layer, LAYER_TYPE), *images;

	CHECK(push(c, "a", "cache", blobs).err == ERR_OK);
	CHECK(!has_blob(c, "a", &layer));
	image = push_image(c, "other", NULL, 1, 2);
	images = index_of(&image, IMAGE_TYPE);
	CHECK(push(c, "a", "multi", images).err == ERR_OK);
	CHECK(!has_manifest(c, "a", &image) &&
	      has_manifest(c, "other", &image));
	expect_sound(c);
	free(blobs);
	free(images);
	close_cache(&c);
}

static void sparse_and_foreign_contents_may_be_missing(void)
{
	struct cache *c = open_cache(64 * 1024);
	struct digest config = upload(c, "a", 1), layer = blob_digest(2);
	struct push_manifest m = {.allow_sparse = true};
	char *cd = descriptor(CONFIG_TYPE, &config, "");
	char *ld = descriptor(LAYER_TYPE, &layer, ",\"urls\":[\"http://x/\"]");
	char *foreign = xasprintf("{\"schemaVersion\":2,\"mediaType\":\"%s\","
				  "\"config\":%s,\"layers\":[%s]}",
				  IMAGE_TYPE, cd, ld);
	char *sparse = image_of(1, 2, NULL);

	CHECK(push(c, "a", "foreign", foreign).err == ERR_OK);
	CHECK(push(c, "a", "sparse", sparse).err == ERR_NOT_FOUND);
	CHECK(push_with(c, &m, "a", "sparse", sparse).err == ERR_OK);
	CHECK(!has_blob(c, "a", &layer));
	expect_sound(c);
	/* Pushed again with all of it there, it is as good as any. */
	upload(c, "other", 2);
	CHECK(!has_blob(c, "a", &layer));
	upload(c, "a", 2);
	CHECK(push(c, "a", "sparse", sparse).err == ERR_OK);
	CHECK(remove_blob(c, "a", &layer).err == ERR_BUSY);
	expect_sound(c);
	free(cd);
	free(ld);
	free(foreign);
	free(sparse);
	close_cache(&c);
}

static void another_type_takes_no_children_away(void)
{
	struct cache *c = open_cache(64 * 1024);
	struct digest cd = upload(c, "a", 1), ld = upload(c, "a", 2);
	char *config = descriptor(CONFIG_TYPE, &cd, "");
	char *layer = descriptor(LAYER_TYPE, &ld, "");
	char *text = xasprintf("{\"schemaVersion\":2,\"config\":%s,"
			       "\"layers\":[%s]}",
			       config, layer);
	struct push_manifest opaque = {.media_type = "application/x-other"};
	struct digest dg = text_digest(text);

	CHECK(push(c, "a", "v1", text).err == ERR_OK);
	CHECK(push_with(c, &opaque, "b", "v1", text).err == ERR_OK);
	expect_sound(c);
	CHECK(remove_blob(c, "a", &ld).err == ERR_BUSY);
	CHECK(remove_manifest(c, "a", &dg).err == ERR_OK);
	CHECK(remove_manifest(c, "b", &dg).err == ERR_OK);
	collect_all(c);
	CHECK(!has_rows(c, &dg) && !has_rows(c, &ld));
	expect_sound(c);
	free(config);
	free(layer);
	free(text);
	close_cache(&c);
}

static bool count_event(void *arg, uint64_t seq UNUSED, struct slice text)
{
	CHECK(text.len == 7 && memcmp(text.ptr, "{\"x\":1}", 7) == 0);
	++*(unsigned *)arg;
	return true;
}

static unsigned events_now(struct cache *c)
{
	struct index_txn *txn = index_read(c->index);
	unsigned n = 0;

	CHECK(event_walk(txn, 0, count_event, &n) == ERR_OK);
	index_read_end(txn);
	return n;
}

static void events_go_with_the_change(void)
{
	struct cache *c = open_cache(64 * 1024);
	struct slice event = test_text("{\"x\":1}");
	struct push_manifest m = {.to = {.events = &event, .n_events = 1}};
	struct hosting h = {.repo = "a", .events = &event, .n_events = 1};
	char *text = image_of(1, 2, NULL);
	struct outcome o = OUTCOME;

	CHECK(push_with(c, &m, "a", "v1", text).err == ERR_NOT_FOUND);
	CHECK(events_now(c) == 0);
	upload(c, "a", 1);
	upload(c, "a", 2);
	m = (struct push_manifest){.to = {.events = &event, .n_events = 1}};
	CHECK(push_with(c, &m, "a", "v1", text).err == ERR_OK);
	CHECK(events_now(c) == 1);
	cache_delete_tag(c, &h, "v1", came_out, &o);
	CHECK(result_of(&o).err == ERR_OK);
	CHECK(events_now(c) == 2);
	expect_sound(c);
	free(text);
	close_cache(&c);
}

/* ---- mounting ---- */

static bool only_b(void *arg UNUSED, const char *name)
{
	return strcmp(name, "b") == 0;
}

static void a_mount_needs_a_link_to_come_from(void)
{
	struct cache *c = open_cache(64 * 1024);
	struct digest dg = upload(c, "a", 1), cold = blob_digest(9);
	struct mount_ask ask = {
	    .to = {.repo = "d", .claims = true}, .dg = dg, .readable = only_b};
	struct outcome refused = OUTCOME, o = OUTCOME;

	CHECK(mount(c, "b", "", "nowhere", &dg).err == ERR_NOT_FOUND);
	CHECK(!claimed(c, "b"));
	CHECK(mount(c, "b", "", "a", &cold).err == ERR_NOT_FOUND);
	CHECK(mount(c, "b", HOST, "a", &dg).err == ERR_NOT_FOUND);
	cache_mount_blob(c, &ask, came_out, &refused);
	CHECK(result_of(&refused).err == ERR_NOT_FOUND);
	CHECK(mount(c, "b", "", "a", &dg).claimed);
	CHECK(has_blob(c, "b", &dg));
	cache_mount_blob(c, &ask, came_out, &o);
	CHECK(result_of(&o).err == ERR_OK && has_blob(c, "d", &dg));
	CHECK(mount(c, "e", NULL, NULL, &dg).err == ERR_OK);
	CHECK(mount(c, "e", "", "nowhere", &dg).err == ERR_OK); /* has it */
	cold = fetch_blob(c, "app", 9, false);
	CHECK(mount(c, "b", HOST, "app", &cold).err == ERR_OK);
	CHECK(mount(c, "e", NULL, NULL, &cold).err == ERR_OK);
	expect_sound(c);
	close_cache(&c);
}

static void hosted_and_mirrored_links_are_apart(void)
{
	struct cache *c = open_cache(64 * 1024);
	struct digest dg = upload(c, "a", 2),
		      other = fetch_blob(c, "a", 3, true);
	char *text = image_of(1, 2, NULL);
	struct lookup found;
	struct index_txn *txn;
	uint64_t id;

	CHECK(!has_blob(c, "a", &other));
	CHECK(mount(c, "b", NULL, NULL, &other).err == ERR_NOT_FOUND);
	store(c, "a", "v1", text, true); /* the mirror's names the layer */
	txn = index_read(c->index);
	CHECK(repo_id(txn, HOST, "a", &id) == ERR_OK);
	CHECK(cache_lookup_blob(txn, id, &dg, &found) == ERR_OK);
	CHECK(found.may == MAY_ASK && found.stored);
	index_read_end(txn);
	expect_sound(c);
	free(text);
	close_cache(&c);
}

/* ---- deleting ---- */

static void what_a_manifest_names_is_not_deleted(void)
{
	struct cache *c = open_cache(64 * 1024);
	struct digest image = push_image(c, "a", "v1", 1, 2), index;
	struct digest layer = blob_digest(2),
		      subject = push_image(c, "a", NULL, 3, 4);
	char *multi = index_of(&image, IMAGE_TYPE);
	char *about = image_of(1, 2, &subject);
	struct hosted_result res = remove_blob(c, "a", &layer);

	CHECK(res.err == ERR_BUSY && digest_equal(&res.dg, &image));
	CHECK(strstr(res.why.text, "names this blob") != NULL);
	CHECK(push(c, "a", "multi", multi).err == ERR_OK);
	index = text_digest(multi);
	res = remove_manifest(c, "a", &image);
	CHECK(res.err == ERR_BUSY && digest_equal(&res.dg, &index));
	CHECK(remove_manifest(c, "a", &layer).err == ERR_NOT_FOUND);
	CHECK(remove_blob(c, "a", &image).err == ERR_NOT_FOUND);
	CHECK(remove_blob(c, "nowhere", &layer).err == ERR_NOT_FOUND);
	/* Elsewhere nobody names it. */
	CHECK(mount(c, "b", "", "a", &layer).err == ERR_OK);
	CHECK(remove_blob(c, "b", &layer).err == ERR_OK);
	CHECK(!has_blob(c, "b", &layer) && has_blob(c, "a", &layer));
	/* A subject is named, and may go. */
	CHECK(push(c, "a", NULL, about).err == ERR_OK);
	CHECK(remove_manifest(c, "a", &subject).err == ERR_OK);
	CHECK(remove_manifest(c, "a", &index).err == ERR_OK);
	CHECK(remove_manifest(c, "a", &image).err == ERR_OK);
	expect_sound(c);
	free(multi);
	free(about);
	close_cache(&c);
}

static bool count_referrer(void *arg, const struct digest *dg UNUSED,
			   struct slice descriptor UNUSED)
{
	++*(unsigned *)arg;
	return true;
}

static unsigned referrers_of(struct cache *c, const char *repo,
			     const struct digest *subject)
{
	struct index_txn *txn = index_read(c->index);
	unsigned n = 0;
	uint64_t id;

	CHECK(repo_id(txn, "", repo, &id) == ERR_OK);
	CHECK(referrer_walk(txn, id, subject, NULL, count_referrer, &n) ==
	      ERR_OK);
	index_read_end(txn);
	return n;
}

static void a_deleted_manifest_takes_its_tags_along(void)
{
	struct cache *c = open_cache(64 * 1024);
	struct digest subject = blob_digest(99), dg;
	char *about = image_of(1, 2, &subject);
	struct digest other = push_image(c, "a", "other", 1, 2);

	dg = text_digest(about);
	CHECK(push(c, "a", "v1", about).err == ERR_OK);
	CHECK(push(c, "a", "v2", about).err == ERR_OK);
	CHECK(push(c, "a", "v3", about).err == ERR_OK);
	CHECK(referrers_of(c, "a", &subject) == 1);
	CHECK(remove_tag(c, "a", "v3").err == ERR_OK);
	CHECK(remove_tag(c, "a", "v3").err == ERR_NOT_FOUND);
	CHECK(has_manifest(c, "a", &dg));
	CHECK(remove_manifest(c, "a", &dg).err == ERR_OK);
	CHECK(!has_manifest(c, "a", &dg));
	CHECK(!tag_digest(c, "a", "v1").alg && !tag_digest(c, "a", "v2").alg);
	CHECK(referrers_of(c, "a", &subject) == 0);
	CHECK(has_manifest(c, "a", &other));
	CHECK(tag_digest(c, "a", "other").alg);
	CHECK(remove_manifest(c, "a", &dg).err == ERR_NOT_FOUND);
	expect_sound(c);
	free(about);
	close_cache(&c);
}

#define MANY_TAGS 1000

struct many_tags {
	struct index_op op;
	struct digest dg;
};

static enum err tag_many(struct index_txn *txn, struct index_op *op)
{
	struct many_tags *m = container_of(op, struct many_tags, op);
	uint64_t repo;
	char tag[32];

	CHECK(hosted_repo(txn, "a", &repo) == ERR_OK);
	for (unsigned i = 0; i < MANY_TAGS; i++) {
		snprintf(tag, sizeof(tag), "%05u", i);
		hosted_put_tag(txn, "a", repo, tag, &m->dg, 1000);
	}
	return ERR_OK;
}

/* The writer's turns are short, and a frame of the journal has an end. */
static void very_many_tags_go_in_several_commits(void)
{
	struct cache *c = open_cache(64 * 1024);
	struct many_tags m = {.op = {.apply = tag_many}};
	struct index_stats before, after;

	m.dg = push_image(c, "a", "v1", 1, 2);
	CHECK(index_submit_wait(c->index, &m.op) == ERR_OK);
	CHECK(tag_digest(c, "a", "00999").alg);
	index_stats(c->index, &before);
	CHECK(remove_manifest(c, "a", &m.dg).err == ERR_OK);
	index_stats(c->index, &after);
	CHECK(after.commits - before.commits >= MANY_TAGS / 256);
	CHECK(!has_manifest(c, "a", &m.dg));
	CHECK(!tag_digest(c, "a", "v1").alg);
	CHECK(!tag_digest(c, "a", "00000").alg);
	CHECK(!tag_digest(c, "a", "00999").alg);
	expect_sound(c);
	close_cache(&c);
}

static void a_claim_is_released_once_nothing_is_held(void)
{
	struct cache *c = open_cache(64 * 1024);
	struct digest dg = upload(c, "a", 1);
	struct outcome held = OUTCOME, o = OUTCOME, again = OUTCOME;

	cache_release_repo(c, "a", came_out, &held);
	CHECK(result_of(&held).err == ERR_BUSY);
	CHECK(strstr(held.res.why.text, "1 blob that no manifest names") !=
	      NULL);
	CHECK(remove_blob(c, "a", &dg).err == ERR_OK);
	cache_release_repo(c, "a", came_out, &o);
	CHECK(result_of(&o).err == ERR_OK && !claimed(c, "a"));
	cache_release_repo(c, "a", came_out, &again);
	CHECK(result_of(&again).err == ERR_NOT_FOUND);
	CHECK(mount(c, "a", NULL, NULL, &dg).err == ERR_NOT_FOUND);
	upload(c, "a", 1);
	CHECK(claimed(c, "a"));
	expect_sound(c);
	close_cache(&c);
}

/* ---- collecting ---- */

static void what_nobody_needs_is_collected(void)
{
	struct cache *c = open_cache(64 * 1024);
	struct digest keep = push_image(c, "a", "keep", 1, 2);
	struct digest gone = push_image(c, "a", "gone", 1, 3);
	struct digest shared = blob_digest(1), layer = blob_digest(3);
	struct digest lost = upload(c, "a", 4);
	struct digest fresh;

	CHECK(remove_manifest(c, "a", &gone).err == ERR_OK);
	cache_set_grace(c, 3600 * 1000);
	CHECK(!cache_collect_step(c)); /* within grace, and just started */
	CHECK(has_rows(c, &gone) && has_blob(c, "a", &layer));
	collect_all(c);
	CHECK(!has_rows(c, &gone) && !has_file(c, &gone));
	CHECK(!has_rows(c, &layer) && !has_file(c, &layer));
	CHECK(!has_blob(c, "a", &layer));
	CHECK(!has_rows(c, &lost) && !has_file(c, &lost));
	CHECK(has_blob(c, "a", &shared) && has_file(c, &shared));
	CHECK(has_manifest(c, "a", &keep) && has_file(c, &keep));
	expect_sound(c);
	fresh = push_image(c, "a", "gone", 1, 3); /* all of it again */
	CHECK(digest_equal(&fresh, &gone));
	collect_all(c);
	CHECK(has_manifest(c, "a", &gone) && has_blob(c, "a", &layer));
	expect_sound(c);
	close_cache(&c);
}

static void another_repository_keeps_what_it_links(void)
{
	struct cache *c = open_cache(64 * 1024);
	struct digest a = push_image(c, "a", "v1", 1, 2),
		      layer = blob_digest(2);

	push_image(c, "b", "v1", 1, 2);
	CHECK(remove_manifest(c, "a", &a).err == ERR_OK);
	collect_all(c);
	CHECK(!has_blob(c, "a", &layer)); /* its link had no reason any more */
	CHECK(has_manifest(c, "b", &a) && has_blob(c, "b", &layer));
	expect_sound(c);
	CHECK(remove_manifest(c, "b", &a).err == ERR_OK);
	collect_all(c);
	CHECK(!has_rows(c, &a) && !has_rows(c, &layer));
	expect_sound(c);
	close_cache(&c);
}

static void what_a_mirror_needs_stays_and_is_the_mirrors(void)
{
	struct cache *c = open_cache(64 * 1024);
	struct digest image = push_image(c, "a", "v1", 1, 2);
	struct digest layer = blob_digest(2), config = blob_digest(1);
	char *text = image_of(1, 2, NULL);
	struct index_txn *txn;

	fetch_blob(c, "app", 1, true);
	store(c, "app", "v1", text, true);
	CHECK(remove_manifest(c, "a", &image).err == ERR_OK);
	collect_all(c);
	CHECK(!has_manifest(c, "a", &image) && !has_blob(c, "a", &layer));
	txn = index_read(c->index);
	CHECK(recency_has(txn, &layer) && recency_has(txn, &config) &&
	      recency_has(txn, &image));
	index_read_end(txn);
	CHECK(has_file(c, &layer) && has_file(c, &config));
	expect_sound(c);
	free(text);
	close_cache(&c);
}

static void who_was_told_of_a_blob_finds_it(void)
{
	struct cache *c = open_cache(64 * 1024);
	struct digest dg = upload(c, "a", 1);

	CHECK(remove_blob(c, "a", &dg).err == ERR_OK);
	upload(c, "a", 1);
	usleep(2200 * 1000);
	cache_set_grace(c, 2000); /* the rows are old, and no start is near */
	lease_take(c->leases, &dg);
	cache_collect_step(c);
	CHECK(has_blob(c, "a", &dg) && has_file(c, &dg));
	collect_all(c);
	CHECK(!has_blob(c, "a", &dg) && !has_file(c, &dg));
	expect_sound(c);
	close_cache(&c);
}

static void note_rebuilt(void *arg UNUSED, const char *finding)
{
	fprintf(stderr, "rebuild: %s\n", finding);
	CHECK(false);
}

static void an_orphan_is_found_again_after_a_lost_index(void)
{
	struct cache *c = open_cache(64 * 1024);
	struct digest image = push_image(c, "a", "v1", 1, 2);
	struct digest lost = upload(c, "a", 3);
	char *data = test_path("data");
	struct cache_options opt = {.data = data, .max_inline_bytes = 1024};
	struct why why = {""};

	cache_close(&c);
	CHECK(cache_rebuild(&opt, true, NULL, note_rebuilt, NULL, &why) ==
	      ERR_OK);
	CHECK_STR(why.text, "");
	CHECK(cache_open(&opt, &c, &why) == ERR_OK);
	CHECK(has_blob(c, "a", &lost));
	collect_all(c);
	CHECK(!has_blob(c, "a", &lost));
	CHECK(has_manifest(c, "a", &image));
	CHECK(tag_digest(c, "a", "v1").alg);
	expect_sound(c);
	free(data);
	close_cache(&c);
}

/* More children than a manifest's row keeps; and so more than fit into one
 * commit. */
static void a_manifest_of_very_many_goes_whole(void)
{
	enum { N = CHILDREN_MAX + 200 };
	struct cache *c = open_cache(64 * 1024);
	struct digest config = upload(c, "a", 0), dg, last = {0};
	char *cd = descriptor(CONFIG_TYPE, &config, ""), *text;
	size_t room = N * 256, used;

	text = xmalloc(room);
	used = (size_t)snprintf(text, room,
				"{\"schemaVersion\":2,\"mediaType\":\"%s\","
				"\"config\":%s,\"layers\":[",
				IMAGE_TYPE, cd);
	for (unsigned i = 1; i <= N; i++) {
		char *ld;

		last = blob_digest(i % 50);
		if (i > N - 5)
			last = upload(c, "a", i);
		else if (i < 50)
			upload(c, "a", i);
		ld = descriptor(LAYER_TYPE, &last, "");
		used += (size_t)snprintf(text + used, room - used, "%s%s",
					 i > 1 ? "," : "", ld);
		free(ld);
	}
	snprintf(text + used, room - used, "]}");
	CHECK(push(c, "a", "v1", text).err == ERR_OK);
	dg = text_digest(text);
	expect_sound(c);
	CHECK(remove_manifest(c, "a", &dg).err == ERR_OK);
	collect_all(c);
	CHECK(!has_rows(c, &dg) && !has_rows(c, &config));
	CHECK(!has_rows(c, &last) && !has_file(c, &last));
	expect_sound(c);
	free(cd);
	free(text);
	close_cache(&c);
}

/* An index of `n` entries that nobody has.  The caller frees it. */
static char *index_of_many(unsigned n)
{
	size_t room = (size_t)n * 200 + 200, used;
	char *text = xmalloc(room);

	used = (size_t)snprintf(text, room,
				"{\"schemaVersion\":2,\"mediaType\":\"%s\","
				"\"manifests\":[",
				INDEX_TYPE);
	for (unsigned i = 1; i <= n; i++) {
		struct digest dg = blob_digest(i);
		char *d = descriptor(IMAGE_TYPE, &dg, "");

		used += (size_t)snprintf(text + used, room - used, "%s%s",
					 i > 1 ? "," : "", d);
		free(d);
	}
	snprintf(text + used, room - used, "]}");
	return text;
}

static uint64_t rows_of(struct cache *c, enum index_table table)
{
	struct index_stats stats;

	index_stats(c->index, &stats);
	return stats.rows[table];
}

static uint64_t commits_of(struct cache *c)
{
	struct index_stats stats;

	index_stats(c->index, &stats);
	return stats.commits;
}

/* The writer's turns are short. */
static void an_index_of_very_many_comes_in_several_commits(void)
{
	enum { N = 2000, COMMITS = N / 256 };
	struct cache *c = open_cache(64 * 1024);
	char *text = index_of_many(N);
	struct digest dg = text_digest(text);
	uint64_t before = commits_of(c);

	CHECK(push(c, "a", "v1", text).err == ERR_OK);
	CHECK(commits_of(c) - before >= COMMITS);
	CHECK(rows_of(c, TABLE_EDGE) == N);
	CHECK(has_manifest(c, "a", &dg) && tag_digest(c, "a", "v1").alg);
	collect_all(c);
	CHECK(has_manifest(c, "a", &dg) && rows_of(c, TABLE_EDGE) == N);
	expect_sound(c);
	CHECK(remove_manifest(c, "a", &dg).err == ERR_OK);
	collect_all(c);
	CHECK(!has_rows(c, &dg) && !has_file(c, &dg));
	CHECK(rows_of(c, TABLE_EDGE) == 0);
	expect_sound(c);
	/* A mirror's likewise. */
	before = commits_of(c);
	store(c, "app", "v1", text, true);
	CHECK(commits_of(c) - before >= COMMITS);
	CHECK(rows_of(c, TABLE_EDGE) == N);
	collect_all(c);
	CHECK(rows_of(c, TABLE_EDGE) == N && has_file(c, &dg));
	expect_sound(c);
	free(text);
	close_cache(&c);
}

/* Its commits have come to the row and some edges when it is cut off. */
static void what_was_put_ahead_is_collected(void)
{
	struct cache *c = open_cache(64 * 1024);
	char *text = index_of_many(600);
	struct digest dg = text_digest(text);
	struct manifest_source src = {
	    .dg = &dg,
	    .media_type = INDEX_TYPE,
	    .bytes = text,
	    .len = strlen(text),
	    .always_file = true,
	};
	struct manifest_facts facts;
	struct manifest_rows rows;
	struct why why = {""};

	CHECK(manifest_parse(text, src.len, src.len, NULL, &facts, &why) ==
	      ERR_OK);
	src.facts = &facts;
	CHECK(store_small_file(c, &dg, text, src.len, &why) == ERR_OK);
	manifest_rows_init(&rows, &src);
	CHECK(manifest_rows_put_ahead(c, &rows, 1, false) == ERR_OK);
	CHECK(rows.n_ahead == 512 && rows_of(c, TABLE_EDGE) == 512);
	expect_sound(c);
	collect_all(c);
	CHECK(!has_rows(c, &dg) && !has_file(c, &dg));
	CHECK(rows_of(c, TABLE_EDGE) == 0);
	expect_sound(c);
	manifest_rows_release(&rows);
	manifest_facts_release(&facts);
	free(text);
	close_cache(&c);
}

/* ---- purging ---- */

static struct hosted_result purge(struct cache *c, bool manifest,
				  const char *name, const struct digest *dg)
{
	struct hosting h = {.repo = name};
	struct outcome o = OUTCOME;

	if (manifest)
		cache_purge_manifest(c, HOST, &h, dg, came_out, &o);
	else
		cache_purge_blob(c, HOST, &h, dg, came_out, &o);
	return result_of(&o);
}

static struct tag_row mirror_tag(struct cache *c, const char *name,
				 const char *tag)
{
	struct index_txn *txn = index_read(c->index);
	struct tag_row row = {0};
	uint64_t id;

	if (repo_id(txn, HOST, name, &id) != ERR_OK ||
	    tag_get(txn, id, tag, strlen(tag), &row) != ERR_OK)
		memset(&row, 0, sizeof(row));
	index_read_end(txn);
	return row;
}

static void a_purge_takes_the_mirrors_copy(void)
{
	struct cache *c = open_cache(64 * 1024);
	char *old = image_of(1, 2, NULL), *new = image_of(1, 3, NULL);
	struct digest first = store(c, "app", "v1", old, true);
	struct digest second = store(c, "app", "v1", new, true);
	struct digest layer = fetch_blob(c, "app", 2, true);
	struct outcome o = OUTCOME, again = OUTCOME;
	struct hosting h = {.repo = "app"};
	struct tag_row row;

	store(c, "twin", "v1", new, true);
	CHECK(purge(c, true, "other", &second).err == ERR_NOT_FOUND);
	CHECK(purge(c, true, "app", &second).err == ERR_OK);
	CHECK(!has_rows(c, &second));
	row = mirror_tag(c, "app", "v1"); /* to be checked at once */
	CHECK(digest_equal(&row.held[0], &first) && !row.held[1].alg &&
	      !row.checked_ms);
	CHECK(!mirror_tag(c, "twin", "v1").held[0].alg);
	CHECK(purge(c, true, "app", &second).err == ERR_NOT_FOUND);
	CHECK(purge(c, false, "app", &layer).err == ERR_OK);
	CHECK(!has_rows(c, &layer) && !has_file(c, &layer));
	CHECK(purge(c, false, "app", &layer).err == ERR_NOT_FOUND);
	cache_purge_tag(c, HOST, &h, "v1", came_out, &o);
	CHECK(result_of(&o).err == ERR_OK);
	CHECK(!mirror_tag(c, "app", "v1").held[0].alg);
	cache_purge_tag(c, HOST, &h, "v1", came_out, &again);
	CHECK(result_of(&again).err == ERR_NOT_FOUND);
	expect_sound(c);
	free(old);
	free(new);
	close_cache(&c);
}

#define MANY_TWINS 300

static enum err tag_many_mirrored(struct index_txn *txn, struct index_op *op)
{
	struct many_tags *m = container_of(op, struct many_tags, op);
	struct tag_row row = {.held = {m->dg}, .seen = m->dg, .fetched_s = 1};
	struct link_row link = {.kind = LINK_MANIFEST, .created_s = 1};
	struct repo_row repo;
	char name[32];

	link.media_type = slice_of(IMAGE_TYPE, strlen(IMAGE_TYPE));
	for (unsigned i = 0; i < MANY_TWINS; i++) {
		snprintf(name, sizeof(name), "twin/%05u", i);
		CHECK(repo_ensure(txn, HOST, name, REPO_MIRROR, 1, &repo) ==
		      ERR_OK);
		link_put(txn, repo.id, &m->dg, &link);
		tag_put(txn, repo.id, "v1", 2, &row);
	}
	CHECK(repo_ensure(txn, HOST, "app", REPO_MIRROR, 1, &repo) == ERR_OK);
	for (unsigned i = 0; i < MANY_TAGS; i++) {
		snprintf(name, sizeof(name), "%05u", i);
		tag_put(txn, repo.id, name, strlen(name), &row);
	}
	return ERR_OK;
}

/* The writer's turns are short. */
static void a_purge_of_very_many_goes_in_several_commits(void)
{
	struct cache *c = open_cache(64 * 1024);
	char *text = image_of(1, 2, NULL);
	struct many_tags m = {.op = {.apply = tag_many_mirrored}};
	struct index_stats before, after;

	m.dg = store(c, "app", "v1", text, true);
	CHECK(index_submit_wait(c->index, &m.op) == ERR_OK);
	CHECK(mirror_tag(c, "app", "00999").held[0].alg);
	CHECK(mirror_tag(c, "twin/00299", "v1").held[0].alg);
	index_stats(c->index, &before);
	CHECK(purge(c, true, "app", &m.dg).err == ERR_OK);
	index_stats(c->index, &after);
	/* Each twin is a tag and a link. */
	CHECK(after.commits - before.commits >=
	      (MANY_TAGS + 2 * MANY_TWINS) / 50);
	CHECK(!has_rows(c, &m.dg));
	CHECK(!mirror_tag(c, "app", "v1").held[0].alg);
	CHECK(!mirror_tag(c, "app", "00000").held[0].alg);
	CHECK(!mirror_tag(c, "app", "00999").held[0].alg);
	CHECK(!mirror_tag(c, "twin/00000", "v1").held[0].alg);
	CHECK(!mirror_tag(c, "twin/00299", "v1").held[0].alg);
	index_stats(c->index, &after);
	CHECK(after.rows[TABLE_TAG] == 0 && after.rows[TABLE_TAG_OF] == 0);
	CHECK(after.rows[TABLE_LINK] == 0 && after.rows[TABLE_HOLDER] == 0);
	expect_sound(c);
	free(text);
	close_cache(&c);
}

static uint64_t events(struct cache *c)
{
	struct index_txn *txn = index_read(c->index);
	uint64_t n = event_count(txn);

	index_read_end(txn);
	return n;
}

static void a_purge_is_told_of_in_its_commit(void)
{
	static const struct slice event = {(const uint8_t *)"{}", 2};
	struct hosting h = {.repo = "app", .events = &event, .n_events = 1};
	struct cache *c = open_cache(64 * 1024);
	char *text = image_of(1, 2, NULL);
	struct digest dg = store(c, "app", "v1", text, true);
	struct digest layer = fetch_blob(c, "app", 2, true);

	for (uint64_t i = 0; i < 2; i++) { /* again, it is not there */
		struct outcome tag = OUTCOME, blob = OUTCOME, image = OUTCOME;

		cache_purge_tag(c, HOST, &h, "v1", came_out, &tag);
		CHECK((result_of(&tag).err == ERR_OK) == (i == 0));
		CHECK(events(c) == (i ? 3 : 1));
		cache_purge_blob(c, HOST, &h, &layer, came_out, &blob);
		CHECK((result_of(&blob).err == ERR_OK) == (i == 0));
		CHECK(events(c) == (i ? 3 : 2));
		cache_purge_manifest(c, HOST, &h, &dg, came_out, &image);
		CHECK((result_of(&image).err == ERR_OK) == (i == 0));
		CHECK(events(c) == 3);
	}
	expect_sound(c);
	free(text);
	close_cache(&c);
}

static void a_purge_leaves_hosted_content_alone(void)
{
	struct cache *c = open_cache(64 * 1024);
	struct digest image = push_image(c, "a", "v1", 1, 2);
	struct digest layer = blob_digest(2);
	char *text = image_of(1, 2, NULL);
	struct index_txn *txn;
	struct link_row link;
	uint64_t id;

	store(c, "app", "v1", text, true);
	fetch_blob(c, "app", 2, true);
	CHECK(purge(c, true, "app", &image).err == ERR_OK);
	CHECK(purge(c, false, "app", &layer).err == ERR_OK);
	CHECK(has_manifest(c, "a", &image) && has_blob(c, "a", &layer));
	CHECK(has_file(c, &image) && has_file(c, &layer));
	txn = index_read(c->index);
	CHECK(repo_id(txn, HOST, "app", &id) == ERR_OK);
	CHECK(link_get(txn, id, &image, &link) == ERR_NOT_FOUND);
	CHECK(link_get(txn, id, &layer, &link) == ERR_NOT_FOUND);
	index_read_end(txn);
	expect_sound(c);
	free(text);
	close_cache(&c);
}

static void a_purge_leaves_what_is_leased(void)
{
	struct cache *c = open_cache(64 * 1024);
	struct digest layer = fetch_blob(c, "app", 2, true);

	cache_set_grace(c, 3600 * 1000);
	lease_take(c->leases, &layer);
	CHECK(purge(c, false, "app", &layer).err == ERR_OK);
	CHECK(has_file(c, &layer));
	/* That we have just started protects nothing from being purged. */
	layer = fetch_blob(c, "app", 3, true);
	CHECK(purge(c, false, "app", &layer).err == ERR_OK);
	CHECK(!has_file(c, &layer));
	expect_sound(c);
	close_cache(&c);
}

/* ---- what went wrong on disk ---- */

static void the_record_of_a_bad_hosted_blob_stays(void)
{
	struct cache *c = open_cache(64 * 1024);
	struct digest image = push_image(c, "a", "v1", 1, 2);
	struct digest layer = blob_digest(2);
	char path[PATH_LEN_MAX];
	struct why why = {""};

	CHECK(cache_drop_blob(c, &layer, &why) == ERR_BUSY);
	CHECK(unlinkat(c->data_fd, blob_path(&layer, path), 0) == 0);
	CHECK(cache_drop_blob(c, &layer, &why) == ERR_BUSY);
	CHECK(has_blob(c, "a", &layer) && has_manifest(c, "a", &image));
	upload(c, "a", 2); /* and who has the bytes repairs it */
	CHECK(has_file(c, &layer));
	expect_sound(c);
	close_cache(&c);
}

/* ---- those that hold anything ---- */

/* "host/name host/name " in the order of a list; and how many rows a list has
 * to step over in all. */
static char *held(struct cache *c, char *out, size_t size)
{
	static const char *const hosts[] = {"", HOST};
	struct index_txn *txn = index_read(c->index);
	size_t used = 0;
	uint64_t id, n = 0;

	*out = '\0';
	for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
		char name[REPO_NAME_MAX + 1] = "";

		for (; repo_next_held(txn, hosts[i], name, name, &id) == ERR_OK;
		     n++)
			used += (size_t)snprintf(out + used, size - used,
						 "%s/%s ", hosts[i], name);
	}
	CHECK(index_rows(txn, TABLE_REPO_HELD) == n);
	index_read_end(txn);
	return out;
}

static void lists_step_over_no_empty_repository(void)
{
	struct cache *c = open_cache(64 * 1024);
	struct digest dg, image;
	char name[16], text[256];

	for (unsigned i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "empty/%u", i);
		dg = upload(c, name, 1);
		CHECK(remove_blob(c, name, &dg).err == ERR_OK);
		CHECK(claimed(c, name));
	}
	CHECK_STR(held(c, text, sizeof(text)), "");
	image = push_image(c, "full", "v1", 1, 2);
	dg = fetch_blob(c, "app", 3, true);
	CHECK_STR(held(c, text, sizeof(text)), "/full " HOST "/app ");
	expect_sound(c);
	upload(c, "empty/7", 1);
	CHECK(purge(c, false, "app", &dg).err == ERR_OK);
	CHECK_STR(held(c, text, sizeof(text)), "/empty/7 /full ");
	CHECK(remove_manifest(c, "full", &image).err == ERR_OK);
	CHECK_STR(held(c, text, sizeof(text)), "/empty/7 /full ");
	collect_all(c);
	CHECK_STR(held(c, text, sizeof(text)), "");
	expect_sound(c);
	close_cache(&c);
}

struct old_index {
	const char *hosts[2], *names[2];
};

/* As version 2 had it: without the table. */
static enum err make_old(struct index_txn *txn, void *arg)
{
	const struct old_index *old = arg;
	uint8_t version[4] = {0, 0, 0, 2};
	struct key k;

	for (size_t i = 0; i < ARRAY_LEN(old->names); i++) {
		key_start(&k);
		key_bytes(&k, old->hosts[i], strlen(old->hosts[i]) + 1);
		key_bytes(&k, old->names[i], strlen(old->names[i]));
		index_del(txn, TABLE_REPO_HELD, key_slice(&k));
	}
	index_put(txn, TABLE_META, test_text("version"),
		  slice_of(version, sizeof(version)));
	return ERR_OK;
}

static void an_index_that_knew_none_of_them_finds_them(void)
{
	struct old_index old = {{"", HOST}, {"full", "app"}};
	struct cache *c = open_cache(64 * 1024);
	char *data = test_path("data");
	struct cache_options opt = {.data = data, .max_inline_bytes = 1024};
	struct why why = {""};
	struct digest dg = upload(c, "empty", 1);
	char text[256];

	CHECK(remove_blob(c, "empty", &dg).err == ERR_OK);
	push_image(c, "full", "v1", 1, 2);
	fetch_blob(c, "app", 3, true);
	CHECK(test_write(c->index, make_old, &old) == ERR_OK);
	CHECK_STR(held(c, text, sizeof(text)), "");
	for (int i = 0; i < 2; i++) { /* and they stay */
		cache_close(&c);
		CHECK(cache_open(&opt, &c, &why) == ERR_OK);
		CHECK_STR(held(c, text, sizeof(text)), "/full " HOST "/app ");
	}
	expect_sound(c);
	free(data);
	close_cache(&c);
}

int main(void)
{
	RUN(a_push_needs_its_blobs);
	RUN(tags_move_whole_unless_they_may_not);
	RUN(a_shadow_lends_what_it_may_serve);
	RUN(an_index_requires_nothing_and_gives_nothing);
	RUN(sparse_and_foreign_contents_may_be_missing);
	RUN(another_type_takes_no_children_away);
	RUN(events_go_with_the_change);
	RUN(a_mount_needs_a_link_to_come_from);
	RUN(hosted_and_mirrored_links_are_apart);
	RUN(what_a_manifest_names_is_not_deleted);
	RUN(a_deleted_manifest_takes_its_tags_along);
	RUN(very_many_tags_go_in_several_commits);
	RUN(a_claim_is_released_once_nothing_is_held);
	RUN(what_nobody_needs_is_collected);
	RUN(another_repository_keeps_what_it_links);
	RUN(what_a_mirror_needs_stays_and_is_the_mirrors);
	RUN(who_was_told_of_a_blob_finds_it);
	RUN(an_orphan_is_found_again_after_a_lost_index);
	RUN(a_manifest_of_very_many_goes_whole);
	RUN(an_index_of_very_many_comes_in_several_commits);
	RUN(what_was_put_ahead_is_collected);
	RUN(a_purge_takes_the_mirrors_copy);
	RUN(a_purge_of_very_many_goes_in_several_commits);
	RUN(a_purge_is_told_of_in_its_commit);
	RUN(a_purge_leaves_hosted_content_alone);
	RUN(a_purge_leaves_what_is_leased);
	RUN(the_record_of_a_bad_hosted_blob_stays);
	RUN(lists_step_over_no_empty_repository);
	RUN(an_index_that_knew_none_of_them_finds_them);
	return unit_done();
}
