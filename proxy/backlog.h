/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_BACKLOG_H
#define PROXY_BACKLOG_H
/*
 * How many bytes wait for the disk in this process, those of fills and of
 * uploads together: cache.memory.total bounds them.  Any thread.
 */
#include "cache/base.h"

void backlog_add(uint64_t bytes);
void backlog_sub(uint64_t bytes);
uint64_t backlog_bytes(void);

#endif
