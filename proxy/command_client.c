/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client-config KIND [ADDRESS]: the files of conf/clients/, which are built
 * in, with the address of this mirror in the place of the example's.
 */
#include "cache/name.h"
#include "proxy/command.h"

#include <arpa/inet.h>

#define EXAMPLE_HOST "mirror.example.lan"
#define EXAMPLE_ADDRESS EXAMPLE_HOST ":5000"
#define FOLDER "conf/clients/"

/* The bytes of a file and a NUL, as `extern const char symbol[]`.  The path
 * is from the top of the tree, where make runs. */
#define FILE_TEXT(symbol, file)                                                \
	__asm__(".pushsection .rodata\n"                                       \
		".global " #symbol "\n" #symbol ":\n"                          \
		".incbin \"" FOLDER file "\"\n"                                \
		".byte 0\n"                                                    \
		".popsection\n");                                              \
	extern const char symbol[] __attribute__((visibility("hidden")))

FILE_TEXT(client_docker, "docker-daemon.json");
FILE_TEXT(client_containerd, "containerd-default-hosts.toml");
FILE_TEXT(client_containerd_hub, "containerd-docker.io-hosts.toml");
FILE_TEXT(client_containers, "containers-registries.conf");
FILE_TEXT(client_buildkit, "buildkitd.toml");
FILE_TEXT(client_k3s, "k3s-registries.yaml");
FILE_TEXT(client_kubernetes, "kubernetes-nodes.yaml");

static const struct client {
	const char *kind;
	const char *text;
	const char *note; /* where it goes, if the file cannot say so */
} clients[] = {
    {"docker", client_docker,
     "into /etc/docker/daemon.json, then: systemctl restart docker\n"
     "# (dockerd warns of the http:// in insecure-registries, by which its "
     "BuildKit knows)"},
    {"containerd", client_containerd, NULL},
    {"containerd-docker.io", client_containerd_hub, NULL},
    {"podman", client_containers, NULL},
    {"crio", client_containers, NULL},
    {"buildkit", client_buildkit, NULL},
    {"k3s", client_k3s, NULL},
    {"kubernetes", client_kubernetes, NULL},
};

static const struct client *find(const char *kind)
{
	for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
		if (strcmp(clients[i].kind, kind) == 0)
			return &clients[i];
	}
	return NULL;
}

/* Print `text` with the example's address, and its bare host where that
 * stands alone, replaced. */
static void print_for(const char *text, const char *address)
{
	const char *port = strrchr(address, ':');
	int host_len = port && !strchr(port, ']') ? (int)(port - address)
						  : (int)strlen(address);
	const char *hit;

	while ((hit = strstr(text, EXAMPLE_HOST))) {
		fwrite(text, 1, (size_t)(hit - text), stdout);
		text = hit + strlen(EXAMPLE_HOST);
		if (strncmp(hit, EXAMPLE_ADDRESS, strlen(EXAMPLE_ADDRESS)) ==
		    0) {
			fputs(address, stdout);
			text = hit + strlen(EXAMPLE_ADDRESS);
		} else {
			printf("%.*s", host_len, address);
		}
	}
	fputs(text, stdout);
}

static int print_kind(const char *kind, const char *address)
{
	const struct client *client = find(kind);
	char normal[HOST_MAX + 1];

	if (!client) {
		fprintf(stderr, "entrepot: expected one of");
		for (size_t i = 0; i < ARRAY_LEN(clients); i++)
			fprintf(stderr, "%s %s", i ? "," : "", clients[i].kind);
		fprintf(stderr, "; found \"%.60s\"\n", kind);
		return EXIT_USAGE;
	}
	if (host_normalise(address, strlen(address), normal) != ERR_OK) {
		fprintf(stderr,
			"entrepot: expected HOST:PORT as clients see "
			"it, found \"%.60s\"\n",
			address);
		return EXIT_USAGE;
	}
	if (client->note)
		fprintf(stderr, "# %s\n", client->note);
	print_for(client->text, address);
	return command_done();
}

static bool is_wildcard(const struct conf_listen *listen)
{
	const struct sockaddr_in6 *in6 = (const void *)&listen->addr;
	const struct sockaddr_in *in = (const void *)&listen->addr;

	return listen->addr.ss_family == AF_INET6
		   ? IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr)
		   : in->sin_addr.s_addr == htonl(INADDR_ANY);
}

static int print_own(const char *kind, const struct conf *conf)
{
	const struct conf_listen *listen = &conf->listen.v[0];

	if (is_wildcard(listen)) {
		fprintf(stderr,
			"entrepot: it listens on every address (%s); say which "
			"one clients see: client-config %s HOST:PORT\n",
			listen->text, kind);
		return EXIT_USAGE;
	}
	return print_kind(kind, listen->text);
}

/* Without an address: the first that the configuration listens on. */
int command_client_config(int argc, char **argv)
{
	struct command_line line;
	struct conf *conf = NULL;
	int status = EXIT_USAGE;

	if (!command_line_parse(argc, argv, NULL, 2, &line))
		;
	else if (line.n_words == 0)
		fprintf(stderr, "entrepot: expected client-config KIND "
				"[HOST:PORT]\n");
	else if (line.n_words == 2)
		status = print_kind(line.words[0], line.words[1]);
	else if (command_load(&line.conf, &conf))
		status = print_own(line.words[0], conf);
	conf_unref(&conf);
	command_line_release(&line);
	return status;
}
