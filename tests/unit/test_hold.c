/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/hold.h"
#include "tests/unit/unit.h"

#include <pthread.h>

static struct digest digest_no(unsigned n)
{
	struct digest dg = {.alg = DIGEST_SHA256};

	dg.bytes[7] = (uint8_t)n;
	return dg;
}

static unsigned order[8], told;
static struct hold holds[4];

static void note(struct hold *h)
{
	order[told++] = (unsigned)(h - holds);
}

static void second_asker_waits_and_is_told_in_order(void)
{
	struct holds *t = holds_new();
	struct digest dg = digest_no(1);

	told = 0;
	CHECK(hold_ask(t, &holds[0], &dg, note));
	CHECK(!hold_ask(t, &holds[1], &dg, note));
	CHECK(!hold_ask(t, &holds[2], &dg, note));
	CHECK(told == 0);
	hold_release(t, &holds[0]);
	CHECK(told == 1 && order[0] == 1);
	hold_release(t, &holds[1]);
	CHECK(told == 2 && order[1] == 2);
	CHECK(hold_is_held(t, &dg));
	hold_release(t, &holds[2]);
	CHECK(!hold_is_held(t, &dg));
	holds_free(&t);
	CHECK(!t);
}

/* 64 buckets: digest 65 shares the first's. */
static void other_digests_are_not_in_the_way(void)
{
	struct digest a = digest_no(1), b = digest_no(65);
	struct holds *t = holds_new();

	told = 0;
	CHECK(hold_ask(t, &holds[0], &a, note));
	CHECK(hold_ask(t, &holds[1], &b, note));
	CHECK(!hold_ask(t, &holds[2], &b, note));
	hold_release(t, &holds[0]);
	CHECK(told == 0);
	hold_release(t, &holds[1]);
	CHECK(told == 1 && order[0] == 2);
	hold_release(t, &holds[2]);
	holds_free(&t);
}

static struct holds *chain;

static void release_at_once(struct hold *h)
{
	note(h);
	hold_release(chain, h);
}

static void granted_may_release(void)
{
	struct digest dg = digest_no(1);

	chain = holds_new();
	told = 0;
	CHECK(hold_ask(chain, &holds[0], &dg, note));
	for (unsigned i = 1; i < 4; i++)
		CHECK(!hold_ask(chain, &holds[i], &dg, release_at_once));
	hold_release(chain, &holds[0]);
	CHECK(told == 3 && order[0] == 1 && order[2] == 3);
	holds_free(&chain);
}

struct racer {
	struct holds *t;
	unsigned *inside, *most, *rounds;
};

static void *race(void *arg)
{
	struct racer *r = arg;

	for (unsigned i = 0; i < 2000; i++) {
		struct digest dg = digest_no(1 + i % 2 * 64);
		unsigned *inside = &r->inside[i % 2], now;
		struct hold h;

		hold_wait(r->t, &h, &dg);
		now = __atomic_add_fetch(inside, 1, __ATOMIC_RELAXED);
		if (now > 1)
			__atomic_store_n(r->most, now, __ATOMIC_RELAXED);
		r->rounds[i % 2]++; /* what the hold protects */
		__atomic_sub_fetch(inside, 1, __ATOMIC_RELAXED);
		hold_release(r->t, &h);
	}
	return NULL;
}

static void one_worker_at_a_time(void)
{
	unsigned inside[2] = {0}, most = 1, rounds[2] = {0};
	struct racer r = {holds_new(), inside, &most, rounds};
	pthread_t threads[4];

	for (unsigned i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, race, &r);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	CHECK(most == 1);
	CHECK(rounds[0] == 4000 && rounds[1] == 4000);
	holds_free(&r.t);
}

int main(void)
{
	RUN(second_asker_waits_and_is_told_in_order);
	RUN(other_digests_are_not_in_the_way);
	RUN(granted_may_release);
	RUN(one_worker_at_a_time);
	return unit_done();
}
