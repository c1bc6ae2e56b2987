/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/thread.h"

#include <signal.h>

/*
 * What getaddrinfo(3) and a TLS handshake need, and no 8 MiB of address space
 * for each of two dozen threads.  A sanitizer's frames are larger.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_BYTES (4 * MIB)
#else
#define STACK_BYTES (512 * KIB)
#endif

/* 0 or an errno. */
static int create(pthread_t *thread, const char *name, void *(*fn)(void *arg),
		  void *arg)
{
	char short_name[16];
	sigset_t all, before;
	pthread_attr_t attr;
	int rc;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	/* A thread inherits the mask of the one that makes it. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(thread, &attr, fn, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (rc != 0)
		return rc;
	snprintf(short_name, sizeof(short_name), "%s", name);
	pthread_setname_np(*thread, short_name);
	return 0;
}

pthread_t thread_start(const char *name, void *(*fn)(void *arg), void *arg)
{
	pthread_t thread;
	int rc = create(&thread, name, fn, arg);

	if (rc != 0) {
		fprintf(stderr, "entrepot: cannot start a thread: %s\n",
			strerror(rc));
		abort();
	}
	return thread;
}

bool thread_try(const char *name, void *(*fn)(void *arg), void *arg)
{
	pthread_t thread;

	if (create(&thread, name, fn, arg) != 0)
		return false;
	pthread_detach(thread);
	return true;
}

void thread_join(pthread_t thread)
{
	int rc = pthread_join(thread, NULL);

	assert(rc == 0);
	(void)rc;
}
