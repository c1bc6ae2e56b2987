/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Upload sessions of hosted repositories.
 *
 *   POST    mount? ─yes─► 201          else begin ─► 202
 *             digest and a body? ─► begin, append, finish ─► 201
 *   PATCH   take ─► 416? ─► append ─► 202
 *   PUT     take ─► 416? ─► (mark) append ─► finish ─► 201
 *   DELETE  take ─► cancel ─► 204
 *   GET, HEAD  look ─► 204
 */
#include "proxy/serve_upload.h"

#include "proxy/hook.h"
#include "proxy/reply.h"

/* ---- what the request says ---- */

/* The parameter `digest`.  False: a reply has been sent. */
static bool read_digest(struct request *r)
{
	struct upload_state *st = upload_state(r);
	struct span value;

	if (http_query_find(r->head->query, "digest", &value) == 0)
		return true;
	if (request_query(r, "digest", st->digest, sizeof(st->digest)) &&
	    digest_parse(st->digest, strlen(st->digest), &st->dg) == ERR_OK) {
		st->has_digest = true;
		return true;
	}
	upload_refuse(r, 400, CODE_DIGEST_INVALID,
		      "the parameter digest is malformed, or its algorithm is "
		      "neither sha256 nor sha512");
	return false;
}

/* Plainly "a-b"; "bytes=a-b" and "bytes a-b/T" are understood as well. */
static bool parse_content_range(struct span value, uint64_t *first,
				uint64_t *last)
{
	static const char unit[] = "bytes";
	struct span a, total;

	if (value.len > sizeof(unit) &&
	    memcmp(value.ptr, unit, sizeof(unit) - 1) == 0)
		span_skip(&value, sizeof(unit));
	if (!span_cut(&value, '-', &a))
		return false;
	if (!span_cut(&value, '/', &total))
		total = value;
	return span_uint(a, first) == ERR_OK &&
	       span_uint(total, last) == ERR_OK && *first <= *last &&
	       *last < INT64_MAX;
}

/* False: a reply has been sent. */
static bool read_content_range(struct request *r)
{
	struct upload_state *st = upload_state(r);
	const struct http_head *head = r->head;
	struct span value = http_head_find(head, "content-range");

	if (!value.ptr)
		return true;
	if (http_head_count(head, "content-range") > 1 ||
	    !parse_content_range(value, &st->first, &st->last)) {
		upload_refuse(r, 400, CODE_RANGE_INVALID,
			      "Content-Range is not \"<first>-<last>\"");
		return false;
	}
	if (head->has_length &&
	    head->content_length != st->last - st->first + 1) {
		upload_refuse(r, 400, CODE_SIZE_INVALID,
			      "Content-Length and Content-Range disagree");
		return false;
	}
	st->ranged = true;
	return true;
}

/* ---- ends ---- */

static void finished(void *object, void *arg, enum err err,
		     const struct why *why)
{
	struct request *r = object;

	if (arg && !err)
		hooks_wake(arg);
	if (!r || r->replied)
		return;
	if (err) {
		upload_fail(r, err, why);
		return;
	}
	session_drop(&upload_state(r)->hold);
	upload_created(r);
}

static void add_event(const struct request *r, struct hook_list *events)
{
	const struct upload_state *st = upload_state(r);
	struct hook_target t = {
	    .action = CONF_EVENT_PUSH,
	    .repo = r->names.repo,
	    .media_type = "application/octet-stream",
	    .dg = &st->dg,
	    .is_blob = true,
	    .has_size = true,
	    .size = session_offset(st->hold),
	};

	hook_list_init(events, r);
	hook_list_add(events, &t);
}

static void finish(struct request *r)
{
	struct upload_state *st = upload_state(r);
	struct hosting h = {.repo = r->names.repo, .claims = true};
	struct hook_list events = {0};

	if (hooks_want(r->conf, CONF_EVENT_PUSH, h.repo))
		add_event(r, &events);
	hook_list_into(&events, &h);
	session_finish(st->hold, &st->dg, &h, finished,
		       events.n ? r->server->hooks : NULL);
	hook_list_release(&events);
}

/* A chunked body may be shorter than its Content-Range. */
static bool is_short(struct request *r)
{
	struct upload_state *st = upload_state(r);

	if (!st->ranged || conn_body_taken(r->conn) == st->last - st->first + 1)
		return false;
	upload_refuse(r, 400, CODE_SIZE_INVALID,
		      "the body is shorter than its Content-Range");
	return true;
}

static void put_is_in(struct request *r)
{
	if (!is_short(r))
		finish(r);
}

static void patch_is_in(struct request *r)
{
	struct upload_state *st = upload_state(r);
	uint64_t offset = session_offset(st->hold);
	char id[UPLOAD_ID_MAX + 1];

	if (is_short(r))
		return;
	snprintf(id, sizeof(id), "%s", session_id(st->hold));
	upload_let_go(r);
	upload_reply_state(r, 202, id, offset);
}

/* ---- owning a session ---- */

/* Somebody else wants the session: this request is an older one. */
static void cut(void *object)
{
	struct request *r = object;

	if (!r->replied)
		conn_cut(r->conn);
}

static struct session_owner owner_of(const struct request *r)
{
	return (struct session_owner){
	    .loop = r->loop,
	    .to = r->handle,
	    .magic = REQUEST_MAGIC,
	    .cut = cut,
	};
}

/* The session is ours.  False: a reply has been sent. */
static bool granted(struct request *r, struct session_hold *hold, enum err err,
		    const struct why *why)
{
	struct upload_state *st = upload_state(r);

	st->hold = hold;
	if (err) {
		upload_fail(r, err, why);
		return false;
	}
	if (st->ranged && st->first != session_offset(hold)) {
		upload_wrong_start(r);
		return false;
	}
	return true;
}

/* ---- PATCH ---- */

static void patch(void *object, struct session_hold *hold, enum err err,
		  const struct why *why)
{
	struct request *r = object;

	if (granted(r, hold, err, why))
		upload_body(r, patch_is_in);
}

/* ---- PUT ---- */

static void marked(void *object, void *arg, enum err err, const struct why *why)
{
	(void)arg;
	if (object && err)
		upload_fail(object, err, why);
}

/* A client sends a PUT's body again, all of it, when it has broken off; one
 * that says where its bytes belong knows how to go on. */
static void put(void *object, struct session_hold *hold, enum err err,
		const struct why *why)
{
	struct request *r = object;

	if (!granted(r, hold, err, why))
		return;
	if (!conn_has_body(r->conn)) {
		finish(r);
		return;
	}
	if (!upload_state(r)->ranged) {
		upload_state(r)->marked = true;
		session_mark(hold, marked, NULL);
	}
	upload_body(r, put_is_in);
}

/* ---- DELETE ---- */

static void cancelled(void *object, void *arg, enum err err,
		      const struct why *why)
{
	struct request *r = object;

	(void)arg;
	if (!r || r->replied)
		return;
	if (err) {
		upload_fail(r, err, why);
		return;
	}
	session_drop(&upload_state(r)->hold);
	reply_begin(r, 204);
	reply_send(r, 0, NULL);
}

static void cancel(void *object, struct session_hold *hold, enum err err,
		   const struct why *why)
{
	struct request *r = object;

	if (granted(r, hold, err, why))
		session_cancel(hold, cancelled, NULL);
}

/* ---- GET and HEAD ---- */

struct look {
	struct job job;
	struct cache *cache;
	char id[DIGEST_TEXT_MAX]; /* as the route has it */
	struct upload_info info;
	enum err err;
	struct why why;
};

static void tell(struct request *r, const struct upload_info *info)
{
	if (strcmp(info->repo, r->names.repo) != 0)
		upload_unknown(r);
	else
		upload_reply_state(r, 204, r->route.ref, info->offset);
}

static void look_run(struct job *job)
{
	struct look *l = container_of(job, struct look, job);

	l->err = upload_look(l->cache, l->id, &l->info, &l->why);
}

static void look_done(struct job *job, void *object)
{
	struct look *l = container_of(job, struct look, job);

	if (object && l->err)
		upload_fail(object, l->err, &l->why);
	else if (object)
		tell(object, &l->info);
	free(l);
}

static void look(struct request *r)
{
	struct upload_info info;
	struct look *l;

	if (session_look(r->server->uploads, r->route.ref, &info) == ERR_OK) {
		tell(r, &info);
		return;
	}
	l = xcalloc(1, sizeof(*l));
	l->cache = r->server->cache;
	snprintf(l->id, sizeof(l->id), "%s", r->route.ref);
	l->job.lane = JOB_SYNC;
	l->job.run = look_run;
	l->job.done = look_done;
	request_submit(r, &l->job);
}

/* ---- POST ---- */

static void begun(void *object, struct session_hold *hold, enum err err,
		  const struct why *why)
{
	struct request *r = object;
	struct upload_state *st = upload_state(r);
	char id[UPLOAD_ID_MAX + 1];

	st->hold = hold;
	if (err) {
		upload_fail(r, err, why);
	} else if (st->monolithic) {
		upload_body(r, put_is_in);
	} else {
		snprintf(id, sizeof(id), "%s", session_id(hold));
		upload_let_go(r);
		upload_reply_state(r, 202, id, 0);
	}
}

/* Without a body, and not because the blob has none. */
static bool is_bodiless(const struct request *r)
{
	const struct upload_state *st = r->state;
	struct digest empty;

	if (conn_has_body(r->conn))
		return false;
	digest_of((enum digest_alg)st->dg.alg, "", 0, &empty);
	return !digest_equal(&empty, &st->dg);
}

/* The parameter digest-algorithm, else that of the digest.  False: a reply
 * has been sent. */
static bool read_algorithm(struct request *r, enum digest_alg *alg)
{
	struct upload_state *st = upload_state(r);
	struct span value;
	char name[16];

	*alg = st->has_digest ? (enum digest_alg)st->dg.alg : DIGEST_SHA256;
	if (http_query_find(r->head->query, "digest-algorithm", &value) == 0)
		return true;
	if (request_query(r, "digest-algorithm", name, sizeof(name))) {
		*alg = DIGEST_SHA256;
		if (strcmp(name, "sha256") == 0)
			return true;
		*alg = DIGEST_SHA512;
		if (strcmp(name, "sha512") == 0)
			return true;
	}
	upload_refuse(r, 400, CODE_DIGEST_INVALID,
		      "digest-algorithm is neither sha256 nor sha512");
	return false;
}

void upload_start(struct request *r)
{
	struct upload_state *st = upload_state(r);
	struct session_owner owner = owner_of(r);
	enum digest_alg alg;

	if (!read_digest(r) || !read_algorithm(r, &alg))
		return;
	/* Distribution-spec: a registry that does not take a single POST
	 * answers 202, and the client goes on with PUT. */
	st->monolithic = st->has_digest && !is_bodiless(r);
	session_begin(r->server->uploads, &owner, r->names.repo, alg, begun);
}

/* ---- START ---- */

static void take(struct request *r, session_got_cb *cb)
{
	struct session_owner owner = owner_of(r);
	bool for_bytes =
	    r->head->method != HTTP_DELETE && conn_has_body(r->conn);

	session_take(r->server->uploads, &owner, r->route.ref, r->names.repo,
		     for_bytes, cb);
}

static void start_put(struct request *r)
{
	if (!read_digest(r))
		return;
	if (!upload_state(r)->has_digest) {
		upload_refuse(r, 400, CODE_DIGEST_INVALID,
			      "a PUT needs the parameter digest");
		return;
	}
	/* The last bytes may all have been sent before. */
	if (conn_has_body(r->conn) && !read_content_range(r))
		return;
	take(r, put);
}

static void start(struct request *r)
{
	r->state = xcalloc(1, sizeof(struct upload_state));
	switch (r->head->method) {
	case HTTP_POST:
		if (!upload_mount(r))
			upload_start(r);
		break;
	case HTTP_PATCH:
		if (read_content_range(r))
			take(r, patch);
		break;
	case HTTP_PUT:
		start_put(r);
		break;
	case HTTP_DELETE:
		take(r, cancel);
		break;
	default:
		look(r);
	}
}

static void release(struct request *r)
{
	struct upload_state *st = upload_state(r);

	if (!st)
		return;
	upload_let_go(r);
	free(st);
	r->state = NULL;
}

const struct handler serve_upload = {.start = start, .release = release};
