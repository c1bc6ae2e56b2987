/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What libcurl is told and why:
 *  - addresses come by CURLOPT_RESOLVE: its own threaded resolver joins its
 *    thread when a transfer is given up, which blocks for as long as a dead
 *    DNS server likes (9.5 s measured);
 *  - HTTP/1.1: a paused HTTP/2 stream beside an active one fills 32 MiB;
 *  - no redirects, no decoding, no netrc, no signals: all of that is decided
 *    elsewhere;
 *  - BUFFERSIZE 64 KiB: one socket event may read a hundred of them.
 */
#include "proxy/fetch_int.h"

#define FETCH_BUFFER_BYTES (64 * 1024)

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

void fetch_setup(struct fetch *f, const struct fetch_spec *spec)
{
	curl_easy_setopt(f->easy, CURLOPT_URL, spec->url);
	curl_easy_setopt(f->easy, CURLOPT_USERAGENT, f->fetcher->user_agent);
	set_transport(f, spec);
	set_method(f, spec);
	set_headers(f, spec);
}
