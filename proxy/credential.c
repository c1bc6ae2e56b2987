/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One source for each place that credentials come from and upstream that
 * wants them.  What a source said is kept; past its time the next who asks
 * starts a job, and those who ask meanwhile wait with him.
 *
 *   fetch loop            worker
 *   source ─► look ─► file_run (SYNC): stat, read if changed, parse
 *                └──► helper_run (SLOW), if a helper is to be asked
 */
#include "proxy/credential.h"

#include "proxy/job.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define CREDENTIALS_MAGIC 0x43524544
#define FILE_KEEP_MS 5000
#define HELPER_KEEP_MS (5 * 60 * 1000)
#define FAILED_KEEP_MS 5000
#define FILE_MAX ((size_t)4 * 1024 * 1024)

struct credential_ask {
	LIST_ENTRY(credential_ask) link;
	char *repo;
	credential_cb *cb;
	void *arg;
};

/* When a file was as it was. */
struct stamp {
	struct timespec mtime;
	uint64_t size, inode;
};

struct source {
	LIST_ENTRY(source) link;
	char *key;
	bool looking;
	uint64_t good_until_ms; /* 0: never looked */
	enum err err;           /* of the last look */
	struct why why;
	struct stamp stamp;
	struct credential_list list; /* what the file says */
	uint64_t helper_until_ms;    /* `helped` is good; 0: not asked */
	struct credential helped;
	LIST_HEAD(, credential_ask) asks;
	struct timer again; /* tells a failure that is kept, next turn */
};

struct credentials {
	struct loop *loop;
	struct jobs *jobs;
	struct handle handle;
	LIST_HEAD(, source) sources;
};

/* One look at a source; carries copies, as sources may go. */
struct look {
	struct job job;
	struct jobs *jobs;
	char *key;
	char *path; /* the file; NULL: only the helper */
	char *hosts[3];
	size_t n_hosts;
	uint64_t timeout_ms;
	struct stamp stamp;
	bool changed;
	struct credential_list list;
	bool ask_helper; /* even if the file has not changed */
	bool helped;
	struct credential cred;
	enum err err;
	struct why why;
};

/* ---- workers ---- */

static bool stamp_equal(const struct stamp *a, const struct stamp *b)
{
	return a->mtime.tv_sec == b->mtime.tv_sec &&
	       a->mtime.tv_nsec == b->mtime.tv_nsec && a->size == b->size &&
	       a->inode == b->inode;
}

static enum err read_all(int fd, char *buf, size_t size, size_t *len)
{
	*len = 0;
	while (*len < size) {
		ssize_t n = read(fd, buf + *len, size - *len);

		if (n == 0)
			return ERR_OK;
		if (n < 0 && errno != EINTR)
			return ERR_IO;
		if (n > 0)
			*len += (size_t)n;
	}
	return ERR_TOO_BIG;
}

static enum err parse_file(struct look *k, int fd, size_t size)
{
	char *text = xmalloc(size + 1);
	struct why bad = {{0}};
	enum err err;
	size_t len;

	err = read_all(fd, text, size + 1, &len);
	if (err) {
		why_set(&k->why, err, "cannot read %s", k->path);
	} else {
		err = credential_file_parse(text, len,
					    (const char *const *)k->hosts,
					    k->n_hosts, &k->list, &bad);
		if (err)
			why_set(&k->why, err, "%s: %s", k->path, bad.text);
	}
	explicit_bzero(text, size + 1);
	free(text);
	return err;
}

static enum err look_at_file(struct look *k)
{
	int fd = open(k->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stamp now;
	struct stat st;
	enum err err = ERR_OK;

	if (fd < 0 && errno == ENOENT) {
		/* Nobody has logged in yet: anonymous. */
		memset(&k->stamp, 0, sizeof(k->stamp));
		k->changed = true;
		return ERR_OK;
	}
	if (fd < 0 || fstat(fd, &st) < 0) {
		err = why_errno(&k->why, errno, "cannot open %s", k->path);
		goto out;
	}
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > FILE_MAX) {
		err = why_set(&k->why, ERR_INVALID,
			      "%s is no file of credentials", k->path);
		goto out;
	}
	now = (struct stamp){st.st_mtim, (uint64_t)st.st_size, st.st_ino};
	if (!stamp_equal(&now, &k->stamp)) {
		k->stamp = now;
		k->changed = true;
		err = parse_file(k, fd, (size_t)st.st_size);
	}
out:
	if (fd >= 0)
		close(fd);
	return err;
}

static void look_run(struct job *job)
{
	struct look *k = container_of(job, struct look, job);

	k->err = look_at_file(k);
}

static void helper_run(struct job *job)
{
	struct look *k = container_of(job, struct look, job);

	k->helped = true;
	k->err = credential_helper_run(k->list.helper, k->list.server,
				       k->timeout_ms, &k->cred, &k->why);
}

/* ---- sources ---- */

static void look_free(struct look *k)
{
	credential_list_release(&k->list);
	credential_release(&k->cred);
	for (size_t i = 0; i < k->n_hosts; i++)
		free(k->hosts[i]);
	free(k->path);
	free(k->key);
	free(k);
}

static struct source *source_find(struct credentials *cs, const char *key)
{
	struct source *s;

	LIST_FOREACH (s, &cs->sources, link)
		if (strcmp(s->key, key) == 0)
			return s;
	return NULL;
}

static void answer(void *arg);

static struct source *source_get(struct credentials *cs, const char *key)
{
	struct source *s = source_find(cs, key);

	if (s)
		return s;
	s = xcalloc(1, sizeof(*s));
	s->key = xstrdup(key);
	LIST_INIT(&s->asks);
	timer_init(&s->again, cs->loop, answer, s);
	LIST_INSERT_HEAD(&cs->sources, s, link);
	return s;
}

static void source_free(struct source *s)
{
	assert(LIST_EMPTY(&s->asks));
	LIST_REMOVE(s, link);
	credential_list_release(&s->list);
	credential_release(&s->helped);
	timer_release(&s->again);
	free(s->key);
	free(s);
}

/* The helper first: where there is one, what the file still holds is older. */
static const struct credential *source_says(const struct source *s,
					    const char *repo)
{
	static const struct credential none;
	const struct credential *found;

	if (!credential_is_none(&s->helped))
		return &s->helped;
	found = credential_list_find(&s->list, repo);
	return found ? found : &none;
}

static void answer(void *source)
{
	struct source *s = source;
	LIST_HEAD(, credential_ask) asks = LIST_HEAD_INITIALIZER(asks);
	struct credential_ask *ask;
	struct why why = s->why;
	enum err err = s->err;

	while ((ask = LIST_FIRST(&s->asks))) {
		LIST_REMOVE(ask, link);
		LIST_INSERT_HEAD(&asks, ask, link);
	}
	while ((ask = LIST_FIRST(&asks))) {
		struct credential found = {0};
		credential_cb *cb = ask->cb;
		void *arg = ask->arg;

		if (!err)
			credential_copy(&found, source_says(s, ask->repo));
		LIST_REMOVE(ask, link);
		free(ask->repo);
		free(ask);
		cb(arg, err, &found, &why);
		credential_release(&found);
	}
}

/* ---- looking ---- */

static void look_done(struct job *job, void *object);

static void submit(struct credentials *cs, struct look *k, enum job_lane lane,
		   void (*run)(struct job *job))
{
	k->job.lane = lane;
	k->job.run = run;
	k->job.home = cs->loop;
	k->job.to = cs->handle;
	k->job.magic = CREDENTIALS_MAGIC;
	k->job.done = look_done;
	job_submit(cs->jobs, &k->job);
}

/* The file has been looked at: must a helper be asked as well? */
static bool wants_helper(struct source *s, struct look *k)
{
	const struct credential_list *list = k->changed ? &k->list : &s->list;

	if (k->err || k->helped || !list->helper)
		return false;
	return k->changed || now_ms() >= s->helper_until_ms;
}

static void take(struct source *s, struct look *k)
{
	s->looking = false;
	s->err = k->err;
	s->why = k->why;
	if (k->changed && !k->err) {
		credential_list_release(&s->list);
		s->list = k->list;
		memset(&k->list, 0, sizeof(k->list));
		s->stamp = k->stamp;
		credential_release(&s->helped);
		s->helper_until_ms = 0;
	}
	if (k->helped && !k->err) {
		credential_release(&s->helped);
		s->helped = k->cred;
		memset(&k->cred, 0, sizeof(k->cred));
		s->helper_until_ms = now_ms() + HELPER_KEEP_MS;
	}
	s->good_until_ms = now_ms() + (k->err    ? FAILED_KEEP_MS
				       : k->path ? FILE_KEEP_MS
						 : HELPER_KEEP_MS);
}

static void look_done(struct job *job, void *object)
{
	struct look *k = container_of(job, struct look, job);
	struct credentials *cs = object;
	struct source *s = cs ? source_find(cs, k->key) : NULL;

	if (!s) {
		look_free(k);
		return;
	}
	if (wants_helper(s, k)) {
		if (!k->changed) {
			k->list.helper = xstrdup(s->list.helper);
			k->list.server = xstrdup(s->list.server);
		}
		submit(cs, k, JOB_SLOW, helper_run);
		return;
	}
	take(s, k);
	look_free(k);
	answer(s);
}

/* "host" or "host:port" of an endpoint, as it stands in such files. */
static char *endpoint_place(const struct conf_url *url)
{
	const char *place = strstr(url->text, "://") + 3;

	return xstrndup(place, strcspn(place, "/"));
}

/* The first endpoint's own name, then the upstream's. */
static void set_hosts(struct look *k, struct upstream *up)
{
	const struct conf_upstream *conf = upstream_conf(up);
	char *place = endpoint_place(&conf->endpoints.v[0]);

	if (strcmp(place, upstream_name(up)) != 0)
		k->hosts[k->n_hosts++] = place;
	else
		free(place);
	k->hosts[k->n_hosts++] = xstrdup(upstream_name(up));
}

static void look_start(struct credentials *cs, struct source *s,
		       struct upstream *up)
{
	const struct conf_upstream *conf = upstream_conf(up);
	struct look *k = xcalloc(1, sizeof(*k));

	s->looking = true;
	timer_clear(&s->again);
	k->key = xstrdup(s->key);
	k->timeout_ms = conf->token_ms;
	k->stamp = s->stamp;
	set_hosts(k, up);
	if (conf->credentials == CONF_CRED_HELPER) {
		k->list.helper = xstrdup(conf->credential_helper);
		k->list.server = xstrdup(credential_server(upstream_name(up)));
		submit(cs, k, JOB_SLOW, helper_run);
		return;
	}
	k->path = xstrdup(conf->docker_config);
	submit(cs, k, JOB_SYNC, look_run);
}

static char *source_key(struct upstream *up)
{
	const struct conf_upstream *conf = upstream_conf(up);
	bool helper = conf->credentials == CONF_CRED_HELPER;

	return xasprintf("%s\n%s\n%s\n%s", upstream_name(up),
			 conf->endpoints.v[0].text, helper ? "helper" : "file",
			 helper ? conf->credential_helper
				: conf->docker_config);
}

/* ---- the public functions ---- */

/* The configuration's own; an empty user with "<token>" is as helpers say. */
static void from_conf(const struct conf_upstream *conf, struct credential *out)
{
	if (conf->username && strcmp(conf->username, "<token>") == 0) {
		out->identity_token = xstrdup(conf->password);
		return;
	}
	out->username = xstrdup(conf->username ? conf->username : "");
	out->password = xstrdup(conf->password);
}

bool credential_now(struct credentials *cs, struct upstream *up,
		    const char *repo, struct credential *out)
{
	const struct conf_upstream *conf = upstream_conf(up);
	struct source *s;
	char *key;

	memset(out, 0, sizeof(*out));
	if (conf->credentials == CONF_CRED_NONE)
		return true;
	if (conf->credentials == CONF_CRED_PASSWORD) {
		if (conf->password)
			from_conf(conf, out);
		return true;
	}
	key = source_key(up);
	s = source_find(cs, key);
	free(key);
	if (!s || s->err || s->good_until_ms <= now_ms())
		return false;
	credential_copy(out, source_says(s, repo));
	return true;
}

struct credential_ask *credential_ask(struct credentials *cs,
				      struct upstream *up, const char *repo,
				      credential_cb *cb, void *arg)
{
	struct credential_ask *ask = xcalloc(1, sizeof(*ask));
	char *key = source_key(up);
	struct source *s = source_get(cs, key);

	free(key);
	ask->repo = xstrdup(repo);
	ask->cb = cb;
	ask->arg = arg;
	LIST_INSERT_HEAD(&s->asks, ask, link);
	if (s->looking)
		return ask;
	if (s->good_until_ms > now_ms())
		timer_set(&s->again, 0);
	else
		look_start(cs, s, up);
	return ask;
}

void credential_cancel(struct credential_ask **ask)
{
	if (!*ask)
		return;
	LIST_REMOVE(*ask, link);
	free((*ask)->repo);
	free(*ask);
	*ask = NULL;
}

struct credentials *credentials_new(struct loop *l, struct jobs *jobs)
{
	struct credentials *cs = xcalloc(1, sizeof(*cs));

	cs->loop = l;
	cs->jobs = jobs;
	LIST_INIT(&cs->sources);
	cs->handle = loop_register(l, cs, CREDENTIALS_MAGIC);
	return cs;
}

void credentials_free(struct credentials **csp)
{
	struct credentials *cs = *csp;
	struct source *s;

	if (!cs)
		return;
	*csp = NULL;
	loop_unregister(cs->loop, &cs->handle);
	while ((s = LIST_FIRST(&cs->sources)))
		source_free(s);
	free(cs);
}
