/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/conf.h"

#include "tests/unit/unit.h"

static void check_error(const char *text, const char *want)
{
	struct conf *conf = NULL;
	struct why why = {""};

	CHECK(conf_load_text("F", text, strlen(text), NULL, &conf, NULL,
			     &why) == ERR_INVALID);
	CHECK(!conf);
	CHECK_STR(why.text, want);
}

#define UP(text) "{\"upstreams\": {\"quay.io\": {" text "}}}"

static void errors_name_file_key_and_expectation(void)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
	    /* syntax */
	    {"", "F: line 1, column 0: expected JSON: unexpected token near "
		 "end of file"},
	    {"{\"a\": }", "F: line 1, column 7: expected JSON: "
			  "unexpected token"},
	    {"{} {}", "F: line 1, column 4: expected JSON: end of file "
		      "expected"},
	    {"[]", "F: expected an object, found a list"},
	    /* keys */
	    {"{\"lisen\": []}", "F: lisen: expected a known option (listen?), "
				"found this key"},
	    {"{\"max_bytes\": 1}",
	     "F: max_bytes: expected a known option (cache.max_bytes?), found "
	     "this key"},
	    {"{\"cache\": {\"max_byte\": 1}}",
	     "F: cache.max_byte: expected a known option (cache.max_bytes?), "
	     "found this key"},
	    {UP("\"chekc\": \"1m\""),
	     "F: upstreams.quay.io.chekc: expected a known option "
	     "(upstreams.quay.io.check?), found this key"},
	    {"{\"zzzzzz\": 1}",
	     "F: zzzzzz: expected a known option, found this key"},
	    {"{\"cache.max_bytes\": 1}",
	     "F: cache.max_bytes: expected one object inside another, found a "
	     "key with a dot"},
	    {"{\"data\": \"/a\", \"data\": \"/b\"}",
	     "F: data: expected each key once, found it again"},
	    {"{\"data\": \"/a\", \"d\\u0061ta\": \"/b\"}",
	     "F: data: expected each key once, found it again"},
	    {UP("\"tags\": [{\"match\": \"a\", \"match\": \"b\"}]"),
	     "F: upstreams.quay.io.tags[0].match: expected each key once, "
	     "found it again"},
	    {"{\"upstreams\": {\"quay.io\": {}, \"QUAY.io:443\": {}}}",
	     "F: upstreams.QUAY.io:443: expected each upstream once, found "
	     "quay.io again"},
	    {"{\"upstreams\": {\"a b\": {}}}",
	     "F: upstreams.a b: expected a host or host:port, found this key"},
	    {"{\"a\\nb\": 1}",
	     "F: a?b: expected a known option, found this key"},
	    /* types */
	    {"{\"cache\": 1}", "F: cache: expected an object, found 1"},
	    {"{\"cache\": {\"memory\": \"2M\"}}",
	     "F: cache.memory: expected an object, found \"2M\""},
	    {"{\"upstreams\": []}",
	     "F: upstreams: expected an object, found a list"},
	    {"{\"upstreams\": {\"quay.io\": null}}",
	     "F: upstreams.quay.io: expected an object, found null"},
	    {"{\"access_log\": 1}",
	     "F: access_log: expected true or false, found 1"},
	    {"{\"access_log\": \"true\"}",
	     "F: access_log: expected true or false, found \"true\""},
	    {"{\"log\": {\"level\": \"loud\"}}",
	     "F: log.level: expected one of \"error\", \"warn\", \"info\", "
	     "\"debug\", found \"loud\""},
	    {"{\"workers\": {\"sync\": 0}}",
	     "F: workers.sync: expected a whole number from 1 to 256, found "
	     "0"},
	    {"{\"workers\": {\"sync\": 1.5}}",
	     "F: workers.sync: expected a whole number from 1 to 256, found "
	     "1.5"},
	    {"{\"workers\": {\"data\": \"many\"}}",
	     "F: workers.data: expected a whole number from 1 to 256 or "
	     "\"auto\", found \"many\""},
	    {"{\"workers\": {\"sync\": \"auto\"}}",
	     "F: workers.sync: expected a whole number from 1 to 256, found "
	     "\"auto\""},
	    {"{\"cache\": {\"max_bytes\": \"10GB\"}}",
	     "F: cache.max_bytes: expected a size such as \"10G\" or a number "
	     "of bytes that is not 0 or \"unlimited\", found \"10GB\""},
	    {"{\"cache\": {\"min_free\": -1}}",
	     "F: cache.min_free: expected a size such as \"10G\" or a number "
	     "of bytes, found -1"},
	    {"{\"cache\": {\"manifest_max\": \"1K\"}}",
	     "F: cache.manifest_max: expected a size such as \"10G\" or a "
	     "number of bytes from 65536 to 67108864, found \"1K\""},
	    {UP("\"check\": 60"),
	     "F: upstreams.quay.io.check: expected a duration such as "
	     "\"250ms\", \"90s\", \"5m\", \"24h\" or \"always\" or \"never\", "
	     "found 60"},
	    {UP("\"connect\": \"0s\""),
	     "F: upstreams.quay.io.connect: expected a duration such as "
	     "\"250ms\", \"90s\", \"5m\", \"24h\" that is not 0, found "
	     "\"0s\""},
	    {UP("\"negative\": \"99999999999999999999s\""),
	     "F: upstreams.quay.io.negative: expected a duration such as "
	     "\"250ms\", \"90s\", \"5m\", \"24h\", found "
	     "\"99999999999999999999s\""},
	    /* texts */
	    {"{\"data\": \"relative\"}",
	     "F: data: expected an absolute path, or one that begins with "
	     "\"~/\", found \"relative\""},
	    {"{\"data\": null}",
	     "F: data: expected an absolute path, or one that begins with "
	     "\"~/\", found null"},
	    {UP("\"prefix\": \"/hub\""),
	     "F: upstreams.quay.io.prefix: expected a repository path such as "
	     "\"team/cache\", found \"/hub\""},
	    {UP("\"credential_helper\": \"../sh\""),
	     "F: upstreams.quay.io.credential_helper: expected the X of a "
	     "program docker-credential-X, found \"../sh\""},
	    {UP("\"proxy\": \"http://u:p@h\""),
	     "F: upstreams.quay.io.proxy: expected a proxy's URL (http, https, "
	     "socks5, socks5h) and no more or \"none\", "
	     "found a URL with a user"},
	    {UP("\"username\": \"u\", \"password\": \"\""),
	     "F: upstreams.quay.io.password: expected a text that is not "
	     "empty, found another value"},
	    /* lists */
	    {"{\"listen\": \"127.0.0.1:5000\"}",
	     "F: listen: expected a list of addresses, found "
	     "\"127.0.0.1:5000\""},
	    {"{\"listen\": [\"5000\"]}",
	     "F: listen[0]: expected an address and port such as "
	     "\"0.0.0.0:5000\" or \"[::]:5000\", found \"5000\""},
	    {"{\"listen\": [{\"adress\": \"0.0.0.0:1\"}]}",
	     "F: listen[0]: expected the keys \"address\" and \"mirror_of\", "
	     "found \"adress\""},
	    {"{\"listen\": [{}]}",
	     "F: listen[0]: expected \"address\": an address and port such as "
	     "\"0.0.0.0:5000\" or \"[::]:5000\", found none"},
	    {"{\"listen\": [{\"address\": \"0.0.0.0:1\", \"mirror_of\": 5}]}",
	     "F: listen[0]: expected \"mirror_of\": the name of an upstream, "
	     "found 5"},
	    {"{\"listen\": []}",
	     "F: listen: expected at least one address, found none"},
	    {"{\"metrics\": {\"listen\": [{\"address\": \"0.0.0.0:1\"}]}}",
	     "F: metrics.listen[0]: expected an address and port such as "
	     "\"0.0.0.0:5000\" or \"[::]:5000\", found an object"},
	    {"{\"names\": [\"ok\", \"http://x\"]}",
	     "F: names[1]: expected a host or host:port, found \"http://x\""},
	    {"{\"hosted\": [7]}",
	     "F: hosted[0]: expected a name pattern, found 7"},
	    {UP("\"endpoints\": [\"quay.io\"]"),
	     "F: upstreams.quay.io.endpoints[0]: expected a URL such as "
	     "\"https://host:port/prefix\" without user, query and fragment, "
	     "found \"quay.io\""},
	    {UP("\"redirect_allow\": [\"10.0.0.1/8\"]"),
	     "F: upstreams.quay.io.redirect_allow[0]: expected a host, "
	     "\"*.domain\", address or network such as \"10.0.0.0/8\", found "
	     "\"10.0.0.1/8\""},
	    {UP("\"tags\": [3]"),
	     "F: upstreams.quay.io.tags[0]: expected {\"match\": ..., "
	     "\"check\": ...}, found 3"},
	    {UP("\"tags\": [{\"match\": \"a\"}]"),
	     "F: upstreams.quay.io.tags[0].check: expected a duration, "
	     "\"always\" or \"never\", found nothing"},
	    {UP("\"tags\": [{\"match\": \"a\", \"check\": \"soon\"}]"),
	     "F: upstreams.quay.io.tags[0].check: expected a duration such as "
	     "\"250ms\", \"90s\", \"5m\", \"24h\" or \"always\" or \"never\", "
	     "found \"soon\""},
	    {UP("\"tags\": [{\"check\": \"1m\"}]"),
	     "F: upstreams.quay.io.tags[0].match: expected a tag pattern such "
	     "as \"v*\""},
	    /* rules between options */
	    {"{\"default_upstream\": \"quay.io\"}",
	     "F: default_upstream: expected the name of a configured "
	     "upstream, found \"quay.io\""},
	    {"{\"listen\": [{\"address\": \"0.0.0.0:1\", \"mirror_of\": "
	     "\"quay.io\"}]}",
	     "F: listen[0].mirror_of: expected the name of a configured "
	     "upstream, found \"quay.io\""},
	    {"{\"listen\": [\"0.0.0.0:1\", \"0.0.0.0:1\"]}",
	     "F: listen[1]: expected each address once, found \"0.0.0.0:1\" "
	     "again"},
	    {"{\"listen\": [\"0.0.0.0:1\"], \"metrics\": {\"listen\": "
	     "[\"0.0.0.0:1\"]}}",
	     "F: metrics.listen[0]: expected each address once, found "
	     "\"0.0.0.0:1\" again"},
	    {"{\"upstreams\": {\"a\": {\"aliases\": [\"b\"]}, \"b\": {}}}",
	     "F: upstreams.a.aliases: expected each host once, found \"b\" in "
	     "upstreams.b too"},
	    {"{\"upstreams\": {\"index.docker.io\": {}}}",
	     "F: upstreams.docker.io.aliases: expected each host once, found "
	     "\"index.docker.io\" in upstreams.index.docker.io too"},
	    {"{\"names\": [\"docker.io\"]}",
	     "F: names: expected each host once, found \"docker.io\" in "
	     "upstreams.docker.io too"},
	    {"{\"cache\": {\"memory\": {\"fill\": \"64M\"}}}",
	     "F: cache.memory.fill: expected no more than cache.memory.total "
	     "(33554432), found 67108864"},
	    {UP("\"retry_min\": \"1m\""),
	     "F: upstreams.quay.io.retry_min: expected no more than retry_max "
	     "(10000ms), found 60000ms"},
	    {UP("\"password\": \"hush\""),
	     "F: upstreams.quay.io.username: expected a user for the "
	     "password, found none"},
	    {UP("\"username\": \"u\""),
	     "F: upstreams.quay.io.username: expected password or "
	     "password_file with it, found neither"},
	    {UP("\"username\": \"u\", \"password\": \"hush\", "
		"\"password_file\": \"/p\""),
	     "F: upstreams.quay.io.password_file: expected either this or "
	     "password, "
	     "found both"},
	    {UP("\"username\": \"u\", \"password\": \"hush\", "
		"\"credential_helper\": \"x\""),
	     "F: upstreams.quay.io.credentials: expected one of username with "
	     "password, docker_config, credential_helper, \"none\"; found "
	     "several"},
	    {UP("\"client_key\": \"/k\""),
	     "F: upstreams.quay.io.client_cert: expected it with client_key, "
	     "found none"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check_error(rows[i].text, rows[i].want);
}

static bool has_text(const struct conf_strings *list, const char *part)
{
	for (size_t i = 0; i < list->n; i++) {
		if (strstr(list->v[i], part))
			return true;
	}
	return false;
}

static void a_long_socket_path_is_refused(void)
{
	char text[300];
	struct conf *conf = NULL;
	struct why why;

	snprintf(text, sizeof(text), "{\"data\": \"/%0120d\"}", 0);
	CHECK(conf_load_text("F", text, strlen(text), NULL, &conf, NULL,
			     &why) == ERR_INVALID);
	CHECK(strstr(why.text, "F: control: expected a socket path of at most "
			       "107 bytes") == why.text);
}

static void too_many_endpoints_are_refused(void)
{
	char text[2000] = "{\"upstreams\": {\"docker.io\": {\"endpoints\": [";
	struct conf *conf = NULL;
	struct why why;

	for (int i = 0; i < 33; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text),
			 "%s\"http://h%d\"", i ? ", " : "", i);
	snprintf(text + strlen(text), sizeof(text) - strlen(text), "]}}}");
	CHECK(conf_load_text("F", text, strlen(text), NULL, &conf, NULL,
			     &why) == ERR_INVALID);
	CHECK_STR(why.text, "F: upstreams.docker.io.endpoints: expected at "
			    "most 32 URLs, found 33");
}

static void all_errors_are_collected_up_to_a_bound(void)
{
	const char *text = "{\"a1\": 1, \"listen\": 5, \"cache\": "
			   "{\"min_free\": true}}";
	struct conf_strings errors = {0};
	struct conf *conf = NULL;
	char many[8000] = "{";
	struct why why;

	CHECK(conf_load_text("F", text, strlen(text), NULL, &conf, &errors,
			     &why) == ERR_INVALID);
	CHECK(errors.n == 3);
	CHECK_STR(errors.v[0], why.text);
	CHECK(strstr(errors.v[2], "F: cache.min_free: ") == errors.v[2]);
	conf_strings_release(&errors);

	for (int i = 0; i < 500; i++)
		snprintf(many + strlen(many), sizeof(many) - strlen(many),
			 "%s\"k%d\": 1", i ? ", " : "", i);
	snprintf(many + strlen(many), sizeof(many) - strlen(many), "}");
	CHECK(conf_load_text("F", many, strlen(many), NULL, &conf, &errors,
			     &why) == ERR_INVALID);
	CHECK(errors.n == 100);
	conf_strings_release(&errors);
}

static void secrets_are_in_no_message(void)
{
	const char *text = "{\"upstreams\": {\"quay.io\": {\"username\": "
			   "\"u\", \"password\": 12345, \"proxy\": 1, "
			   "\"endpoints\": [\"http://u:s3cret@h\"], "
			   "\"password_file\": [\"s3cret\"], "
			   "\"nokey\": \"s3cret\"}}}";
	struct conf_strings errors = {0};
	struct conf *conf = NULL;
	struct why why;

	CHECK(conf_load_text("F", text, strlen(text), NULL, &conf, &errors,
			     &why) == ERR_INVALID);
	CHECK(errors.n == 5);
	CHECK(!has_text(&errors, "s3cret"));
	CHECK(!has_text(&errors, "12345"));
	conf_strings_release(&errors);

	/* nor where the JSON is broken beside one */
	text = "{\"password\" \"s3cret\"}";
	CHECK(conf_load_text("F", text, strlen(text), NULL, &conf, NULL,
			     &why) == ERR_INVALID);
	CHECK(!strstr(why.text, "s3cret"));
}

int main(void)
{
	setenv("HOME", "/home/u", 1);
	RUN(errors_name_file_key_and_expectation);
	RUN(a_long_socket_path_is_refused);
	RUN(too_many_endpoints_are_refused);
	RUN(all_errors_are_collected_up_to_a_bound);
	RUN(secrets_are_in_no_message);
	return unit_done();
}
