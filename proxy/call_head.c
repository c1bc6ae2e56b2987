/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/call_int.h"

#include "proxy/http_date.h"
#include "proxy/http_range.h"

#include <time.h>

/* A week; who waits has limits of his own. */
#define RETRY_AFTER_MAX_S (7 * 24 * 3600)

static bool field(const struct fetch_head *h, const char *name,
		  struct span *out)
{
	const char *value = fetch_head_field(h, name, 0);

	if (!value)
		return false;
	*out = span_trim(span_of(value));
	return true;
}

uint64_t call_head_length(const struct fetch_head *h)
{
	struct span value;
	uint64_t len;

	if (fetch_head_field(h, "Transfer-Encoding", 0) ||
	    !field(h, "Content-Length", &value) || span_uint(value, &len) ||
	    len > INT64_MAX)
		return CALL_LENGTH_UNKNOWN;
	return len;
}

bool call_head_digest(const struct fetch_head *h, struct digest *out)
{
	struct span value;

	return field(h, "Docker-Content-Digest", &value) &&
	       digest_parse(value.ptr, value.len, out) == ERR_OK;
}

void call_head_challenge(const struct fetch_head *h, struct http_challenge *ch)
{
	const char *value;

	http_challenge_init(ch);
	for (unsigned n = 0;
	     (value = fetch_head_field(h, "WWW-Authenticate", n)); n++)
		http_challenge_add(ch, span_of(value));
}

bool call_head_quota(const struct fetch_head *h, struct upstream_quota *q)
{
	struct span value;
	uint64_t window;

	memset(q, 0, sizeof(*q));
	if (!field(h, "ratelimit-limit", &value) ||
	    http_ratelimit(value, &q->limit, &q->window_s) ||
	    !field(h, "ratelimit-remaining", &value) ||
	    http_ratelimit(value, &q->remaining, &window))
		return false;
	q->known = true;
	if (field(h, "docker-ratelimit-source", &value))
		snprintf(q->source, sizeof(q->source), "%.*s",
			 (int)MIN(value.len, sizeof(q->source)), value.ptr);
	return true;
}

static void read_range(const struct fetch_head *h, struct call_head *out)
{
	struct http_content_range range;
	struct span value;

	out->range_total = CALL_LENGTH_UNKNOWN;
	if ((out->status != 206 && out->status != 416) ||
	    !field(h, "Content-Range", &value) ||
	    http_content_range_parse(value, &range) ||
	    range.unsatisfied != (out->status == 416))
		return;
	out->has_range = true;
	if (range.has_total)
		out->range_total = range.total;
	if (!range.unsatisfied) {
		out->range_first = range.first;
		out->range_last = range.last;
	}
}

static void read_next(const struct fetch_head *h, struct head_room *room)
{
	const char *value;
	struct span target;

	for (unsigned n = 0; (value = fetch_head_field(h, "Link", n)); n++)
		if (http_link_find(span_of(value), "next", &target)) {
			room->next = xstrndup(target.ptr, target.len);
			return;
		}
}

void call_head_read(const struct fetch_head *h, struct call_head *out,
		    struct head_room *room)
{
	struct span value;
	uint32_t seconds;

	memset(out, 0, sizeof(*out));
	memset(room, 0, sizeof(*room));
	out->status = fetch_head_status(h);
	if (field(h, "Content-Type", &value) &&
	    http_media_type(value, room->content_type,
			    sizeof(room->content_type)))
		room->content_type[0] = '\0';
	out->content_type = room->content_type;
	out->length = call_head_length(h);
	read_range(h, out);
	read_next(h, room);
	out->next = room->next;
	out->filters_applied = fetch_head_field(h, "OCI-Filters-Applied", 0);
	if (field(h, "Retry-After", &value) &&
	    !http_retry_after(value, time(NULL), RETRY_AFTER_MAX_S, &seconds)) {
		out->has_retry_after = true;
		out->retry_after_s = seconds;
	}
}

void head_room_release(struct head_room *room)
{
	free(room->next);
	room->next = NULL;
}

/* ---- URLs ---- */

char *call_scope(const char *prefix, const char *repo)
{
	return xasprintf("repository:%s%s%s:pull", prefix ? prefix : "",
			 prefix ? "/" : "", repo);
}

char *call_url_text(const struct call *c, const char *endpoint,
		    const char *prefix)
{
	static const char *const kinds[] = {
	    [CALL_MANIFEST] = "manifests/",
	    [CALL_BLOB] = "blobs/",
	    [CALL_TAGS] = "tags/list",
	    [CALL_REFERRERS] = "referrers/",
	};

	return xasprintf(
	    "%s/v2/%s%s%s/%s%s%s%s", endpoint, prefix ? prefix : "",
	    prefix ? "/" : "", c->repo, kinds[c->what],
	    c->what == CALL_TAGS ? "" : c->reference,
	    c->query && *c->query ? "?" : "", c->query ? c->query : "");
}
