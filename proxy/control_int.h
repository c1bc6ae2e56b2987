/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_CONTROL_INT_H
#define PROXY_CONTROL_INT_H
/*
 * What control.c (the socket, and who is let in) and control_call.c (one
 * connection's command) share.  Commands include control.h.
 */
#include "proxy/control.h"

#include <event2/event_struct.h>
#include <sys/stat.h>

struct bufferevent;

struct control_call {
	struct control *control;
	struct bufferevent *bev;
	const struct control_command *command; /* NULL: none runs */
	void *state;
	void (*ready)(struct control_call *call);
	struct event readable; /* until its command has been read */
	char line[CONTROL_LINE_MAX + 2];
	size_t len;
	int fd;      /* came with it; or -1 */
	bool asked;  /* its command has been read */
	bool ending; /* and its last line written */
	LIST_ENTRY(control_call) link;
};

struct control {
	char *path;
	int fd;
	struct stat identity; /* of the file that bind(2) made */
	struct event acceptable;
	struct loop *loop;
	struct server *server;
	const struct control_command *commands;
	size_t n_commands;
	LIST_HEAD(, control_call) calls;
	unsigned n_calls;
};

/* ---- control_call.c; control loop ---- */

/* Serve the command of a connection that was let in. */
void control_call_new(struct control *c, int STEALS fd);
/* Its client has gone, or must: a command that runs hears of it. */
void control_call_close(struct control_call *call);

#endif
