/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections over loopback sockets, with a request.c of our own that has one
 * behaviour per path:
 *
 *   /small      answers at once        /async   answers after 30 ms
 *   /hang       never answers          /file    a file, by body_file()
 *   /waits      a body that waits      /chain   three bodies as one
 *   /part       100 KB of the file, and then a body that says no more
 */
#include "cache/blob.h"
#include "tests/unit/conn_help.h"

#include <errno.h>
#include <signal.h>
#include <sys/stat.h>

/* ---- blobs: one file ---- */

#define FILE_BYTES ((size_t)9 * 1024 * 1024 + 77)
static int file_fd;
static unsigned char *file_bytes;

struct blob {
	unsigned pins; /* atomic */
};
static struct blob the_blob;
static enum resident residency; /* atomic */
static unsigned warmed;         /* atomic */

static struct blob *pin_file(void)
{
	return blob_repin(&the_blob);
}

struct blob *blob_repin(struct blob *b)
{
	__atomic_fetch_add(&b->pins, 1, __ATOMIC_RELAXED);
	return b;
}

void blob_unpin(struct blob **b)
{
	if (*b)
		__atomic_fetch_sub(&(*b)->pins, 1, __ATOMIC_RELAXED);
	*b = NULL;
}

int blob_fd(const struct blob *b)
{
	(void)b;
	return file_fd;
}

enum resident file_resident(int fd, uint64_t off, uint64_t len)
{
	(void)fd;
	CHECK(off + len <= FILE_BYTES + 10);
	return (enum resident)__atomic_load_n((int *)&residency,
					      __ATOMIC_RELAXED);
}

void file_warm(int fd, uint64_t off, uint64_t len)
{
	(void)fd;
	(void)off;
	(void)len;
	CHECK(loop_current() == NULL);
	__atomic_fetch_add(&warmed, 1, __ATOMIC_RELAXED);
}

/* ---- requests ---- */

struct request {
	struct conn *conn;
	struct timer timer;
	char path[64];
};

/* How they ended; the loop writes, tests read. */
static unsigned n_sent_whole, n_sent_cut, n_gone; /* atomic */
static uint64_t last_body_bytes;                  /* atomic */

static void request_free(struct request *r)
{
	timer_release(&r->timer);
	free(r);
}

void request_sent(struct request *r, bool whole, uint64_t body_bytes)
{
	__atomic_store_n(&last_body_bytes, body_bytes, __ATOMIC_RELAXED);
	note(whole ? &n_sent_whole : &n_sent_cut);
	request_free(r);
}

void request_gone(struct request *r)
{
	note(&n_gone);
	request_free(r);
}

static void answer(struct conn *c, unsigned status, struct body *body,
		   uint64_t len, bool close)
{
	char head[256];
	int n;

	n = snprintf(head, sizeof(head),
		     "HTTP/1.1 %u X\r\nContent-Length: %" PRIu64 "\r\n%s\r\n",
		     status, len, close ? "Connection: close\r\n" : "");
	conn_reply(c, head, (size_t)n, body, close);
}

void request_refuse(struct conn *c, unsigned status, const char *sentence)
{
	size_t len = strlen(sentence);

	answer(c, status, body_memory(xstrdup(sentence), len), len, true);
}

static void answer_hello(struct request *r)
{
	struct conn *c = r->conn;
	char *text = xasprintf("hello %s", r->path);
	size_t len = strlen(text);

	answer(c, 200, body_memory(text, len), len,
	       conn_has_body(c) || conn_is_draining(c));
}

static void on_async(void *arg)
{
	answer_hello(arg);
}

/* A body that gives "12345", a byte each 5 ms. */
struct waiting {
	struct body b;
	struct timer timer;
	unsigned allowed, at;
};

static void waiting_tick(void *arg)
{
	struct waiting *w = arg;

	w->allowed++;
	/* As often as one likes. */
	conn_wake(w->b.conn);
	conn_wake(w->b.conn);
}

static enum body_state waiting_send(struct body *b, struct sink *s)
{
	struct waiting *w = container_of(b, struct waiting, b);

	if (!w->timer.ev)
		timer_init(&w->timer, conn_loop(b->conn), waiting_tick, w);
	w->at += (unsigned)sink_memory(s, &"12345"[w->at],
				       w -> allowed - w -> at, false);
	if (w->at == 5)
		return BODY_END;
	if (w->at == w->allowed)
		timer_set(&w->timer, 5);
	return w->at == w->allowed ? BODY_WAIT : BODY_MORE;
}

static void waiting_free(struct body *b)
{
	struct waiting *w = container_of(b, struct waiting, b);

	timer_release(&w->timer);
	free(w);
}

static struct body *body_waiting(void)
{
	static const struct body_ops ops = {waiting_send, waiting_free};
	struct waiting *w = xcalloc(1, sizeof(*w));

	w->b.ops = &ops;
	return &w->b;
}

/* A body that has failed before its first byte. */
static enum body_state cut_send(struct body *b, struct sink *s)
{
	(void)b;
	(void)s;
	return BODY_CUT;
}

static struct body *body_cut(void)
{
	static const struct body_ops ops = {cut_send, waiting_free};
	struct waiting *w = xcalloc(1, sizeof(*w));

	w->b.ops = &ops;
	return &w->b;
}

/* A body that waits for ever. */
static enum body_state silent_send(struct body *b, struct sink *s)
{
	(void)b;
	(void)s;
	return BODY_WAIT;
}

static struct body *body_part(void)
{
	static const struct body_ops ops = {silent_send, waiting_free};
	struct waiting *w = xcalloc(1, sizeof(*w));
	struct body **parts = xcalloc(2, sizeof(*parts));

	w->b.ops = &ops;
	parts[0] = body_file(server.jobs, pin_file(), 0, 99999);
	parts[1] = &w->b;
	return body_chain(parts, 2);
}

static struct body *body_three(void)
{
	struct body **parts = xcalloc(3, sizeof(*parts));

	parts[0] = body_memory(xstrdup("<<"), 2);
	parts[1] = body_file(server.jobs, pin_file(), 100, 199);
	parts[2] = body_memory(xstrdup(">>"), 2);
	return body_chain(parts, 3);
}

/* "/file?100-199"; the length announced is the range's. */
static void answer_file(struct request *r, const struct http_head *head)
{
	unsigned long first = 0, last = FILE_BYTES - 1;
	char range[64] = "";

	if (head->query.ptr)
		snprintf(range, sizeof(range), "%.*s", (int)head->query.len,
			 head->query.ptr);
	if (range[0])
		CHECK(sscanf(range, "%lu-%lu", &first, &last) == 2);
	answer(r->conn, 200, body_file(server.jobs, pin_file(), first, last),
	       last - first + 1, false);
}

struct request *request_start(struct conn *c, const struct http_head *head)
{
	struct request *r = xcalloc(1, sizeof(*r));

	r->conn = c;
	snprintf(r->path, sizeof(r->path), "%.*s", (int)head->path.len,
		 head->path.ptr);
	timer_init(&r->timer, conn_loop(c), on_async, r);
	if (strcmp(r->path, "/async") == 0)
		timer_set(&r->timer, 30);
	else if (strcmp(r->path, "/file") == 0)
		answer_file(r, head);
	else if (strcmp(r->path, "/waits") == 0)
		answer(c, 200, body_waiting(), 5, false);
	else if (strcmp(r->path, "/cut") == 0)
		answer(c, 200, body_cut(), 5, false);
	else if (strcmp(r->path, "/chain") == 0)
		answer(c, 200, body_three(), 104, false);
	else if (strcmp(r->path, "/part") == 0)
		answer(c, 200, body_part(), 100001, false);
	else if (strcmp(r->path, "/hang") != 0)
		answer_hello(r);
	return r;
}

/* ---- starting and stopping ---- */

static void fake_start(void)
{
	struct jobs_options opt = {.threads = {1, 1, 1}};

	server.draining = false;
	server.conn_limits = (struct conn_limits){
	    .head_ms = 5000,
	    .idle_ms = 5000,
	    .write_stall_ms = 5000,
	    .linger_ms = 2000,
	};
	n_sent_whole = n_sent_cut = n_gone = warmed = 0;
	residency = RESIDENT_YES;
	loop = loop_new("serve");
	server.jobs = jobs_new(&opt);
	serve.server = &server;
	serve.loop = loop;
	LIST_INIT(&serve.conns);
	loop_start(loop);
}

static void fake_stop(void)
{
	loop_call(loop, cut_all, NULL);
	loop_stop(loop);
	jobs_free(&server.jobs);
	loop_free(&loop);
	CHECK(LIST_EMPTY(&serve.conns));
	CHECK(serve.n_conns == 0);
	CHECK(the_blob.pins == 0);
}

/* ---- clients ---- */

static void say(int fd, const char *text)
{
	CHECK(send(fd, text, strlen(text), MSG_NOSIGNAL) ==
	      (ssize_t)strlen(text));
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

/* Read one reply; returns the status, 0 if there is none, and the body's
 * bytes, NUL-terminated, in *body (malloc'd). */
static unsigned reply_of(int fd, char **body, size_t *body_len)
{
	char head[1024];
	size_t n = 0, len = 0, got = 0;
	unsigned status = 0;
	const char *cl;
	int c;

	*body = NULL;
	*body_len = 0;
	head[0] = '\0';
	while (!strstr(head, "\r\n\r\n") && n < sizeof(head) - 1) {
		c = next_byte(fd);
		if (c < 0)
			return 0;
		head[n++] = (char)c;
		head[n] = '\0';
	}
	CHECK(sscanf(head, "HTTP/1.1 %u", &status) == 1);
	cl = strstr(head, "Content-Length: ");
	if (cl)
		len = strtoul(cl + 16, NULL, 10);
	*body = xcalloc(1, len + 1);
	while (got < len) {
		ssize_t m = recv(fd, *body + got, len - got, 0);

		if (m <= 0)
			break;
		got += (size_t)m;
	}
	*body_len = got;
	return status;
}

static void expect(int fd, unsigned status, const char *body)
{
	size_t len;
	char *text;

	CHECK(reply_of(fd, &text, &len) == status);
	if (body)
		CHECK_STR(text, body);
	free(text);
}

/* ---- tests ---- */

static void count_inputs(void *arg)
{
	unsigned *n = arg;
	struct conn *c;

	LIST_FOREACH (c, &serve.conns, link)
		*n += c->in != NULL;
}

static void a_connection_serves_many_requests_and_idles_without_a_buffer(void)
{
	unsigned buffers = 0;
	int fd;

	fake_start();
	fd = client();
	for (int i = 0; i < 3; i++) {
		say(fd, GET("/small"));
		expect(fd, 200, "hello /small");
		say(fd, GET("/async"));
		expect(fd, 200, "hello /async");
	}
	wait_for(&n_sent_whole, 6);
	on_loop(count_inputs, &buffers);
	CHECK(buffers == 0);
	close(fd);
	fake_stop();
}

static void pipelined_requests_are_answered_in_order(void)
{
	char text[8192] = "", want[32];
	int fd;

	fake_start();
	fd = client();
	/* More than a turn answers, and one in the middle that waits. */
	for (int i = 0; i < 50; i++)
		snprintf(text + strlen(text), 100,
			 "GET %s%d HTTP/1.1\r\nHost: x\r\n\r\n",
			 i == 25 ? "/async?" : "/", i);
	say(fd, text);
	for (int i = 0; i < 50; i++) {
		snprintf(want, sizeof(want), "hello /%d", i);
		expect(fd, 200, i == 25 ? "hello /async" : want);
	}
	close(fd);
	fake_stop();
}

static void a_head_may_come_byte_by_byte(void)
{
	static const char text[] = GET("/small") GET("/other");
	int fd;

	fake_start();
	fd = client();
	for (size_t i = 0; i < sizeof(text) - 1; i++)
		CHECK(send(fd, text + i, 1, 0) == 1);
	expect(fd, 200, "hello /small");
	expect(fd, 200, "hello /other");
	close(fd);
	fake_stop();
}

static char *long_head(size_t value_len)
{
	char *value = xcalloc(1, value_len + 1), *text;

	memset(value, 'v', value_len);
	text =
	    xasprintf("GET /small HTTP/1.1\r\nHost: x\r\nA: %s\r\n\r\n", value);
	free(value);
	return text;
}

static void heads_up_to_the_limit_are_served_and_longer_ones_refused(void)
{
	char *fits = long_head(60000), *not = long_head(70000);
	int fd;

	fake_start();
	fd = client();
	say(fd, fits);
	expect(fd, 200, "hello /small");
	say(fd, not );
	expect(fd, 431, NULL);
	expect_end(fd);
	close(fd);
	__atomic_store_n(&server.conn_limits.max_head_bytes, 8192,
			 __ATOMIC_RELAXED);
	fd = client();
	say(fd, GET("/small"));
	expect(fd, 200, "hello /small");
	say(fd, fits);
	expect(fd, 431, NULL);
	expect_end(fd);
	close(fd);
	free(fits);
	free(not );
	fake_stop();
}

static void nonsense_is_refused_and_ends_the_connection(void)
{
	int fd;

	fake_start();
	fd = client();
	say(fd, "GET /small HTTP/1.1\r\nHost : x\r\n\r\n" GET("/small"));
	expect(fd, 400, NULL);
	expect_end(fd);
	close(fd);
	fake_stop();
}

static void a_tls_hello_is_answered_in_http_and_hung_up_on(void)
{
	int fd;

	fake_start();
	fd = client();
	say(fd, "\x16\x03\x01\x02");
	expect(fd, 400, NULL);
	expect_end(fd);
	close(fd);
	fake_stop();
}

static void the_head_deadline_is_absolute(void)
{
	uint64_t begin, ms;
	char *text, c;
	size_t len;
	int fd;

	fake_start();
	server.conn_limits.head_ms = 200;
	fd = client();
	say(fd, GET("/small"));
	expect(fd, 200, "hello /small");
	begin = now_ms();
	say(fd, "GET /");
	/* A byte now and then does not help. */
	while (recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
	       now_ms() - begin < 3000) {
		usleep(25000);
		send(fd, "a", 1, MSG_NOSIGNAL);
	}
	CHECK(reply_of(fd, &text, &len) == 408);
	ms = now_ms() - begin;
	CHECK(ms >= 190 && ms < 2000);
	free(text);
	close(fd);
	fake_stop();
}

static void silent_connections_are_closed_without_a_word(void)
{
	int fresh, used;

	fake_start();
	server.conn_limits.idle_ms = 100;
	fresh = client();
	used = client();
	say(used, GET("/small"));
	expect(used, 200, "hello /small");
	expect_end(fresh);
	expect_end(used);
	close(fresh);
	close(used);
	fake_stop();
}

static void who_half_closes_still_gets_the_reply(void)
{
	int fd;

	fake_start();
	fd = client();
	say(fd, GET("/async"));
	CHECK(shutdown(fd, SHUT_WR) == 0);
	expect(fd, 200, "hello /async");
	expect_end(fd);
	CHECK(n_gone == 0);
	close(fd);
	fake_stop();
}

static void a_reset_is_noticed_while_the_request_waits(void)
{
	int fd, pipelining, half;

	fake_start();
	fd = client();
	say(fd, GET("/hang"));
	usleep(20000);
	reset(fd);
	wait_for(&n_gone, 1);
	/* The same behind bytes that nobody reads, and behind a FIN. */
	pipelining = client();
	say(pipelining, GET("/hang") GET("/small"));
	usleep(20000);
	say(pipelining, GET("/small"));
	usleep(20000);
	reset(pipelining);
	wait_for(&n_gone, 2);
	half = client();
	say(half, GET("/hang"));
	shutdown(half, SHUT_WR);
	usleep(20000);
	CHECK(look(&n_gone) == 2);
	reset(half);
	wait_for(&n_gone, 3);
	fake_stop();
}

/* The client writes a body that nobody wants, and reads only then. */
static void an_early_reply_is_seen_behind_a_long_body(void)
{
	static char piece[65536];
	ssize_t n = 0;
	int fd;

	fake_start();
	fd = client();
	say(fd, "PUT /small HTTP/1.1\r\nHost: x\r\n"
		"Content-Length: 8388608\r\n\r\n");
	for (size_t sent = 0; sent < 8388608; sent += (size_t)n) {
		n = send(fd, piece, sizeof(piece), MSG_NOSIGNAL);
		CHECK(n > 0);
		if (n <= 0)
			break;
	}
	expect(fd, 200, "hello /small");
	expect_end(fd);
	close(fd);
	fake_stop();
}

/* What follows the head of a request with a body is never taken for a
 * request. */
static void a_body_is_not_read_as_the_next_request(void)
{
	int fd;

	fake_start();
	fd = client();
	say(fd,
	    "GET /small HTTP/1.1\r\nHost: x\r\nContent-Length: 37\r\n\r\n" GET(
		"/other"));
	expect(fd, 200, "hello /small");
	expect_end(fd);
	wait_for(&n_sent_whole, 1);
	close(fd);
	fake_stop();
}

static void linger_ends_after_its_time(void)
{
	uint64_t begin;
	int fd;

	fake_start();
	server.conn_limits.linger_ms = 100;
	fd = client();
	say(fd, "GET /small HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	expect(fd, 200, "hello /small");
	expect_end(fd);
	begin = now_ms();
	while (__atomic_load_n(&serve.n_conns, __ATOMIC_RELAXED) > 0 &&
	       now_ms() - begin < 3000)
		usleep(1000);
	CHECK(__atomic_load_n(&serve.n_conns, __ATOMIC_RELAXED) == 0);
	close(fd);
	fake_stop();
}

static void expect_file(int fd, size_t first, size_t len)
{
	size_t got;
	char *body;

	CHECK(reply_of(fd, &body, &got) == 200);
	CHECK(got == len);
	CHECK(got == len && memcmp(body, file_bytes + first, len) == 0);
	free(body);
}

static void files_are_sent_whole_and_in_part(void)
{
	static const enum resident kinds[] = {RESIDENT_YES, RESIDENT_NO,
					      RESIDENT_DONT_KNOW};
	int fd;

	for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
		fake_start();
		residency = kinds[i];
		fd = client();
		say(fd, GET("/file"));
		expect_file(fd, 0, FILE_BYTES);
		say(fd, GET("/file?100-199") GET("/file?5000000-5000000"));
		expect_file(fd, 100, 100);
		expect_file(fd, 5000000, 1);
		say(fd, GET("/chain"));
		expect(fd, 200, NULL);
		wait_for(&n_sent_whole, 4);
		/* Five windows, and one for each of the other three. */
		CHECK(look(&warmed) == (kinds[i] == RESIDENT_YES ? 0 : 8));
		close(fd);
		fake_stop();
	}
}

/* Its socket is full again and again. */
static void who_reads_through_a_small_socket_gets_it_all(void)
{
	int fd;

	fake_start();
	fd = client_with(16384, 65536);
	say(fd, GET("/file"));
	expect_file(fd, 0, FILE_BYTES);
	say(fd, GET("/small"));
	expect(fd, 200, "hello /small");
	close(fd);
	fake_stop();
}

static void look_at_cork(void *arg)
{
	int *on = arg;
	socklen_t len = sizeof(*on);

	CHECK(getsockopt(LIST_FIRST(&serve.conns)->fd, IPPROTO_TCP, TCP_CORK,
			 on, &len) == 0);
}

static bool is_corked(void)
{
	int on = -1;

	on_loop(look_at_cork, &on);
	return on != 0;
}

/* While there is more, only full packets leave; none is kept back then. */
static void nothing_is_kept_back_when_a_body_ends_or_waits(void)
{
	static char piece[42 + 100000]; /* head and body */
	int fd;

	fake_start();
	fd = client_with(16384, 65536);
	say(fd, GET("/file"));
	CHECK(recv(fd, piece, 1, MSG_PEEK) == 1);
	CHECK(is_corked());
	expect_file(fd, 0, FILE_BYTES);
	wait_for(&n_sent_whole, 1);
	CHECK(!is_corked());
	say(fd, GET("/part"));
	CHECK(recv(fd, piece, sizeof(piece), MSG_WAITALL) == sizeof(piece));
	CHECK(!is_corked());
	on_loop(cut_all, NULL);
	close(fd);
	fake_stop();
}

static void a_client_that_leaves_a_download_is_let_go(void)
{
	int fd;

	fake_start();
	residency = RESIDENT_NO;
	fd = client_with(16384, 65536);
	say(fd, GET("/file"));
	for (int i = 0; i < 100; i++)
		next_byte(fd);
	reset(fd);
	wait_for(&n_sent_cut, 1);
	fake_stop();
}

static void a_file_shorter_than_announced_cuts_the_connection(void)
{
	char range[100];
	size_t got;
	char *body;
	int fd;

	fake_start();
	fd = client();
	snprintf(range, sizeof(range),
		 "GET /file?%zu-%zu HTTP/1.1\r\nHost: x\r\n\r\n",
		 FILE_BYTES - 10, FILE_BYTES + 9);
	say(fd, range);
	CHECK(reply_of(fd, &body, &got) == 200);
	CHECK(got == 10);
	free(body);
	CHECK(next_byte(fd) == -1);
	wait_for(&n_sent_cut, 1);
	close(fd);
	fake_stop();
}

static void a_body_cut_before_its_head_ends_the_connection(void)
{
	int fd;

	fake_start();
	fd = client();
	say(fd, GET("/cut"));
	CHECK(next_byte(fd) == -1);
	wait_for(&n_sent_cut, 1);
	close(fd);
	fake_stop();
}

static void a_body_that_waits_is_woken(void)
{
	int fd;

	fake_start();
	fd = client();
	say(fd, GET("/waits") GET("/small"));
	expect(fd, 200, "12345");
	expect(fd, 200, "hello /small");
	wait_for(&n_sent_whole, 2);
	close(fd);
	fake_stop();
}

static void a_chain_of_bodies_is_one(void)
{
	size_t len;
	char *body;
	int fd;

	fake_start();
	fd = client();
	say(fd, GET("/chain"));
	CHECK(reply_of(fd, &body, &len) == 200);
	CHECK(len == 104 && memcmp(body, "<<", 2) == 0 &&
	      memcmp(body + 2, file_bytes + 100, 100) == 0 &&
	      memcmp(body + 102, ">>", 2) == 0);
	free(body);
	wait_for(&n_sent_whole, 1);
	CHECK(__atomic_load_n(&last_body_bytes, __ATOMIC_RELAXED) == 104);
	close(fd);
	fake_stop();
}

static void who_takes_nothing_is_cut_off(void)
{
	uint64_t begin;
	int fd;

	fake_start();
	server.conn_limits.write_stall_ms = 200;
	fd = client_with(16384, 65536);
	begin = now_ms();
	say(fd, GET("/file"));
	wait_for(&n_sent_cut, 1);
	CHECK(now_ms() - begin >= 190);
	close(fd);
	fake_stop();
}

/* A few bytes at a time, so that the server's kernel does not say "writable"
 * for longer than the deadline. */
static void who_takes_little_is_not_cut_off(void)
{
	static char piece[8192];
	int fd;

	fake_start();
	server.conn_limits.write_stall_ms = 400;
	fd = client_with(16384, 2 * 1024 * 1024);
	say(fd, GET("/file"));
	for (int i = 0; i < 30; i++) {
		usleep(50000);
		CHECK(recv(fd, piece, sizeof(piece), 0) > 0);
	}
	CHECK(look(&n_sent_cut) == 0);
	close(fd);
	fake_stop();
}

/* Requests without end from someone who reads no replies. */
static void a_pipelined_flood_stays_in_the_sockets(void)
{
	static const char text[] = GET("/file?0-65535");
	size_t sent = 0;
	unsigned buffers = 0;
	int fd, quiet = 0;

	fake_start();
	fd = client_with(16384, 65536);
	set_int(fd, SOL_SOCKET, SO_SNDBUF, 65536);
	while (quiet < 20 && sent < 64 * MIB) {
		ssize_t n = send(fd, text, sizeof(text) - 1,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		quiet = n > 0 ? 0 : quiet + 1;
		if (n > 0)
			sent += (size_t)n;
		else
			usleep(10000);
	}
	CHECK(quiet == 20 && sent < 32 * MIB);
	on_loop(count_inputs, &buffers);
	CHECK(buffers == 1);
	on_loop(cut_all, NULL);
	close(fd);
	fake_stop();
}

static void drain_all(void *arg)
{
	(void)arg;
	__atomic_store_n(&server.draining, true, __ATOMIC_RELAXED);
	conns_drain(&server, loop);
}

static void draining_closes_the_idle_and_answers_the_others(void)
{
	int idle, busy, fresh;

	fake_start();
	idle = client();
	busy = client();
	fresh = client();
	say(idle, GET("/small"));
	expect(idle, 200, "hello /small");
	wait_for(&n_sent_whole, 1);
	say(busy, GET("/async"));
	usleep(5000);
	on_loop(drain_all, NULL);
	expect_end(idle);
	expect(busy, 200, "hello /async");
	expect_end(busy);
	say(fresh, GET("/small"));
	expect(fresh, 200, "hello /small");
	expect_end(fresh);
	close(idle);
	close(busy);
	close(fresh);
	fake_stop();
}

static void cutting_ends_what_is_left(void)
{
	int hanging, waiting;

	fake_start();
	hanging = client();
	waiting = client_with(16384, 65536);
	say(hanging, GET("/hang"));
	say(waiting, GET("/file"));
	usleep(50000);
	on_loop(cut_all, NULL);
	CHECK(look(&n_gone) == 1 && look(&n_sent_cut) == 1);
	CHECK(next_byte(hanging) == -1);
	close(hanging);
	close(waiting);
	fake_stop();
}

static void check_peer(void *arg)
{
	struct conn *c = LIST_FIRST(&serve.conns);

	(void)arg;
	CHECK(c && strncmp(conn_peer(c), "127.0.0.1:", 10) == 0);
	CHECK(c && conn_peer_is_loopback(c));
	CHECK(c && conn_role(c) == &role && conn_server(c) == &server);
}

static void the_peer_has_a_name(void)
{
	int fd;

	fake_start();
	fd = client();
	on_loop(check_peer, NULL);
	close(fd);
	fake_stop();
}

static void make_file(void)
{
	char path[] = "/tmp/test_conn.XXXXXX";
	uint32_t x = 1;

	file_fd = mkstemp(path);
	unlink(path);
	file_bytes = xmalloc(FILE_BYTES);
	for (size_t i = 0; i < FILE_BYTES; i++) {
		x = x * 1664525u + 1013904223u;
		file_bytes[i] = (unsigned char)(x >> 24);
	}
	CHECK(write(file_fd, file_bytes, FILE_BYTES) == (ssize_t)FILE_BYTES);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	sem_init(&sync_done, 0, 0);
	make_file();
	RUN(a_connection_serves_many_requests_and_idles_without_a_buffer);
	RUN(pipelined_requests_are_answered_in_order);
	RUN(a_head_may_come_byte_by_byte);
	RUN(heads_up_to_the_limit_are_served_and_longer_ones_refused);
	RUN(nonsense_is_refused_and_ends_the_connection);
	RUN(a_tls_hello_is_answered_in_http_and_hung_up_on);
	RUN(the_head_deadline_is_absolute);
	RUN(silent_connections_are_closed_without_a_word);
	RUN(who_half_closes_still_gets_the_reply);
	RUN(a_reset_is_noticed_while_the_request_waits);
	RUN(an_early_reply_is_seen_behind_a_long_body);
	RUN(a_body_is_not_read_as_the_next_request);
	RUN(linger_ends_after_its_time);
	RUN(files_are_sent_whole_and_in_part);
	RUN(who_reads_through_a_small_socket_gets_it_all);
	RUN(nothing_is_kept_back_when_a_body_ends_or_waits);
	RUN(a_client_that_leaves_a_download_is_let_go);
	RUN(a_file_shorter_than_announced_cuts_the_connection);
	RUN(a_body_cut_before_its_head_ends_the_connection);
	RUN(a_body_that_waits_is_woken);
	RUN(a_chain_of_bodies_is_one);
	RUN(who_takes_nothing_is_cut_off);
	RUN(who_takes_little_is_not_cut_off);
	RUN(a_pipelined_flood_stays_in_the_sockets);
	RUN(draining_closes_the_idle_and_answers_the_others);
	RUN(cutting_ends_what_is_left);
	RUN(the_peer_has_a_name);
	free(file_bytes);
	close(file_fd);
	return unit_done();
}
