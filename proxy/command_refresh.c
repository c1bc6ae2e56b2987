/* SPDX-License-Identifier: Apache-2.0 */
/* refresh NAME[:TAG]: have the running daemon ask the upstream now. */
#include "cache/name.h"
#include "proxy/command.h"

static bool looks_right(const char *word)
{
	const char *slash = strrchr(word, '/');
	const char *colon = strchr(slash ? slash : word, ':');
	size_t len = colon ? (size_t)(colon - word) : strlen(word);

	return repo_path_valid(word, len) &&
	       (!colon || tag_valid(colon + 1, strlen(colon + 1)));
}

int command_refresh(int argc, char **argv)
{
	struct command_line line;
	struct conf *conf = NULL;
	int status = EXIT_USAGE;

	if (!command_line_parse(argc, argv, NULL, 1, &line))
		;
	else if (line.n_words != 1 || !looks_right(line.words[0]))
		fprintf(stderr,
			"entrepot: expected refresh NAME[:TAG], found %s%.80s%s"
			"\n",
			line.n_words ? "\"" : "",
			line.n_words ? line.words[0] : "nothing",
			line.n_words ? "\"" : "");
	else if (command_load(&line.conf, &conf))
		status = command_ask(
		    conf, 2, (const char *[]){"refresh", line.words[0]});
	conf_unref(&conf);
	command_line_release(&line);
	return status;
}
