/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/conf_json.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

/* How much of a foreign text a message repeats. */
#define FOUND_MAX 60

static void note(struct conf_strings *list, const char *source, const char *key,
		 const char *fmt, va_list ap) PRINTF_LIKE(4, 0);

static void note(struct conf_strings *list, const char *source, const char *key,
		 const char *fmt, va_list ap)
{
	char *sentence = NULL, *line;

	if (vasprintf(&sentence, fmt, ap) < 0)
		abort();
	line = xasprintf("%s: %s%s%s", source, key, *key ? ": " : "", sentence);
	/* keys and values are foreign: one message stays one line */
	for (char *p = line; *p; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	}
	conf_strings_add(list, line);
	free(line);
	free(sentence);
}

void conf_complain(struct conf_ctx *ctx, const char *key, const char *fmt, ...)
{
	va_list ap;

	if (ctx->errors.n >= CONF_ERRORS_MAX)
		return;
	va_start(ap, fmt);
	note(&ctx->errors, ctx->source, key, fmt, ap);
	va_end(ap);
}

void conf_warn(struct conf_ctx *ctx, const char *key, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	note(&ctx->warnings, ctx->source, key, fmt, ap);
	va_end(ap);
}

/* A value as a message shows it. */
static void found_text(const json_t *found, char *out, size_t size)
{
	const char *text;

	switch (json_typeof(found)) {
	case JSON_OBJECT:
		snprintf(out, size, "an object");
		return;
	case JSON_ARRAY:
		snprintf(out, size, "a list");
		return;
	case JSON_STRING:
		text = json_string_value(found);
		if (strstr(text, "://") && strchr(text, '@')) {
			/* a password may stand before the @ */
			snprintf(out, size, "a URL with a user");
			return;
		}
		snprintf(out, size, "\"%.*s%s\"", FOUND_MAX, text,
			 strlen(text) > FOUND_MAX ? "..." : "");
		return;
	case JSON_INTEGER:
		snprintf(out, size, "%" JSON_INTEGER_FORMAT,
			 json_integer_value(found));
		return;
	case JSON_REAL:
		snprintf(out, size, "%g", json_real_value(found));
		return;
	case JSON_TRUE:
		snprintf(out, size, "true");
		return;
	case JSON_FALSE:
		snprintf(out, size, "false");
		return;
	case JSON_NULL:
		snprintf(out, size, "null");
		return;
	}
}

void conf_complain_value(struct conf_ctx *ctx, const char *key,
			 const char *expected, const json_t *found)
{
	char text[FOUND_MAX + 32] = "";

	found_text(found, text, sizeof(text));
	conf_complain(ctx, key, "expected %s, found %s", expected, text);
}

/*
 * Duplicate keys.  jansson can refuse them, but tells no key path, and would
 * refuse a second "//" comment too.  So the text, which jansson has by now
 * found to be JSON, is walked once more for its keys alone; being valid, it
 * leaves the walk nothing to judge.  jansson's nesting limit bounds ours.
 */
struct walk {
	struct conf_ctx *ctx;
	const char *p, *end;
};

static void walk_space(struct walk *w)
{
	while (w->p < w->end && memchr(" \t\r\n", *w->p, 4))
		w->p++;
}

/* Past the string that begins here; returns where its closing quote is. */
static const char *walk_string(struct walk *w)
{
	for (w->p++; w->p < w->end && *w->p != '"'; w->p++) {
		if (*w->p == '\\')
			w->p++;
	}
	return w->p < w->end ? w->p++ : w->end;
}

/* The key that begins here, unescaped: "\u0061" and "a" are one key. */
static json_t *walk_key(struct walk *w)
{
	const char *start = w->p, *quote = walk_string(w);

	return json_loadb(start, (size_t)(quote + 1 - start), JSON_DECODE_ANY,
			  NULL);
}

static void walk_value(struct walk *w, const char *path);

static void walk_member(struct walk *w, const char *path, json_t *seen)
{
	json_t *key = walk_key(w);
	const char *name = key ? json_string_value(key) : "";
	/* for messages, so a foreign text need not be copied at full length */
	char *inner = xasprintf("%.300s%s%.300s", path, *path ? "." : "", name);

	if (!conf_json_comment(name)) {
		if (json_object_get(seen, name))
			conf_complain(w->ctx, inner,
				      "expected each key once, found it again");
		json_object_set_new(seen, name, json_true());
	}
	walk_space(w);
	w->p++; /* the colon */
	walk_value(w, inner);
	free(inner);
	json_decref(key);
}

static void walk_object(struct walk *w, const char *path)
{
	json_t *seen = json_object();

	for (w->p++; w->p < w->end; w->p++) {
		walk_space(w);
		if (*w->p == '"')
			walk_member(w, path, seen);
		walk_space(w);
		if (w->p < w->end && *w->p == '}')
			break;
	}
	w->p++;
	json_decref(seen);
}

static void walk_array(struct walk *w, const char *path)
{
	size_t i = 0;

	for (w->p++; w->p < w->end; w->p++, i++) {
		char *inner;

		walk_space(w);
		if (w->p < w->end && *w->p == ']')
			break;
		inner = xasprintf("%.300s[%zu]", path, i);
		walk_value(w, inner);
		free(inner);
		if (w->p < w->end && *w->p == ']')
			break;
	}
	w->p++;
}

/* Past one value and the space behind it. */
static void walk_value(struct walk *w, const char *path)
{
	walk_space(w);
	if (w->p >= w->end)
		return;
	if (*w->p == '{')
		walk_object(w, path);
	else if (*w->p == '[')
		walk_array(w, path);
	else if (*w->p == '"')
		walk_string(w);
	else
		while (w->p < w->end && !memchr(",]} \t\r\n", *w->p, 7))
			w->p++;
	walk_space(w);
}

json_t *conf_json_parse(struct conf_ctx *ctx, const char *text, size_t len)
{
	struct walk walk = {.ctx = ctx, .p = text, .end = text + len};
	size_t errors = ctx->errors.n;
	json_error_t error;
	const char *near;
	json_t *root;

	root = json_loadb(text, len, JSON_DECODE_ANY, &error);
	if (!root) {
		/* what jansson puts behind "near" may be a password */
		near = strstr(error.text, " near '");
		conf_complain(
		    ctx, "", "line %d, column %d: expected JSON: %.*s",
		    error.line, error.column,
		    near ? (int)(near - error.text) : INT_MAX, error.text);
		return NULL;
	}
	if (!json_is_object(root))
		conf_complain_value(ctx, "", "an object", root);
	else
		walk_value(&walk, "");
	if (ctx->errors.n == errors)
		return root;
	json_decref(root);
	return NULL;
}

/* All of an open file; at most `max` bytes. */
static enum err read_all(int fd, const char *path, size_t max, char **text,
			 size_t *len, struct why *why)
{
	size_t room = 4096, used = 0;
	char *buf = xmalloc(room + 1);

	for (;;) {
		ssize_t n = read(fd, buf + used, room - used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			buf[used] = '\0';
			*text = buf;
			*len = used;
			if (n == 0)
				return ERR_OK;
			return why_errno(why, errno, "%s: cannot be read",
					 path);
		}
		used += (size_t)n;
		if (used > max) {
			*text = buf;
			*len = used;
			return why_set(why, ERR_TOO_BIG,
				       "%s: longer than %zu bytes", path, max);
		}
		if (used == room) {
			room *= 2;
			buf = xrealloc(buf, room + 1);
		}
	}
}

enum err conf_file_read(const char *path, size_t max, char **text, size_t *len,
			bool *others, struct why *why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	enum err err;
	char *buf;

	if (fd < 0)
		return why_errno(why, errno, "%s: cannot be opened", path);
	if (fstat(fd, &st) != 0) {
		err = why_errno(why, errno, "%s: cannot be examined", path);
		close(fd);
		return err;
	}
	if (S_ISDIR(st.st_mode)) {
		close(fd);
		return why_set(why, ERR_IO,
			       "%s: expected a file, found a folder", path);
	}
	err = read_all(fd, path, max, &buf, len, why);
	close(fd);
	if (err != ERR_OK) {
		explicit_bzero(buf, *len);
		free(buf);
		return err;
	}
	*text = buf;
	*others = st.st_mode & S_IROTH;
	return ERR_OK;
}
