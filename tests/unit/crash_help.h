/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CRASH_HELP_H
#define TESTS_CRASH_HELP_H
/*
 * For tests that kill themselves: work in a child, which a fault point or the
 * clock kills.  The one that forks never has a store open.
 */
#include "cache/fault.h"
#include "tests/unit/unit.h"

#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Run in a child.  Returns its status: 0, or how it died. */
static inline int crash_child(void (*run)(void), const char *fault,
			      unsigned kill_after_us)
{
	int status = -1;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (child == 0) {
		if (fault)
			setenv("ENTREPOT_FAULT", fault, 1);
		run();
		_exit(unit_failed_checks ? 1 : 0);
	}
	if (kill_after_us) {
		usleep(kill_after_us);
		kill(child, SIGKILL);
	}
	while (waitpid(child, &status, 0) != child)
		;
	return status;
}

static inline bool crash_killed(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

#ifdef FAULT_POINTS

/* What is killed, and what is before and after. */
struct crash_scene {
	void (*begin)(void);
	void (*prepare)(unsigned point); /* in children of its own */
	void (*work)(void);
	void (*end)(const char *when); /* what is left is sound */
};

/* Let the work meet `action` at the nth passage of a point.  True: it was
 * killed there. */
static inline bool crash_at(const struct crash_scene *s, unsigned point,
			    unsigned nth, const char *action)
{
	char fault[64];
	int status;

	s->begin();
	s->prepare(point);
	snprintf(fault, sizeof(fault), "%s:%u:%s", fault_name(point), nth,
		 action);
	status = crash_child(s->work, fault, 0);
	CHECK(status == 0 || crash_killed(status));
	s->end(fault);
	return crash_killed(status);
}

#endif

#endif
