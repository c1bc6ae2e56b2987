/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/command.h"

#include <malloc.h>

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *words, *help;
} commands[] = {
    {"serve", command_serve, "[flags]", "run the mirror, in the foreground"},
    {"check-config", command_check_config, "[flags] | --full FILE",
     "is the configuration right?"},
    {"options", command_options, "", "every option, with its default"},
    {"refresh", command_refresh, "[flags] NAME[:TAG]",
     "have the running daemon ask the upstream now"},
    {"ls", command_ls, "[flags]",
     "the repositories of the running daemon, and what they hold"},
    {"rm", command_rm, "[flags] --release NAME",
     "have a hosted name that holds nothing be nobody's again"},
    {"import", command_import,
     "[flags] registry-v2 DIR [--as-mirror HOST] [--move-tags]\n"
     "  import [flags] oci DIR|TAR [NAME] [--as-mirror HOST] [--move-tags]",
     "have the running daemon take over the storage of Docker's registry,\n"
     "    or an OCI image layout"},
    {"export", command_export, "[flags] oci NAME[:TAG|@DIGEST]... FILE",
     "have the running daemon write images to a tar file, an OCI image\n"
     "    layout, with what refers to them; NAME alone: all its tags"},
    {"check", command_check, "[flags] [--rehash]",
     "is the data of a stopped daemon sound?"},
    {"rebuild", command_rebuild,
     "[flags] [--rehash]\n"
     "  rebuild [flags] journal",
     "a new index for a stopped daemon's data, from blobs/ and journal/;\n"
     "    or a new journal, from the index"},
    {"client-config", command_client_config, "[flags] KIND [HOST:PORT]",
     "the file that points a client here; KIND is docker,\n"
     "    containerd, podman, crio, buildkit, k3s or kubernetes"},
};

static void print_help(FILE *out)
{
	fprintf(out, "usage: entrepot COMMAND ...\n\n");
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		fprintf(out, "  %s%s%s\n    %s\n", commands[i].name,
			commands[i].words[0] ? " " : "", commands[i].words,
			commands[i].help);
	fprintf(out, "  --version\n  --help\n\nflags, which override the "
		     "configuration file:\n");
	conf_print_flags(out);
	fprintf(out, "\nexit status: 0 done, 1 failed, 2 wrong command line "
		     "or configuration\n");
}

static bool is_help(const char *word)
{
	return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/*
 * Many threads allocate little and free soon: two arenas are enough, and
 * buffers of a quarter of a MiB go back to the kernel when they are freed.
 * Naming the threshold keeps glibc from raising it.
 */
static void tune_malloc(void)
{
	mallopt(M_ARENA_MAX, 2);
	mallopt(M_MMAP_THRESHOLD, 128 * 1024);
	mallopt(M_TRIM_THRESHOLD, 512 * 1024);
}

int main(int argc, char **argv)
{
	tune_malloc();
	if (argc < 2) {
		print_help(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("entrepot %s\n", ENTREPOT_VERSION);
		return command_done();
	}
	if (is_help(argv[1]) || strcmp(argv[1], "help") == 0 ||
	    (argc > 2 && is_help(argv[2]))) {
		print_help(stdout);
		return command_done();
	}
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	}
	fprintf(stderr,
		"entrepot: no command \"%.60s\"; entrepot --help "
		"names them\n",
		argv[1]);
	return EXIT_USAGE;
}
