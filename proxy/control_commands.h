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

/* ls (control_ls.c) */
void ls_start(struct control_call *call, unsigned n_words, char *const *words);
void ls_gone(struct control_call *call);

/* rm --release NAME (control_rm.c) */
void rm_start(struct control_call *call, unsigned n_words, char *const *words);
void rm_gone(struct control_call *call);

/* import KIND [as-mirror=HOST] [as=NAME] [move-tags], with the folder or file
 * as its descriptor (control_import.c) */
void import_start(struct control_call *call, unsigned n_words,
		  char *const *words);
void import_gone(struct control_call *call);

/* export oci NAME..., with the file as its descriptor (control_import.c) */
void export_start(struct control_call *call, unsigned n_words,
		  char *const *words);
void export_gone(struct control_call *call);

#endif
