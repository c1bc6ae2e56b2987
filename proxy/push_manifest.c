/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PUT of a manifest: receive its bytes, read and check them, store them with
 * their tags in one commit.
 *
 *   RECEIVE (loop) ─► CHECK (worker: JSON, digest) ─► STORE (worker, writer)
 *                       └─ 400 MANIFEST_INVALID          └─► 201, or what is
 *                          DIGEST_INVALID                    missing
 */
#include "cache/hosted.h"
#include "cache/manifest.h"
#include "proxy/hook.h"
#include "proxy/permit.h"
#include "proxy/serve_hosted.h"

/* Tags in one request: OCI asks for at least ten. */
#define TAGS_MAX 100
/* Their lengths together: the answer names each in a line of its head. */
#define TAGS_BYTES_MAX 4096
#define BODY_FIRST_BYTES (16 * KIB)

struct push {
	char *body;
	size_t len, cap;    /* cap counts in `buffered` */
	char *content_type; /* or NULL */
	char **tags;
	size_t n_tags;
	struct names_answer shadow;
	bool builds_on_shadow;
};

/* Manifests that are being received or stored, of all requests together. */
#define BUFFERED_MAX (64 * MIB)
static uint64_t buffered; /* atomic */

static struct push *state_of(const struct request *r)
{
	return r->state;
}

static void push_free(struct push *p)
{
	__atomic_fetch_sub(&buffered, p->cap, __ATOMIC_RELAXED);
	for (size_t i = 0; i < p->n_tags; i++)
		free(p->tags[i]);
	free(p->tags);
	free(p->content_type);
	free(p->body);
	free(p);
}

static void release(struct request *r)
{
	if (r->state)
		push_free(r->state);
	r->state = NULL;
}

/* ---- the reply ---- */

/* What a worker and the writer work on; it outlives the request. */
struct store_job {
	struct job job;
	struct way_home home; /* for the writer's answer */
	struct cache *cache;
	struct push *push;
	struct conf *conf; /* push->shadow names an upstream of it */
	char repo[REPO_NAME_MAX + 1];
	bool *immutable;
	bool by_digest;
	bool allow_sparse;
	uint64_t max_bytes;
	struct digest dg; /* as the path names it, or alg 0 */
	struct manifest_facts facts;
	enum api_code code; /* of an error that is the client's */
	struct hosted_result res;
	struct hooks *hooks;
	struct hook_list events;
};

static void store_free(struct store_job *s)
{
	manifest_facts_release(&s->facts);
	push_free(s->push);
	conf_unref(&s->conf);
	free(s->immutable);
	hook_list_release(&s->events);
	free(s);
}

static void reply_stored(struct request *r, struct store_job *s)
{
	char text[DIGEST_TEXT_MAX];

	digest_text(&s->dg, text);
	reply_begin(r, 201);
	reply_header(r, "Location", "/v2/%s/manifests/%s", r->route.name, text);
	reply_header(r, "Docker-Content-Digest", "%s", text);
	if (s->facts.has_subject) {
		digest_text(&s->facts.subject, text);
		reply_header(r, "OCI-Subject", "%s", text);
	}
	/* Only those of the query: the path's own is no news. */
	for (size_t i = 0; s->by_digest && i < s->push->n_tags; i++)
		reply_header(r, "OCI-Tag", "%s", s->push->tags[i]);
	if (s->res.claimed)
		request_claimed(r, &s->push->shadow);
	reply_send(r, 0, NULL);
}

static void reply_failed(struct request *r, const struct store_job *s)
{
	const struct hosted_result *res = &s->res;
	char text[DIGEST_TEXT_MAX] = "";

	if (res->dg.alg)
		digest_text(&res->dg, text);
	switch (res->err) {
	case ERR_INVALID:
	case ERR_MISMATCH:
	case ERR_TOO_BIG:
		reply_error(r, res->err == ERR_TOO_BIG ? 413 : 400, s->code,
			    res->why.text, NULL);
		break;
	case ERR_NOT_FOUND:
		reply_error(r, 400, CODE_MANIFEST_BLOB_UNKNOWN, res->why.text,
			    text);
		break;
	case ERR_DENIED:
		reply_error(r, 403, CODE_DENIED, res->why.text, NULL);
		break;
	default:
		reply_err(r, res->err, CODE_MANIFEST_UNKNOWN, 0, &res->why);
	}
}

static void stored(struct message *msg, void *object)
{
	struct store_job *s = container_of(msg, struct store_job, home.msg);
	struct request *r = object;

	if (s->events.n)
		hooks_wake(s->hooks);
	if (r && s->res.err == ERR_OK)
		reply_stored(r, s);
	else if (r)
		reply_failed(r, s);
	store_free(s);
}

/* ---- CHECK and STORE, on a worker ---- */

static void on_commit(void *arg, const struct hosted_result *res)
{
	struct store_job *s = arg;

	s->res = *res;
	way_home_go(&s->home);
}

static enum err refuse(struct store_job *s, enum err err, enum api_code code,
		       const char *sentence)
{
	s->code = code;
	return why_set(&s->res.why, err, "%s", sentence);
}

static enum err check_digest(struct store_job *s)
{
	char asked[DIGEST_TEXT_MAX], found[DIGEST_TEXT_MAX];
	struct digest dg;

	digest_of(s->dg.alg ? (enum digest_alg)s->dg.alg : DIGEST_SHA256,
		  s->push->body, s->push->len, &dg);
	if (s->dg.alg && !digest_equal(&s->dg, &dg)) {
		s->code = CODE_DIGEST_INVALID;
		return why_set(&s->res.why, ERR_MISMATCH,
			       "the manifest's digest is %s, not %s",
			       digest_text(&dg, found),
			       digest_text(&s->dg, asked));
	}
	s->dg = dg;
	return ERR_OK;
}

static enum err check(struct store_job *s)
{
	const struct push *p = s->push;
	enum err err;

	s->code = CODE_MANIFEST_INVALID;
	err = manifest_parse(p->body, p->len, s->max_bytes, p->content_type,
			     &s->facts, &s->res.why);
	if (err != ERR_OK)
		return err;
	if (s->facts.kind == MANIFEST_SCHEMA1)
		return refuse(s, ERR_INVALID, CODE_MANIFEST_INVALID,
			      "Docker's image manifest schema 1 is obsolete "
			      "and not stored; push it again with a Docker of "
			      "1.10 or later, which sends schema 2");
	return check_digest(s);
}

/* One for each tag; without a tag one. */
static void add_events(struct store_job *s)
{
	struct hook_target t = {
	    .action = CONF_EVENT_PUSH,
	    .repo = s->repo,
	    .media_type = s->facts.media_type,
	    .dg = &s->dg,
	    .has_size = true,
	    .size = s->push->len,
	};

	for (size_t i = 0; i < s->push->n_tags; i++) {
		t.tag = s->push->tags[i];
		hook_list_add(&s->events, &t);
	}
	if (s->push->n_tags == 0)
		hook_list_add(&s->events, &t);
}

static void store_run(struct job *job)
{
	struct store_job *s = container_of(job, struct store_job, job);
	const struct push *p = s->push;
	struct push_manifest m = {
	    .to = {.repo = s->repo,
		   .claims = true,
		   .shadow_host =
		       p->builds_on_shadow ? p->shadow.upstream : NULL,
		   .shadow_name = p->builds_on_shadow ? p->shadow.repo : NULL},
	    .facts = &s->facts,
	    .bytes = p->body,
	    .len = p->len,
	    .tags = (const char *const *)p->tags,
	    .n_tags = p->n_tags,
	    .immutable = s->immutable,
	    .allow_sparse = s->allow_sparse,
	};

	s->res.err = check(s);
	if (s->res.err != ERR_OK) {
		way_home_go(&s->home);
		return;
	}
	m.dg = s->dg;
	m.media_type = s->facts.media_type;
	add_events(s);
	hook_list_into(&s->events, &m.to);
	cache_push_manifest(s->cache, &m, on_commit, s);
}

static void store(struct request *r)
{
	struct store_job *s = xcalloc(1, sizeof(*s));
	struct push *p = state_of(r);

	r->state = NULL;
	/* Not before: a body may have taken its time. */
	p->builds_on_shadow =
	    p->shadow.kind == NAMES_MIRROR && request_sees_now(r, &p->shadow);
	s->push = p;
	s->conf = conf_ref(r->conf);
	s->cache = r->server->cache;
	s->home = request_way_home(r, stored);
	memcpy(s->repo, r->names.repo, sizeof(s->repo));
	s->by_digest = r->route.reference == REFERENCE_DIGEST;
	if (s->by_digest)
		s->dg = r->route.digest;
	s->hooks = r->server->hooks;
	if (hooks_want(r->conf, CONF_EVENT_PUSH, s->repo))
		hook_list_init(&s->events, r);
	s->allow_sparse = conf_is_sparse(r->conf, s->repo);
	s->max_bytes = r->conf->cache.manifest_max_bytes;
	s->immutable = xcalloc(p->n_tags + 1, sizeof(*s->immutable));
	for (size_t i = 0; i < p->n_tags; i++)
		s->immutable[i] =
		    conf_tag_is_immutable(r->conf, s->repo, p->tags[i]);
	s->job.lane = JOB_SYNC;
	s->job.run = store_run; /* owns itself: no `done` */
	job_submit(r->server->jobs, &s->job);
}

/* ---- RECEIVE ---- */

/* Half of a manifest is worth nothing, so nobody waits for the others' room
 * with one: who finds none comes back. */
static bool grow(struct push *p)
{
	size_t more = p->cap ? p->cap : BODY_FIRST_BYTES;

	if (__atomic_add_fetch(&buffered, more, __ATOMIC_RELAXED) >
	    BUFFERED_MAX) {
		__atomic_fetch_sub(&buffered, more, __ATOMIC_RELAXED);
		return false;
	}
	p->cap += more;
	p->body = xrealloc(p->body, p->cap);
	return true;
}

static void *room(struct request *r, size_t *len)
{
	struct push *p = state_of(r);
	struct why why;

	if (p->len == p->cap && !grow(p)) {
		(void)why_set(&why, ERR_BUSY,
			      "too many manifests are being pushed at once; "
			      "try again in a moment");
		reply_err(r, ERR_BUSY, CODE_MANIFEST_UNKNOWN, 1, &why);
		return NULL;
	}
	*len = p->cap - p->len;
	return p->body + p->len;
}

static void took(struct request *r, size_t len)
{
	state_of(r)->len += len;
}

static void broken(struct request *r, unsigned status, const char *sentence)
{
	if (status)
		reply_error(r, status,
			    status == 413 ? CODE_MANIFEST_INVALID
					  : CODE_UNSUPPORTED,
			    sentence, NULL);
}

static const struct body_taker taker = {
    .room = room, .took = took, .end = store, .broken = broken};

static bool refuse_tags(struct request *r, unsigned status,
			const char *sentence)
{
	reply_error(r, status, CODE_TAG_INVALID, sentence, NULL);
	return false;
}

static void add_tag(struct push *p, const char *tag)
{
	p->tags = xrealloc(p->tags, (p->n_tags + 1) * sizeof(*p->tags));
	p->tags[p->n_tags++] = xstrdup(tag);
}

static bool has_tag(const struct push *p, const char *tag)
{
	for (size_t i = 0; i < p->n_tags; i++)
		if (strcmp(p->tags[i], tag) == 0)
			return true;
	return false;
}

/*
 * OCI distribution-spec (main), "Pushing Manifests": "?tag=<tag>" any number
 * of times, where the path names a digest.  False: a reply has been sent.
 */
static bool read_tags(struct request *r)
{
	struct span rest = r->head->query, key, value;
	struct push *p = state_of(r);
	char tag[TAG_MAX + 1];
	size_t len, bytes = 0;

	if (r->route.reference == REFERENCE_TAG)
		add_tag(p, r->route.ref);
	while (http_query_next(&rest, &key, &value)) {
		if (!http_query_key_is(key, "tag"))
			continue;
		if (http_percent_decode(value, tag, sizeof(tag), &len) !=
			ERR_OK ||
		    !tag_valid(tag, len))
			return refuse_tags(r, 400,
					   "a parameter tag is no tag "
					   "(letters, digits, \"_\", \".\", "
					   "\"-\", at most 128 characters)");
		if (has_tag(p, tag))
			continue;
		bytes += len;
		if (p->n_tags == TAGS_MAX || bytes > TAGS_BYTES_MAX)
			return refuse_tags(r, 414,
					   "more than 100 tags, or 4096 "
					   "characters of them, in one "
					   "request; send the others in "
					   "another one");
		add_tag(p, tag);
	}
	return true;
}

static void start(struct request *r)
{
	struct span type = http_head_find(r->head, "content-type");
	struct push *p = xcalloc(1, sizeof(*p));

	r->state = p;
	/* request.c has asked permit_push(), which left it there. */
	p->shadow = r->shadow;
	if (type.ptr)
		p->content_type = xstrndup(type.ptr, type.len);
	if (read_tags(r))
		conn_read_body(r->conn, &taker,
			       r->conf->cache.manifest_max_bytes);
}

const struct handler push_manifest = {.start = start, .release = release};
