/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/metrics.h"

#include <pthread.h>
#include <sys/resource.h>

enum kind { COUNTER, SUM, GAUGE, CALL_COUNTER, CALL_GAUGE, HISTOGRAM };

/* Upper bounds of the histograms; the last bucket has none. */
static const struct {
	uint64_t us;
	const char *text;
} buckets[] = {
    {1000, "0.001"},      {5000, "0.005"},  {25000, "0.025"},
    {100000, "0.1"},      {500000, "0.5"},  {2500000, "2.5"},
    {10000000, "10"},     {60000000, "60"}, {300000000, "300"},
    {UINT64_MAX, "+Inf"},
};
#define BUCKETS 10
/* A histogram's cell: its buckets, then the sum in microseconds. */
#define HISTOGRAM_WORDS (BUCKETS + 1)
_Static_assert(ARRAY_LEN(buckets) == BUCKETS, "BUCKETS");

/* ---- labels ---- */

static const char *const method_values[METRIC_METHODS] = {
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"};
static const char *const status_values[METRIC_STATUSES] = {
    "other", "1xx", "2xx", "3xx", "4xx", "5xx"};
static const char *const verdict_values[METRIC_VERDICTS] = {
    "none", "hit", "miss", "joined", "revalidated", "stale", "pass"};
static const char *const refused_values[METRIC_REFUSED_REASONS] = {
    "limit", "descriptors"};
static const char *const deadline_values[METRIC_DEADLINE_KINDS] = {
    "head", "body_stall", "write_stall"};
static const char *const lane_values[METRIC_LANES] = {"data", "sync", "slow"};
static const char *const class_values[METRIC_CLASSES] = {
    "manifest", "blob", "token", "list", "other"};
static const char *const error_values[METRIC_ERRORS] = {
    "resolve", "connect", "tls",    "timeout", "broken",
    "status",  "limited", "digest", "policy",  "other"};

static const struct {
	const char *name;
	const char *const *values; /* NULL: upstreams */
} labels[METRIC_LABEL_LAST] = {
    [METRIC_LABEL_METHOD] = {"method", method_values},
    [METRIC_LABEL_STATUS] = {"status", status_values},
    [METRIC_LABEL_VERDICT] = {"verdict", verdict_values},
    [METRIC_LABEL_REFUSED] = {"reason", refused_values},
    [METRIC_LABEL_DEADLINE] = {"deadline", deadline_values},
    [METRIC_LABEL_LANE] = {"lane", lane_values},
    [METRIC_LABEL_CLASS] = {"class", class_values},
    [METRIC_LABEL_ERROR] = {"reason", error_values},
    [METRIC_LABEL_UPSTREAM] = {"upstream", NULL},
};

/* How many values a label has; constants, so that the compiler lays out the
 * cells. */
#define N_NONE 1
#define N_METHOD METRIC_METHODS
#define N_STATUS METRIC_STATUSES
#define N_VERDICT METRIC_VERDICTS
#define N_REFUSED METRIC_REFUSED_REASONS
#define N_DEADLINE METRIC_DEADLINE_KINDS
#define N_LANE METRIC_LANES
#define N_CLASS METRIC_CLASSES
#define N_ERROR METRIC_ERRORS
#define N_UPSTREAM METRIC_UPSTREAMS

#define WORDS_COUNTER 1
#define WORDS_SUM 1
#define WORDS_GAUGE 0 /* in gauges[], not per thread */
#define WORDS_CALL_COUNTER 0
#define WORDS_CALL_GAUGE 0
#define WORDS_HISTOGRAM HISTOGRAM_WORDS

/* Every metric's cells, one after the other, as a struct of arrays of words:
 * offsetof() is the layout. */
struct layout {
#define METRIC(id, kind, name, a, b, c, help)                                  \
	uint64_t id[WORDS_##kind * N_##a * N_##b * N_##c];
#include "proxy/metrics.def"
#undef METRIC
};
#define LAYOUT_WORDS (sizeof(struct layout) / sizeof(uint64_t))

static const struct metric {
	enum kind kind;
	const char *name, *help;
	enum metric_label labels[3];
	unsigned n[3];
	size_t first; /* word of the layout */
} metrics[METRIC_LAST] = {
#define METRIC(id, kind_, name_, a, b, c, help_)                               \
	[METRIC_##id] = {                                                      \
	    .kind = kind_,                                                     \
	    .name = name_,                                                     \
	    .help = help_,                                                     \
	    .labels = {METRIC_LABEL_##a, METRIC_LABEL_##b, METRIC_LABEL_##c},  \
	    .n = {N_##a, N_##b, N_##c},                                        \
	    .first = offsetof(struct layout, id) / sizeof(uint64_t),           \
	},
#include "proxy/metrics.def"
#undef METRIC
};

/* ---- cells ---- */

/* A thread's own words.  Only it writes them; whoever reads them meanwhile
 * finds each word whole, and that is all a counter promises. */
struct shard {
	SLIST_ENTRY(shard) link;
	uint64_t words[LAYOUT_WORDS];
};

struct gauge {
	int64_t value;
	bool known;
};

static struct {
	pthread_mutex_t mu; /* shards (the list) and upstreams */
	SLIST_HEAD(, shard) shards;
	char *upstreams[METRIC_UPSTREAMS - 1];
	unsigned n_upstreams;
	struct gauge gauges[METRIC_LAST][METRIC_UPSTREAMS]; /* atomics */
	struct {
		int64_t (*fn)(void *arg, unsigned a);
		void *arg;
	} calls[METRIC_LAST];
	const char *version;
	uint64_t start_s;
} all = {.mu = PTHREAD_MUTEX_INITIALIZER};

static __thread struct shard *own;
/* metrics_free() leaves threads with shards that are no more. */
static __thread unsigned own_era;
static unsigned era; /* atomic */

static struct shard *shard_new(void)
{
	struct shard *s = xcalloc(1, sizeof(*s));

	pthread_mutex_lock(&all.mu);
	SLIST_INSERT_HEAD(&all.shards, s, link);
	own_era = era;
	pthread_mutex_unlock(&all.mu);
	own = s;
	return s;
}

static uint64_t *own_words(void)
{
	if (!own || own_era != __atomic_load_n(&era, __ATOMIC_RELAXED))
		return shard_new()->words;
	return own->words;
}

static void word_add(uint64_t *word, uint64_t n)
{
	uint64_t before = __atomic_load_n(word, __ATOMIC_RELAXED);

	__atomic_store_n(word, before + n, __ATOMIC_RELAXED);
}

static size_t cell_of(const struct metric *m, unsigned a, unsigned b,
		      unsigned c)
{
	assert(a < m->n[0] && b < m->n[1] && c < m->n[2]);
	return ((size_t)a * m->n[1] + b) * m->n[2] + c;
}

void metric_add(enum metric_id id, int64_t n, unsigned a, unsigned b,
		unsigned c)
{
	const struct metric *m = &metrics[id];

	assert(m->kind == SUM || (m->kind == COUNTER && n >= 0));
	word_add(own_words() + m->first + cell_of(m, a, b, c), (uint64_t)n);
}

void metric_set(enum metric_id id, int64_t value, unsigned a)
{
	const struct metric *m = &metrics[id];
	struct gauge *g = &all.gauges[id][a];

	assert(m->kind == GAUGE && a < m->n[0]);
	(void)m;
	__atomic_store_n(&g->value, value, __ATOMIC_RELAXED);
	__atomic_store_n(&g->known, true, __ATOMIC_RELEASE);
}

void metric_observe_us(enum metric_id id, uint64_t us, unsigned a)
{
	const struct metric *m = &metrics[id];
	uint64_t *words;
	unsigned i = 0;

	assert(m->kind == HISTOGRAM);
	while (us > buckets[i].us)
		i++;
	words = own_words() + m->first + cell_of(m, a, 0, 0) * HISTOGRAM_WORDS;
	word_add(&words[i], 1);
	word_add(&words[BUCKETS], us);
}

unsigned metric_status(unsigned status)
{
	return status >= 100 && status < 600 ? status / 100 : 0;
}

unsigned metric_upstream(const char *name)
{
	unsigned i;

	pthread_mutex_lock(&all.mu);
	for (i = 0; i < all.n_upstreams; i++) {
		if (strcmp(all.upstreams[i], name) == 0)
			break;
	}
	if (i == all.n_upstreams && i < ARRAY_LEN(all.upstreams))
		all.upstreams[all.n_upstreams++] = xstrdup(name);
	pthread_mutex_unlock(&all.mu);
	return i;
}

void metrics_call(enum metric_id id, int64_t (*fn)(void *arg, unsigned a),
		  void *arg)
{
	assert(metrics[id].kind == CALL_COUNTER ||
	       metrics[id].kind == CALL_GAUGE);
	all.calls[id].fn = fn;
	all.calls[id].arg = arg;
}

/* ---- the text ---- */

/* "backslash, double-quote and line feed are escaped" in label values. */
static void put_value(FILE *out, const char *value)
{
	for (; *value; value++) {
		if (*value == '\n') {
			fputs("\\n", out);
			continue;
		}
		if (*value == '"' || *value == '\\')
			fputc('\\', out);
		fputc(*value, out);
	}
}

/* Under mu. */
static const char *value_of(enum metric_label label, unsigned i)
{
	if (labels[label].values)
		return labels[label].values[i];
	return i < all.n_upstreams ? all.upstreams[i] : "other";
}

/* "entrepot_NAME_SUFFIX{a="x",le="0.1"} " */
static void put_name(FILE *out, const struct metric *m, const char *suffix,
		     const unsigned at[3], const char *le)
{
	const char *sep = "{";

	fprintf(out, "entrepot_%s%s", m->name, suffix);
	for (unsigned i = 0; i < 3; i++) {
		if (m->labels[i] == METRIC_LABEL_NONE)
			continue;
		fprintf(out, "%s%s=\"", sep, labels[m->labels[i]].name);
		put_value(out, value_of(m->labels[i], at[i]));
		fputc('"', out);
		sep = ",";
	}
	if (le) {
		fprintf(out, "%sle=\"%s\"", sep, le);
		sep = ",";
	}
	fputs(*sep == ',' ? "} " : " ", out);
}

static void put_histogram(FILE *out, const struct metric *m,
			  const uint64_t *words, const unsigned at[3])
{
	uint64_t n = 0, us = words[BUCKETS];

	for (unsigned i = 0; i < BUCKETS; i++)
		n += words[i];
	if (n == 0)
		return;
	n = 0;
	for (unsigned i = 0; i < BUCKETS; i++) {
		n += words[i];
		put_name(out, m, "_bucket", at, buckets[i].text);
		fprintf(out, "%" PRIu64 "\n", n);
	}
	put_name(out, m, "_sum", at, NULL);
	fprintf(out, "%" PRIu64 ".%06" PRIu64 "\n", us / 1000000, us % 1000000);
	put_name(out, m, "_count", at, NULL);
	fprintf(out, "%" PRIu64 "\n", n);
}

static bool gauge_value(enum metric_id id, unsigned a, int64_t *out)
{
	struct gauge *g = &all.gauges[id][a];

	if (!__atomic_load_n(&g->known, __ATOMIC_ACQUIRE))
		return false;
	*out = __atomic_load_n(&g->value, __ATOMIC_RELAXED);
	return true;
}

/* A combination of labels that never occurred is left out: there are
 * thousands of them. */
static bool cell_value(enum metric_id id, const uint64_t *words, size_t cell,
		       const unsigned at[3], int64_t *out)
{
	const struct metric *m = &metrics[id];

	switch (m->kind) {
	case COUNTER:
	case SUM:
		*out = (int64_t)words[m->first + cell];
		return *out != 0 || m->labels[0] == METRIC_LABEL_NONE;
	case GAUGE:
		return gauge_value(id, at[0], out);
	case CALL_COUNTER:
	case CALL_GAUGE:
		*out = all.calls[id].fn(all.calls[id].arg, at[0]);
		return true;
	case HISTOGRAM:
		break;
	}
	return false;
}

static void put_cell(FILE *out, enum metric_id id, const uint64_t *words,
		     size_t cell)
{
	const struct metric *m = &metrics[id];
	unsigned at[3] = {
	    (unsigned)(cell / m->n[2] / m->n[1]),
	    (unsigned)(cell / m->n[2] % m->n[1]),
	    (unsigned)(cell % m->n[2]),
	};
	int64_t value;

	if (m->kind == HISTOGRAM) {
		put_histogram(out, m, words + m->first + cell * HISTOGRAM_WORDS,
			      at);
	} else if (cell_value(id, words, cell, at, &value)) {
		put_name(out, m, "", at, NULL);
		fprintf(out, "%" PRId64 "\n", value);
	}
}

static const char *type_name(enum kind kind)
{
	switch (kind) {
	case COUNTER:
	case CALL_COUNTER:
		return "counter";
	case HISTOGRAM:
		return "histogram";
	case SUM:
	case GAUGE:
	case CALL_GAUGE:
		break;
	}
	return "gauge";
}

static bool is_called(enum kind kind)
{
	return kind == CALL_COUNTER || kind == CALL_GAUGE;
}

static void put_metric(FILE *out, enum metric_id id, const uint64_t *words)
{
	const struct metric *m = &metrics[id];
	size_t cells = (size_t)m->n[0] * m->n[1] * m->n[2];

	if (is_called(m->kind) && !all.calls[id].fn)
		return;
	fprintf(out, "# HELP entrepot_%s %s\n# TYPE entrepot_%s %s\n", m->name,
		m->help, m->name, type_name(m->kind));
	for (size_t cell = 0; cell < cells; cell++)
		put_cell(out, id, words, cell);
}

static uint64_t usage_us(const struct timeval *tv)
{
	return (uint64_t)tv->tv_sec * 1000000 + (uint64_t)tv->tv_usec;
}

/* The names that every Prometheus exporter has. */
static void put_process(FILE *out)
{
	struct rusage ru;
	uint64_t us;

	fprintf(out,
		"# HELP process_start_time_seconds Start of the process, "
		"seconds since the epoch.\n"
		"# TYPE process_start_time_seconds gauge\n"
		"process_start_time_seconds %" PRIu64 "\n",
		all.start_s);
	if (getrusage(RUSAGE_SELF, &ru) == 0) {
		us = usage_us(&ru.ru_utime) + usage_us(&ru.ru_stime);
		fprintf(out,
			"# HELP process_cpu_seconds_total User and system CPU "
			"time spent.\n"
			"# TYPE process_cpu_seconds_total counter\n"
			"process_cpu_seconds_total %" PRIu64 ".%06" PRIu64 "\n",
			us / 1000000, us % 1000000);
	}
	fputs("# HELP entrepot_build_info The version that runs.\n"
	      "# TYPE entrepot_build_info gauge\n"
	      "entrepot_build_info{version=\"",
	      out);
	put_value(out, all.version ? all.version : "");
	fputs("\"} 1\n", out);
}

/* Under mu. */
static uint64_t *sum_up(void)
{
	uint64_t *sum = xcalloc(LAYOUT_WORDS, sizeof(*sum));
	struct shard *s;

	SLIST_FOREACH (s, &all.shards, link) {
		for (size_t i = 0; i < LAYOUT_WORDS; i++)
			sum[i] +=
			    __atomic_load_n(&s->words[i], __ATOMIC_RELAXED);
	}
	return sum;
}

char *metrics_text(size_t *len)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, len);
	uint64_t *words;

	if (!out)
		abort(); /* as xmalloc() does */
	pthread_mutex_lock(&all.mu);
	words = sum_up();
	for (unsigned id = 0; id < METRIC_LAST; id++)
		put_metric(out, (enum metric_id)id, words);
	pthread_mutex_unlock(&all.mu);
	free(words);
	put_process(out);
	if (fclose(out) != 0)
		abort();
	return text;
}

void metrics_start(const char *version)
{
	all.version = version;
	all.start_s = wall_s();
}

void metrics_free(void)
{
	struct shard *s;

	pthread_mutex_lock(&all.mu);
	while ((s = SLIST_FIRST(&all.shards))) {
		SLIST_REMOVE_HEAD(&all.shards, link);
		free(s);
	}
	while (all.n_upstreams > 0)
		free(all.upstreams[--all.n_upstreams]);
	memset(all.gauges, 0, sizeof(all.gauges));
	memset(all.calls, 0, sizeof(all.calls));
	__atomic_fetch_add(&era, 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&all.mu);
}
