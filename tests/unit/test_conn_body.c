/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies of requests over loopback sockets, with a request.c of our own that
 * collects them; what it does is in the path:
 *
 *   /echo    answers with the body's length and sum
 *   /later   asks for the body after 30 ms
 *   /narrow  has 7 bytes of room at a time, now and then none
 *   /full    has no room until told
 *   /early   answers 416 without the body
 *   /middle  answers 507 after 100,000 bytes
 *   /letter  the same by a message, when more bytes lie in the socket
 *   /limit   takes 1,000 bytes
 *   /small   does not look for a body
 */
#include "tests/unit/conn_help.h"

#include <poll.h>
#include <signal.h>

/* ---- requests ---- */

#define ROOM 65536

struct request {
	struct conn *conn;
	struct timer timer;
	char path[64];
	unsigned char bytes[ROOM];
	size_t room; /* lent */
	uint64_t len, rooms;
	uint32_t sum;
	bool full, told;
};

/* The answer of /letter is on its way; its client sends on. */
static sem_t letter_is_out;

static unsigned n_whole, n_cut, n_gone, n_broken, n_started; /* atomic */
static uint64_t taken;                                       /* atomic */

static void request_free(struct request *r)
{
	timer_release(&r->timer);
	free(r);
}

void request_sent(struct request *r, bool whole, uint64_t body_bytes)
{
	(void)body_bytes;
	note(whole ? &n_whole : &n_cut);
	request_free(r);
}

void request_gone(struct request *r)
{
	note(&n_gone);
	request_free(r);
}

static void answer(struct conn *c, unsigned status, const char *text)
{
	size_t len = strlen(text);
	char head[256];
	int n;

	n = snprintf(head, sizeof(head),
		     "HTTP/1.1 %u X\r\nContent-Length: %zu\r\n%s\r\n", status,
		     len, conn_has_body(c) ? "Connection: close\r\n" : "");
	conn_reply(c, head, (size_t)n, body_memory(xstrdup(text), len), false);
}

void request_refuse(struct conn *c, unsigned status, const char *sentence)
{
	answer(c, status, sentence);
}

static bool is(const struct request *r, const char *path)
{
	return strcmp(r->path, path) == 0;
}

static uint32_t add_up(uint32_t sum, const unsigned char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum = sum * 31 + bytes[i];
	return sum;
}

static void *body_room(struct request *r, size_t *len)
{
	r->rooms++;
	CHECK(r->room == 0 || !is(r, "/narrow") || r->room == 7);
	if (r->full)
		return NULL;
	if (is(r, "/narrow") && r->rooms % 3 == 0) {
		timer_set(&r->timer, 1);
		return NULL;
	}
	*len = r->room = is(r, "/narrow") ? 7 : sizeof(r->bytes);
	return r->bytes;
}

/* As a worker's answer comes: in one turn with more bytes, and before them. */
static void on_letter(void *arg)
{
	struct request *r = arg;

	answer(r->conn, 507, "full");
}

static void body_took(struct request *r, size_t len)
{
	CHECK(len > 0 && len <= r->room);
	r->sum = add_up(r->sum, r->bytes, len);
	r->len += len;
	__atomic_store_n(&taken, r->len, __ATOMIC_RELEASE);
	CHECK(conn_body_taken(r->conn) == r->len);
	if (is(r, "/middle") && r->len >= 100000)
		answer(r->conn, 507, "full");
	if (is(r, "/letter") && !r->told && r->len >= 100000) {
		r->told = true;
		timer_set(&r->timer, 5);
	}
}

static void body_end(struct request *r)
{
	char text[64];

	CHECK(!conn_has_body(r->conn));
	snprintf(text, sizeof(text), "%" PRIu64 " %08" PRIx32, r->len, r->sum);
	answer(r->conn, 200, text);
}

static void body_broken(struct request *r, unsigned status,
			const char *sentence)
{
	CHECK(status == 400 || status == 408 || status == 413);
	CHECK(sentence && *sentence);
	note(&n_broken);
	answer(r->conn, status, sentence);
}

static const struct body_taker taker = {body_room, body_took, body_end,
					body_broken};

static void on_timer(void *arg)
{
	struct request *r = arg;

	if (is(r, "/letter")) {
		struct pollfd more = {.fd = r->conn->fd, .events = POLLIN};

		loop_call(loop, on_letter, r);
		sem_post(&letter_is_out);
		CHECK(poll(&more, 1, 10000) == 1);
		return;
	}
	if (is(r, "/later")) {
		conn_read_body(r->conn, &taker, UINT64_MAX);
		return;
	}
	r->full = false;
	/* As often as one likes. */
	conn_resume_body(r->conn);
	conn_resume_body(r->conn);
}

struct request *request_start(struct conn *c, const struct http_head *head)
{
	struct request *r = xcalloc(1, sizeof(*r));

	note(&n_started);
	r->conn = c;
	r->full = span_is(head->path, "/full");
	snprintf(r->path, sizeof(r->path), "%.*s", (int)head->path.len,
		 head->path.ptr);
	timer_init(&r->timer, conn_loop(c), on_timer, r);
	if (is(r, "/later"))
		timer_set(&r->timer, 30);
	else if (is(r, "/early"))
		answer(c, 416, "no");
	else if (is(r, "/small"))
		answer(c, 200, "small");
	else
		conn_read_body(c, &taker, is(r, "/limit") ? 1000 : UINT64_MAX);
	return r;
}

/* ---- starting and stopping ---- */

static void fake_start(void)
{
	server.conn_limits = (struct conn_limits){
	    .head_ms = 5000,
	    .idle_ms = 5000,
	    .body_stall_ms = 5000,
	    .write_stall_ms = 5000,
	    .linger_ms = 2000,
	};
	n_whole = n_cut = n_gone = n_broken = n_started = 0;
	taken = 0;
	loop = loop_new("serve");
	serve.server = &server;
	serve.loop = loop;
	LIST_INIT(&serve.conns);
	loop_start(loop);
}

static void fake_stop(void)
{
	loop_call(loop, cut_all, NULL);
	loop_stop(loop);
	loop_free(&loop);
	CHECK(LIST_EMPTY(&serve.conns));
	CHECK(serve.n_conns == 0);
}

/* ---- clients ---- */

static void say_bytes(int fd, const void *bytes, size_t len)
{
	const char *at = bytes;

	while (len > 0) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

		CHECK(n > 0);
		if (n <= 0)
			return;
		at += n;
		len -= (size_t)n;
	}
}

static void say(int fd, const char *text)
{
	say_bytes(fd, text, strlen(text));
}

/* Up to and with the empty line; false at the end of the stream. */
static bool read_head(int fd, char *head, size_t size)
{
	size_t n = 0;
	int c;

	head[0] = '\0';
	while (!strstr(head, "\r\n\r\n") && n < size - 1) {
		c = next_byte(fd);
		if (c < 0)
			return false;
		head[n++] = (char)c;
		head[n] = '\0';
	}
	return true;
}

static void expect(int fd, unsigned status, const char *body)
{
	char head[1024], text[1024];
	unsigned found = 0;
	const char *length;
	size_t len;

	CHECK(read_head(fd, head, sizeof(head)));
	CHECK(sscanf(head, "HTTP/1.1 %u", &found) == 1);
	if (found != status)
		printf("expected %u: %s\n", status, head);
	CHECK(found == status);
	length = strstr(head, "Content-Length: ");
	CHECK(length);
	if (!length)
		return;
	len = strtoul(length + 16, NULL, 10);
	CHECK(len < sizeof(text));
	CHECK(recv(fd, text, len, MSG_WAITALL) == (ssize_t)len);
	text[len] = '\0';
	if (body)
		CHECK_STR(text, body);
}

/* ---- bodies ---- */

static unsigned char *made;
#define MADE ((size_t)3 * 1024 * 1024 + 1234)

static void make_bytes(void)
{
	uint32_t x = 7;

	made = xmalloc(MADE);
	for (size_t i = 0; i < MADE; i++) {
		x = x * 1664525u + 1013904223u;
		made[i] = (unsigned char)(x >> 24);
	}
}

static char *sum_of(size_t len)
{
	return xasprintf("%zu %08" PRIx32, len, add_up(0, made, len));
}

static void expect_sum(int fd, size_t len)
{
	char *text = sum_of(len);

	expect(fd, 200, text);
	free(text);
}

struct text {
	char *bytes;
	size_t len, cap;
};

static void text_add(struct text *t, const void *bytes, size_t len)
{
	if (t->len + len >= t->cap) {
		t->cap = 2 * (t->len + len) + 1;
		t->bytes = xrealloc(t->bytes, t->cap);
	}
	memcpy(t->bytes + t->len, bytes, len);
	t->len += len;
	t->bytes[t->len] = '\0';
}

static void text_say(struct text *t, const char *words)
{
	text_add(t, words, strlen(words));
}

static void add_with_length(struct text *t, const char *path, size_t len)
{
	char *head = xasprintf("PUT %s HTTP/1.1\r\nHost: x\r\n"
			       "Content-Length: %zu\r\n\r\n",
			       path, len);

	text_say(t, head);
	text_add(t, made, len);
	free(head);
}

static void add_chunked(struct text *t, const char *path, size_t len,
			size_t chunk)
{
	char line[32];

	text_say(t, "PATCH ");
	text_say(t, path);
	text_say(t, " HTTP/1.1\r\nHost: x\r\n"
		    "Transfer-Encoding: chunked\r\n\r\n");
	for (size_t at = 0; at < len; at += chunk) {
		size_t n = MIN(chunk, len - at);

		snprintf(line, sizeof(line), "%zx;a=b\r\n", n);
		text_say(t, line);
		text_add(t, made + at, n);
		text_say(t, "\r\n");
	}
	text_say(t, "0\r\nTrailer: x\r\n\r\n");
}

#define SMALL "GET /small HTTP/1.1\r\nHost: x\r\n\r\n"

/* ---- tests ---- */

/* Two requests with bodies and one without, cut in two at every byte. */
static void a_body_may_be_cut_anywhere(void)
{
	struct text t = {0};
	int fd;

	add_with_length(&t, "/echo", 11);
	add_chunked(&t, "/echo", 17, 5);
	text_say(&t, SMALL);
	fake_start();
	fd = client();
	for (size_t cut = 0; cut <= t.len; cut++) {
		say_bytes(fd, t.bytes, cut);
		if (cut % 3 == 0)
			usleep(300);
		say_bytes(fd, t.bytes + cut, t.len - cut);
		expect_sum(fd, 11);
		expect_sum(fd, 17);
		expect(fd, 200, "small");
	}
	close(fd);
	free(t.bytes);
	fake_stop();
}

static void a_body_may_come_byte_by_byte(void)
{
	struct text t = {0};
	int fd;

	add_chunked(&t, "/narrow", 40, 9);
	add_with_length(&t, "/narrow", 40);
	add_with_length(&t, "/later", 3);
	fake_start();
	fd = client();
	for (size_t i = 0; i < t.len; i++) {
		say_bytes(fd, t.bytes + i, 1);
		usleep(200);
	}
	expect_sum(fd, 40);
	expect_sum(fd, 40);
	expect_sum(fd, 3);
	close(fd);
	free(t.bytes);
	fake_stop();
}

/* Everything at once, so that reads run over the ends of chunks and bodies. */
static void large_bodies_and_what_follows_them(void)
{
	static const size_t chunks[] = {1, 1000, 32768, 65536, 70000, MADE};
	struct text t;
	int fd;

	fake_start();
	fd = client();
	for (unsigned i = 0; i < ARRAY_LEN(chunks); i++) {
		size_t len = chunks[i] == 1 ? 5000 : MADE;

		t = (struct text){0};
		add_chunked(&t, "/echo", len, chunks[i]);
		add_with_length(&t, "/echo", MADE);
		text_say(&t, SMALL);
		add_chunked(&t, "/narrow", 2000, 100);
		add_with_length(&t, "/narrow", 2000);
		say_bytes(fd, t.bytes, t.len);
		expect_sum(fd, len);
		expect_sum(fd, MADE);
		expect(fd, 200, "small");
		expect_sum(fd, 2000);
		expect_sum(fd, 2000);
		free(t.bytes);
	}
	CHECK(look(&n_started) == 5 * ARRAY_LEN(chunks));
	close(fd);
	fake_stop();
}

static void no_body_is_an_empty_one(void)
{
	int fd;

	fake_start();
	fd = client();
	say(fd, "PUT /echo HTTP/1.1\r\nHost: x\r\n\r\n"
		"PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
		"PUT /later HTTP/1.1\r\nHost: x\r\n"
		"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMALL);
	expect_sum(fd, 0);
	expect_sum(fd, 0);
	expect_sum(fd, 0);
	expect(fd, 200, "small");
	close(fd);
	fake_stop();
}

#define EXPECT_HEAD(path)                                                      \
	"PUT " path " HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"            \
	"Expect: 100-continue\r\n\r\n"

static void who_waits_for_100_gets_it_when_the_body_is_wanted(void)
{
	char head[256], *sum = sum_of(5);
	int fd;

	fake_start();
	fd = client();
	for (int i = 0; i < 2; i++) {
		say(fd, i ? EXPECT_HEAD("/later") : EXPECT_HEAD("/echo"));
		CHECK(read_head(fd, head, sizeof(head)));
		CHECK_STR(head, "HTTP/1.1 100 Continue\r\n\r\n");
		say_bytes(fd, made, 5);
		expect(fd, 200, sum);
	}
	/* Who has begun already does not wait for it. */
	say(fd, EXPECT_HEAD("/later"));
	say_bytes(fd, made, 5);
	usleep(50000);
	CHECK(read_head(fd, head, sizeof(head)));
	close(fd);
	/* Nobody wants this one. */
	fd = client();
	say(fd, EXPECT_HEAD("/early"));
	expect(fd, 416, "no");
	expect_end(fd);
	close(fd);
	free(sum);
	fake_stop();
}

static void an_early_answer_is_seen_and_the_rest_thrown_away(void)
{
	struct text t = {0};
	int fd;

	add_with_length(&t, "/early", MADE);
	fake_start();
	fd = client();
	say_bytes(fd, t.bytes, t.len);
	expect(fd, 416, "no");
	expect_end(fd);
	close(fd);
	t.len = 0;
	add_chunked(&t, "/middle", MADE, 30000);
	text_say(&t, SMALL);
	fd = client();
	say_bytes(fd, t.bytes, t.len);
	expect(fd, 507, "full");
	expect_end(fd);
	close(fd);
	CHECK(look(&n_started) == 2);
	wait_for(&n_whole, 2);
	free(t.bytes);
	fake_stop();
}

static void an_answer_that_comes_between_two_reads_is_seen(void)
{
	struct text t = {0};

	add_with_length(&t, "/letter", MADE);
	sem_init(&letter_is_out, 0, 0);
	fake_start();
	for (int i = 0; i < 20; i++) {
		int fd = client();

		say_bytes(fd, t.bytes, 110000);
		sem_wait(&letter_is_out);
		say_bytes(fd, t.bytes + 110000, t.len - 110000);
		expect(fd, 507, "full");
		expect_end(fd);
		close(fd);
	}
	free(t.bytes);
	fake_stop();
}

static void what_is_too_big_is_413(void)
{
	struct text t = {0};
	int fd;

	fake_start();
	/* Before a byte of it, and before the 100. */
	fd = client();
	say(fd, "PUT /limit HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n"
		"Expect: 100-continue\r\n\r\n");
	expect(fd, 413, NULL);
	expect_end(fd);
	close(fd);
	fd = client();
	add_with_length(&t, "/limit", 1000);
	add_chunked(&t, "/limit", 1000, 300);
	add_chunked(&t, "/limit", 1001, 300);
	say_bytes(fd, t.bytes, t.len);
	expect_sum(fd, 1000);
	expect_sum(fd, 1000);
	expect(fd, 413, NULL);
	expect_end(fd);
	close(fd);
	wait_for(&n_broken, 2);
	free(t.bytes);
	fake_stop();
}

#define CHUNKED(path)                                                          \
	"PUT " path " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "              \
	"chunked\r\n\r\n"

static void broken_framing_is_400_and_ends_the_connection(void)
{
	static const char *const texts[] = {
	    CHUNKED("/echo") "5\r\nhelloX\n0\r\n\r\n" SMALL,
	    CHUNKED("/echo") "xyz\r\n" SMALL,
	    CHUNKED("/echo") "0\r\nbad trailer\r\n\r\n" SMALL,
	    CHUNKED("/narrow") "fffffffffffffffff\r\n" SMALL,
	};

	for (unsigned i = 0; i < ARRAY_LEN(texts); i++) {
		int fd;

		fake_start();
		fd = client();
		say(fd, texts[i]);
		expect(fd, 400, NULL);
		expect_end(fd);
		CHECK(look(&n_started) == 1 && look(&n_broken) == 1);
		close(fd);
		fake_stop();
	}
}

static void who_stalls_is_answered_408(void)
{
	uint64_t begin;
	int fd;

	fake_start();
	server.conn_limits.body_stall_ms = 200;
	fd = client();
	begin = now_ms();
	say(fd, "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n");
	/* A byte now and then is progress. */
	for (int i = 0; i < 5; i++) {
		usleep(80000);
		say(fd, "a");
	}
	expect(fd, 408, NULL);
	expect_end(fd);
	CHECK(now_ms() - begin >= 5 * 80 + 190);
	close(fd);
	/* So is silence of our own. */
	fd = client();
	begin = now_ms();
	say(fd, "PUT /full HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab");
	usleep(500000);
	CHECK(look(&n_broken) == 1);
	close(fd);
	fake_stop();
}

static void wake_full(void *arg)
{
	struct conn *c = LIST_FIRST(&serve.conns);

	(void)arg;
	if (c && c->request)
		on_timer(c->request);
}

/* No room: the bytes stay in the sockets, and the sender feels it. */
static void without_room_nothing_is_read(void)
{
	struct text t = {0};
	size_t sent = 0;
	int fd, quiet = 0;

	for (int i = 0; i < 8; i++)
		text_add(&t, made, MADE);
	fake_start();
	fd = client();
	say(fd, "PUT /full HTTP/1.1\r\nHost: x\r\n"
		"Content-Length: 1000000000\r\n\r\n");
	while (quiet < 10 && sent < t.len) {
		ssize_t n = send(fd, t.bytes + sent, t.len - sent,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		quiet = n > 0 ? 0 : quiet + 1;
		sent += n > 0 ? (size_t)n : 0;
		if (n <= 0)
			usleep(10000);
	}
	CHECK(quiet == 10 && sent < t.len);
	CHECK(__atomic_load_n(&taken, __ATOMIC_ACQUIRE) == 0);
	on_loop(wake_full, NULL);
	for (int i = 0; i < 5000; i++) {
		if (__atomic_load_n(&taken, __ATOMIC_ACQUIRE) == sent)
			break;
		usleep(1000);
	}
	CHECK(__atomic_load_n(&taken, __ATOMIC_ACQUIRE) == sent);
	close(fd);
	free(t.bytes);
	fake_stop();
}

static void who_closes_early_is_told_and_who_resets_is_gone(void)
{
	int fd;

	fake_start();
	fd = client();
	say(fd, "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab");
	CHECK(shutdown(fd, SHUT_WR) == 0);
	expect(fd, 400, NULL);
	expect_end(fd);
	close(fd);
	fd = client();
	say(fd, "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab");
	usleep(20000);
	reset(fd);
	wait_for(&n_gone, 1);
	/* The same while nothing is read. */
	fd = client();
	say(fd, "PUT /full HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab");
	usleep(20000);
	reset(fd);
	wait_for(&n_gone, 2);
	CHECK(look(&n_broken) == 1);
	/* A half-close behind a whole body is none of ours. */
	fd = client();
	say(fd, "PUT /later HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n");
	say_bytes(fd, made, 2);
	CHECK(shutdown(fd, SHUT_WR) == 0);
	expect_sum(fd, 2);
	expect_end(fd);
	close(fd);
	fake_stop();
}

/* Small requests have their turns beside uploads. */
static void uploads_and_small_requests_share_the_loop(void)
{
	struct text t = {0};
	uint64_t begin, worst = 0;
	int up, fd;

	add_with_length(&t, "/echo", MADE);
	fake_start();
	up = client();
	fd = client();
	for (int i = 0; i < 10; i++) {
		say_bytes(up, t.bytes, t.len);
		begin = now_ms();
		say(fd, SMALL);
		expect(fd, 200, "small");
		worst = MAX(worst, now_ms() - begin);
		expect_sum(up, MADE);
	}
	CHECK(worst < 1000);
	close(up);
	close(fd);
	free(t.bytes);
	fake_stop();
}

static void cut_first(void *arg)
{
	(void)arg;
	conn_cut(LIST_FIRST(&serve.conns));
}

static void a_connection_can_be_cut_in_the_middle(void)
{
	int fd;

	fake_start();
	fd = client();
	say(fd, "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab");
	usleep(20000);
	on_loop(cut_first, NULL);
	CHECK(look(&n_gone) == 1 && look(&n_broken) == 0);
	CHECK(next_byte(fd) == -1);
	close(fd);
	fake_stop();
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	sem_init(&sync_done, 0, 0);
	make_bytes();
	RUN(a_body_may_be_cut_anywhere);
	RUN(a_body_may_come_byte_by_byte);
	RUN(large_bodies_and_what_follows_them);
	RUN(no_body_is_an_empty_one);
	RUN(who_waits_for_100_gets_it_when_the_body_is_wanted);
	RUN(an_early_answer_is_seen_and_the_rest_thrown_away);
	RUN(an_answer_that_comes_between_two_reads_is_seen);
	RUN(what_is_too_big_is_413);
	RUN(broken_framing_is_400_and_ends_the_connection);
	RUN(who_stalls_is_answered_408);
	RUN(without_room_nothing_is_read);
	RUN(who_closes_early_is_told_and_who_resets_is_gone);
	RUN(uploads_and_small_requests_share_the_loop);
	RUN(a_connection_can_be_cut_in_the_middle);
	free(made);
	return unit_done();
}
