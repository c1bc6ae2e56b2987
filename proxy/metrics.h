/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_METRICS_H
#define PROXY_METRICS_H
/*
 * Metrics in the Prometheus text format, from the table in metrics.def.
 *
 * A metric has a cell for each combination of its labels' values.  Counting
 * is an addition to the calling thread's own copy of the cells, so it costs
 * no more than that on the hot path; who asks for the text adds the copies up.
 * Labels have fixed values, but for upstreams, which metric_upstream() numbers
 * as they come.
 */
#include "cache/base.h"

enum metric_id {
#define METRIC(id, kind, name, a, b, c, help) METRIC_##id,
#include "proxy/metrics.def"
#undef METRIC
	METRIC_LAST
};

/* ---- the labels and their values ---- */

enum metric_label {
	METRIC_LABEL_NONE,
	METRIC_LABEL_METHOD,
	METRIC_LABEL_STATUS,
	METRIC_LABEL_VERDICT,
	METRIC_LABEL_REFUSED,
	METRIC_LABEL_DEADLINE,
	METRIC_LABEL_LANE,
	METRIC_LABEL_CLASS,
	METRIC_LABEL_ERROR,
	METRIC_LABEL_UPSTREAM,
	METRIC_LABEL_LAST
};

enum metric_method { /* enum http_method's order */
		     METRIC_GET,
		     METRIC_HEAD,
		     METRIC_POST,
		     METRIC_PUT,
		     METRIC_PATCH,
		     METRIC_DELETE,
		     METRIC_OPTIONS,
		     METRIC_OTHER,
		     METRIC_METHODS
};
/* 404 -> the value for "4xx"; outside 100-599: "other". */
unsigned metric_status(unsigned status);
#define METRIC_STATUSES 6
enum metric_verdict {
	METRIC_VERDICT_NONE, /* the cache was not asked */
	METRIC_HIT,
	METRIC_MISS,
	METRIC_JOINED,
	METRIC_REVALIDATED,
	METRIC_STALE,
	METRIC_PASS,
	METRIC_VERDICTS
};
enum metric_refused {
	METRIC_REFUSED_LIMIT,
	METRIC_REFUSED_DESCRIPTORS,
	METRIC_REFUSED_REASONS
};
enum metric_deadline {
	METRIC_DEADLINE_HEAD,
	METRIC_DEADLINE_BODY_STALL,
	METRIC_DEADLINE_WRITE_STALL,
	METRIC_DEADLINE_KINDS
};
#define METRIC_LANES 3 /* enum job_lane */
enum metric_class {    /* what was asked of an upstream */
		    METRIC_CLASS_MANIFEST,
		    METRIC_CLASS_BLOB,
		    METRIC_CLASS_TOKEN,
		    METRIC_CLASS_LIST,
		    METRIC_CLASS_OTHER,
		    METRIC_CLASSES
};
enum metric_error {
	METRIC_ERROR_RESOLVE,
	METRIC_ERROR_CONNECT,
	METRIC_ERROR_TLS,
	METRIC_ERROR_TIMEOUT,
	METRIC_ERROR_BROKEN, /* cut off, reset, too short */
	METRIC_ERROR_STATUS,
	METRIC_ERROR_LIMITED,
	METRIC_ERROR_DIGEST, /* the bytes are not what was asked for */
	METRIC_ERROR_POLICY, /* a redirect or realm we do not follow */
	METRIC_ERROR_OTHER,
	METRIC_ERRORS
};
/* The last one is "other", for those that find no room. */
#define METRIC_UPSTREAMS 32

/*
 * The number of an upstream's label, the same for the same name for as long
 * as the process lives; remember it where the upstream is.  Any thread.
 */
unsigned metric_upstream(const char *name);

/* ---- counting: any thread; label values that the metric lacks are 0 ---- */

/* COUNTER and SUM; n may be negative for a SUM. */
void metric_add(enum metric_id id, int64_t n, unsigned a, unsigned b,
		unsigned c);
static inline void metric_inc(enum metric_id id, unsigned a)
{
	metric_add(id, 1, a, 0, 0);
}
/* GAUGE; until then it is not shown. */
void metric_set(enum metric_id id, int64_t value, unsigned a);
/* HISTOGRAM. */
void metric_observe_us(enum metric_id id, uint64_t us, unsigned a);

/* ---- reading ---- */

/* CALL_COUNTER and CALL_GAUGE: `fn` is called for each value `a` of the label
 * when the text is made, on the thread that makes it; until it is set the
 * metric is not shown.  Main thread, before others start. */
void metrics_call(enum metric_id id, int64_t (*fn)(void *arg, unsigned a),
		  void *arg);

/* Remember the time of the start; `version` (static) is for build_info.  Main
 * thread, first. */
void metrics_start(const char *version);
/* Free all; no thread counts any more.  Main thread, last. */
void metrics_free(void);

/* The text (version 0.0.4), malloc'd; sets *len.  No I/O.  Any thread. */
char *metrics_text(size_t *len) MUST_CHECK;

#endif
