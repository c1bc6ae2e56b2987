/* SPDX-License-Identifier: Apache-2.0 */
/*
 * May a client see what we could only have with our credentials?
 *
 *   "private": "share"                      yes
 *   no credentials, nor a mark as private   yes
 *   a mark, made within public_check        what it says
 *   an older mark, or none                  ask anonymously; an answer decides
 *   no answer                               the old mark; without one, 503
 */
#include "proxy/request.h"

#include "cache/cache.h"
#include "proxy/freshness_read.h"
#include "proxy/mirror.h"
#include "proxy/permit.h"
#include "proxy/reply.h"

struct seeing {
	void (*next)(struct request *r);
	enum visibility mark; /* the last one */
	struct timer late;    /* for the answer, where there is a mark */
	uint64_t asked_us;
	bool decided;
};

void request_see_release(struct request *r)
{
	if (!r->seeing)
		return;
	timer_release(&r->seeing->late);
	free(r->seeing);
	r->seeing = NULL;
}

static void refuse_private(struct request *r)
{
	char detail[REPO_HOST_MAX + 128];

	snprintf(detail, sizeof(detail),
		 "\"upstreams\": {\"%.*s\": {\"private\": \"share\"}} would "
		 "share it with everybody who can reach this mirror",
		 REPO_HOST_MAX, r->up->name);
	reply_error(r, 403, CODE_DENIED,
		    "this repository is private: the mirror can read it with "
		    "its own credentials, but does not share it "
		    "(\"private\": \"share\")",
		    detail);
}

static void refuse_unknown(struct request *r, const struct why *why)
{
	reply_begin(r, 503);
	reply_header(r, "Retry-After", "1");
	reply_send_error(
	    r, CODE_UNAVAILABLE,
	    "it cannot be told now whether this repository is public",
	    why ? why->text : NULL);
}

static void decide(struct request *r, enum visibility visibility,
		   const struct why *why)
{
	struct seeing *s = r->seeing;

	s->decided = true;
	timer_clear(&s->late);
	r->upstream_us += now_us() - s->asked_us;
	switch (visibility) {
	case VIS_PUBLIC:
		s->next(r);
		break;
	case VIS_PRIVATE:
		refuse_private(r);
		break;
	case VIS_UNKNOWN:
		refuse_unknown(r, why);
		break;
	}
}

static void answered(struct message *msg, void *object)
{
	struct mirror_answer *a = container_of(msg, struct mirror_answer, msg);
	struct request *r = object;

	if (r && !r->seeing->decided) {
		bool known = !a->err && a->visibility != VIS_UNKNOWN;

		decide(r, known ? a->visibility : r->seeing->mark, &a->why);
	}
	mirror_answer_free(&a);
}

static void too_late(void *arg)
{
	struct request *r = arg;

	if (!r->seeing->decided)
		decide(r, r->seeing->mark, NULL);
}

static enum ask_kind kind_of(const struct request *r)
{
	if (!r->witness[0])
		return ASK_VISIBILITY_TAGS;
	return r->route.endpoint == ENDPOINT_BLOB ? ASK_VISIBILITY_BLOB
						  : ASK_VISIBILITY_MANIFEST;
}

static void ask(struct request *r, enum visibility mark,
		void (*next)(struct request *r))
{
	struct mirror_ask question = {
	    .kind = kind_of(r),
	    .upstream = r->names.upstream,
	    .repo = r->names.repo,
	    .reference = r->witness,
	};
	struct seeing *s = xcalloc(1, sizeof(*s));

	assert(!r->seeing);
	r->seeing = s;
	s->next = next;
	s->mark = mark;
	s->asked_us = now_us();
	timer_init(&s->late, r->loop, too_late, r);
	if (mark != VIS_UNKNOWN)
		timer_set(&s->late, r->up->freshness_ms);
	mirror_ask(r->server->mirror, &question, r->loop, r->handle,
		   REQUEST_MAGIC, answered);
}

/* A repository's mark, and whether it is too old to stand alone. */
static enum visibility judge(const struct repo_row *row, uint64_t check_ms,
			     bool *old)
{
	uint64_t now = wall_ms();

	*old = row->visibility == VIS_UNKNOWN || row->marked_ms > now ||
	       now - row->marked_ms >= check_ms;
	return row->visibility;
}

static enum visibility read_mark(struct request *r, bool *old)
{
	struct index_txn *txn = index_read(cache_index(r->server->cache));
	struct repo_row row = {.visibility = VIS_UNKNOWN};
	uint64_t id = request_repo(r, txn);

	if (!id || repo_get(txn, id, &row) != ERR_OK)
		row.visibility = VIS_UNKNOWN;
	index_read_end(txn);
	return judge(&row, r->up->public_check_ms, old);
}

bool request_sees_now(const struct request *r,
		      const struct names_answer *mirror)
{
	const struct conf_upstream *up = conf_upstream_find(
	    r->conf, mirror->upstream, strlen(mirror->upstream));
	struct repo_row row = {.visibility = VIS_UNKNOWN};
	struct freshness facts = {0};
	enum visibility mark;
	struct index_txn *txn;
	uint64_t id;
	bool known, old;

	if (!up || !permit_would(r, ACTION_PULL))
		return false;
	txn = index_read(cache_index(r->server->cache));
	known = repo_id(txn, mirror->upstream, mirror->repo, &id) == ERR_OK &&
		repo_get(txn, id, &row) == ERR_OK;
	index_read_end(txn);
	/* As a pull of one of its digests: denied for too long, none is
	 * given out until upstream has said yes again. */
	freshness_of_repo(up, known ? &row : NULL, &facts);
	if (freshness_of_digest(&facts) != FRESHNESS_HIT)
		return false;
	if (up->private_content == CONF_PRIVATE_SHARE)
		return true;
	if (!known)
		row.visibility = VIS_UNKNOWN;
	mark = judge(&row, up->public_check_ms, &old);
	if (up->credentials == CONF_CRED_NONE)
		return mark != VIS_PRIVATE;
	return mark == VIS_PUBLIC && !old;
}

void request_may_see(struct request *r, void (*next)(struct request *r))
{
	enum visibility mark;
	bool old, out;

	/* Whoever was refused has had his reply. */
	if (r->up->private_content == CONF_PRIVATE_SHARE || r->seeing) {
		next(r);
		return;
	}
	mark = read_mark(r, &old);
	if (r->up->credentials == CONF_CRED_NONE && mark != VIS_PRIVATE) {
		next(r);
		return;
	}
	out = r->up->offline ||
	      mirror_is_out(r->server->mirror, r->names.upstream);
	if (old && (mark == VIS_UNKNOWN || !out))
		ask(r, mark, next);
	else if (mark == VIS_PUBLIC)
		next(r);
	else
		refuse_private(r);
}

bool request_hide(struct request *r)
{
	bool old;

	if (!r->up || r->up->private_content == CONF_PRIVATE_SHARE ||
	    read_mark(r, &old) != VIS_PRIVATE)
		return false;
	refuse_private(r);
	return true;
}
