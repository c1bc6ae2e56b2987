/* SPDX-License-Identifier: Apache-2.0 */
/* ls, and rm --release NAME: what the running daemon holds, by repository. */
#include "cache/name.h"
#include "proxy/command.h"

int command_ls(int argc, char **argv)
{
	const char *words[] = {"ls"};
	struct command_line line;
	struct conf *conf = NULL;
	int status = EXIT_USAGE;

	if (command_line_parse(argc, argv, NULL, 0, &line) &&
	    command_load(&line.conf, &conf))
		status = command_ask_long(conf, ARRAY_LEN(words), words, -1);
	conf_unref(&conf);
	command_line_release(&line);
	return status;
}

int command_rm(int argc, char **argv)
{
	struct command_line line;
	struct conf *conf = NULL;
	int status = EXIT_USAGE;

	if (!command_line_parse(argc, argv, "--release", 1, &line)) {
		;
	} else if (!line.switched || line.n_words != 1 ||
		   !repo_name_valid(line.words[0], strlen(line.words[0]))) {
		fprintf(stderr, "entrepot: expected rm --release NAME\n");
	} else if (command_load(&line.conf, &conf)) {
		const char *words[] = {"rm", "--release", line.words[0]};

		status = command_ask(conf, ARRAY_LEN(words), words);
	}
	conf_unref(&conf);
	command_line_release(&line);
	return status;
}
