/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_FLOW_INT_H
#define PROXY_FLOW_INT_H
/*
 * What the two sides of a flow share: flow.c, the flight's (fetch loop and its
 * workers), and flow_reader.c, the readers' (serve loops).
 */
#include "proxy/flow.h"

#include <pthread.h>

/* The readers of one request. */
struct party {
	unsigned readers; /* under flow->mu */
	bool had_bytes;   /* was shown some: may not be shown others */
};

struct flow_reader {
	TAILQ_ENTRY(flow_reader) link; /* flow->readers, under flow->mu */
	struct flow *flow;
	struct party *party; /* constant */
	struct flow_range range;
	unsigned source;
	int fd; /* of the last READY look; own loop */

	/* under flow->mu */
	bool waiting; /* a message is owed */
	uint64_t want, want_end;
	uint64_t ask_end;   /* constant */
	uint64_t told_size; /* constant: what its reply's head says */
	uint64_t declared;  /* constant: what a manifest says */
	enum err err;       /* not OK: cut */
	struct why why;

	struct loop *home;
	struct handle to;
	uint32_t magic;
	void (*run)(struct message *msg, void *object);
};

struct flow {
	unsigned refs; /* atomic */
	struct jobs *jobs;
	struct digest dg;
	uint64_t hold_bytes; /* constant */

	/* where pokes go; constant */
	struct loop *fetch;
	struct handle flight;
	uint32_t flight_magic;
	void (*poke)(struct message *msg, void *object);

	pthread_mutex_t mu; /* guards all below and the readers' shared part */
	TAILQ_HEAD(, flow_reader) readers; /* oldest first */
	struct partial *partial;
	struct partial *old; /* before a restart: cut readers may send still */
	struct blob *blob;   /* after flow_switch() */
	uint64_t size;
	bool proven, distrust, spilled, poked;
};

/* ---- flow_reader.c ---- */

/*
 * The end of what `r` may be sent from `off`: held, and not held back; <= off
 * if nothing.  Under mu.
 */
uint64_t flow_ready_end(struct flow *f, const struct flow_reader *r,
			uint64_t off);

#endif
