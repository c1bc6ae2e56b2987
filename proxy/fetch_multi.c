/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/fetch_int.h"

#include <event2/event.h>

void fetch_multi_check(struct fetch_multi *m)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(m->multi, &left))) {
		struct fetch *f;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &f);
		assert(f->magic == FETCH_MAGIC);
		fetch_finish(f, msg->data.result);
	}
}

/* ---- sockets and the timer ---- */

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct fetch_multi *m = arg;
	int running, mask = 0;

	if (what & EV_READ)
		mask |= CURL_CSELECT_IN;
	if (what & EV_WRITE)
		mask |= CURL_CSELECT_OUT;
	curl_multi_socket_action(m->multi, fd, mask, &running);
	fetch_multi_check(m);
}

static void on_timer(void *arg)
{
	struct fetch_multi *m = arg;
	int running;

	curl_multi_socket_action(m->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	fetch_multi_check(m);
}

static int want_timer(CURLM *handle, long ms, void *arg)
{
	struct fetch_multi *m = arg;

	(void)handle;
	if (ms < 0)
		timer_clear(&m->timer);
	else
		timer_set(&m->timer, (uint64_t)ms);
	return 0;
}

struct watch {
	LIST_ENTRY(watch) link;
	CURL *easy; /* whose socket it is; compared only */
	struct event *ev;
};

static void watch_free(struct watch *w)
{
	event_free(w->ev);
	LIST_REMOVE(w, link);
	free(w);
}

/* One watch for each socket, which curl_multi_assign() keeps, too. */
static int want_socket(CURL *easy, curl_socket_t fd, int what, void *arg,
		       void *sockp)
{
	struct fetch_multi *m = arg;
	struct watch *w = sockp;
	short events = EV_PERSIST;

	if (w)
		watch_free(w);
	w = NULL;
	if (what != CURL_POLL_REMOVE) {
		if (what & CURL_POLL_IN)
			events |= EV_READ;
		if (what & CURL_POLL_OUT)
			events |= EV_WRITE;
		w = xcalloc(1, sizeof(*w));
		w->easy = easy;
		w->ev = event_new(loop_base(m->fetcher->loop), fd, events,
				  on_event, m);
		assert(w->ev);
		event_add(w->ev, NULL);
		LIST_INSERT_HEAD(&m->watches, w, link);
	}
	curl_multi_assign(m->multi, fd, w);
	return 0;
}

void fetch_multi_remove(struct fetch_multi *m, CURL *easy)
{
	struct watch *w;

	LIST_FOREACH (w, &m->watches, link)
		if (w->easy == easy)
			event_del(w->ev);
	curl_multi_remove_handle(m->multi, easy);
}

void fetch_multi_init(struct fetch_multi *m, struct fetcher *fr)
{
	m->fetcher = fr;
	LIST_INIT(&m->watches);
	m->multi = curl_multi_init();
	assert(m->multi);
	timer_init(&m->timer, fr->loop, on_timer, m);
	curl_multi_setopt(m->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
	curl_multi_setopt(m->multi, CURLMOPT_SOCKETDATA, m);
	curl_multi_setopt(m->multi, CURLMOPT_TIMERFUNCTION, want_timer);
	curl_multi_setopt(m->multi, CURLMOPT_TIMERDATA, m);
	curl_multi_setopt(m->multi, CURLMOPT_MAXCONNECTS, 32L);
	curl_multi_setopt(m->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
}

void fetch_multi_release(struct fetch_multi *m)
{
	curl_multi_cleanup(m->multi);
	timer_release(&m->timer);
}
