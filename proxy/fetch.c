/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/fetch_int.h"

#include "proxy/address.h"

#include <netinet/in.h>
#include <sys/socket.h>

/* Of all heads and trailers of one exchange; libcurl bounds only lines. */
#define FETCH_HEAD_BYTES_MAX (256 * 1024)

/* ---- the end ---- */

static void fetch_free(struct fetch *f)
{
	f->magic = 0;
	LIST_REMOVE(f, link);
	fetch_multi_remove(f->pool, f->easy);
	curl_easy_cleanup(f->easy);
	curl_slist_free_all(f->headers);
	curl_slist_free_all(f->resolve);
	fetch_head_clear(&f->head);
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

/* What to do about it, where libcurl's sentence does not say. */
static const char *hint(CURLcode rc)
{
	switch (rc) {
	case CURLE_SSL_CACERT_BADFILE:
		return " (the package ca-certificates brings the usual one, "
		       "the upstream's \"ca\" names another)";
	case CURLE_PEER_FAILED_VERIFICATION:
		return " (the upstream's \"ca\" names a private authority)";
	default:
		return "";
	}
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
	return why_set(why, ERR_BAD_UPSTREAM, "%s%s", text, hint(f->result));
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

void fetch_finish(struct fetch *f, CURLcode rc)
{
	if (f->finished)
		return;
	f->finished = true;
	f->result = rc;
	timer_clear(&f->deadline);
	reap_soon(f->fetcher);
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
		fetch_head_clear(&f->head);
		return len;
	}
	if (fetch_trim(&p, len) > 0) {
		fetch_head_add(&f->head, p, len - (size_t)(p - buf));
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

/* ---- start ---- */

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
	set_callbacks(f);
	fetch_setup(f, spec);
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
	fetch_multi_check(f->pool);
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

struct fetcher *fetcher_new(struct loop *l, const char *user_agent)
{
	struct fetcher *fr = xcalloc(1, sizeof(*fr));

	curl_global_init(CURL_GLOBAL_DEFAULT);
	fr->loop = l;
	fr->user_agent = xstrdup(user_agent);
	fr->reap = xcalloc(1, sizeof(*fr->reap));
	fr->reap->fetcher = fr;
	LIST_INIT(&fr->fetches);
	fetch_multi_init(&fr->pools[FETCH_SMALL], fr);
	fetch_multi_init(&fr->pools[FETCH_BLOB], fr);
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
	for (size_t i = 0; i < ARRAY_LEN(fr->pools); i++)
		fetch_multi_release(&fr->pools[i]);
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
