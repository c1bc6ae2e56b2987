/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HOSTED_HELP_H
#define TESTS_HOSTED_HELP_H
/*
 * For the tests of hosted content: blobs whose bytes are the text of a number,
 * images of two of them, and each change of cache/hosted.h as a call that
 * waits.
 */
#include "cache/event.h"
#include "cache/hosted_int.h"
#include "cache/partial.h"
#include "tests/unit/cache_help.h"

/* ---- answers ---- */

struct outcome {
	pthread_mutex_t mu;
	pthread_cond_t cond;
	bool there;
	struct hosted_result res;
};

#define OUTCOME                                                                \
	{                                                                      \
		.mu = PTHREAD_MUTEX_INITIALIZER,                               \
		.cond = PTHREAD_COND_INITIALIZER                               \
	}

static UNUSED void came_out(void *arg, const struct hosted_result *res)
{
	struct outcome *o = arg;

	pthread_mutex_lock(&o->mu);
	o->res = *res;
	o->there = true;
	pthread_cond_signal(&o->cond);
	pthread_mutex_unlock(&o->mu);
}

static UNUSED struct hosted_result result_of(struct outcome *o)
{
	pthread_mutex_lock(&o->mu);
	while (!o->there)
		pthread_cond_wait(&o->cond, &o->mu);
	pthread_mutex_unlock(&o->mu);
	CHECK((o->res.err == ERR_OK) == (o->res.why.text[0] == '\0'));
	return o->res;
}

/* ---- blobs ---- */

static UNUSED size_t blob_text(unsigned n, char *out)
{
	return (size_t)snprintf(out, 32, "blob %u", n);
}

static UNUSED struct digest blob_digest(unsigned n)
{
	char text[32];
	size_t len = blob_text(n, text);
	struct digest dg;

	digest_of(DIGEST_SHA256, text, len, &dg);
	return dg;
}

/* What the end of an upload commits. */
struct test_upload {
	struct index_op op;
	struct cache *c;
	const char *repo;
	struct digest dg;
	size_t len;
};

static UNUSED enum err upload_apply(struct index_txn *txn, struct index_op *op)
{
	struct test_upload *u = container_of(op, struct test_upload, op);
	struct blob_row row = {.size = u->len, .created_s = 1, .verified_s = 1};
	struct blob_row old;
	uint64_t repo;
	bool claimed;
	enum err err =
	    hosted_ensure_repo(txn, u->repo, true, wall_s(), &repo, &claimed);

	if (err != ERR_OK)
		return err;
	if (blob_get(txn, &u->dg, &old) != ERR_OK)
		blob_put(txn, &u->dg, &row);
	hosted_link_blob(txn, u->repo, repo, &u->dg, wall_s());
	lease_take(u->c->leases, &u->dg);
	return ERR_OK;
}

static UNUSED enum err upload_commit(void *arg, struct why *why UNUSED)
{
	struct test_upload *u = arg;

	return index_submit_wait(u->c->index, &u->op);
}

static UNUSED enum err try_upload(struct cache *c, const char *repo, unsigned n)
{
	struct test_upload u = {
	    .op = {.apply = upload_apply}, .c = c, .repo = repo};
	struct why why = {""};
	char text[32];

	u.len = blob_text(n, text);
	u.dg = blob_digest(n);
	return store_file_with(c, &u.dg, text, u.len, upload_commit, &u, &why);
}

/* Upload blob `n` to a hosted repository; its digest. */
static UNUSED struct digest upload(struct cache *c, const char *repo,
				   unsigned n)
{
	CHECK(try_upload(c, repo, n) == ERR_OK);
	return blob_digest(n);
}

/* Have a mirror's flight bring it. */
static UNUSED struct digest fetch_blob(struct cache *c, const char *name,
				       unsigned n, bool public_yes)
{
	struct publish_repo repo = {HOST, name, public_yes};
	struct digest dg = blob_digest(n);
	struct partial *p;
	struct why why = {""};
	char text[32];
	size_t len = blob_text(n, text);
	bool more = true;

	CHECK(partial_open(c, &dg, HOST, &p, &why) == ERR_OK);
	CHECK(partial_set_size(p, len, &why) == ERR_OK);
	CHECK(partial_write(p, 0, text, len, &why) == ERR_OK);
	while (more)
		CHECK(partial_hash(p, 1 * MIB, &more, &why) == ERR_OK);
	CHECK(partial_publish(p, &repo, 1, &why) == ERR_OK);
	partial_close(&p);
	return dg;
}

/* ---- manifests ---- */

#define CONFIG_TYPE "application/vnd.oci.image.config.v1+json"
#define LAYER_TYPE "application/vnd.oci.image.layer.v1.tar+gzip"

static UNUSED char *descriptor(const char *type, const struct digest *dg,
			       const char *more)
{
	char text[DIGEST_TEXT_MAX];

	return xasprintf(
	    "{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":7%s}", type,
	    digest_text(dg, text), more);
}

/* An image of two blobs; with `subject`, about that one. */
static UNUSED char *image_of(unsigned config, unsigned layer,
			     const struct digest *subject)
{
	struct digest c = blob_digest(config), l = blob_digest(layer);
	char *cd = descriptor(CONFIG_TYPE, &c, "");
	char *ld = descriptor(LAYER_TYPE, &l, "");
	char *sd = subject ? descriptor(IMAGE_TYPE, subject, "") : NULL;
	char *text = xasprintf("{\"schemaVersion\":2,\"mediaType\":\"%s\","
			       "\"config\":%s,\"layers\":[%s]%s%s}",
			       IMAGE_TYPE, cd, ld, sd ? ",\"subject\":" : "",
			       sd ? sd : "");

	free(cd);
	free(ld);
	free(sd);
	return text;
}

static UNUSED char *index_of(const struct digest *a, const char *type)
{
	char *ad = descriptor(type, a, "");
	char *text = xasprintf("{\"schemaVersion\":2,\"mediaType\":\"%s\","
			       "\"manifests\":[%s]}",
			       INDEX_TYPE, ad);

	free(ad);
	return text;
}

static UNUSED struct digest text_digest(const char *text)
{
	struct digest dg;

	digest_of(DIGEST_SHA256, text, strlen(text), &dg);
	return dg;
}

/* A push by tag, or by digest only; what else it asks is in *m. */
static UNUSED struct hosted_result push_with(struct cache *c,
					     struct push_manifest *m,
					     const char *repo, const char *tag,
					     const char *text)
{
	struct outcome o = OUTCOME;
	struct manifest_facts facts;
	struct why why = {""};

	if (manifest_parse(text, strlen(text), strlen(text), m->media_type,
			   &facts, &why) != ERR_OK) {
		fprintf(stderr, "manifest_parse: %s\n", why.text);
		exit(1);
	}
	m->to.repo = repo;
	m->to.claims = true;
	m->dg = text_digest(text);
	m->media_type = facts.media_type;
	m->facts = &facts;
	m->bytes = text;
	m->len = strlen(text);
	m->tags = &tag;
	m->n_tags = tag ? 1 : 0;
	cache_push_manifest(c, m, came_out, &o);
	manifest_facts_release(&facts);
	return result_of(&o);
}

static UNUSED struct hosted_result push(struct cache *c, const char *repo,
					const char *tag, const char *text)
{
	struct push_manifest m = {0};

	return push_with(c, &m, repo, tag, text);
}

/* Blobs and manifest of one image; its digest. */
static UNUSED struct digest push_image(struct cache *c, const char *repo,
				       const char *tag, unsigned config,
				       unsigned layer)
{
	char *text = image_of(config, layer, NULL);
	struct digest dg = text_digest(text);

	upload(c, repo, config);
	upload(c, repo, layer);
	CHECK(push(c, repo, tag, text).err == ERR_OK);
	free(text);
	return dg;
}

/* ---- the other changes ---- */

static UNUSED struct hosted_result remove_tag(struct cache *c, const char *repo,
					      const char *tag)
{
	struct hosting h = {.repo = repo};
	struct outcome o = OUTCOME;

	cache_delete_tag(c, &h, tag, came_out, &o);
	return result_of(&o);
}

static UNUSED struct hosted_result remove_manifest(struct cache *c,
						   const char *repo,
						   const struct digest *dg)
{
	struct hosting h = {.repo = repo};
	struct outcome o = OUTCOME;

	cache_delete_manifest(c, &h, dg, came_out, &o);
	return result_of(&o);
}

static UNUSED struct hosted_result remove_blob(struct cache *c,
					       const char *repo,
					       const struct digest *dg)
{
	struct hosting h = {.repo = repo};
	struct outcome o = OUTCOME;

	cache_delete_blob(c, &h, dg, came_out, &o);
	return result_of(&o);
}

static UNUSED struct hosted_result mount(struct cache *c, const char *to,
					 const char *from_host,
					 const char *from,
					 const struct digest *dg)
{
	struct mount_ask ask = {
	    .to = {.repo = to, .claims = true},
	    .dg = *dg,
	    .from_host = from_host,
	    .from_name = from,
	};
	struct outcome o = OUTCOME;

	cache_mount_blob(c, &ask, came_out, &o);
	return result_of(&o);
}

/* Everything that is due, as if no grace were given. */
static UNUSED void collect_all(struct cache *c)
{
	cache_set_grace(c, 0);
	while (cache_collect_step(c))
		;
	while (cache_collect_step(c)) /* what the last ones led to */
		;
}

/* ---- questions ---- */

static UNUSED bool has_blob(struct cache *c, const char *repo,
			    const struct digest *dg)
{
	struct index_txn *txn = index_read(c->index);
	struct lookup found;
	uint64_t id;
	bool has = repo_id(txn, "", repo, &id) == ERR_OK &&
		   hosted_lookup_blob(txn, id, dg, &found) == ERR_OK;

	index_read_end(txn);
	return has;
}

static UNUSED bool has_manifest(struct cache *c, const char *repo,
				const struct digest *dg)
{
	struct index_txn *txn = index_read(c->index);
	struct lookup found;
	uint64_t id;
	bool has = repo_id(txn, "", repo, &id) == ERR_OK &&
		   hosted_lookup_manifest(txn, id, dg, &found) == ERR_OK;

	index_read_end(txn);
	return has;
}

/* The digest that a tag holds; alg 0 = no such tag. */
static UNUSED struct digest tag_digest(struct cache *c, const char *repo,
				       const char *tag)
{
	struct index_txn *txn = index_read(c->index);
	struct tag_row row = {0};
	uint64_t id;

	if (repo_id(txn, "", repo, &id) != ERR_OK ||
	    tag_get(txn, id, tag, strlen(tag), &row) != ERR_OK)
		memset(&row, 0, sizeof(row));
	index_read_end(txn);
	return row.held[0];
}

static UNUSED bool has_file(struct cache *c, const struct digest *dg)
{
	char path[PATH_LEN_MAX];

	return faccessat(c->data_fd, blob_path(dg, path), F_OK, 0) == 0;
}

static UNUSED bool has_rows(struct cache *c, const struct digest *dg)
{
	struct index_txn *txn = index_read(c->index);
	struct manifest_row manifest;
	struct blob_row blob;
	bool has = blob_get(txn, dg, &blob) != ERR_NOT_FOUND ||
		   manifest_get(txn, dg, &manifest) != ERR_NOT_FOUND;

	index_read_end(txn);
	return has;
}

static UNUSED void expect_sound(struct cache *c)
{
	settle(c);
	CHECK(check_cache(c, true) == 0);
	if (findings[0])
		fprintf(stderr, "%s", findings);
}

#endif
