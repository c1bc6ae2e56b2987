/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CRASH_HELP_H
#define TESTS_CRASH_HELP_H
/*
 * For tests that kill themselves: work in a child, which a fault point or the
 * clock kills.  The one that forks never has a store open.
 */
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

#endif
