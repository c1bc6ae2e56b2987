/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The step of a call that sends, and what comes back: heads, redirects, bodies
 * and breaks.
 */
#include "proxy/call_int.h"

#include "cache/manifest.h"
#include "proxy/metrics.h"

#include <stdarg.h>

/* Bodies of 401s and redirects are read, so that the connection can be used
 * again; longer ones are cut. */
#define DISCARD_MAX (16 * 1024)
#define REFERRERS_ACCEPT "application/vnd.oci.image.index.v1+json"

/* ---- heads ---- */

static bool is_redirect(unsigned status)
{
	return status == 301 || status == 302 || status == 303 ||
	       status == 307 || status == 308;
}

bool call_go_on(struct call *c, const struct fetch_head *h, enum call_step next)
{
	uint64_t length = call_head_length(h);

	c->next = next;
	c->discard = true;
	c->discarded = 0;
	return length == CALL_LENGTH_UNKNOWN || length <= DISCARD_MAX ||
	       (c->head && !c->pinging);
}

bool call_refuse_later(struct call *c, const struct fetch_head *h, enum err err,
		       const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->why.text, sizeof(c->why.text), fmt, ap);
	va_end(ap);
	c->err = err;
	return call_go_on(c, h, STEP_REFUSE);
}

static enum metric_class metric_class_of(const struct call *c)
{
	if (c->pinging)
		return METRIC_CLASS_OTHER;
	return c->what == CALL_MANIFEST ? METRIC_CLASS_MANIFEST
	       : c->what == CALL_BLOB   ? METRIC_CLASS_BLOB
					: METRIC_CLASS_LIST;
}

/* Facts of any answer, whoever gets it. */
static void note_head(struct call *c, const struct fetch_head *h)
{
	struct upstream_quota quota;

	metric_add(METRIC_UPSTREAM_REQUESTS, 1, c->peer->metric,
		   metric_class_of(c), metric_status(c->status));
	metric_observe_us(METRIC_UPSTREAM_WAIT, now_us() - c->sent_us,
			  c->peer->metric);
	if (c->redirects == 0) {
		c->own_class = dial_class(c->dial);
		upstream_set_endpoint_class(c->up, c->endpoint, c->own_class);
		upstream_note_answer(c->up);
		c->answered = true;
		if (c->trial && c->status >= 500)
			upstream_endpoint_failed(c->up, c->endpoint);
		else if (c->trial)
			upstream_endpoint_ok(c->up, c->endpoint);
		c->trial = false;
	}
	if (c->what == CALL_MANIFEST && !c->left &&
	    call_head_quota(h, &quota)) {
		upstream_note_quota(c->up, &quota);
		metric_set(METRIC_RATELIMIT_LIMIT, (int64_t)quota.limit,
			   c->peer->metric);
		metric_set(METRIC_RATELIMIT_REMAINING, (int64_t)quota.remaining,
			   c->peer->metric);
	}
	if (!c->pinging && !c->has_digest && c->status < 400)
		c->has_digest = call_head_digest(h, &c->digest);
}

bool call_deliver(struct call *c, const struct fetch_head *h)
{
	struct call_head head;
	struct head_room room;
	bool more;

	call_head_read(h, &head, &room);
	head.has_digest = c->has_digest;
	head.digest = c->digest;
	head.endpoint = c->endpoint;
	head.from_registry = c->redirects == 0;
	head.authorized = c->authorized;
	c->delivered = true;
	c->next = STEP_NONE;
	more = c->ev->head(c->arg, &head);
	head_room_release(&room);
	return more && !c->over;
}

static bool redirect(struct call *c, const struct fetch_head *h)
{
	const char *location = fetch_head_field(h, "Location", 0);
	struct http_url target;

	if (c->redirects >= call_conf(c)->max_redirects)
		return call_refuse_later(c, h, ERR_BAD_UPSTREAM,
					 "%s redirects more than %u times "
					 "(max_redirects)",
					 call_upstream(c),
					 call_conf(c)->max_redirects);
	if (!location || http_url_join(&c->url, span_of(location), &target))
		return call_refuse_later(
		    c, h, ERR_BAD_UPSTREAM,
		    "%s answered %u without a usable Location",
		    call_upstream(c), c->status);
	if (c->url.https && !target.https) {
		bool more =
		    call_refuse_later(c, h, ERR_BAD_UPSTREAM,
				      "%s leads from https to http, at %s",
				      call_upstream(c), target.host);

		c->against_rule = true;
		http_url_release(&target);
		return more;
	}
	free(c->location);
	c->location = xstrdup(target.text);
	http_url_release(&target);
	return call_go_on(c, h, STEP_SEND);
}

/* What this head means, and whether its body is wanted. */
static bool judge_head(struct call *c, const struct fetch_head *h)
{
	c->status = fetch_head_status(h);
	note_head(c, h);
	if (c->status >= 500 && c->redirects == 0 && call_has_other(c)) {
		why_set(&c->why, ERR_UNAVAILABLE, "%s (%s) answered %u",
			call_upstream(c), c->own.host, c->status);
		c->err = ERR_UNAVAILABLE;
		metric_inc(METRIC_UPSTREAM_RETRIES, c->peer->metric);
		return call_go_on(c, h, STEP_PICK);
	}
	if (c->pinging)
		return call_pinged(c, h);
	if (c->status == 401)
		return call_unauthorized(c, h);
	if (is_redirect(c->status))
		return redirect(c, h);
	return call_deliver(c, h);
}

/* A blob comes at its own pace.  Anything else is small, and one that drips
 * would keep whoever waits for it for as long as it likes. */
static bool on_head(void *arg, const struct fetch_head *h)
{
	struct call *c = arg;
	bool more;

	assert(c->magic == CALL_MAGIC);
	if (c->over)
		return false;
	more = judge_head(c, h);
	if (more && (c->discard || c->what != CALL_BLOB))
		timer_set(&c->body, call_conf(c)->answer_ms);
	return more;
}

static enum fetch_take on_data(void *arg, const void *buf, size_t len)
{
	struct call *c = arg;
	enum fetch_take took;

	assert(c->magic == CALL_MAGIC);
	if (c->over)
		return FETCH_STOP;
	if (c->discard) {
		c->discarded += len;
		return c->discarded > DISCARD_MAX ? FETCH_STOP : FETCH_TOOK;
	}
	took = c->ev->data(c->arg, buf, len);
	if (took == FETCH_TOOK)
		metric_add(METRIC_UPSTREAM_BYTES, (int64_t)len, c->peer->metric,
			   0, 0);
	return c->over ? FETCH_STOP : took;
}

static void note_failure(struct call *c)
{
	if (c->left || c->redirects)
		return; /* a CDN's, not the endpoint's */
	if (c->trial)
		upstream_endpoint_failed(c->up, c->endpoint);
	c->trial = false;
}

/* No head came. */
static void broken(struct call *c, enum err err, const struct why *why)
{
	if (err == ERR_CANCELED) {
		call_finish(c, err, why);
		return;
	}
	note_failure(c);
	c->against_rule = err == ERR_DENIED;
	if (c->against_rule) /* a whole sentence */
		call_elsewhere(c, ERR_BAD_UPSTREAM, "%s", why->text);
	else if (c->redirects)
		call_elsewhere(c, err,
			       "%s leads to %s, which cannot be reached: %s",
			       call_upstream(c), c->url.host, why->text);
	else
		call_elsewhere(c, err, "%s cannot be reached (%s): %s",
			       call_upstream(c), c->own.host, why->text);
}

static void on_done(void *arg, enum err err, const struct why *why)
{
	struct call *c = arg;
	bool discarded = c->discard;

	assert(c->magic == CALL_MAGIC);
	c->dial = NULL;
	c->discard = false;
	timer_clear(&c->body);
	if (c->over)
		return;
	if (c->delivered) {
		if (err)
			call_fail(c, err, "%s broke off: %s", call_upstream(c),
				  why->text);
		else
			call_finish(c, ERR_OK, NULL);
	} else if (discarded) {
		/* However it ended: its head was all that mattered. */
		call_soon(c, c->next);
	} else {
		broken(c, err, why);
	}
}

void call_body_late(void *arg)
{
	struct call *c = arg;
	struct why why;

	assert(c->magic == CALL_MAGIC);
	if (c->over || !c->dial)
		return;
	dial_cancel(&c->dial);
	why_set(&why, ERR_TIMEOUT,
		"its answer took longer than %" PRIu64 " ms (answer)",
		call_conf(c)->answer_ms);
	on_done(c, ERR_TIMEOUT, &why);
}

static const struct fetch_events call_dial_events = {
    .head = on_head,
    .data = on_data,
    .done = on_done,
};

/* ---- SEND ---- */

static const char *accept_of(const struct call *c)
{
	switch (c->what) {
	case CALL_MANIFEST:
		return manifest_accept_list();
	case CALL_REFERRERS:
		return REFERRERS_ACCEPT;
	case CALL_TAGS:
		return "application/json";
	case CALL_BLOB:
		break;
	}
	return "*/*";
}

static char *range_header(const struct call *c)
{
	if (!c->ranged)
		return NULL;
	if (c->last == CALL_OPEN)
		return xasprintf("Range: bytes=%" PRIu64 "-", c->first);
	return xasprintf("Range: bytes=%" PRIu64 "-%" PRIu64, c->first,
			 c->last);
}

static void dial(struct call *c, const struct http_url *url, const char *method)
{
	char *headers[3], *range = c->pinging ? NULL : range_header(c);
	struct dial_spec spec = {
	    .up = c->up,
	    .role = c->redirects ? DIAL_REDIRECT : DIAL_ENDPOINT,
	    .url = url,
	    .own_host = strcmp(url->host, c->own.host) == 0,
	    .limit = c->own_class,
	    .pool = c->pool,
	    .method = method,
	    .headers = (const char *const *)headers,
	    .max_rate = c->counted_blob ? peer_rate(c->peer) : 0,
	};

	headers[spec.n_headers++] = xasprintf("Accept: %s", accept_of(c));
	if (range)
		headers[spec.n_headers++] = range;
	if (c->authorization && !c->pinging)
		headers[spec.n_headers++] =
		    xasprintf("Authorization: %s", c->authorization);
	c->next = STEP_NONE;
	c->discard = false;
	c->sent_us = now_us();
	c->dial = dial_start(&c->caller->dialer, &spec, &call_dial_events, c);
	for (size_t i = 0; i < spec.n_headers; i++)
		secret_wipe(&headers[i]);
}

/* Move on to the target that redirect() noted. */
static void follow(struct call *c)
{
	struct http_url from = c->url;

	if (http_url_parse(span_of(c->location), &c->url))
		assert(!"a URL that was parsed before");
	free(c->location);
	c->location = NULL;
	c->redirects++;
	if (!http_url_same_origin(&from, &c->url)) {
		/* Signed URLs and Authorization do not go together, and our
		 * tokens are for the registry only. */
		c->left = true;
		secret_wipe(&c->authorization);
		secret_wipe(&c->token);
	}
	http_url_release(&from);
}

static void count_blob(struct call *c)
{
	if (c->what != CALL_BLOB || c->counted_blob)
		return;
	c->counted_blob = true;
	LIST_INSERT_HEAD(&c->peer->blobs, c, blob_link);
	c->peer->n_blobs++;
	peer_share_rate(c->peer);
}

void call_send_step(struct call *c)
{
	c->pinging = false;
	count_blob(c);
	if (c->location)
		follow(c);
	dial(c, &c->url, c->head ? "HEAD" : "GET");
}

void call_ping_step(struct call *c)
{
	c->pinged = c->pinging = true;
	dial(c, &c->own, "GET");
}
