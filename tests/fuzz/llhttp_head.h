/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LLHTTP_HEAD_H
#define TESTS_LLHTTP_HEAD_H
/*
 * What llhttp, built strict, makes of the head of a request.  In a file of its
 * own, because its header takes the names that ours has for methods.
 */
#include "cache/base.h"

struct llhttp_head {
	size_t used;
	const char *method;
	unsigned minor;
	bool has_length, chunked;
	uint64_t content_length;
};

/* False, with *why: it does not accept this, or not to the end of a head. */
bool llhttp_head_parse(const char *buf, size_t len, struct llhttp_head *out,
		       const char **why) MUST_CHECK;

#endif
