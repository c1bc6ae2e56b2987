/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_FLIGHT_INT_H
#define PROXY_FLIGHT_INT_H
/*
 * What the files of a flight share.  Fetch loop only.
 *
 *   flight.c         the table, who asks, answers, the end
 *   flight_source.c  the repositories, and each one's own yes
 *   flight_plan.c    what to do next
 *   transfer.c       one ranged GET; breaks
 *   chunk.c          its bytes on their way to the partial; memory
 *   landing.c        the disk: opening, proof, publication, trouble
 *
 *   OPENING ──► RUNNING ── all held, digest right ──► PUBLISHING ──► ENDED
 *      │          │ ▲ │                                    ▲
 *      │          │ │ │  another flight has stored it: COMPARING
 *      │          │ │ └─ digest wrong, first time: RESTARTING ─┐
 *      │          │ └──────────── discarded, opened afresh ────┘
 *      └──────────┴─► ENDED: failed, refused, nobody waits, spilled
 *
 * Callbacks of calls take notes and may end the flight; flight_plan.c decides
 * what to begin, at the end of the turn.  An ended flight is out of the table
 * and is freed at the end of the turn after its last job has come home.
 */
#include "proxy/flight.h"

#define FLIGHT_MAGIC 0x464c4954
#define FLIGHT_TRANSFERS_MAX 8

enum flight_phase {
	FLIGHT_OPENING,
	FLIGHT_RUNNING,
	FLIGHT_RESTARTING,
	FLIGHT_COMPARING,
	FLIGHT_PUBLISHING,
	FLIGHT_ENDED
};

/* A repository with readers: under whose token bytes may be asked for. */
enum source_state {
	SOURCE_NEW,    /* its upstream has not been asked yet */
	SOURCE_ASKING, /* GET bytes=0-0 is under way */
	SOURCE_YES,
	SOURCE_REFUSED,
};
struct source {
	char repo[REPO_NAME_MAX + 1];
	unsigned number;
	enum source_state state; /* ASKING without `ask`: a transfer asks */
	struct call *ask;
	struct flight *flight; /* for the ask's callbacks */
	bool public_yes;
	bool recorded;   /* the yes is in the index, or on its way there */
	unsigned status; /* refused */
	enum err err;
	struct why why;
	uint64_t retry_after_s;
};

/* A request that has not been answered yet. */
struct seat {
	TAILQ_ENTRY(seat) link;
	struct flow_range range;
	unsigned source;
	uint64_t declared; /* the size, by a manifest */
	bool joined;
	uint64_t since_us;
	struct loop *home;
	struct handle to;
	uint32_t magic;
	void (*run)(struct message *msg, void *object);
};

/* One ranged GET.  [max(start, pos), end) is what it owns. */
struct transfer {
	TAILQ_ENTRY(transfer) link; /* flights->paused, while `paused` */
	struct flight *flight;
	bool used;
	bool linear;
	unsigned source;
	struct call *call; /* NULL: over, its last chunks are being written */
	bool ranged;
	uint64_t start;
	uint64_t pos;        /* the next byte from the network */
	uint64_t end;        /* exclusive; CALL_OPEN */
	uint64_t answer_end; /* where the answer ends, if it says */
	bool opened;         /* a 200 or 206 has come */
	bool authorized;
	bool said_yes; /* bytes have come, too */
	bool paused;
	int endpoint;
	/* why there is no body */
	unsigned status;
	bool from_registry;
	bool bad;         /* the answer makes no sense; `why` */
	bool contradicts; /* `bad`, and it is the size that is wrong */
	struct why why;
	uint64_t retry_after_s;
	struct chunk *chunk; /* being filled */
	struct timer announce;
};
/* The first byte that the transfer has not brought. */
static inline uint64_t transfer_at(const struct transfer *t)
{
	return MAX(t->start, t->pos);
}

struct flight {
	uint32_t magic;
	LIST_ENTRY(flight) link;
	struct flights *all;
	struct handle handle;
	char upstream[REPO_HOST_MAX + 1];
	struct digest dg;
	enum flight_phase phase;
	bool planned;    /* a plan will be made at the end of this turn */
	unsigned metric; /* the upstream's label */

	struct conf *conf; /* as of its beginning */
	const struct conf_upstream *up_conf;
	struct upstream *up;

	struct flow *flow;       /* from RUNNING on */
	struct partial *partial; /* the flow's */
	struct strand *strand;
	uint64_t size;
	bool size_told;     /* by an answer, in this flight */
	uint64_t size_hint; /* by a manifest */

	struct source **sources;
	unsigned n_sources;
	TAILQ_HEAD(, seat) seats;
	struct transfer transfers[FLIGHT_TRANSFERS_MAX];

	bool linear;       /* somebody wanted all of it */
	bool restarted;    /* the digest was wrong once: nothing is believed */
	unsigned jobs_out; /* jobs that will come home */
	bool hashing;
	uint64_t queued;        /* memory of chunks, filling or with a worker */
	struct extents pending; /* chunks with a worker */

	unsigned breaks;       /* since the last progress */
	uint64_t break_marker; /* held bytes at the last break */
	uint64_t unreached_ms; /* since when nothing is reached; 0: it is */
	uint32_t avoid;        /* endpoints, for the next transfer */
	bool waiting_retry;
	struct timer retry, linger;
};

/* Wrong twice: nothing is tried for a while. */
struct bad_digest {
	LIST_ENTRY(bad_digest) link;
	char upstream[REPO_HOST_MAX + 1];
	struct digest dg;
	uint64_t until_ms;
};

#define FLIGHT_BUCKETS 1024
#define FLIGHT_SPARE_CHUNKS 16
struct flights {
	struct mirror *mirror;
	struct loop *loop;
	LIST_HEAD(, flight) buckets[FLIGHT_BUCKETS];
	LIST_HEAD(, bad_digest) bad;
	unsigned running;              /* atomic for metrics */
	uint64_t queued;               /* of all flights */
	TAILQ_HEAD(, transfer) paused; /* longest first */
	struct chunk *spare[FLIGHT_SPARE_CHUNKS];
	unsigned n_spare;
	uint64_t complained_ms;   /* last, that blobs cannot be stored */
	LIST_HEAD(, pass) passes; /* proxy/pass.c */
	bool closing;
};

/* ---- flight.c ---- */

/* Answer the seats of one source (or of all, source = -1) with an error. */
void flight_refuse_seats(struct flight *f, int source, enum err err,
			 unsigned status, uint64_t retry_after_s,
			 const struct why *why);
/* Answer the seats that can be answered: a yes, and the size known. */
void flight_answer_seats(struct flight *f);
/* Learn the size: `told` by an answer, or only believed.  False if it
 * contradicts what is known. */
bool flight_learn_size(struct flight *f, uint64_t size, bool told,
		       struct why *why);
/* Fail everybody and end; the partial is kept. */
void flight_fail(struct flight *f, enum err err, unsigned status,
		 uint64_t retry_after_s, const struct why *why);
/* Leave the table.  Jobs that are under way end by themselves. */
void flight_end(struct flight *f);
struct flight *flight_next_same(struct flights *all, const struct digest *dg,
				struct flight *after);
/* A job of this flight goes out; it comes home: count it. */
void flight_job_start(struct flight *f);
/* False if the flight has ended meanwhile (or, at the very end, gone). */
bool flight_job_home(struct flight *f);
void flight_mark_bad(struct flight *f);
/* Has anybody stored this digest? */
bool flight_is_stored(struct flights *all, const struct digest *dg);

/* ---- flight_source.c ---- */

unsigned source_of(struct flight *f, const char *repo);
bool source_has_seats(const struct flight *f, unsigned source);
/* Ask its upstream: GET bytes=0-0, cut after the head. */
void source_ask(struct source *s);
/* The repositories that wait for their own yes and that nobody asks for. */
void sources_ask(struct flight *f);
/* Its upstream says yes; answers the seats that waited for it. */
void source_yes(struct source *s, bool authorized);
/* A refusal ends this repository's readers, and nobody else's. */
void source_refused(struct source *s, enum err err, unsigned status,
		    uint64_t retry_after_s, const struct why *why);
/* The transfer that asked in its name is over: if it had no answer, the
 * question stands. */
void source_unasked(struct source *s);

/* ---- flight_plan.c ---- */

void flight_plan_soon(struct flight *f);
/* Bytes that are held or with a worker. */
uint64_t flight_arrived_bytes(const struct flight *f);
/* A message from the flow: somebody waits at a gap, or has left. */
void flight_poked(struct message *msg, void *object);
void flight_linger_fire(void *arg);
void flight_retry_fire(void *arg);

/* ---- transfer.c ---- */

bool transfer_start(struct flight *f, unsigned source, uint64_t start,
		    uint64_t end, bool linear);
void transfers_stop(struct flight *f);

/* ---- chunk.c ---- */

/* Put bytes that belong at t->pos into chunks. */
void transfer_take(struct transfer *t, const uint8_t *buf, size_t len);
/* Is there memory for `len` more?  If not, the transfer is to pause; it is
 * resumed later. */
bool transfer_must_pause(struct transfer *t, size_t len);
/* Hand what has been gathered to a worker; or drop it. */
void chunk_send(struct transfer *t);
void chunk_drop(struct transfer *t);
void transfer_unpause(struct transfer *t);
void chunk_announce_fire(void *arg);
void chunks_free(struct flights *all);

/* ---- landing.c ---- */

void flight_open(struct flight *f);
/* Let the hash catch up; when it has all, publish or start over. */
void flight_hash(struct flight *f);
void flight_mismatch(struct flight *f, const struct why *why);
/* The disk refuses: readers go on without it. */
void flight_spill(struct flight *f, enum err err, const struct why *why);

/* ---- pass.c ---- */

/* Cut what passes through. */
void passes_close(struct flights *all);

#endif
