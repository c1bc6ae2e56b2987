/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Docker's v1 search, which `docker search` and `podman search` use: /v1/_ping
 * and /v1/search, over the names of the catalog.
 *
 *   OURS (a worker walks the catalog) ─┬─► reply
 *                                      └─ search.hub, and room left:
 *                                         HUB (fetch loop, a deadline) ─► reply
 *
 * What Docker Hub answers, or that it does not, never fails our own results.
 */
#include "proxy/catalog.h"
#include "proxy/errand.h"
#include "proxy/mirror.h"
#include "proxy/reply.h"
#include "proxy/search_text.h"
#include "proxy/serve_hosted.h"

#define HUB_ANSWER_MAX (512 * 1024)

/* It outlives the request: whoever has asked may leave. */
struct search_job {
	struct job job;
	struct way_home home; /* for what Docker Hub says */
	struct server *server;
	struct conf *conf;
	enum err err;
	struct search search;
};

static void search_job_free(struct search_job *j)
{
	search_release(&j->search);
	conf_unref(&j->conf);
	free(j);
}

static void reply(struct request *r, const struct search_job *j)
{
	struct list_text text = {0};
	struct why why;

	if (j->err) {
		(void)why_set(&why, j->err, "the index cannot be read");
		reply_err(r, j->err, CODE_NAME_UNKNOWN, 0, &why);
		return;
	}
	search_text(&j->search, &text);
	reply_begin(r, 200);
	reply_header(r, "Content-Type", "application/json");
	reply_send(r, text.len, body_memory(text.text, text.len));
}

/* ---- HUB ---- */

static void hub_home(struct message *msg, void *object)
{
	struct search_job *j = container_of(msg, struct search_job, home.msg);

	if (object)
		reply(object, j);
	search_job_free(j);
}

static void hub_answered(void *arg, enum err err, unsigned status,
			 const char *body, size_t len, const struct why *why)
{
	struct search_job *j = arg;

	if (err)
		log_info("search: Docker Hub: %s", why->text);
	else if (status != 200)
		log_info("search: Docker Hub answered %u", status);
	else
		search_add_hub(&j->search, body, len);
	way_home_go(&j->home);
}

static char *hub_url(const struct search_job *j)
{
	const char *url = j->conf->search.url;
	char *term = http_url_escape(j->search.term);
	char *whole =
	    xasprintf("%s%cq=%s&n=%zu", url, strchr(url, '?') ? '&' : '?', term,
		      j->search.max);

	free(term);
	return whole;
}

/* Fetch loop. */
static void ask_hub(void *arg)
{
	struct search_job *j = arg;
	struct caller *caller = mirror_caller(j->server->mirror);
	char *url = hub_url(j);
	static const char *const headers[] = {"Accept: application/json",
					      "X-Docker-Token: true"};
	struct errand_spec spec = {
	    .url = url,
	    .headers = headers,
	    .n_headers = ARRAY_LEN(headers),
	    .answer_max = HUB_ANSWER_MAX,
	    .timeout_ms = j->conf->search.timeout_ms,
	};

	if (caller)
		(void)!errand_start(caller_dialer(caller), &spec, hub_answered,
				    j);
	else
		way_home_go(&j->home); /* the daemon is stopping */
	free(url);
}

/* Its names pull from here only where it is an upstream. */
static bool wants_hub(const struct search_job *j)
{
	return j->conf->search.hub && !j->err && j->search.words[0] &&
	       j->search.n < j->search.max &&
	       conf_upstream_find(j->conf, "docker.io", strlen("docker.io"));
}

/* ---- OURS ---- */

static bool offer(void *arg, const char *name)
{
	return search_offer(arg, name);
}

static void run(struct job *job)
{
	struct search_job *j = container_of(job, struct search_job, job);

	j->err = catalog_walk(j->server->cache, j->conf, "", offer, &j->search);
}

static void done(struct job *job, void *object)
{
	struct search_job *j = container_of(job, struct search_job, job);

	if (object && wants_hub(j)) {
		loop_call(mirror_loop(j->server->mirror), ask_hub, j);
		return;
	}
	if (object)
		reply(object, j);
	search_job_free(j);
}

/* ---- START ---- */

/* False: a reply has been sent. */
static bool read_n(struct request *r, uint64_t *n)
{
	struct span value;
	unsigned times = http_query_find(r->head->query, "n", &value);
	enum err err = ERR_OK;

	*n = SEARCH_RESULTS_DEFAULT;
	if (times == 1)
		err = span_uint(value, n);
	if (err == ERR_TOO_BIG)
		*n = SEARCH_RESULTS_MAX;
	if (times > 1 || *n == 0 || (err != ERR_OK && err != ERR_TOO_BIG)) {
		reply_error(r, 400, CODE_PAGINATION_NUMBER_INVALID,
			    "the parameter n is not one number of 1 to 100",
			    NULL);
		return false;
	}
	*n = MIN(*n, (uint64_t)SEARCH_RESULTS_MAX);
	return true;
}

/* A form's: '+' is a space (no name has either).  False: a reply has been
 * sent. */
static bool read_term(struct request *r, char *term, size_t size)
{
	struct span value;
	size_t len = 0;

	term[0] = '\0';
	if (http_query_find(r->head->query, "q", &value) == 0)
		return true;
	if (!request_query(r, "q", term, size)) {
		reply_error(r, 400, CODE_UNSUPPORTED,
			    "the parameter q is not one term of at most 255 "
			    "bytes",
			    NULL);
		return false;
	}
	for (; term[len]; len++)
		if (term[len] == '+')
			term[len] = ' ';
	return true;
}

static void search(struct request *r)
{
	char term[SEARCH_TERM_MAX + 1];
	struct search_job *j;
	uint64_t n;

	if (!read_n(r, &n) || !read_term(r, term, sizeof(term)))
		return;
	j = xcalloc(1, sizeof(*j));
	j->server = r->server;
	j->home = request_way_home(r, hub_home);
	j->conf = conf_ref(r->conf);
	search_init(&j->search, term, n);
	j->job.lane = JOB_SLOW; /* all of a large catalog takes a while */
	j->job.run = run;
	j->job.done = done;
	request_submit(r, &j->job);
}

/* Standalone: there is no index server beside this registry to log in at. */
static void ping(struct request *r)
{
	static const char body[] = "{\"standalone\":true}\n";

	reply_begin(r, 200);
	reply_header(r, "X-Docker-Registry-Standalone", "true");
	reply_send_bytes(r, "application/json", body, sizeof(body) - 1);
}

static void start(struct request *r)
{
	if (r->route.endpoint == ENDPOINT_V1_PING)
		ping(r);
	else
		search(r);
}

const struct handler serve_search = {.start = start};
