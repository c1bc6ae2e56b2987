/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_check [--rows] DIR: is the store of a stopped daemon sound, every
 * blob's bytes included?  One line for each finding; exit status 0 only if
 * there is none.  --rows: also how many rows each table has.
 */
#include "cache/cache.h"

static void print_finding(void *arg UNUSED, const char *finding)
{
	printf("%s\n", finding);
}

static void print_rows(struct cache *cache)
{
	struct index_stats stats;

	index_stats(cache_index(cache), &stats);
	for (int i = 0; i < TABLE_COUNT; i++)
		printf("rows %s %" PRIu64 "\n",
		       index_table_name((enum index_table)i), stats.rows[i]);
}

int main(int argc, char **argv)
{
	struct cache_options opt = {.max_open_blobs = 16};
	struct cache *cache = NULL;
	struct why why;
	bool rows = argc == 3 && strcmp(argv[1], "--rows") == 0;
	uint64_t found;

	if (argc != 2 + rows) {
		fprintf(stderr, "usage: store_check [--rows] DIR\n");
		return 2;
	}
	opt.data = argv[argc - 1];
	if (cache_open(&opt, &cache, &why) != ERR_OK) {
		fprintf(stderr, "store_check: %s: %s\n", opt.data, why.text);
		return 1;
	}
	found = cache_check(cache, true, print_finding, NULL);
	if (rows)
		print_rows(cache);
	cache_close(&cache);
	printf("%" PRIu64 " findings\n", found);
	return found ? 1 : 0;
}
