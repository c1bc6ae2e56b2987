/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_CONTROL_ASK_H
#define PROXY_CONTROL_ASK_H
/*
 * The command's side of the control socket (proxy/control.h has what is said
 * there).  Blocks; no loop.
 */
#include "cache/err.h"
#include "proxy/control.h"

/*
 * Run a command in the daemon whose socket is at `path`, copying its lines to
 * `out`; sets *status and *last (what came with it; freed by the caller).
 * ERR_UNAVAILABLE: no daemon is running there, or it ended meanwhile.
 * ERR_INVALID: the words cannot be sent.  ERR_IO.  Blocks.
 */
enum err control_ask(const char *path, unsigned n_words,
		     const char *const *words, FILE *out, int *status,
		     char **last, struct why *why) MUST_CHECK;

/* The same with more: a descriptor that goes with it (-1: none), and whom to
 * tell how far it is (NULL: nobody; `text` NULL: a line is about to be
 * printed). */
struct control_question {
	unsigned n_words;
	const char *const *words;
	int fd;
	FILE *out;
	void (*progress)(void *arg, uint64_t done, uint64_t of,
			 const char *text);
	void *arg;
};
enum err control_ask_with(const char *path, const struct control_question *q,
			  int *status, char **last, struct why *why) MUST_CHECK;

#endif
