/* SPDX-License-Identifier: Apache-2.0 */
/* What a connection waits for: one event for its socket, one for its clock. */
#include "proxy/conn_int.h"

#include <event2/event.h>

/* ---- the socket ---- */

void conn_watch_anew(struct conn *c, enum conn_watch watch)
{
	static const short flags[] = {
	    [CONN_WATCH_READ] = EV_READ | EV_PERSIST,
	    [CONN_WATCH_WRITE] = EV_WRITE | EV_ET | EV_PERSIST,
	    [CONN_WATCH_GONE] = EV_READ | EV_ET | EV_PERSIST,
	};
	int rc;

	if (c->watch != CONN_WATCH_NOTHING)
		event_del(&c->io);
	c->watch = watch;
	if (watch == CONN_WATCH_NOTHING)
		return;
	rc = event_assign(&c->io, loop_base(c->loop), c->fd, flags[watch],
			  conn_on_io, c);
	assert(rc == 0);
	/* epoll_ctl(ADD) wants a little kernel memory and finds it, or the
	 * machine is past help. */
	rc = event_add(&c->io, NULL);
	assert(rc == 0);
	(void)rc;
}

/* ---- the clock ---- */

void conn_clock_arm(struct conn *c, uint64_t at_ms)
{
	uint64_t now = loop_now_ms(c->loop);
	uint64_t ms = at_ms > now ? at_ms - now : 0;
	struct timeval tv;

	ms = MIN(ms, (uint64_t)86400 * 1000);
	tv.tv_sec = (time_t)(ms / 1000);
	tv.tv_usec = (suseconds_t)(ms % 1000 * 1000);
	c->clock_ms = at_ms;
	evtimer_add(&c->clock, &tv);
}

static void on_clock(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;
	uint64_t at = c->deadline_ms;

	(void)fd;
	(void)what;
	assert(c->magic == CONN_MAGIC);
	c->clock_ms = CONN_NEVER;
	if (at == CONN_NEVER)
		return;
	if (loop_now_ms(c->loop) < at) {
		conn_clock_arm(c, at);
		return;
	}
	c->deadline_ms = CONN_NEVER;
	conn_on_deadline(c);
}

/* ---- life ---- */

void conn_wait_init(struct conn *c)
{
	c->clock_ms = c->deadline_ms = CONN_NEVER;
	evtimer_assign(&c->clock, loop_base(c->loop), on_clock, c);
}

void conn_wait_end(struct conn *c)
{
	conn_watch(c, CONN_WATCH_NOTHING);
	evtimer_del(&c->clock);
}
