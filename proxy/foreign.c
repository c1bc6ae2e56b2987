/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/foreign_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- lists ---- */

void foreign_items_add(struct foreign_items *items, const struct digest *dg,
		       const char *tag)
{
	struct foreign_item *item;

	if (items->n == items->room) {
		items->room = items->room ? 2 * items->room : 16;
		items->v = xrealloc(items->v, items->room * sizeof(*items->v));
	}
	item = &items->v[items->n++];
	memset(item, 0, sizeof(*item));
	item->dg = *dg;
	snprintf(item->tag, sizeof(item->tag), "%s", tag);
}

void foreign_add_repo(struct foreign *f, const char *name)
{
	if (f->n_repos == f->room) {
		f->room = f->room ? 2 * f->room : 16;
		f->repos = xrealloc(f->repos, f->room * sizeof(*f->repos));
	}
	f->repos[f->n_repos++] = xstrdup(name);
}

void foreign_find(foreign_finding_cb *finding, void *arg, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	finding(arg, text);
}

/* ---- files ---- */

void foreign_file_close(struct foreign_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	if (file->dir_fd >= 0)
		close(file->dir_fd);
	file->fd = file->dir_fd = -1;
}

static enum err open_error(struct why *why, const char *folder,
			   const char *name)
{
	enum err err =
	    why_errno(why, errno, "cannot open %.120s/%.80s", folder, name);

	return err == ERR_NOT_FOUND ? err : ERR_IO;
}

enum err foreign_open_at(int dir_fd, const char *folder, const char *name,
			 struct foreign_file *out, struct why *why)
{
	struct stat st;
	enum err err;

	*out = (struct foreign_file){.fd = -1};
	snprintf(out->name, sizeof(out->name), "%s", name);
	out->dir_fd =
	    openat(dir_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (out->dir_fd < 0)
		return open_error(why, folder, name);
	/* Not to wait for the other end of a pipe. */
	out->fd = openat(out->dir_fd, name,
			 O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (out->fd >= 0 && fstat(out->fd, &st) == 0 && S_ISREG(st.st_mode)) {
		out->size = (uint64_t)st.st_size;
		return ERR_OK;
	}
	if (out->fd >= 0)
		errno = EINVAL;
	err = open_error(why, folder, name);
	foreign_file_close(out);
	return err;
}

enum err foreign_read(const struct foreign_file *file, size_t max, char **out,
		      size_t *len, struct why *why)
{
	size_t want = (size_t)file->size, done = 0;

	if (file->size > max)
		return why_set(why, ERR_TOO_BIG,
			       "it has %" PRIu64 " bytes, more than %zu",
			       file->size, max);
	*out = xmalloc(want + 1);
	while (done < want) {
		ssize_t n = pread(file->fd, *out + done, want - done,
				  (off_t)(file->at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			free(*out);
			*out = NULL;
			return why_set(why, ERR_IO, "it cannot be read: %s",
				       n ? strerror(errno) : "it ends early");
		}
		done += (size_t)n;
	}
	(*out)[done] = '\0';
	*len = done;
	return ERR_OK;
}

/* ---- grammars ---- */

enum err foreign_link_parse(const void *buf, size_t len, struct digest *out)
{
	const char *text = buf;

	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r' ||
			   text[len - 1] == ' '))
		len--;
	return digest_parse(text, len, out);
}

static enum err take_name(const char *text, size_t len, char *name)
{
	if (!repo_path_valid(text, len))
		return ERR_INVALID;
	memcpy(name, text, len);
	name[len] = '\0';
	return ERR_OK;
}

static enum err take_tag(const char *text, size_t len, char *tag)
{
	if (!tag_valid(text, len))
		return ERR_INVALID;
	memcpy(tag, text, len);
	tag[len] = '\0';
	return ERR_OK;
}

enum err foreign_ref_parse(const char *text, char *name, char *tag,
			   struct digest *dg)
{
	const char *at = strchr(text, '@'), *colon = NULL;
	size_t len = at ? (size_t)(at - text) : strlen(text);

	name[0] = tag[0] = '\0';
	memset(dg, 0, sizeof(*dg));
	if (at && digest_parse(at + 1, strlen(at + 1), dg) != ERR_OK)
		return ERR_INVALID;
	for (size_t i = 0; i < len; i++) {
		if (text[i] == ':')
			colon = text + i;
		else if (text[i] == '/')
			colon = NULL; /* it was a port's */
	}
	if (!colon && !at && !memchr(text, '/', len))
		return take_tag(text, len, tag);
	if (!colon) {
		if (!at)
			(void)take_tag("latest", 6, tag);
		return take_name(text, len, name);
	}
	if (take_name(text, (size_t)(colon - text), name) != ERR_OK)
		return ERR_INVALID;
	return take_tag(colon + 1, len - (size_t)(colon + 1 - text), tag);
}

/* ---- life ---- */

bool foreign_was_cache(const struct foreign *f)
{
	return f->was_cache;
}

size_t foreign_n_repos(const struct foreign *f)
{
	return f->n_repos;
}

const char *foreign_repo(const struct foreign *f, size_t i)
{
	return f->repos[i];
}

void foreign_items(struct foreign *f, size_t i, struct foreign_items *out,
		   foreign_finding_cb *finding, void *arg)
{
	memset(out, 0, sizeof(*out));
	f->kind->items(f, i, out, finding, arg);
}

enum err foreign_file_open(struct foreign *f, const struct digest *dg,
			   struct foreign_file *out, struct why *why)
{
	return f->kind->open(f, dg, out, why);
}

void foreign_free(struct foreign **fp)
{
	struct foreign *f = *fp;

	if (!f)
		return;
	*fp = NULL;
	for (size_t i = 0; i < f->n_repos; i++)
		free(f->repos[i]);
	free(f->repos);
	f->kind->free(f); /* its own, and the struct */
}

enum err foreign_bytes(struct foreign *f, const struct digest *dg, size_t max,
		       char **out, size_t *len, struct why *why)
{
	struct foreign_file file;
	char text[DIGEST_TEXT_MAX];
	struct digest found;
	enum err err = foreign_file_open(f, dg, &file, why);

	*out = NULL;
	if (err != ERR_OK)
		return err;
	err = foreign_read(&file, max, out, len, why);
	foreign_file_close(&file);
	if (err != ERR_OK)
		return err;
	digest_of((enum digest_alg)dg->alg, *out, *len, &found);
	if (digest_equal(&found, dg))
		return ERR_OK;
	free(*out);
	*out = NULL;
	return why_set(why, ERR_MISMATCH, "its %zu bytes have the digest %.80s",
		       *len, digest_text(&found, text));
}
