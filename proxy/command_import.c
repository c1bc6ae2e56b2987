/* SPDX-License-Identifier: Apache-2.0 */
/*
 * import: have the running daemon take images over.  The folder or file is
 * opened here, so that it is found with the rights and from the place of
 * whoever asks.
 */
#include "proxy/command.h"

#include "cache/name.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct words {
	char *as_mirror, *as; /* as the daemon reads them; or NULL */
	bool move_tags, wrong;
};

/* Take our own flags out of the line; the rest is everybody's.  The new
 * length. */
static int take_flags(int argc, char **argv, char **rest, struct words *w)
{
	static const char mirror[] = "--as-mirror";
	size_t len = strlen(mirror);
	int n = 0;

	for (int i = 0; i < argc; i++) {
		const char *host = NULL;
		char normal[HOST_MAX + 1];

		if (strcmp(argv[i], "--move-tags") == 0) {
			w->move_tags = true;
			continue;
		}
		if (strncmp(argv[i], mirror, len) == 0 && argv[i][len] == '=')
			host = argv[i] + len + 1;
		else if (strcmp(argv[i], mirror) == 0)
			host = i + 1 < argc ? argv[++i] : "";
		if (!host) {
			rest[n++] = argv[i];
			continue;
		}
		if (host_normalise(host, strlen(host), normal) != ERR_OK) {
			w->wrong = true;
			continue;
		}
		free(w->as_mirror);
		w->as_mirror = xasprintf("as-mirror=%s", normal);
	}
	return n;
}

static void tell_usage(void)
{
	fprintf(stderr, "entrepot: expected import registry-v2 DIR or "
			"import oci DIR|TAR [NAME], and with either "
			"[--as-mirror HOST] [--move-tags]\n");
}

/* False: it was said what is wrong. */
static bool words_are_right(const struct command_line *line, struct words *w)
{
	bool oci = line->n_words >= 1 && strcmp(line->words[0], "oci") == 0;

	if (w->wrong || line->n_words < 2 ||
	    (!oci && strcmp(line->words[0], "registry-v2") != 0) ||
	    line->n_words > (oci ? 3 : 2)) {
		tell_usage();
		return false;
	}
	if (line->n_words == 3) {
		if (!repo_path_valid(line->words[2], strlen(line->words[2]))) {
			fprintf(stderr,
				"entrepot: %s is not NAME: that is a "
				"repository, such as team/app, without a tag "
				"or digest (the images keep their tags)\n",
				line->words[2]);
			return false;
		}
		w->as = xasprintf("as=%s", line->words[2]);
	}
	return true;
}

static int import(const struct conf *conf, const struct command_line *line,
		  const struct words *w)
{
	const char *words[8] = {"import", line->words[0]};
	unsigned n = 2;
	/* Not to wait for the other end of a pipe, which the daemon refuses.
	 */
	int fd = open(line->words[1], O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int status;

	if (fd < 0) {
		fprintf(stderr, "entrepot: cannot open %s: %s\n",
			line->words[1], strerror(errno));
		return EXIT_FAILED;
	}
	if (w->as_mirror)
		words[n++] = w->as_mirror;
	if (w->as)
		words[n++] = w->as;
	if (w->move_tags)
		words[n++] = "move-tags";
	status = command_ask_long(conf, n, words, fd);
	close(fd);
	return status;
}

int command_import(int argc, char **argv)
{
	char **rest = xcalloc((size_t)argc + 1, sizeof(*rest));
	struct words w = {0};
	int n = take_flags(argc, argv, rest, &w), status = EXIT_USAGE;
	struct command_line line;
	struct conf *conf = NULL;

	if (command_line_parse(n, rest, NULL, 3, &line) &&
	    words_are_right(&line, &w) && command_load(&line.conf, &conf))
		status = import(conf, &line, &w);
	conf_unref(&conf);
	command_line_release(&line);
	free(w.as_mirror);
	free(w.as);
	free(rest);
	return status;
}
