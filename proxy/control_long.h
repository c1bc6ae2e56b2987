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

/* What works; every function but `step` is called between steps. */
struct long_kind {
	const char *name;
	/* Do some of it, on a worker.  False: it is done, or cannot go on. */
	bool (*step)(void *work);
	/* What there is to print since, lines with "\n"; freed by the caller;
	 * NULL: nothing. */
	char *(*take_lines)(void *work);
	/* How far it is, and at what. */
	void (*progress)(void *work, uint64_t *done, uint64_t *of, char *text,
			 size_t size);
	/* At the end: has all come out well?  `last` is one sentence. */
	bool (*is_whole)(void *work, char *last, size_t size);
	void (*free)(void *work);
};

/* Begin; `work` is freed with it.  Control loop. */
void control_long_start(struct control_call *call, const struct long_kind *kind,
			void *STEALS work);
/* For the command's `gone`. */
void control_long_gone(struct control_call *call);

#endif
