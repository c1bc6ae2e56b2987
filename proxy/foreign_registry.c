/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The storage folder of Docker's registry:
 *
 *   scheduler-state.json           only of a pull-through cache
 *   docker/registry/v2/
 *     blobs/<alg>/<2 hex>/<hex>/data
 *     repositories/<name>/
 *       _manifests/revisions/<alg>/<hex>/link
 *       _manifests/tags/<tag>/current/link
 *       _layers/<alg>/<hex>/link, _uploads/
 *
 * A revision's link is what makes a manifest a repository's; deletion removes
 * it and leaves the bytes.  Layers are found by the manifests.
 */
#include "proxy/foreign_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define INNER "docker/registry/v2"
#define SCHEDULER "scheduler-state.json"
#define LINK_BYTES_MAX 256
#define FOLDER_MAX (REPO_NAME_MAX + 128)

struct registry {
	struct foreign f;
	int base; /* docker/registry/v2 */
};

static struct registry *of(struct foreign *f)
{
	return container_of(f, struct registry, f);
}

/* ---- folders ---- */

/* One that is missing is empty. */
static DIR *folder_open(int dir_fd, const char *path,
			foreign_finding_cb *finding, void *arg)
{
	int fd = openat(dir_fd, path,
			O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir && errno != ENOENT)
		foreign_find(finding, arg, "cannot read the folder %s: %s",
			     path, strerror(errno));
	if (!dir && fd >= 0)
		close(fd);
	return dir;
}

/* The next name that is no "." or ".."; NULL = there is none. */
static const char *folder_next(DIR *dir)
{
	struct dirent *entry;

	while ((entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") != 0 &&
		    strcmp(entry->d_name, "..") != 0)
			return entry->d_name;
	}
	return NULL;
}

/* ---- the repositories ---- */

struct walk {
	struct registry *r;
	foreign_finding_cb *finding;
	void *arg;
	char name[REPO_NAME_MAX + 1];
};

static void walk_folder(struct walk *w, int dir_fd, const char *entry);

/* Go into `entry`, whose name is one component more. */
static void walk_component(struct walk *w, DIR *dir, const char *entry)
{
	size_t len = strlen(w->name);
	int n = snprintf(w->name + len, sizeof(w->name) - len, "%s%s",
			 len ? "/" : "", entry);

	if (n < 0 || (size_t)n >= sizeof(w->name) - len ||
	    !repo_name_valid(w->name, strlen(w->name)))
		foreign_find(w->finding, w->arg,
			     "repositories/%.*s%s%s is no repository's name",
			     (int)len, w->name, len ? "/" : "", entry);
	else
		walk_folder(w, dirfd(dir), entry);
	w->name[len] = '\0';
}

/* A name of 255 bytes has at most 128 components: so deep it goes. */
static void walk_folder(struct walk *w, int dir_fd, const char *entry)
{
	int fd = openat(dir_fd, entry,
			O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const char *next;

	if (!dir) {
		foreign_find(w->finding, w->arg,
			     "cannot read the folder repositories/%s: %s",
			     w->name, strerror(errno));
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((next = folder_next(dir))) {
		if (strcmp(next, "_manifests") == 0 && w->name[0])
			foreign_add_repo(&w->r->f, w->name);
		else if (next[0] != '_')
			walk_component(w, dir, next);
	}
	closedir(dir);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* ---- what one holds ---- */

static enum err read_link(struct registry *r, const char *folder,
			  struct digest *out, struct why *why)
{
	struct foreign_file file;
	char *text = NULL;
	size_t len = 0;
	enum err err = foreign_open_at(r->base, folder, "link", &file, why);

	if (err != ERR_OK)
		return err;
	err = foreign_read(&file, LINK_BYTES_MAX, &text, &len, why);
	foreign_file_close(&file);
	if (err == ERR_OK && foreign_link_parse(text, len, out) != ERR_OK)
		err = why_set(why, ERR_INVALID, "it holds no digest");
	free(text);
	return err;
}

/* A folder of links, named after what each should say. */
static void add_revision(struct registry *r, const char *folder,
			 const char *alg, const char *hex,
			 struct foreign_items *out, foreign_finding_cb *finding,
			 void *arg)
{
	char path[FOLDER_MAX + 256], text[300];
	struct digest named, linked;
	struct why why;
	int n = snprintf(text, sizeof(text), "%s:%s", alg, hex);
	enum err err = n > 0 && (size_t)n < sizeof(text)
			   ? digest_parse(text, (size_t)n, &named)
			   : ERR_INVALID;

	snprintf(path, sizeof(path), "%s/%s", folder, hex);
	if (err != ERR_OK)
		(void)why_set(&why, err, "that is no digest");
	else
		err = read_link(r, path, &linked, &why);
	if (err == ERR_NOT_FOUND)
		return; /* deleted: the folder stays, the link goes */
	if (err == ERR_OK && !digest_equal(&named, &linked))
		err = why_set(&why, ERR_INVALID, "it names another digest");
	if (err == ERR_OK)
		foreign_items_add(out, &named, "");
	else
		foreign_find(finding, arg, "%s/link: %s", path, why.text);
}

static void add_revisions(struct registry *r, const char *repo,
			  struct foreign_items *out,
			  foreign_finding_cb *finding, void *arg)
{
	static const char *const algs[] = {"sha256", "sha512"};
	char folder[FOLDER_MAX];

	for (size_t i = 0; i < ARRAY_LEN(algs); i++) {
		DIR *dir;
		const char *hex;

		snprintf(folder, sizeof(folder),
			 "repositories/%s/_manifests/revisions/%s", repo,
			 algs[i]);
		dir = folder_open(r->base, folder, finding, arg);
		while (dir && (hex = folder_next(dir)))
			add_revision(r, folder, algs[i], hex, out, finding,
				     arg);
		if (dir)
			closedir(dir);
	}
}

static int by_digest(const void *a, const void *b)
{
	const struct foreign_item *x = a, *y = b;

	return memcmp(&x->dg, &y->dg, sizeof(x->dg));
}

/* Of the repository in hand: its revisions, which are out->v[0, n) by digest,
 * and whether each has a tag. */
struct revisions {
	size_t n;
	bool *tagged;
};

/* Only a revision is served by its tag. */
static enum err find_revision(struct revisions *revisions,
			      const struct foreign_items *items,
			      const struct digest *dg, struct why *why)
{
	struct foreign_item key = {.dg = *dg}, *found = NULL;

	if (revisions->n > 0)
		found = bsearch(&key, items->v, revisions->n, sizeof(key),
				by_digest);
	if (!found)
		return why_set(why, ERR_NOT_FOUND,
			       "the manifest that it names has been deleted");
	revisions->tagged[found - items->v] = true;
	return ERR_OK;
}

static void add_tag(struct registry *r, const char *folder, const char *tag,
		    struct revisions *revisions, struct foreign_items *out,
		    foreign_finding_cb *finding, void *arg)
{
	char path[FOLDER_MAX + 280];
	struct digest dg;
	struct why why;
	enum err err = ERR_OK;

	snprintf(path, sizeof(path), "%s/%s/current", folder, tag);
	if (!tag_valid(tag, strlen(tag)))
		err = why_set(&why, ERR_INVALID, "that is no tag");
	if (err == ERR_OK)
		err = read_link(r, path, &dg, &why);
	if (err == ERR_OK)
		err = find_revision(revisions, out, &dg, &why);
	if (err == ERR_OK)
		foreign_items_add(out, &dg, tag);
	else
		foreign_find(finding, arg, "%s/link: %s", path, why.text);
}

static void add_tags(struct registry *r, const char *repo,
		     struct revisions *revisions, struct foreign_items *out,
		     foreign_finding_cb *finding, void *arg)
{
	char folder[FOLDER_MAX];
	const char *tag;
	DIR *dir;

	snprintf(folder, sizeof(folder), "repositories/%s/_manifests/tags",
		 repo);
	dir = folder_open(r->base, folder, finding, arg);
	while (dir && (tag = folder_next(dir)))
		add_tag(r, folder, tag, revisions, out, finding, arg);
	if (dir)
		closedir(dir);
}

/* A tag brings its manifest: alone come those that have none. */
static void drop_tagged(const struct revisions *revisions,
			struct foreign_items *items)
{
	size_t kept = 0;

	for (size_t i = 0; i < items->n; i++)
		if (i >= revisions->n || !revisions->tagged[i])
			items->v[kept++] = items->v[i];
	items->n = kept;
}

static void registry_items(struct foreign *f, size_t i,
			   struct foreign_items *out,
			   foreign_finding_cb *finding, void *arg)
{
	struct revisions revisions;

	add_revisions(of(f), f->repos[i], out, finding, arg);
	if (out->n > 1)
		qsort(out->v, out->n, sizeof(*out->v), by_digest);
	revisions.n = out->n;
	revisions.tagged = xcalloc(out->n + 1, sizeof(*revisions.tagged));
	add_tags(of(f), f->repos[i], &revisions, out, finding, arg);
	drop_tagged(&revisions, out);
	free(revisions.tagged);
}

static enum err registry_open(struct foreign *f, const struct digest *dg,
			      struct foreign_file *out, struct why *why)
{
	char hex[DIGEST_TEXT_MAX], folder[DIGEST_TEXT_MAX + 32];

	digest_hex(dg, hex);
	snprintf(folder, sizeof(folder), "blobs/%s/%.2s/%s",
		 digest_alg_name(dg), hex, hex);
	return foreign_open_at(of(f)->base, folder, "data", out, why);
}

static void registry_free(struct foreign *f)
{
	struct registry *r = of(f);

	if (r->base >= 0)
		close(r->base);
	free(r);
}

static const struct foreign_kind kind = {
    .items = registry_items, .open = registry_open, .free = registry_free};

/* ---- opening ---- */

/* Either folder will do, since people name either. */
static enum err find_base(struct registry *r, int fd, struct why *why)
{
	bool inner = faccessat(fd, "repositories", F_OK, 0) == 0;
	const char *scheduler = inner ? "../../../" SCHEDULER : SCHEDULER;

	r->base =
	    openat(fd, inner ? "." : INNER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->base < 0 && errno == ENOENT)
		return why_set(why, ERR_INVALID,
			       "this is no folder of Docker's registry: there "
			       "is no " INNER " in it");
	if (r->base < 0)
		return why_errno(why, errno, "cannot open " INNER);
	r->f.was_cache = faccessat(fd, scheduler, F_OK, 0) == 0;
	return ERR_OK;
}

enum err foreign_open_registry(int fd, foreign_finding_cb *finding, void *arg,
			       struct foreign **out, struct why *why)
{
	struct registry *r = xcalloc(1, sizeof(*r));
	struct walk w = {.r = r, .finding = finding, .arg = arg};
	enum err err;

	*out = &r->f;
	r->f.kind = &kind;
	err = find_base(r, fd, why);
	close(fd);
	if (err != ERR_OK) {
		foreign_free(out);
		return err;
	}
	walk_folder(&w, r->base, "repositories");
	if (r->f.n_repos > 1)
		qsort(r->f.repos, r->f.n_repos, sizeof(*r->f.repos), by_name);
	return ERR_OK;
}
