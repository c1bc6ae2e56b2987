/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/credential.h"
#include "proxy/job.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the file ---- */

/* "user:password", "identity X", "bearer X", "helper X for S", "none",
 * "garbled"; for `repo` at `host`. */
static const char *found(const char *json, const char *host, const char *repo)
{
	static char text[256];
	const char *hosts[] = {host};
	const struct credential *c;
	struct credential_list list;
	struct why why;

	if (credential_file_parse(json, strlen(json), hosts, 1, &list, &why))
		return "garbled";
	c = credential_list_find(&list, repo);
	snprintf(text, sizeof(text), "none");
	if (c && c->identity_token)
		snprintf(text, sizeof(text), "identity %s", c->identity_token);
	else if (c && c->registry_token)
		snprintf(text, sizeof(text), "bearer %s", c->registry_token);
	else if (c)
		snprintf(text, sizeof(text), "%s:%s", c->username, c->password);
	else if (list.helper)
		snprintf(text, sizeof(text), "helper %s for %s", list.helper,
			 list.server);
	credential_list_release(&list);
	return text;
}

#define AUTHS(key, value) "{\"auths\": {\"" key "\": {" value "}}}"
/* me:se:cret */
#define ME "\"auth\": \"bWU6c2U6Y3JldA==\""

static void entries_are_found_by_host(void)
{
	static const struct {
		const char *key, *host, *want;
	} rows[] = {
	    {AUTHS("quay.io", ME), "quay.io", "me:se:cret"},
	    {AUTHS("QUAY.io", ME), "quay.io", "me:se:cret"},
	    {AUTHS("https://quay.io", ME), "quay.io", "me:se:cret"},
	    {AUTHS("https://quay.io/v1/", ME), "quay.io", "me:se:cret"},
	    {AUTHS("https://quay.io/v2/", ME), "quay.io", "me:se:cret"},
	    {AUTHS("http://quay.io/any", ME), "quay.io", "me:se:cret"},
	    {AUTHS("quay.io:443", ME), "quay.io", "me:se:cret"},
	    {AUTHS("localhost:5000", ME), "localhost:5000", "me:se:cret"},
	    {AUTHS("localhost:5000", ME), "localhost", "none"},
	    {AUTHS("localhost", ME), "localhost:5000", "none"},
	    {AUTHS("quay.io.evil", ME), "quay.io", "none"},
	    {AUTHS("evil/quay.io", ME), "quay.io", "none"},
	    {AUTHS("https://index.docker.io/v1/", ME), "docker.io",
	     "me:se:cret"},
	    {AUTHS("index.docker.io", ME), "docker.io", "me:se:cret"},
	    {AUTHS("docker.io", ME), "docker.io", "me:se:cret"},
	    {AUTHS("https://index.docker.io/v1/", ME), "registry-1.docker.io",
	     "me:se:cret"},
	    {AUTHS("https://index.docker.io/v1/", ME), "quay.io", "none"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		CHECK_STR(found(rows[i].key, rows[i].host, "a/b"),
			  rows[i].want);
}

static void entries_have_many_forms(void)
{
	static const struct {
		const char *json, *want;
	} rows[] = {
	    /* "me:x" and two NULs */
	    {AUTHS("h.x", "\"auth\": \"bWU6eAAA\""), "me:x"},
	    /* without padding */
	    {AUTHS("h.x", "\"auth\": \"bWU6c2U6Y3JldA\""), "me:se:cret"},
	    {AUTHS("h.x", "\"username\": \"u\", \"password\": \"p\""), "u:p"},
	    {AUTHS("h.x", ME ", \"identitytoken\": \"i\""), "identity i"},
	    {AUTHS("h.x", "\"identitytoken\": \"i\""), "identity i"},
	    {AUTHS("h.x", "\"registrytoken\": \"r\""), "bearer r"},
	    {AUTHS("h.x", ""), "none"},
	    {"{\"auths\": {\"h.x\": null}}", "none"},
	    {"{}", "none"},
	    {"{\"auths\": []}", "none"},
	    {"", "garbled"},
	    {"[]", "garbled"},
	    {AUTHS("h.x", "\"auth\": \"???\""), "garbled"},
	    {AUTHS("h.x", "\"auth\": \"bWU=\""), "garbled"},
	    /* another host's is nobody's business */
	    {AUTHS("other", "\"auth\": \"???\""), "none"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		CHECK_STR(found(rows[i].json, "h.x", "a"), rows[i].want);
}

static void the_longest_path_wins(void)
{
	static const char json[] =
	    "{\"auths\": {\"h.x\": {\"username\": \"all\", \"password\": "
	    "\"1\"}, \"h.x/team\": {\"username\": \"team\", \"password\": "
	    "\"2\"}, \"h.x/team/app\": {\"username\": \"app\", "
	    "\"password\": \"3\"}}}";

	CHECK_STR(found(json, "h.x", "other/app"), "all:1");
	CHECK_STR(found(json, "h.x", "team/x"), "team:2");
	CHECK_STR(found(json, "h.x", "teams/x"), "all:1");
	CHECK_STR(found(json, "h.x", "team/app"), "app:3");
	CHECK_STR(found(json, "h.x", "team/app/y"), "app:3");
}

static void helpers_are_named(void)
{
	CHECK_STR(found("{\"credHelpers\": {\"h.x\": \"own\"}, "
			"\"credsStore\": \"all\"}",
			"h.x", "a"),
		  "helper own for h.x");
	CHECK_STR(found("{\"credHelpers\": {\"other\": \"own\"}, "
			"\"credsStore\": \"all\"}",
			"h.x", "a"),
		  "helper all for h.x");
	CHECK_STR(found("{\"credsStore\": \"all\"}", "docker.io", "a"),
		  "helper all for https://index.docker.io/v1/");
	CHECK_STR(found("{\"credsStore\": \"../../bin/sh\"}", "h.x", "a"),
		  "none");
}

static void helpers_print_json(void)
{
	struct credential c;
	struct why why;
	const char *text = "{\"ServerURL\": \"s\", \"Username\": \"u\", "
			   "\"Secret\": \"p\"}\n";

	CHECK(credential_helper_parse(text, strlen(text), &c, &why) == ERR_OK);
	CHECK_STR(c.username, "u");
	CHECK_STR(c.password, "p");
	credential_release(&c);
	text = "{\"Username\": \"<token>\", \"Secret\": \"i\"}";
	CHECK(credential_helper_parse(text, strlen(text), &c, &why) == ERR_OK);
	CHECK_STR(c.identity_token, "i");
	CHECK(!c.password);
	credential_release(&c);
	CHECK(credential_helper_parse("{}", 2, &c, &why) == ERR_INVALID);
	CHECK(credential_helper_parse("x", 1, &c, &why) == ERR_INVALID);
}

/* ---- helpers that run ---- */

static char folder[] = "/tmp/entrepot-credential-XXXXXX";

static void write_file(const char *name, const char *text, mode_t mode)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "w");
	if (!f || fputs(text, f) < 0 || fclose(f) || chmod(path, mode))
		abort();
}

static enum err run(const char *helper, uint64_t ms, struct credential *c,
		    struct why *why)
{
	memset(why, 0, sizeof(*why));
	return credential_helper_run(helper, "h.x:5", ms, c, why);
}

static void a_helper_is_asked_on_its_standard_input(void)
{
	struct credential c;
	struct why why;

	write_file("docker-credential-good",
		   "#!/bin/sh\nread server\n[ \"$1\" = get ] || exit 3\n"
		   "echo '{\"Username\": \"u\", \"Secret\": \"'$server'\"}'\n",
		   0755);
	CHECK(run("good", 5000, &c, &why) == ERR_OK);
	CHECK_STR(c.username, "u");
	CHECK_STR(c.password, "h.x:5");
	credential_release(&c);
}

static void a_helper_may_have_none(void)
{
	struct credential c;
	struct why why;

	write_file("docker-credential-none",
		   "#!/bin/sh\n"
		   "echo credentials not found in native keychain\nexit 1\n",
		   0755);
	CHECK(run("none", 5000, &c, &why) == ERR_OK);
	CHECK(credential_is_none(&c));
}

static void a_helper_that_fails_says_so(void)
{
	struct credential c;
	struct why why;
	uint64_t before = now_ms();

	write_file("docker-credential-bad", "#!/bin/sh\nexit 7\n", 0755);
	CHECK(run("bad", 5000, &c, &why) == ERR_UNAVAILABLE);
	CHECK_STR(why.text, "docker-credential-bad failed with status 7");
	write_file("docker-credential-noise", "#!/bin/sh\necho hello\n", 0755);
	CHECK(run("noise", 5000, &c, &why) == ERR_UNAVAILABLE);
	CHECK(run("absent", 5000, &c, &why) == ERR_UNAVAILABLE);
	CHECK(strstr(why.text, "cannot run docker-credential-absent"));
	/* One that hangs is killed, and its children too. */
	write_file("docker-credential-slow", "#!/bin/sh\nsleep 60\n", 0755);
	CHECK(run("slow", 200, &c, &why) == ERR_UNAVAILABLE);
	CHECK(strstr(why.text, "200 ms"));
	/* One that closes its output, too. */
	write_file("docker-credential-deaf", "#!/bin/sh\nexec >&-\nsleep 60\n",
		   0755);
	CHECK(run("deaf", 200, &c, &why) == ERR_UNAVAILABLE);
	write_file("docker-credential-flood",
		   "#!/bin/sh\nwhile :; do echo xxxxxxxxxxxxxxxx; done\n",
		   0755);
	CHECK(run("flood", 5000, &c, &why) == ERR_UNAVAILABLE);
	CHECK(now_ms() - before < 15000);
}

/* ---- the store ---- */

struct world {
	struct loop *loop;
	struct jobs *jobs;
	struct conf *conf;
	struct upstreams *ups;
	struct credentials *cs;
	struct credential_ask *ask;
	bool now;
	enum err err;
	struct credential got;
	struct why why;
	sem_t done;
};

static void open_it(void *arg)
{
	struct world *w = arg;

	w->ups = upstreams_new(w->loop, w->conf);
	w->cs = credentials_new(w->loop, w->jobs);
	sem_post(&w->done);
}

static void close_it(void *arg)
{
	struct world *w = arg;

	credential_cancel(&w->ask);
	credentials_free(&w->cs);
	upstreams_free(&w->ups);
	sem_post(&w->done);
}

static void world_open(struct world *w, const char *options)
{
	struct jobs_options jobs = {.threads = {1, 1, 1}};
	struct why why = {{0}};
	char text[1024];

	memset(w, 0, sizeof(*w));
	snprintf(text, sizeof(text),
		 "{\"default_upstream\": null, \"upstreams\": {\"h.x\": {%s}}}",
		 options);
	if (conf_load_text("F", text, strlen(text), NULL, &w->conf, NULL,
			   &why)) {
		fprintf(stderr, "%s\n", why.text);
		abort();
	}
	sem_init(&w->done, 0, 0);
	w->jobs = jobs_new(&jobs);
	w->loop = loop_new("fetch");
	loop_start(w->loop);
	loop_call(w->loop, open_it, w);
	sem_wait(&w->done);
}

static void world_close(struct world *w)
{
	loop_call(w->loop, close_it, w);
	sem_wait(&w->done);
	jobs_free(&w->jobs);
	loop_stop(w->loop);
	loop_free(&w->loop);
	conf_unref(&w->conf);
	credential_release(&w->got);
	sem_destroy(&w->done);
}

static void got_it(void *arg, enum err err, const struct credential *c,
		   const struct why *why)
{
	struct world *w = arg;

	w->ask = NULL;
	w->err = err;
	w->why = *why;
	credential_copy(&w->got, c);
	sem_post(&w->done);
}

static void ask_it(void *arg)
{
	struct world *w = arg;
	struct upstream *up = upstream_find(w->ups, "h.x");

	w->now = credential_now(w->cs, up, "a/b", &w->got);
	w->err = ERR_OK;
	if (w->now)
		sem_post(&w->done);
	else
		w->ask = credential_ask(w->cs, up, "a/b", got_it, w);
}

static const char *ask(struct world *w)
{
	credential_release(&w->got);
	loop_call(w->loop, ask_it, w);
	sem_wait(&w->done);
	if (w->err)
		return w->why.text;
	return w->got.username ? w->got.username : "nobody";
}

static void the_configuration_is_known_at_once(void)
{
	struct world w;

	world_open(&w, "\"credentials\": \"none\"");
	CHECK_STR(ask(&w), "nobody");
	CHECK(w.now);
	world_close(&w);
	world_open(&w, "\"username\": \"u\", \"password\": \"p\"");
	CHECK_STR(ask(&w), "u");
	CHECK(w.now);
	CHECK_STR(w.got.password, "p");
	world_close(&w);
	world_open(&w, "\"username\": \"<token>\", \"password\": \"p\"");
	CHECK_STR(ask(&w), "nobody");
	CHECK_STR(w.got.identity_token, "p");
	world_close(&w);
}

static void a_file_is_read_and_kept(void)
{
	char options[512];
	struct world w;

	snprintf(options, sizeof(options),
		 "\"docker_config\": \"%s/config.json\"", folder);
	world_open(&w, options);
	write_file("config.json", AUTHS("h.x", ME), 0600);
	CHECK_STR(ask(&w), "me");
	CHECK(!w.now);
	CHECK_STR(ask(&w), "me");
	CHECK(w.now);
	world_close(&w);

	write_file("config.json", "garbage", 0600);
	world_open(&w, options);
	CHECK(strstr(ask(&w), "config.json: it is no JSON object"));
	CHECK(strstr(ask(&w), "no JSON object")); /* kept, and told again */
	world_close(&w);

	snprintf(options, sizeof(options), "\"docker_config\": \"%s/absent\"",
		 folder);
	world_open(&w, options);
	CHECK_STR(ask(&w), "nobody");
	CHECK(w.err == ERR_OK);
	world_close(&w);
}

static void a_file_may_name_a_helper(void)
{
	char options[512];
	struct world w;

	snprintf(options, sizeof(options),
		 "\"docker_config\": \"%s/config.json\"", folder);
	write_file("config.json", "{\"credsStore\": \"good\"}", 0600);
	world_open(&w, options);
	CHECK_STR(ask(&w), "u");
	CHECK_STR(w.got.password, "h.x");
	world_close(&w);
	/* A store that has none leaves the file's own word. */
	write_file("config.json",
		   "{\"credsStore\": \"none\", \"auths\": {\"h.x\": {" ME "}}}",
		   0600);
	world_open(&w, options);
	CHECK_STR(ask(&w), "me");
	world_close(&w);
}

static void a_helper_may_be_configured(void)
{
	struct world w;

	world_open(&w, "\"credential_helper\": \"good\"");
	CHECK_STR(ask(&w), "u");
	CHECK(!w.now);
	CHECK_STR(ask(&w), "u");
	CHECK(w.now);
	world_close(&w);
	world_open(&w, "\"credential_helper\": \"bad\"");
	CHECK_STR(ask(&w), "docker-credential-bad failed with status 7");
	world_close(&w);
}

static void start_only(void *arg)
{
	struct world *w = arg;

	w->ask =
	    credential_ask(w->cs, upstream_find(w->ups, "h.x"), "a", got_it, w);
	sem_post(&w->done);
}

static void nobody_need_wait_for_a_helper(void)
{
	struct world w;

	world_open(&w, "\"credential_helper\": \"slow\", \"token\": \"200ms\"");
	loop_call(w.loop, start_only, &w);
	sem_wait(&w.done);
	world_close(&w); /* cancels; the job comes home to nobody */
}

int main(void)
{
	char *path;

	signal(SIGPIPE, SIG_IGN); /* as the daemon does */
	if (!mkdtemp(folder))
		abort();
	path = xasprintf("%s:%s", folder, getenv("PATH"));
	setenv("PATH", path, 1);
	free(path);
	RUN(entries_are_found_by_host);
	RUN(entries_have_many_forms);
	RUN(the_longest_path_wins);
	RUN(helpers_are_named);
	RUN(helpers_print_json);
	RUN(a_helper_is_asked_on_its_standard_input);
	RUN(a_helper_may_have_none);
	RUN(a_helper_that_fails_says_so);
	RUN(the_configuration_is_known_at_once);
	RUN(a_file_is_read_and_kept);
	RUN(a_file_may_name_a_helper);
	RUN(a_helper_may_be_configured);
	RUN(nobody_need_wait_for_a_helper);
	path = xasprintf("rm -rf %s", folder);
	if (system(path))
		abort();
	free(path);
	return unit_done();
}
