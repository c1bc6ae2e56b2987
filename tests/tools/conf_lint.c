/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_lint FULL FILE...: is every option in the configuration file FULL, and
 * does each other FILE load?  One line for each complaint; exit status 0 only
 * if there is none.
 */
#include "proxy/conf.h"

static int lint_loads(const char *path)
{
	struct conf_strings errors = {0};
	struct conf *conf = NULL;
	struct why why;
	int complaints;

	if (conf_load(path, NULL, &conf, &errors, &why) == ERR_OK) {
		conf_unref(&conf);
		return 0;
	}
	for (size_t i = 0; i < errors.n; i++)
		printf("%s\n", errors.v[i]);
	if (!errors.n)
		printf("%s\n", why.text);
	complaints = errors.n ? (int)errors.n : 1;
	conf_strings_release(&errors);
	return complaints;
}

int main(int argc, char **argv)
{
	int complaints;

	if (argc < 2) {
		fprintf(stderr, "usage: conf_lint FULL FILE...\n");
		return 2;
	}
	complaints = conf_check_full(argv[1], stdout);
	for (int i = 2; i < argc; i++)
		complaints += lint_loads(argv[i]);
	return complaints ? 1 : 0;
}
