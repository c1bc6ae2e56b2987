/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/errand.h"

#include "proxy/dial_way.h"

struct errand {
	LIST_ENTRY(errand) link;
	struct dialer *dialer;
	struct dial_way way;
	char **headers;
	size_t n_headers;
	char *post_body;
	char *ca;
	bool insecure;
	size_t answer_max;
	uint64_t timeout_ms;
	errand_cb *cb;
	void *arg;

	struct resolution *resolution;
	struct fetch *fetch;
	struct timer deadline;
	bool bad_url;
	unsigned status;
	char *answer;
	size_t len;
};

static void errand_free(struct errand *e)
{
	LIST_REMOVE(e, link);
	timer_release(&e->deadline);
	resolve_cancel(&e->resolution);
	fetch_cancel(&e->fetch);
	for (size_t i = 0; i < e->n_headers; i++) {
		explicit_bzero(e->headers[i], strlen(e->headers[i]));
		free(e->headers[i]);
	}
	free(e->headers);
	free(e->post_body);
	free(e->ca);
	free(e->answer);
	dial_way_release(&e->way);
	free(e);
}

void errand_cancel(struct errand **e)
{
	if (*e)
		errand_free(*e);
	*e = NULL;
}

/* The last thing an errand does. */
static void errand_end(struct errand *e, enum err err, const struct why *why)
{
	e->cb(e->arg, err, e->status, e->answer, e->len, why);
	errand_free(e);
}

static void deadline_fire(void *arg)
{
	struct errand *e = arg;
	struct why why;

	if (e->bad_url) {
		(void)why_set(&why, ERR_INVALID, "its URL is none");
		errand_end(e, ERR_INVALID, &why);
		return;
	}
	(void)why_set(&why, ERR_TIMEOUT, "no answer within %" PRIu64 " ms",
		      e->timeout_ms);
	errand_end(e, ERR_TIMEOUT, &why);
}

/* ---- the exchange ---- */

static bool on_head(void *arg, const struct fetch_head *h)
{
	struct errand *e = arg;

	e->status = fetch_head_status(h);
	return true;
}

static enum fetch_take on_data(void *arg, const void *buf, size_t len)
{
	struct errand *e = arg;
	size_t room = e->answer_max - e->len;

	if (len > room)
		len = room;
	memcpy(e->answer + e->len, buf, len);
	e->len += len;
	return e->len == e->answer_max ? FETCH_STOP : FETCH_TOOK;
}

static void on_done(void *arg, enum err err, const struct why *why)
{
	struct errand *e = arg;
	struct why copy = *why;

	e->fetch = NULL;
	errand_end(e, err, &copy);
}

static const struct fetch_events errand_events = {
    .head = on_head,
    .data = on_data,
    .done = on_done,
};

/* The operator wrote it: any address but one that is never right. */
static bool address_ok(void *arg, const struct sockaddr *sa)
{
	const struct errand *e = arg;

	return e->way.proxy.text || address_class(sa) != ADDRESS_FORBIDDEN;
}

static void start_fetch(struct errand *e, const char *resolve)
{
	struct fetch_spec spec = {
	    .pool = FETCH_SMALL,
	    .method = e->post_body ? "POST" : "GET",
	    .url = e->way.url.text,
	    .headers = (const char *const *)e->headers,
	    .n_headers = e->n_headers,
	    .post_body = e->post_body,
	    .resolve = resolve,
	    .proxy = e->way.proxy.text,
	    .ca = e->ca,
	    .insecure = e->insecure,
	    .connect_ms = e->timeout_ms,
	    .first_byte_ms = e->timeout_ms,
	    .stall_ms = e->timeout_ms,
	    .address_ok = address_ok,
	};

	e->fetch = fetch_start(e->dialer->fetcher, &spec, &errand_events, e);
}

static void looked_up(void *arg, enum err err, const struct resolved *found,
		      const struct why *why)
{
	struct errand *e = arg;
	struct why copy = *why;
	char *resolve;

	e->resolution = NULL;
	if (err) {
		errand_end(e, err == ERR_TIMEOUT ? err : ERR_UNAVAILABLE,
			   &copy);
		return;
	}
	/* address_ok() judges them, when one is taken. */
	err = dial_way_resolve(&e->way, found, NULL, NULL, &resolve);
	assert(err == ERR_OK);
	start_fetch(e, resolve);
	free(resolve);
}

/* ---- start ---- */

static bool read_url(struct errand *e, const char *url)
{
	const char *proxy;

	if (http_url_parse(span_of(url), &e->way.url) != ERR_OK)
		return false;
	proxy = proxy_environment_pick(&e->dialer->env, e->way.url.https,
				       e->way.url.host, e->way.url.port);
	return !proxy || proxy_url_parse(proxy, false, &e->way.proxy) == ERR_OK;
}

struct errand *errand_start(struct dialer *dr, const struct errand_spec *spec,
			    errand_cb *cb, void *arg)
{
	struct errand *e = xcalloc(1, sizeof(*e));

	e->dialer = dr;
	e->cb = cb;
	e->arg = arg;
	e->timeout_ms = spec->timeout_ms;
	e->answer_max = spec->answer_max;
	e->answer = xcalloc(1, spec->answer_max + 1);
	e->post_body = spec->post_body ? xstrdup(spec->post_body) : NULL;
	e->ca = spec->ca ? xstrdup(spec->ca) : NULL;
	e->insecure = spec->insecure;
	e->headers = xcalloc(spec->n_headers + 1, sizeof(*e->headers));
	for (size_t i = 0; i < spec->n_headers; i++)
		e->headers[e->n_headers++] = xstrdup(spec->headers[i]);
	LIST_INSERT_HEAD(&dr->errands, e, link);
	timer_init(&e->deadline, dr->loop, deadline_fire, e);
	e->bad_url = !read_url(e, spec->url);
	timer_set(&e->deadline, e->bad_url ? 0 : e->timeout_ms);
	if (!e->bad_url)
		e->resolution = resolve_start(
		    dr->resolver, dial_way_host(&e->way),
		    dial_way_port(&e->way), e->timeout_ms, looked_up, e);
	return e;
}

void errands_end(struct dialer *dr)
{
	struct errand *e;
	struct why why;

	(void)why_set(&why, ERR_CANCELED, "the daemon is stopping");
	while ((e = LIST_FIRST(&dr->errands)))
		errand_end(e, ERR_CANCELED, &why);
}
