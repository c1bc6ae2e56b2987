/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_RECENCY_H
#define CACHE_RECENCY_H
/*
 * The digests touched since the last flush; what cache_touch() and
 * cache_flush_recency() work on.
 */
#include "cache/base.h"

struct recency;

struct recency *recency_new(void) MUST_CHECK;
/* When the index's writer has stopped. */
void recency_free(struct recency **r);

#endif
