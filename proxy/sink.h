/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_SINK_H
#define PROXY_SINK_H
/*
 * One turn's view of a connection's socket: every byte of a reply goes
 * through here, and nowhere else.  For conn_send.c and body.c; bodies see
 * only body.h.
 */
#include "proxy/body.h"

struct sink {
	int fd;
	uint64_t budget; /* body bytes that this turn may still send */
	uint64_t sent;   /* body bytes taken in this turn */
	/* What is left of the reply's head; it leaves with, or before, the
	 * first byte of the body. */
	const char *head;
	size_t head_len;
	bool more_follows; /* the next body of a chain: MSG_MORE */
	bool corked;       /* TCP_CORK is on: sink_uncork() */
	bool full;         /* the socket takes no more: its edge will tell */
	bool broken;       /* a socket error, or a file that ends too early */
};

/* Send the head without waiting for a body. */
void sink_head(struct sink *s, bool more);
/* Nothing follows for now: what the kernel keeps back for a full packet
 * leaves. */
void sink_uncork(struct sink *s);

#endif
