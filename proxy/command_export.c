/* SPDX-License-Identifier: Apache-2.0 */
/*
 * export: have the running daemon write images to a file of ours.  It is made
 * here, beside its name, and gets that once it is whole: an export that is cut
 * off leaves FILE as it was.
 */
#include "proxy/command.h"

#include "proxy/control_ask.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static int fail(const char *what, const char *path)
{
	fprintf(stderr, "entrepot: cannot %s %s: %s\n", what, path,
		strerror(errno));
	return EXIT_FAILED;
}

static int export_to(const struct conf *conf, unsigned n,
		     const char *const *words, const char *file)
{
	char *part = xasprintf("%s.part", file);
	int fd = open(part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	int status;

	if (fd < 0) {
		status = fail("make", part);
		free(part);
		return status;
	}
	status = command_ask_long(conf, n, words, fd);
	close(fd);
	if (status == EXIT_OK && rename(part, file) != 0)
		status = fail("rename", part);
	if (status != EXIT_OK)
		(void)!unlink(part);
	free(part);
	return status;
}

int command_export(int argc, char **argv)
{
	const char *words[CONTROL_WORDS_MAX] = {"export"};
	struct command_line line;
	struct conf *conf = NULL;
	int status = EXIT_USAGE;

	if (!command_line_parse(argc, argv, NULL, COMMAND_WORDS_MAX, &line)) {
		;
	} else if (line.n_words < 3 || line.n_words > CONTROL_WORDS_MAX ||
		   strcmp(line.words[0], "oci") != 0) {
		fprintf(stderr, "entrepot: expected export oci "
				"NAME[:TAG|@DIGEST]... FILE\n");
	} else if (command_load(&line.conf, &conf)) {
		for (unsigned i = 0; i + 1 < line.n_words; i++)
			words[i + 1] = line.words[i];
		status = export_to(conf, line.n_words, words,
				   line.words[line.n_words - 1]);
	}
	conf_unref(&conf);
	command_line_release(&line);
	return status;
}
