/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/hook_text.h"
#include "proxy/json_text.h"
#include "tests/unit/unit.h"

#include <jansson.h>

static const struct hook_request client = {
    .id = "0000-7",
    .addr = "192.0.2.1:4711",
    .host = "reg.lan:5000",
    .method = "PUT",
    .useragent = "docker/\"20\"\t\xc3",
    .source = "box:5000",
    .instance = "i-1",
};

static char *event(const struct hook_request *from,
		   const struct hook_target *target)
{
	struct hook_origin o;
	size_t len;
	char *text;

	hook_origin_init(&o, from);
	text = hook_event_text(&o, target, &len);
	hook_origin_release(&o);
	CHECK(strlen(text) == len);
	return text;
}

static struct digest digest_a(void)
{
	struct digest dg;

	digest_of(DIGEST_SHA256, "a", 1, &dg);
	return dg;
}

#define A                                                                      \
	"sha256:"                                                              \
	"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"

static void a_push_has_every_field(void)
{
	struct digest dg = digest_a();
	struct hook_target t = {
	    .action = CONF_EVENT_PUSH,
	    .repo = "team/app",
	    .tag = "v1",
	    .media_type = "application/vnd.oci.image.manifest.v1+json",
	    .dg = &dg,
	    .has_size = true,
	    .size = 1234,
	};
	char *text = event(&client, &t);
	const char *tail = strstr(text, "\"action\"");

	CHECK(strncmp(text, "push team/app\n{\"id\":\"", 21) == 0);
	CHECK_STR(
	    tail,
	    "\"action\":\"push\",\"target\":{"
	    "\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
	    "\"digest\":\"" A "\",\"size\":1234,\"length\":1234,"
	    "\"repository\":\"team/app\","
	    "\"url\":\"http://reg.lan:5000/v2/team/app/manifests/" A "\","
	    "\"tag\":\"v1\"},"
	    "\"request\":{\"id\":\"0000-7\",\"addr\":\"192.0.2.1:4711\","
	    "\"host\":\"reg.lan:5000\",\"method\":\"PUT\","
	    "\"useragent\":\"docker/\\u002220\\u0022\\u0009\\u00c3\"},"
	    "\"actor\":{},"
	    "\"source\":{\"addr\":\"box:5000\",\"instanceID\":\"i-1\"}}");
	free(text);
}

static void what_says_nothing_is_left_out(void)
{
	struct hook_request from = client;
	struct hook_target t = {
	    .action = CONF_EVENT_DELETE,
	    .repo = "a",
	    .tag = "v1",
	};
	char *text;

	from.host = "";
	from.useragent = "";
	from.actor = "ann";
	text = event(&from, &t);
	CHECK_STR(strstr(text, "\"action\""),
		  "\"action\":\"delete\",\"target\":{\"repository\":\"a\","
		  "\"tag\":\"v1\"},"
		  "\"request\":{\"id\":\"0000-7\",\"addr\":\"192.0.2.1:4711\","
		  "\"method\":\"PUT\",\"useragent\":\"\"},"
		  "\"actor\":{\"name\":\"ann\"},"
		  "\"source\":{\"addr\":\"box:5000\",\"instanceID\":\"i-1\"}}");
	free(text);
}

static void a_mount_tells_where_from_and_a_blob_where(void)
{
	struct hook_request from = client;
	struct digest dg = digest_a();
	struct hook_target t = {
	    .action = CONF_EVENT_MOUNT,
	    .repo = "b",
	    .from = "a",
	    .dg = &dg,
	    .is_blob = true,
	};
	char *text;

	from.https = true;
	text = event(&from, &t);
	CHECK(strstr(text,
		     "\"target\":{\"digest\":\"" A "\","
		     "\"repository\":\"b\",\"fromRepository\":\"a\","
		     "\"url\":\"https://reg.lan:5000/v2/b/blobs/" A "\"}"));
	free(text);
}

/* As strict receivers read it. */
static void it_is_json_whatever_the_client_sends(void)
{
	struct hook_request from = client;
	struct hook_target t = {.action = CONF_EVENT_PULL, .repo = "a"};
	char agent[256];
	json_t *root;
	char *text;

	for (int i = 0; i < 255; i++)
		agent[i] = (char)(i + 1);
	agent[255] = '\0';
	from.useragent = agent;
	text = event(&from, &t);
	root = json_loads(strchr(text, '\n') + 1, 0, NULL);
	CHECK(root != NULL);
	CHECK(strlen(json_string_value(json_object_get(
		  json_object_get(root, "request"), "useragent"))) > 255);
	json_decref(root);
	free(text);
}

static void ids_and_times_are_of_their_form(void)
{
	struct hook_target t = {.action = CONF_EVENT_PULL, .repo = "a"};
	struct hook_origin o;
	const char *id, *now;
	char a[UUID_TEXT_SIZE], b[UUID_TEXT_SIZE];
	json_t *root;
	size_t len;
	char *text;

	hook_origin_init(&o, &client);
	text = hook_event_text(&o, &t, &len);
	root = json_loads(strchr(text, '\n') + 1, 0, NULL);
	id = json_string_value(json_object_get(root, "id"));
	now = json_string_value(json_object_get(root, "timestamp"));
	CHECK(strlen(id) == 36 && id[14] == '4' && strchr("89ab", id[19]));
	CHECK(strlen(now) == 30 && now[10] == 'T' && now[19] == '.' &&
	      now[29] == 'Z');
	CHECK(strcmp(uuid_text(a), uuid_text(b)) != 0);
	json_decref(root);
	free(text);
	hook_origin_release(&o);
}

static const char *line(const char *text)
{
	static char out[300];
	enum conf_event action;
	const char *rest;
	char repo[16];
	size_t len;

	if (!hook_event_line(text, strlen(text), &action, repo, sizeof(repo),
			     &rest, &len))
		return "none";
	snprintf(out, sizeof(out), "%d %s %.*s", (int)action, repo, (int)len,
		 rest);
	return out;
}

static void the_line_tells_who_wants_it(void)
{
	CHECK_STR(line("pull a/b\n{}"), "1 a/b {}");
	CHECK_STR(line("push a\n{\n}"), "2 a {\n}");
	CHECK_STR(line("delete a\n"), "4 a ");
	CHECK_STR(line("mount a\n{}"), "8 a {}");
	CHECK_STR(line("push 123456789012345\n{}"), "2 123456789012345 {}");
	CHECK_STR(line("push 1234567890123456\n{}"), "none");
	CHECK_STR(line("puss a\n{}"), "none");
	CHECK_STR(line("push a"), "none");
	CHECK_STR(line("push\n{} "), "none");
	CHECK_STR(line(""), "none");
}

static void pauses_double_up_to_the_longest(void)
{
	CHECK(hook_pause_ms(1, 100, 1000) == 100);
	CHECK(hook_pause_ms(2, 100, 1000) == 200);
	CHECK(hook_pause_ms(4, 100, 1000) == 800);
	CHECK(hook_pause_ms(5, 100, 1000) == 1000);
	CHECK(hook_pause_ms(4000000000u, 100, 1000) == 1000);
	CHECK(hook_pause_ms(4000000000u, 1, UINT64_MAX) == UINT64_MAX);
	CHECK(hook_pause_ms(1, 100, 100) == 100);
}

int main(void)
{
	RUN(a_push_has_every_field);
	RUN(what_says_nothing_is_left_out);
	RUN(a_mount_tells_where_from_and_a_blob_where);
	RUN(it_is_json_whatever_the_client_sends);
	RUN(ids_and_times_are_of_their_form);
	RUN(the_line_tells_who_wants_it);
	RUN(pauses_double_up_to_the_longest);
	return unit_done();
}
