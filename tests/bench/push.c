/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client that pushes, and costs next to nothing: N threads with a
 * connection each, bodies by sendfile(2) out of one file.
 *
 *   push -p PORT -f FILE [-c clients] < LINES
 *
 *   image                              what follows is pushed by one client
 *   blob REPO DIGEST OFF LEN [OFF LEN] POST, PATCH with the bytes, PUT
 *   manifest REPO TAG OFF LEN          PUT
 *
 * Clients take images in turn until none is left.  A blob may be two pieces
 * of FILE, so that many large ones differ in their last bytes only.
 *
 * Prints one JSON object: seconds, images, bytes, failed, and the times from
 * an image's beginning to its end in milliseconds (p50, p99, max).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX 8192
#define LINE_MAX_LEN 1024

struct piece {
	unsigned long long off, len;
};

struct item {
	bool manifest;
	char repo[256], ref[160];
	struct piece pieces[2];
};

struct image {
	size_t first, n; /* items */
};

struct client {
	int fd;
	char head[HEAD_MAX];
	unsigned status;
	char location[2048];
	uint64_t bytes;
};

static int port, file = -1;
static struct item *items;
static struct image *images;
static size_t n_items, n_images, next_image, failed;
static uint64_t total_bytes;
static double *taken_ms;

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static void fatal(const char *what)
{
	perror(what);
	exit(1);
}

/* ---- HTTP ---- */

static void client_connect(struct client *c)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int one = 1;

	c->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&sa, sizeof(sa)))
		fatal("connect");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static bool send_piece(struct client *c, const struct piece *p)
{
	off_t off = (off_t)p->off, end = off + (off_t)p->len;

	while (off < end) {
		ssize_t n = sendfile(c->fd, file, &off, (size_t)(end - off));

		if (n <= 0 && errno != EINTR)
			return false;
		if (n > 0)
			c->bytes += (uint64_t)n;
	}
	return true;
}

static bool skip_body(struct client *c, size_t len)
{
	char sink[4096];

	while (len) {
		ssize_t n = recv(c->fd, sink,
				 len < sizeof(sink) ? len : sizeof(sink), 0);

		if (n <= 0)
			return false;
		len -= (size_t)n;
	}
	return true;
}

/* A path, however the server writes it. */
static void keep_location(struct client *c, const char *value)
{
	size_t len = strcspn(value, "\r");

	if (strncmp(value, "http://", 7) == 0) {
		size_t host = 7 + strcspn(value + 7, "/\r");

		value += host;
		len -= host;
	}
	if (len >= sizeof(c->location))
		len = sizeof(c->location) - 1;
	memcpy(c->location, value, len);
	c->location[len] = '\0';
}

static bool read_reply(struct client *c)
{
	size_t len = 0, body = 0, extra;
	char *end = NULL, *p;

	while (!end) {
		ssize_t n = recv(c->fd, c->head + len, HEAD_MAX - 1 - len, 0);

		if (n <= 0)
			return false;
		len += (size_t)n;
		c->head[len] = '\0';
		end = strstr(c->head, "\r\n\r\n");
	}
	c->status = (unsigned)atoi(c->head + 9);
	for (p = c->head; p && p < end; p = strstr(p, "\r\n"), p += p ? 2 : 0) {
		if (strncasecmp(p, "content-length:", 15) == 0)
			body = strtoull(p + 15, NULL, 10);
		else if (strncasecmp(p, "location: ", 10) == 0)
			keep_location(c, p + 10);
	}
	extra = len - (size_t)(end + 4 - c->head);
	return skip_body(c, body > extra ? body - extra : 0);
}

static bool ask(struct client *c, const char *method, const char *path,
		const char *more, const struct item *body, unsigned status)
{
	static const struct item none;
	const struct item *b = body ? body : &none;
	char head[4096];
	int n = snprintf(head, sizeof(head),
			 "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
			 "Content-Length: %llu\r\n%s\r\n",
			 method, path, port,
			 b->pieces[0].len + b->pieces[1].len, more);

	if (send(c->fd, head, (size_t)n,
		 MSG_NOSIGNAL | (body ? MSG_MORE : 0)) != n ||
	    !send_piece(c, &b->pieces[0]) || !send_piece(c, &b->pieces[1]) ||
	    !read_reply(c)) {
		fprintf(stderr, "%s %s: the connection broke\n", method, path);
		close(c->fd);
		client_connect(c);
		return false;
	}
	if (c->status != status)
		fprintf(stderr, "%s %s: %s\n", method, path, c->head);
	return c->status == status;
}

/* ---- pushing ---- */

static bool push_blob(struct client *c, const struct item *item)
{
	char path[4096];

	snprintf(path, sizeof(path), "/v2/%s/blobs/uploads/", item->repo);
	if (!ask(c, "POST", path, "", NULL, 202))
		return false;
	snprintf(path, sizeof(path), "%s", c->location);
	if (!ask(c, "PATCH", path, "Content-Type: application/octet-stream\r\n",
		 item, 202))
		return false;
	snprintf(path, sizeof(path), "%s%cdigest=%s", c->location,
		 strchr(c->location, '?') ? '&' : '?', item->ref);
	return ask(c, "PUT", path, "", NULL, 201);
}

static bool push_manifest(struct client *c, const struct item *item)
{
	char path[1024];

	snprintf(path, sizeof(path), "/v2/%s/manifests/%s", item->repo,
		 item->ref);
	return ask(c, "PUT", path,
		   "Content-Type: application/vnd.oci.image.manifest.v1+json"
		   "\r\n",
		   item, 201);
}

static bool push_image(struct client *c, const struct image *image)
{
	for (size_t i = image->first; i < image->first + image->n; i++)
		if (!(items[i].manifest ? push_manifest(c, &items[i])
					: push_blob(c, &items[i])))
			return false;
	return true;
}

static void *run(void *arg)
{
	struct client *c = arg;
	size_t i;

	while ((i = __atomic_fetch_add(&next_image, 1, __ATOMIC_RELAXED)) <
	       n_images) {
		double begun = now_ms();

		if (!push_image(c, &images[i]))
			__atomic_fetch_add(&failed, 1, __ATOMIC_RELAXED);
		taken_ms[i] = now_ms() - begun;
	}
	__atomic_fetch_add(&total_bytes, c->bytes, __ATOMIC_RELAXED);
	return NULL;
}

/* ---- what to do ---- */

static void read_item(const char *line)
{
	struct item *it;
	char kind[16];
	int n;

	items = realloc(items, (n_items + 1) * sizeof(*items));
	if (!items || !n_images)
		fatal(line);
	it = &items[n_items++];
	memset(it, 0, sizeof(*it));
	n = sscanf(line, "%15s %255s %159s %llu %llu %llu %llu", kind, it->repo,
		   it->ref, &it->pieces[0].off, &it->pieces[0].len,
		   &it->pieces[1].off, &it->pieces[1].len);
	if (n != 5 && n != 7)
		fatal(line);
	it->manifest = strcmp(kind, "manifest") == 0;
	images[n_images - 1].n++;
}

static void read_lines(void)
{
	char line[LINE_MAX_LEN];

	while (fgets(line, sizeof(line), stdin)) {
		if (strncmp(line, "image", 5) != 0) {
			read_item(line);
			continue;
		}
		images = realloc(images, (n_images + 1) * sizeof(*images));
		if (!images)
			fatal("images");
		images[n_images++] = (struct image){n_items, 0};
	}
	taken_ms = calloc(n_images + 1, sizeof(*taken_ms));
	if (!taken_ms)
		fatal("times");
}

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void print(double ms)
{
	double *v = taken_ms;
	size_t n = n_images;

	qsort(v, n, sizeof(*v), by_value);
	printf("{\"seconds\": %.6f, \"images\": %zu, \"bytes\": %llu, "
	       "\"failed\": %zu, \"ms\": {\"p50\": %.3f, \"p99\": %.3f, "
	       "\"max\": %.3f}}\n",
	       ms / 1e3, n, (unsigned long long)total_bytes, failed, v[n / 2],
	       v[n * 99 / 100], n ? v[n - 1] : 0.0);
}

int main(int argc, char **argv)
{
	unsigned n = 1;
	pthread_t *threads;
	struct client *clients;
	double begun;
	int o;

	while ((o = getopt(argc, argv, "p:f:c:")) != -1) {
		if (o == 'p')
			port = atoi(optarg);
		else if (o == 'f')
			file = open(optarg, O_RDONLY);
		else if (o == 'c')
			n = (unsigned)atoi(optarg);
		else
			return 2;
	}
	if (file < 0 || !n)
		fatal("open");
	read_lines();
	clients = calloc(n, sizeof(*clients));
	threads = calloc(n, sizeof(*threads));
	if (!clients || !threads)
		fatal("start");
	for (unsigned i = 0; i < n; i++)
		client_connect(&clients[i]);
	begun = now_ms();
	for (unsigned i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, run, &clients[i]))
			fatal("start");
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	print(now_ms() - begun);
	return 0;
}
