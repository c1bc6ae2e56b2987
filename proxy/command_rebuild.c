/* SPDX-License-Identifier: Apache-2.0 */
/* rebuild [--rehash]: a new index for a stopped daemon's data. */
#include "cache/journal.h"
#include "proxy/command.h"

#include <unistd.h>

/* A line that is written over, where somebody looks on. */
#define SHOW_EVERY 1000

static void show(void *arg, uint64_t done, uint64_t of)
{
	bool *shown = arg;

	if (!isatty(STDERR_FILENO) || (done % SHOW_EVERY && done != of))
		return;
	*shown = done != of;
	fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " files%s", done, of,
		*shown ? "" : "\n");
}

static void print_finding(void *arg UNUSED, const char *finding)
{
	printf("%s\n", finding);
}

static int rebuild(const struct conf *conf, bool rehash)
{
	struct cache_options opt = {
	    .data = conf->data,
	    .max_inline_bytes = conf->cache.inline_manifest_max_bytes,
	    .max_open_blobs = 16,
	};
	bool shown = false;
	struct why why;

	if (!command_has_data(conf->data))
		return EXIT_FAILED;
	if (cache_rebuild(&opt, rehash, show, print_finding, &shown, &why) !=
	    ERR_OK) {
		fprintf(stderr, "%sentrepot: %s\n", shown ? "\n" : "",
			why.text);
		return EXIT_FAILED;
	}
	printf("%s/index is new; the old one is beside it as index.lost-*, "
	       "which can be removed\n",
	       conf->data);
	return command_done();
}

int command_rebuild(int argc, char **argv)
{
	struct command_line line;
	struct conf *conf = NULL;
	int status = EXIT_USAGE;

	if (command_line_parse(argc, argv, "--rehash", 0, &line) &&
	    command_load(&line.conf, &conf))
		status = rebuild(conf, line.switched);
	conf_unref(&conf);
	command_line_release(&line);
	return status;
}
