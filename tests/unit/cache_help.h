/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CACHE_HELP_H
#define TESTS_CACHE_HELP_H
/*
 * For the tests of what is stored in a cache: one in a folder of its own,
 * manifests out of numbers, and waiting for what is answered elsewhere.
 */
#include "cache/cache_int.h"
#include "cache/manifest.h"
#include "tests/unit/index_help.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <pthread.h>

#define HOST "registry.example"
#define IMAGE_TYPE "application/vnd.oci.image.manifest.v1+json"
#define INDEX_TYPE "application/vnd.oci.image.index.v1+json"

static UNUSED void ignore_event(void *arg UNUSED, enum cache_event event UNUSED,
				const struct digest *dg UNUSED,
				const struct why *why UNUSED)
{
}

static UNUSED struct cache *open_cache(uint64_t max_inline_bytes)
{
	struct cache_options opt = {
	    .max_inline_bytes = max_inline_bytes,
	    .max_open_blobs = 16,
	    .event = ignore_event,
	};
	struct why why = {""};
	struct cache *c = NULL;
	char *data;

	test_dir_make();
	data = test_path("data");
	opt.data = data;
	if (cache_open(&opt, &c, &why) != ERR_OK) {
		fprintf(stderr, "cache_open: %s\n", why.text);
		exit(1);
	}
	free(data);
	return c;
}

static UNUSED void close_cache(struct cache **c)
{
	cache_close(c);
	test_dir_remove();
}

/* ---- answers from the writer thread ---- */

struct answer {
	pthread_mutex_t mu;
	pthread_cond_t cond;
	bool there;
	enum err err;
	struct why why;
};

#define ANSWER                                                                 \
	{                                                                      \
		.mu = PTHREAD_MUTEX_INITIALIZER,                               \
		.cond = PTHREAD_COND_INITIALIZER                               \
	}

static UNUSED void answered(void *arg, enum err err, const struct why *why)
{
	struct answer *a = arg;

	pthread_mutex_lock(&a->mu);
	a->err = err;
	a->why = *why;
	a->there = true;
	pthread_cond_signal(&a->cond);
	pthread_mutex_unlock(&a->mu);
}

static UNUSED enum err wait_for(struct answer *a)
{
	pthread_mutex_lock(&a->mu);
	while (!a->there)
		pthread_cond_wait(&a->cond, &a->mu);
	pthread_mutex_unlock(&a->mu);
	CHECK((a->err == ERR_OK) == (a->why.text[0] == '\0'));
	return a->err;
}

/* Wait until all that is queued, in the background too, is answered: this
 * goes behind it. */
static UNUSED enum err nothing(struct index_txn *txn UNUSED, void *arg UNUSED)
{
	return ERR_OK;
}

static UNUSED void settle(struct cache *c)
{
	struct test_op t = {.op = {.apply = test_op_apply, .background = true},
			    .fn = nothing};

	CHECK(index_submit_wait(c->index, &t.op) == ERR_OK);
}

/* ---- contents ---- */

/* An image of one config (7 bytes) and one layer (77 bytes), whose digests
 * are those of two numbers.  The caller frees it. */
static UNUSED char *image_text(unsigned config, unsigned layer)
{
	struct digest c = test_digest(config), l = test_digest(layer);
	char ct[DIGEST_TEXT_MAX], lt[DIGEST_TEXT_MAX];

	return xasprintf(
	    "{\"schemaVersion\":2,\"mediaType\":\"%s\",\"config\":{"
	    "\"mediaType\":\"application/vnd.oci.image.config.v1+json\","
	    "\"digest\":\"%s\",\"size\":7},\"layers\":[{\"mediaType\":"
	    "\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"%s\","
	    "\"size\":77}]}",
	    IMAGE_TYPE, digest_text(&c, ct), digest_text(&l, lt));
}

/* Store `text` as what an upstream sent; its digest. */
static UNUSED struct digest store(struct cache *c, const char *name,
				  const char *tag, const char *text,
				  bool public_yes)
{
	struct store_manifest m = {
	    .host = HOST,
	    .name = name,
	    .tag = tag,
	    .bytes = text,
	    .len = strlen(text),
	    .public_yes = public_yes,
	};
	struct manifest_facts facts;
	struct answer a = ANSWER;
	struct why why = {""};

	digest_of(DIGEST_SHA256, text, m.len, &m.dg);
	if (manifest_parse(text, m.len, m.len, NULL, &facts, &why) != ERR_OK) {
		fprintf(stderr, "manifest_parse: %s\n", why.text);
		exit(1);
	}
	m.media_type = facts.media_type;
	m.facts = &facts;
	cache_store_manifest(c, &m, answered, &a);
	manifest_facts_release(&facts);
	CHECK(wait_for(&a) == ERR_OK);
	return m.dg;
}

struct blob_to_put {
	struct digest dg;
	struct blob_row row;
};

static UNUSED enum err put_blob_row(struct index_txn *txn, void *arg)
{
	struct blob_to_put *b = arg;

	blob_put(txn, &b->dg, &b->row);
	return ERR_OK;
}

/* A blob's row, without a file. */
static UNUSED void put_blob(struct cache *c, const struct digest *dg,
			    uint64_t size, bool public_yes)
{
	struct blob_to_put b = {*dg, {size, 1, 1, public_yes}};

	CHECK(test_write(c->index, put_blob_row, &b) == ERR_OK);
}

struct edge_found {
	const struct digest *parent;
	enum edge_role role;
	uint64_t size;
};

static UNUSED bool find_edge(void *arg, const struct digest *parent,
			     const struct edge_row *row)
{
	struct edge_found *f = arg;

	if (!digest_equal(parent, f->parent))
		return true;
	f->role = row->role;
	f->size = row->size;
	return false;
}

/* The role of the edge from `parent` to `child`, or 0. */
static UNUSED unsigned edge_from(struct index_txn *txn,
				 const struct digest *child,
				 const struct digest *parent, uint64_t *size)
{
	struct edge_found f = {.parent = parent};

	CHECK(edge_walk(txn, child, find_edge, &f) == ERR_OK);
	*size = f.size;
	return f.role;
}

/* ---- the checker ---- */

static char findings[4096];

static UNUSED void note_finding(void *arg UNUSED, const char *finding)
{
	size_t used = strlen(findings);

	snprintf(findings + used, sizeof(findings) - used, "%s\n", finding);
}

static UNUSED uint64_t check_cache(struct cache *c, bool rehash)
{
	findings[0] = '\0';
	return cache_check(c, rehash, note_finding, NULL);
}

#endif
