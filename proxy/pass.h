/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_PASS_H
#define PROXY_PASS_H
/*
 * Passing a blob through without storing it, for when there is no room: one
 * upstream transfer for each reader, bounded memory, nothing on disk.
 *
 *   fetch loop                     worker            serve loop
 *   call ─► chunk ──► hash job ──► held back ──► shown ──► body_send
 *      ◄── paused past PASS_WINDOW_BYTES ◄── what was sent
 *
 * A whole blob is hashed on its way and its end held back until the digest is
 * proven; a part of one cannot be, and is relayed as it comes.
 */
#include "proxy/body.h"
#include "proxy/flow.h"
#include "proxy/mirror.h"

#define PASS_WINDOW_BYTES (512 * KIB)

struct pass;

struct pass_spec {
	const char *upstream, *repo;
	struct digest dg;
	struct flow_range range; /* as the client asked; for the answer */
	/*
	 * Going on from a growing file: the size is known, bytes below `off`
	 * have been sent, and the hash (taken; NULL: do not verify) stands at
	 * `hashed`, which is at most little past `off`.  The file's bytes up
	 * to the further of the two go through the hash; so it covers each
	 * byte that the client gets, and only the rest is fetched.
	 */
	bool goes_on;
	uint64_t off, end, size;
	struct hasher *hasher;
	uint64_t hashed;
	struct flow *flow; /* a reference is taken */
};

struct pass_answer {
	struct message msg;
	/* ERR_OK: `pass` sends; its caller owns it (pass_free, or a body takes
	 * it).  Others as flight_answer.err. */
	enum err err;
	struct why why;
	unsigned status;
	uint64_t retry_after_s;
	uint64_t upstream_us;
	uint64_t size; /* of the blob */
	struct pass *pass;
};

/* Ask the upstream.  `run` gets the answer on `home`, and owns it
 * (pass_answer_free).  Everything is copied.  Serve loop. */
void pass_open(struct mirror *m, const struct pass_spec *spec,
	       struct loop *home, struct handle to, uint32_t magic,
	       void (*run)(struct message *msg, void *object));
void pass_answer_free(struct pass_answer **a);

void pass_free(struct pass **p);

/* The bytes that were asked for; takes the pass.  Serve loop. */
struct body *body_pass(struct pass *STEALS p) MUST_CHECK;

#endif
