/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_FETCH_INT_H
#define PROXY_FETCH_INT_H
/*
 * What the files that meet libcurl share; no other includes it.
 *
 *   fetch.c         one exchange: its callbacks, deadlines and end
 *   fetch_setup.c   what libcurl is told of it
 *   fetch_head.c    the head of its answer
 *   fetch_multi.c   libcurl's multi interface on the fetch loop's event base
 *
 * libcurl must not be re-entered from its own callbacks: what they find is
 * noted, and callers hear of the end from fetch_reap(), outside.
 */
#include "proxy/fetch.h"

#include <curl/curl.h>

#define FETCH_MAGIC 0x46455443
#define FETCH_HEADERS_MAX 100

/* A pool of connections: a multi of libcurl. */
struct fetch_multi {
	struct fetcher *fetcher;
	CURLM *multi;
	struct timer timer;
	LIST_HEAD(, watch) watches;
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
	struct fetch_multi pools[2];
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
	struct fetch_multi *pool;
	CURL *easy;
	struct curl_slist *headers, *resolve;
	const struct fetch_events *ev;
	void *arg;
	bool (*address_ok)(void *arg, const struct sockaddr *sa);

	struct fetch_head head;
	size_t head_bytes;
	bool had_head, stopped, paused, canceled;
	bool address_refused;
	bool finished;
	CURLcode result;
	uint64_t stall_ms;
	uint64_t first_byte_ms;
	struct timer deadline; /* first byte, then stall */
	bool timed_out;
	uint64_t taken; /* body bytes since the stall timer was set */
	char error[CURL_ERROR_SIZE];
};

/* ---- fetch_head.c ---- */

/* Strip blanks and line ends from both ends; the length that is left. */
size_t fetch_trim(const char **p, size_t len);
/* One line of a head; what is no field, or one too many, is left out. */
void fetch_head_add(struct fetch_head *h, const char *line, size_t len);
void fetch_head_clear(struct fetch_head *h);

/* ---- fetch_setup.c ---- */

void fetch_setup(struct fetch *f, const struct fetch_spec *spec);

/* ---- fetch_multi.c ---- */

void fetch_multi_init(struct fetch_multi *m, struct fetcher *fr);
void fetch_multi_release(struct fetch_multi *m);
/* Find out which exchanges have ended, outside of libcurl: after whatever may
 * have moved one. */
void fetch_multi_check(struct fetch_multi *m);
/* Take an exchange out, whatever it was at.  libcurl (7.88) closes the socket
 * of a connection attempt before it says that it needs no watching, when the
 * number may be another thread's file: it is not watched from here on. */
void fetch_multi_remove(struct fetch_multi *m, CURL *easy);

/* ---- fetch.c ---- */

/* It has ended; whoever waits is told at the end of the turn. */
void fetch_finish(struct fetch *f, CURLcode rc);

#endif
