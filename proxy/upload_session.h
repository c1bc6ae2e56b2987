/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_UPLOAD_SESSION_H
#define PROXY_UPLOAD_SESSION_H
/*
 * Upload sessions in the hands of requests: the process-wide table that sees
 * to it that one request at a time owns a session, on whatever loop it runs.
 *
 * A request owns a session by its hold.  Whoever asks for a session that is
 * owned takes it over: the older request is told to cut itself off, its jobs
 * that have not begun are dropped, the one that runs is awaited; then the new
 * hold is granted, and with it the offset is known.  A session that is being
 * finished is not taken from its owner: later requests wait for the outcome,
 * which after a 201 is ERR_NOT_FOUND.  Who asks for it under the name of
 * another repository takes nothing over.
 *
 *   session_begin ─┐ (a hold)
 *   session_take ──┴─► session_append* ─┬─► session_finish ─┐
 *                │     session_mark     └─► session_cancel ─┼─► session_drop
 *                └── ERR_NOT_FOUND, ERR_CANCELED, ...       │
 *                                      the request ends ────┘
 *
 *   phase      in the table  the hold          who may ask for it
 *   ---------  ------------  ----------------  -----------------------------
 *   beginning  no            of session_begin  nobody knows its id yet
 *   owned      yes           one is current    takes it over
 *   finishing  yes           of the PUT        waits, then as it turned out
 *   idle       yes, open     none              gets it; closed after a while
 *   on disk    no            none              gets it, opened again
 *   gone       no            stale ones        ERR_NOT_FOUND
 *
 * Answers and `done`s come as messages to the request that owns the hold, and
 * are lost with it; what was queued by then is still done, unless somebody
 * else takes the session.  A session that was left in the middle of a PUT's
 * body (session_mark) goes back before anybody else sees it.
 */
#include "cache/upload.h"
#include "proxy/job.h"

struct upload_sessions;
struct session_hold;

/* Any thread that runs before the loops; `cache` and `jobs` outlive it. */
struct upload_sessions *sessions_new(struct cache *c,
				     struct jobs *jobs) MUST_CHECK;
/* No hold is left and no job runs: closes what is open.  Main thread. */
void sessions_free(struct upload_sessions **all);
/* Close what nobody has used for a minute.  Every few seconds; any thread. */
void sessions_tick(struct upload_sessions *all);

/* Who asks: an object of a loop, and what to do when its session is taken
 * over (called on that loop with the object, while it lives). */
struct session_owner {
	struct loop *loop;
	struct handle to;
	uint32_t magic;
	void (*cut)(void *object);
};

/*
 * The answer.  ERR_OK: `hold` is the object's, until session_drop().  Else it
 * is NULL; ERR_NOT_FOUND: there is no such session (any more), ERR_CANCELED:
 * somebody else has taken it meanwhile, ERR_NO_SPACE, ERR_IO.  Owner's loop;
 * not called if the object has gone.
 */
typedef void session_got_cb(void *object, struct session_hold *hold,
			    enum err err, const struct why *why);

/* Begin a session for the hosted repository `repo`.  Owner's loop. */
void session_begin(struct upload_sessions *all, const struct session_owner *o,
		   const char *repo, enum digest_alg alg, session_got_cb *cb);
/* Own the session of that id, if it was begun for `repo`; else ERR_NOT_FOUND,
 * and nobody is disturbed.  With `for_bytes`, which are not to be sent for
 * nothing, ERR_NO_SPACE and ERR_IO too if the index takes nothing now.  Owner's
 * loop. */
void session_take(struct upload_sessions *all, const struct session_owner *o,
		  const char *id, const char *repo, bool for_bytes,
		  session_got_cb *cb);

/* Of a session that one has a hold of.  Owner's loop. */
const char *session_id(const struct session_hold *hold);
/* Where the session stood when the hold was granted, and what has been
 * appended since. */
uint64_t session_offset(const struct session_hold *hold);

/*
 * What became of a job: ERR_CANCELED if the session was taken over before it
 * began, else as in cache/upload.h.  Owner's loop; `object` is NULL if it has
 * gone, and then `arg` must still be let go of.
 */
typedef void session_done_cb(void *object, void *arg, enum err err,
			     const struct why *why);

/* Jobs, done in the order given; after one that could not add its bytes none
 * of this hold's but session_cancel().  `buf` stays as it is until `done`. */
void session_append(struct session_hold *hold, const void *buf, size_t len,
		    session_done_cb *done, void *arg);
/* A PUT's body begins here: upload_begin_put(). */
void session_mark(struct session_hold *hold, session_done_cb *done, void *arg);
/* `h` is copied.  ERR_OK: durable and linked; the session is gone. */
void session_finish(struct session_hold *hold, const struct digest *dg,
		    const struct hosting *h, session_done_cb *done, void *arg);
void session_cancel(struct session_hold *hold, session_done_cb *done,
		    void *arg);

/* Let go of it.  Owner's loop; before the reply, so that nobody cuts that. */
void session_drop(struct session_hold **hold);

/*
 * What may be told of a session without owning it.  ERR_OK: it is open, and
 * the offset is one that a client may count on.  ERR_BUSY: only the disk
 * knows: upload_look(), on a worker.  Never waits.  Any thread.
 */
enum err session_look(struct upload_sessions *all, const char *id,
		      struct upload_info *out) MUST_CHECK;

#endif
