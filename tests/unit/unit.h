/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H
/*
 * The whole unit-test frame.  A test program is one file tests/unit/test_X.c:
 *
 *   static void digest_rejects_upper_case(void) { CHECK(...); }
 *   int main(void)
 *   {
 *           RUN(digest_rejects_upper_case);
 *           return unit_done();
 *   }
 *
 * Each RUN prints one line, "ok NAME" or "FAILED NAME"; tests/run.py counts
 * them.  A failed CHECK says where and goes on.
 */
#include <stdio.h>
#include <string.h>

static int unit_failed_checks, unit_failed_tests, unit_tests;

#define CHECK(cond)                                                            \
	do {                                                                   \
		if (!(cond)) {                                                 \
			fprintf(stderr, "%s:%d: CHECK(%s)\n", __FILE__,        \
				__LINE__, #cond);                              \
			unit_failed_checks++;                                  \
		}                                                              \
	} while (0)

#define CHECK_STR(got, want)                                                   \
	do {                                                                   \
		const char *got_ = (got), *want_ = (want);                     \
		if (!got_ || strcmp(got_, want_) != 0) {                       \
			fprintf(stderr, "%s:%d: %s is \"%s\", not \"%s\"\n",   \
				__FILE__, __LINE__, #got,                      \
				got_ ? got_ : "(null)", want_);                \
			unit_failed_checks++;                                  \
		}                                                              \
	} while (0)

#define RUN(test)                                                              \
	do {                                                                   \
		unit_failed_checks = 0;                                        \
		test();                                                        \
		unit_tests++;                                                  \
		if (unit_failed_checks)                                        \
			unit_failed_tests++;                                   \
		printf("%s %s\n", unit_failed_checks ? "FAILED" : "ok",        \
		       #test);                                                 \
		fflush(stdout);                                                \
	} while (0)

static inline int unit_done(void)
{
	return unit_failed_tests || !unit_tests;
}

#endif
