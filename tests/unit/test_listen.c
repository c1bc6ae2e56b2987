/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/listen.h"
#include "proxy/log.h"
#include "proxy/server.h"
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- two serve loops, whose connections say their loop's number ---- */

static struct server server;
static struct serve serves[2];
static int held[64];    /* accepted and kept open */
static unsigned n_held; /* atomic */
static const struct listener_role *last_role;

void conn_accept(struct server *srv, struct loop *l, int fd,
		 const struct listener_role *role)
{
	char c = l == serves[0].loop ? '0' : '1';
	int nodelay = 0;
	socklen_t len = sizeof(nodelay);

	CHECK(srv == &server && loop_current() == l);
	CHECK((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
	CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
	CHECK(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &len) == 0 &&
	      nodelay);
	__atomic_store_n(&last_role, role, __ATOMIC_RELAXED);
	held[__atomic_fetch_add(&n_held, 1, __ATOMIC_RELAXED)] = fd;
	CHECK(send(fd, &c, 1, MSG_NOSIGNAL) == 1);
}

static struct acceptor *acceptor;

static void fake_start(unsigned max)
{
	n_held = 0;
	server.accept_loop = loop_new("accept");
	server.serves = serves;
	server.n_serves = 2;
	for (unsigned i = 0; i < 2; i++) {
		serves[i] = (struct serve){.server = &server};
		serves[i].loop = loop_new("serve");
		loop_start(serves[i].loop);
	}
	acceptor = acceptor_new(&server);
	acceptor_set_max(acceptor, max);
	loop_start(server.accept_loop);
}

static void fake_stop(void)
{
	acceptor_stop(acceptor);
	loop_stop(server.accept_loop);
	for (unsigned i = 0; i < 2; i++)
		loop_stop(serves[i].loop);
	acceptor_free(&acceptor);
	CHECK(acceptor == NULL);
	loop_free(&server.accept_loop);
	for (unsigned i = 0; i < 2; i++)
		loop_free(&serves[i].loop);
	for (unsigned i = 0; i < n_held; i++)
		close(held[i]);
}

/* ---- addresses and clients ---- */

static struct sockaddr_in v4_any_port(void)
{
	struct sockaddr_in sin = {.sin_family = AF_INET};

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return sin;
}

static int open_v4(void)
{
	struct sockaddr_in sin = v4_any_port();
	struct why why;
	int fd = -1;

	CHECK(listen_open((void *)&sin, sizeof(sin), &fd, &why) == ERR_OK);
	return fd;
}

static int connect_to(int listener)
{
	struct timeval limit = {.tv_sec = 10};
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int fd;

	CHECK(getsockname(listener, (void *)&ss, &len) == 0);
	fd = socket(ss.ss_family, SOCK_STREAM, 0);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) ==
	      0);
	CHECK(connect(fd, (void *)&ss, len) == 0);
	return fd;
}

static char first_byte(int fd)
{
	char c = '?';

	CHECK(recv(fd, &c, 1, 0) == 1);
	return c;
}

/* ---- tests ---- */

static void addresses_are_named_and_conflicts_explained(void)
{
	struct sockaddr_in sin;
	struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6};
	socklen_t len = sizeof(sin);
	char name[64], want[160];
	int fd = open_v4(), second = -1, on = 0;
	struct why why;

	CHECK(getsockname(fd, (void *)&sin, &len) == 0);
	listen_name(fd, name, sizeof(name));
	snprintf(want, sizeof(want), "127.0.0.1:%u", ntohs(sin.sin_port));
	CHECK_STR(name, want);
	CHECK(ntohs(sin.sin_port) != 0);

	CHECK(listen_open((void *)&sin, sizeof(sin), &second, &why) == ERR_IO);
	snprintf(want, sizeof(want),
		 "cannot listen on %s: Address already in use "
		 "(ss -ltnp shows by whom)",
		 name);
	CHECK_STR(why.text, want);
	close(fd);

	sin6.sin6_addr = in6addr_any;
	CHECK(listen_open((void *)&sin6, sizeof(sin6), &fd, &why) == ERR_OK);
	listen_name(fd, name, sizeof(name));
	CHECK(strncmp(name, "[::]:", 5) == 0);
	len = sizeof(on);
	CHECK(getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, &len) == 0 && on);
	close(fd);
}

static void connections_go_to_the_emptiest_loop(void)
{
	struct listener_role role = {.mirror_of = "docker.io"};
	int fd = open_v4(), clients[10], port_fd = dup(fd);
	unsigned on[2] = {0, 0};

	fake_start(0);
	acceptor_add(acceptor, fd, &role);
	acceptor_start(acceptor);
	__atomic_store_n(&serves[0].n_conns, 4, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < 10; i++) {
		clients[i] = connect_to(port_fd);
		on[first_byte(clients[i]) - '0']++;
	}
	/* Four were there, ten came: seven each. */
	CHECK(on[0] == 3 && on[1] == 7);
	CHECK(serves[0].n_conns == 7 && serves[1].n_conns == 7);
	CHECK(last_role != &role); /* a copy, strings too */
	CHECK_STR(last_role->mirror_of, "docker.io");
	for (unsigned i = 0; i < 10; i++)
		close(clients[i]);
	close(port_fd);
	fake_stop();
}

static void expect_503(int fd)
{
	char text[2048] = "";
	size_t n = 0;
	ssize_t m;

	while ((m = recv(fd, text + n, sizeof(text) - 1 - n, 0)) > 0)
		n += (size_t)m;
	CHECK(m == 0); /* a clean end, although we wrote */
	CHECK(strncmp(text, "HTTP/1.1 503 ", 13) == 0);
	CHECK(strstr(text, "\r\nConnection: close\r\n") != NULL);
	CHECK(strstr(text, "\r\n\r\n{\"errors\":[{\"code\":") != NULL);
}

static void past_the_limit_the_answer_is_503(void)
{
	struct listener_role role = {0}, metrics = {.metrics_only = true};
	int fd = open_v4(), port_fd = dup(fd);
	int metrics_fd = open_v4(), metrics_port_fd = dup(metrics_fd);
	int first, second, third;

	fake_start(1);
	acceptor_add(acceptor, fd, &role);
	acceptor_add(acceptor, metrics_fd, &metrics);
	acceptor_start(acceptor);
	first = connect_to(port_fd);
	CHECK(first_byte(first) == '0');
	second = connect_to(port_fd);
	CHECK(send(second, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL) == 18);
	expect_503(second);
	third = connect_to(metrics_port_fd);
	CHECK(first_byte(third) == '1');
	acceptor_set_max(acceptor, 10);
	close(second);
	second = connect_to(port_fd);
	first_byte(second);
	close(first);
	close(second);
	close(third);
	close(port_fd);
	close(metrics_port_fd);
	fake_stop();
}

/* With no descriptor left a connection waits, and is served afterwards. */
static void without_descriptors_accepting_pauses_and_goes_on(void)
{
	struct listener_role role = {0};
	int fd = open_v4(), port_fd = dup(fd), client;
	struct rlimit before, few;
	char c = '?';

	fake_start(0);
	acceptor_add(acceptor, fd, &role);
	acceptor_start(acceptor);
	client = connect_to(port_fd);
	CHECK(first_byte(client) == '0');
	close(client);
	CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
	client = socket(AF_INET, SOCK_STREAM, 0);
	few = before;
	few.rlim_cur = (rlim_t)0;
	CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
	{
		struct sockaddr_in sin;
		socklen_t len = sizeof(sin);

		CHECK(getsockname(port_fd, (void *)&sin, &len) == 0);
		CHECK(connect(client, (void *)&sin, len) == 0);
	}
	usleep(150000);
	CHECK(recv(client, &c, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
	CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
	CHECK(first_byte(client) == '1');
	close(client);
	close(port_fd);
	fake_stop();
}

static void stopping_accepts_the_backlog_first(void)
{
	struct listener_role role = {0};
	int fd = open_v4(), port_fd = dup(fd), clients[5];

	fake_start(0);
	acceptor_add(acceptor, fd, &role);
	for (unsigned i = 0; i < 5; i++)
		clients[i] = connect_to(port_fd);
	acceptor_start(acceptor);
	fake_stop();
	for (unsigned i = 0; i < 5; i++) {
		first_byte(clients[i]);
		close(clients[i]);
	}
	close(port_fd);
}

/* ---- inherited sockets: in a child, where descriptor 3 is ours ---- */

static void set_env_number(const char *name, long n)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", n);
	setenv(name, text, 1);
}

/* What the child found, as an exit code: 100 + number, or 50 + enum err. */
static int inherit_in_child(long count, bool mine, bool socket_too)
{
	int status = 0;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		struct inherited *list;
		struct why why;
		unsigned n;
		enum err err;
		int fd = socket_too ? open_v4() : open("/dev/null", O_RDONLY);

		if (fd != 3)
			dup2(fd, 3);
		dup2(3, 4);
		set_env_number("LISTEN_FDS", count);
		set_env_number("LISTEN_PID", mine ? getpid() : 1);
		setenv("LISTEN_FDNAMES", "main:metrics", 1);
		err = listen_inherited(&list, &n, &why);
		if (getenv("LISTEN_FDS") || getenv("LISTEN_PID") ||
		    getenv("LISTEN_FDNAMES"))
			_exit(1);
		if (err)
			_exit(50 + (int)err);
		if (n == 2 &&
		    (list[1].fd != 4 || strcmp(list[0].name, "main") ||
		     strcmp(list[1].name, "metrics") ||
		     !(fcntl(4, F_GETFD) & FD_CLOEXEC) ||
		     !(fcntl(4, F_GETFL) & O_NONBLOCK)))
			_exit(2);
		free(list);
		_exit(100 + (int)n);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void sockets_are_inherited_when_they_are_meant_for_us(void)
{
	CHECK(inherit_in_child(2, true, true) == 102);
	CHECK(inherit_in_child(1, true, true) == 101);
	CHECK(inherit_in_child(2, false, true) == 100);
	CHECK(inherit_in_child(0, true, true) == 100);
	CHECK(inherit_in_child(1, true, false) == 50 + ERR_INVALID);
	CHECK(inherit_in_child(100000, true, true) == 50 + ERR_INVALID);
}

static void the_descriptor_limit_is_raised(void)
{
	struct rlimit rl;

	CHECK(getrlimit(RLIMIT_NOFILE, &rl) == 0);
	rl.rlim_cur = MIN(rl.rlim_max, (rlim_t)256);
	CHECK(setrlimit(RLIMIT_NOFILE, &rl) == 0);
	CHECK(limit_raise_files() == rl.rlim_max);
	CHECK(getrlimit(RLIMIT_NOFILE, &rl) == 0);
	CHECK(rl.rlim_cur == rl.rlim_max);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	/* The lines that are expected here are no news. */
	log_set_level(LOG_ERROR);
	RUN(sockets_are_inherited_when_they_are_meant_for_us);
	RUN(addresses_are_named_and_conflicts_explained);
	RUN(connections_go_to_the_emptiest_loop);
	RUN(past_the_limit_the_answer_is_503);
	RUN(without_descriptors_accepting_pauses_and_goes_on);
	RUN(stopping_accepts_the_backlog_first);
	RUN(the_descriptor_limit_is_raised);
	return unit_done();
}
