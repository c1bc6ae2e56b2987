/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FLIGHT_HELP_H
#define TESTS_FLIGHT_HELP_H
/*
 * A whole mirror around flights, but for the two ends: proxy/call.h is played
 * by an upstream that has one blob and faults on command, and connections by
 * clients that read bodies into memory.
 *
 *   client ─► flight_join ─► flights, flow, partial ... ─► struct call (here)
 *      ▲                                                          │
 *      └── body_flow, body_pass ◄── 16 KiB at a time ◄────────────┘
 */
#include "cache/blob.h"
#include "proxy/body_flow.h"
#include "proxy/conf.h"
#include "proxy/conn.h"
#include "proxy/flight.h"
#include "proxy/metrics.h"
#include "proxy/mirror.h"
#include "proxy/pass.h"
#include "proxy/server.h"
#include "proxy/sink.h"
#include "tests/unit/index_help.h"
#include "tests/unit/unit.h"

#include <pthread.h>

#define KB ((uint64_t)1024)
#define PIECE ((uint64_t)16 * KB)
#define UP "up.test"
#define REPO "library/a"

/* ---- the upstream ---- */

static pthread_mutex_t world_mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t world_changed = PTHREAD_COND_INITIALIZER;

#define ANY UINT64_MAX

/* What is wrong with some answers; the first fault that fits is used. */
struct fault {
	const char *repo; /* NULL: any */
	const char *upstream;
	bool asks, transfers; /* which; neither: both */
	uint64_t from;        /* only transfers that begin here or later */
	unsigned times;       /* how often still; 0: always */
	unsigned skip;        /* but not the first ones */

	unsigned status; /* instead of 200 and 206 */
	bool cdn;        /* where it had redirected to */
	uint64_t retry_after_s;
	enum err err;         /* no head at all */
	bool ignore_range;    /* 200 */
	bool no_length;       /* chunked; Content-Range without total */
	uint64_t told_size;   /* another size; 0: the true one */
	uint64_t break_after; /* bytes; 0: not */
	bool break_at_once;   /* after the head */
	uint64_t stall_after; /* bytes, until the fault is cleared; 0: not */
	uint64_t flip_at;     /* this byte of the blob is wrong; 0: none */
	uint64_t slow_ms;     /* between pieces */
	unsigned met;
	bool spent, cleared;
};
#define FAULTS_MAX 8
#define NOTES_MAX 512

/* A call that was made. */
struct note {
	char repo[64];
	bool is_ask, ranged, over;
	uint64_t first, last;
	uint64_t sent;
};

static struct world {
	uint8_t *blob;
	uint64_t size;
	struct digest dg;
	bool authorized;
	struct fault faults[FAULTS_MAX];
	unsigned n_faults;
	struct note notes[NOTES_MAX];
	unsigned n_notes;
	unsigned running, most_running;
} world;

static UNUSED void world_fill(uint64_t size)
{
	uint64_t x = 88172645463325252ULL + size;

	free(world.blob);
	memset(&world, 0, sizeof(world));
	world.blob = xmalloc(size + 1);
	world.size = size;
	for (uint64_t i = 0; i < size; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		world.blob[i] = (uint8_t)x;
	}
	digest_of(DIGEST_SHA256, world.blob, size, &world.dg);
}

static UNUSED unsigned fault(struct fault f)
{
	unsigned n;

	pthread_mutex_lock(&world_mu);
	assert(world.n_faults < FAULTS_MAX);
	n = world.n_faults++;
	world.faults[n] = f;
	pthread_mutex_unlock(&world_mu);
	return n;
}

static UNUSED void clear_fault(unsigned n)
{
	pthread_mutex_lock(&world_mu);
	world.faults[n].cleared = true;
	pthread_mutex_unlock(&world_mu);
}

struct caller {
	struct loop *loop;
};
struct call {
	struct loop *loop;
	struct timer timer;
	char repo[64], upstream[64];
	bool is_ask, ranged, headed, paused, over, cancelled, full;
	uint64_t first, last; /* as asked */
	uint64_t at, end;     /* of the answer */
	uint64_t sent;
	struct fault f;
	int fault_no;
	unsigned note_no;
	const struct call_events *ev;
	void *arg;
};

static struct caller the_caller;

struct caller *caller_new(struct loop *l, struct upstreams *ups UNUSED,
			  struct jobs *jobs UNUSED)
{
	the_caller.loop = l;
	return &the_caller;
}

void caller_free(struct caller **c)
{
	*c = NULL;
}

/* Nobody is told of anything here. */
struct dialer *caller_dialer(struct caller *c UNUSED)
{
	return NULL;
}

struct fetcher *caller_fetcher(struct caller *c UNUSED)
{
	return NULL;
}

static bool fits(const struct fault *f, const struct call *c)
{
	if (f->spent || f->cleared ||
	    (f->repo && strcmp(f->repo, c->repo) != 0) ||
	    (f->upstream && strcmp(f->upstream, c->upstream) != 0))
		return false;
	if ((f->asks || f->transfers) && !(c->is_ask ? f->asks : f->transfers))
		return false;
	return c->is_ask || c->first >= f->from;
}

/* Under world_mu. */
static void find_fault(struct call *c)
{
	c->fault_no = -1;
	for (unsigned i = 0; i < world.n_faults; i++) {
		struct fault *f = &world.faults[i];

		if (!fits(f, c))
			continue;
		if (f->skip) {
			f->skip--;
			continue;
		}
		f->met++;
		c->f = *f;
		c->fault_no = (int)i;
		f->spent = f->times && --f->times == 0;
		return;
	}
}

static void call_free(void *arg)
{
	struct call *c = arg;

	timer_release(&c->timer);
	free(c);
}

static void call_over(struct call *c)
{
	c->over = true;
	timer_clear(&c->timer);
	pthread_mutex_lock(&world_mu);
	world.notes[c->note_no].over = true;
	world.running -= !c->is_ask;
	pthread_cond_broadcast(&world_changed);
	pthread_mutex_unlock(&world_mu);
	loop_defer(c->loop, call_free, c);
}

static void call_done(struct call *c, enum err err, const char *text)
{
	struct why why = {{0}};

	if (err)
		snprintf(why.text, sizeof(why.text), "%s", text);
	call_over(c);
	c->ev->done(c->arg, err, c->headed, &why);
}

static bool call_head(struct call *c)
{
	uint64_t size = c->f.told_size ? c->f.told_size : world.size;
	struct call_head h = {
	    .status = c->f.status,
	    .content_type = "",
	    .length = CALL_LENGTH_UNKNOWN,
	    .range_total = CALL_LENGTH_UNKNOWN,
	    .from_registry = !c->f.cdn,
	    .has_retry_after = c->f.retry_after_s > 0,
	    .retry_after_s = c->f.retry_after_s,
	    .authorized = world.authorized,
	};

	c->headed = true;
	c->end = size;
	if (h.status)
		return c->ev->head(c->arg, &h);
	if (!c->ranged || c->f.ignore_range) {
		h.status = 200;
		if (!c->f.no_length)
			h.length = size;
		return c->ev->head(c->arg, &h);
	}
	h.has_range = true;
	h.range_total = c->f.no_length ? CALL_LENGTH_UNKNOWN : size;
	if (c->first >= size) {
		h.status = 416;
		h.range_total = size;
		return c->ev->head(c->arg, &h);
	}
	h.status = 206;
	h.range_first = c->at = c->first;
	h.range_last = MIN(c->last, size - 1);
	h.length = h.range_last - h.range_first + 1;
	c->end = h.range_last + 1;
	return c->ev->head(c->arg, &h);
}

/* How much of [at, end) may be sent now. */
static uint64_t piece_len(struct call *c)
{
	uint64_t n = MIN(PIECE, c->end - c->at);
	bool stalls;

	pthread_mutex_lock(&world_mu);
	stalls = c->fault_no >= 0 && c->f.stall_after &&
		 !world.faults[c->fault_no].cleared;
	pthread_mutex_unlock(&world_mu);
	if (c->f.break_after)
		n = MIN(n, c->f.break_after - c->sent);
	if (stalls)
		n = MIN(n, c->f.stall_after - c->sent);
	return n;
}

static void deliver(struct call *c, uint64_t n)
{
	uint8_t bytes[PIECE];
	enum fetch_take took;

	for (uint64_t i = 0; i < n; i++)
		bytes[i] = c->at + i < world.size ? world.blob[c->at + i] : 'x';
	if (c->f.flip_at >= c->at && c->f.flip_at < c->at + n && c->f.flip_at)
		bytes[c->f.flip_at - c->at] ^= 1;
	took = c->ev->data(c->arg, bytes, n);
	if (took == FETCH_PAUSE) {
		c->paused = true;
		return;
	}
	c->at += n;
	c->sent += n;
	pthread_mutex_lock(&world_mu);
	world.notes[c->note_no].sent += n;
	pthread_cond_broadcast(&world_changed);
	pthread_mutex_unlock(&world_mu);
	if (!c->cancelled && took == FETCH_STOP)
		call_done(c, ERR_OK, NULL);
}

static void call_fire(void *arg)
{
	struct call *c = arg;
	uint64_t n;

	if (!c->headed) {
		if (c->f.err) {
			call_done(c, c->f.err, UP " cannot be reached");
			return;
		}
		if (!call_head(c)) {
			if (!c->cancelled)
				call_done(c, ERR_OK, NULL);
			return;
		}
		if (c->f.break_at_once) {
			call_done(c, ERR_UNAVAILABLE, UP " broke off");
			return;
		}
	}
	for (unsigned i = 0; i < 4 && !c->over && !c->paused; i++) {
		if (c->at >= c->end) {
			call_done(c, ERR_OK, NULL);
			return;
		}
		if (c->f.break_after && c->sent >= c->f.break_after) {
			call_done(c, ERR_UNAVAILABLE, UP " broke off");
			return;
		}
		n = piece_len(c);
		if (!n || c->f.slow_ms) {
			if (n)
				deliver(c, n);
			if (!c->over)
				timer_set(&c->timer,
					  c->f.slow_ms ? c->f.slow_ms : 1);
			return;
		}
		deliver(c, n);
	}
	if (!c->over && !c->paused)
		timer_set(&c->timer, 0);
}

struct call *call_start(struct caller *caller, const struct call_spec *spec,
			const struct call_events *ev, void *arg)
{
	struct call *c = xcalloc(1, sizeof(*c));
	struct note *note;

	assert(caller && spec->what == CALL_BLOB);
	c->loop = caller->loop;
	snprintf(c->repo, sizeof(c->repo), "%s", spec->repo);
	snprintf(c->upstream, sizeof(c->upstream), "%s",
		 upstream_name(spec->up));
	c->ranged = spec->ranged;
	c->is_ask = spec->ranged && spec->first == 0 && spec->last == 0;
	c->first = spec->ranged ? spec->first : 0;
	c->last = spec->ranged ? spec->last : CALL_OPEN;
	CHECK(c->first <= c->last);
	c->ev = ev;
	c->arg = arg;
	pthread_mutex_lock(&world_mu);
	find_fault(c);
	assert(world.n_notes < NOTES_MAX);
	c->note_no = world.n_notes++;
	note = &world.notes[c->note_no];
	snprintf(note->repo, sizeof(note->repo), "%s", spec->repo);
	note->is_ask = c->is_ask;
	note->ranged = c->ranged;
	note->first = c->first;
	note->last = c->last;
	world.running += !c->is_ask;
	world.most_running = MAX(world.most_running, world.running);
	pthread_cond_broadcast(&world_changed);
	pthread_mutex_unlock(&world_mu);
	timer_init(&c->timer, c->loop, call_fire, c);
	timer_set(&c->timer, 0);
	return c;
}

void call_resume(struct call *c)
{
	assert(!c->over);
	if (!c->paused)
		return;
	c->paused = false;
	timer_set(&c->timer, 0);
}

void call_cancel(struct call **cp)
{
	struct call *c = *cp;

	*cp = NULL;
	if (!c)
		return;
	assert(!c->over);
	c->cancelled = true;
	call_over(c);
}

struct call_small *call_small_start(struct caller *caller UNUSED,
				    const struct call_spec *spec UNUSED,
				    size_t max_body UNUSED,
				    call_small_cb *cb UNUSED, void *arg UNUSED)
{
	abort(); /* flights ask no small questions */
}

void call_small_cancel(struct call_small **c UNUSED)
{
	abort();
}

#define PATIENCE_S 20
static struct mirror *mirror;

/* Until every flight has ended; false: one runs for ever. */
static UNUSED bool all_landed(void)
{
	for (unsigned i = 0; i < PATIENCE_S * 1000; i++) {
		if (flights_running(mirror_flights(mirror)) == 0)
			return true;
		usleep(1000);
	}
	return false;
}

/* ---- what was asked ---- */

static UNUSED unsigned count_calls(bool asks)
{
	unsigned n = 0;

	pthread_mutex_lock(&world_mu);
	for (unsigned i = 0; i < world.n_notes; i++)
		n += world.notes[i].is_ask == asks;
	pthread_mutex_unlock(&world_mu);
	return n;
}

/* By transfers, when all have ended. */
static UNUSED uint64_t bytes_fetched(void)
{
	uint64_t n = 0;

	CHECK(all_landed());
	pthread_mutex_lock(&world_mu);
	for (unsigned i = 0; i < world.n_notes; i++)
		n += world.notes[i].is_ask ? 0 : world.notes[i].sent;
	pthread_mutex_unlock(&world_mu);
	return n;
}

/* The n-th transfer (from 0); zeros if there is none. */
static UNUSED struct note transfer_note(unsigned n)
{
	struct note found = {.repo = ""};

	pthread_mutex_lock(&world_mu);
	for (unsigned i = 0; i < world.n_notes; i++)
		if (!world.notes[i].is_ask && n-- == 0)
			found = world.notes[i];
	pthread_mutex_unlock(&world_mu);
	return found;
}

/* ---- the daemon around it ---- */

static struct conf *the_conf;
static struct server server;
static struct loop *home;

struct conf *server_conf(struct server *s UNUSED)
{
	return conf_ref(the_conf);
}

static void worker_done(void *arg UNUSED)
{
	index_thread_done(cache_index(server.cache));
}

static void cache_said(void *arg UNUSED, enum cache_event event UNUSED,
		       const struct digest *dg UNUSED,
		       const struct why *why UNUSED)
{
}

static const char default_conf[] =
    "{\"upstreams\": {"
    "\"up.test\": {\"retry_min\": \"1ms\", \"retry_max\": \"4ms\","
    " \"retries\": 3, \"linger\": \"40ms\", \"first_byte\": \"1s\"},"
    "\"other.test\": {\"retry_min\": \"1ms\", \"retry_max\": \"4ms\"}},"
    "\"fetch\": {\"join_ahead\": \"256K\", \"announce\": \"64K\"}}";

static void open_world(uint64_t min_free)
{
	struct jobs_options jobs = {.threads = {2, 2, 1},
				    .thread_done = worker_done};
	char *data = test_path("data");
	struct cache_options opt = {
	    .data = data,
	    .min_free_bytes = min_free,
	    .max_inline_bytes = 4096,
	    .max_open_blobs = 4,
	    .index = {.map_bytes = 64 * MIB},
	    .event = cache_said,
	};
	struct why why = {{0}};

	if (cache_open(&opt, &server.cache, &why)) {
		fprintf(stderr, "cache_open: %s\n", why.text);
		exit(1);
	}
	free(data);
	server.jobs = jobs_new(&jobs);
	home = loop_new("home");
	loop_start(home);
	mirror = server.mirror = mirror_new(&server);
	mirror_start(mirror);
}

static UNUSED void set_up(uint64_t size)
{
	struct why why = {{0}};

	world_fill(size);
	test_dir_make();
	if (conf_load_text("test", default_conf, strlen(default_conf), NULL,
			   &the_conf, NULL, &why)) {
		fprintf(stderr, "conf: %s\n", why.text);
		exit(1);
	}
	open_world(0);
}

static void close_world(void)
{
	loop_stop(home);
	mirror_stop(mirror);
	loop_free(&home);
	mirror_free(&mirror);
	jobs_free(&server.jobs);
	index_thread_done(cache_index(server.cache));
	cache_close(&server.cache);
}

/* As after a restart of the daemon. */
static UNUSED void reopen(uint64_t min_free)
{
	close_world();
	open_world(min_free);
}

/* ---- clients ---- */

#define CLIENT_MAGIC 0x434c4e54
enum client_state { C_ASKED, C_READS, C_WHOLE, C_CUT, C_REFUSED, C_LEFT };

struct conn {
	int unused;
};

struct client {
	struct conn conn;
	struct sink sink;
	char upstream[64], repo[64];
	struct flow_range range; /* as asked */
	uint64_t hint;
	bool allowed;
	uint64_t limit; /* read no further than this many bytes */
	/* own loop */
	struct handle handle;
	struct body *body;
	bool pumping;
	/* under world_mu */
	enum client_state state;
	enum err err;
	unsigned status;
	bool joined;
	uint64_t size; /* of the blob, as told */
	uint64_t first, want;
	uint64_t got;
	bool wrong; /* a byte that is not the blob's */
};

static struct client *client_of(struct conn *c)
{
	return container_of(c, struct client, conn);
}

struct loop *conn_loop(struct conn *c UNUSED)
{
	return home;
}

struct server *conn_server(struct conn *c UNUSED)
{
	return &server;
}

static void take_bytes(struct client *c, const uint8_t *bytes, size_t len)
{
	uint64_t at = c->first + c->got;

	pthread_mutex_lock(&world_mu);
	c->wrong |=
	    at + len > world.size || memcmp(bytes, world.blob + at, len) != 0;
	c->got += len;
	pthread_cond_broadcast(&world_changed);
	pthread_mutex_unlock(&world_mu);
}

static size_t room(struct sink *s, uint64_t len)
{
	struct client *c = container_of(s, struct client, sink);
	uint64_t n = MIN(MIN(len, s->budget), c->limit - c->got);

	s->budget -= n;
	return (size_t)n;
}

size_t sink_memory(struct sink *s, const void *buf, size_t len,
		   bool more UNUSED)
{
	struct client *c = container_of(s, struct client, sink);

	len = room(s, len);
	take_bytes(c, buf, len);
	return len;
}

size_t sink_file(struct sink *s, int fd, uint64_t off, uint64_t len,
		 bool more UNUSED)
{
	struct client *c = container_of(s, struct client, sink);
	size_t n = room(s, len);
	uint8_t *buf = xmalloc(n + 1);

	CHECK(pread(fd, buf, n, (off_t)off) == (ssize_t)n);
	take_bytes(c, buf, n);
	free(buf);
	return n;
}

uint64_t sink_budget(const struct sink *s)
{
	return s->budget;
}

static void client_ends(struct client *c, enum client_state state)
{
	body_free(&c->body);
	loop_unregister(home, &c->handle);
	pthread_mutex_lock(&world_mu);
	c->state = state;
	pthread_cond_broadcast(&world_changed);
	pthread_mutex_unlock(&world_mu);
}

static void pump(void *arg)
{
	struct client *c = arg;

	c->pumping = false;
	if (!c->body)
		return;
	c->sink.budget = 128 * KB;
	switch (c->body->ops->send(c->body, &c->sink)) {
	case BODY_MORE:
		if (c->got < c->limit)
			conn_wake(&c->conn);
		break;
	case BODY_WAIT:
		break;
	case BODY_END:
		client_ends(c, c->got == c->want ? C_WHOLE : C_CUT);
		break;
	case BODY_CUT:
		client_ends(c, C_CUT);
		break;
	}
}

void conn_wake(struct conn *conn)
{
	struct client *c = client_of(conn);

	if (c->pumping)
		return;
	c->pumping = true;
	loop_defer(home, pump, c);
}

/* As serve_blob.c does: the range within the size that is known now. */
static bool resolve(struct client *c, uint64_t *last)
{
	uint64_t size = c->size;

	c->first = c->range.first;
	*last = size - 1;
	if (c->range.shape == FLOW_SUFFIX)
		c->first = size - MIN(size, c->range.suffix);
	if (c->range.shape == FLOW_BOUNDED)
		*last = MIN(c->range.last, size - 1);
	c->want = size && c->first <= *last ? *last - c->first + 1 : 0;
	return c->want > 0;
}

static void client_reads(struct client *c, struct body *body)
{
	c->body = body;
	c->body->conn = &c->conn;
	pthread_mutex_lock(&world_mu);
	c->state = C_READS;
	pthread_cond_broadcast(&world_changed);
	pthread_mutex_unlock(&world_mu);
	conn_wake(&c->conn);
}

static void client_passes(struct message *msg, void *object)
{
	struct pass_answer *a = container_of(msg, struct pass_answer, msg);
	struct client *c = object;
	uint64_t last;

	if (c && a->err) {
		c->err = a->err;
		c->status = a->status;
		client_ends(c, C_REFUSED);
	} else if (c) {
		c->size = a->size;
		if (resolve(c, &last)) {
			client_reads(c, body_pass(a->pass));
			a->pass = NULL;
		} else {
			client_ends(c, C_WHOLE);
		}
	}
	pass_answer_free(&a);
}

static void client_pass(struct client *c)
{
	struct pass_spec spec = {
	    .upstream = c->upstream,
	    .repo = c->repo,
	    .dg = world.dg,
	    .range = c->range,
	};

	pass_open(mirror, &spec, home, c->handle, CLIENT_MAGIC, client_passes);
}

static void client_answered(struct message *msg, void *object)
{
	struct flight_answer *a = container_of(msg, struct flight_answer, msg);
	struct client *c = object;
	uint64_t last;

	if (!c) {
		flight_answer_free(&a);
		return;
	}
	c->joined = a->joined;
	c->err = a->err;
	c->status = a->status;
	if (a->err == ERR_NO_SPACE || a->err == ERR_IO || a->err == ERR_BUSY) {
		client_pass(c);
	} else if (a->err) {
		client_ends(c, C_REFUSED);
	} else {
		c->size = flow_size(a->reader);
		if (resolve(c, &last)) {
			client_reads(c, body_flow(mirror, c->upstream, c->repo,
						  a->reader, c->first, last));
			a->reader = NULL;
		} else {
			client_ends(c, C_WHOLE);
		}
	}
	flight_answer_free(&a);
}

static void client_start(void *arg)
{
	struct client *c = arg;
	struct flight_ask ask = {
	    .upstream = c->upstream,
	    .repo = c->repo,
	    .dg = world.dg,
	    .range = c->range,
	    .size_hint = c->hint ? c->hint : FLOW_SIZE_UNKNOWN,
	    .allowed = c->allowed,
	};

	c->handle = loop_register(home, c, CLIENT_MAGIC);
	flight_join(mirror, &ask, home, c->handle, CLIENT_MAGIC,
		    client_answered);
}

static void client_leave_now(void *arg)
{
	struct client *c = arg;

	if (c->handle.generation)
		client_ends(c, C_LEFT);
}

static UNUSED void client_leave(struct client *c)
{
	loop_call(home, client_leave_now, c);
}

static void limit_lifted(void *arg)
{
	struct client *c = arg;

	c->limit = ANY;
	if (c->body)
		conn_wake(&c->conn);
}

/* Read on, to the end. */
static UNUSED void client_read_on(struct client *c)
{
	loop_call(home, limit_lifted, c);
}

static UNUSED struct client client_make(struct flow_range range)
{
	struct client c = {.range = range, .limit = ANY};

	snprintf(c.upstream, sizeof(c.upstream), UP);
	snprintf(c.repo, sizeof(c.repo), REPO);
	return c;
}

static UNUSED void client_go(struct client *c)
{
	loop_call(home, client_start, c);
}

static const struct flow_range whole = {FLOW_WHOLE, 0, 0, 0};

static UNUSED struct flow_range bounded(uint64_t first, uint64_t last)
{
	return (struct flow_range){FLOW_BOUNDED, first, last, 0};
}

static UNUSED struct flow_range open_from(uint64_t first)
{
	return (struct flow_range){FLOW_OPEN_END, first, 0, 0};
}

static UNUSED struct flow_range suffix(uint64_t n)
{
	return (struct flow_range){FLOW_SUFFIX, 0, 0, n};
}

/* ---- waiting ---- */

/* For the world to change, but no longer than 10 ms: workers change files
 * without telling it.  With world_mu. */
static UNUSED void wait_a_bit(void)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_nsec += 10000000;
	if (end.tv_nsec >= 1000000000) {
		end.tv_nsec -= 1000000000;
		end.tv_sec++;
	}
	pthread_cond_timedwait(&world_changed, &world_mu, &end);
}

/* Until `cond`, which is looked at under world_mu; a failed CHECK if never. */
#define WAIT_UNTIL(cond)                                                       \
	do {                                                                   \
		uint64_t end_ = now_ms() + PATIENCE_S * 1000;                  \
		bool ok_;                                                      \
		pthread_mutex_lock(&world_mu);                                 \
		while (!(ok_ = (cond)) && now_ms() < end_)                     \
			wait_a_bit();                                          \
		pthread_mutex_unlock(&world_mu);                               \
		if (!ok_)                                                      \
			fprintf(stderr, "%s:%d: never: %s\n", __FILE__,        \
				__LINE__, #cond);                              \
		unit_failed_checks += !ok_;                                    \
	} while (0)

static UNUSED void wait_end(struct client *c)
{
	WAIT_UNTIL(c->state >= C_WHOLE);
}

/* It has all that it asked for, and each byte is right. */
#define CHECK_WHOLE(c)                                                         \
	do {                                                                   \
		wait_end(c);                                                   \
		CHECK((c)->state == C_WHOLE);                                  \
		CHECK((c)->got == (c)->want);                                  \
		CHECK(!(c)->wrong);                                            \
	} while (0)

static UNUSED bool is_stored(void)
{
	struct index_txn *txn = index_read(cache_index(server.cache));
	struct blob_row row;
	bool found =
	    blob_get(txn, &world.dg, &row) == ERR_OK && row.size == world.size;

	index_read_end(txn);
	return found;
}

static UNUSED void tear_down(void)
{
	close_world();
	conf_unref(&the_conf);
	test_dir_remove();
	free(world.blob);
	world.blob = NULL;
}

#endif
