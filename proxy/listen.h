/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_LISTEN_H
#define PROXY_LISTEN_H
/*
 * Listening sockets, given or inherited, and the acceptor, which hands each
 * connection to the serve loop that has the fewest.
 *
 *   acceptor_new -> acceptor_add (each socket) -> acceptor_start
 *     -> acceptor_stop -> acceptor_free, after the serve loops: connections
 *        keep pointers to the listeners' roles
 *
 * Past the limit of connections the answer is a 503 with a JSON body; without
 * a free descriptor accepting pauses, and the kernel's backlog waits.
 */
#include "cache/err.h"
#include "proxy/conn.h"

#include <sys/socket.h>

struct acceptor;

/*
 * Bind and listen.  Port 0 lets the kernel choose.  An IPv6 address means
 * IPv6 alone, "[::]" too, whatever the machine's default.
 *
 * ERR_IO with `why` ("cannot listen on 127.0.0.1:5000: Address already in
 * use").  Main thread.
 */
enum err listen_open(const struct sockaddr *addr, socklen_t len, int *out,
		     struct why *why) MUST_CHECK;

/* A socket that systemd (or another parent) opened for us. */
struct inherited {
	int fd;
	char name[64]; /* FileDescriptorName= of the unit; "" if unnamed */
};

/*
 * The sockets of sd_listen_fds(3): LISTEN_PID must be ours.  Sets
 * FD_CLOEXEC and clears the environment, so that no child takes them for its
 * own.  Sets *out (malloc'd; free()) and *n, which is 0 if there are none.
 * ERR_INVALID: one of them is not a listening stream socket.
 *
 * Main thread, once, before others start.
 */
enum err listen_inherited(struct inherited **out, unsigned *n,
			  struct why *why) MUST_CHECK;

/* The local address, "127.0.0.1:5000", "[::]:5000"; "-" if it has none. */
void listen_name(int fd, char *out, size_t size);

/* Raise the soft limit of descriptors to the hard one; returns what holds
 * now.  Main thread, before limits are derived from it. */
uint64_t limit_raise_files(void);

/* For srv->accept_loop and srv->serves, which need not run yet. */
struct acceptor *acceptor_new(struct server *srv) MUST_CHECK;
/* Takes over a listening socket; copies the role.  Before acceptor_start(). */
void acceptor_add(struct acceptor *a, int STEALS fd,
		  const struct listener_role *role);
/* Connections, past which new ones are refused (those of listeners that serve
 * metrics alone are not); 0 = no limit.  Any thread. */
void acceptor_set_max(struct acceptor *a, unsigned max);
/* Begin to accept, and log "listening on ..." per socket.  Main thread,
 * before or after the loops have started. */
void acceptor_start(struct acceptor *a);
/* Accept what is in the backlogs, then no more, and close the sockets.  The
 * loop does it, in its own time, before any message posted later.  Any
 * thread. */
void acceptor_stop(struct acceptor *a);
/* After the accept loop and the serve loops have been stopped, before they
 * are freed. */
void acceptor_free(struct acceptor **a);

#endif
