/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index_fill DATA COUNT: put COUNT blob records into the index of a stopped
 * daemon, for measuring what start-up costs.  Their files do not exist, which
 * start-up must not notice, because it does not look.
 */
#include "cache/cache.h"

#define ROWS_PER_OP 2000

struct fill_op {
	struct index_op op;
	uint64_t first, count;
};

static enum err fill_apply(struct index_txn *txn, struct index_op *op)
{
	struct fill_op *fill = container_of(op, struct fill_op, op);
	struct blob_row row = {.size = 1000, .created_s = 1, .verified_s = 1};

	for (uint64_t i = 0; i < fill->count; i++) {
		uint8_t text[8];
		struct digest dg;

		put_be64(text, fill->first + i);
		digest_of(DIGEST_SHA256, text, sizeof(text), &dg);
		blob_put(txn, &dg, &row);
	}
	return ERR_OK;
}

int main(int argc, char **argv)
{
	struct cache_options opt = {.max_inline_bytes = 65536,
				    .max_open_blobs = 16};
	uint64_t count, done;
	struct cache *c;
	struct why why;

	if (argc != 3) {
		fprintf(stderr, "usage: index_fill DATA COUNT\n");
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
		};

		if (index_submit_wait(cache_index(c), &fill.op)) {
			fprintf(stderr, "index_fill: a commit failed\n");
			return 1;
		}
	}
	cache_close(&c);
	return 0;
}
