/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/conn_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINGER_BYTES (64 * MIB)
#define LINGER_READS 8

/* ---- the end ---- */

static void conn_free(void *arg)
{
	struct conn *c = arg;

	c->magic = 0;
	free(c);
}

void conn_close(struct conn *c)
{
	assert(c->phase != CONN_CLOSED && !c->body);
	c->phase = CONN_CLOSED;
	conn_wait_end(c);
	loop_bulk_cancel(c->loop, &c->bulk);
	LIST_REMOVE(c, link);
	__atomic_fetch_sub(&c->serve->n_conns, 1, __ATOMIC_RELAXED);
	close(c->fd);
	c->fd = -1;
	free(c->in);
	c->in = NULL;
	free(c->taking);
	c->taking = NULL;
	loop_defer(c->loop, conn_free, c);
}

void conn_break(struct conn *c)
{
	struct request *request = c->request;

	if (c->phase == CONN_SEND) {
		conn_reply_release(c, false);
	} else if ((c->phase == CONN_HANDLE || c->phase == CONN_BODY) &&
		   request) {
		c->request = NULL;
		request_gone(request);
	}
	conn_close(c);
}

/*
 * A FIN says only that no request will follow; `shutdown(SHUT_WR)` after the
 * last one is legal, and its sender still gets the reply.  But once a reply
 * has begun and waits for its next bytes, a FIN is almost always a client that
 * has closed, and no write would tell for as long as the wait lasts: there it
 * counts as leaving, so that nobody fetches for it.
 */
bool conn_peer_left(const struct conn *c)
{
	struct tcp_info info;
	socklen_t len = sizeof(int);
	int error = 0;

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 ||
	    error != 0)
		return true;
	len = sizeof(info);
	return c->phase == CONN_SEND &&
	       getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
	       info.tcpi_state == TCP_CLOSE_WAIT;
}

void conn_cut(struct conn *c)
{
	assert(c->magic == CONN_MAGIC && !c->starting);
	loop_assert(c->loop);
	if (c->phase != CONN_CLOSED)
		conn_break(c);
}

/*
 * RFC 9112 section 9.6: "the server closes only its write side of the
 * connection and then reads until it gets the client's close": whoever closes
 * with unread bytes sends a reset, and the reset overtakes the reply.
 */
void conn_linger(struct conn *c)
{
	uint64_t ms = conn_limit(&c->server->conn_limits.linger_ms);

	free(c->in);
	c->in = NULL;
	if (ms == 0 || shutdown(c->fd, SHUT_WR) < 0) {
		conn_close(c);
		return;
	}
	c->phase = CONN_LINGER;
	c->lingered = 0;
	conn_watch(c, CONN_WATCH_READ);
	conn_deadline_in(c, ms);
}

void conn_on_linger(struct conn *c)
{
	char waste[16 * 1024];

	for (unsigned i = 0; i < LINGER_READS; i++) {
		ssize_t n = recv(c->fd, waste, sizeof(waste), MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n > 0)
			c->lingered += (uint64_t)n;
		if (n <= 0 || c->lingered > LINGER_BYTES) {
			conn_close(c);
			return;
		}
	}
}

/* ---- the beginning ---- */

static void name_peer(struct conn *c, const struct sockaddr_storage *ss)
{
	const struct sockaddr_in6 *in6 = (const void *)ss;
	const struct sockaddr_in *in = (const void *)ss;
	char text[INET6_ADDRSTRLEN];
	struct in_addr mapped;

	switch (ss->ss_family) {
	case AF_INET:
		mapped = in->sin_addr;
		break;
	case AF_INET6:
		if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
			memcpy(&mapped, &in6->sin6_addr.s6_addr[12], 4);
			break;
		}
		c->peer_is_loopback = IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
		inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
		snprintf(c->peer, sizeof(c->peer), "[%s]:%u", text,
			 ntohs(in6->sin6_port));
		return;
	default:
		snprintf(c->peer, sizeof(c->peer), "-");
		return;
	}
	/* The port is at the same place in both. */
	c->peer_is_loopback = ntohl(mapped.s_addr) >> 24 == 127;
	inet_ntop(AF_INET, &mapped, text, sizeof(text));
	snprintf(c->peer, sizeof(c->peer), "%s:%u", text, ntohs(in->sin_port));
}

void conn_accept(struct server *srv, struct loop *l, int fd,
		 const struct listener_role *role)
{
	struct conn *c = xcalloc(1, sizeof(*c));
	struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
	socklen_t len = sizeof(ss);

	loop_assert(l);
	c->magic = CONN_MAGIC;
	c->fd = fd;
	c->phase = CONN_HEAD;
	c->server = srv;
	c->serve = server_serve(srv, l);
	c->loop = l;
	c->role = role;
	c->unacked = -1;
	if (getpeername(fd, (void *)&ss, &len) < 0)
		ss.ss_family = AF_UNSPEC; /* gone already: recv will say so */
	name_peer(c, &ss);
	conn_turns_init(c);
	conn_wait_init(c);
	LIST_INSERT_HEAD(&c->serve->conns, c, link);
	conn_watch(c, CONN_WATCH_READ);
	conn_deadline_in(c, conn_is_draining(c)
				? conn_limit(&c->server->conn_limits.head_ms)
				: conn_limit(&c->server->conn_limits.idle_ms));
}

/* ---- whose it is ---- */

struct loop *conn_loop(struct conn *c)
{
	return c->loop;
}

struct server *conn_server(struct conn *c)
{
	return c->server;
}

const struct listener_role *conn_role(const struct conn *c)
{
	return c->role;
}

const char *conn_peer(const struct conn *c)
{
	return c->peer;
}

bool conn_peer_is_loopback(const struct conn *c)
{
	return c->peer_is_loopback;
}

bool conn_is_draining(const struct conn *c)
{
	return __atomic_load_n(&c->server->draining, __ATOMIC_RELAXED);
}

/* ---- all of a loop's ---- */

static bool has_bytes_waiting(const struct conn *c)
{
	char byte;

	return recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* One that has been answered knows that an idle connection may close; one
 * that is new has been promised an answer by being accepted. */
static void drain(struct conn *c)
{
	if (c->phase != CONN_HEAD || c->in || has_bytes_waiting(c))
		return;
	if (c->answered)
		conn_close(c);
	else
		conn_deadline_in(c,
				 conn_limit(&c->server->conn_limits.head_ms));
}

void conns_drain(struct server *srv, struct loop *l)
{
	struct serve *serve = server_serve(srv, l);
	struct conn *c, *next;

	loop_assert(l);
	for (c = LIST_FIRST(&serve->conns); c; c = next) {
		next = LIST_NEXT(c, link);
		drain(c);
	}
}

void conns_cut(struct server *srv, struct loop *l)
{
	struct serve *serve = server_serve(srv, l);
	struct conn *c;

	loop_assert(l);
	while ((c = LIST_FIRST(&serve->conns)))
		conn_break(c);
}
