/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index_fill DATA COUNT [blobs | tags | repos]: put COUNT rows into the index
 * of a stopped daemon, for measuring what start-up and lists cost.
 *
 *   blobs  records of blobs; their files do not exist, which start-up must
 *          not notice, because it does not look
 *   tags   of the hosted repository fill/tags: t000000, t000001, ...
 *   repos  hosted repositories with a tag: fill/r000000, fill/r000001, ...
 *
 * The hosted ones are journalled, as pushes are, and their manifests do not
 * exist either.
 */
#include "cache/hosted_int.h"

#define ROWS_PER_OP 2000

typedef enum err put_row(struct index_txn *txn, uint64_t i);

struct fill_op {
	struct index_op op;
	uint64_t first, count;
	put_row *put;
};

static enum err put_blob(struct index_txn *txn, uint64_t i)
{
	struct blob_row row = {.size = 1000, .created_s = 1, .verified_s = 1};
	struct digest dg;
	uint8_t text[8];

	put_be64(text, i);
	digest_of(DIGEST_SHA256, text, sizeof(text), &dg);
	blob_put(txn, &dg, &row);
	return ERR_OK;
}

static enum err put_named(struct index_txn *txn, const char *name,
			  const char *tag)
{
	struct link_row row = {.kind = LINK_MANIFEST, .created_s = 1};
	struct digest dg;
	uint64_t repo;
	bool claimed;
	enum err err = hosted_ensure_repo(txn, name, true, 1, &repo, &claimed);

	if (err != ERR_OK)
		return err;
	digest_of(DIGEST_SHA256, tag, strlen(tag), &dg);
	hosted_put_link(txn, name, repo, &dg, &row);
	hosted_put_tag(txn, name, repo, tag, &dg, 1000);
	return ERR_OK;
}

static enum err put_tag(struct index_txn *txn, uint64_t i)
{
	char tag[32];

	snprintf(tag, sizeof(tag), "t%06" PRIu64, i);
	return put_named(txn, "fill/tags", tag);
}

static enum err put_repo(struct index_txn *txn, uint64_t i)
{
	char name[32];

	snprintf(name, sizeof(name), "fill/r%06" PRIu64, i);
	return put_named(txn, name, "1");
}

static const struct {
	const char *name;
	put_row *put;
} kinds[] = {{"blobs", put_blob}, {"tags", put_tag}, {"repos", put_repo}};

static put_row *kind_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (strcmp(name, kinds[i].name) == 0)
			return kinds[i].put;
	return NULL;
}

static enum err fill_apply(struct index_txn *txn, struct index_op *op)
{
	struct fill_op *fill = container_of(op, struct fill_op, op);
	enum err err = ERR_OK;

	for (uint64_t i = 0; err == ERR_OK && i < fill->count; i++)
		err = fill->put(txn, fill->first + i);
	return err;
}

int main(int argc, char **argv)
{
	struct cache_options opt = {.max_inline_bytes = 65536,
				    .max_open_blobs = 16};
	put_row *put = kind_find(argc == 4 ? argv[3] : "blobs");
	uint64_t count, done;
	struct cache *c;
	struct why why;

	if (argc < 3 || argc > 4 || !put) {
		fprintf(stderr, "usage: index_fill DATA COUNT "
				"[blobs | tags | repos]\n");
		return 2;
	}
	opt.data = argv[1];
	count = strtoull(argv[2], NULL, 10);
	if (cache_open(&opt, &c, &why)) {
		fprintf(stderr, "index_fill: %s\n", why.text);
		return 1;
	}
	for (done = 0; done < count; done += ROWS_PER_OP) {
		struct fill_op fill = {
		    .op.apply = fill_apply,
		    .first = done,
		    .count = MIN(ROWS_PER_OP, count - done),
		    .put = put,
		};

		if (index_submit_wait(cache_index(c), &fill.op)) {
			fprintf(stderr, "index_fill: a commit failed\n");
			return 1;
		}
	}
	cache_close(&c);
	return 0;
}
