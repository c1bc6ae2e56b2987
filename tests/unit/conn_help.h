/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CONN_HELP_H
#define TESTS_CONN_HELP_H
/*
 * For the tests of connections: the server's parts that they need, with one
 * loop, and clients over loopback sockets.
 */
#include "proxy/conn_int.h"
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <semaphore.h>
#include <unistd.h>

/* ---- the server ---- */

static struct server server;
static struct serve serve;
static struct loop *loop;
static const struct listener_role role;

struct serve *server_serve(struct server *s, struct loop *l)
{
	CHECK(s == &server && l == loop);
	return &serve;
}

static UNUSED unsigned look(const unsigned *n)
{
	return __atomic_load_n(n, __ATOMIC_ACQUIRE);
}

static UNUSED void note(unsigned *n)
{
	__atomic_fetch_add(n, 1, __ATOMIC_RELEASE);
}

static sem_t sync_done;

static UNUSED void say_done(void *arg)
{
	(void)arg;
	sem_post(&sync_done);
}

static UNUSED void on_loop(void (*fn)(void *arg), void *arg)
{
	loop_call(loop, fn, arg);
	loop_call(loop, say_done, NULL);
	sem_wait(&sync_done);
}

static UNUSED void cut_all(void *arg)
{
	(void)arg;
	conns_cut(&server, loop);
}

/* ---- clients ---- */

static UNUSED void accept_fd(void *arg)
{
	int *fd = arg;

	conn_accept(&server, loop, *fd, &role);
}

static UNUSED void set_int(int fd, int level, int name, int value)
{
	CHECK(setsockopt(fd, level, name, &value, sizeof(value)) == 0);
}

/* A connected pair over TCP, so that resets and half-closes are real; with
 * these buffers, 0 = the system's. */
static UNUSED int client_with(int rcvbuf, int sndbuf)
{
	struct sockaddr_in sin = {.sin_family = AF_INET};
	struct timeval limit = {.tv_sec = 10};
	socklen_t len = sizeof(sin);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	int fd = socket(AF_INET, SOCK_STREAM, 0), peer;

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK(bind(listener, (void *)&sin, sizeof(sin)) == 0);
	CHECK(listen(listener, 1) == 0);
	CHECK(getsockname(listener, (void *)&sin, &len) == 0);
	if (rcvbuf)
		set_int(fd, SOL_SOCKET, SO_RCVBUF, rcvbuf);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) ==
	      0);
	set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	CHECK(connect(fd, (void *)&sin, sizeof(sin)) == 0);
	peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	CHECK(peer >= 0);
	close(listener);
	if (sndbuf)
		set_int(peer, SOL_SOCKET, SO_SNDBUF, sndbuf);
	__atomic_fetch_add(&serve.n_conns, 1, __ATOMIC_RELAXED);
	on_loop(accept_fd, &peer);
	return fd;
}

static UNUSED int client(void)
{
	return client_with(0, 0);
}

/* One byte, or -1 at the end (by FIN, reset or ten silent seconds). */
static UNUSED int next_byte(int fd)
{
	unsigned char c;

	return recv(fd, &c, 1, 0) == 1 ? c : -1;
}

static UNUSED void expect_end(int fd)
{
	char c;

	CHECK(recv(fd, &c, 1, 0) == 0);
}

static UNUSED void wait_for(const unsigned *n, unsigned want)
{
	for (int i = 0; i < 5000 && look(n) < want; i++)
		usleep(1000);
	CHECK(look(n) == want);
}

static UNUSED void reset(int fd)
{
	struct linger hard = {.l_onoff = 1};

	CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)) == 0);
	close(fd);
}

#endif
