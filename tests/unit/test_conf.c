/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/conf.h"
#include "proxy/conf_table.h"

#include <arpa/inet.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/unit.h"

static char folder[] = "/tmp/entrepot-conf-XXXXXX";

/* The configuration of a text that is right; a NULL is a failed check. */
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

/* Write `text` into the test's folder; the path is good until the next call. */
static const char *put_file(const char *name, mode_t mode, const char *text)
{
	static char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "w");
	CHECK(f);
	fputs(text, f);
	fclose(f);
	CHECK(chmod(path, mode) == 0);
	return path;
}

static bool has_text(const struct conf_strings *list, const char *part)
{
	for (size_t i = 0; i < list->n; i++) {
		if (strstr(list->v[i], part))
			return true;
	}
	return false;
}

static void without_a_file_it_mirrors_docker_hub(void)
{
	const struct conf_upstream *hub;
	struct conf *conf = NULL;
	struct why why;

	setenv("XDG_STATE_HOME", "/state", 1);
	CHECK(conf_load(NULL, NULL, &conf, NULL, &why) == ERR_OK);
	CHECK_STR(conf->data, "/state/entrepot");
	CHECK_STR(conf->control, "/state/entrepot/control.sock");
	CHECK(conf->listen.n == 1);
	CHECK_STR(conf->listen.v[0].text, "127.0.0.1:5000");
	CHECK_STR(conf->default_upstream, "docker.io");
	CHECK(conf->upstreams.n == 1 && conf->warnings.n == 0);
	hub = conf_upstream_find(conf, "docker.io", 9);
	CHECK(hub && hub->endpoints.n == 1);
	CHECK_STR(hub->endpoints.v[0].text, "https://registry-1.docker.io");
	CHECK(hub == conf_upstream_find(conf, "index.docker.io/x", 15));
	CHECK(hub == conf_upstream_find(conf, "registry-1.docker.io", 20));
	CHECK(!conf_upstream_find(conf, "docker.io", 8));
	CHECK(!conf_upstream_find(conf, "quay.io", 7));
	CHECK(hub->credentials == CONF_CRED_NONE && hub->proxy_env);
	conf_unref(&conf);
	CHECK(!conf);

	/* a relative one is to be ignored */
	setenv("XDG_STATE_HOME", "state", 1);
	setenv("HOME", "/home/u", 1);
	CHECK(conf_load(NULL, NULL, &conf, NULL, &why) == ERR_OK);
	CHECK_STR(conf->data, "/home/u/.local/state/entrepot");
	conf_unref(&conf);
	unsetenv("XDG_STATE_HOME");
}

static void defaults_are_those_of_the_design(void)
{
	struct conf *conf = load("{}");
	const struct conf_upstream *up = &conf->upstreams.v[0];

	CHECK(conf->server.loops >= 1 && conf->workers.data >= 2);
	CHECK(conf->server.max_connections == 0);
	CHECK(conf->server.max_head_bytes == 64 * KIB);
	CHECK(conf->log_level == CONF_LOG_INFO && conf->access_log);
	CHECK(conf->cache.max_bytes == CONF_UNLIMITED);
	CHECK(conf->cache.min_free_bytes == GIB);
	CHECK(conf->cache.memory_fill_bytes == 2 * MIB);
	CHECK(conf->cache.memory_total_bytes == 32 * MIB);
	CHECK(conf->fetch.announce_bytes == 256 * KIB);
	CHECK(conf->fetch.announce_ms == 2);
	CHECK(conf->fetch.holdback_bytes == 64 * KIB);
	CHECK(conf->fetch.join_ahead_bytes == 4 * MIB);
	CHECK(conf->fetch.merge_gap_bytes == MIB);
	CHECK(conf->fetch.transfers == 4);
	CHECK(up->check_ms == 60000 && up->freshness_ms == 2000);
	CHECK(up->stale_hold_ms == 30000 && up->negative_ms == 10000);
	CHECK(up->list_ms == 60000 && up->max_stale_ms == CONF_UNLIMITED);
	CHECK(up->max_denied_ms == 86400000 && up->linger_ms == 600000);
	CHECK(up->mismatch_hold_ms == 60000);
	CHECK(up->public_check_ms == 86400000);
	CHECK(up->gone == CONF_GONE_KEEP);
	CHECK(up->private_content == CONF_PRIVATE_DENY);
	CHECK(up->max_rate_bytes == CONF_UNLIMITED && !up->offline);
	conf_unref(&conf);
}

static void the_example_of_the_design_loads(void)
{
	struct conf *conf = load(
	    "{ \"listen\": [\"0.0.0.0:5000\"],"
	    "  \"data\": \"/var/lib/entrepot\","
	    "  \"default_upstream\": \"docker.io\","
	    "  \"upstreams\": {"
	    "    \"docker.io\": {"
	    "      \"endpoints\": [\"https://registry-1.docker.io\"],"
	    "      \"check\": \"1m\","
	    "      \"tags\": [{ \"match\": \"v*\", \"check\": \"never\" }],"
	    "      \"username\": \"u\", \"password_file\": \"/p\" },"
	    "    \"quay.io\": {}, \"GHCR.io:443\": {} },"
	    "  \"hosted\": [\"team/**\"],"
	    "  \"cache\": { \"max_bytes\": \"200G\", \"min_free\": 10 } }");
	const struct conf_upstream *hub =
	    conf_upstream_find(conf, "docker.io", 9);
	const struct conf_upstream *ghcr =
	    conf_upstream_find(conf, "ghcr.io", 7);

	CHECK(conf->upstreams.n == 3 && hub && ghcr);
	CHECK_STR(ghcr->endpoints.v[0].text, "https://ghcr.io");
	CHECK(hub->credentials == CONF_CRED_PASSWORD);
	CHECK(conf_check_ms(hub, "v1") == CONF_CHECK_NEVER);
	CHECK(conf_check_ms(hub, "latest") == 60000);
	CHECK(conf->cache.max_bytes == 200 * GIB);
	CHECK(conf->cache.min_free_bytes == 10);
	CHECK(has_text(&conf->warnings, "F: cache.max_bytes: nothing"));
	CHECK(!has_text(&conf->warnings, "F: hosted: "));
	conf_unref(&conf);
}

static void the_first_tag_pattern_that_matches_decides(void)
{
	struct conf *conf =
	    load("{\"upstreams\": {\"docker.io\": {\"check\": \"always\","
		 "\"tags\": [{\"match\": \"v1*\", \"check\": \"5s\"},"
		 "{\"match\": \"v*\", \"check\": \"1h\"}]}}}");
	const struct conf_upstream *up = &conf->upstreams.v[0];

	CHECK(conf_check_ms(up, "v1.2") == 5000);
	CHECK(conf_check_ms(up, "v2") == 3600000);
	CHECK(conf_check_ms(up, "latest") == CONF_CHECK_ALWAYS);
	conf_unref(&conf);
}

static void comments_stand_anywhere_and_repeat(void)
{
	struct conf *conf =
	    load("{\"//\": 1, \"//\": [2], \"//x\": null,"
		 "\"cache\": {\"//\": {}, \"//\": {\"a\": 1}},"
		 "\"listen\": [{\"//\": 0, \"address\": \"[::1]:1\"}],"
		 "\"upstreams\": {\"//quay.io\": {\"bad\": 1}, \"quay.io\":"
		 "{\"//\": 0, \"tags\": [{\"//\": 1, \"match\": \"*\","
		 "\"check\": \"1s\"}]}}}");

	CHECK(conf->upstreams.n == 2);
	CHECK_STR(conf->listen.v[0].text, "[::1]:1");
	conf_unref(&conf);
}

static void everything_of_an_upstream_is_read(void)
{
	struct conf *conf = load(
	    "{\"default_upstream\": null, \"upstreams\": {\"R.example:5000\":"
	    "{\"endpoints\": [\"http://10.0.0.1:5000/x\", \"https://b\"],"
	    "\"aliases\": [\"Other.example:443\"], \"prefix\": \"hub/p\","
	    "\"offline\": true, \"max_stale\": \"7d\", \"gone\": \"follow\","
	    "\"credential_helper\": \"ecr-login\","
	    "\"token_realms\": [\"auth.example\"],"
	    "\"redirect_allow\": [\"10.0.0.0/8\"], \"private\": \"share\","
	    "\"ca\": \"/ca\", \"client_cert\": \"/c\", \"client_key\": \"/k\","
	    "\"insecure\": true, \"proxy\": \"http://P.example:3128\","
	    "\"max_rate\": \"10M\", \"retries\": 0}}}");
	const struct conf_upstream *up = &conf->upstreams.v[0];
	struct sockaddr_in ten = {.sin_family = AF_INET};

	inet_pton(AF_INET, "10.9.9.9", &ten.sin_addr);
	CHECK(!conf->default_upstream && conf->upstreams.n == 1);
	CHECK_STR(up->name, "r.example:5000");
	CHECK(up == conf_upstream_find(conf, "other.example", 13));
	CHECK(up->endpoints.n == 2 && !up->endpoints.v[0].https);
	CHECK_STR(up->endpoints.v[0].path, "/x");
	CHECK_STR(up->prefix, "hub/p");
	CHECK(up->offline && up->insecure && up->retries == 0);
	CHECK(up->max_stale_ms == (uint64_t)7 * 86400000);
	CHECK(up->gone == CONF_GONE_FOLLOW);
	CHECK(up->credentials == CONF_CRED_HELPER);
	CHECK_STR(up->credential_helper, "ecr-login");
	CHECK(up->token_realms.n == 1);
	CHECK(up->private_content == CONF_PRIVATE_SHARE);
	CHECK(!up->proxy_env);
	CHECK_STR(up->proxy, "http://p.example:3128");
	CHECK(up->max_rate_bytes == 10 * MIB);
	CHECK(
	    conf_redirect_allowed(up, "x", 80, (const struct sockaddr *)&ten));
	CHECK(!conf_redirect_allowed(up, "x", 80, NULL));
	CHECK(has_text(&conf->warnings, "http://10.0.0.1:5000/x gets the"));
	CHECK(has_text(&conf->warnings, ".insecure: its certificate"));
	conf_unref(&conf);
}

static void no_proxy_is_not_the_environments(void)
{
	struct conf *conf =
	    load("{\"upstreams\": {\"docker.io\": {\"proxy\": \"none\"}}}");

	CHECK(!conf->upstreams.v[0].proxy && !conf->upstreams.v[0].proxy_env);
	conf_unref(&conf);
}

static void docker_credentials_have_a_default_file(void)
{
	const char *text =
	    "{\"upstreams\": {\"docker.io\": {\"credentials\": \"docker\"}}}";
	struct conf *conf;

	setenv("HOME", "/home/u", 1);
	unsetenv("DOCKER_CONFIG");
	conf = load(text);
	CHECK(conf->upstreams.v[0].credentials == CONF_CRED_DOCKER);
	CHECK_STR(conf->upstreams.v[0].docker_config,
		  "/home/u/.docker/config.json");
	conf_unref(&conf);
	setenv("DOCKER_CONFIG", "/d", 1);
	conf = load(text);
	CHECK_STR(conf->upstreams.v[0].docker_config, "/d/config.json");
	conf_unref(&conf);
	unsetenv("DOCKER_CONFIG");
	conf = load("{\"upstreams\": {\"docker.io\": "
		    "{\"docker_config\": \"~/x.json\"}}}");
	CHECK(conf->upstreams.v[0].credentials == CONF_CRED_DOCKER);
	CHECK_STR(conf->upstreams.v[0].docker_config, "/home/u/x.json");
	conf_unref(&conf);
}

/* Load a file in the test's folder that has `password_file` at `path`. */
static enum err load_password(const char *path, struct conf **conf,
			      struct why *why)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "{\"data\": \"/d\", \"upstreams\": {\"docker.io\": "
		 "{\"username\": \"u\", \"password_file\": \"%s\"}}}",
		 path);
	return conf_load(put_file("e.json", 0644, text), NULL, conf, NULL, why);
}

static void passwords_come_from_files(void)
{
	static const char *const bad[] = {"", "\n", "two\nlines\n"};
	struct conf *conf = NULL;
	struct why why;

	CHECK(load_password(put_file("pw", 0600, "hush\r\n"), &conf, &why) ==
	      ERR_OK);
	CHECK_STR(conf->upstreams.v[0].password, "hush");
	CHECK(conf->upstreams.v[0].credentials == CONF_CRED_PASSWORD);
	CHECK(conf->warnings.n == 0);
	conf_unref(&conf);

	CHECK(load_password(put_file("pw", 0644, "hush"), &conf, &why) ==
	      ERR_OK);
	CHECK(has_text(&conf->warnings, "pw can be read by every user"));
	CHECK(!has_text(&conf->warnings, "hush"));
	conf_unref(&conf);

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		CHECK(load_password(put_file("pw", 0600, bad[i]), &conf,
				    &why) == ERR_INVALID);
		CHECK(strstr(why.text, "expected a file of one line"));
		CHECK(!strstr(why.text, "two"));
	}
	CHECK(load_password("/nonexistent/pw", &conf, &why) == ERR_INVALID);
	CHECK(strstr(why.text, "password_file: expected a readable file: "
			       "/nonexistent/pw"));
	CHECK(load_password("/", &conf, &why) == ERR_INVALID);
	CHECK(strstr(why.text, "found a folder"));
}

static void a_password_in_a_public_file_is_warned_of(void)
{
	const char *text = "{\"data\": \"/d\", \"upstreams\": {\"docker.io\": "
			   "{\"username\": \"u\", \"password\": \"hush\"}}}";
	struct conf *conf = NULL;
	struct why why;

	CHECK(conf_load(put_file("e.json", 0644, text), NULL, &conf, NULL,
			&why) == ERR_OK);
	CHECK(has_text(&conf->warnings, ".password: this file can be read"));
	conf_unref(&conf);
	CHECK(conf_load(put_file("f.json", 0600, text), NULL, &conf, NULL,
			&why) == ERR_OK);
	CHECK(conf->warnings.n == 0);
	conf_unref(&conf);
}

static void files_that_cannot_be_read_are_named(void)
{
	const char *text = "{\"data\": \"/d\", \"upstreams\": {\"docker.io\": "
			   "{\"ca\": \"/nonexistent/ca\"}}}";
	struct conf *conf = NULL;
	struct why why;

	CHECK(conf_load("/nonexistent/e.json", NULL, &conf, NULL, &why) ==
	      ERR_NOT_FOUND);
	CHECK(strstr(why.text, "/nonexistent/e.json: cannot be opened"));
	CHECK(conf_load("/", NULL, &conf, NULL, &why) == ERR_IO);
	CHECK(conf_load(put_file("e.json", 0644, text), NULL, &conf, NULL,
			&why) == ERR_INVALID);
	CHECK(strstr(why.text, "docker.io.ca: expected a readable file"));
	CHECK(!conf);
}

/* Parse flags given as one NULL-terminated list. */
static enum err parse(char *const *argv, struct conf_args *args,
		      struct why *why)
{
	int argc = 0;

	while (argv[argc])
		argc++;
	return conf_parse_args(argc, argv, args, why);
}

static char *serve = (char[]){"serve"};
#define ARG(text) ((char[]){text})

static void flags_replace_what_the_file_says(void)
{
	const char *text = "{\"listen\": [\"0.0.0.0:1\"], \"data\": \"/d\","
			   "\"hosted\": [\"a\"], \"upstreams\": {\"docker.io\":"
			   "{\"endpoints\": [\"https://x\"], \"check\": "
			   "\"7s\"}}}";
	char *const argv[] = {serve,
			      ARG("--config"),
			      ARG("F"),
			      ARG("--listen=127.0.0.1:2"),
			      ARG("--listen"),
			      ARG("[::1]:3"),
			      ARG("--data"),
			      ARG("/e"),
			      ARG("--upstream"),
			      ARG("Docker.io=http://127.0.0.1:9"),
			      ARG("--upstream"),
			      ARG("Docker.io=http://127.0.0.1:10"),
			      ARG("--upstream"),
			      ARG("quay.io"),
			      ARG("--default-upstream"),
			      ARG("none"),
			      ARG("--hosted"),
			      ARG("b/**"),
			      NULL};
	const struct conf_upstream *up;
	struct conf *conf = NULL;
	struct conf_args args;
	struct why why;

	CHECK(parse(argv, &args, &why) == ERR_OK);
	CHECK_STR(args.config, "F");
	CHECK(conf_load_text("F", text, strlen(text), &args, &conf, NULL,
			     &why) == ERR_OK);
	CHECK(conf->listen.n == 2);
	CHECK_STR(conf->listen.v[1].text, "[::1]:3");
	CHECK_STR(conf->data, "/e");
	CHECK_STR(conf->control, "/e/control.sock");
	CHECK(!conf->default_upstream);
	CHECK(conf->hosted.n == 1);
	CHECK_STR(conf->hosted.v[0], "b/**");
	CHECK(conf->upstreams.n == 2);
	up = conf_upstream_find(conf, "docker.io", 9);
	CHECK(up->endpoints.n == 2 && up->check_ms == 7000);
	CHECK_STR(up->endpoints.v[1].text, "http://127.0.0.1:10");
	conf_unref(&conf);
	conf_args_release(&args);
	CHECK(!args.config && args.listen.n == 0);
}

static void a_relative_data_flag_is_from_here(void)
{
	char *const argv[] = {serve, ARG("--data=sub"), NULL};
	char *cwd = getcwd(NULL, 0), *want = xasprintf("%s/sub", cwd);
	struct conf *conf = NULL;
	struct conf_args args;
	struct why why;

	CHECK(parse(argv, &args, &why) == ERR_OK);
	CHECK(conf_load_text("F", "{\"control\": \"/c\"}", 17, &args, &conf,
			     NULL, &why) == ERR_OK);
	CHECK_STR(conf->data, want);
	conf_unref(&conf);
	conf_args_release(&args);
	free(want);
	free(cwd);
}

static void bad_flags_are_named(void)
{
	static const struct {
		const char *arg, *value, *want;
	} rows[] = {
	    {"--nope", NULL,
	     "command line: expected a known flag, found \"--nope\""},
	    {"stray", NULL,
	     "command line: expected a known flag, found \"stray\""},
	    {"--data", NULL,
	     "command line: --data: expected DIR, found nothing"},
	    {"--listen=", NULL,
	     "command line: --listen: expected ADDR:PORT, found nothing"},
	    {"--data=/a", "--data=/b",
	     "command line: --data: expected it once, found it again"},
	};
	static const struct {
		const char *arg, *want;
	} values[] = {
	    {"--listen=5000",
	     "command line: listen[0]: expected an address and port such as "
	     "\"0.0.0.0:5000\" or \"[::]:5000\", found \"5000\""},
	    {"--upstream=quay.io=quay",
	     "command line: upstreams.quay.io.endpoints[0]: expected a URL "
	     "such as \"https://host:port/prefix\" without user, query and "
	     "fragment, found \"quay\""},
	    {"--upstream==http://x",
	     "command line: upstreams.: expected a host or host:port, found "
	     "this key"},
	    {"--default-upstream=\xff",
	     "command line: default_upstream: expected a host or host:port or "
	     "\"none\", found \"\xff\""},
	    {"--default-upstream=gcr.io",
	     "command line: default_upstream: expected the name of a "
	     "configured upstream, found \"gcr.io\""},
	};
	char *const twice[] = {serve, ARG("--listen=127.0.0.1:5000"),
			       ARG("--listen=127.0.0.1:5000"), NULL};
	struct conf *conf = NULL;
	struct conf_args args;
	struct why why;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *one = xstrdup(rows[i].arg);
		char *two = rows[i].value ? xstrdup(rows[i].value) : NULL;
		char *const argv[] = {serve, one, two, NULL};

		CHECK(parse(argv, &args, &why) == ERR_INVALID);
		CHECK_STR(why.text, rows[i].want);
		conf_args_release(&args);
		free(one);
		free(two);
	}
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		char *one = xstrdup(values[i].arg);
		char *const argv[] = {serve, one, NULL};

		CHECK(parse(argv, &args, &why) == ERR_OK);
		CHECK(conf_load_text("F", "{}", 2, &args, &conf, NULL, &why) ==
		      ERR_INVALID);
		CHECK_STR(why.text, values[i].want);
		conf_args_release(&args);
		free(one);
	}
	CHECK(parse(twice, &args, &why) == ERR_OK);
	CHECK(conf_load_text("F", "{}", 2, &args, &conf, NULL, &why) ==
	      ERR_INVALID);
	CHECK_STR(why.text, "command line: listen[1]: expected each address "
			    "once, found \"127.0.0.1:5000\" again");
	conf_args_release(&args);
	/* What the file says is the file's. */
	CHECK(conf_load_text("F", "{\"default_upstream\": \"gcr.io\"}", 30,
			     NULL, &conf, NULL, &why) == ERR_INVALID);
	CHECK_STR(why.text, "F: default_upstream: expected the name of a "
			    "configured upstream, found \"gcr.io\"");
}

static void reload_names_what_needs_a_restart(void)
{
	struct conf *before =
	    load("{\"data\": \"/a\", \"listen\": [\"127.0.0.1:1\"],"
		 "\"server\": {\"loops\": 1}, \"cache\": {\"min_free\": 1}}");
	struct conf *same =
	    load("{\"data\": \"/a\", \"listen\": [\"127.0.0.1:1\"],"
		 "\"server\": {\"loops\": 1}, \"cache\": {\"min_free\": 2},"
		 "\"upstreams\": {\"quay.io\": {}}}");
	struct conf *other =
	    load("{\"data\": \"/b\", \"listen\": [{\"address\": "
		 "\"127.0.0.1:1\", \"mirror_of\": \"docker.io\"}],"
		 "\"server\": {\"loops\": 2}}");
	struct conf_strings changed = {0};

	CHECK(conf_diff_reload(before, same, &changed) == 0);
	CHECK(conf_diff_reload(before, other, &changed) == 4);
	CHECK(changed.n == 4);
	CHECK_STR(changed.v[0], "listen");
	CHECK_STR(changed.v[1], "data");
	CHECK_STR(changed.v[2], "control");
	CHECK_STR(changed.v[3], "server.loops");
	conf_strings_release(&changed);
	conf_unref(&before);
	conf_unref(&same);
	conf_unref(&other);
}

static void the_last_reference_frees(void)
{
	struct conf *conf = load("{}"), *held = conf_ref(conf);

	conf_unref(&conf);
	CHECK_STR(held->default_upstream, "docker.io");
	conf_unref(&held);
	conf_unref(&held);
	CHECK(!held);
}

/* What a printing function prints; caller frees. */
static char *printed(void (*print)(FILE *))
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	print(f);
	fclose(f);
	return text;
}

static void the_table_prints_every_option(void)
{
	static const char *const within[] = {
	    [SCOPE_TOP] = "",
	    [SCOPE_UPSTREAM] = "upstreams.*.",
	    [SCOPE_HOOK] = "notifications.endpoints[].",
	};
	char *text = printed(conf_print_options);
	char *flags = printed(conf_print_flags);

	for (size_t i = 0; i < conf_options_n; i++) {
		const struct conf_option *opt = &conf_options[i];
		char *line =
		    xasprintf("\n%s%s\n", within[opt->scope], opt->path);

		CHECK(strstr(text, line));
		CHECK(strstr(text, opt->help));
		free(line);
	}
	CHECK(strstr(text, "\nlog.level\n    word: error, warn, info, debug; "
			   "default info; reloadable\n"));
	CHECK(strstr(text, "\nserver.loops\n    count or auto; default auto; "
			   "needs a restart\n"));
	CHECK(strstr(flags, "--default-upstream"));
	free(flags);
	free(text);
}

static void the_table_is_sound(void)
{
	for (size_t i = 0; i < conf_options_n; i++) {
		const struct conf_option *opt = &conf_options[i];

		CHECK(conf_option_find(opt->scope, opt->path) == opt);
		CHECK(!conf_option_is_group(opt->scope, opt->path));
		CHECK(opt->kind != KIND_COUNT ||
		      (opt->max > 0 && opt->max <= UINT32_MAX));
		CHECK(opt->kind != KIND_WORD || (opt->words && opt->def));
		CHECK(opt->kind != KIND_HOST || opt->words);
		CHECK(opt->scope == SCOPE_TOP || opt->reloadable);
	}
}

static int check_full(const char *path, char **text)
{
	size_t len;
	FILE *f = open_memstream(text, &len);
	int bad = conf_check_full(path, f);

	fclose(f);
	return bad;
}

static void a_missing_option_is_found_in_the_full_file(void)
{
	char *text;

	CHECK(check_full(put_file("full.json", 0600, "{\"data\": \"/d\"}"),
			 &text) == (int)conf_options_n - 1);
	CHECK(strstr(text, "full.json: listen is missing\n"));
	CHECK(strstr(text, "full.json: cache.memory.fill is missing\n"));
	CHECK(strstr(text, "full.json: upstreams.*.check is missing\n"));
	CHECK(!strstr(text, ": data is missing"));
	free(text);
	CHECK(check_full(put_file("full.json", 0600, "{\"dota\": 1}"), &text) ==
	      (int)conf_options_n + 1);
	free(text);
	CHECK(check_full("/nonexistent/full.json", &text) == 1);
	free(text);
}

static void the_files_we_ship_are_right(void)
{
	struct conf *conf = NULL;
	struct why why = {""};
	char *text;

	if (access("conf/entrepot-full.json", R_OK) != 0) {
		CHECK(!"started in the project's folder");
		return;
	}
	CHECK(check_full("conf/entrepot-full.json", &text) == 0);
	CHECK_STR(text, "");
	free(text);
	CHECK(conf_load("conf/entrepot.json", NULL, &conf, NULL, &why) ==
	      ERR_OK);
	CHECK_STR(why.text, "");
	CHECK(conf && conf->warnings.n == 0 && conf->upstreams.n == 4);
	conf_unref(&conf);
}

static void remove_folder(void)
{
	static const char *const files[] = {"pw", "e.json", "f.json",
					    "full.json"};
	char path[128];

	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
		unlink(path);
	}
	rmdir(folder);
}

int main(void)
{
	if (!mkdtemp(folder))
		return 2;
	/* the results must not depend on who runs us */
	unsetenv("XDG_STATE_HOME");
	unsetenv("DOCKER_CONFIG");
	setenv("HOME", "/home/u", 1);
	RUN(without_a_file_it_mirrors_docker_hub);
	RUN(defaults_are_those_of_the_design);
	RUN(the_example_of_the_design_loads);
	RUN(the_first_tag_pattern_that_matches_decides);
	RUN(comments_stand_anywhere_and_repeat);
	RUN(everything_of_an_upstream_is_read);
	RUN(no_proxy_is_not_the_environments);
	RUN(docker_credentials_have_a_default_file);
	RUN(passwords_come_from_files);
	RUN(a_password_in_a_public_file_is_warned_of);
	RUN(files_that_cannot_be_read_are_named);
	RUN(flags_replace_what_the_file_says);
	RUN(a_relative_data_flag_is_from_here);
	RUN(bad_flags_are_named);
	RUN(reload_names_what_needs_a_restart);
	RUN(the_last_reference_frees);
	RUN(the_table_prints_every_option);
	RUN(the_table_is_sound);
	RUN(a_missing_option_is_found_in_the_full_file);
	RUN(the_files_we_ship_are_right);
	remove_folder();
	return unit_done();
}
