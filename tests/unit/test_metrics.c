/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/metrics.h"
#include "proxy/thread.h"
#include "tests/unit/unit.h"

static char *text;

static bool has(const char *line)
{
	char *wanted = xasprintf("\n%s\n", line);
	bool found = strstr(text, wanted) != NULL;

	free(wanted);
	return found;
}

static void read_text(void)
{
	size_t len;

	free(text);
	text = metrics_text(&len);
	CHECK(len == strlen(text));
	CHECK(len > 0 && text[len - 1] == '\n');
}

static void *count_hits(void *arg)
{
	(void)arg;
	for (int i = 0; i < 10000; i++)
		metric_add(METRIC_REQUESTS, 1, METRIC_GET, metric_status(200),
			   METRIC_HIT);
	return NULL;
}

static void threads_count_for_themselves_and_are_added_up(void)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		threads[i] = thread_start("count", count_hits, NULL);
	read_text(); /* while they count */
	for (int i = 0; i < 4; i++)
		thread_join(threads[i]);
	metric_add(METRIC_REQUESTS, 1, METRIC_OTHER, metric_status(999),
		   METRIC_VERDICT_NONE);
	read_text();
	CHECK(has("# TYPE entrepot_requests_total counter"));
	CHECK(has("entrepot_requests_total{method=\"GET\",status=\"2xx\","
		  "verdict=\"hit\"} 40000"));
	CHECK(has("entrepot_requests_total{method=\"other\","
		  "status=\"other\",verdict=\"none\"} 1"));
	CHECK(strstr(text, "verdict=\"pass\"") == NULL);
	CHECK(has("entrepot_connections_accepted_total 0"));
}

static void sums_go_up_and_down(void)
{
	metric_add(METRIC_FLIGHTS, 3, 0, 0, 0);
	metric_add(METRIC_FLIGHTS, -2, 0, 0, 0);
	read_text();
	CHECK(has("# TYPE entrepot_flights gauge"));
	CHECK(has("entrepot_flights 1"));
	metric_add(METRIC_FLIGHTS, -1, 0, 0, 0);
}

static void upstreams_get_labels_as_they_come(void)
{
	unsigned hub = metric_upstream("docker.io");
	unsigned odd = metric_upstream("a\"b\\c"), last = 0;
	char name[32];

	CHECK(metric_upstream("docker.io") == hub && odd != hub);
	read_text();
	CHECK(strstr(text, "entrepot_upstream_ratelimit_remaining{") == NULL);
	metric_set(METRIC_RATELIMIT_REMAINING, 0, hub);
	metric_add(METRIC_UPSTREAM_REQUESTS, 2, hub, METRIC_CLASS_TOKEN,
		   metric_status(401));
	metric_add(METRIC_UPSTREAM_BYTES, 5, odd, 0, 0);
	read_text();
	CHECK(has("entrepot_upstream_ratelimit_remaining{upstream="
		  "\"docker.io\"} 0"));
	CHECK(has("entrepot_upstream_requests_total{upstream=\"docker.io\","
		  "class=\"token\",status=\"4xx\"} 2"));
	CHECK(has("entrepot_upstream_received_bytes_total{upstream="
		  "\"a\\\"b\\\\c\"} 5"));
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "upstream-%d", i);
		last = metric_upstream(name);
	}
	CHECK(last == METRIC_UPSTREAMS - 1);
	metric_add(METRIC_UPSTREAM_BYTES, 7, last, 0, 0);
	read_text();
	CHECK(has("entrepot_upstream_received_bytes_total{upstream="
		  "\"other\"} 7"));
}

static void histograms_are_cumulative(void)
{
	metric_observe_us(METRIC_REQUEST_TIME, 1000, METRIC_MISS);
	metric_observe_us(METRIC_REQUEST_TIME, 1001, METRIC_MISS);
	metric_observe_us(METRIC_REQUEST_TIME, UINT64_C(400000000),
			  METRIC_MISS);
	read_text();
#define NAME "entrepot_request_duration_seconds"
	CHECK(has("# TYPE " NAME " histogram"));
	CHECK(has(NAME "_bucket{verdict=\"miss\",le=\"0.001\"} 1"));
	CHECK(has(NAME "_bucket{verdict=\"miss\",le=\"0.005\"} 2"));
	CHECK(has(NAME "_bucket{verdict=\"miss\",le=\"300\"} 2"));
	CHECK(has(NAME "_bucket{verdict=\"miss\",le=\"+Inf\"} 3"));
	CHECK(has(NAME "_sum{verdict=\"miss\"} 400.002001"));
	CHECK(has(NAME "_count{verdict=\"miss\"} 3"));
#undef NAME
}

static int64_t lane_times_ten(void *arg, unsigned lane)
{
	CHECK(arg == &text);
	return (int64_t)lane * 10;
}

static void called_metrics_are_asked_per_label_value(void)
{
	read_text();
	CHECK(strstr(text, "entrepot_jobs_waiting") == NULL);
	metrics_call(METRIC_JOBS_WAITING, lane_times_ten, &text);
	read_text();
	CHECK(has("# TYPE entrepot_jobs_waiting gauge"));
	CHECK(has("entrepot_jobs_waiting{lane=\"data\"} 0"));
	CHECK(has("entrepot_jobs_waiting{lane=\"slow\"} 20"));
}

static void the_process_tells_its_version_and_start(void)
{
	char *start;

	read_text();
	CHECK(has("entrepot_build_info{version=\"1.2\"} 1"));
	start = strstr(text, "\nprocess_start_time_seconds ");
	CHECK(start && strtoull(start + 28, NULL, 10) > 1700000000);
}

/* "no line twice, and each is a comment or a name and a value". */
static void every_line_has_the_format(void)
{
	char *copy, *line, *at;

	read_text();
	copy = xstrdup(text);
	for (line = strtok_r(copy, "\n", &at); line;
	     line = strtok_r(NULL, "\n", &at)) {
		const char *space = strrchr(line, ' ');
		char *end;

		if (strncmp(line, "# HELP ", 7) == 0 ||
		    strncmp(line, "# TYPE ", 7) == 0)
			continue;
		CHECK(space != NULL);
		if (!space)
			continue;
		strtod(space + 1, &end);
		CHECK(end != space + 1 && *end == '\0');
		CHECK(strspn(line, "abcdefghijklmnopqrstuvwxyz_") > 8);
	}
	free(copy);
}

static void all_can_be_forgotten(void)
{
	metrics_free();
	metric_inc(METRIC_ACCEPTED, 0);
	read_text();
	CHECK(has("entrepot_connections_accepted_total 1"));
	CHECK(strstr(text, "verdict=") == NULL);
	metrics_free();
}

int main(void)
{
	metrics_start("1.2");
	RUN(threads_count_for_themselves_and_are_added_up);
	RUN(sums_go_up_and_down);
	RUN(upstreams_get_labels_as_they_come);
	RUN(histograms_are_cumulative);
	RUN(called_metrics_are_asked_per_label_value);
	RUN(the_process_tells_its_version_and_start);
	RUN(every_line_has_the_format);
	RUN(all_can_be_forgotten);
	free(text);
	return unit_done();
}
