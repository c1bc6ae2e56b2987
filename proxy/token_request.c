/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/token_request.h"

#include "proxy/gate.h"
#include "proxy/metrics.h"

#define TOKEN_BODY_MAX (64 * 1024)

/* Token requests to one upstream's token servers share its gate. */
struct line {
	LIST_ENTRY(line) link;
	struct upstream *up;
	struct gate gate;
};

struct token_requests {
	struct dialer *dialer;
	LIST_HEAD(, line) lines;
};

enum method { METHOD_GET, METHOD_POST };

struct token_request {
	struct token_requests *all;
	token_request_cb *cb;
	void *arg;

	struct line *line;
	struct gate_ticket ticket;
	struct timer timer; /* starts it, then its deadline */
	struct upstream *up;
	struct http_url realm;
	bool own_host;
	int limit;
	char *service, *scope;
	struct credential cred;
	enum method method;
	bool other_tried; /* the other method, after 404 and the like */
	struct dial *dial;
	unsigned status;
	char *body;
	size_t body_len;
	bool body_too_big;
	/* a refusal known before anything was sent */
	enum err refused;
	struct why refused_why;
};

/* ---- the end ---- */

static void let_next_in(struct line *line)
{
	unsigned limit = upstream_conf(line->up)->api_connections;
	struct gate_ticket *t;

	while ((t = gate_next(&line->gate, limit)))
		timer_set(&container_of(t, struct token_request, ticket)->timer,
			  0);
}

static void request_free(struct token_request *r)
{
	struct line *line = r->line;

	timer_release(&r->timer);
	dial_cancel(&r->dial);
	gate_leave(&r->ticket);
	http_url_release(&r->realm);
	credential_release(&r->cred);
	secret_wipe(&r->body);
	free(r->service);
	free(r->scope);
	free(r);
	let_next_in(line);
}

static void finish(struct token_request *r, enum err err, char *STEALS token,
		   uint64_t life_s, const struct why *why)
{
	token_request_cb *cb = r->cb;
	void *arg = r->arg;
	struct why copy = *why;

	request_free(r);
	cb(arg, err, token, life_s, &copy);
}

static void fail(struct token_request *r, enum err err, const struct why *why)
{
	finish(r, err, NULL, 0, why);
}

/* ---- the answer ---- */

static void take_token(struct token_request *r)
{
	struct why why = {{0}}, full;
	char *token;
	uint64_t life_s;

	if (r->body_too_big ||
	    token_answer_parse(r->body ? r->body : "", r->body_len, &token,
			       &life_s, &why)) {
		why_set(&full, ERR_BAD_UPSTREAM, "%s: %s (%s)",
			upstream_name(r->up),
			r->body_too_big ? "the token server's answer is too big"
					: why.text,
			r->realm.host);
		fail(r, ERR_BAD_UPSTREAM, &full);
		return;
	}
	finish(r, ERR_OK, token, life_s, &why);
}

static void refuse(struct token_request *r)
{
	const char *name = upstream_name(r->up);
	bool ours = !credential_is_none(&r->cred);
	struct why why;
	enum err err;

	if (r->status == 401 || r->status == 403)
		err = why_set(&why, ERR_DENIED,
			      "%s: the token server %s refuses %s (%u)", name,
			      r->realm.host,
			      ours ? "this name with our credentials"
				   : "this name without credentials",
			      r->status);
	else if (r->status == 429)
		err = why_set(&why, ERR_LIMITED,
			      "%s: the token server %s limits our requests "
			      "(429)",
			      name, r->realm.host);
	else
		err = why_set(
		    &why, r->status >= 500 ? ERR_UNAVAILABLE : ERR_BAD_UPSTREAM,
		    "%s: the token server %s answered %u", name, r->realm.host,
		    r->status);
	fail(r, err, &why);
}

/* ---- the request ---- */

static void send_request(struct token_request *r);

/* Some servers know only one of the two methods: 404, 405; ACR says 400 and
 * Artifactory 401 to a POST. */
static bool other_method(struct token_request *r)
{
	bool wrong = r->status == 404 || r->status == 405;

	if (r->method == METHOD_POST)
		wrong = wrong || r->status == 400 || r->status == 401;
	if (!wrong || r->other_tried || credential_is_none(&r->cred))
		return false;
	r->other_tried = true;
	r->method = r->method == METHOD_GET ? METHOD_POST : METHOD_GET;
	return true;
}

static bool on_head(void *arg, const struct fetch_head *h)
{
	struct token_request *r = arg;

	r->status = fetch_head_status(h);
	metric_add(METRIC_UPSTREAM_REQUESTS, 1,
		   metric_upstream(upstream_name(r->up)), METRIC_CLASS_TOKEN,
		   metric_status(r->status));
	return true;
}

static enum fetch_take on_data(void *arg, const void *buf, size_t len)
{
	struct token_request *r = arg;

	if (r->body_len + len > TOKEN_BODY_MAX) {
		r->body_too_big = true;
		return FETCH_STOP;
	}
	if (!r->body)
		r->body = xcalloc(1, TOKEN_BODY_MAX + 1);
	memcpy(r->body + r->body_len, buf, len);
	r->body_len += len;
	return FETCH_TOOK;
}

static void on_done(void *arg, enum err err, const struct why *why)
{
	struct token_request *r = arg;
	struct why full;

	r->dial = NULL;
	if (err && err != ERR_DENIED) {
		why_set(&full, err, "%s: the token server %s: %s",
			upstream_name(r->up), r->realm.host, why->text);
		fail(r, err, &full);
	} else if (err) { /* our own rules: a whole sentence */
		fail(r, ERR_BAD_UPSTREAM, why);
	} else if (r->status == 200) {
		take_token(r);
	} else if (other_method(r)) {
		secret_wipe(&r->body);
		r->body_len = 0;
		r->body_too_big = false;
		send_request(r);
	} else {
		refuse(r);
	}
}

static const struct fetch_events token_events = {
    .head = on_head,
    .data = on_data,
    .done = on_done,
};

/* "Authorization: Basic ..." for a GET, or NULL. */
static char *get_authorization(const struct token_request *r)
{
	const struct credential *c = &r->cred;
	const char *secret = c->password ? c->password : c->identity_token;
	char *basic, *header;

	if (!secret)
		return NULL;
	basic = credential_basic(c->username ? c->username : "<token>", secret);
	header = xasprintf("Authorization: %s", basic);
	secret_wipe(&basic);
	return header;
}

static void send_to(struct token_request *r, const struct http_url *url,
		    const char *form, char *authorization)
{
	const char *headers[3] = {"Accept: application/json"};
	struct dial_spec spec = {
	    .up = r->up,
	    .role = DIAL_REALM,
	    .url = url,
	    .own_host = r->own_host,
	    .limit = r->limit,
	    .pool = FETCH_SMALL,
	    .method = form ? "POST" : "GET",
	    .headers = headers,
	    .n_headers = 1,
	    .post_body = form,
	};

	if (authorization)
		headers[spec.n_headers++] = authorization;
	r->dial = dial_start(r->all->dialer, &spec, &token_events, r);
}

static void send_request(struct token_request *r)
{
	char *authorization = NULL, *text;
	struct http_url url;
	enum err err;

	if (r->method == METHOD_POST) {
		text = token_post_form(r->service, r->scope, &r->cred);
		send_to(r, &r->realm, text, NULL);
		secret_wipe(&text);
		return;
	}
	text = token_get_url(&r->realm, r->service, r->scope, &r->cred);
	err = http_url_parse(span_of(text), &url);
	if (err) {
		/* Longer than any server takes. */
		struct why why;

		why_set(&why, ERR_BAD_UPSTREAM,
			"%s: the token server's address is too long",
			upstream_name(r->up));
		free(text);
		fail(r, ERR_BAD_UPSTREAM, &why);
		return;
	}
	authorization = get_authorization(r);
	send_to(r, &url, NULL, authorization);
	http_url_release(&url);
	secret_wipe(&authorization);
	free(text);
}

/* First to begin, at a turn of its own; then the deadline. */
static void on_timer(void *arg)
{
	struct token_request *r = arg;
	struct why why;
	uint64_t limit_ms = upstream_conf(r->up)->token_ms;

	if (r->refused) {
		why = r->refused_why;
		fail(r, r->refused, &why);
		return;
	}
	if (!r->dial) {
		timer_set(&r->timer, limit_ms);
		send_request(r);
		return;
	}
	why_set(&why, ERR_TIMEOUT, "%s: no token from %s within %" PRIu64 " ms",
		upstream_name(r->up), r->realm.host, limit_ms);
	fail(r, ERR_TIMEOUT, &why);
}

/* Is this a realm that may be asked, and with these credentials? */
static enum err judge_realm(struct token_request *r,
			    const struct token_spec *spec, struct why *why)
{
	const char *name = upstream_name(spec->up);

	if (http_url_parse(span_of(spec->realm), &r->realm))
		return why_set(why, ERR_BAD_UPSTREAM,
			       "%s: the challenge names no usable token server",
			       name);
	if (spec->own->https && !r->realm.https)
		return why_set(why, ERR_BAD_UPSTREAM,
			       "%s names the token server %s without https",
			       name, r->realm.host);
	if (!credential_is_none(&r->cred) &&
	    !token_realm_trusted(upstream_conf(spec->up), spec->own, &r->realm))
		return why_set(why, ERR_BAD_UPSTREAM,
			       "%s names the token server %s, which may not "
			       "have its credentials; if that is right, list "
			       "it in the upstream's token_realms",
			       name, r->realm.host);
	r->own_host = strcmp(spec->own->host, r->realm.host) == 0;
	return ERR_OK;
}

static struct line *line_get(struct token_requests *t, struct upstream *up)
{
	struct line *line;

	LIST_FOREACH (line, &t->lines, link)
		if (line->up == up)
			return line;
	line = xcalloc(1, sizeof(*line));
	line->up = up;
	gate_init(&line->gate);
	LIST_INSERT_HEAD(&t->lines, line, link);
	return line;
}

struct token_request *token_request_start(struct token_requests *all,
					  const struct token_spec *spec,
					  token_request_cb *cb, void *arg)
{
	unsigned limit = upstream_conf(spec->up)->api_connections;
	struct token_request *r = xcalloc(1, sizeof(*r));

	r->all = all;
	r->cb = cb;
	r->arg = arg;
	r->up = spec->up;
	r->limit = spec->limit;
	r->service = xstrdup(spec->service);
	r->scope = xstrdup(spec->scope);
	if (spec->cred)
		credential_copy(&r->cred, spec->cred);
	r->method = r->cred.identity_token ? METHOD_POST : METHOD_GET;
	r->refused = judge_realm(r, spec, &r->refused_why);
	timer_init(&r->timer, all->dialer->loop, on_timer, r);
	r->line = line_get(all, spec->up);
	if (gate_enter(&r->line->gate, limit, &r->ticket))
		timer_set(&r->timer, 0);
	return r;
}

void token_request_cancel(struct token_request **r)
{
	if (*r)
		request_free(*r);
	*r = NULL;
}

/* ---- all of them ---- */

struct token_requests *token_requests_new(struct dialer *dr)
{
	struct token_requests *t = xcalloc(1, sizeof(*t));

	t->dialer = dr;
	LIST_INIT(&t->lines);
	return t;
}

void token_requests_free(struct token_requests **tp)
{
	struct token_requests *t = *tp;
	struct line *line;

	*tp = NULL;
	while ((line = LIST_FIRST(&t->lines))) {
		LIST_REMOVE(line, link);
		free(line);
	}
	free(t);
}
