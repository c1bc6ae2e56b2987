/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a flow shows, to whom, and whom it wakes: over a real partial and two
 * loops, of which this file plays the owners.
 */
#include "proxy/flow.h"
#include "tests/unit/cache_help.h"

#define MAGIC 0x464c4f57
#define SIZE ((uint64_t)200 * 1000)
#define HOLD ((uint64_t)64 * 1000)

static struct cache *cache;
static struct jobs *jobs;
static struct loop *fetch, *home;
static struct flow *flow;
static struct partial *partial; /* the flow's */
static struct digest dg;
static uint8_t content[SIZE];
static struct handle here; /* of `content`, on each loop the same slot */
static struct handle there;

/* Messages that came; read and written under mu. */
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static unsigned pokes, wakes;

static unsigned count(const unsigned *which)
{
	unsigned n;

	pthread_mutex_lock(&mu);
	n = *which;
	pthread_mutex_unlock(&mu);
	return n;
}

/* Does the number become `n`, and stay so for a moment? */
static bool becomes(const unsigned *which, unsigned n)
{
	for (unsigned i = 0; i < 5000 && count(which) < n; i++)
		usleep(1000);
	usleep(5000);
	return count(which) == n;
}

static void poked(struct message *msg, void *object)
{
	CHECK(object == content);
	free(msg);
	pthread_mutex_lock(&mu);
	pokes++;
	pthread_mutex_unlock(&mu);
}

static void woken(struct message *msg, void *object)
{
	CHECK(object == content);
	free(msg);
	pthread_mutex_lock(&mu);
	wakes++;
	pthread_mutex_unlock(&mu);
}

static struct partial *open_partial(const char *host)
{
	struct why why = {{0}};
	struct partial *p = NULL;

	if (partial_open(cache, &dg, host, &p, &why) != ERR_OK) {
		fprintf(stderr, "partial_open: %s\n", why.text);
		exit(1);
	}
	return p;
}

static void set_up(void)
{
	struct jobs_options opt = {.threads = {1, 1, 1}};

	for (size_t i = 0; i < SIZE; i++)
		content[i] = (uint8_t)(i * 7 + i / 251);
	digest_of(DIGEST_SHA256, content, SIZE, &dg);
	cache = open_cache(4096);
	jobs = jobs_new(&opt);
	fetch = loop_new("fetch");
	home = loop_new("home");
	here = loop_register(fetch, content, MAGIC);
	there = loop_register(home, content, MAGIC);
	loop_start(fetch);
	loop_start(home);
	pokes = wakes = 0;
	partial = open_partial("up.test");
	flow = flow_new(jobs, partial, &dg, HOLD, fetch, here, MAGIC, poked);
}

static void tear_down(void)
{
	flow_unref(&flow);
	while (!jobs_idle(jobs))
		usleep(1000);
	loop_stop(fetch);
	loop_stop(home);
	loop_unregister(fetch, &here);
	loop_unregister(home, &there);
	loop_free(&fetch);
	loop_free(&home);
	jobs_free(&jobs);
	close_cache(&cache);
}

static void know_size(void)
{
	struct why why;

	CHECK(partial_set_size(partial, SIZE, &why) == ERR_OK);
	flow_set_size(flow, SIZE);
}

/* As a worker does. */
static void put(uint64_t off, uint64_t end)
{
	struct partial_view view;
	struct why why;

	CHECK(partial_write(partial, off, content + off, end - off, &why) ==
	      ERR_OK);
	partial_view(partial, &view);
	if (view.proven)
		flow_prove(flow);
	else
		flow_announce(flow);
}

static struct flow_reader *reader(enum flow_shape shape, uint64_t first,
				  uint64_t last)
{
	struct flow_range range = {shape, first, last, 0};
	struct flow_reader *r =
	    flow_reader_new(flow, &range, 0, FLOW_SIZE_UNKNOWN);

	flow_reader_home(r, home, there, MAGIC, woken);
	return r;
}

static struct flow_reader *whole_reader(void)
{
	return reader(FLOW_WHOLE, 0, 0);
}

/* ---- showing ---- */

static void waiting_reader_is_woken_once(void)
{
	struct flow_reader *r;
	uint64_t end;

	set_up();
	know_size();
	r = whole_reader();
	CHECK(flow_look(r, 0, SIZE, &end) == FLOW_WAITS);
	flow_announce(flow);
	CHECK(becomes(&wakes, 0)); /* nothing has come */
	put(0, 100);
	CHECK(becomes(&wakes, 1));
	put(100, 200);
	CHECK(becomes(&wakes, 1)); /* it has not looked since */
	CHECK(flow_look(r, 0, SIZE, &end) == FLOW_READY && end == 200);
	CHECK(flow_look(r, 0, 50, &end) == FLOW_READY && end == 50);
	CHECK(flow_fd(r) == partial_fd(partial));
	flow_reader_free(&r);
	tear_down();
}

static void end_is_held_back_from_whom_it_completes(void)
{
	struct flow_reader *all, *open, *part, *less;
	struct flow_range range = {FLOW_WHOLE, 0, 0, 0};
	uint64_t end;

	set_up();
	know_size();
	all = whole_reader();
	open = reader(FLOW_OPEN_END, SIZE - 100, 0);
	part = reader(FLOW_BOUNDED, SIZE - 100, SIZE - 2);
	less = flow_reader_new(flow, &range, 0, SIZE - 10);
	flow_reader_home(less, home, there, MAGIC, woken);
	put(0, SIZE - 1);
	CHECK(flow_look(all, 0, SIZE, &end) == FLOW_READY &&
	      end == SIZE - HOLD);
	CHECK(flow_look(less, 0, SIZE, &end) == FLOW_READY &&
	      end == SIZE - HOLD - 10);
	CHECK(flow_look(all, end + 10, SIZE, &end) == FLOW_WAITS);
	CHECK(flow_look(open, SIZE - 100, SIZE, &end) == FLOW_WAITS);
	CHECK(flow_look(part, SIZE - 100, SIZE - 1, &end) == FLOW_READY &&
	      end == SIZE - 1);
	put(SIZE - 1, SIZE);
	CHECK(becomes(&wakes, 2));
	CHECK(flow_look(all, SIZE - HOLD, SIZE, &end) == FLOW_READY &&
	      end == SIZE);
	CHECK(flow_look(open, SIZE - 100, SIZE, &end) == FLOW_READY);
	flow_reader_free(&all);
	flow_reader_free(&open);
	flow_reader_free(&part);
	flow_reader_free(&less);
	tear_down();
}

/* ---- failing ---- */

static void failure_reaches_who_waits_and_who_looks(void)
{
	struct flow_reader *a, *b;
	struct why why, got;
	uint64_t end;

	set_up();
	know_size();
	a = whole_reader();
	b = whole_reader();
	CHECK(flow_look(a, 0, SIZE, &end) == FLOW_WAITS);
	why_set(&why, ERR_UNAVAILABLE, "gone");
	flow_fail(flow, ERR_UNAVAILABLE, &why);
	why_set(&why, ERR_TIMEOUT, "later");
	flow_fail(flow, ERR_TIMEOUT, &why);
	CHECK(becomes(&wakes, 1));
	CHECK(flow_look(a, 0, SIZE, &end) == FLOW_FAILED);
	CHECK(flow_look(b, 0, SIZE, &end) == FLOW_FAILED);
	CHECK(flow_error(a, &got) == ERR_UNAVAILABLE);
	CHECK_STR(got.text, "gone");
	flow_reader_free(&a);
	flow_reader_free(&b);
	tear_down();
}

static void one_source_fails_alone(void)
{
	struct flow_range range = {FLOW_WHOLE, 0, 0, 0};
	struct flow_reader *a, *b;
	struct why why;
	uint64_t end;

	set_up();
	know_size();
	a = whole_reader();
	b = flow_reader_new(flow, &range, 1, FLOW_SIZE_UNKNOWN);
	flow_reader_home(b, home, there, MAGIC, woken);
	why_set(&why, ERR_DENIED, "no");
	flow_fail_source(flow, 1, ERR_DENIED, &why);
	CHECK(flow_look(a, 0, SIZE, &end) == FLOW_WAITS);
	CHECK(flow_look(b, 0, SIZE, &end) == FLOW_FAILED);
	CHECK(flow_source_readers(flow, 0) == 1);
	CHECK(flow_source_readers(flow, 1) == 0);
	flow_reader_free(&a);
	flow_reader_free(&b);
	tear_down();
}

static void part_made_after_the_cut_is_cut(void)
{
	struct flow_range range = {FLOW_BOUNDED, 5, 9, 0};
	struct flow_reader *r, *more;
	struct why why;
	uint64_t end;

	set_up();
	know_size();
	r = reader(FLOW_BOUNDED, 0, 3);
	why_set(&why, ERR_UNAVAILABLE, "gone");
	flow_fail(flow, ERR_UNAVAILABLE, &why);
	more = flow_reader_more(r, &range, 10);
	flow_reader_free(&r);
	flow_reader_home(more, home, there, MAGIC, woken);
	CHECK(flow_look(more, 5, 10, &end) == FLOW_FAILED);
	flow_reader_free(&more);
	tear_down();
}

static void other_size_cuts(void)
{
	struct flow_reader *r;
	uint64_t end;

	set_up();
	know_size();
	r = whole_reader();
	CHECK(flow_look(r, 0, SIZE, &end) == FLOW_WAITS);
	flow_set_size(flow, SIZE + 1);
	CHECK(becomes(&wakes, 1));
	CHECK(flow_look(r, 0, SIZE, &end) == FLOW_FAILED);
	flow_reader_free(&r);
	tear_down();
}

/* ---- wrong bytes ---- */

static void distrust_cuts_the_party_of_who_had_bytes(void)
{
	struct flow_range range = {FLOW_BOUNDED, 500, 600, 0};
	struct flow_reader *had, *more, *fresh;
	struct why why;
	uint64_t end;

	set_up();
	know_size();
	had = reader(FLOW_BOUNDED, 0, 99);
	more = flow_reader_more(had, &range, 601);
	flow_reader_home(more, home, there, MAGIC, woken);
	fresh = reader(FLOW_BOUNDED, 10, 20);
	put(0, 100);
	CHECK(flow_look(had, 0, 100, &end) == FLOW_READY);
	flow_reader_free(&had); /* that part has been sent */
	CHECK(flow_look(more, 500, 601, &end) == FLOW_WAITS);
	why_set(&why, ERR_MISMATCH, "wrong");
	flow_distrust(flow, &why);
	CHECK(becomes(&wakes, 1));
	CHECK(flow_look(more, 500, 601, &end) == FLOW_FAILED);
	CHECK(flow_look(fresh, 10, 21, &end) == FLOW_WAITS);
	flow_reader_free(&more);

	partial_discard(partial);
	partial = open_partial("up.test");
	flow_restart(flow, partial);
	know_size();
	put(0, SIZE - 1);
	CHECK(flow_look(fresh, 10, 21, &end) == FLOW_WAITS);
	put(SIZE - 1, SIZE);
	CHECK(becomes(&wakes, 2));
	CHECK(flow_look(fresh, 10, 21, &end) == FLOW_READY && end == 21);
	CHECK(flow_fd(fresh) == partial_fd(partial));
	flow_reader_free(&fresh);
	tear_down();
}

static void hash_is_a_new_one_after_distrust(void)
{
	struct flow_reader *r;
	struct hasher *h;
	struct why why;
	uint64_t at;

	set_up();
	know_size();
	put(0, 1000);
	r = whole_reader();
	h = flow_hasher(r, &at);
	CHECK(at == 1000);
	hasher_free(&h);
	why_set(&why, ERR_MISMATCH, "wrong");
	flow_distrust(flow, &why);
	h = flow_hasher(r, &at);
	CHECK(at == 0);
	hasher_free(&h);
	flow_reader_free(&r);
	tear_down();
}

/* ---- spilling ---- */

static void spill_is_told_at_the_end_of_what_there_is(void)
{
	struct flow_reader *a, *b;
	uint8_t buf[10];
	uint64_t end;

	set_up();
	know_size();
	put(0, 1000);
	a = whole_reader();
	b = whole_reader();
	CHECK(flow_look(a, 1000, SIZE, &end) == FLOW_WAITS);
	flow_spill(flow);
	CHECK(becomes(&wakes, 1));
	CHECK(flow_look(a, 1000, SIZE, &end) == FLOW_SPILLED);
	CHECK(flow_look(b, 0, SIZE, &end) == FLOW_READY && end == 1000);
	CHECK(flow_look(b, 1000, SIZE, &end) == FLOW_SPILLED);
	CHECK(flow_pread(flow, buf, 10, 500) == 10);
	CHECK(memcmp(buf, content + 500, 10) == 0);
	flow_reader_free(&a);
	flow_reader_free(&b);
	tear_down();
}

/* ---- the flight's view ---- */

static void gaps_are_where_ranges_wait(void)
{
	struct flow_range range = {FLOW_BOUNDED, 500, 600, 0};
	struct flow_reader *all, *far, *near, *more;
	struct flow_gap *gaps;
	uint64_t end;

	set_up();
	know_size();
	all = whole_reader();
	far = reader(FLOW_OPEN_END, SIZE / 2, 0);
	near = reader(FLOW_BOUNDED, 10, 20);
	more = flow_reader_more(near, &range, 9000);
	flow_reader_home(more, home, there, MAGIC, woken);
	put(0, 100);
	CHECK(flow_look(all, 100, SIZE, &end) == FLOW_WAITS);
	CHECK(flow_look(far, SIZE / 2, SIZE, &end) == FLOW_WAITS);
	CHECK(flow_look(near, 10, 21, &end) == FLOW_READY);
	CHECK(flow_look(more, 500, 601, &end) == FLOW_WAITS);
	CHECK(flow_gaps(flow, &gaps) == 2);
	CHECK(gaps[0].off == SIZE / 2 && gaps[0].end == SIZE);
	CHECK(gaps[1].off == 500 && gaps[1].end == 9000);
	free(gaps);
	put(500, 600);
	CHECK(flow_gaps(flow, &gaps) == 1);
	free(gaps);
	flow_reader_free(&all);
	flow_reader_free(&far);
	flow_reader_free(&near);
	flow_reader_free(&more);
	tear_down();
}

static void flight_is_poked_once_until_it_looks(void)
{
	struct flow_census census;
	struct flow_reader *a, *b, *c;
	uint64_t end;

	set_up();
	know_size();
	a = reader(FLOW_BOUNDED, 500, 600);
	b = reader(FLOW_BOUNDED, 700, 800);
	c = reader(FLOW_OPEN_END, SIZE + 1, 0); /* no linear one: a 416 */
	CHECK(flow_look(a, 500, 601, &end) == FLOW_WAITS);
	CHECK(flow_look(b, 700, 801, &end) == FLOW_WAITS);
	CHECK(becomes(&pokes, 1));
	flow_census(flow, &census);
	CHECK(census.readers == 3 && census.linear == 0);
	flow_reader_free(&a); /* whose leaving is news */
	CHECK(becomes(&pokes, 2));
	flow_census(flow, &census);
	CHECK(census.readers == 2);
	flow_reader_free(&b);
	flow_reader_free(&c);
	CHECK(becomes(&pokes, 3));
	tear_down();
}

static void readers_keep_the_file_open(void)
{
	struct flow_reader *r;
	struct flow *mine;
	uint64_t end;
	uint8_t byte;

	set_up();
	know_size();
	put(0, 1000);
	r = whole_reader();
	mine = flow;
	flow_unref(&flow); /* the flight has ended */
	CHECK(flow_look(r, 0, SIZE, &end) == FLOW_READY);
	CHECK(pread(flow_fd(r), &byte, 1, 999) == 1 && byte == content[999]);
	CHECK(flow_of(r) == mine);
	flow_reader_free(&r);
	tear_down();
}

int main(void)
{
	RUN(waiting_reader_is_woken_once);
	RUN(end_is_held_back_from_whom_it_completes);
	RUN(failure_reaches_who_waits_and_who_looks);
	RUN(one_source_fails_alone);
	RUN(part_made_after_the_cut_is_cut);
	RUN(other_size_cuts);
	RUN(distrust_cuts_the_party_of_who_had_bytes);
	RUN(hash_is_a_new_one_after_distrust);
	RUN(spill_is_told_at_the_end_of_what_there_is);
	RUN(gaps_are_where_ranges_wait);
	RUN(flight_is_poked_once_until_it_looks);
	RUN(readers_keep_the_file_open);
	return unit_done();
}
