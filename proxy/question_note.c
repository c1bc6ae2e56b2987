/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A question's dealings with the index: what that knows when it begins, and
 * what has been learnt, on its way there.  Each note is one commit, whose end
 * comes back as a message, so that an answer is sent when the index has what it
 * says.
 *
 *   fetch loop ─► (worker, for a manifest) ─► index writer ─► fetch loop
 */
#include "proxy/question.h"
#include "proxy/server.h"

/* ---- what the index knows ---- */

static void look_repo(struct question *q, struct index_txn *txn)
{
	struct repo_row row;

	if (repo_id(txn, question_upstream(q), q->repo, &q->repo_id) !=
		ERR_OK ||
	    repo_get(txn, q->repo_id, &row) != ERR_OK) {
		q->repo_id = 0;
		return;
	}
	q->denied = row.denied_ms != 0;
	q->found.visibility = row.visibility;
}

void question_look(struct question *q)
{
	struct index_txn *txn = index_read(cache_index(q->all->cache));
	struct tag_row tag;
	struct link_row link;

	look_repo(q, txn);
	if (q->repo_id && q->kind == ASK_TAG &&
	    tag_get(txn, q->repo_id, q->reference, strlen(q->reference),
		    &tag) == ERR_OK) {
		q->tag_known = true;
		q->tag_held =
		    tag.held[0].alg != 0 ||
		    (tag.seen.alg &&
		     link_get(txn, q->repo_id, &tag.seen, &link) == ERR_OK);
	}
	index_read_end(txn);
}

static void copy_type(struct question *q, struct slice type)
{
	if (type.len >= sizeof(q->found.media_type))
		return;
	memcpy(q->found.media_type, type.ptr, type.len);
	q->found.media_type[type.len] = '\0';
}

bool question_holds(struct question *q, const struct digest *dg)
{
	struct index_txn *txn = index_read(cache_index(q->all->cache));
	struct manifest_row row;
	struct link_row link;
	bool held;

	if (!q->repo_id)
		look_repo(q, txn);
	held = q->repo_id && link_get(txn, q->repo_id, dg, &link) == ERR_OK &&
	       link.kind == LINK_MANIFEST &&
	       manifest_get(txn, dg, &row) == ERR_OK;
	if (held) {
		q->found.digest = *dg;
		q->found.size = row.size;
		copy_type(q, link.media_type.len ? link.media_type
						 : row.media_type);
	}
	index_read_end(txn);
	return held;
}

/* ---- notes ---- */

struct note {
	struct message msg; /* the way home */
	struct job job;     /* of a manifest */
	struct questions *all;
	struct handle to;
	question_noted *then;
	enum err err;
	struct why why;

	/* of a manifest */
	char host[REPO_HOST_MAX + 1];
	char name[REPO_NAME_MAX + 1];
	char tag[ASK_REFERENCE_MAX + 1];
	struct digest dg;
	struct buffer *bytes;
	struct manifest_facts facts;
	bool public_yes;
};

static struct note *note_new(struct question *q, question_noted *then)
{
	struct note *n = xcalloc(1, sizeof(*n));

	n->all = q->all;
	n->to = q->handle;
	n->then = then;
	q->all->notes++;
	return n;
}

/* Fetch loop. */
static void note_home(struct message *msg, void *object)
{
	struct note *n = container_of(msg, struct note, msg);
	struct question *q = object;

	assert(n->all->notes);
	n->all->notes--;
	if (q)
		n->then(q, n->err, &n->why);
	buffer_unref(&n->bytes);
	manifest_facts_release(&n->facts);
	free(n);
}

/* Writer thread (or whoever finds that it cannot be written). */
static void noted(void *arg, enum err err, const struct why *why)
{
	struct note *n = arg;

	n->err = err;
	if (why)
		n->why = *why;
	n->msg.to = n->to;
	n->msg.magic = QUESTION_MAGIC;
	n->msg.run = note_home;
	loop_post(n->all->loop, &n->msg);
}

void question_note_tag(struct question *q, enum tag_news news,
		       const struct digest *dg, question_noted *then)
{
	cache_note_tag(
	    q->all->cache, question_upstream(q), q->repo, q->reference, news,
	    dg, news == TAG_NEWS_GONE && q->up_conf->gone == CONF_GONE_FOLLOW,
	    noted, note_new(q, then));
}

void question_note_repo(struct question *q, enum repo_news news,
			question_noted *then)
{
	cache_note_repo(q->all->cache, question_upstream(q), q->repo, news,
			noted, note_new(q, then));
}

void question_note_yes(struct question *q, enum link_kind kind,
		       question_noted *then)
{
	cache_note_yes(q->all->cache, question_upstream(q), q->repo, &q->dg,
		       kind, q->found.media_type, q->public_yes, noted,
		       note_new(q, then));
}

/* ---- manifests ---- */

/* Worker: a large one writes a file. */
static void store_run(struct job *job)
{
	struct note *n = container_of(job, struct note, job);
	struct store_manifest m = {
	    .host = n->host,
	    .name = n->name,
	    .tag = n->tag[0] ? n->tag : NULL,
	    .dg = n->dg,
	    .media_type = n->facts.media_type,
	    .facts = &n->facts,
	    .bytes = n->bytes->bytes,
	    .len = n->bytes->len,
	    .public_yes = n->public_yes,
	};

	cache_store_manifest(n->all->cache, &m, noted, n);
}

void question_store(struct question *q, const char *tag, question_noted *then)
{
	struct note *n = note_new(q, then);

	snprintf(n->host, sizeof(n->host), "%s", question_upstream(q));
	snprintf(n->name, sizeof(n->name), "%s", q->repo);
	snprintf(n->tag, sizeof(n->tag), "%s", tag ? tag : "");
	n->dg = q->found.digest;
	n->bytes = buffer_ref(q->bytes);
	n->facts = q->facts;
	memset(&q->facts, 0, sizeof(q->facts));
	n->public_yes = q->public_yes;
	n->job.lane = JOB_SYNC;
	n->job.run = store_run;
	job_submit(mirror_server(q->all->mirror)->jobs, &n->job);
}
