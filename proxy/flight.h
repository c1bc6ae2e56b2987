/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_FLIGHT_H
#define PROXY_FLIGHT_H
/*
 * A missing blob on its way: one flight per digest and upstream, however many
 * clients, repositories and ranges ask for it.
 *
 *   OPENING    index read again, partial opened by a worker
 *   RUNNING    transfers write extents; readers follow
 *   PROVING    no byte is missing; the hash catches up
 *   PUBLISHING file linked, record committed
 *   ENDED      out of the table; readers finish from the descriptor
 *
 * The flight lives on the fetch loop.  What its readers need on their own
 * loops is in a struct flow (proxy/flow.h), counted, behind a mutex.
 */
#include "proxy/flow.h"
#include "proxy/mirror.h"

struct flights *flights_new(struct mirror *m) MUST_CHECK;
/* Fetch loop, at the end: cut readers, keep partials, take no more. */
void flights_close(struct flights *f);
/* When the fetch loop has stopped and every job has come home. */
void flights_free(struct flights **f);

struct flight_ask {
	const char *upstream, *repo;
	struct digest dg;
	struct flow_range range;
	uint64_t size_hint; /* from an edge; FLOW_SIZE_UNKNOWN */
	bool allowed;       /* an earlier yes of this repository is recorded */
};

/* What comes back to the request, once. */
struct flight_answer {
	struct message msg;
	/*
	 * ERR_OK: `reader` follows the blob (caller owns it: flow_reader_free
	 *   or a body takes it), its flow knows the size.
	 * ERR_EXISTS: it is stored by now: look it up again.
	 * ERR_NO_SPACE, ERR_IO: it cannot be stored now: pass it
	 *   through (proxy/pass.h).
	 * Others as mirror_answer.err.
	 */
	enum err err;
	struct why why;
	unsigned status;
	uint64_t retry_after_s;
	bool joined;
	uint64_t upstream_us;
	struct flow_reader *reader;
};

/* Any thread; everything is copied.  `run` owns the answer
 * (flight_answer_free). */
void flight_join(struct mirror *m, const struct flight_ask *ask,
		 struct loop *home, struct handle to, uint32_t magic,
		 void (*run)(struct message *msg, void *object));
void flight_answer_free(struct flight_answer **a);

/* Flights running, and their bytes queued for workers; any thread. */
unsigned flights_running(struct flights *f);

#endif
