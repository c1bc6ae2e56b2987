/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One entry for each key, in a table and in order of use:
 *
 *   EMPTY -> in line at the gate -> FETCHING -> HELD (token) -> EMPTY ...
 *
 * An entry with somebody waiting, in line, or fetching is never dropped.
 */
#include "proxy/upstream_token.h"

#include "proxy/gate.h"
#include "proxy/metrics.h"

#define TOKEN_BUCKETS 256
#define TOKENS_MAX 4096
#define TOKEN_BODY_MAX (64 * 1024)

struct token_ask {
	LIST_ENTRY(token_ask) link;
	token_cb *cb;
	void *arg;
};

/* Token requests to one upstream's token servers share its gate. */
struct line {
	LIST_ENTRY(line) link;
	struct upstream *up;
	struct gate gate;
};

enum method { METHOD_GET, METHOD_POST };

struct entry {
	LIST_ENTRY(entry) bucket;
	TAILQ_ENTRY(entry) use; /* the last used is the last */
	struct tokens *all;
	char *key;
	char *token; /* NULL: none */
	uint64_t expires_ms;
	LIST_HEAD(, token_ask) asks;

	/* of the request under way */
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

struct tokens {
	struct dialer *dialer;
	LIST_HEAD(, entry) buckets[TOKEN_BUCKETS];
	TAILQ_HEAD(, entry) used;
	unsigned n;
	LIST_HEAD(, line) lines;
};

/* ---- entries ---- */

static unsigned bucket_of(const char *key)
{
	uint32_t h = 2166136261u;

	for (; *key; key++)
		h = (h ^ (uint8_t)*key) * 16777619u;
	return h % TOKEN_BUCKETS;
}

static struct entry *entry_find(struct tokens *t, const char *key)
{
	struct entry *e;

	LIST_FOREACH (e, &t->buckets[bucket_of(key)], bucket)
		if (strcmp(e->key, key) == 0)
			return e;
	return NULL;
}

static void request_release(struct entry *e)
{
	timer_clear(&e->timer);
	dial_cancel(&e->dial);
	gate_leave(&e->ticket);
	http_url_release(&e->realm);
	credential_release(&e->cred);
	secret_wipe(&e->body);
	e->body_len = 0;
	free(e->service);
	free(e->scope);
	e->service = e->scope = NULL;
	e->up = NULL;
}

static bool is_asking(const struct entry *e)
{
	return e->up != NULL;
}

static void entry_free(struct entry *e)
{
	assert(LIST_EMPTY(&e->asks));
	request_release(e);
	timer_release(&e->timer);
	LIST_REMOVE(e, bucket);
	TAILQ_REMOVE(&e->all->used, e, use);
	e->all->n--;
	secret_wipe(&e->token);
	free(e->key);
	free(e);
}

static void make_room(struct tokens *t)
{
	struct entry *e, *next;

	TAILQ_FOREACH_SAFE(e, &t->used, use, next)
	{
		if (t->n < TOKENS_MAX)
			return;
		if (!is_asking(e) && LIST_EMPTY(&e->asks))
			entry_free(e);
	}
}

static void on_timer(void *arg);

static struct entry *entry_get(struct tokens *t, char *STEALS key)
{
	struct entry *e = entry_find(t, key);

	if (e) {
		free(key);
		TAILQ_REMOVE(&t->used, e, use);
	} else {
		make_room(t);
		e = xcalloc(1, sizeof(*e));
		e->all = t;
		e->key = key;
		LIST_INIT(&e->asks);
		timer_init(&e->timer, t->dialer->loop, on_timer, e);
		LIST_INSERT_HEAD(&t->buckets[bucket_of(key)], e, bucket);
		t->n++;
	}
	TAILQ_INSERT_TAIL(&t->used, e, use);
	return e;
}

static struct line *line_get(struct tokens *t, struct upstream *up)
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

/* ---- the answer ---- */

static void let_next_in(struct line *line)
{
	unsigned limit = upstream_conf(line->up)->api_connections;
	struct gate_ticket *t;

	while ((t = gate_next(&line->gate, limit)))
		timer_set(&container_of(t, struct entry, ticket)->timer, 0);
}

/* The request is over: tell all who wait.  They may ask again at once. */
static void answer(struct entry *e, enum err err, const struct why *why)
{
	LIST_HEAD(, token_ask) asks = LIST_HEAD_INITIALIZER(asks);
	char *token = err ? NULL : xstrdup(e->token);
	struct line *line = e->line;
	struct token_ask *ask;
	struct why copy = {{0}};

	if (why)
		copy = *why;
	request_release(e);
	let_next_in(line);
	while ((ask = LIST_FIRST(&e->asks))) {
		LIST_REMOVE(ask, link);
		LIST_INSERT_HEAD(&asks, ask, link);
	}
	while ((ask = LIST_FIRST(&asks))) {
		token_cb *cb = ask->cb;
		void *arg = ask->arg;

		LIST_REMOVE(ask, link);
		free(ask);
		cb(arg, err, token, &copy);
	}
	secret_wipe(&token);
}

static void take_token(struct entry *e)
{
	struct why why = {{0}}, full;
	char *token;
	uint64_t life_s;

	if (e->body_too_big ||
	    token_answer_parse(e->body ? e->body : "", e->body_len, &token,
			       &life_s, &why)) {
		why_set(&full, ERR_BAD_UPSTREAM, "%s: %s (%s)",
			upstream_name(e->up),
			e->body_too_big ? "the token server's answer is too big"
					: why.text,
			e->realm.host);
		answer(e, ERR_BAD_UPSTREAM, &full);
		return;
	}
	secret_wipe(&e->token);
	e->token = token;
	e->expires_ms = now_ms() + life_s * 900;
	answer(e, ERR_OK, NULL);
}

static void refuse(struct entry *e)
{
	const char *name = upstream_name(e->up);
	bool ours = !credential_is_none(&e->cred);
	struct why why;
	enum err err;

	if (e->status == 401 || e->status == 403)
		err = why_set(&why, ERR_DENIED,
			      "%s: the token server %s refuses %s (%u)", name,
			      e->realm.host,
			      ours ? "this name with our credentials"
				   : "this name without credentials",
			      e->status);
	else if (e->status == 429)
		err = why_set(&why, ERR_LIMITED,
			      "%s: the token server %s limits our requests "
			      "(429)",
			      name, e->realm.host);
	else
		err = why_set(
		    &why, e->status >= 500 ? ERR_UNAVAILABLE : ERR_BAD_UPSTREAM,
		    "%s: the token server %s answered %u", name, e->realm.host,
		    e->status);
	answer(e, err, &why);
}

/* ---- the request ---- */

static void send_request(struct entry *e);

/* Some servers know only one of the two methods: 404, 405; ACR says 400 and
 * Artifactory 401 to a POST. */
static bool other_method(struct entry *e)
{
	bool wrong = e->status == 404 || e->status == 405;

	if (e->method == METHOD_POST)
		wrong = wrong || e->status == 400 || e->status == 401;
	if (!wrong || e->other_tried || credential_is_none(&e->cred))
		return false;
	e->other_tried = true;
	e->method = e->method == METHOD_GET ? METHOD_POST : METHOD_GET;
	return true;
}

static bool on_head(void *arg, const struct fetch_head *h)
{
	struct entry *e = arg;

	e->status = fetch_head_status(h);
	metric_add(METRIC_UPSTREAM_REQUESTS, 1,
		   metric_upstream(upstream_name(e->up)), METRIC_CLASS_TOKEN,
		   metric_status(e->status));
	return true;
}

static enum fetch_take on_data(void *arg, const void *buf, size_t len)
{
	struct entry *e = arg;

	if (e->body_len + len > TOKEN_BODY_MAX) {
		e->body_too_big = true;
		return FETCH_STOP;
	}
	if (!e->body)
		e->body = xcalloc(1, TOKEN_BODY_MAX + 1);
	memcpy(e->body + e->body_len, buf, len);
	e->body_len += len;
	return FETCH_TOOK;
}

static void on_done(void *arg, enum err err, const struct why *why)
{
	struct entry *e = arg;
	struct why full;

	e->dial = NULL;
	if (err && err != ERR_DENIED) {
		why_set(&full, err, "%s: the token server %s: %s",
			upstream_name(e->up), e->realm.host, why->text);
		answer(e, err, &full);
	} else if (err) { /* our own rules: a whole sentence */
		answer(e, ERR_BAD_UPSTREAM, why);
	} else if (e->status == 200) {
		take_token(e);
	} else if (other_method(e)) {
		secret_wipe(&e->body);
		e->body_len = 0;
		e->body_too_big = false;
		send_request(e);
	} else {
		refuse(e);
	}
}

static const struct fetch_events token_events = {
    .head = on_head,
    .data = on_data,
    .done = on_done,
};

/* "Authorization: Basic ..." for a GET, or NULL. */
static char *get_authorization(const struct entry *e)
{
	const struct credential *c = &e->cred;
	const char *secret = c->password ? c->password : c->identity_token;
	char *basic, *header;

	if (!secret)
		return NULL;
	basic = credential_basic(c->username ? c->username : "<token>", secret);
	header = xasprintf("Authorization: %s", basic);
	secret_wipe(&basic);
	return header;
}

static void send_to(struct entry *e, const struct http_url *url,
		    const char *form, char *authorization)
{
	const char *headers[3] = {"Accept: application/json"};
	struct dial_spec spec = {
	    .up = e->up,
	    .role = DIAL_REALM,
	    .url = url,
	    .own_host = e->own_host,
	    .limit = e->limit,
	    .pool = FETCH_SMALL,
	    .method = form ? "POST" : "GET",
	    .headers = headers,
	    .n_headers = 1,
	    .post_body = form,
	};

	if (authorization)
		headers[spec.n_headers++] = authorization;
	e->dial = dial_start(e->all->dialer, &spec, &token_events, e);
}

static void send_request(struct entry *e)
{
	char *authorization = NULL, *text;
	struct http_url url;
	enum err err;

	if (e->method == METHOD_POST) {
		text = token_post_form(e->service, e->scope, &e->cred);
		send_to(e, &e->realm, text, NULL);
		secret_wipe(&text);
		return;
	}
	text = token_get_url(&e->realm, e->service, e->scope, &e->cred);
	err = http_url_parse(span_of(text), &url);
	if (err) {
		/* Longer than any server takes. */
		struct why why;

		why_set(&why, ERR_BAD_UPSTREAM,
			"%s: the token server's address is too long",
			upstream_name(e->up));
		free(text);
		answer(e, ERR_BAD_UPSTREAM, &why);
		return;
	}
	authorization = get_authorization(e);
	send_to(e, &url, NULL, authorization);
	http_url_release(&url);
	secret_wipe(&authorization);
	free(text);
}

/* First to begin, at a turn of its own; then the deadline. */
static void on_timer(void *arg)
{
	struct entry *e = arg;
	struct why why;
	uint64_t limit_ms = upstream_conf(e->up)->token_ms;

	if (e->refused) {
		why = e->refused_why;
		answer(e, e->refused, &why);
		return;
	}
	if (!e->dial) {
		timer_set(&e->timer, limit_ms);
		send_request(e);
		return;
	}
	why_set(&why, ERR_TIMEOUT, "%s: no token from %s within %" PRIu64 " ms",
		upstream_name(e->up), e->realm.host, limit_ms);
	answer(e, ERR_TIMEOUT, &why);
}

/* Is this a realm that may be asked, and with these credentials? */
static enum err judge_realm(struct entry *e, const struct token_spec *spec,
			    struct why *why)
{
	const char *name = upstream_name(spec->up);

	if (http_url_parse(span_of(spec->realm), &e->realm))
		return why_set(why, ERR_BAD_UPSTREAM,
			       "%s: the challenge names no usable token server",
			       name);
	if (spec->own->https && !e->realm.https)
		return why_set(why, ERR_BAD_UPSTREAM,
			       "%s names the token server %s without https",
			       name, e->realm.host);
	if (!credential_is_none(&e->cred) &&
	    !token_realm_trusted(upstream_conf(spec->up), spec->own, &e->realm))
		return why_set(why, ERR_BAD_UPSTREAM,
			       "%s names the token server %s, which may not "
			       "have its credentials; if that is right, list "
			       "it in the upstream's token_realms",
			       name, e->realm.host);
	e->own_host = strcmp(spec->own->host, e->realm.host) == 0;
	return ERR_OK;
}

static void request_start(struct entry *e, const struct token_spec *spec)
{
	unsigned limit = upstream_conf(spec->up)->api_connections;

	e->up = spec->up;
	e->limit = spec->limit;
	e->service = xstrdup(spec->service);
	e->scope = xstrdup(spec->scope);
	if (spec->cred)
		credential_copy(&e->cred, spec->cred);
	e->method = e->cred.identity_token ? METHOD_POST : METHOD_GET;
	e->other_tried = false;
	e->body_too_big = false;
	e->status = 0;
	e->refused = judge_realm(e, spec, &e->refused_why);
	e->line = line_get(e->all, spec->up);
	if (gate_enter(&e->line->gate, limit, &e->ticket))
		timer_set(&e->timer, 0);
}

/* ---- the public functions ---- */

const char *token_cached(struct tokens *t, const struct token_spec *spec)
{
	char *key = token_key(spec);
	struct entry *e = entry_find(t, key);

	free(key);
	if (!e || !e->token)
		return NULL;
	if (e->expires_ms <= now_ms()) {
		secret_wipe(&e->token);
		return NULL;
	}
	TAILQ_REMOVE(&t->used, e, use);
	TAILQ_INSERT_TAIL(&t->used, e, use);
	return e->token;
}

void token_forget(struct tokens *t, const struct token_spec *spec,
		  const char *token)
{
	char *key = token_key(spec);
	struct entry *e = entry_find(t, key);

	free(key);
	if (e && e->token && strcmp(e->token, token) == 0)
		secret_wipe(&e->token);
}

struct token_ask *token_ask(struct tokens *t, const struct token_spec *spec,
			    token_cb *cb, void *arg)
{
	struct entry *e = entry_get(t, token_key(spec));
	struct token_ask *ask = xcalloc(1, sizeof(*ask));

	ask->cb = cb;
	ask->arg = arg;
	LIST_INSERT_HEAD(&e->asks, ask, link);
	if (!is_asking(e))
		request_start(e, spec);
	return ask;
}

/* The request itself goes on: the next who asks has its token. */
void token_cancel(struct token_ask **ask)
{
	if (!*ask)
		return;
	LIST_REMOVE(*ask, link);
	free(*ask);
	*ask = NULL;
}

struct tokens *tokens_new(struct dialer *dr)
{
	struct tokens *t = xcalloc(1, sizeof(*t));

	t->dialer = dr;
	for (size_t i = 0; i < TOKEN_BUCKETS; i++)
		LIST_INIT(&t->buckets[i]);
	TAILQ_INIT(&t->used);
	LIST_INIT(&t->lines);
	return t;
}

void tokens_free(struct tokens **tp)
{
	struct tokens *t = *tp;
	struct entry *e;
	struct line *line;

	if (!t)
		return;
	*tp = NULL;
	while ((e = TAILQ_FIRST(&t->used)))
		entry_free(e);
	while ((line = LIST_FIRST(&t->lines))) {
		LIST_REMOVE(line, link);
		free(line);
	}
	free(t);
}
