/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/backlog.h"

static uint64_t waiting; /* atomic */

void backlog_add(uint64_t bytes)
{
	__atomic_fetch_add(&waiting, bytes, __ATOMIC_RELAXED);
}

void backlog_sub(uint64_t bytes)
{
	uint64_t before = __atomic_fetch_sub(&waiting, bytes, __ATOMIC_RELAXED);

	assert(before >= bytes);
	(void)before;
}

uint64_t backlog_bytes(void)
{
	return __atomic_load_n(&waiting, __ATOMIC_RELAXED);
}
