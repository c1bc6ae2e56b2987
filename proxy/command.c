/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/command.h"

#include "proxy/control_ask.h"

#include <errno.h>
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * Flags of the configuration come with a value, "--flag value" or
 * "--flag=value"; they go to conf_parse_args(), everything else stays here.
 */
struct sorting {
	char **flags; /* argv[0], then flags and their values */
	int n_flags;
};

static bool take_word(struct command_line *line, const char *word, unsigned max)
{
	if (line->n_words == max) {
		fprintf(stderr,
			"entrepot: command line: expected no further argument, "
			"found \"%.60s\"\n",
			word);
		return false;
	}
	line->words[line->n_words++] = word;
	return true;
}

static bool sort_out(int argc, char **argv, const char *own, unsigned max,
		     struct sorting *s, struct command_line *line)
{
	s->flags[s->n_flags++] = argv[0];
	for (int i = 1; i < argc; i++) {
		if (own && strcmp(argv[i], own) == 0) {
			line->switched = true;
		} else if (strncmp(argv[i], "--", 2) == 0) {
			s->flags[s->n_flags++] = argv[i];
			if (!strchr(argv[i], '=') && i + 1 < argc)
				s->flags[s->n_flags++] = argv[++i];
		} else if (!take_word(line, argv[i], max)) {
			return false;
		}
	}
	return true;
}

bool command_line_parse(int argc, char **argv, const char *own,
			unsigned max_words, struct command_line *out)
{
	struct sorting s = {0};
	struct why why;
	bool ok;

	assert(max_words <= ARRAY_LEN(out->words));
	*out = (struct command_line){0};
	s.flags = xcalloc((size_t)argc + 1, sizeof(*s.flags));
	ok = sort_out(argc, argv, own, max_words, &s, out);
	if (ok && conf_parse_args(s.n_flags, s.flags, &out->conf, &why)) {
		fprintf(stderr, "entrepot: %s\n", why.text);
		ok = false;
	}
	free(s.flags);
	return ok;
}

void command_line_release(struct command_line *line)
{
	conf_args_release(&line->conf);
}

bool command_load(const struct conf_args *args, struct conf **out)
{
	struct conf_strings errors = {0};
	struct why why;
	bool ok = conf_load(args->config, args, out, &errors, &why) == ERR_OK;

	for (size_t i = 0; i < errors.n; i++)
		fprintf(stderr, "%s\n", errors.v[i]);
	if (!ok && errors.n == 0)
		fprintf(stderr, "%s\n", why.text);
	conf_strings_release(&errors);
	return ok;
}

bool command_has_data(const char *data)
{
	char *blobs = xasprintf("%s/blobs", data);
	struct stat st;
	bool found = stat(blobs, &st) == 0;

	if (!found && errno == ENOENT)
		fprintf(stderr,
			"entrepot: no daemon has kept data in %s; --data or "
			"--config says where it does\n",
			data);
	else if (!found)
		fprintf(stderr, "entrepot: cannot look into %s: %s\n", data,
			strerror(errno));
	free(blobs);
	return found;
}

bool command_become_owner(const char *data)
{
	struct stat st;

	if (geteuid() != 0)
		return true;
	if (stat(data, &st) == 0 &&
	    (st.st_uid == 0 ||
	     (setgroups(0, NULL) == 0 && setegid(st.st_gid) == 0 &&
	      seteuid(st.st_uid) == 0)))
		return true;
	fprintf(stderr, "entrepot: cannot work as the owner of %s: %s\n", data,
		strerror(errno));
	return false;
}

int command_done(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return EXIT_OK;
	fprintf(stderr, "entrepot: cannot write: %s\n", strerror(errno));
	return EXIT_FAILED;
}

static int ask(const struct conf *conf, const struct control_question *q)
{
	struct why why;
	int status;
	char *last;

	if (control_ask_with(conf->control, q, &status, &last, &why) !=
	    ERR_OK) {
		fprintf(stderr, "entrepot: %s\n", why.text);
		return EXIT_FAILED;
	}
	if (last[0])
		fprintf(stderr, "entrepot: %s\n", last);
	free(last);
	return status ? status : command_done();
}

int command_ask(const struct conf *conf, unsigned n_words,
		const char *const *words)
{
	struct control_question q = {
	    .n_words = n_words, .words = words, .fd = -1, .out = stdout};

	return ask(conf, &q);
}

/* ---- the bar ---- */

#define BAR_WIDTH 30

/* One line that is written over; \033[K clears what was longer. */
static void show_bar(void *arg UNUSED, uint64_t done, uint64_t of,
		     const char *text)
{
	char bar[BAR_WIDTH + 1];
	uint64_t full = of ? MIN(done, of) * BAR_WIDTH / of : 0;

	if (!text) {
		fputs("\033[K", stderr);
		return;
	}
	for (unsigned i = 0; i < BAR_WIDTH; i++)
		bar[i] = i < full ? '#' : '.';
	bar[BAR_WIDTH] = '\0';
	fprintf(stderr, "\r[%s] %" PRIu64 " of %" PRIu64 "  %.60s\033[K\r", bar,
		done, of, text);
}

int command_ask_long(const struct conf *conf, unsigned n_words,
		     const char *const *words, int fd)
{
	bool shown = isatty(STDERR_FILENO);
	struct control_question q = {
	    .n_words = n_words,
	    .words = words,
	    .fd = fd,
	    .out = stdout,
	    .progress = shown ? show_bar : NULL,
	};
	int status = ask(conf, &q);

	if (shown)
		fputs("\033[K", stderr);
	return status;
}
