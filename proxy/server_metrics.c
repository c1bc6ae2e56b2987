/* SPDX-License-Identifier: Apache-2.0 */
/* The numbers that are asked for when somebody looks at /metrics. */
#include "cache/cache.h"
#include "cache/event.h"
#include "proxy/log.h"
#include "proxy/metrics.h"
#include "proxy/server.h"

static int64_t connections(void *arg, unsigned a UNUSED)
{
	const struct server *s = arg;
	int64_t n = 0;

	for (unsigned i = 0; i < s->n_serves; i++)
		n += __atomic_load_n(&s->serves[i].n_conns, __ATOMIC_RELAXED);
	return n;
}

static int64_t total(struct server *s, const char *name)
{
	struct index_txn *txn = index_read(cache_index(s->cache));
	uint64_t n = total_get(txn, name);

	index_read_end(txn);
	return (int64_t)n;
}

static int64_t cache_bytes(void *arg, unsigned a UNUSED)
{
	return total(arg, "blob_bytes");
}

static int64_t cache_blobs(void *arg, unsigned a UNUSED)
{
	return total(arg, "blobs");
}

static struct index_stats stats_of(struct server *s)
{
	struct index_stats stats;

	index_stats(cache_index(s->cache), &stats);
	return stats;
}

static int64_t index_commits(void *arg, unsigned a UNUSED)
{
	return (int64_t)stats_of(arg).commits;
}

static int64_t index_failed(void *arg, unsigned a UNUSED)
{
	return (int64_t)stats_of(arg).failed;
}

static int64_t index_ops(void *arg, unsigned a UNUSED)
{
	return (int64_t)stats_of(arg).ops;
}

static int64_t index_waiting(void *arg, unsigned a UNUSED)
{
	return (int64_t)stats_of(arg).waiting;
}

_Static_assert((int)METRIC_LANES == (int)JOB_LANES, "a label for each lane");

static int64_t waiting_jobs(void *arg, unsigned a)
{
	const struct server *s = arg;

	return jobs_waiting(s->jobs, (enum job_lane)a);
}

static int64_t waiting_events(void *arg, unsigned a UNUSED)
{
	const struct server *s = arg;
	struct index_txn *txn = index_read(cache_index(s->cache));
	uint64_t n = event_count(txn);

	index_read_end(txn);
	return (int64_t)n;
}

static int64_t dropped_lines(void *arg UNUSED, unsigned a UNUSED)
{
	return (int64_t)log_dropped();
}

void server_metrics(struct server *s)
{
	metrics_call(METRIC_CONNECTIONS, connections, s);
	metrics_call(METRIC_CACHE_BYTES, cache_bytes, s);
	metrics_call(METRIC_CACHE_BLOBS, cache_blobs, s);
	metrics_call(METRIC_INDEX_COMMITS, index_commits, s);
	metrics_call(METRIC_INDEX_FAILED, index_failed, s);
	metrics_call(METRIC_INDEX_OPS, index_ops, s);
	metrics_call(METRIC_INDEX_WAITING, index_waiting, s);
	metrics_call(METRIC_JOBS_WAITING, waiting_jobs, s);
	metrics_call(METRIC_NOTIFICATIONS_WAITING, waiting_events, s);
	metrics_call(METRIC_LOG_DROPPED, dropped_lines, s);
}
