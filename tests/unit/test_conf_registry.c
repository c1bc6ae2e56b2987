/* SPDX-License-Identifier: Apache-2.0 */
/* The options of the registry: pushes, pages, receivers of events. */
#include "proxy/conf.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/unit.h"

static struct conf *load(const char *text)
{
	struct conf *conf = NULL;
	struct why why = {""};

	if (conf_load_text("F", text, strlen(text), NULL, &conf, NULL, &why) !=
	    ERR_OK)
		fprintf(stderr, "%s\n", why.text);
	CHECK(conf);
	return conf;
}

static void defaults_are_closed(void)
{
	struct conf *conf = load("{}");

	CHECK(conf->claim == CONF_CLAIM_LOOPBACK);
	CHECK(conf->anonymous == CONF_MAY_PULL);
	CHECK(conf->delete_hosted);
	CHECK(conf->immutable_tags.n == 0 && conf->allow_sparse.n == 0);
	CHECK(!conf_tag_is_immutable(conf, "a", "v1"));
	CHECK(!conf_is_sparse(conf, "a"));
	CHECK(conf->uploads.expire_ms == UINT64_C(7) * 86400 * 1000);
	CHECK(conf->uploads.memory_bytes == MIB);
	CHECK(conf->collect.grace_ms == 3600 * 1000);
	CHECK(conf->collect.interval_ms == 60 * 1000);
	CHECK(conf->cors.origins.n == 0 && !conf->cors.credentials);
	CHECK(!conf->search.hub);
	CHECK(conf->notifications.queue_max == 100000);
	CHECK(conf->notifications.endpoints.n == 0);
	conf_unref(&conf);
}

static void words_become_bits(void)
{
	struct conf *conf = load("{\"claim\": \"push\", \"delete\": false, "
				 "\"anonymous\": [\"delete\", \"push\", "
				 "\"push\"]}");

	CHECK(conf->claim == CONF_CLAIM_PUSH && !conf->delete_hosted);
	CHECK(conf->anonymous == (CONF_MAY_PUSH | CONF_MAY_DELETE));
	conf_unref(&conf);

	conf = load("{\"anonymous\": []}");
	CHECK(conf->anonymous == 0);
	conf_unref(&conf);
}

static void rules_go_by_patterns(void)
{
	struct conf *conf =
	    load("{\"immutable_tags\": [{\"repo\": \"team/**\", \"tags\": "
		 "\"v*\"}, {\"repo\": \"one\", \"tags\": \"*\"}], "
		 "\"allow_sparse\": [\"conformance/**\"]}");

	CHECK(conf_tag_is_immutable(conf, "team/a/b", "v1"));
	CHECK(!conf_tag_is_immutable(conf, "team/a/b", "latest"));
	CHECK(!conf_tag_is_immutable(conf, "team", "v1"));
	CHECK(conf_tag_is_immutable(conf, "one", "latest"));
	CHECK(conf_is_sparse(conf, "conformance/repo1"));
	CHECK(!conf_is_sparse(conf, "conformance"));
	conf_unref(&conf);
}

static void origins_are_in_the_form_that_browsers_send(void)
{
	struct conf *conf =
	    load("{\"cors\": {\"credentials\": true, \"origins\": "
		 "[\"HTTPS://UI.example:443\", \"http://[::1]:8080\", "
		 "\"http://h:80\"]}}");

	CHECK(conf->cors.origins.n == 3 && conf->cors.credentials);
	CHECK_STR(conf->cors.origins.v[0], "https://ui.example");
	CHECK_STR(conf->cors.origins.v[1], "http://[::1]:8080");
	CHECK_STR(conf->cors.origins.v[2], "http://h");
	CHECK(conf->warnings.n == 0);
	conf_unref(&conf);

	conf = load("{\"cors\": {\"origins\": [\"*\"]}}");
	CHECK_STR(conf->cors.origins.v[0], "*");
	CHECK(conf->warnings.n == 1);
	conf_unref(&conf);
}

#define HOOKS(text) "{\"notifications\": {\"endpoints\": [" text "]}}"
#define HOOK(text)                                                             \
	HOOKS("{\"name\": \"n\", \"url\": \"https://h/p\", " text "}")

static void receivers_have_defaults(void)
{
	struct conf *conf =
	    load(HOOKS("{\"name\": \"n\", \"url\": \"https://H:443\"}"));
	const struct conf_hook *hook = conf->notifications.endpoints.v;

	CHECK(conf->notifications.endpoints.n == 1);
	CHECK_STR(hook->name, "n");
	CHECK_STR(hook->url, "https://h/");
	CHECK(hook->headers.n == 0 && hook->repositories.n == 0);
	CHECK(hook->actions ==
	      (CONF_EVENT_PUSH | CONF_EVENT_DELETE | CONF_EVENT_MOUNT));
	CHECK(hook->timeout_ms == 5000 && hook->retry_min_ms == 1000);
	CHECK(hook->retry_max_ms == 300000);
	CHECK(conf_hook_wants(hook, "any/thing"));
	CHECK(conf->warnings.n == 0);
	conf_unref(&conf);
}

static void everything_of_a_receiver_is_read(void)
{
	struct conf *conf = load(HOOKS(
	    "{\"name\": \"a\", \"url\": "
	    "\"http://127.0.0.1:9/p/q?token=s3cret\","
	    "\"headers\": {\"Authorization\": \"Bearer s3cret\", \"//\": 1, "
	    "\"X-A\": [\"1\", \"2\"]}, \"actions\": [\"pull\"], "
	    "\"repositories\": [\"team/**\"], \"timeout\": \"1s\", "
	    "\"retry_min\": \"2ms\", \"retry_max\": \"3ms\"}, "
	    "{\"name\": \"b\", \"url\": \"https://h\"}"));
	const struct conf_hook *hook = conf->notifications.endpoints.v;

	CHECK(conf->notifications.endpoints.n == 2);
	CHECK_STR(hook->url, "http://127.0.0.1:9/p/q?token=s3cret");
	CHECK(hook->headers.n == 3);
	CHECK_STR(hook->headers.v[0].name, "Authorization");
	CHECK_STR(hook->headers.v[0].value, "Bearer s3cret");
	CHECK_STR(hook->headers.v[1].value, "1");
	CHECK_STR(hook->headers.v[2].name, "X-A");
	CHECK_STR(hook->headers.v[2].value, "2");
	CHECK(hook->actions == CONF_EVENT_PULL);
	CHECK(conf_hook_wants(hook, "team/a"));
	CHECK(!conf_hook_wants(hook, "other/a"));
	CHECK(hook->timeout_ms == 1000 && hook->retry_min_ms == 2 &&
	      hook->retry_max_ms == 3);
	CHECK(conf->warnings.n == 0);
	conf_unref(&conf);
}

/* The first error of a text is `want`, and none repeats a secret. */
static void check_error(const char *text, const char *want)
{
	struct conf_strings errors = {0};
	struct conf *conf = NULL;
	struct why why = {""};

	CHECK(conf_load_text("F", text, strlen(text), NULL, &conf, &errors,
			     &why) == ERR_INVALID);
	CHECK(!conf);
	CHECK_STR(why.text, want);
	for (size_t i = 0; i < errors.n; i++)
		CHECK(!strstr(errors.v[i], "s3cret"));
	conf_strings_release(&errors);
}

static void errors_say_what_was_expected(void)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
	    {"{\"claim\": \"all\"}",
	     "F: claim: expected one of \"loopback\", \"push\", \"none\", "
	     "found \"all\""},
	    {"{\"anonymous\": \"pull\"}",
	     "F: anonymous: expected a list of \"pull\", \"push\", "
	     "\"delete\", found \"pull\""},
	    {"{\"anonymous\": [\"pull\", \"pussh\"]}",
	     "F: anonymous[1]: expected one of \"pull\", \"push\", "
	     "\"delete\", found \"pussh\""},
	    {"{\"immutable_tags\": [\"v*\"]}",
	     "F: immutable_tags[0]: expected {\"repo\": ..., \"tags\": ...}, "
	     "found \"v*\""},
	    {"{\"immutable_tags\": [{\"repo\": \"a\"}]}",
	     "F: immutable_tags[0].tags: expected a tag pattern such as "
	     "\"v*\""},
	    {"{\"immutable_tags\": [{\"tags\": \"a\"}]}",
	     "F: immutable_tags[0].repo: expected a name pattern"},
	    {"{\"immutable_tags\": [{\"repo\": \"a\", \"tags\": \"a\", "
	     "\"tag\": \"a\"}]}",
	     "F: immutable_tags[0]: expected the keys \"repo\" and \"tags\", "
	     "found \"tag\""},
	    {"{\"uploads\": {\"memory\": \"64M\"}}",
	     "F: uploads.memory: expected no more than cache.memory.total "
	     "(33554432), found 67108864"},
	    {"{\"cors\": {\"origins\": [\"ui.example\"]}}",
	     "F: cors.origins[0]: expected an origin such as "
	     "\"https://ui.example\" without a slash at its end, or \"*\", "
	     "found \"ui.example\""},
	    {"{\"cors\": {\"origins\": [\"https://ui.example/\"]}}",
	     "F: cors.origins[0]: expected an origin such as "
	     "\"https://ui.example\" without a slash at its end, or \"*\", "
	     "found \"https://ui.example/\""},
	    {"{\"cors\": {\"origins\": [\"*\"], \"credentials\": true}}",
	     "F: cors.origins: expected listed origins with "
	     "cors.credentials, found \"*\""},
	    {"{\"notifications\": {\"endpoints\": {}}}",
	     "F: notifications.endpoints: expected a list of objects, found "
	     "an object"},
	    {HOOKS("7"), "F: notifications.endpoints[0]: expected an object, "
			 "found 7"},
	    {HOOKS("{\"url\": \"http://h\"}"),
	     "F: notifications.endpoints[0]: expected \"name\" and \"url\", "
	     "found no name"},
	    {HOOKS("{\"name\": \"n\"}"),
	     "F: notifications.endpoints[0]: expected \"name\" and \"url\", "
	     "found no url"},
	    {HOOK("\"heders\": {}"),
	     "F: notifications.endpoints[0].heders: expected a known option "
	     "(notifications.endpoints[0].headers?), found this key"},
	    {HOOK("\"actions\": [\"pul\"]"),
	     "F: notifications.endpoints[0].actions[0]: expected one of "
	     "\"pull\", \"push\", \"delete\", \"mount\", found \"pul\""},
	    {HOOK("\"retry_min\": \"9m\""),
	     "F: notifications.endpoints[0]: expected retry_min of no more "
	     "than retry_max (300000ms), found 540000ms"},
	    {HOOK("\"insecure\": 1"),
	     "F: notifications.endpoints[0].insecure: expected true or false, "
	     "found 1"},
	    {HOOKS("{\"name\": \"n\", \"url\": \"http://h\"}, "
		   "{\"name\": \"n\", \"url\": \"http://i\"}"),
	     "F: notifications.endpoints[1]: expected each name once, found "
	     "\"n\" again"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check_error(rows[i].text, rows[i].want);
}

static void secrets_of_receivers_are_in_no_message(void)
{
	static const char *const urls[] = {
	    "\"htp://h/?s3cret\"", "\"http://h/?s3cret#x\"",
	    "\"http://u:s3cret@h/\"", "\"http://h/?s3cret x\"", "[\"s3cret\"]"};
	static const char *const headers[] = {
	    "\"s3cret\"",
	    "{\"X-A\": {\"s3cret\": 1}}",
	    "{\"X-A\": \" s3cret\"}",
	    "{\"X-A\": \"s3cret\\r\\nX-B: 1\"}",
	    "{\"X-A\": [\"s3cret\", 7]}",
	    "{\"Host\": \"s3cret\"}",
	    "{\"Content-length\": \"s3cret\"}",
	    "{\"X A\": \"s3cret\"}"};
	char text[300];

	for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
		snprintf(text, sizeof(text),
			 HOOKS("{\"name\": \"n\", \"url\": %s}"), urls[i]);
		check_error(text,
			    "F: notifications.endpoints[0].url: expected a URL "
			    "such as \"https://host:port/path?query\", found "
			    "another value");
	}
	for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
		struct conf *conf = NULL;
		struct why why = {""};

		snprintf(text, sizeof(text), HOOK("\"headers\": %s"),
			 headers[i]);
		CHECK(conf_load_text("F", text, strlen(text), NULL, &conf, NULL,
				     &why) == ERR_INVALID);
		CHECK(strstr(why.text, "[0].headers: expected "));
		CHECK(!strstr(why.text, "s3cret"));
	}
}

static void exposed_secrets_are_warned_of(void)
{
	char path[] = "/tmp/entrepot-conf-XXXXXX";
	static const char text[] =
	    HOOKS("{\"name\": \"n\", \"url\": \"http://h/\", "
		  "\"headers\": {\"X-A\": \"s3cret\"}}");
	struct conf *conf = NULL;
	struct why why = {""};
	int fd = mkstemp(path);

	CHECK(write(fd, text, sizeof(text) - 1) == sizeof(text) - 1);
	CHECK(fchmod(fd, 0644) == 0);
	setenv("HOME", "/home/u", 1);
	CHECK(conf_load(path, NULL, &conf, NULL, &why) == ERR_OK);
	CHECK(conf && conf->warnings.n == 2);
	for (size_t i = 0; conf && i < conf->warnings.n; i++) {
		CHECK(
		    strstr(conf->warnings.v[i], "notifications.endpoints[0]"));
		CHECK(!strstr(conf->warnings.v[i], "s3cret"));
	}
	conf_unref(&conf);
	unlink(path);
	close(fd);
}

int main(void)
{
	unsetenv("XDG_STATE_HOME");
	setenv("HOME", "/home/u", 1);
	RUN(defaults_are_closed);
	RUN(words_become_bits);
	RUN(rules_go_by_patterns);
	RUN(origins_are_in_the_form_that_browsers_send);
	RUN(receivers_have_defaults);
	RUN(everything_of_a_receiver_is_read);
	RUN(errors_say_what_was_expected);
	RUN(secrets_of_receivers_are_in_no_message);
	RUN(exposed_secrets_are_warned_of);
	return unit_done();
}
