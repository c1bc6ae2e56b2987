/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SITE_H
#define TESTS_SITE_H
/*
 * A scripted HTTP server on loopback, for one test: a port, a function that
 * answers, and what was asked.  One thread a connection; one request each,
 * unless the test wants to keep it.
 */
#include "cache/base.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#define SITE_REQUESTS 128

struct request {
	char method[8];
	char target[2048];
	char head[8192]; /* all of it */
	char body[4096];
};

struct site {
	int fd;
	uint16_t port;
	void (*answer)(struct site *s, int fd, const struct request *rq);
	pthread_t thread, workers[SITE_REQUESTS];
	pthread_mutex_t mu; /* guards all below */
	struct request asked[SITE_REQUESTS];
	unsigned n;
	unsigned visits; /* connections */
	bool keep;       /* many requests a connection */
	int number;      /* the test's own */
	bool flag;       /* the same */
};

/* The value of a field, or NULL; static for the calling thread. */
static inline const char *request_field(const struct request *rq,
					const char *name)
{
	static __thread char value[4096];
	const char *p = rq->head;
	size_t len = strlen(name);

	while ((p = strstr(p, "\r\n"))) {
		p += 2;
		if (strncasecmp(p, name, len) != 0 || p[len] != ':')
			continue;
		p += len + 1;
		p += strspn(p, " ");
		snprintf(value, sizeof(value), "%.*s", (int)strcspn(p, "\r"),
			 p);
		return value;
	}
	return NULL;
}

static inline void say(int fd, const char *fmt, ...) PRINTF_LIKE(2, 3);
static inline void say(int fd, const char *fmt, ...)
{
	char text[16384];
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (int at = 0; at < len;) {
		ssize_t n =
		    send(fd, text + at, (size_t)(len - at), MSG_NOSIGNAL);

		if (n <= 0)
			return;
		at += (int)n;
	}
}

/* A whole answer; `fields` ends each of its lines with \r\n. */
static inline void say_all(int fd, const char *status, const char *fields,
			   const char *body)
{
	say(fd,
	    "HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %zu\r\n"
	    "%s\r\n%s",
	    status, strlen(body), fields, body);
}

static inline bool site_read(int fd, struct request *rq)
{
	size_t len = 0, want = 0, have = 0;
	const char *field;
	char *end = NULL;

	memset(rq, 0, sizeof(*rq));
	while (!end) {
		ssize_t n =
		    recv(fd, rq->head + len, sizeof(rq->head) - 1 - len, 0);

		if (n <= 0)
			return false;
		len += (size_t)n;
		end = strstr(rq->head, "\r\n\r\n");
	}
	field = request_field(rq, "Content-Length");
	want = field ? strtoul(field, NULL, 10) : 0;
	have = len - (size_t)(end + 4 - rq->head);
	memcpy(rq->body, end + 4, have);
	end[2] = '\0';
	while (have < want) {
		ssize_t n =
		    recv(fd, rq->body + have, sizeof(rq->body) - 1 - have, 0);

		if (n <= 0)
			return false;
		have += (size_t)n;
	}
	return sscanf(rq->head, "%7s %2047s", rq->method, rq->target) == 2;
}

struct site_visit {
	struct site *site;
	int fd;
};

static inline void *site_visit(void *arg)
{
	struct site_visit *v = arg;
	struct site *s = v->site;
	struct request rq;

	pthread_mutex_lock(&s->mu);
	s->visits++;
	pthread_mutex_unlock(&s->mu);
	while (site_read(v->fd, &rq)) {
		pthread_mutex_lock(&s->mu);
		if (s->n < SITE_REQUESTS)
			s->asked[s->n++] = rq;
		pthread_mutex_unlock(&s->mu);
		s->answer(s, v->fd, &rq);
		if (!s->keep)
			break;
	}
	close(v->fd);
	free(v);
	return NULL;
}

static inline void *site_run(void *arg)
{
	struct site *s = arg;
	unsigned n = 0;
	int fd;

	while ((fd = accept(s->fd, NULL, NULL)) >= 0 && n < SITE_REQUESTS) {
		struct site_visit *v = xcalloc(1, sizeof(*v));

		v->site = s;
		v->fd = fd;
		pthread_create(&s->workers[n++], NULL, site_visit, v);
	}
	for (unsigned i = 0; i < n; i++)
		pthread_join(s->workers[i], NULL);
	return NULL;
}

static inline struct site *site_new(void (*answer)(struct site *s, int fd,
						   const struct request *rq))
{
	struct site *s = xcalloc(1, sizeof(*s));
	struct sockaddr_in in = {.sin_family = AF_INET};
	socklen_t len = sizeof(in);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->fd < 0 || bind(s->fd, (struct sockaddr *)&in, len) < 0 ||
	    listen(s->fd, 64) < 0 ||
	    getsockname(s->fd, (struct sockaddr *)&in, &len) < 0)
		abort();
	s->port = ntohs(in.sin_port);
	s->answer = answer;
	pthread_mutex_init(&s->mu, NULL);
	pthread_create(&s->thread, NULL, site_run, s);
	return s;
}

static inline void site_free(struct site **sp)
{
	struct site *s = *sp;

	shutdown(s->fd, SHUT_RDWR);
	pthread_join(s->thread, NULL);
	close(s->fd);
	pthread_mutex_destroy(&s->mu);
	free(s);
	*sp = NULL;
}

/* How many requests were for targets that begin with `prefix`. */
static inline unsigned site_count(struct site *s, const char *prefix)
{
	unsigned n = 0;

	pthread_mutex_lock(&s->mu);
	for (unsigned i = 0; i < s->n; i++)
		n += strncmp(s->asked[i].target, prefix, strlen(prefix)) == 0;
	pthread_mutex_unlock(&s->mu);
	return n;
}

/* The i-th request; the tests look when nothing runs. */
static inline const struct request *site_asked(struct site *s, unsigned i)
{
	static const struct request none;

	return i < s->n ? &s->asked[i] : &none;
}

#endif
