/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/space.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/statvfs.h>
#include <unistd.h>

static void min_free_stays_whatever_is_promised(void)
{
	CHECK(space_fits(100, 40, 0, 60));
	CHECK(!space_fits(100, 40, 0, 61));
	CHECK(!space_fits(100, 40, 1, 60));
	CHECK(space_fits(100, 40, 60, 0));
	CHECK(!space_fits(100, 101, 0, 0));
	CHECK(!space_fits(100, UINT64_MAX, 1, 0));
	CHECK(!space_fits(100, 1, UINT64_MAX - 1, 5));
}

static int here(void)
{
	return open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static uint64_t free_here(int fd)
{
	struct statvfs st;

	return fstatvfs(fd, &st) == 0 ? st.f_bavail * st.f_frsize : 0;
}

static void steps_are_reserved_and_given_back(void)
{
	struct space_share a = {0}, b = {0};
	int fd = here();
	struct space *s = space_new(fd, 0);

	CHECK(space_check(s, NULL) == ERR_OK);
	CHECK(space_take(s, &a, 1000, NULL) == ERR_OK);
	CHECK(a.left == SPACE_STEP);
	CHECK(space_take(s, &a, 5000, NULL) == ERR_OK);
	CHECK(space_outstanding(s) == SPACE_STEP);
	CHECK(space_take(s, &b, SPACE_STEP + 1, NULL) == ERR_OK);
	CHECK(space_outstanding(s) == 2 * SPACE_STEP + 1);
	space_spend(s, &a, 6000);
	CHECK(a.left == SPACE_STEP - 6000);
	space_end(s, &a);
	space_end(s, &b);
	CHECK(space_outstanding(s) == 0);
	space_free(&s);
	close(fd);
}

static void refusal_names_the_numbers(void)
{
	struct space_share a = {0}, b = {0};
	struct space *s;
	struct why why;
	int fd = here();

	s = space_new(fd, UINT64_MAX / 2);
	CHECK(space_check(s, &why) == ERR_NO_SPACE);
	CHECK(strstr(why.text, "the disk has no room for anything new: "));
	CHECK(strstr(why.text, " KiB are free, and cache.min_free is "
			       "9007199254740991 KiB; delete what is not "
			       "needed, or lower that"));
	CHECK(space_take(s, &a, 3000, &why) == ERR_NO_SPACE);
	CHECK(strstr(why.text, "the disk has no room for 3 KiB more: "));
	CHECK(a.left == 0 && space_outstanding(s) == 0);
	space_set_min_free(s, 0);
	CHECK(space_take(s, &a, 1, NULL) == ERR_OK);
	CHECK(space_take(s, &b, UINT64_MAX / 2, &why) == ERR_NO_SPACE);
	CHECK(strstr(why.text, " KiB are free, cache.min_free is 0 KiB, and "
			       "16384 KiB are promised to other writes"));
	space_end(s, &a);
	CHECK(a.left == 0 && space_outstanding(s) == 0);
	space_free(&s);
	close(fd);
}

/* Half a step over min_free: a whole step does not fit, a little does.  Others
 * use the disk too, so it may take a few tries to stand just there. */
static bool little_is_reserved(int fd)
{
	struct space *s = space_new(fd, free_here(fd) - SPACE_STEP / 2);
	struct space_share a = {0};
	bool little = space_take(s, &a, 4096, NULL) == ERR_OK && a.left == 4096;

	space_end(s, &a);
	space_free(&s);
	return little;
}

static void near_the_end_only_what_is_needed_is_reserved(void)
{
	int fd = here(), tries = 200;

	while (!little_is_reserved(fd) && --tries)
		usleep(10000);
	CHECK(tries > 0);
	close(fd);
}

static void *take_and_give(void *arg)
{
	struct space_share mine = {0};

	for (unsigned i = 0; i < 500; i++) {
		if (space_take(arg, &mine, 1 * MIB, NULL) == ERR_OK)
			space_spend(arg, &mine, 1 * MIB);
		if (i % 100 == 99)
			space_end(arg, &mine);
	}
	return NULL;
}

static void many_writers_add_up(void)
{
	pthread_t threads[4];
	int fd = here();
	struct space *s = space_new(fd, 0);

	for (unsigned i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, take_and_give, s);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	CHECK(space_outstanding(s) == 0);
	space_free(&s);
	close(fd);
}

int main(void)
{
	RUN(min_free_stays_whatever_is_promised);
	RUN(steps_are_reserved_and_given_back);
	RUN(refusal_names_the_numbers);
	RUN(near_the_end_only_what_is_needed_is_reserved);
	RUN(many_writers_add_up);
	return unit_done();
}
