/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_QUESTION_H
#define PROXY_QUESTION_H
/*
 * Questions to upstreams from within: what mirror.c (lifetime), question.c
 * (the table, waiters, answers, calls), question_note.c (what is written to
 * the index) and the ask_*.c files (what to ask, in which order) share.
 * Fetch loop only, but for what says otherwise.
 *
 *   mirror_ask() ─► remembered? ──────────────► answer
 *                   the same is being asked? ─► one more waiter
 *                   else: new question ─► its kind's ask_*()
 *
 * A question has one thing under way at a time: a call, a pause, or a note on
 * its way to the index.  Each goes on in a function that was named when it
 * began; the last one calls question_answer() or question_refuse().
 */
#include "cache/manifest.h"
#include "proxy/memo.h"
#include "proxy/mirror.h"
#include "proxy/upstream.h"

#define QUESTION_MAGIC 0x51554553
/* Of a key: a kind, upstream, repository, reference and query. */
#define QUESTION_KEY_MAX                                                       \
	(8 + REPO_HOST_MAX + REPO_NAME_MAX + ASK_REFERENCE_MAX + ASK_QUERY_MAX)

/* One who waits for an answer. */
struct waiter {
	TAILQ_ENTRY(waiter) link;
	bool joined;
	bool head_only;
	uint64_t since_us;
	struct loop *home;
	struct handle to;
	uint32_t magic;
	void (*run)(struct message *msg, void *object);
};

struct questions {
	struct mirror *mirror;
	struct loop *loop;
	struct cache *cache;
	LIST_HEAD(, question) list[1024];
	unsigned notes; /* on their way to the index and back */
	bool closing;
	struct memo *negative; /* tags that upstream says it has not */
	struct memo *out;      /* tags whose check failed; any thread */
	struct memo *lists;
};

/* What came of one call; lives until the step returns. */
struct heard {
	enum err err; /* not ERR_OK: no head */
	const struct why *why;
	const struct call_head *head;
	const void *body;
	size_t len;
};

struct question;
typedef void question_step(struct question *q, const struct heard *h);
typedef void question_go(struct question *q);
typedef void question_noted(struct question *q, enum err err,
			    const struct why *why);

struct question {
	LIST_ENTRY(question) link;
	struct questions *all;
	struct handle handle;
	bool ended;
	char key[QUESTION_KEY_MAX + 1];
	enum ask_kind kind;
	char repo[REPO_NAME_MAX + 1];
	char reference[ASK_REFERENCE_MAX + 1];
	char query[ASK_QUERY_MAX];
	struct digest dg; /* of the reference, where it is one */
	TAILQ_HEAD(, waiter) waiters;

	struct conf *conf; /* as of its beginning */
	const struct conf_upstream *up_conf;
	struct upstream *up;
	/* Until when a pause for Retry-After is worth its while. */
	uint64_t patience_ms;

	/* what is under way */
	struct call_small *small;
	struct call *call;
	struct call_head cut_head; /* of a call that ends after its head */
	question_step *step;
	struct timer pause;
	question_go *go;

	/* the repository and tag as the index had them at the beginning */
	uint64_t repo_id; /* 0: never seen */
	bool denied;      /* it has a date of denial */
	bool tag_known, tag_held;

	/* what is learnt */
	struct mirror_answer found; /* what every waiter gets a copy of */
	struct buffer *bytes;       /* a manifest that was fetched */
	struct manifest_facts facts;
	bool is_marked;
	bool public_yes;
	bool by_tag;  /* GET by tag has been tried */
	bool no_head; /* HEAD was refused: a GET is asked instead */

	/* who may see it? */
	enum call_what witness_kind;
	char witness[DIGEST_TEXT_MAX]; /* what is asked for anonymously */
	question_go *marked;           /* afterwards */

	/* lists */
	struct json_t *merged;    /* array of descriptors */
	struct json_t *digests;   /* object: which are in it */
	char page[ASK_QUERY_MAX]; /* query of the page that is asked for */
	unsigned pages;
	uint64_t list_bytes;
};

/* ---- mirror.c ---- */

/* The configuration that the upstreams have now; borrowed. */
struct conf *mirror_conf(struct mirror *m);

/* ---- question.c ---- */

struct questions *questions_new(struct mirror *m) MUST_CHECK;
/* Answer everybody; take no more. */
void questions_close(struct questions *all);
void questions_free(struct questions **all);
/* Answer at once from memory, join a question, or begin one. */
void question_ask(struct questions *all, const struct mirror_ask *ask,
		  struct waiter *STEALS w);
/* The key of what is remembered of a tag, in out[QUESTION_KEY_MAX + 1]. */
void question_tag_key(char *out, const char *upstream, const char *repo,
		      const char *tag);
/* mirror_forget().  Any thread. */
void questions_forget(struct questions *all, const char *upstream,
		      const char *repo);

/* Answer all with q->found; the question is over. */
void question_answer(struct question *q);
/* Answer those that sent HEAD.  True: others wait for more.  False: it is
 * over. */
bool question_answer_heads(struct question *q);
/* Put an error into q->found; the same and answer all. */
void question_set_error(struct question *q, enum err err, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
void question_fail(struct question *q, enum err err, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* A question_noted that answers, whatever became of the note. */
void question_answer_noted(struct question *q, enum err err,
			   const struct why *why);
const char *question_upstream(const struct question *q);
/* ---- question_call.c ---- */

/* Ask; `step` hears the answer, with a body of at most max_body bytes. */
void question_call(struct question *q, const struct call_spec *spec,
		   size_t max_body, question_step *step);
/* The same, but only the head is of interest. */
void question_call_head(struct question *q, const struct call_spec *spec,
			question_step *step);
/* A spec for this question's upstream and repository. */
struct call_spec question_spec(const struct question *q, enum call_what what,
			       const char *reference, bool head);

/*
 * Is there a limit (429) on such calls?  False: no, go ahead.  True: the
 * question pauses, if that is worth its while, and `go` is called again
 * later; else it has been answered from memory.
 */
bool question_limited(struct question *q, enum limit_kind kind,
		      question_go *go);
/*
 * Fail the question with what was heard: an error of the call, or a status
 * that is no success.  Dates a denial on the repository before it answers.
 * `thing` is what was asked for: "the manifest".
 */
void question_refuse(struct question *q, const struct heard *h,
		     const char *thing);
/* Does upstream refuse it to whoever asked? */
bool question_is_denial(const struct heard *h);
/*
 * Does this answer to a HEAD leave a GET to try?  Some registries know no
 * HEAD, and some refuse it to everybody as if the name were private; so a
 * denial counts only once a GET has been denied too, unless no GET may be
 * asked now (429).
 */
bool question_head_refused(struct question *q, const struct heard *h);
/* The first half of that: a status that says so. */
bool question_knows_no_head(const struct heard *h);
/* Remember a 429. */
void question_note_limit(struct question *q, const struct call_head *h,
			 enum limit_kind kind);

/* ---- question_note.c ---- */

/* Read the rows of the question's repository and tag. */
void question_look(struct question *q);
/* Is this manifest stored and linked in the question's repository?  Then
 * q->found gets its digest, type and size. */
bool question_holds(struct question *q, const struct digest *dg);

/* Commits; `then` is called when they are visible. */

void question_note_tag(struct question *q, enum tag_news news,
		       const struct digest *dg, question_noted *then);
void question_note_repo(struct question *q, enum repo_news news,
			question_noted *then);
void question_note_yes(struct question *q, enum link_kind kind,
		       question_noted *then);
/* q->bytes and q->facts as the manifest q->found.digest, with `tag` or NULL;
 * takes the facts. */
void question_store(struct question *q, const char *tag, question_noted *then);

/* ---- one for each kind ---- */

void ask_tag(struct question *q);
void ask_manifest(struct question *q);
void ask_yes_manifest(struct question *q);
void ask_yes_blob(struct question *q);
void ask_tags(struct question *q);
void ask_referrers(struct question *q);
void ask_visibility(struct question *q);
void ask_visibility_tags(struct question *q);

/* ---- ask_list.c, for both kinds of lists ---- */

/* The JSON object in a body.  NULL: it is none, or has too many values; the
 * question has been answered. */
struct json_t *list_parse(struct question *q, const struct heard *h) MUST_CHECK;
/* The query of the next page, "" if there is none.  False: it cannot be
 * used; the question has been answered. */
bool list_next(struct question *q, const char *target, char out[ASK_QUERY_MAX]);
/* Remember q->found as this list, and answer. */
void list_answer(struct question *q);

/*
 * Who may see what has just been had?  Asks anonymously for it where our
 * credentials were used and there is no mark, or an old one; sets
 * q->public_yes and q->found.visibility, clears a date of denial; `marked` is
 * called when the index has it.  (ask_public.c)
 */
void question_mark(struct question *q, bool authorized, enum call_what what,
		   const char *reference, question_go *marked);

#endif
