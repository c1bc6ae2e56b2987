/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An OCI image layout (image-spec, "Image Layout"):
 *
 *   oci-layout
 *   index.json           what is in it, and how it is called
 *   blobs/<alg>/<hex>
 *
 * in a folder, or in a tar file, which is read from its beginning once, to
 * learn where each blob is.
 */
#include "proxy/foreign_int.h"

#include "cache/manifest.h"
#include "proxy/tar.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <search.h>
#include <sys/stat.h>
#include <unistd.h>

#define REF_NAME "org.opencontainers.image.ref.name"
#define CONTAINERD_NAME "io.containerd.image.name"
#define MANIFEST_BYTES_MAX ((size_t)(4 * MIB))

/* Where a blob is in the tar file. */
struct place {
	struct digest dg;
	uint64_t at, size;
};

struct listed {
	struct digest dg;
	char *repo; /* NULL: not known yet */
	char tag[TAG_MAX + 1];
	size_t index; /* of repo among the repositories */
};

struct oci {
	struct foreign f;
	int dir, tar; /* one of them; the other is -1 */
	struct place *places;
	size_t n_places, room_places;
	struct place index; /* size 0: there is none */
	uint64_t ends_at;   /* a tar file without an end; or 0 */
	struct listed *entries;
	size_t n_entries;
};

static struct oci *of(struct foreign *f)
{
	return container_of(f, struct oci, f);
}

/* ---- a tar file ---- */

static int by_digest(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return memcmp(&x->dg, &y->dg, sizeof(x->dg));
}

static void add_place(struct oci *o, const struct digest *dg, uint64_t at,
		      uint64_t size)
{
	if (o->n_places == o->room_places) {
		o->room_places = o->room_places ? 2 * o->room_places : 64;
		o->places =
		    xrealloc(o->places, o->room_places * sizeof(*o->places));
	}
	o->places[o->n_places++] =
	    (struct place){.dg = *dg, .at = at, .size = size};
}

static void note_file(struct oci *o, const char *name, uint64_t at,
		      uint64_t size)
{
	static const char blobs[] = "blobs/";
	char text[TAR_NAME_MAX + 2], *slash;
	struct digest dg;

	while (strncmp(name, "./", 2) == 0)
		name += 2;
	if (strcmp(name, "index.json") == 0)
		o->index = (struct place){.at = at, .size = size};
	if (strncmp(name, blobs, strlen(blobs)) != 0)
		return;
	snprintf(text, sizeof(text), "%s", name + strlen(blobs));
	slash = strchr(text, '/');
	if (!slash)
		return;
	*slash = ':';
	if (digest_parse(text, strlen(text), &dg) == ERR_OK)
		add_place(o, &dg, at, size);
}

static bool read_at(int fd, void *buf, size_t len, uint64_t at)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (char *)buf + done, len - done,
				  (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

/* What a header says of the next one. */
static enum err read_extra(struct oci *o, const struct tar_entry *e,
			   uint64_t at, struct tar_extra *extra)
{
	enum err err = ERR_OK;
	char *body;

	if (e->size > TAR_EXTRA_MAX)
		return ERR_INVALID;
	body = xmalloc((size_t)e->size + 1);
	if (!read_at(o->tar, body, (size_t)e->size, at))
		err = ERR_INVALID;
	else if (e->kind == TAR_PAX)
		err = tar_pax_read(body, (size_t)e->size, extra);
	else
		tar_long_name(body, (size_t)e->size, extra);
	free(body);
	return err;
}

static enum err tell_damage(uint64_t at, uint64_t end, struct why *why)
{
	return why_set(why, ERR_INVALID,
		       "this is no tar archive at byte %" PRIu64 " of %" PRIu64
		       "%s",
		       at, end,
		       at > 0 ? ", but was one until there"
			      : " (a compressed one has to be unpacked first)");
}

/* A copy that was broken off: a good header, of more than there is. */
static enum err tell_cut(const struct tar_entry *e, uint64_t at, uint64_t end,
			 struct why *why)
{
	uint64_t whole;

	if (!size_add(at, e->size, &whole))
		return tell_damage(at, end, why);
	return why_set(why, ERR_INVALID,
		       "the archive ends early, at byte %" PRIu64
		       ": %.100s begins at byte %" PRIu64 " and has %" PRIu64
		       " bytes, so it should have %" PRIu64 " at least",
		       end, e->name, at, e->size, whole);
}

static enum err read_entry(struct oci *o, uint64_t end, uint64_t *at,
			   struct tar_entry *e, struct tar_extra *extra,
			   struct why *why)
{
	uint8_t block[TAR_BLOCK];

	if (!read_at(o->tar, block, sizeof(block), *at) ||
	    tar_header_read(block, e) != ERR_OK)
		return tell_damage(*at, end, why);
	if (e->kind == TAR_END)
		return ERR_OK;
	*at += TAR_BLOCK;
	if (e->kind == TAR_FILE || e->kind == TAR_OTHER)
		tar_apply(extra, e);
	if (e->size > end - *at)
		return tell_cut(e, *at, end, why);
	if (e->kind == TAR_FILE)
		note_file(o, e->name, *at, e->size);
	else if (e->kind != TAR_OTHER && read_extra(o, e, *at, extra) != ERR_OK)
		return tell_damage(*at, end, why);
	*at += e->size + tar_padding(e->size);
	return ERR_OK;
}

static enum err read_tar(struct oci *o, uint64_t end, struct why *why)
{
	struct tar_extra extra = {0};
	struct tar_entry e = {0};
	uint64_t at = 0;
	enum err err = ERR_OK;

	/* Archives cut off at a file's end are common, and whole enough. */
	while (err == ERR_OK && e.kind != TAR_END && at + TAR_BLOCK <= end)
		err = read_entry(o, end, &at, &e, &extra, why);
	if (err != ERR_OK)
		return err;
	if (at > 0 && e.kind != TAR_END)
		o->ends_at = end;
	if (o->n_places > 1)
		qsort(o->places, o->n_places, sizeof(*o->places), by_digest);
	return ERR_OK;
}

/* ---- its blobs ---- */

static enum err open_place(struct oci *o, const struct place *p,
			   struct foreign_file *out, struct why *why)
{
	*out = (struct foreign_file){.fd = -1, .dir_fd = -1};
	out->fd = fcntl(o->tar, F_DUPFD_CLOEXEC, 0);
	if (out->fd < 0)
		return why_errno(why, errno, "cannot open the archive again");
	out->at = p->at;
	out->size = p->size;
	return ERR_OK;
}

static enum err oci_open(struct foreign *f, const struct digest *dg,
			 struct foreign_file *out, struct why *why)
{
	struct place key = {.dg = *dg}, *p = NULL;
	char folder[32], text[DIGEST_TEXT_MAX];
	struct oci *o = of(f);

	if (o->dir >= 0) {
		snprintf(folder, sizeof(folder), "blobs/%s",
			 digest_alg_name(dg));
		return foreign_open_at(o->dir, folder, digest_hex(dg, text),
				       out, why);
	}
	if (o->n_places > 0)
		p = bsearch(&key, o->places, o->n_places, sizeof(key),
			    by_digest);
	if (p)
		return open_place(o, p, out, why);
	*out = (struct foreign_file){.fd = -1, .dir_fd = -1};
	return why_set(why, ERR_NOT_FOUND, "%.80s is not in the archive",
		       digest_text(dg, text));
}

/* ---- index.json ---- */

static enum err open_index(struct oci *o, struct foreign_file *out,
			   struct why *why)
{
	enum err err = ERR_NOT_FOUND;

	*out = (struct foreign_file){.fd = -1, .dir_fd = -1};
	if (o->dir >= 0)
		err = foreign_open_at(o->dir, ".", "index.json", out, why);
	else if (o->index.size > 0)
		err = open_place(o, &o->index, out, why);
	if (err == ERR_NOT_FOUND && o->ends_at)
		return why_set(why, ERR_INVALID,
			       "the archive ends early, at byte %" PRIu64
			       ": neither an index.json is in it, nor the "
			       "zeros of an archive's end",
			       o->ends_at);
	if (err == ERR_NOT_FOUND)
		return why_set(why, ERR_INVALID,
			       "this is no OCI image layout: there is no "
			       "index.json in it (docker save writes one from "
			       "Docker 25 on)");
	return err;
}

static enum err load_index(struct oci *o, json_t **out, struct why *why)
{
	struct foreign_file file;
	json_error_t error;
	char *text = NULL;
	size_t len = 0;
	enum err err = open_index(o, &file, why);

	if (err == ERR_OK && file.size > OCI_INDEX_BYTES_MAX)
		err = why_set(why, ERR_TOO_BIG,
			      "index.json has %" PRIu64 " bytes, and at most "
			      "%" PRIu64 " are taken: several layouts, each of "
			      "fewer names, can be",
			      file.size, OCI_INDEX_BYTES_MAX);
	if (err == ERR_OK)
		err =
		    foreign_read(&file, OCI_INDEX_BYTES_MAX, &text, &len, why);
	foreign_file_close(&file);
	if (err != ERR_OK)
		return err;
	*out = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	free(text);
	if (!*out)
		return why_set(why, ERR_INVALID, "index.json: %s, line %d",
			       error.text, error.line);
	if (!json_is_array(json_object_get(*out, "manifests"))) {
		json_decref(*out);
		return why_set(why, ERR_INVALID,
			       "index.json has no list of manifests");
	}
	return ERR_OK;
}

static const char *annotation(const json_t *descriptor, const char *name)
{
	return json_string_value(
	    json_object_get(json_object_get(descriptor, "annotations"), name));
}

/* False: it is none; `text` is what was to be read. */
static bool read_name(const json_t *descriptor, struct listed *e,
		      const char *as, const char **text)
{
	char name[REPO_PATH_MAX + 1] = "";
	struct digest dg = {0};

	*text = annotation(descriptor, CONTAINERD_NAME);
	if (!*text)
		*text = annotation(descriptor, REF_NAME);
	if (*text && foreign_ref_parse(*text, name, e->tag, &dg) != ERR_OK)
		return false;
	if (dg.alg && !digest_equal(&dg, &e->dg))
		return false;
	if (as)
		e->repo = xstrdup(as);
	else if (name[0])
		e->repo = xstrdup(name);
	return true;
}

static void read_descriptor(struct oci *o, const json_t *descriptor,
			    const char *as, foreign_finding_cb *finding,
			    void *arg)
{
	const char *digest =
	    json_string_value(json_object_get(descriptor, "digest"));
	struct listed e = {0};
	const char *text;

	if (!digest || digest_parse(digest, strlen(digest), &e.dg) != ERR_OK)
		foreign_find(finding, arg,
			     "index.json: an entry's digest is %.150s",
			     digest ? digest : "missing");
	else if (!read_name(descriptor, &e, as, &text))
		foreign_find(finding, arg,
			     "index.json: %.200s is no name of the image %s",
			     text, digest);
	else
		o->entries[o->n_entries++] = e;
}

/* ---- entries without a name ---- */

/* A referrer of a referrer of ...: no signature is so far from its image. */
#define SUBJECTS_MAX 16

/* A manifest, once, however often index.json lists it. */
struct member {
	struct digest dg;
	const char *repo;      /* whose it is; NULL: not known yet.  Borrowed */
	bool looked;           /* into its bytes: */
	struct digest subject; /* alg 0: none */
};

static int by_member(const void *a, const void *b)
{
	const struct member *x = a, *y = b;

	return memcmp(&x->dg, &y->dg, sizeof(x->dg));
}

/* Made, if it is not there. */
static struct member *member_of(void **tree, const struct digest *dg)
{
	struct member key = {.dg = *dg}, **at = tfind(&key, tree, by_member);

	if (!at)
		at = tsearch(xmemdup(&key, sizeof(key)), tree, by_member);
	return *at;
}

/* Its subject, and of one that has its place, its children's. */
static void look_into(struct oci *o, void **tree, struct member *m)
{
	struct manifest_facts facts;
	struct why why;
	char *bytes;
	size_t len;

	if (m->looked)
		return;
	m->looked = true;
	if (foreign_bytes(&o->f, &m->dg, MANIFEST_BYTES_MAX, &bytes, &len,
			  &why) != ERR_OK)
		return;
	if (manifest_parse(bytes, len, len, NULL, &facts, &why) == ERR_OK) {
		if (facts.has_subject)
			m->subject = facts.subject;
		for (size_t i = 0; m->repo && i < facts.n_children; i++) {
			struct member *child;

			if (facts.children[i].role != CHILD_MANIFEST)
				continue;
			child = member_of(tree, &facts.children[i].dg);
			if (!child->repo)
				child->repo = m->repo;
		}
		manifest_facts_release(&facts);
	}
	free(bytes);
}

static bool adopt_by_subject(struct oci *o, void **tree, struct listed *e)
{
	struct member *m = member_of(tree, &e->dg), *subject;

	look_into(o, tree, m);
	if (!m->subject.alg)
		return false;
	subject = member_of(tree, &m->subject);
	if (!subject->repo)
		return false;
	e->repo = xstrdup(subject->repo);
	m->repo = e->repo;
	return true;
}

static void place_nameless(struct oci *o)
{
	void *tree = NULL;
	size_t nameless = 0;
	bool more = true;

	for (size_t i = 0; i < o->n_entries; i++)
		nameless += !o->entries[i].repo;
	for (size_t i = 0; nameless && i < o->n_entries; i++) {
		struct member *m = member_of(&tree, &o->entries[i].dg);

		if (!o->entries[i].repo)
			continue;
		if (!m->repo)
			m->repo = o->entries[i].repo;
		look_into(o, &tree, m);
	}
	for (unsigned n = 0; nameless && more && n < SUBJECTS_MAX; n++) {
		more = false;
		for (size_t i = 0; i < o->n_entries; i++)
			if (!o->entries[i].repo)
				more |=
				    adopt_by_subject(o, &tree, &o->entries[i]);
	}
	tdestroy(tree, free);
}

static void tell_nameless(struct oci *o, foreign_finding_cb *finding, void *arg)
{
	char text[DIGEST_TEXT_MAX];

	for (size_t i = 0; i < o->n_entries; i++) {
		const struct listed *e = &o->entries[i];

		if (e->repo)
			continue;
		foreign_find(finding, arg,
			     "%.80s%s%s has no name in index.json; entrepot "
			     "import oci ... NAME gives it one",
			     digest_text(&e->dg, text),
			     e->tag[0] ? ", tag " : "", e->tag);
	}
}

/* ---- repositories ---- */

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list_repos(struct oci *o)
{
	struct foreign *f = &o->f;
	size_t kept = 0;

	for (size_t i = 0; i < o->n_entries; i++)
		if (o->entries[i].repo)
			foreign_add_repo(f, o->entries[i].repo);
	if (f->n_repos > 1)
		qsort(f->repos, f->n_repos, sizeof(*f->repos), by_text);
	for (size_t i = 0; i < f->n_repos; i++) {
		if (kept && strcmp(f->repos[kept - 1], f->repos[i]) == 0)
			free(f->repos[i]);
		else
			f->repos[kept++] = f->repos[i];
	}
	f->n_repos = kept;
	for (size_t i = 0; i < o->n_entries; i++) {
		struct listed *e = &o->entries[i];
		char **at = e->repo ? bsearch(&e->repo, f->repos, kept,
					      sizeof(*f->repos), by_text)
				    : NULL;

		e->index = at ? (size_t)(at - f->repos) : SIZE_MAX;
	}
}

static void oci_items(struct foreign *f, size_t i, struct foreign_items *out,
		      foreign_finding_cb *finding UNUSED, void *arg UNUSED)
{
	const struct oci *o = of(f);

	for (size_t k = 0; k < o->n_entries; k++)
		if (o->entries[k].index == i)
			foreign_items_add(out, &o->entries[k].dg,
					  o->entries[k].tag);
}

static void oci_free(struct foreign *f)
{
	struct oci *o = of(f);

	if (o->dir >= 0)
		close(o->dir);
	if (o->tar >= 0)
		close(o->tar);
	for (size_t i = 0; i < o->n_entries; i++)
		free(o->entries[i].repo);
	free(o->entries);
	free(o->places);
	free(o);
}

static const struct foreign_kind kind = {
    .items = oci_items, .open = oci_open, .free = oci_free};

/* ---- opening ---- */

static enum err look(struct oci *o, int fd, struct why *why)
{
	struct stat st;

	if (fstat(fd, &st) != 0) {
		close(fd);
		return why_errno(why, errno, "cannot look at it");
	}
	if (S_ISDIR(st.st_mode)) {
		o->dir = fd;
		return ERR_OK;
	}
	o->tar = fd;
	if (!S_ISREG(st.st_mode))
		return why_set(why, ERR_INVALID,
			       "it has to be a folder or a file: names are "
			       "looked at before bytes are copied");
	return read_tar(o, (uint64_t)st.st_size, why);
}

static enum err read_index(struct oci *o, const char *as,
			   foreign_finding_cb *finding, void *arg,
			   struct why *why)
{
	json_t *root, *list, *descriptor;
	size_t i;
	enum err err = load_index(o, &root, why);

	if (err != ERR_OK)
		return err;
	list = json_object_get(root, "manifests");
	o->entries = xcalloc(json_array_size(list) + 1, sizeof(*o->entries));
	json_array_foreach (list, i, descriptor)
		read_descriptor(o, descriptor, as, finding, arg);
	json_decref(root);
	return ERR_OK;
}

enum err foreign_open_oci(int fd, const char *as, foreign_finding_cb *finding,
			  void *arg, struct foreign **out, struct why *why)
{
	struct oci *o = xcalloc(1, sizeof(*o));
	enum err err;

	*out = &o->f;
	o->f.kind = &kind;
	o->dir = o->tar = -1;
	err = look(o, fd, why);
	if (err == ERR_OK)
		err = read_index(o, as, finding, arg, why);
	if (err != ERR_OK) {
		foreign_free(out);
		return err;
	}
	place_nameless(o);
	tell_nameless(o, finding, arg);
	list_repos(o);
	return ERR_OK;
}
