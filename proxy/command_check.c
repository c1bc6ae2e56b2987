/* SPDX-License-Identifier: Apache-2.0 */
/* check [--rehash]: is the store of a stopped daemon sound? */
#include "cache/cache.h"
#include "proxy/command.h"

static void print_finding(void *arg UNUSED, const char *finding)
{
	printf("%s\n", finding);
}

static void ignore(void *arg UNUSED, enum cache_event event UNUSED,
		   const struct digest *dg UNUSED, const struct why *why UNUSED)
{
}

static int check(const struct conf *conf, bool rehash)
{
	struct cache_options opt = {
	    .data = conf->data,
	    .max_inline_bytes = conf->cache.inline_manifest_max_bytes,
	    .max_open_blobs = 16,
	    .event = ignore,
	};
	struct cache *cache;
	struct why why;
	uint64_t found;

	if (!command_has_data(conf->data) || !command_become_owner(conf->data))
		return EXIT_FAILED;
	if (cache_open(&opt, &cache, &why) != ERR_OK) {
		fprintf(stderr, "entrepot: %s\n", why.text);
		return EXIT_FAILED;
	}
	found = cache_check(cache, rehash, print_finding, NULL);
	cache_close(&cache);
	printf("%" PRIu64 " %s\n", found, found == 1 ? "finding" : "findings");
	return found ? EXIT_FAILED : command_done();
}

int command_check(int argc, char **argv)
{
	struct command_line line;
	struct conf *conf = NULL;
	int status = EXIT_USAGE;

	if (command_line_parse(argc, argv, "--rehash", 0, &line) &&
	    command_load(&line.conf, &conf))
		status = check(conf, line.switched);
	conf_unref(&conf);
	command_line_release(&line);
	return status;
}
