/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_SOCKETS_H
#define PROXY_SOCKETS_H
/*
 * Which sockets this daemon listens on, and as what.  A socket that was given
 * to us (systemd) stands for those of its kind in the configuration: one
 * named "metrics" for `metrics.listen`, any other for `listen`.
 */
#include "proxy/conf.h"
#include "proxy/conn.h"

struct open_socket {
	int fd;
	struct listener_role role; /* its text is the configuration's */
};

struct sockets {
	struct open_socket *v;
	size_t n;
	bool metrics_apart; /* some are for metrics alone */
};

/*
 * Open all, or none.  ERR_IO, ERR_INVALID with `why`, as listen.h has them.
 * Main thread, once.
 */
enum err sockets_open(const struct conf *conf, struct sockets *out,
		      struct why *why) MUST_CHECK;
/* Close those that are left (fd >= 0) and free. */
void sockets_release(struct sockets *s);

#endif
