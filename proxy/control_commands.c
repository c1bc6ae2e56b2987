/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/control_commands.h"

const struct control_command control_commands[] = {
    {"refresh", refresh_start, refresh_gone},
    {"ls", ls_start, ls_gone},
    {"rm", rm_start, rm_gone},
    {"import", import_start, import_gone},
    {"export", export_start, export_gone},
};
const size_t n_control_commands = ARRAY_LEN(control_commands);
