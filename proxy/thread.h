/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_THREAD_H
#define PROXY_THREAD_H
/*
 * Starting threads the one way we do it: named, and with every signal
 * blocked, so that only the main thread ever takes one.
 */
#include "cache/base.h"

#include <pthread.h>

/* Start fn(arg); `name` is cut to the 15 bytes the kernel keeps.  Aborts if
 * the kernel has no thread to give: start-up only. */
pthread_t thread_start(const char *name, void *(*fn)(void *arg), void *arg);
/* The same at any time, detached; false: there is none to be had. */
bool thread_try(const char *name, void *(*fn)(void *arg), void *arg) MUST_CHECK;
void thread_join(pthread_t thread);

#endif
