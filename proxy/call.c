/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps of a call.  call_step() runs what `next` says, at the end of a
 * loop turn or from a callback that is not libcurl's; each step either names
 * the next one or starts something whose callback will.
 *
 *   PICK -> AUTHORISE -> [CREDENTIAL -> TOKEN] -> ENTER -> SEND
 *
 *   after the head of an answer:
 *     401           -> [PING ->] CREDENTIAL -> TOKEN -> SEND
 *     3xx           -> SEND, to the target
 *     5xx, no head  -> PICK, another endpoint
 *     all else      -> delivered
 *
 * head and data of a dial may run inside libcurl, where nothing may be
 * started or ended: they only note, and on_done(), outside, goes on.
 */
#include "proxy/call_int.h"

#include "proxy/metrics.h"

#include <stdarg.h>

void call_soon(struct call *c, enum call_step next)
{
	c->next = next;
	if (c->is_ready)
		return;
	c->is_ready = true;
	TAILQ_INSERT_TAIL(&c->caller->ready, c, ready_link);
	turn_soon(c->caller);
}

/* ---- the end ---- */

static enum metric_error error_kind(enum err err)
{
	switch (err) {
	case ERR_TIMEOUT:
		return METRIC_ERROR_TIMEOUT;
	case ERR_DENIED:
		return METRIC_ERROR_STATUS;
	case ERR_LIMITED:
		return METRIC_ERROR_LIMITED;
	case ERR_UNAVAILABLE:
		return METRIC_ERROR_CONNECT;
	default:
		return METRIC_ERROR_OTHER;
	}
}

void call_finish(struct call *c, enum err err, const struct why *why)
{
	struct why copy = {{0}};

	if (err && err != ERR_CANCELED)
		metric_add(METRIC_UPSTREAM_ERRORS, 1, c->peer->metric,
			   c->against_rule ? METRIC_ERROR_POLICY
			   : c->delivered && err == ERR_UNAVAILABLE
			       ? METRIC_ERROR_BROKEN
			       : error_kind(err),
			   0);
	if (why)
		copy = *why;
	c->over = true;
	call_soon(c, STEP_NONE);
	c->ev->done(c->arg, err, c->delivered, &copy);
}

void call_fail(struct call *c, enum err err, const char *fmt, ...)
{
	struct why why = {{0}};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why.text, sizeof(why.text), fmt, ap);
	va_end(ap);
	call_finish(c, err, &why);
}

/* ---- turns at the endpoint's connections ---- */

static unsigned gate_limit(const struct call *c)
{
	return c->pool == FETCH_BLOB ? call_conf(c)->connections
				     : call_conf(c)->api_connections;
}

static void leave_gate(struct call *c)
{
	struct gate *gate = c->ticket.gate;
	struct gate_ticket *t;

	if (!gate)
		return;
	gate_leave(&c->ticket);
	while ((t = gate_next(gate, gate_limit(c))))
		call_soon(container_of(t, struct call, ticket), STEP_SEND);
}

static void leave_rate(struct call *c)
{
	if (!c->counted_blob)
		return;
	c->counted_blob = false;
	LIST_REMOVE(c, blob_link);
	c->peer->n_blobs--;
	peer_share_rate(c->peer);
}

/* What an endpoint says or not: at most once after each pick. */
static void endpoint_settled(struct call *c)
{
	if (c->trial)
		upstream_endpoint_untried(c->up, c->endpoint);
	c->trial = false;
}

void call_free(struct call *c)
{
	assert(c->magic == CALL_MAGIC && c->over);
	c->magic = 0;
	if (c->is_ready)
		TAILQ_REMOVE(&c->caller->ready, c, ready_link);
	LIST_REMOVE(c, link);
	endpoint_settled(c);
	timer_release(&c->body);
	dial_cancel(&c->dial);
	credential_cancel(&c->cred_ask);
	token_cancel(&c->token_ask);
	leave_rate(c);
	leave_gate(c);
	credential_release(&c->cred);
	http_url_release(&c->own);
	http_url_release(&c->url);
	http_url_release(&c->challenger);
	secret_wipe(&c->authorization);
	secret_wipe(&c->token);
	free(c->challenge);
	free(c->endpoint_url);
	free(c->location);
	free(c->scope);
	free(c->repo);
	free(c->reference);
	free(c->query);
	free(c);
}

void call_end_all(struct caller *cr)
{
	struct call *c;

	while ((c = LIST_FIRST(&cr->calls))) {
		if (!c->over)
			call_fail(c, ERR_CANCELED, "the daemon is stopping");
		call_free(c);
	}
}

/* ---- PICK ---- */

static int pick(struct call *c)
{
	int endpoint = upstream_pick(c->up, c->avoid | c->tried);

	/* Avoided ones are better than none. */
	return endpoint < 0 ? upstream_pick(c->up, c->tried) : endpoint;
}

bool call_has_other(const struct call *c)
{
	size_t n = MIN(call_conf(c)->endpoints.n, CALL_ENDPOINTS);

	for (size_t i = 0; i < n; i++)
		if (!(c->tried & 1u << i))
			return true;
	return false;
}

static bool set_urls(struct call *c)
{
	const struct conf_upstream *conf = call_conf(c);
	struct http_url ping = {0};
	char *text, *ping_text;
	bool ok;

	free(c->endpoint_url);
	c->endpoint_url = xstrdup(conf->endpoints.v[c->endpoint].text);
	text = call_url_text(c, c->endpoint_url, conf->prefix);
	ping_text = xasprintf("%s/v2/", c->endpoint_url);
	http_url_release(&c->url);
	http_url_release(&c->own);
	ok = http_url_parse(span_of(text), &c->url) == ERR_OK;
	if (ok) {
		ok = http_url_parse(span_of(ping_text), &ping) == ERR_OK;
		c->own = ping;
	}
	free(text);
	free(ping_text);
	return ok;
}

static void pick_step(struct call *c)
{
	if (call_conf(c)->offline) {
		call_fail(c, ERR_UNAVAILABLE, "%s is set to offline",
			  call_upstream(c));
		return;
	}
	leave_gate(c);
	leave_rate(c);
	c->endpoint = pick(c);
	if (c->endpoint < 0) {
		call_finish(c, c->err ? c->err : ERR_UNAVAILABLE, &c->why);
		return;
	}
	c->trial = true;
	c->tried |= 1u << c->endpoint;
	c->redirects = 0;
	c->left = c->pinging = c->has_digest = false;
	c->own_class = ENDPOINT_CLASS_UNKNOWN;
	call_forget_authorization(c);
	if (!set_urls(c)) {
		call_fail(c, ERR_INVALID, "%s: the request makes no URL",
			  call_upstream(c));
		return;
	}
	c->next = STEP_AUTHORISE;
}

/* ---- ENTER ---- */

static void enter_step(struct call *c)
{
	struct gate *gate = &c->peer->gates[c->endpoint][c->pool];

	c->next = STEP_SEND;
	if (c->ticket.in)
		return; /* a 401's second try keeps its turn */
	c->next = STEP_NONE;
	if (gate_enter(gate, gate_limit(c), &c->ticket))
		c->next = STEP_SEND;
}

/* ---- what became of it ---- */

void call_elsewhere(struct call *c, enum err err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->why.text, sizeof(c->why.text), fmt, ap);
	va_end(ap);
	c->err = err;
	endpoint_settled(c);
	if (call_has_other(c)) {
		metric_inc(METRIC_UPSTREAM_RETRIES, c->peer->metric);
		call_soon(c, STEP_PICK);
		return;
	}
	if (!c->answered && !c->against_rule)
		upstream_note_outage(c->up, &c->why);
	call_finish(c, err, &c->why);
}

/* ---- the steps ---- */

void call_step(struct call *c)
{
	static void (*const steps[])(struct call * c) = {
	    [STEP_PICK] = pick_step,
	    [STEP_AUTHORISE] = call_authorise_step,
	    [STEP_CREDENTIAL] = call_credential_step,
	    [STEP_TOKEN] = call_token_step,
	    [STEP_ENTER] = enter_step,
	    [STEP_SEND] = call_send_step,
	    [STEP_PING] = call_ping_step,
	};

	while (!c->over && c->next != STEP_NONE) {
		enum call_step step = c->next;

		if (step == STEP_REFUSE) {
			call_finish(c, c->err, &c->why);
			return;
		}
		c->next = STEP_NONE;
		steps[step](c);
	}
}

/* ---- the public functions ---- */

struct call *call_start(struct caller *cr, const struct call_spec *spec,
			const struct call_events *ev, void *arg)
{
	struct call *c = xcalloc(1, sizeof(*c));

	loop_assert(cr->loop);
	c->magic = CALL_MAGIC;
	c->caller = cr;
	c->ev = ev;
	c->arg = arg;
	c->up = spec->up;
	c->peer = caller_peer(cr, spec->up);
	c->repo = xstrdup(spec->repo);
	c->reference = xstrdup(spec->reference ? spec->reference : "");
	c->query = spec->query ? xstrdup(spec->query) : NULL;
	c->what = spec->what;
	c->head = spec->head;
	c->anonymous = spec->anonymous;
	c->ranged = spec->ranged;
	c->first = spec->first;
	c->last = spec->last;
	c->avoid = spec->avoid_endpoints;
	c->endpoint = -1;
	c->own_class = ENDPOINT_CLASS_UNKNOWN;
	c->pool = spec->what == CALL_BLOB ? FETCH_BLOB : FETCH_SMALL;
	timer_init(&c->body, cr->loop, call_body_late, c);
	LIST_INSERT_HEAD(&cr->calls, c, link);
	call_soon(c, STEP_PICK);
	return c;
}

void call_resume(struct call *c)
{
	assert(c->magic == CALL_MAGIC);
	if (c->dial && !c->over)
		dial_resume(c->dial);
}

/* At the end of the turn, because libcurl may be on the stack. */
void call_cancel(struct call **cp)
{
	struct call *c = *cp;

	if (!c)
		return;
	assert(c->magic == CALL_MAGIC);
	*cp = NULL;
	c->over = true;
	call_soon(c, STEP_NONE);
}
