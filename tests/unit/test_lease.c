/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/lease.h"
#include "tests/unit/index_help.h"
#include "tests/unit/unit.h"

#include <pthread.h>
#include <unistd.h>

#define SHORT_MS 60
#define LONG_MS 3600000

static void sleep_ms(unsigned ms)
{
	usleep(ms * 1000);
}

/* Past the first grace period, in which all counts as leased. */
static struct leases *settled(void)
{
	struct leases *l = leases_new(SHORT_MS);

	sleep_ms(SHORT_MS + 10);
	return l;
}

static void what_is_taken_is_leased_for_the_grace_period(void)
{
	struct digest a = test_digest(1), b = test_digest(2);
	struct leases *l = settled();
	uint64_t from = now_ms();
	bool has;

	lease_take(l, &a);
	has = lease_has(l, &a);
	CHECK(has || now_ms() - from >= SHORT_MS); /* on a slow machine */
	CHECK(!lease_has(l, &b));
	sleep_ms(SHORT_MS + 10);
	CHECK(!lease_has(l, &a));
	leases_free(&l);
	CHECK(!l);
}

static void after_a_start_all_is_leased_for_one_period(void)
{
	struct digest dg = test_digest(1);
	struct leases *l = leases_new(LONG_MS);

	CHECK(lease_has(l, &dg));
	leases_set_grace(l, 1);
	sleep_ms(5);
	CHECK(!lease_has(l, &dg));
	leases_free(&l);
}

/*
 * So old that a grace of AGED_MS is over since its start, and not over for
 * what is taken now: what is leased then is leased by lease_take() alone.
 */
#define AGED_MS 1500

static struct leases *aged(void)
{
	struct leases *l = leases_new(0);

	sleep_ms(AGED_MS + 10);
	return l;
}

static void another_grace_holds_for_running_leases_too(void)
{
	struct digest dg = test_digest(1), other = test_digest(2);
	struct leases *l = aged();

	lease_take(l, &dg);
	CHECK(!lease_has(l, &dg));
	leases_set_grace(l, AGED_MS);
	CHECK(leases_grace(l) == AGED_MS);
	CHECK(lease_has(l, &dg));
	CHECK(!lease_has(l, &other));
	leases_set_grace(l, 10);
	sleep_ms(20);
	CHECK(!lease_has(l, &dg));
	leases_free(&l);
}

static void taking_again_begins_anew(void)
{
	struct digest dg = test_digest(1);
	struct leases *l = settled();
	uint64_t from;

	lease_take(l, &dg);
	sleep_ms(SHORT_MS - 20);
	from = now_ms();
	lease_take(l, &dg);
	sleep_ms(30);
	CHECK(lease_has(l, &dg) || now_ms() - from >= SHORT_MS);
	leases_free(&l);
}

/* How many of those that were taken are not leased. */
static unsigned lost_of_many(struct leases *l, unsigned n)
{
	unsigned missing = 0;

	for (unsigned i = 0; i < n; i++) {
		struct digest dg = test_digest(i);

		lease_take(l, &dg);
	}
	for (unsigned i = 0; i < n; i++) {
		struct digest dg = test_digest(i);

		missing += !lease_has(l, &dg);
	}
	return missing;
}

static void there_may_be_very_many(void)
{
	struct digest other = test_digest(20000);
	struct leases *l = aged();
	uint64_t from = now_ms();

	leases_set_grace(l, AGED_MS);
	CHECK(lost_of_many(l, 20000) == 0 ||
	      now_ms() - from >= AGED_MS); /* on a slow machine */
	CHECK(!lease_has(l, &other));
	leases_free(&l);
}

struct crowd {
	struct leases *l;
	unsigned first;
};

static void *take_many(void *arg)
{
	struct crowd *crowd = arg;

	for (unsigned i = 0; i < 2000; i++) {
		struct digest dg = test_digest(crowd->first + i % 500);

		lease_take(crowd->l, &dg);
		if (!lease_has(crowd->l, &dg))
			return crowd;
	}
	return NULL;
}

static void many_threads_lease_at_once(void)
{
	struct leases *l = aged();
	struct crowd crowd[4];
	pthread_t threads[4];
	void *lost;

	leases_set_grace(l, AGED_MS);
	for (unsigned i = 0; i < 4; i++) {
		crowd[i] = (struct crowd){l, i * 100};
		pthread_create(&threads[i], NULL, take_many, &crowd[i]);
	}
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(threads[i], &lost);
		CHECK(!lost);
	}
	leases_free(&l);
}

int main(void)
{
	RUN(what_is_taken_is_leased_for_the_grace_period);
	RUN(after_a_start_all_is_leased_for_one_period);
	RUN(another_grace_holds_for_running_leases_too);
	RUN(taking_again_begins_anew);
	RUN(there_may_be_very_many);
	RUN(many_threads_lease_at_once);
	return unit_done();
}
