/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One receiver, on the fetch loop.
 *
 *   IDLE ─wake─► LOOKING ─► SENDING ─2xx─► LOOKING (and its cursor moves)
 *     ▲             │          ├─refused─► LOOKING (for half as many; of one
 *     │             │          │           alone the cursor moves: dropped)
 *     └──nothing────┘          └─else─► PAUSED ─► LOOKING
 */
#include "proxy/hook_int.h"

/* Of its answer: nothing is done with it. */
#define ANSWER_MAX (4 * 1024)

/* ---- envelopes ---- */

bool hook_batch_add(struct hook_batch *b, const char *event, size_t len)
{
	if (b->n == b->max || (b->n && b->text.len + len > HOOK_BATCH_BYTES))
		return false;
	list_text_add(&b->text, b->n ? "," : "{\"events\":[",
		      b->n ? 1 : strlen("{\"events\":["));
	list_text_add(&b->text, event, len);
	b->n++;
	return true;
}

void hook_batch_end(struct hook_batch *b)
{
	if (b->n)
		list_text_add(&b->text, "]}", sizeof("]}"));
}

void hook_batch_release(struct hook_batch *b)
{
	list_text_release(&b->text);
	b->n = 0;
}

void hook_pull_free(struct hook_pull *p)
{
	free(p->text);
	free(p);
}

/* ---- the outcome ---- */

static void send_again(void *arg)
{
	struct receiver *r = arg;

	receiver_look(r, 0);
}

static void failed(struct receiver *r, const char *reason)
{
	const struct conf_hook *conf = receiver_conf(r);

	metric_inc(METRIC_NOTIFICATIONS_FAILED, 0);
	if (r->failures++ == 0)
		log_warn("webhook %s: %s; its events wait and are sent again",
			 r->name, reason);
	hook_batch_release(&r->batch);
	r->state = RECEIVER_PAUSED;
	timer_set(&r->timer, hook_pause_ms(r->failures, conf->retry_min_ms,
					   conf->retry_max_ms));
}

static void drop_pulls(struct receiver *r, unsigned n)
{
	while (n-- > 0) {
		struct hook_pull *p = STAILQ_FIRST(&r->pulls);

		STAILQ_REMOVE_HEAD(&r->pulls, link);
		r->n_pulls--;
		hook_pull_free(p);
	}
}

/* Past what has just been sent. */
static void move_on(struct receiver *r)
{
	hook_batch_release(&r->batch);
	if (r->is_pulls) {
		drop_pulls(r, r->n_sent_pulls);
		receiver_look(r, 0);
		return;
	}
	r->next = r->upto + 1;
	receiver_look(r, r->upto);
}

static void delivered(struct receiver *r)
{
	metric_add(METRIC_NOTIFICATIONS_SENT, (int64_t)r->batch.n, 0, 0, 0);
	if (r->failures)
		log_info("webhook %s: it takes events again", r->name);
	r->failures = 0;
	r->losing = false;
	if (r->batch_max == HOOK_BATCH_EVENTS)
		r->refusing = false;
	r->batch_max = MIN(r->batch_max * 2, HOOK_BATCH_EVENTS);
	move_on(r);
}

/*
 * Does this status speak of what was posted?  RFC 9110, 15.5: the 4xx class is
 * for "situations in which the client seems to have erred".  Then the same
 * events would be refused for ever, and all others wait behind them.
 *
 * Those of the list speak of who asks, where and when: nothing else would be
 * taken now either, and it is for somebody to mend.  The events wait.
 */
static bool refuses_events(unsigned status)
{
	switch (status) {
	case 401: /* who */
	case 402:
	case 403:
	case 407:
	case 404: /* where */
	case 405:
	case 421:
	case 408: /* when */
	case 423:
	case 425:
	case 429:
		return false;
	default:
		return status / 100 == 4;
	}
}

/* The others of the envelope may be welcome: it is halved until one event is
 * alone.  The size grows again with each success. */
static void refused(struct receiver *r, unsigned status)
{
	if (r->batch.n > 1) {
		r->batch_max = r->batch.n / 2;
		hook_batch_release(&r->batch);
		receiver_look(r, 0);
		return;
	}
	metric_inc(METRIC_NOTIFICATIONS_REFUSED, 0);
	if (!r->refusing)
		log_warn("webhook %s: it answered %u to an event, which is "
			 "dropped, as others are that it refuses",
			 r->name, status);
	r->refusing = true;
	move_on(r);
}

static void answered(void *arg, enum err err, unsigned status,
		     const char *body UNUSED, size_t len UNUSED,
		     const struct why *why)
{
	struct receiver *r = arg;
	char reason[80];

	r->errand = NULL;
	if (err) {
		failed(r, why->text);
	} else if (status / 100 == 2) {
		delivered(r);
	} else if (refuses_events(status)) {
		refused(r, status);
	} else {
		snprintf(reason, sizeof(reason), "it answered %u%s", status,
			 status / 100 == 3 ? "; redirects are not followed"
					   : "");
		failed(r, reason);
	}
}

/* ---- sending ---- */

static bool has_type(const struct conf_hook *conf)
{
	for (size_t i = 0; i < conf->headers.n; i++)
		if (strcasecmp(conf->headers.v[i].name, "Content-Type") == 0)
			return true;
	return false;
}

static char **make_headers(const struct conf_hook *conf, size_t *n)
{
	char **all = xcalloc(conf->headers.n + 1, sizeof(*all));

	*n = 0;
	if (!has_type(conf))
		all[(*n)++] = xstrdup("Content-Type: " HOOK_MEDIA_TYPE);
	for (size_t i = 0; i < conf->headers.n; i++)
		all[(*n)++] = xasprintf("%s: %s", conf->headers.v[i].name,
					conf->headers.v[i].value);
	return all;
}

static void free_headers(char **all, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		explicit_bzero(all[i], strlen(all[i]));
		free(all[i]);
	}
	free(all);
}

static void send_batch(struct receiver *r)
{
	const struct conf_hook *conf = receiver_conf(r);
	size_t n;
	char **headers = make_headers(conf, &n);
	struct errand_spec spec = {
	    .url = conf->url,
	    .headers = (const char *const *)headers,
	    .n_headers = n,
	    .post_body = r->batch.text.text,
	    .ca = conf->ca,
	    .insecure = conf->insecure,
	    .answer_max = ANSWER_MAX,
	    .timeout_ms = conf->timeout_ms,
	};
	struct caller *caller = mirror_caller(r->hooks->server->mirror);

	r->state = RECEIVER_SENDING;
	r->errand = errand_start(caller_dialer(caller), &spec, answered, r);
	free_headers(headers, n);
}

static void send_pulls(struct receiver *r)
{
	struct hook_pull *p;

	r->n_sent_pulls = 0;
	r->batch.max = r->batch_max;
	STAILQ_FOREACH (p, &r->pulls, link) {
		if (!hook_batch_add(&r->batch, p->text, p->len))
			break;
		r->n_sent_pulls++;
	}
	hook_batch_end(&r->batch);
	r->is_pulls = true;
	send_batch(r);
}

/* ---- what the queue has ---- */

static void note_lost(struct receiver *r, uint64_t lost)
{
	if (!lost)
		return;
	metric_add(METRIC_NOTIFICATIONS_LOST, (int64_t)lost, 0, 0, 0);
	if (!r->losing)
		log_error("webhook %s: the queue is full "
			  "(notifications.queue_max): the oldest events are "
			  "lost, %" PRIu64 " so far",
			  r->name, lost);
	r->losing = true;
}

void receiver_looked(struct receiver *r, struct look_result *res)
{
	r->next = res->next;
	note_lost(r, res->lost);
	if (res->err) {
		failed(r, "the queue of events cannot be read or written");
	} else if (res->batch.n) {
		r->batch = res->batch;
		res->batch = (struct hook_batch){0};
		r->upto = res->upto;
		r->is_pulls = false;
		send_batch(r);
	} else if (res->upto) { /* none of them was for it */
		r->next = res->upto + 1;
		receiver_look(r, res->upto);
	} else if (r->n_pulls) {
		send_pulls(r);
	} else if (r->again) {
		receiver_look(r, 0);
	} else {
		r->state = RECEIVER_IDLE;
	}
}

void receiver_add_pull(struct receiver *r, const char *text, size_t len)
{
	struct hook_pull *p;

	if (r->n_pulls == HOOK_PULLS_MAX) {
		metric_inc(METRIC_NOTIFICATIONS_DROPPED, 0);
		return;
	}
	p = xcalloc(1, sizeof(*p));
	p->text = xmemdup(text, len);
	p->len = len;
	STAILQ_INSERT_TAIL(&r->pulls, p, link);
	r->n_pulls++;
}

void receiver_wake(struct receiver *r)
{
	if (r->state == RECEIVER_IDLE)
		receiver_look(r, 0);
	else
		r->again = true;
}

/* ---- life ---- */

struct receiver *receiver_new(struct hooks *h, const char *name)
{
	struct receiver *r = xcalloc(1, sizeof(*r));

	r->hooks = h;
	r->name = xstrdup(name);
	r->batch_max = HOOK_BATCH_EVENTS;
	r->handle = loop_register(h->loop, r, RECEIVER_MAGIC);
	STAILQ_INIT(&r->pulls);
	timer_init(&r->timer, h->loop, send_again, r);
	LIST_INSERT_HEAD(&h->receivers, r, link);
	return r;
}

void receiver_free(struct receiver *r)
{
	LIST_REMOVE(r, link);
	loop_unregister(r->hooks->loop, &r->handle);
	errand_cancel(&r->errand);
	timer_release(&r->timer);
	drop_pulls(r, r->n_pulls);
	hook_batch_release(&r->batch);
	free(r->name);
	free(r);
}
