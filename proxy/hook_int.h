/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_HOOK_INT_H
#define PROXY_HOOK_INT_H
/*
 * What the files of webhooks share; no other includes it.
 *
 *   hook_text.c   one event as text
 *   hook_list.c   the events of a request
 *   hook.c        all receivers: their configuration, who is woken, the bound
 *   hook_send.c   one receiver: looking, sending, pausing
 *   hook_look.c   what waits for it, read from the index by a worker
 */
#include "proxy/errand.h"
#include "proxy/hook.h"
#include "proxy/list_text.h"
#include "proxy/metrics.h"
#include "proxy/mirror.h"

#include <pthread.h>

/* Pulls in memory: on their way to the fetch loop, and for each receiver. */
#define HOOK_PULLS_MAX 1000
/* One POST. */
#define HOOK_BATCH_EVENTS 100
#define HOOK_BATCH_BYTES (256 * KIB)

#define RECEIVER_MAGIC 0x484f4f4b

struct hook_pull {
	STAILQ_ENTRY(hook_pull) link;
	char *text;
	size_t len;
};
STAILQ_HEAD(hook_pulls, hook_pull);
void hook_pull_free(struct hook_pull *p);

/* An envelope that is being filled. */
struct hook_batch {
	struct list_text text;
	size_t n, max; /* events; max <= HOOK_BATCH_EVENTS */
};
/* False: it is full, and the event is for the next one. */
bool hook_batch_add(struct hook_batch *b, const char *event, size_t len);
/* The whole envelope, with its NUL; nothing if n is 0. */
void hook_batch_end(struct hook_batch *b);
void hook_batch_release(struct hook_batch *b);

struct hooks {
	struct server *server;
	struct loop *loop;
	char instance[UUID_TEXT_SIZE]; /* of this run */
	char source[320];              /* host:port */
	bool woken;                    /* atomic: a call is under way */

	pthread_mutex_t mu;      /* guards the next two */
	struct hook_pulls pulls; /* that the fetch loop has not seen */
	unsigned n_pulls;

	/* ---- fetch loop ---- */
	struct conf *conf;
	LIST_HEAD(, receiver) receivers;
	bool closed;
	bool tidying; /* atomic: a job is under way */
};

enum receiver_state {
	RECEIVER_IDLE,
	RECEIVER_LOOKING, /* a worker reads the queue for it */
	RECEIVER_SENDING, /* a POST is under way */
	RECEIVER_PAUSED,  /* the last one failed, and is sent again */
};

/* Fetch loop. */
struct receiver {
	LIST_ENTRY(receiver) link;
	struct hooks *hooks;
	struct handle handle;
	char *name;
	enum receiver_state state;
	bool again; /* something has come meanwhile */
	bool kept;  /* by the reload that runs */
	struct timer timer;
	struct errand *errand;

	/* The first event of the queue that it was neither told of nor has
	 * lost; 0 = not known yet. */
	uint64_t next;
	struct hook_batch batch; /* being sent */
	bool is_pulls;           /* these are pulls */
	uint64_t upto;           /* else: the last event in it */

	struct hook_pulls pulls;
	unsigned n_pulls, n_sent_pulls;
	unsigned failures; /* in a row */
	bool losing;       /* told the log so */
	/* Events of the next POST: HOOK_BATCH_EVENTS, or fewer since the
	 * receiver has refused some. */
	size_t batch_max;
	bool refusing; /* told the log so */
};

/* ---- hook.c ---- */

/* The receiver's options now; NULL: it is no receiver any more. */
const struct conf_hook *receiver_conf(const struct receiver *r);
/* The names of all receivers; malloc'd, into conf's memory. */
const char **hook_names(const struct conf *conf) MUST_CHECK;

/* ---- hook_send.c ---- */

struct receiver *receiver_new(struct hooks *h, const char *name) MUST_CHECK;
void receiver_free(struct receiver *r);
void receiver_wake(struct receiver *r);
void receiver_add_pull(struct receiver *r, const char *text, size_t len);

/* ---- hook_look.c ---- */

/* What a look has found. */
struct look_result {
	enum err err;
	struct hook_batch batch; /* taken by who gets it */
	uint64_t next;           /* see struct receiver */
	uint64_t upto;           /* the last event looked at; 0 = none */
	uint64_t lost;
};

/*
 * Note that the receiver was told of everything up to `told` (0: nothing
 * new), then read what comes next.  receiver_looked() follows, on the loop.
 */
void receiver_look(struct receiver *r, uint64_t told);
void receiver_looked(struct receiver *r, struct look_result *result);
/* Drop what is past the bound, or waits for nobody.  Any thread. */
void hooks_tidy(struct hooks *h, struct conf *conf);

#endif
