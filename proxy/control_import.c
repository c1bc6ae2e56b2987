/* SPDX-License-Identifier: Apache-2.0 */
/* import and export: their words; the work is proxy/import.c's and
 * proxy/export.c's. */
#include "cache/name.h"
#include "proxy/control_commands.h"
#include "proxy/control_long.h"
#include "proxy/export.h"
#include "proxy/import.h"
#include "proxy/server.h"

#include <unistd.h>

/* ---- import ---- */

static bool word_value(const char *word, const char *key, const char **out)
{
	size_t len = strlen(key);

	if (strncmp(word, key, len) != 0)
		return false;
	*out = word + len;
	return true;
}

static bool read_words(unsigned n, char *const *words, struct import_ask *out)
{
	memset(out, 0, sizeof(*out));
	if (n < 2)
		return false;
	if (strcmp(words[1], "oci") == 0)
		out->kind = IMPORT_OCI;
	else if (strcmp(words[1], "registry-v2") != 0)
		return false;
	for (unsigned i = 2; i < n; i++) {
		if (strcmp(words[i], "move-tags") == 0)
			out->move_tags = true;
		else if (!word_value(words[i], "as-mirror=", &out->as_mirror) &&
			 !word_value(words[i], "as=", &out->as))
			return false;
	}
	return !out->as || repo_path_valid(out->as, strlen(out->as));
}

void import_start(struct control_call *call, unsigned n_words,
		  char *const *words)
{
	struct server *s = control_server(call);
	int fd = control_take_fd(call);
	struct import_ask ask;
	struct conf *conf;

	if (fd < 0 || !read_words(n_words, words, &ask)) {
		if (fd >= 0)
			close(fd);
		control_end(call, 2,
			    "expected import registry-v2|oci with a folder or "
			    "file");
		return;
	}
	conf = server_conf(s);
	control_long_start(call,
			   import_new(s->cache, conf, s->hooks, &ask, fd));
	conf_unref(&conf);
}

void import_gone(struct control_call *call)
{
	control_long_gone(call);
}

/* ---- export ---- */

void export_start(struct control_call *call, unsigned n_words,
		  char *const *words)
{
	struct server *s = control_server(call);
	int fd = control_take_fd(call);
	struct conf *conf;

	if (fd < 0 || n_words < 3 || strcmp(words[1], "oci") != 0) {
		if (fd >= 0)
			close(fd);
		control_end(call, 2, "expected export oci NAME... with a file");
		return;
	}
	conf = server_conf(s);
	control_long_start(
	    call, export_new(s->cache, conf, n_words - 2, words + 2, fd));
	conf_unref(&conf);
}

void export_gone(struct control_call *call)
{
	control_long_gone(call);
}
