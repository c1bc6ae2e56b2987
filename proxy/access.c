/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is left of a request when it is over: one line and a few counters.
 *
 * The access line, after the log's own time, fields separated by one blank:
 *
 *   192.0.2.7:4711 GET "/v2/library/alpine/manifests/3" 200 1638 0.412 hit 0
 *
 * client   address and port
 * method   as sent; "-" where the head was refused
 * path     with the query, quoted; other than printable ASCII and quotes as
 *          \xNN, cut at ACCESS_PATH_MAX; "" where the head was refused
 * status   499: the client left before there was a reply
 * bytes    of the body that the client's kernel took
 * ms       from the end of the head to the last byte
 * verdict  hit, miss, joined, revalidated, stale, pass, or -
 * wait     how many of the milliseconds were spent waiting for upstream
 */
#include "proxy/metrics.h"
#include "proxy/request.h"

#define ACCESS_PATH_MAX 1024
#define STATUS_LEFT 499

/* The two enums are one list, so that counting needs no table. */
_Static_assert((int)VERDICT_NONE == (int)METRIC_VERDICT_NONE &&
		   (int)VERDICT_HIT == (int)METRIC_HIT &&
		   (int)VERDICT_MISS == (int)METRIC_MISS &&
		   (int)VERDICT_JOINED == (int)METRIC_JOINED &&
		   (int)VERDICT_REVALIDATED == (int)METRIC_REVALIDATED &&
		   (int)VERDICT_STALE == (int)METRIC_STALE &&
		   (int)VERDICT_PASS == (int)METRIC_PASS,
	       "verdicts and their metric labels differ");

const char *verdict_name(enum verdict v)
{
	static const char *const names[] = {
	    [VERDICT_NONE] = "-",
	    [VERDICT_HIT] = "hit",
	    [VERDICT_MISS] = "miss",
	    [VERDICT_JOINED] = "joined",
	    [VERDICT_REVALIDATED] = "revalidated",
	    [VERDICT_STALE] = "stale",
	    [VERDICT_PASS] = "pass",
	};

	assert((size_t)v < ARRAY_LEN(names));
	return names[v];
}

static void line(const struct request *r, unsigned status, uint64_t bytes,
		 uint64_t took_us)
{
	char path[ACCESS_PATH_MAX];
	struct span method = r->head->method_name;

	log_escape(r->head->target.ptr, r->head->target.len, path,
		   sizeof(path));
	log_access("%s %.*s \"%s\" %u %" PRIu64 " %" PRIu64 ".%03u %s %" PRIu64,
		   conn_peer(r->conn), (int)MIN(method.len, (size_t)32),
		   method.ptr, path, status, bytes, took_us / 1000,
		   (unsigned)(took_us % 1000), verdict_name(r->verdict),
		   r->upstream_us / 1000);
}

void access_note(const struct request *r, uint64_t body_bytes)
{
	unsigned status = r->replied ? r->status : STATUS_LEFT;
	uint64_t took_us = now_us() - r->started_us;

	metric_add(METRIC_REQUESTS, 1, (unsigned)r->head->method,
		   metric_status(status), (unsigned)r->verdict);
	metric_observe_us(METRIC_REQUEST_TIME, took_us, (unsigned)r->verdict);
	if (body_bytes > 0)
		metric_add(METRIC_SENT_BYTES, (int64_t)body_bytes,
			   (unsigned)r->verdict, 0, 0);
	if (r->conf->access_log)
		line(r, status, body_bytes, took_us);
}

void access_note_refused(const struct conn *c, const struct conf *conf,
			 unsigned status, uint64_t body_bytes)
{
	metric_add(METRIC_REQUESTS, 1, METRIC_OTHER, metric_status(status),
		   METRIC_VERDICT_NONE);
	if (conf->access_log)
		log_access("%s - \"\" %u %" PRIu64 " 0.000 - 0", conn_peer(c),
			   status, body_bytes);
}
