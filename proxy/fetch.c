/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcurl's multi interface on the fetch loop's event base: two multis, one
 * for each pool of connections.
 *
 * What libcurl is told and why:
 *  - addresses come by CURLOPT_RESOLVE: its own threaded resolver joins its
 *    thread when a transfer is given up, which blocks for as long as a dead
 *    DNS server likes (9.5 s measured);
 *  - HTTP/1.1: a paused HTTP/2 stream beside an active one fills 32 MiB;
 *  - no redirects, no decoding, no netrc, no signals: all of that is decided
 *    elsewhere;
 *  - BUFFERSIZE 64 KiB: one socket event may read a hundred of them.
 *
 * libcurl must not be re-entered from its own callbacks: what they find is
 * noted, and callers hear of the end from fetch_reap(), outside.
 */
#include "proxy/fetch.h"

#include "proxy/address.h"

#include <curl/curl.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#define FETCH_MAGIC 0x46455443
#define FETCH_BUFFER_BYTES (64 * 1024)
#define FETCH_HEADERS_MAX 100
/* Of all heads and trailers of one exchange; libcurl bounds only lines. */
#define FETCH_HEAD_BYTES_MAX (256 * 1024)

struct pool {
	struct fetcher *fetcher;
	CURLM *multi;
	struct timer timer;
	unsigned running;
};

/* The reap of this turn, which the fetcher may not live to see. */
struct reap {
	struct fetcher *fetcher; /* NULL: gone */
	bool queued;
};

struct fetcher {
	struct loop *loop;
	char *user_agent;
	struct pool pools[2];
	LIST_HEAD(, fetch) fetches;
	struct reap *reap;
	struct fetcher_stats stats;
};

struct fetch_head {
	unsigned status;
	unsigned n;
	struct {
		char *name, *value;
	} fields[FETCH_HEADERS_MAX];
};

struct fetch {
	uint32_t magic;
	LIST_ENTRY(fetch) link;
	struct fetcher *fetcher;
	struct pool *pool;
	CURL *easy;
	struct curl_slist *headers, *resolve;
	const struct fetch_events *ev;
	void *arg;
	bool (*address_ok)(void *arg, const struct sockaddr *sa);

	struct fetch_head head;
	size_t head_bytes;
	bool had_head, stopped, paused, canceled;
	bool address_refused;
	bool no_body; /* HEAD */
	bool finished;
	CURLcode result;
	uint64_t stall_ms;
	uint64_t first_byte_ms;
	struct timer deadline; /* first byte, then stall */
	bool timed_out;
	uint64_t taken; /* body bytes since the stall timer was set */
	char error[CURL_ERROR_SIZE];
};

/* ---- heads ---- */

unsigned fetch_head_status(const struct fetch_head *h)
{
	return h->status;
}

const char *fetch_head_field(const struct fetch_head *h, const char *name,
			     unsigned n)
{
	for (unsigned i = 0; i < h->n; i++)
		if (strcasecmp(h->fields[i].name, name) == 0 && n-- == 0)
			return h->fields[i].value;
	return NULL;
}

static void head_clear(struct fetch_head *h)
{
	for (unsigned i = 0; i < h->n; i++)
		free(h->fields[i].name); /* value is in the same block */
	memset(h, 0, sizeof(*h));
}

static size_t trim(const char **p, size_t len)
{
	while (len && (**p == ' ' || **p == '\t')) {
		(*p)++;
		len--;
	}
	while (len && strchr(" \t\r\n", (*p)[len - 1]))
		len--;
	return len;
}

static void head_add(struct fetch_head *h, const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len);
	const char *value;
	size_t name_len, value_len;
	char *block;

	if (!colon || h->n == FETCH_HEADERS_MAX)
		return;
	name_len = (size_t)(colon - line);
	value = colon + 1;
	value_len = trim(&value, len - name_len - 1);
	block = xmalloc(name_len + value_len + 2);
	memcpy(block, line, name_len);
	block[name_len] = '\0';
	memcpy(block + name_len + 1, value, value_len);
	block[name_len + 1 + value_len] = '\0';
	h->fields[h->n].name = block;
	h->fields[h->n].value = block + name_len + 1;
	h->n++;
}

/* ---- the end ---- */

static void fetch_free(struct fetch *f)
{
	f->magic = 0;
	LIST_REMOVE(f, link);
	curl_multi_remove_handle(f->pool->multi, f->easy);
	curl_easy_cleanup(f->easy);
	curl_slist_free_all(f->headers);
	curl_slist_free_all(f->resolve);
	head_clear(&f->head);
	timer_release(&f->deadline);
	f->pool->running--;
	free(f);
}

static bool is_connect_trouble(CURLcode rc)
{
	return rc == CURLE_COULDNT_CONNECT ||
	       rc == CURLE_COULDNT_RESOLVE_HOST ||
	       rc == CURLE_COULDNT_RESOLVE_PROXY || rc == CURLE_GOT_NOTHING ||
	       rc == CURLE_SEND_ERROR || rc == CURLE_RECV_ERROR ||
	       rc == CURLE_PARTIAL_FILE || rc == CURLE_HTTP2_STREAM ||
	       rc == CURLE_PROXY;
}

static enum err outcome(struct fetch *f, struct why *why)
{
	const char *text =
	    f->error[0] ? f->error : curl_easy_strerror(f->result);

	if (f->canceled)
		return why_set(why, ERR_CANCELED, "the daemon is stopping");
	if (f->address_refused)
		return why_set(why, ERR_DENIED,
			       "its address is not one it may lead to");
	if (f->head_bytes > FETCH_HEAD_BYTES_MAX)
		return why_set(why, ERR_BAD_UPSTREAM,
			       "its head is longer than %u KiB",
			       FETCH_HEAD_BYTES_MAX / 1024);
	if (f->timed_out && f->had_head)
		return why_set(why, ERR_TIMEOUT,
			       "no byte came for %" PRIu64 " ms", f->stall_ms);
	if (f->timed_out)
		return why_set(why, ERR_TIMEOUT,
			       "no answer within %" PRIu64 " ms",
			       f->first_byte_ms);
	if (f->stopped || f->result == CURLE_OK)
		return ERR_OK;
	if (f->result == CURLE_OPERATION_TIMEDOUT)
		return why_set(why, ERR_TIMEOUT, "%s", text);
	if (is_connect_trouble(f->result))
		return why_set(why, ERR_UNAVAILABLE, "%s", text);
	return why_set(why, ERR_BAD_UPSTREAM, "%s", text);
}

/* Report what has ended. */
static void report_ended(struct fetcher *fr)
{
	struct fetch *f, *next;

	for (f = LIST_FIRST(&fr->fetches); f; f = next) {
		struct why why = {{0}};
		enum err err;

		next = LIST_NEXT(f, link);
		if (!f->finished)
			continue;
		err = outcome(f, &why);
		if (!err && !f->had_head)
			err = why_set(&why, ERR_BAD_UPSTREAM,
				      "the answer had no head");
		f->ev->done(f->arg, err, &why);
		/* done() may have canceled others: begin again. */
		fetch_free(f);
		next = LIST_FIRST(&fr->fetches);
	}
}

/* Deferred: no curl function is on the stack. */
static void fetch_reap(void *arg)
{
	struct reap *reap = arg;

	reap->queued = false;
	if (reap->fetcher)
		report_ended(reap->fetcher);
	else
		free(reap);
}

static void reap_soon(struct fetcher *fr)
{
	if (fr->reap->queued)
		return;
	fr->reap->queued = true;
	loop_defer(fr->loop, fetch_reap, fr->reap);
}

static void fetch_finish(struct fetch *f, CURLcode rc)
{
	if (f->finished)
		return;
	f->finished = true;
	f->result = rc;
	timer_clear(&f->deadline);
	reap_soon(f->fetcher);
}

static void check_done(struct pool *p)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(p->multi, &left))) {
		struct fetch *f;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &f);
		assert(f->magic == FETCH_MAGIC);
		fetch_finish(f, msg->data.result);
	}
}

/* ---- deadlines: first byte, then stall ---- */

static void deadline_fire(void *arg)
{
	struct fetch *f = arg;

	if (f->finished)
		return;
	if (f->paused || (f->had_head && f->taken)) {
		f->taken = 0;
		timer_set(&f->deadline, f->stall_ms);
		return;
	}
	f->timed_out = true;
	fetch_finish(f, CURLE_OPERATION_TIMEDOUT);
}

/* ---- libcurl's callbacks ---- */

/* Judge who answers, as a connection may have been used before.  (There is no
 * CURLINFO_ACTIVESOCKET while a transfer runs.) */
static bool peer_ok(struct fetch *f)
{
	struct sockaddr_storage sa;
	const char *ip = NULL;
	long port = 0;

	if (!f->address_ok)
		return true;
	curl_easy_getinfo(f->easy, CURLINFO_PRIMARY_IP, &ip);
	curl_easy_getinfo(f->easy, CURLINFO_PRIMARY_PORT, &port);
	return ip && address_parse(ip, (uint16_t)port, &sa) &&
	       f->address_ok(f->arg, (const struct sockaddr *)&sa);
}

static bool show_head(struct fetch *f)
{
	f->had_head = true;
	f->taken = 0;
	timer_set(&f->deadline, f->stall_ms);
	if (!peer_ok(f)) {
		f->address_refused = true;
		return false;
	}
	if (!f->ev->head(f->arg, &f->head)) {
		f->stopped = true;
		return false;
	}
	return true;
}

static size_t on_header(char *buf, size_t size, size_t n, void *arg)
{
	struct fetch *f = arg;
	size_t len = size * n;
	const char *p = buf;
	long status = 0;

	assert(f->magic == FETCH_MAGIC);
	f->head_bytes += len;
	if (f->head_bytes > FETCH_HEAD_BYTES_MAX)
		return 0;
	if (f->had_head)
		return len; /* trailers */
	if (len > 5 && memcmp(buf, "HTTP/", 5) == 0) {
		head_clear(&f->head);
		return len;
	}
	if (trim(&p, len) > 0) {
		head_add(&f->head, p, len - (size_t)(p - buf));
		return len;
	}
	curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status);
	f->head.status = (unsigned)status;
	if (status < 200)
		return len; /* 100 Continue, or a proxy's CONNECT */
	if (f->finished)
		return 0; /* its time is up */
	return show_head(f) ? len : 0;
}

static size_t on_data(char *buf, size_t size, size_t n, void *arg)
{
	struct fetch *f = arg;
	size_t len = size * n;

	assert(f->magic == FETCH_MAGIC);
	if (f->finished || f->stopped)
		return 0;
	switch (f->ev->data(f->arg, buf, len)) {
	case FETCH_PAUSE:
		f->paused = true;
		return CURL_WRITEFUNC_PAUSE;
	case FETCH_STOP:
		f->stopped = true;
		return 0;
	case FETCH_TOOK:
		break;
	}
	f->taken += len;
	f->fetcher->stats.body_bytes += len;
	return len;
}

static curl_socket_t on_open(void *arg, curlsocktype purpose,
			     struct curl_sockaddr *sa)
{
	struct fetch *f = arg;

	(void)purpose;
	assert(f->magic == FETCH_MAGIC);
	if (f->address_ok && !f->address_ok(f->arg, &sa->addr)) {
		f->address_refused = true;
		return CURL_SOCKET_BAD;
	}
	f->fetcher->stats.connections++;
	return socket(sa->family, sa->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
		      sa->protocol);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct pool *p = arg;
	int running, mask = 0;

	if (what & EV_READ)
		mask |= CURL_CSELECT_IN;
	if (what & EV_WRITE)
		mask |= CURL_CSELECT_OUT;
	curl_multi_socket_action(p->multi, fd, mask, &running);
	check_done(p);
}

static void on_timer(void *arg)
{
	struct pool *p = arg;
	int running;

	curl_multi_socket_action(p->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	check_done(p);
}

static int want_timer(CURLM *multi, long ms, void *arg)
{
	struct pool *p = arg;

	(void)multi;
	if (ms < 0)
		timer_clear(&p->timer);
	else
		timer_set(&p->timer, (uint64_t)ms);
	return 0;
}

/* One event for each socket, kept by curl_multi_assign(). */
static int want_socket(CURL *easy, curl_socket_t fd, int what, void *arg,
		       void *sockp)
{
	struct pool *p = arg;
	struct event *ev = sockp;
	short events = EV_PERSIST;

	(void)easy;
	if (ev)
		event_free(ev);
	ev = NULL;
	if (what != CURL_POLL_REMOVE) {
		if (what & CURL_POLL_IN)
			events |= EV_READ;
		if (what & CURL_POLL_OUT)
			events |= EV_WRITE;
		ev = event_new(loop_base(p->fetcher->loop), fd, events,
			       on_event, p);
		assert(ev);
		event_add(ev, NULL);
	}
	curl_multi_assign(p->multi, fd, ev);
	return 0;
}

/* ---- start ---- */

static void set_headers(struct fetch *f, const struct fetch_spec *spec)
{
	/* libcurl's own that nobody asked for. */
	f->headers = curl_slist_append(f->headers, "Expect:");
	for (size_t i = 0; i < spec->n_headers; i++)
		f->headers = curl_slist_append(f->headers, spec->headers[i]);
	curl_easy_setopt(f->easy, CURLOPT_HTTPHEADER, f->headers);
}

static void set_method(struct fetch *f, const struct fetch_spec *spec)
{
	if (strcmp(spec->method, "HEAD") == 0) {
		f->no_body = true;
		curl_easy_setopt(f->easy, CURLOPT_NOBODY, 1L);
	} else if (strcmp(spec->method, "POST") == 0) {
		const char *body = spec->post_body ? spec->post_body : "";

		curl_easy_setopt(f->easy, CURLOPT_POST, 1L);
		curl_easy_setopt(f->easy, CURLOPT_POSTFIELDSIZE,
				 (long)strlen(body));
		curl_easy_setopt(f->easy, CURLOPT_COPYPOSTFIELDS, body);
	}
}

/*
 * One socket event reads up to a hundred buffers before libcurl looks at the
 * rate: that should be a quarter of a second's worth, or a small blob passes
 * at once and the pause after a large one looks like a stall.
 */
static long buffer_bytes(uint64_t max_rate)
{
	if (!max_rate)
		return FETCH_BUFFER_BYTES;
	return (long)MAX(MIN(max_rate / 400, FETCH_BUFFER_BYTES), 1024);
}

static void set_transport(struct fetch *f, const struct fetch_spec *spec)
{
	CURL *e = f->easy;

	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_BUFFERSIZE, buffer_bytes(spec->max_rate));
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)spec->connect_ms);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	curl_easy_setopt(e, CURLOPT_PROXY, spec->proxy ? spec->proxy : "");
	if (spec->max_rate)
		curl_easy_setopt(e, CURLOPT_MAX_RECV_SPEED_LARGE,
				 (curl_off_t)spec->max_rate);
	if (spec->ca)
		curl_easy_setopt(e, CURLOPT_CAINFO, spec->ca);
	/* CAPATH keeps the system's folder unless it is taken away. */
	if (spec->ca && !spec->ca_and_system)
		curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
	if (spec->client_cert)
		curl_easy_setopt(e, CURLOPT_SSLCERT, spec->client_cert);
	if (spec->client_key)
		curl_easy_setopt(e, CURLOPT_SSLKEY, spec->client_key);
	if (spec->insecure) {
		curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	if (spec->resolve) {
		f->resolve = curl_slist_append(NULL, spec->resolve);
		curl_easy_setopt(e, CURLOPT_RESOLVE, f->resolve);
	}
}

static void set_callbacks(struct fetch *f)
{
	CURL *e = f->easy;

	curl_easy_setopt(e, CURLOPT_PRIVATE, f);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, f->error);
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, f);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, f);
	curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open);
	curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, f);
}

struct fetch *fetch_start(struct fetcher *fr, const struct fetch_spec *spec,
			  const struct fetch_events *ev, void *arg)
{
	struct fetch *f = xcalloc(1, sizeof(*f));
	CURLMcode rc;

	loop_assert(fr->loop);
	f->magic = FETCH_MAGIC;
	f->fetcher = fr;
	f->pool = &fr->pools[spec->pool];
	f->ev = ev;
	f->arg = arg;
	f->address_ok = spec->address_ok;
	f->stall_ms = spec->stall_ms;
	f->first_byte_ms = spec->first_byte_ms;
	f->easy = curl_easy_init();
	assert(f->easy);
	curl_easy_setopt(f->easy, CURLOPT_URL, spec->url);
	curl_easy_setopt(f->easy, CURLOPT_USERAGENT, fr->user_agent);
	set_callbacks(f);
	set_transport(f, spec);
	set_method(f, spec);
	set_headers(f, spec);
	timer_init(&f->deadline, fr->loop, deadline_fire, f);
	timer_set(&f->deadline, spec->first_byte_ms);
	LIST_INSERT_HEAD(&fr->fetches, f, link);
	f->pool->running++;
	fr->stats.started++;
	rc = curl_multi_add_handle(f->pool->multi, f->easy);
	assert(rc == CURLM_OK);
	(void)rc;
	return f;
}

void fetch_resume(struct fetch *f)
{
	assert(f->magic == FETCH_MAGIC);
	if (!f->paused || f->finished)
		return;
	f->paused = false;
	curl_easy_pause(f->easy, CURLPAUSE_CONT);
	check_done(f->pool);
}

void fetch_set_max_rate(struct fetch *f, uint64_t max_rate)
{
	assert(f->magic == FETCH_MAGIC);
	curl_easy_setopt(f->easy, CURLOPT_MAX_RECV_SPEED_LARGE,
			 (curl_off_t)MIN(max_rate, (uint64_t)INT64_MAX));
}

void fetch_cancel(struct fetch **fp)
{
	struct fetch *f = *fp;

	if (!f)
		return;
	assert(f->magic == FETCH_MAGIC);
	*fp = NULL;
	fetch_free(f);
}

/* ---- the fetcher ---- */

static void pool_init(struct fetcher *fr, struct pool *p)
{
	p->fetcher = fr;
	p->multi = curl_multi_init();
	assert(p->multi);
	timer_init(&p->timer, fr->loop, on_timer, p);
	curl_multi_setopt(p->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
	curl_multi_setopt(p->multi, CURLMOPT_SOCKETDATA, p);
	curl_multi_setopt(p->multi, CURLMOPT_TIMERFUNCTION, want_timer);
	curl_multi_setopt(p->multi, CURLMOPT_TIMERDATA, p);
	curl_multi_setopt(p->multi, CURLMOPT_MAXCONNECTS, 32L);
	curl_multi_setopt(p->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
}

struct fetcher *fetcher_new(struct loop *l, const char *user_agent)
{
	struct fetcher *fr = xcalloc(1, sizeof(*fr));

	curl_global_init(CURL_GLOBAL_DEFAULT);
	fr->loop = l;
	fr->user_agent = xstrdup(user_agent);
	fr->reap = xcalloc(1, sizeof(*fr->reap));
	fr->reap->fetcher = fr;
	LIST_INIT(&fr->fetches);
	pool_init(fr, &fr->pools[FETCH_SMALL]);
	pool_init(fr, &fr->pools[FETCH_BLOB]);
	return fr;
}

void fetcher_free(struct fetcher **frp)
{
	struct fetcher *fr = *frp;
	struct fetch *f;

	if (!fr)
		return;
	*frp = NULL;
	LIST_FOREACH (f, &fr->fetches, link) {
		f->canceled = true;
		f->finished = true;
	}
	report_ended(fr);
	for (size_t i = 0; i < ARRAY_LEN(fr->pools); i++) {
		curl_multi_cleanup(fr->pools[i].multi);
		timer_release(&fr->pools[i].timer);
	}
	curl_global_cleanup();
	fr->reap->fetcher = NULL;
	if (!fr->reap->queued)
		free(fr->reap);
	free(fr->user_agent);
	free(fr);
}

void fetcher_stats(struct fetcher *fr, struct fetcher_stats *out)
{
	*out = fr->stats;
	out->running[FETCH_SMALL] = fr->pools[FETCH_SMALL].running;
	out->running[FETCH_BLOB] = fr->pools[FETCH_BLOB].running;
}
