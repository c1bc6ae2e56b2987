/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_CONTROL_H
#define PROXY_CONTROL_H
/*
 * The control socket: how the subcommands talk to a running daemon.  A Unix
 * stream socket, private to the daemon's user; peers are checked besides
 * (SO_PEERCRED: the same user, or root).
 *
 * One command a connection, in lines of text:
 *
 *   client   "refresh docker.io/library/alpine:3\n"
 *   daemon   "- text\n"          any number: what the command prints
 *            "% DONE OF text\n"  any number: how far it is
 *            "= STATUS text\n"   the end; STATUS is the exit status
 *
 * Words are separated by one space and hold neither space nor control bytes.
 * A client that leaves ends its command.
 *
 * With the line may come one descriptor (SCM_RIGHTS): a file or folder that
 * the command is about.  So it is opened with the rights, and seen from the
 * place, of the person who asks, and not of the daemon, which a service manager
 * shows little of the machine.
 *
 *   control_open -> control_start -> control_stop -> control_free
 */
#include "cache/err.h"
#include "proxy/loop.h"

#define CONTROL_WORDS_MAX 16
#define CONTROL_LINE_MAX 4096

struct server;
struct control;
struct control_call; /* one connection's command */

struct control_command {
	const char *name;
	/* Do it: print, and end at once or later.  words[0] is the name;
	 * the words die when it returns. */
	void (*start)(struct control_call *call, unsigned n_words,
		      char *const *words);
	/* The client has left before the end, or we shut down: let go of
	 * control_state().  NULL: there is nothing. */
	void (*gone)(struct control_call *call);
};

/*
 * Bind and listen, mode 0600; a socket that nobody answers any more is
 * replaced.  ERR_BUSY: another daemon answers there.  ERR_EXISTS: something
 * else is at that path.  ERR_IO.  Main thread.
 */
enum err control_open(const char *path, struct control **out,
		      struct why *why) MUST_CHECK;
/* Serve these (they and `server` outlive it) on a loop of its own;
 * `thread_end(arg)` is called there as it ends. */
void control_start(struct control *c, struct server *server,
		   const struct control_command *commands, size_t n,
		   void (*thread_end)(void *arg), void *arg);
/* Cut what runs, remove the socket, end the thread.  Messages to its loop
 * may still be posted. */
void control_stop(struct control *c);
void control_free(struct control **c);

/* ---- for commands; control loop ---- */

struct server *control_server(struct control_call *call);
struct loop *control_loop(struct control_call *call);
void control_set_state(struct control_call *call, void *state);
void *control_state(struct control_call *call);
/* The descriptor that came with the command, or -1; it is the caller's to
 * close from here on. */
int control_take_fd(struct control_call *call);
/* How far it is, of how much (0: nobody knows), and at what. */
void control_progress(struct control_call *call, uint64_t done, uint64_t of,
		      const char *text);
/* One line; control bytes in it become spaces. */
void control_print(struct control_call *call, const char *fmt, ...)
    PRINTF_LIKE(2, 3);
/* Lines that the client has not taken yet are more than it is good to have:
 * `ready` is called once when it has. */
bool control_is_full(struct control_call *call);
void control_when_ready(struct control_call *call,
			void (*ready)(struct control_call *call));
/* The end: `text` may be empty.  The call is gone; `gone` is not called. */
void control_end(struct control_call *call, int status, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

#endif
