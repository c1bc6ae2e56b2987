/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For a stopped daemon's data, one of the two that know what is hosted, out of
 * the other: rebuild [--rehash], a new index; rebuild journal, a new journal.
 */
#include "cache/journal.h"
#include "proxy/command.h"

#include <unistd.h>

/* A line that is written over, where somebody looks on. */
#define SHOW_EVERY 1000

struct told {
	bool shown;
	uint64_t findings;
};

static void show(void *arg, uint64_t done, uint64_t of)
{
	struct told *told = arg;

	if (!isatty(STDERR_FILENO) || (done % SHOW_EVERY && done != of))
		return;
	told->shown = done != of;
	fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " files%s", done, of,
		told->shown ? "" : "\n");
}

static void print_finding(void *arg, const char *finding)
{
	struct told *told = arg;

	told->findings++;
	printf("%s\n", finding);
}

static int failed(const struct told *told, const struct why *why)
{
	fprintf(stderr, "%sentrepot: %s\n", told->shown ? "\n" : "", why->text);
	return EXIT_FAILED;
}

/* A script is not to take for whole what lacks something. */
static int done(const struct told *told)
{
	if (!told->findings)
		return command_done();
	fprintf(stderr,
		"entrepot: %" PRIu64 " thing%s could not be taken over; what "
		"is printed above names %s\n",
		told->findings, plural(told->findings),
		told->findings == 1 ? "it" : "them");
	return EXIT_FAILED;
}

static int rebuild_index(const struct conf *conf,
			 const struct cache_options *opt, bool rehash)
{
	struct told told = {0};
	struct why why;

	if (cache_rebuild(opt, rehash, show, print_finding, &told, &why) !=
	    ERR_OK)
		return failed(&told, &why);
	printf("%s/index is new; what it and a damaged journal replace is "
	       "beside it as *.lost-*, which can be removed\n"
	       "it has what is hosted; what was mirrored is asked for again "
	       "as it is pulled, and what nobody pulls goes, "
	       "\"collect.grace\" after the next start\n",
	       conf->data);
	return done(&told);
}

static int rebuild_journal(const struct conf *conf,
			   const struct cache_options *opt)
{
	struct told told = {0};
	struct why why;

	if (cache_renew_journal(opt, print_finding, &told, &why) != ERR_OK)
		return failed(&told, &why);
	printf("%s/journal is new; the old one is beside it as "
	       "journal.lost-*, which can be removed\n",
	       conf->data);
	return done(&told);
}

static int rebuild(const struct conf *conf, bool journal, bool rehash)
{
	struct cache_options opt = {
	    .data = conf->data,
	    .max_inline_bytes = conf->cache.inline_manifest_max_bytes,
	    .max_open_blobs = 16,
	};

	if (!command_has_data(conf->data) || !command_become_owner(conf->data))
		return EXIT_FAILED;
	return journal ? rebuild_journal(conf, &opt)
		       : rebuild_index(conf, &opt, rehash);
}

/* The index, unless it is said that it be the journal. */
static bool read_words(const struct command_line *line, bool *journal)
{
	*journal = line->n_words == 1;
	if (!*journal)
		return true;
	if (strcmp(line->words[0], "journal") == 0 && !line->switched)
		return true;
	fprintf(stderr, "entrepot: command line: expected rebuild [--rehash], "
			"or rebuild journal\n");
	return false;
}

int command_rebuild(int argc, char **argv)
{
	struct command_line line;
	struct conf *conf = NULL;
	int status = EXIT_USAGE;
	bool journal;

	if (command_line_parse(argc, argv, "--rehash", 1, &line) &&
	    read_words(&line, &journal) && command_load(&line.conf, &conf))
		status = rebuild(conf, journal, line.switched);
	conf_unref(&conf);
	command_line_release(&line);
	return status;
}
