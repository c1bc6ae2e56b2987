/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a pass makes of the upstream's answer.
 *
 *   call: head ─► the answer to the request; data ─► pieces
 *   a break ─► call again, from the next byte, a bounded number of times
 */
#include "proxy/pass_int.h"
#include "proxy/server.h"

/* ---- heads ---- */

/* The size is known: now the last bytes can be asked for. */
static bool probed(struct pass *p, uint64_t size)
{
	if (size == CALL_LENGTH_UNKNOWN)
		return false;
	p->net = size - MIN(p->range.suffix, size);
	pass_opened(p, size);
	return false;
}

/* The answer's bytes begin at `at`; those before the next wanted one are
 * skipped (a server that does not know ranges). */
static bool open_body(struct pass *p, uint64_t at, uint64_t size)
{
	if (size == CALL_LENGTH_UNKNOWN || at > p->net ||
	    !pass_opened(p, size)) {
		p->status = 0; /* no refusal, but no answer either */
		return false;
	}
	p->at = at;
	return true;
}

static bool pass_head(void *arg, const struct call_head *h)
{
	struct pass *p = arg;
	uint64_t size = h->status == 200 ? h->length : h->range_total;

	p->status = h->status;
	p->retry_after_s = h->has_retry_after ? h->retry_after_s : 0;
	if (h->status != 200 && !h->has_range)
		return false;
	if (h->status == 416 && size != CALL_LENGTH_UNKNOWN && !p->opened) {
		pass_opened(p, size); /* whose reply is a 416, too */
		return false;
	}
	if (h->status != 200 && h->status != 206)
		return false;
	if (p->probing)
		return probed(p, size);
	return open_body(p, h->status == 200 ? 0 : h->range_first, size);
}

/* ---- bytes ---- */

static void gather(struct pass *p, const uint8_t *buf, size_t len)
{
	while (len) {
		size_t n;

		if (!p->filling) {
			p->filling = piece_new(p, p->net, PIECE_BYTES);
			timer_set(&p->announce, p->conf->fetch.announce_ms);
		}
		n = MIN(len, PIECE_BYTES - p->filling->len);
		memcpy(p->filling->bytes + p->filling->len, buf, n);
		p->filling->len += n;
		p->net += n;
		buf += n;
		len -= n;
		if (p->filling->len == PIECE_BYTES)
			piece_send(p, false);
	}
}

static bool must_pause(struct pass *p)
{
	pthread_mutex_lock(&p->mu);
	p->paused = p->queued >= PASS_WINDOW_BYTES;
	pthread_mutex_unlock(&p->mu);
	return p->paused;
}

static enum fetch_take pass_data(void *arg, const void *buf, size_t len)
{
	struct pass *p = arg;
	const uint8_t *b = buf;
	size_t skip = (size_t)MIN(len, p->net - p->at);
	bool more = false;

	if (must_pause(p)) {
		piece_send(p, false);
		return FETCH_PAUSE;
	}
	p->at += len;
	b += skip;
	len -= skip;
	if (len > p->end - p->net) {
		len = (size_t)(p->end - p->net);
		more = true;
	}
	gather(p, b, len);
	return more ? FETCH_STOP : FETCH_TOOK;
}

/* ---- how it ended ---- */

static enum err refusal(struct pass *p, struct why *why)
{
	switch (p->status) {
	case 404:
		return why_set(why, ERR_NOT_FOUND,
			       "the blob is not in %s at %s", p->repo,
			       p->upstream);
	case 401:
	case 403:
	case 451:
		return why_set(why, ERR_DENIED,
			       "%s is private or does not exist at %s", p->repo,
			       p->upstream);
	case 429:
		return why_set(why, ERR_LIMITED, "%s limits our requests (429)",
			       p->upstream);
	default:
		return why_set(why, ERR_UNAVAILABLE,
			       "%s answered %u for a blob", p->upstream,
			       p->status);
	}
}

/* The call is over and not all has come. */
static void broke(struct pass *p, enum err err, const struct why *why)
{
	const struct conf_upstream *up = upstream_conf(p->up);

	piece_send(p, false);
	p->breaks = p->net > p->progress ? 1 : p->breaks + 1;
	p->progress = p->net;
	/* Who has had nothing yet can be told of an error. */
	if (!p->opened || err == ERR_CANCELED || p->breaks > up->retries)
		pass_fail(p, err, p->status, why);
	else
		timer_set(&p->retry, up->retry_min_ms);
}

static void pass_done(void *arg, enum err err, bool had_head,
		      const struct why *why)
{
	struct pass *p = arg;
	struct why ours = *why;

	(void)had_head;
	p->call = NULL;
	if (p->opened && p->net >= p->end) {
		piece_send(p, true);
		pass_end(p);
		return;
	}
	if (!err && p->probing && p->opened) {
		p->probing = false;
		pass_call(p);
		return;
	}
	if (!err && p->status && p->status != 200 && p->status != 206)
		err = refusal(p, &ours);
	else if (!err)
		err = why_set(&ours, ERR_UNAVAILABLE,
			      "%s ended a blob early, or answered another "
			      "range than it was asked for",
			      p->upstream);
	broke(p, err, &ours);
}

void pass_call(struct pass *p)
{
	static const struct call_events events = {
	    .head = pass_head,
	    .data = pass_data,
	    .done = pass_done,
	};
	char reference[DIGEST_TEXT_MAX];
	struct call_spec spec = {
	    .up = p->up,
	    .repo = p->repo,
	    .what = CALL_BLOB,
	    .reference = digest_text(&p->dg, reference),
	    .first = p->net,
	    .last = p->end == UINT64_MAX ? CALL_OPEN : p->end - 1,
	};

	p->status = 0;
	spec.ranged = p->net > 0 || spec.last != CALL_OPEN;
	if (p->range.shape == FLOW_SUFFIX && !p->opened) {
		/* Its size is asked for first: a suffix is no range of ours. */
		p->probing = true;
		spec.ranged = true;
		spec.first = spec.last = 0;
	}
	p->call = call_start(mirror_caller(p->mirror), &spec, &events, p);
}
