/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_PASS_INT_H
#define PROXY_PASS_INT_H
/*
 * What the files of a pass share.
 *
 *   pass.c        its life; fetch loop
 *   pass_call.c   the upstream's side; fetch loop
 *   pass_body.c   workers and the client's side; serve loop
 */
#include "proxy/flight_int.h"
#include "proxy/pass.h"

#include <pthread.h>

#define PIECE_BYTES ((size_t)64 * 1024)

/* Bytes on their way: filled on the fetch loop, hashed by a worker, sent by
 * the serve loop. */
struct piece {
	struct job job;
	STAILQ_ENTRY(piece) link;
	struct pass *pass; /* a reference, while a worker has it */
	uint64_t off;
	size_t len, sent;
	bool last;      /* no more follow: judge the digest */
	bool from_file; /* its bytes are in the flow's file; hashed already */
	uint8_t bytes[];
};
STAILQ_HEAD(pieces, piece);

struct pass {
	unsigned refs; /* atomic: fetch side, serve side, each job */
	struct mirror *mirror;
	struct digest dg;
	char upstream[REPO_HOST_MAX + 1], repo[REPO_NAME_MAX + 1];
	struct conf *conf;
	struct flow *flow; /* going on from a growing file; or NULL */
	bool verify;       /* there is a hash */

	/* fetch loop */
	LIST_ENTRY(pass) link; /* flights->passes */
	struct handle handle;  /* for kicks; the serve loop copies it */
	struct upstream *up;
	struct call *call;
	struct piece *filling;
	struct timer announce, retry;
	struct strand *strand;
	uint64_t net;      /* the next byte that is wanted */
	uint64_t at;       /* the next byte from the network */
	uint64_t end;      /* exclusive */
	uint64_t size;     /* of the blob */
	uint64_t progress; /* `net` at the last break */
	unsigned breaks;
	bool opened, paused, started, over;
	bool goes_on;
	bool probing; /* for the size, before a suffix is asked for */
	unsigned status;
	uint64_t retry_after_s;
	struct flow_range range;
	/* who waits for the answer */
	struct loop *home;
	struct handle to;
	uint32_t magic;
	void (*run)(struct message *msg, void *object);
	uint64_t since_us;

	/* workers, one at a time (the strand) */
	struct hasher *hasher;
	uint64_t hashed;

	pthread_mutex_t mu; /* guards all below */
	struct pieces held, shown;
	uint64_t held_bytes;
	uint64_t queued; /* bytes between the network and the client */
	bool done, failed, closed;
	bool waiting; /* the body is owed a message */
	struct handle body;
	struct loop *body_loop;
};

/* ---- pass_body.c ---- */

void pass_ref(struct pass *p);
void pass_unref(struct pass *p);
/* Hash these bytes, then show what may be shown.  Fetch loop; takes the
 * piece. */
void pass_submit(struct pass *p, struct piece *STEALS piece);
struct piece *piece_new(struct pass *p, uint64_t off, size_t room);
/* Cut the client. */
void pass_cut(struct pass *p);

/* ---- pass_call.c ---- */

/* Ask for what is missing, from the next wanted byte. */
void pass_call(struct pass *p);

/* ---- pass.c ---- */

/* The blob has this size, and the request is answered if it has not been.
 * False: it has been, and with another size. */
bool pass_opened(struct pass *p, uint64_t size);
/* Have what has been gathered hashed and shown; `last`: no more follows. */
void piece_send(struct pass *p, bool last);
/* Everything on the fetch side is over; lets go of its reference. */
void pass_end(struct pass *p);
/* The same after an error: the request is told, or, if it was answered, its
 * client is cut. */
void pass_fail(struct pass *p, enum err err, unsigned status,
	       const struct why *why);
/* A message of the serve side: there is room again, or nobody reads. */
void pass_kicked(struct message *msg, void *object);

#define PASS_MAGIC 0x50415353

#endif
