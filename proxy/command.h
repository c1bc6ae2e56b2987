/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_COMMAND_H
#define PROXY_COMMAND_H
/*
 * The subcommands: one function each, in command_*.c; main.c has their table.
 *
 * Exit status: 0 done, 1 it failed, 2 the command line or the configuration
 * is wrong (and nothing has been touched).
 */
#include "proxy/conf.h"

#define EXIT_OK 0
#define EXIT_FAILED 1
#define EXIT_USAGE 2

/* argv[0] is the command's own name. */
int command_serve(int argc, char **argv);
int command_check_config(int argc, char **argv);
int command_options(int argc, char **argv);
int command_check(int argc, char **argv);
int command_rebuild(int argc, char **argv);
int command_refresh(int argc, char **argv);
int command_ls(int argc, char **argv);
int command_rm(int argc, char **argv);
int command_import(int argc, char **argv);
int command_export(int argc, char **argv);
int command_client_config(int argc, char **argv);

/* ---- for them ---- */

/*
 * The command line of a command that knows the configuration's flags, at most
 * `max_words` words, and at most one switch of its own.
 */
#define COMMAND_WORDS_MAX 16
struct command_line {
	struct conf_args conf;
	const char *words[COMMAND_WORDS_MAX];
	unsigned n_words;
	bool switched;
};

/*
 * `own` is the switch ("--rehash") or NULL.  False: it has said on stderr what
 * is wrong.  *out is initialised in every case: command_line_release().
 */
bool command_line_parse(int argc, char **argv, const char *own,
			unsigned max_words,
			struct command_line *out) MUST_CHECK;
void command_line_release(struct command_line *line);

/* Load the configuration that the flags describe.  False: it has said on
 * stderr all that is wrong. */
bool command_load(const struct conf_args *args, struct conf **out) MUST_CHECK;

/* Has a daemon kept its data in this folder?  Opening would make some, in
 * whatever folder that is.  False: it has said so on stderr. */
bool command_has_data(const char *data) MUST_CHECK;

/* Root works on it as its owner: what root makes in it, the daemon could not
 * open.  False: it cannot, and has said so on stderr. */
bool command_become_owner(const char *data) MUST_CHECK;

/* Have the running daemon do it, and print what it says.  Its exit status. */
int command_ask(const struct conf *conf, unsigned n_words,
		const char *const *words);

/* The same with a descriptor that goes with it (-1: none), and a bar on stderr,
 * if that is a terminal, of how far it is. */
int command_ask_long(const struct conf *conf, unsigned n_words,
		     const char *const *words, int fd);

/* Did everything reach stdout?  EXIT_OK or EXIT_FAILED. */
int command_done(void);

#endif
