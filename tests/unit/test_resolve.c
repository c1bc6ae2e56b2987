/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/resolve.h"
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

/*
 * The C library's lookup, scripted: the program's own definition comes before
 * the library's.  "slow*" hangs until it is let go, "dead*" hangs and then
 * fails, "none*" does not exist, "two*" has two addresses.
 */
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool held;
static unsigned calls, hanging;
static bool broken; /* every lookup fails for now */

static void hang(void)
{
	hanging++;
	pthread_cond_broadcast(&changed);
	while (held)
		pthread_cond_wait(&changed, &mu);
	hanging--;
	pthread_cond_broadcast(&changed);
}

static struct addrinfo *one(const char *text, struct addrinfo *next)
{
	struct addrinfo *ai = xcalloc(1, sizeof(*ai));
	struct sockaddr_in *in = xcalloc(1, sizeof(*in));

	in->sin_family = AF_INET;
	if (inet_pton(AF_INET, text, &in->sin_addr) != 1)
		abort();
	ai->ai_family = AF_INET;
	ai->ai_addr = (struct sockaddr *)in;
	ai->ai_addrlen = sizeof(*in);
	ai->ai_next = next;
	return ai;
}

int getaddrinfo(const char *host, const char *service,
		const struct addrinfo *hints, struct addrinfo **out)
{
	int rc = 0;

	(void)service;
	(void)hints;
	pthread_mutex_lock(&mu);
	calls++;
	if (strncmp(host, "slow", 4) == 0 || strncmp(host, "dead", 4) == 0)
		hang();
	if (strncmp(host, "none", 4) == 0)
		rc = EAI_NONAME;
	else if (strncmp(host, "dead", 4) == 0 || broken)
		rc = EAI_AGAIN;
	pthread_mutex_unlock(&mu);
	if (rc == 0)
		*out = strncmp(host, "two", 3) == 0
			   ? one("192.0.2.1", one("192.0.2.2", NULL))
			   : one("192.0.2.9", NULL);
	return rc;
}

void freeaddrinfo(struct addrinfo *ai)
{
	while (ai) {
		struct addrinfo *next = ai->ai_next;

		free(ai->ai_addr);
		free(ai);
		ai = next;
	}
}

static void hold(bool on)
{
	pthread_mutex_lock(&mu);
	held = on;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&mu);
}

static void wait_hanging(unsigned n)
{
	pthread_mutex_lock(&mu);
	while (hanging != n)
		pthread_cond_wait(&changed, &mu);
	pthread_mutex_unlock(&mu);
}

static unsigned calls_so_far(void)
{
	unsigned n;

	pthread_mutex_lock(&mu);
	n = calls;
	pthread_mutex_unlock(&mu);
	return n;
}

/* ---- the frame ---- */

struct world {
	struct loop *loop;
	struct resolver *resolver;
	struct resolver_options opt;
	sem_t done;
};

static void open_it(void *arg)
{
	struct world *w = arg;

	w->resolver = resolver_new(w->loop, &w->opt);
	sem_post(&w->done);
}

static void close_it(void *arg)
{
	struct world *w = arg;

	resolver_free(&w->resolver);
	sem_post(&w->done);
}

static void world_open(struct world *w, unsigned threads, uint64_t fresh_ms,
		       uint64_t late_ms)
{
	memset(w, 0, sizeof(*w));
	w->opt = (struct resolver_options){threads, fresh_ms, late_ms};
	sem_init(&w->done, 0, 0);
	w->loop = loop_new("fetch");
	loop_start(w->loop);
	loop_call(w->loop, open_it, w);
	sem_wait(&w->done);
}

static void world_close(struct world *w)
{
	loop_call(w->loop, close_it, w);
	sem_wait(&w->done);
	loop_stop(w->loop);
	loop_free(&w->loop);
	sem_destroy(&w->done);
}

struct probe {
	struct world *w;
	const char *host;
	uint64_t timeout_ms;
	struct resolution *res;
	enum err err;
	struct resolved found;
	struct why why;
	uint64_t took_ms;
	bool cancel;
	sem_t done;
};

static void found_it(void *arg, enum err err, const struct resolved *found,
		     const struct why *why)
{
	struct probe *p = arg;

	CHECK(!p->cancel);
	p->err = err;
	p->found = *found;
	p->why = *why;
	p->took_ms = now_ms() - p->took_ms;
	sem_post(&p->done);
}

static void begin(void *arg)
{
	struct probe *p = arg;

	p->took_ms = now_ms();
	p->res = resolve_start(p->w->resolver, p->host, 5000, p->timeout_ms,
			       found_it, p);
	if (p->cancel) {
		resolve_cancel(&p->res);
		CHECK(!p->res);
		sem_post(&p->done);
	}
}

static void start(struct world *w, struct probe *p, const char *host,
		  uint64_t timeout_ms)
{
	bool cancel = p->cancel;

	memset(p, 0, sizeof(*p));
	p->w = w;
	p->host = host;
	p->timeout_ms = timeout_ms;
	p->cancel = cancel;
	sem_init(&p->done, 0, 0);
	loop_call(w->loop, begin, p);
}

static void finish(struct probe *p)
{
	sem_wait(&p->done);
	sem_destroy(&p->done);
}

static void ask(struct world *w, struct probe *p, const char *host,
		uint64_t timeout_ms)
{
	p->cancel = false;
	start(w, p, host, timeout_ms);
	finish(p);
}

static const char *text_of(const struct probe *p, unsigned i)
{
	static char text[INET6_ADDRSTRLEN];
	const void *sa = &p->found.addr[i];

	return address_text(sa, text);
}

/* ---- tests ---- */

static void names_and_literals_are_answered(void)
{
	struct world w;
	struct probe p;
	const void *sa = &p.found.addr[0];

	world_open(&w, 2, 0, 0);
	ask(&w, &p, "two.example", 5000);
	CHECK(p.err == ERR_OK && p.found.n == 2);
	CHECK_STR(text_of(&p, 0), "192.0.2.1");
	CHECK_STR(text_of(&p, 1), "192.0.2.2");
	CHECK(((const struct sockaddr_in *)sa)->sin_port == htons(5000));
	calls = 0;
	ask(&w, &p, "127.0.0.1", 5000);
	CHECK(p.err == ERR_OK && p.found.n == 1 && calls_so_far() == 0);
	ask(&w, &p, "::1", 5000);
	CHECK(p.err == ERR_OK && p.found.n == 1);
	ask(&w, &p, "none.example", 5000);
	CHECK(p.err == ERR_NOT_FOUND);
	CHECK_STR(p.why.text, "there is no host none.example");
	world_close(&w);
}

static void one_lookup_serves_many(void)
{
	struct world w;
	struct probe p[4] = {{0}};
	unsigned before = calls_so_far();

	world_open(&w, 4, 0, 0);
	hold(true);
	for (int i = 0; i < 4; i++)
		start(&w, &p[i], "slow.example", 5000);
	wait_hanging(1);
	hold(false);
	for (int i = 0; i < 4; i++) {
		finish(&p[i]);
		CHECK(p[i].err == ERR_OK && p[i].found.n == 1);
	}
	CHECK(calls_so_far() - before == 1);
	/* and is fresh for a while */
	ask(&w, &p[0], "slow.example", 5000);
	CHECK(calls_so_far() - before == 1);
	world_close(&w);
}

static void a_lookup_has_a_deadline(void)
{
	struct world w;
	struct probe p;

	world_open(&w, 2, 0, 0);
	hold(true);
	ask(&w, &p, "slow.example", 50);
	CHECK(p.err == ERR_TIMEOUT && p.took_ms >= 40 && p.took_ms < 2000);
	CHECK(strstr(p.why.text, "slow.example"));
	/* the free function does not wait for it */
	world_close(&w);
	hold(false);
	wait_hanging(0);
}

static void old_addresses_serve_while_a_lookup_is_late(void)
{
	struct world w;
	struct probe p;

	world_open(&w, 2, 1, 50);
	ask(&w, &p, "slow.example", 5000);
	usleep(20000);
	hold(true);
	ask(&w, &p, "slow.example", 5000);
	CHECK(p.err == ERR_OK && p.found.n == 1 && p.took_ms < 2000);
	hold(false);
	wait_hanging(0);
	/* and when it fails */
	broken = true;
	usleep(20000);
	ask(&w, &p, "slow.example", 5000);
	CHECK(p.err == ERR_OK && p.found.n == 1);
	broken = false;
	world_close(&w);
}

static void dead_names_delay_no_living_one(void)
{
	static const char *const dead[] = {"dead1.example", "dead2.example",
					   "dead3.example", "dead4.example"};
	struct world w;
	struct probe p[4] = {{0}}, q;

	world_open(&w, 4, 0, 0);
	hold(false);
	for (int i = 0; i < 4; i++) {
		ask(&w, &p[i], dead[i], 5000);
		CHECK(p[i].err == ERR_UNAVAILABLE);
	}
	/* From now on they are known to fail: half of the threads. */
	hold(true);
	for (int i = 0; i < 4; i++)
		start(&w, &p[i], dead[i], 5000);
	wait_hanging(2);
	for (int i = 0; i < 3; i++) {
		ask(&w, &q, i ? "two.example" : "other.example", 5000);
		CHECK(q.err == ERR_OK && q.took_ms < 1000);
	}
	hold(false);
	for (int i = 0; i < 4; i++)
		finish(&p[i]);
	wait_hanging(0);
	world_close(&w);
}

/* Nothing is known of them yet, and all threads hang. */
static void new_dead_names_delay_no_living_one(void)
{
	struct world w;
	char names[8][32];
	struct probe p[8] = {{0}}, q;

	world_open(&w, 2, 0, 50);
	hold(true);
	for (int i = 0; i < 8; i++) {
		snprintf(names[i], sizeof(names[i]), "dead%d.new", i);
		start(&w, &p[i], names[i], 5000);
	}
	wait_hanging(8);
	ask(&w, &q, "other.example", 5000);
	CHECK(q.err == ERR_OK && q.took_ms < 1000);
	hold(false);
	for (int i = 0; i < 8; i++) {
		finish(&p[i]);
		CHECK(p[i].err == ERR_UNAVAILABLE);
	}
	wait_hanging(0);
	/* And they are no more than half of the threads from now on. */
	hold(true);
	for (int i = 0; i < 4; i++)
		start(&w, &p[i], names[i], 5000);
	wait_hanging(1);
	usleep(200000);
	wait_hanging(1);
	hold(false);
	for (int i = 0; i < 4; i++)
		finish(&p[i]);
	world_close(&w);
}

static void a_cancelled_lookup_tells_nobody(void)
{
	struct world w;
	struct probe p = {.cancel = true};

	world_open(&w, 2, 0, 0);
	start(&w, &p, "two.example", 5000);
	finish(&p);
	p.cancel = true;
	start(&w, &p, "127.0.0.1", 5000);
	finish(&p);
	usleep(20000);
	world_close(&w);
}

int main(void)
{
	RUN(names_and_literals_are_answered);
	RUN(one_lookup_serves_many);
	RUN(a_lookup_has_a_deadline);
	RUN(old_addresses_serve_while_a_lookup_is_late);
	RUN(dead_names_delay_no_living_one);
	RUN(new_dead_names_delay_no_living_one);
	RUN(a_cancelled_lookup_tells_nobody);
	return unit_done();
}
