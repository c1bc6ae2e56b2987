/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/listen.h"
#include "proxy/log.h"
#include "proxy/metrics.h"
#include "proxy/server.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <unistd.h>

#define ACCEPTS_PER_TURN 64
#define PAUSE_MS 100
#define COMPLAIN_MS 60000
/* Refused connections that we keep until they have read why; past these they
 * are closed at once. */
#define MOST_REFUSED 128
#define REFUSED_MS 2000
#define REFUSED_BYTES (256 * KIB)

struct listener {
	struct acceptor *acceptor;
	int fd;
	struct listener_role role;
	struct event readable;
	LIST_ENTRY(listener) link;
};

/* One that has been told 503 and has not hung up yet. */
struct refused {
	struct acceptor *acceptor;
	int fd;
	uint64_t until_ms;
	uint64_t discarded;
	struct event readable;
	LIST_ENTRY(refused) link;
};

/* Everything but `max` belongs to the accept loop. */
struct acceptor {
	struct server *server;
	struct loop *loop;
	unsigned max; /* atomic */
	LIST_HEAD(, listener) listeners;
	LIST_HEAD(, refused) refused;
	unsigned n_refused;
	struct timer pause;
	bool stopped;
	uint64_t complained_ms; /* 0: never */
};

/* ---- past the limit ---- */

static void refused_free(struct refused *r)
{
	event_del(&r->readable);
	LIST_REMOVE(r, link);
	r->acceptor->n_refused--;
	close(r->fd);
	free(r);
}

static void refused_wait(struct refused *r)
{
	uint64_t now = now_ms();
	uint64_t ms = r->until_ms > now ? r->until_ms - now : 0;
	struct timeval tv = {
	    .tv_sec = (time_t)(ms / 1000),
	    .tv_usec = (suseconds_t)(ms % 1000 * 1000),
	};

	event_add(&r->readable, &tv);
}

/* Read and throw away until they have seen the answer and close. */
static void on_refused(evutil_socket_t fd, short what, void *arg)
{
	struct refused *r = arg;
	char waste[4096];
	ssize_t n;

	if (what & EV_TIMEOUT) {
		refused_free(r);
		return;
	}
	n = recv(fd, waste, sizeof(waste), MSG_DONTWAIT);
	if (n > 0)
		r->discarded += (uint64_t)n;
	if (n == 0 || r->discarded > REFUSED_BYTES ||
	    (n < 0 && errno != EAGAIN && errno != EINTR)) {
		refused_free(r);
		return;
	}
	refused_wait(r);
}

static bool send_refusal(int fd)
{
	static const char body[] =
	    "{\"errors\":[{\"code\":\"UNAVAILABLE\",\"message\":"
	    "\"too many connections (server.max_connections); try again "
	    "later\"}]}\n";
	char text[512];
	int len;

	len = snprintf(text, sizeof(text),
		       "HTTP/1.1 503 Service Unavailable\r\n"
		       "Content-Type: application/json\r\n"
		       "Content-Length: %zu\r\n"
		       "Retry-After: 5\r\n"
		       "Connection: close\r\n\r\n%s",
		       sizeof(body) - 1, body);
	/* A fresh socket has room for this. */
	return send(fd, text, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT) ==
		   len &&
	       shutdown(fd, SHUT_WR) == 0;
}

static void refuse(struct acceptor *a, int fd)
{
	struct refused *r;

	metric_inc(METRIC_REFUSED, METRIC_REFUSED_LIMIT);
	if (!send_refusal(fd) || a->n_refused >= MOST_REFUSED) {
		close(fd);
		return;
	}
	r = xcalloc(1, sizeof(*r));
	r->acceptor = a;
	r->fd = fd;
	r->until_ms = now_ms() + REFUSED_MS;
	event_assign(&r->readable, loop_base(a->loop), fd, EV_READ, on_refused,
		     r);
	LIST_INSERT_HEAD(&a->refused, r, link);
	a->n_refused++;
	refused_wait(r);
}

/* ---- handing over ---- */

struct handover {
	struct server *server;
	struct loop *loop;
	int fd;
	const struct listener_role *role;
};

static void take_over(void *arg)
{
	struct handover *h = arg;

	conn_accept(h->server, h->loop, h->fd, h->role);
	free(h);
}

static unsigned count_of(const struct serve *serve)
{
	return __atomic_load_n(&serve->n_conns, __ATOMIC_RELAXED);
}

static struct serve *emptiest(struct server *srv)
{
	struct serve *best = &srv->serves[0];

	for (unsigned i = 1; i < srv->n_serves; i++) {
		if (count_of(&srv->serves[i]) < count_of(best))
			best = &srv->serves[i];
	}
	return best;
}

static bool is_full(const struct acceptor *a)
{
	unsigned max = __atomic_load_n(&a->max, __ATOMIC_RELAXED);
	uint64_t n = 0;

	for (unsigned i = 0; i < a->server->n_serves; i++)
		n += count_of(&a->server->serves[i]);
	return max > 0 && n >= max;
}

static void admit(struct listener *listener, int fd)
{
	struct acceptor *a = listener->acceptor;
	struct serve *serve = emptiest(a->server);
	struct handover *h;

	/* Who watches us must see us when we are full. */
	if (is_full(a) && !listener->role.metrics_only) {
		refuse(a, fd);
		return;
	}
	metric_inc(METRIC_ACCEPTED, 0);
	/* Counted here: the loop may hear of it only after the next one has
	 * to choose. */
	__atomic_fetch_add(&serve->n_conns, 1, __ATOMIC_RELAXED);
	h = xcalloc(1, sizeof(*h));
	*h = (struct handover){a->server, serve->loop, fd, &listener->role};
	loop_call(serve->loop, take_over, h);
}

/* ---- accepting ---- */

static void watch_all(struct acceptor *a)
{
	struct listener *listener;

	LIST_FOREACH (listener, &a->listeners, link)
		event_add(&listener->readable, NULL);
}

static void on_pause_over(void *arg)
{
	struct acceptor *a = arg;

	if (!a->stopped)
		watch_all(a);
}

/* No descriptor, or no memory, for one more: to be told so again and again by
 * a readable socket helps nobody. */
static void pause_accepting(struct acceptor *a, int error)
{
	struct listener *listener;
	uint64_t now = now_ms();

	metric_inc(METRIC_REFUSED, METRIC_REFUSED_DESCRIPTORS);
	LIST_FOREACH (listener, &a->listeners, link)
		event_del(&listener->readable);
	timer_set(&a->pause, PAUSE_MS);
	if (a->complained_ms && now - a->complained_ms < COMPLAIN_MS)
		return;
	a->complained_ms = now;
	log_error("cannot accept connections: %s; trying every %d ms",
		  strerror(error), PAUSE_MS);
}

static bool is_exhaustion(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS ||
	       error == ENOMEM;
}

static void on_connection(evutil_socket_t fd, short what, void *arg)
{
	struct listener *listener = arg;

	(void)what;
	for (unsigned i = 0; i < ACCEPTS_PER_TURN; i++) {
		int conn =
		    accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (conn >= 0) {
			admit(listener, conn);
			continue;
		}
		if (is_exhaustion(errno))
			pause_accepting(listener->acceptor, errno);
		if (errno == EAGAIN || is_exhaustion(errno))
			return;
		/* ECONNABORTED and the network errors of accept(2) are about
		 * that one connection. */
	}
}

/* ---- life ---- */

struct acceptor *acceptor_new(struct server *srv)
{
	struct acceptor *a = xcalloc(1, sizeof(*a));

	assert(srv->n_serves > 0);
	a->server = srv;
	a->loop = srv->accept_loop;
	LIST_INIT(&a->listeners);
	LIST_INIT(&a->refused);
	return a;
}

void acceptor_add(struct acceptor *a, int fd, const struct listener_role *role)
{
	struct listener *listener = xcalloc(1, sizeof(*listener));

	listener->acceptor = a;
	listener->fd = fd;
	listener->role = *role;
	if (role->mirror_of)
		listener->role.mirror_of = xstrdup(role->mirror_of);
	LIST_INSERT_HEAD(&a->listeners, listener, link);
}

void acceptor_set_max(struct acceptor *a, unsigned max)
{
	__atomic_store_n(&a->max, max, __ATOMIC_RELAXED);
}

static void start(void *arg)
{
	struct acceptor *a = arg;
	struct listener *listener;
	char name[64];

	timer_init(&a->pause, a->loop, on_pause_over, a);
	LIST_FOREACH (listener, &a->listeners, link) {
		event_assign(&listener->readable, loop_base(a->loop),
			     listener->fd, EV_READ | EV_PERSIST, on_connection,
			     listener);
		listen_name(listener->fd, name, sizeof(name));
		log_info("listening on %s%s", name,
			 listener->role.metrics_only ? " for metrics" : "");
	}
	watch_all(a);
}

void acceptor_start(struct acceptor *a)
{
	loop_call(a->loop, start, a);
}

static void stop(void *arg)
{
	struct acceptor *a = arg;
	struct listener *listener;

	a->stopped = true;
	timer_clear(&a->pause);
	LIST_FOREACH (listener, &a->listeners, link) {
		/* For those in the backlog our kernel has already said yes. */
		on_connection(listener->fd, EV_READ, listener);
		timer_clear(&a->pause);
		event_del(&listener->readable);
		close(listener->fd);
		listener->fd = -1;
	}
}

void acceptor_stop(struct acceptor *a)
{
	loop_call(a->loop, stop, a);
}

static void listener_free(struct listener *listener)
{
	LIST_REMOVE(listener, link);
	if (event_initialized(&listener->readable))
		event_del(&listener->readable);
	if (listener->fd >= 0)
		close(listener->fd);
	free((char *)(uintptr_t)listener->role.mirror_of);
	free(listener);
}

void acceptor_free(struct acceptor **acceptor)
{
	struct acceptor *a = *acceptor;

	if (!a)
		return;
	while (!LIST_EMPTY(&a->refused))
		refused_free(LIST_FIRST(&a->refused));
	while (!LIST_EMPTY(&a->listeners))
		listener_free(LIST_FIRST(&a->listeners));
	timer_release(&a->pause);
	free(a);
	*acceptor = NULL;
}
