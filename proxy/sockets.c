/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/sockets.h"

#include "proxy/listen.h"

#include <unistd.h>

#define METRICS_NAME "metrics"

static void add(struct sockets *s, int fd, const char *mirror_of,
		bool metrics_only)
{
	s->v = xrealloc(s->v, (s->n + 1) * sizeof(*s->v));
	s->v[s->n++] = (struct open_socket){
	    .fd = fd,
	    .role = {.mirror_of = mirror_of, .metrics_only = metrics_only},
	};
	s->metrics_apart |= metrics_only;
}

static enum err open_list(struct sockets *s, const struct conf_listens *list,
			  bool metrics_only, struct why *why)
{
	for (size_t i = 0; i < list->n; i++) {
		const struct conf_listen *one = &list->v[i];
		enum err err;
		int fd;

		err = listen_open((const struct sockaddr *)&one->addr,
				  one->addr_len, &fd, why);
		if (err)
			return err;
		add(s, fd, one->mirror_of, metrics_only);
	}
	return ERR_OK;
}

/* Sets which kinds we were given: [metrics_only]. */
static enum err take_inherited(struct sockets *s, bool given[2],
			       struct why *why)
{
	struct inherited *list;
	unsigned n;
	enum err err = listen_inherited(&list, &n, why);

	if (err)
		return err;
	for (unsigned i = 0; i < n; i++) {
		bool metrics_only = strcmp(list[i].name, METRICS_NAME) == 0;

		given[metrics_only] = true;
		add(s, list[i].fd, NULL, metrics_only);
	}
	free(list);
	return ERR_OK;
}

enum err sockets_open(const struct conf *conf, struct sockets *out,
		      struct why *why)
{
	bool given[2] = {false, false};
	enum err err;

	*out = (struct sockets){0};
	err = take_inherited(out, given, why);
	if (!err && !given[false])
		err = open_list(out, &conf->listen, false, why);
	if (!err && !given[true])
		err = open_list(out, &conf->metrics_listen, true, why);
	if (err)
		sockets_release(out);
	return err;
}

void sockets_release(struct sockets *s)
{
	for (size_t i = 0; i < s->n; i++) {
		if (s->v[i].fd >= 0)
			close(s->v[i].fd);
	}
	free(s->v);
	*s = (struct sockets){0};
}
