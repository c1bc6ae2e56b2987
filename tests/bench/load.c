/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client that costs next to nothing, so that the server is what is
 * measured: N connections of one thread, bodies thrown away in the kernel
 * (MSG_TRUNC).
 *
 *   load -p PORT [-c connections] [-d seconds | -n requests] [-r bytes/s]
 *        [-s stop-after-bytes] [-H header] [-k] PATH...
 *
 * Of several paths each connection has one, in turn.
 * -d: each connection asks again and again (keep-alive) for so long.
 * -n: each connection makes so many requests, then it is done.
 * -r: each connection reads at most so fast.
 * -s: a connection hangs up after so many body bytes.
 * -k: connect, send nothing, stay until standard input ends.
 *
 * Prints one JSON object: seconds, bytes, requests, failed, statuses, and the
 * times to the first byte of the body and to the end, in milliseconds
 * (p50, p99, max).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX 16384
#define SAMPLES_MAX 2000000

struct conn {
	int fd;
	unsigned done_requests;
	bool in_body;
	char head[HEAD_MAX];
	size_t head_len;
	uint64_t body_left, body_got;
	uint64_t began_us, resume_us;
	bool first_byte_seen;
};

static struct {
	int port;
	unsigned conns, requests;
	double seconds;
	uint64_t rate, stop_after;
	const char *header;
	char **paths;
	unsigned n_paths;
	bool idle;
} opt = {.conns = 1};

static struct conn *conns;
static unsigned running;
static uint64_t total_bytes, total_requests, failed, statuses[6];
static double *first_ms, *end_ms;
static size_t n_first, n_end;
static int ep;
static uint64_t stop_us;

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void fatal(const char *what)
{
	perror(what);
	exit(1);
}

static void watch(struct conn *c, int op, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = c};

	if (epoll_ctl(ep, op, c->fd, &ev))
		fatal("epoll_ctl");
}

static void conn_open(struct conn *c)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)opt.port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int one = 1;

	c->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (c->fd < 0)
		fatal("socket");
	if (connect(c->fd, (struct sockaddr *)&sa, sizeof(sa)))
		fatal("connect");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	watch(c, EPOLL_CTL_ADD, EPOLLIN);
}

static void request_send(struct conn *c)
{
	char buf[2048];
	int n =
	    snprintf(buf, sizeof(buf),
		     "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s%s\r\n",
		     opt.paths[(c - conns) % opt.n_paths], opt.port,
		     opt.header ? opt.header : "", opt.header ? "\r\n" : "");

	c->in_body = false;
	c->first_byte_seen = false;
	c->head_len = 0;
	c->body_got = 0;
	c->began_us = now_us();
	if (send(c->fd, buf, (size_t)n, MSG_NOSIGNAL) != n)
		failed++;
}

static void conn_close(struct conn *c)
{
	if (c->fd < 0)
		return;
	close(c->fd);
	c->fd = -1;
	running--;
}

static void sample(double *to, size_t *n, uint64_t since)
{
	if (*n < SAMPLES_MAX)
		to[(*n)++] = (double)(now_us() - since) / 1000;
}

static void request_done(struct conn *c)
{
	total_requests++;
	sample(end_ms, &n_end, c->began_us);
	c->done_requests++;
	if ((opt.requests && c->done_requests >= opt.requests) ||
	    (stop_us && now_us() >= stop_us))
		conn_close(c);
	else
		request_send(c);
}

static bool parse_head(struct conn *c, size_t *body_in_buf)
{
	char *end, *p;
	unsigned status;

	c->head[c->head_len] = '\0';
	end = strstr(c->head, "\r\n\r\n");
	if (!end)
		return false;
	status = (unsigned)atoi(c->head + 9);
	statuses[status / 100 % 6]++;
	c->body_left = 0;
	for (p = c->head; p && p < end; p = strstr(p, "\r\n"), p += p ? 2 : 0)
		if (strncasecmp(p, "content-length:", 15) == 0)
			c->body_left = strtoull(p + 15, NULL, 10);
	*body_in_buf = c->head_len - (size_t)(end + 4 - c->head);
	if (status >= 400)
		failed++;
	return true;
}

static void got_body(struct conn *c, size_t n)
{
	if (n && !c->first_byte_seen) {
		c->first_byte_seen = true;
		sample(first_ms, &n_first, c->began_us);
	}
	total_bytes += n;
	c->body_got += n;
	c->body_left -= n;
	if (opt.stop_after && c->body_got >= opt.stop_after)
		conn_close(c);
	else if (c->body_left == 0)
		request_done(c);
}

/* With a rate: how much may be read now; 0 = later. */
static size_t allowance(struct conn *c, size_t want)
{
	uint64_t now = now_us(), allowed;

	if (!opt.rate)
		return want;
	allowed = (now - c->began_us) * opt.rate / 1000000;
	if (allowed <= c->body_got) {
		c->resume_us = now + 20000;
		watch(c, EPOLL_CTL_MOD, 0);
		return 0;
	}
	return allowed - c->body_got < want ? allowed - c->body_got : want;
}

static void readable(struct conn *c)
{
	static char sink[1 << 20];
	size_t want, extra = 0;
	ssize_t n;

	if (!c->in_body) {
		n = recv(c->fd, c->head + c->head_len,
			 HEAD_MAX - 1 - c->head_len, 0);
		if (n <= 0) {
			failed++;
			conn_close(c);
			return;
		}
		c->head_len += (size_t)n;
		if (!parse_head(c, &extra))
			return;
		c->in_body = true;
		if (extra > c->body_left)
			extra = c->body_left;
		got_body(c, extra);
		return;
	}
	want = c->body_left < sizeof(sink) ? c->body_left : sizeof(sink);
	want = allowance(c, want);
	if (!want)
		return;
	n = recv(c->fd, sink, want, MSG_TRUNC);
	if (n <= 0) {
		failed++;
		conn_close(c);
		return;
	}
	got_body(c, (size_t)n);
}

static void resume_slow(void)
{
	uint64_t now = now_us();

	for (unsigned i = 0; i < opt.conns; i++)
		if (conns[i].fd >= 0 && conns[i].resume_us &&
		    conns[i].resume_us <= now) {
			conns[i].resume_us = 0;
			watch(&conns[i], EPOLL_CTL_MOD, EPOLLIN);
		}
}

static void run(void)
{
	struct epoll_event ev[64];

	while (running) {
		int n = epoll_wait(ep, ev, 64, opt.rate ? 10 : 100);

		for (int i = 0; i < n; i++) {
			struct conn *c = ev[i].data.ptr;

			if (c->fd >= 0)
				readable(c);
		}
		if (opt.rate)
			resume_slow();
		if (stop_us && now_us() >= stop_us)
			break;
	}
}

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void print_times(const char *name, double *v, size_t n)
{
	qsort(v, n, sizeof(*v), by_value);
	printf(", \"%s\": {\"p50\": %.3f, \"p99\": %.3f, \"max\": %.3f}", name,
	       n ? v[n / 2] : 0.0, n ? v[n * 99 / 100] : 0.0,
	       n ? v[n - 1] : 0.0);
}

static void parse(int argc, char **argv)
{
	static char slash[] = "/", *root = slash;
	int o;

	while ((o = getopt(argc, argv, "p:c:d:n:r:s:H:k")) != -1) {
		switch (o) {
		case 'p':
			opt.port = atoi(optarg);
			break;
		case 'c':
			opt.conns = (unsigned)atoi(optarg);
			break;
		case 'd':
			opt.seconds = atof(optarg);
			break;
		case 'n':
			opt.requests = (unsigned)atoi(optarg);
			break;
		case 'r':
			opt.rate = strtoull(optarg, NULL, 10);
			break;
		case 's':
			opt.stop_after = strtoull(optarg, NULL, 10);
			break;
		case 'H':
			opt.header = optarg;
			break;
		case 'k':
			opt.idle = true;
			break;
		default:
			exit(2);
		}
	}
	opt.paths = optind < argc ? argv + optind : &root;
	opt.n_paths = optind < argc ? (unsigned)(argc - optind) : 1;
	if (!opt.requests && opt.seconds == 0)
		opt.requests = 1;
}

int main(int argc, char **argv)
{
	uint64_t begun;
	double seconds;

	parse(argc, argv);
	ep = epoll_create1(0);
	conns = calloc(opt.conns, sizeof(*conns));
	first_ms = malloc(SAMPLES_MAX * sizeof(double));
	end_ms = malloc(SAMPLES_MAX * sizeof(double));
	if (ep < 0 || !conns || !first_ms || !end_ms)
		fatal("start");
	begun = now_us();
	for (unsigned i = 0; i < opt.conns; i++) {
		conn_open(&conns[i]);
		running++;
	}
	if (opt.idle) {
		char c;

		printf("idle\n");
		fflush(stdout);
		while (read(0, &c, 1) > 0)
			;
		return 0;
	}
	if (opt.seconds > 0)
		stop_us = begun + (uint64_t)(opt.seconds * 1e6);
	for (unsigned i = 0; i < opt.conns; i++)
		request_send(&conns[i]);
	run();
	seconds = (double)(now_us() - begun) / 1e6;
	printf("{\"seconds\": %.6f, \"bytes\": %llu, \"requests\": %llu, "
	       "\"failed\": %llu, \"status\": [%llu, %llu, %llu, %llu]",
	       seconds, (unsigned long long)total_bytes,
	       (unsigned long long)total_requests, (unsigned long long)failed,
	       (unsigned long long)statuses[2], (unsigned long long)statuses[3],
	       (unsigned long long)statuses[4],
	       (unsigned long long)statuses[5]);
	print_times("first_ms", first_ms, n_first);
	print_times("end_ms", end_ms, n_end);
	printf("}\n");
	return 0;
}
