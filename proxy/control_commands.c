/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/control_commands.h"

const struct control_command control_commands[] = {
    {"refresh", refresh_start, refresh_gone},
};
const size_t n_control_commands = ARRAY_LEN(control_commands);
