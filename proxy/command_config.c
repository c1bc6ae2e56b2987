/* SPDX-License-Identifier: Apache-2.0 */
/* check-config and options: about the configuration alone. */
#include "proxy/command.h"

static int check(const struct conf_args *args)
{
	struct conf *conf;

	if (!command_load(args, &conf))
		return EXIT_USAGE;
	for (size_t i = 0; i < conf->warnings.n; i++)
		fprintf(stderr, "warning: %s\n", conf->warnings.v[i]);
	conf_unref(&conf);
	printf("%s: ok\n", args->config ? args->config : "defaults");
	return command_done();
}

/* check-config [flags], or check-config --full FILE: is every option there? */
int command_check_config(int argc, char **argv)
{
	struct command_line line;
	int status = EXIT_USAGE;

	if (!command_line_parse(argc, argv, "--full", 1, &line)) {
		command_line_release(&line);
		return EXIT_USAGE;
	}
	if (!line.switched && line.n_words == 0)
		status = check(&line.conf);
	else if (line.switched && line.n_words == 1)
		status = conf_check_full(line.words[0], stderr) ? EXIT_USAGE
								: EXIT_OK;
	else
		fprintf(stderr, "entrepot: expected check-config [flags] or "
				"check-config --full FILE\n");
	command_line_release(&line);
	return status;
}

int command_options(int argc, char **argv)
{
	if (argc > 1) {
		fprintf(stderr,
			"entrepot: expected nothing after %s, found "
			"\"%.60s\"\n",
			argv[0], argv[1]);
		return EXIT_USAGE;
	}
	conf_print_options(stdout);
	return command_done();
}
