/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_CONTROL_COMMANDS_H
#define PROXY_CONTROL_COMMANDS_H
/* What the daemon does for subcommands: the table of control.c, and one file
 * for each row. */
#include "proxy/control.h"

extern const struct control_command control_commands[];
extern const size_t n_control_commands;

/* refresh NAME[:TAG] (control_refresh.c) */
void refresh_start(struct control_call *call, unsigned n_words,
		   char *const *words);
void refresh_gone(struct control_call *call);

#endif
