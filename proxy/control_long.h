/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_CONTROL_LONG_H
#define PROXY_CONTROL_LONG_H
/*
 * Commands that work long: a worker of the slow lane and the control loop take
 * turns.  The worker does a step, the loop prints what it has said and, once
 * the client has room for more, sends it on; so neither needs a lock, other
 * jobs come in between, and a client that leaves ends it with the step that
 * runs.
 */
#include "proxy/control.h"
#include "proxy/long_work.h"

/* Begin; `work` is freed with it.  Control loop. */
void control_long_start(struct control_call *call,
			struct long_work *STEALS work);
/* For the command's `gone`. */
void control_long_gone(struct control_call *call);

#endif
