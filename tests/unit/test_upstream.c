/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/upstream.h"
#include "tests/unit/unit.h"

#include <semaphore.h>
#include <unistd.h>

static struct conf *conf_of(const char *text)
{
	struct why why = {{0}};
	struct conf *conf;

	if (conf_load_text("F", text, strlen(text), NULL, &conf, NULL, &why)) {
		fprintf(stderr, "%s\n", why.text);
		abort();
	}
	return conf;
}

#define THREE                                                                  \
	"{\"default_upstream\": null, \"upstreams\": {\"a.x\": {"              \
	"\"endpoints\": [\"https://one\", \"https://two\", \"https://three\"]" \
	", \"breaker_failures\": 2, \"breaker_hold\": \"60ms\","               \
	"\"stale_hold\": \"80ms\", \"quota_max\": \"2h\","                     \
	"\"quota_hold\": \"30s\"}}}"

/* Each test runs on a loop's thread, where these functions belong. */
struct turn {
	void (*test)(struct loop *l);
	struct loop *loop;
	sem_t done;
};

static void turn_run(void *arg)
{
	struct turn *t = arg;

	t->test(t->loop);
	sem_post(&t->done);
}

static void on_loop(void (*test)(struct loop *l))
{
	struct turn t = {.test = test, .loop = loop_new("fetch")};

	sem_init(&t.done, 0, 0);
	loop_start(t.loop);
	loop_call(t.loop, turn_run, &t);
	sem_wait(&t.done);
	loop_stop(t.loop);
	loop_free(&t.loop);
	sem_destroy(&t.done);
}

static struct upstreams *open_three(struct loop *l, struct upstream **up)
{
	struct conf *conf = conf_of(THREE);
	struct upstreams *ups = upstreams_new(l, conf);

	CHECK(upstreams_conf(ups) == conf);
	conf_unref(&conf);
	*up = upstream_find(ups, "a.x");
	CHECK(*up && !upstream_find(ups, "b.x"));
	return ups;
}

static void in_order(struct loop *l)
{
	struct upstream *up;
	struct upstreams *ups = open_three(l, &up);

	CHECK(upstream_pick(up, 0) == 0);
	CHECK(upstream_pick(up, 1) == 1);
	CHECK(upstream_pick(up, 3) == 2);
	CHECK(upstream_pick(up, 7) == -1);
	upstreams_free(&ups);
}

static void endpoints_are_tried_in_order(void)
{
	on_loop(in_order);
}

/* No turn passes in a test, so neither does the loop's time: what a hold ends
 * is seen in the turn of another test, below. */
static void breaker(struct loop *l)
{
	struct upstream *up;
	struct upstreams *ups = open_three(l, &up);

	upstream_endpoint_failed(up, 0);
	CHECK(upstream_pick(up, 0) == 0); /* one failure is none */
	upstream_endpoint_ok(up, 0);
	upstream_endpoint_failed(up, 0);
	CHECK(upstream_pick(up, 0) == 0);
	upstream_endpoint_failed(up, 0);
	CHECK(upstream_pick(up, 0) == 1);
	upstream_endpoint_ok(up, 0);
	CHECK(upstream_pick(up, 0) == 0);
	for (int i = 0; i < 6; i++)
		upstream_endpoint_failed(up, i % 3);
	/* somebody has to try */
	CHECK(upstream_pick(up, 0) == 0);
	CHECK(upstream_pick(up, 1) == 1);
	upstreams_free(&ups);
}

static void failures_take_an_endpoint_out(void)
{
	on_loop(breaker);
}

struct trial {
	struct upstreams *ups;
	struct upstream *up;
	struct loop *loop;
	sem_t done;
	int step;
};

static void trial_step(void *arg)
{
	struct trial *t = arg;

	switch (t->step++) {
	case 0:
		t->ups = open_three(t->loop, &t->up);
		upstream_endpoint_failed(t->up, 0);
		upstream_endpoint_failed(t->up, 0);
		CHECK(upstream_pick(t->up, 0) == 1);
		break;
	case 1: /* the hold is over: one trial, the others go elsewhere */
		CHECK(upstream_pick(t->up, 0) == 0);
		CHECK(upstream_pick(t->up, 0) == 1);
		/* who was cancelled leaves the trial to the next */
		upstream_endpoint_untried(t->up, 0);
		CHECK(upstream_pick(t->up, 0) == 0);
		upstream_endpoint_failed(t->up, 0);
		CHECK(upstream_pick(t->up, 0) == 1);
		break;
	default:
		CHECK(upstream_pick(t->up, 0) == 0);
		upstream_endpoint_ok(t->up, 0);
		CHECK(upstream_pick(t->up, 0) == 0);
		CHECK(upstream_pick(t->up, 0) == 0);
		upstreams_free(&t->ups);
	}
	sem_post(&t->done);
}

static void one_trial_follows_the_hold(void)
{
	struct trial t = {.loop = loop_new("fetch")};

	sem_init(&t.done, 0, 0);
	loop_start(t.loop);
	for (int i = 0; i < 3; i++) {
		loop_call(t.loop, trial_step, &t);
		sem_wait(&t.done);
		usleep(90000);
	}
	loop_stop(t.loop);
	loop_free(&t.loop);
	sem_destroy(&t.done);
}

/* In seconds, of which some milliseconds may have passed. */
static uint64_t limited(struct upstream *up, enum limit_kind kind,
			bool anonymous)
{
	return (upstream_limited_ms(up, kind, anonymous) + 999) / 1000;
}

static void facts(struct loop *l)
{
	struct upstream_quota q = {
	    .known = true, .limit = 100, .remaining = 7, .source = "192.0.2.1"};
	struct why why = {"a.example cannot be reached"};
	struct upstream *up;
	struct upstreams *ups = open_three(l, &up);

	CHECK(!upstream_is_out(up));
	upstream_note_outage(up, &why);
	CHECK(upstream_is_out(up));
	usleep(100000);
	CHECK(!upstream_is_out(up));
	upstream_note_outage(up, &why);
	upstream_note_answer(up);
	CHECK(!upstream_is_out(up));

	upstream_note_limit(up, LIMIT_GET, true, 10);
	CHECK(limited(up, LIMIT_GET, true) == 10);
	CHECK(upstream_limited_ms(up, LIMIT_GET, false) == 0);
	CHECK(upstream_limited_ms(up, LIMIT_CHECK, true) == 0);
	upstream_note_limit(up, LIMIT_CHECK, true, 0);
	CHECK(limited(up, LIMIT_CHECK, true) == 30);
	upstream_note_limit(up, LIMIT_GET, false, UINT64_MAX);
	CHECK(limited(up, LIMIT_GET, false) == 7200);

	upstream_note_quota(up, &q);
	memset(&q, 0, sizeof(q));
	upstream_quota(up, &q);
	CHECK(q.known && q.limit == 100 && q.remaining == 7);
	CHECK(upstream_endpoint_class(up, 1) == ENDPOINT_CLASS_UNKNOWN);
	upstream_set_endpoint_class(up, 1, 2);
	CHECK(upstream_endpoint_class(up, 1) == 2);
	CHECK(upstream_endpoint_class(up, 0) == ENDPOINT_CLASS_UNKNOWN);
	CHECK(!upstream_has_credentials(up));
	upstreams_free(&ups);
}

static void facts_are_kept_for_their_time(void)
{
	on_loop(facts);
}

static void reload(struct loop *l)
{
	struct upstream *up;
	struct upstreams *ups = open_three(l, &up);
	struct conf *conf =
	    conf_of("{\"default_upstream\": null, \"upstreams\": {\"a.x\": "
		    "{\"endpoints\": [\"https://three\", \"https://new\"], "
		    "\"breaker_failures\": 2}, \"b.x\": {}}}");

	upstream_set_endpoint_class(up, 2, 1);
	upstream_endpoint_failed(up, 2);
	upstreams_reload(ups, conf);
	conf_unref(&conf);
	CHECK(upstream_find(ups, "a.x") == up && upstream_find(ups, "b.x"));
	/* What is known of a URL goes with it. */
	CHECK(upstream_endpoint_class(up, 0) == 1);
	CHECK(upstream_endpoint_class(up, 1) == ENDPOINT_CLASS_UNKNOWN);
	upstream_endpoint_failed(up, 0);
	CHECK(upstream_pick(up, 0) == 1);
	CHECK(upstream_pick(up, 2) == 0);
	CHECK(upstream_pick(up, 3) == -1);

	conf = conf_of("{\"default_upstream\": null, \"upstreams\": "
		       "{\"b.x\": {}}}");
	upstreams_reload(ups, conf);
	conf_unref(&conf);
	CHECK(!upstream_find(ups, "a.x"));
	/* who has it may go on with it */
	CHECK_STR(upstream_name(up), "a.x");
	CHECK(upstream_conf(up)->endpoints.n == 2);
	upstreams_free(&ups);
}

static void state_survives_a_reload(void)
{
	on_loop(reload);
}

int main(void)
{
	RUN(endpoints_are_tried_in_order);
	RUN(failures_take_an_endpoint_out);
	RUN(one_trial_follows_the_hold);
	RUN(facts_are_kept_for_their_time);
	RUN(state_survives_a_reload);
	return unit_done();
}
