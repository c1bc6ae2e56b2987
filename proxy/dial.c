/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/dial.h"

#include "proxy/dial_way.h"

#include <netinet/in.h>

struct dial {
	struct dialer *dialer;
	struct upstream *up;
	enum dial_role role;
	struct dial_way way;
	bool own_host;
	int limit;
	int class;
	char *refusal; /* the sentence, once an address was refused */

	/* for fetch_start(), after the lookup */
	enum fetch_pool pool;
	char *method;
	char **headers;
	size_t n_headers;
	char *post_body;
	uint64_t max_rate;

	const struct fetch_events *ev;
	void *arg;
	struct resolution *resolution;
	struct fetch *fetch;
};

static void dial_free(struct dial *d)
{
	for (size_t i = 0; i < d->n_headers; i++) {
		explicit_bzero(d->headers[i], strlen(d->headers[i]));
		free(d->headers[i]);
	}
	free(d->headers);
	if (d->post_body)
		explicit_bzero(d->post_body, strlen(d->post_body));
	free(d->post_body);
	free(d->method);
	free(d->refusal);
	dial_way_release(&d->way);
	free(d);
}

/* The last thing a dial does. */
static void dial_end(struct dial *d, enum err err, const struct why *why)
{
	const struct fetch_events *ev = d->ev;
	void *arg = d->arg;
	struct why copy = *why;

	if (err == ERR_DENIED && d->refusal)
		why_set(&copy, err, "%s", d->refusal);
	dial_free(d);
	ev->done(arg, err, &copy);
}

/* ---- the policy ---- */

static const char *role_text(enum dial_role role)
{
	return role == DIAL_REALM ? "names the token server" : "leads to";
}

/* Is an address, or a name through a proxy, of `class` allowed? */
static bool class_allowed(const struct dial *d, int class,
			  const struct sockaddr *sa)
{
	int limit =
	    d->limit == ENDPOINT_CLASS_UNKNOWN ? ADDRESS_PUBLIC : d->limit;

	if (class == ADDRESS_FORBIDDEN)
		return false;
	if (d->role == DIAL_ENDPOINT || class <= limit)
		return true;
	return conf_redirect_allowed(upstream_conf(d->up), d->way.url.host,
				     d->way.url.port, sa);
}

static void refuse(struct dial *d, int class, const char *address)
{
	const char *name = upstream_name(d->up);
	const char *kind = address_class_name((enum address_class) class);

	if (d->refusal)
		return;
	if (d->role == DIAL_ENDPOINT)
		d->refusal = xasprintf("%s: its endpoint %s has the address "
				       "%s, which is never dialled (%s)",
				       name, d->way.url.host, address, kind);
	else if (class == ADDRESS_FORBIDDEN)
		d->refusal = xasprintf("%s %s %s at %s, which is never dialled "
				       "(%s)",
				       name, role_text(d->role),
				       d->way.url.host, address, kind);
	else
		d->refusal = xasprintf(
		    "%s %s %s at %s, a %s address; if that is "
		    "right, list it in the upstream's redirect_allow",
		    name, role_text(d->role), d->way.url.host, address, kind);
}

static bool address_allowed(struct dial *d, const struct sockaddr *sa)
{
	char text[INET6_ADDRSTRLEN];
	enum address_class class = address_class(sa);

	if (class_allowed(d, class, sa))
		return true;
	refuse(d, class, address_text(sa, text));
	return false;
}

/* Through a proxy there is only the name to judge, unless it is a literal. */
static bool name_allowed(struct dial *d)
{
	struct sockaddr_storage sa;
	const struct sockaddr *literal = NULL;
	size_t len = strlen(d->way.url.host);

	d->class = ADDRESS_PUBLIC;
	if (address_parse(d->way.url.host, d->way.url.port, &sa)) {
		literal = (const struct sockaddr *)&sa;
		d->class = address_class(literal);
	} else if (strcmp(d->way.url.host, "localhost") == 0 ||
		   (len > 10 &&
		    strcmp(d->way.url.host + len - 10, ".localhost") == 0)) {
		d->class = ADDRESS_LOOPBACK;
	}
	if (class_allowed(d, d->class, literal))
		return true;
	refuse(d, d->class, d->way.url.host);
	return false;
}

/* A proxy's address is the operator's business. */
static bool found_allowed(void *arg, const struct sockaddr *sa)
{
	struct dial *d = arg;

	return d->way.proxy.text || address_allowed(d, sa);
}

/* Asked by libcurl's side before connect(2) and before the head. */
static bool peer_allowed(void *arg, const struct sockaddr *sa)
{
	struct dial *d = arg;

	if (!found_allowed(d, sa))
		return false;
	if (!d->way.proxy.text)
		d->class = address_class(sa);
	return true;
}

/* ---- the fetch ---- */

static bool dial_head(void *arg, const struct fetch_head *h)
{
	struct dial *d = arg;

	return d->ev->head(d->arg, h);
}

static enum fetch_take dial_data(void *arg, const void *buf, size_t len)
{
	struct dial *d = arg;

	return d->ev->data(d->arg, buf, len);
}

static void dial_done(void *arg, enum err err, const struct why *why)
{
	struct dial *d = arg;

	d->fetch = NULL;
	dial_end(d, err, why);
}

static const struct fetch_events dial_events = {
    .head = dial_head,
    .data = dial_data,
    .done = dial_done,
};

static void start_fetch(struct dial *d, const char *resolve)
{
	const struct conf_upstream *conf = upstream_conf(d->up);
	bool own = d->role == DIAL_ENDPOINT || d->own_host;
	struct fetch_spec spec = {
	    .pool = d->pool,
	    .method = d->method,
	    .url = d->way.url.text,
	    .headers = (const char *const *)d->headers,
	    .n_headers = d->n_headers,
	    .post_body = d->post_body,
	    .resolve = resolve,
	    .proxy = d->way.proxy.text,
	    .ca = conf->ca,
	    .ca_and_system = !own,
	    .client_cert = own ? conf->client_cert : NULL,
	    .client_key = own ? conf->client_key : NULL,
	    /* What redirects bring is proven by its digest; a token server
	     * elsewhere gets secrets, and proves who it is. */
	    .insecure = conf->insecure && (own || d->role == DIAL_REDIRECT),
	    .connect_ms = conf->connect_ms,
	    .first_byte_ms = conf->first_byte_ms,
	    .stall_ms = conf->stall_ms,
	    .max_rate = d->max_rate,
	    .address_ok = peer_allowed,
	};

	d->fetch = fetch_start(d->dialer->fetcher, &spec, &dial_events, d);
}

/* ---- the lookup ---- */

static void looked_up(void *arg, enum err err, const struct resolved *found,
		      const struct why *why)
{
	struct dial *d = arg;
	struct why none = {{0}};
	char *resolve;

	d->resolution = NULL;
	if (err) {
		/* A name that does not exist is an outage, not an answer. */
		dial_end(d, err == ERR_TIMEOUT ? err : ERR_UNAVAILABLE, why);
		return;
	}
	err = dial_way_resolve(&d->way, found, found_allowed, d, &resolve);
	if (err) {
		dial_end(d, err, &none);
		return;
	}
	start_fetch(d, resolve);
	free(resolve);
}

/* ---- start ---- */

/* Which proxy, if any; false: the environment names one that we cannot use. */
static bool choose_proxy(struct dial *d)
{
	const struct conf_upstream *conf = upstream_conf(d->up);
	const char *text = conf->proxy;

	if (!text && conf->proxy_env)
		text = proxy_environment_pick(&d->dialer->env, d->way.url.https,
					      d->way.url.host, d->way.url.port);
	if (!text)
		return true;
	return proxy_url_parse(text, conf->proxy != NULL, &d->way.proxy) ==
	       ERR_OK;
}

static void copy_spec(struct dial *d, const struct dial_spec *spec)
{
	enum err err;

	d->up = spec->up;
	d->role = spec->role;
	d->own_host = spec->own_host;
	d->limit = spec->limit;
	d->pool = spec->pool;
	d->max_rate = spec->max_rate;
	d->method = xstrdup(spec->method);
	d->post_body = spec->post_body ? xstrdup(spec->post_body) : NULL;
	d->headers = xcalloc(spec->n_headers + 1, sizeof(*d->headers));
	for (size_t i = 0; i < spec->n_headers; i++)
		d->headers[d->n_headers++] = xstrdup(spec->headers[i]);
	err = http_url_parse(span_of(spec->url->text), &d->way.url);
	assert(err == ERR_OK);
	(void)err;
}

/* So that dial_start() never calls back: the lookup of a literal does, at the
 * next turn. */
static void refused(void *arg, enum err err, const struct resolved *found,
		    const struct why *why)
{
	struct dial *d = arg;
	struct why bad;

	(void)found;
	(void)why;
	d->resolution = NULL;
	err = ERR_DENIED;
	if (!d->refusal)
		err = why_set(&bad, ERR_UNAVAILABLE,
			      "the environment's proxy variable is no URL");
	else
		memset(&bad, 0, sizeof(bad));
	dial_end(d, err, &bad);
}

struct dial *dial_start(struct dialer *dr, const struct dial_spec *spec,
			const struct fetch_events *ev, void *arg)
{
	struct dial *d = xcalloc(1, sizeof(*d));
	const struct conf_upstream *conf = upstream_conf(spec->up);
	resolve_cb *next = looked_up;

	d->dialer = dr;
	d->ev = ev;
	d->arg = arg;
	d->class = ENDPOINT_CLASS_UNKNOWN;
	copy_spec(d, spec);
	if (!choose_proxy(d) || (d->way.proxy.text && !name_allowed(d)))
		next = refused;
	d->resolution = resolve_start(
	    dr->resolver,
	    next == refused ? "127.0.0.1" : dial_way_host(&d->way),
	    dial_way_port(&d->way), conf->resolve_ms, next, d);
	return d;
}

void dial_resume(struct dial *d)
{
	if (d->fetch)
		fetch_resume(d->fetch);
}

void dial_set_max_rate(struct dial *d, uint64_t max_rate)
{
	d->max_rate = max_rate;
	if (d->fetch)
		fetch_set_max_rate(d->fetch, max_rate);
}

void dial_cancel(struct dial **dp)
{
	struct dial *d = *dp;

	if (!d)
		return;
	*dp = NULL;
	resolve_cancel(&d->resolution);
	fetch_cancel(&d->fetch);
	dial_free(d);
}

int dial_class(const struct dial *d)
{
	return d->class;
}
