/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_FLOW_H
#define PROXY_FLOW_H
/*
 * The part of a flight that its readers see: which bytes may be sent now, and
 * who waits for more.
 *
 *   fetch loop, workers               serve loops
 *   flow_announce, flow_fail   ──►    flow_look: registers, then looks
 *        └─ a message to each reader that waited and can go on
 *   the flight  ◄── "poke", one message at a time: somebody waits at a byte
 *                   that is not held, or has left
 *
 * A flow is counted: one for its flight, one for each reader.  With the last
 * one its partial is closed by a worker.
 *
 * Hold-back.  What can complete a blob (a whole answer, or an open range) is
 * not shown its last bytes (64 KiB by default) until the digest is proven, so
 * that no client can complete a wrong blob.  After a mismatch nothing is shown
 * to anybody until a whole copy is proven ("distrust").  Readers of one
 * request are a party: had one of them a wrong byte, all are cut.
 *
 * Locks: flow->mu, then partial->mu (cache/partial.c); never over I/O.
 */
#include "cache/blob.h"
#include "cache/partial.h"
#include "proxy/job.h"
#include "proxy/loop.h"

#define FLOW_SIZE_UNKNOWN UINT64_MAX

/* The bytes a client asked for. */
enum flow_shape {
	FLOW_WHOLE,
	FLOW_BOUNDED,  /* [first, last] */
	FLOW_OPEN_END, /* first- */
	FLOW_SUFFIX,   /* the last `suffix` bytes */
};
struct flow_range {
	enum flow_shape shape;
	uint64_t first, last, suffix;
};
/* Can an answer of this shape complete the blob? */
static inline bool flow_completes(const struct flow_range *r)
{
	return r->shape == FLOW_WHOLE || r->shape == FLOW_OPEN_END;
}

struct flow;
struct flow_reader;

/* ---- the flight's side: fetch loop and its workers ---- */

/* Takes the partial.  Pokes go to (fetch, flight, magic), by `poke`. */
struct flow *flow_new(struct jobs *jobs, struct partial *STEALS p,
		      const struct digest *dg, uint64_t hold_bytes,
		      struct loop *fetch, struct handle flight, uint32_t magic,
		      void (*poke)(struct message *msg,
				   void *object)) MUST_CHECK;
struct flow *flow_ref(struct flow *f);
void flow_unref(struct flow **f); /* any thread */
/* Closing writes and syncs: have a worker do it.  Any thread. */
void flow_close_partial(struct jobs *jobs, struct partial *STEALS p);

void flow_set_size(struct flow *f, uint64_t size);
/* Bytes have been written: wake who can go on. */
void flow_announce(struct flow *f);
/* The digest is proven: the held-back end may go. */
void flow_prove(struct flow *f);
/* Cut everybody; the first reason stays. */
void flow_fail(struct flow *f, enum err err, const struct why *why);
/* The same for the readers of one source (a repository was refused). */
void flow_fail_source(struct flow *f, unsigned source, enum err err,
		      const struct why *why);
/* The bytes were wrong: cut who has had one, show nothing to the others until
 * a whole copy is proven. */
void flow_distrust(struct flow *f, const struct why *why);
/* Go on with a fresh partial; after flow_distrust(), once. */
void flow_restart(struct flow *f, struct partial *STEALS fresh);
/* Another flight has stored the blob, and what is held here equals it: read
 * on from there.  Takes the pin. */
void flow_switch(struct flow *f, struct blob *STEALS blob);
/* Nothing more can be stored: who comes to the end of what may be shown is
 * told FLOW_SPILLED. */
void flow_spill(struct flow *f);

/* Who reads now. */
struct flow_census {
	unsigned readers;
	unsigned linear; /* whole and open ones: the linear fill serves them */
};
void flow_census(struct flow *f, struct flow_census *out);
/* Readers of one source. */
unsigned flow_source_readers(struct flow *f, unsigned source);
/* The gaps that readers other than whole ones wait at, oldest first, with
 * their sources and the end (exclusive) of what each wants.  Returns their
 * number; the caller frees *out. */
struct flow_gap {
	uint64_t off, end;
	unsigned source;
};
size_t flow_gaps(struct flow *f, struct flow_gap **out);

/* Make a reader of source number `source`, to which a manifest has declared
 * the size `declared` (or UNKNOWN): the hold-back is before the smaller of it
 * and the size.  Fetch loop. */
struct flow_reader *flow_reader_new(struct flow *f, const struct flow_range *r,
				    unsigned source,
				    uint64_t declared) MUST_CHECK;
/* One more reader of the same flow and source, for another part of the same
 * request (a party); what it asks for may reach on to `ask_end` (exclusive),
 * where the next part lies near.  Serve loop. */
struct flow_reader *flow_reader_more(const struct flow_reader *r,
				     const struct flow_range *range,
				     uint64_t ask_end) MUST_CHECK;

/* ---- the reader's side: its serve loop ---- */

/* Where the wake-up message goes.  Once, before the first flow_look(). */
void flow_reader_home(struct flow_reader *r, struct loop *home,
		      struct handle to, uint32_t magic,
		      void (*run)(struct message *msg, void *object));

enum flow_state {
	FLOW_READY, /* [off, *end) may be sent now */
	FLOW_WAITS, /* nothing at `off` yet; a message will come */
	FLOW_FAILED,
	FLOW_SPILLED, /* nothing at `off`, and nothing will come: go on by
			 another way */
};
/*
 * What may be sent at `off`, of a reader that wants bytes below `want_end`?
 * If WAITS, the reader is registered under the same lock, and `run` comes
 * once when that changes.
 */
enum flow_state flow_look(struct flow_reader *r, uint64_t off,
			  uint64_t want_end, uint64_t *end);
/* What to send [off, *end) of the last flow_look() from. */
int flow_fd(const struct flow_reader *r);
uint64_t flow_size(const struct flow_reader *r);
const struct digest *flow_digest(const struct flow_reader *r);
/* Was the whole blob asked for? */
bool flow_is_whole(const struct flow_reader *r);
/* Why it failed; after FLOW_FAILED. */
enum err flow_error(struct flow_reader *r, struct why *why);
/* For going on without the disk: a copy of the running hash, and the number
 * of bytes in it (0 after a mismatch); the caller frees it. */
struct hasher *flow_hasher(struct flow_reader *r, uint64_t *at);
/* Read held bytes; what pread(2) returns.  Worker. */
ssize_t flow_pread(struct flow *f, void *buf, size_t len, uint64_t off);
/* The flow, for whoever must keep its files open longer than the reader. */
struct flow *flow_of(struct flow_reader *r);
/* Leave.  Any state; leaves NULL. */
void flow_reader_free(struct flow_reader **r);

#endif
