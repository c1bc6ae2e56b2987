/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/hook_text.h"

#include "proxy/json_text.h"

#include <sys/random.h>
#include <time.h>

char *uuid_text(char out[UUID_TEXT_SIZE])
{
	uint8_t b[16];

	if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
		abort(); /* never for so few bytes */
	b[6] = (b[6] & 0x0f) | 0x40;
	b[8] = (b[8] & 0x3f) | 0x80;
	snprintf(out, UUID_TEXT_SIZE,
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
		 "%02x%02x%02x%02x%02x%02x",
		 b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9],
		 b[10], b[11], b[12], b[13], b[14], b[15]);
	return out;
}

/* RFC 3339 with nanoseconds, in UTC. */
static void time_text(char *out, size_t size)
{
	struct timespec ts;
	struct tm tm;
	size_t len;

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	len = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + len, size - len, ".%09ldZ", ts.tv_nsec);
}

/* ---- what a request's events share ---- */

static const char *filled(const char *text)
{
	return text && *text ? text : NULL;
}

void hook_origin_init(struct hook_origin *o, const struct hook_request *r)
{
	struct list_text t = {0};

	json_text_raw(&t, "\"request\":{");
	json_text_field(&t, "id", r->id);
	json_text_field(&t, "addr", filled(r->addr));
	json_text_field(&t, "host", filled(r->host));
	json_text_field(&t, "method", r->method);
	json_text_field(&t, "useragent", r->useragent);
	json_text_raw(&t, "},\"actor\":{");
	json_text_field(&t, "name", filled(r->actor));
	json_text_raw(&t, "},\"source\":{");
	json_text_field(&t, "addr", filled(r->source));
	json_text_field(&t, "instanceID", filled(r->instance));
	json_text_raw(&t, "}");
	o->fields = xstrndup(t.text, t.len);
	list_text_release(&t);
	o->base =
	    filled(r->host)
		? xasprintf("%s://%s", r->https ? "https" : "http", r->host)
		: NULL;
}

void hook_origin_release(struct hook_origin *o)
{
	free(o->fields);
	free(o->base);
	memset(o, 0, sizeof(*o));
}

/* ---- one event ---- */

static const struct {
	enum conf_event action;
	const char *word;
} actions[] = {
    {CONF_EVENT_PULL, "pull"},
    {CONF_EVENT_PUSH, "push"},
    {CONF_EVENT_DELETE, "delete"},
    {CONF_EVENT_MOUNT, "mount"},
};

static const char *action_word(enum conf_event action)
{
	for (size_t i = 0; i < ARRAY_LEN(actions); i++)
		if (actions[i].action == action)
			return actions[i].word;
	assert(!"no such event");
	return "";
}

static void add_url(struct list_text *t, const struct hook_origin *o,
		    const struct hook_target *target, const char *digest)
{
	char *url;

	/* What has been deleted is not to be had. */
	if (!o->base || !digest || target->action == CONF_EVENT_DELETE)
		return;
	url = xasprintf("%s/v2/%s/%s/%s", o->base, target->repo,
			target->is_blob ? "blobs" : "manifests", digest);
	json_text_field(t, "url", url);
	free(url);
}

static void add_target(struct list_text *t, const struct hook_origin *o,
		       const struct hook_target *target)
{
	char text[DIGEST_TEXT_MAX];
	const char *digest = target->dg ? digest_text(target->dg, text) : NULL;

	json_text_raw(t, ",\"target\":{");
	json_text_field(t, "mediaType", filled(target->media_type));
	json_text_field(t, "digest", digest);
	if (target->has_size) {
		json_text_number(t, "size", target->size);
		json_text_number(t, "length", target->size);
	}
	json_text_field(t, "repository", target->repo);
	json_text_field(t, "fromRepository", filled(target->from));
	add_url(t, o, target, digest);
	json_text_field(t, "tag", filled(target->tag));
	json_text_raw(t, "},");
}

char *hook_event_text(const struct hook_origin *o,
		      const struct hook_target *target, size_t *len)
{
	const char *action = action_word(target->action);
	struct list_text t = {0};
	char id[UUID_TEXT_SIZE], now[40];

	time_text(now, sizeof(now));
	json_text_raw(&t, action);
	json_text_raw(&t, " ");
	json_text_raw(&t, target->repo);
	json_text_raw(&t, "\n{");
	json_text_field(&t, "id", uuid_text(id));
	json_text_field(&t, "timestamp", now);
	json_text_field(&t, "action", action);
	add_target(&t, o, target);
	json_text_raw(&t, o->fields);
	json_text_raw(&t, "}");
	*len = t.len;
	list_text_add(&t, "", 1);
	return t.text;
}

bool hook_event_line(const char *text, size_t len, enum conf_event *action,
		     char *repo, size_t size, const char **rest,
		     size_t *rest_len)
{
	const char *end = len ? memchr(text, '\n', len) : NULL;
	const char *space =
	    end ? memchr(text, ' ', (size_t)(end - text)) : NULL;

	if (!space || (size_t)(end - space) > size)
		return false;
	snprintf(repo, size, "%.*s", (int)(end - space - 1), space + 1);
	*rest = end + 1;
	*rest_len = len - (size_t)(*rest - text);
	for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
		const char *word = actions[i].word;

		*action = actions[i].action;
		if (strlen(word) == (size_t)(space - text) &&
		    memcmp(word, text, strlen(word)) == 0)
			return true;
	}
	return false;
}

uint64_t hook_pause_ms(unsigned failures, uint64_t min_ms, uint64_t max_ms)
{
	uint64_t pause_ms = MAX(min_ms, 1);

	while (--failures > 0 && pause_ms < max_ms)
		pause_ms = pause_ms > max_ms / 2 ? max_ms : pause_ms * 2;
	return MIN(pause_ms, max_ms);
}
