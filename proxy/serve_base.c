/* SPDX-License-Identifier: Apache-2.0 */
/* The endpoints without a repository: /v2/, its extensions, the operators'. */
#include "cache/cache.h"
#include "proxy/metrics.h"
#include "proxy/reply.h"

static void reply_text(struct request *r, unsigned status, const char *type,
		       const char *text)
{
	reply_begin(r, status);
	reply_send_bytes(r, type, text, strlen(text));
}

static void base(struct request *r)
{
	reply_text(r, 200, "application/json", "{}");
}

/* Alive: this loop answers. */
static void healthz(struct request *r)
{
	reply_text(r, 200, "text/plain; charset=utf-8", "ok\n");
}

/*
 * May a load balancer send requests here?  Never a question of upstreams:
 * what is held is served without them.  An index without room still reads,
 * and misses pass through.
 */
static void readyz(struct request *r)
{
	unsigned status = 200;
	const char *text = "ready\n";

	if (conn_is_draining(r->conn)) {
		status = 503;
		text = "draining\n";
	} else {
		switch (index_health(cache_index(r->server->cache))) {
		case INDEX_OK:
			break;
		case INDEX_FULL:
			text = "ready, but the disk has no room for the index "
			       "to grow: nothing new is stored\n";
			break;
		case INDEX_FAILED:
			status = 503;
			text = "the index cannot be written\n";
			break;
		}
	}
	reply_begin(r, status);
	reply_header(r, "Cache-Control", "no-store");
	reply_send_bytes(r, "text/plain; charset=utf-8", text, strlen(text));
}

static void metrics(struct request *r)
{
	size_t len;
	char *text = metrics_text(&len);

	reply_begin(r, 200);
	reply_header(r, "Content-Type", "text/plain; version=0.0.4");
	reply_send(r, len, body_memory(text, len));
}

/* We have no extensions; saying so is what discovery is for. */
static void extensions(struct request *r)
{
	reply_text(r, 200, "application/json", "{\"extensions\":[]}\n");
}

static void start(struct request *r)
{
	switch (r->route.endpoint) {
	case ENDPOINT_BASE:
		base(r);
		break;
	case ENDPOINT_HEALTHZ:
		healthz(r);
		break;
	case ENDPOINT_READYZ:
		readyz(r);
		break;
	case ENDPOINT_METRICS:
		metrics(r);
		break;
	case ENDPOINT_EXTENSIONS:
		extensions(r);
		break;
	default:
		assert(!"not one of these endpoints");
		break;
	}
}

const struct handler serve_base = {.start = start};
