/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A manifest that a client pushes.  Its file is in place before the commit,
 * under the hold; then one transaction decides and writes, so that between
 * "all its blobs are here" and "it is here" nothing can go.
 */
#include "cache/hosted_int.h"
#include "cache/manifest_rows.h"

#define MISSING_TOLD 3

struct push {
	struct hosted_change hc;
	struct manifest_rows rows;
	struct digest *required;
	size_t n_required;
	size_t n_unknown; /* required, of an algorithm that we do not serve */
	char **tags;
	bool *immutable;
	size_t n_tags;
	bool allow_sparse;
	enum err committed; /* the index's answer */

	/* Of the last apply. */
	uint64_t repo, shadow; /* 0 = none */
	size_t n_missing;
	struct digest missing[MISSING_TOLD];
	bool *mount; /* for each of `required`: the shadow has it */
};

static struct push *of(struct hosted_change *hc)
{
	return container_of(hc, struct push, hc);
}

static void release(struct hosted_change *hc)
{
	struct push *p = of(hc);

	manifest_rows_release(&p->rows);
	for (size_t i = 0; i < p->n_tags; i++)
		free(p->tags[i]);
	free(p->tags);
	free(p->immutable);
	free(p->required);
	free(p->mount);
}

/* ---- deciding ---- */

/* A tag that may not move, and would. */
static enum err check_tag(struct index_txn *txn, struct push *p,
			  const char *tag)
{
	struct hosted_change *hc = &p->hc;
	char text[DIGEST_TEXT_MAX];
	struct tag_row row;
	enum err err = tag_get(txn, p->repo, tag, strlen(tag), &row);

	if (err == ERR_NOT_FOUND)
		return ERR_OK;
	if (err != ERR_OK)
		return why_set(&hc->ch.why, ERR_IO,
			       "the row of tag %s in %s cannot be read", tag,
			       hc->ch.name);
	if (digest_equal(&row.held[0], &p->rows.dg))
		return ERR_OK;
	hc->res.dg = row.held[0];
	return why_set(&hc->ch.why, ERR_DENIED,
		       "tag %s of %s is immutable and is %s", tag, hc->ch.name,
		       digest_text(&row.held[0], text));
}

static enum err check_tags(struct index_txn *txn, struct push *p)
{
	enum err err = ERR_OK;

	for (size_t i = 0; err == ERR_OK && i < p->n_tags; i++) {
		if (!*p->tags[i] || strlen(p->tags[i]) > TAG_MAX)
			return why_set(&p->hc.ch.why, ERR_INVALID,
				       "this is no tag");
		if (p->repo && p->immutable[i])
			err = check_tag(txn, p, p->tags[i]);
	}
	return err;
}

static enum err is_linked(struct index_txn *txn, const struct push *p,
			  const struct digest *dg)
{
	struct link_row link;

	return p->repo ? link_get(txn, p->repo, dg, &link) : ERR_NOT_FOUND;
}

static bool shadow_has(struct index_txn *txn, const struct push *p,
		       const struct digest *dg)
{
	struct lookup found;

	return p->shadow &&
	       cache_lookup_blob(txn, p->shadow, dg, &found) == ERR_OK &&
	       found.may == MAY_YES && found.stored;
}

/* Present is what is linked here, or is the shadow's to give; and its row is
 * there, which says that its file is. */
static enum err check_child(struct index_txn *txn, struct push *p, size_t i)
{
	const struct digest *dg = &p->required[i];
	struct blob_row blob;
	enum err err = is_linked(txn, p, dg);

	p->mount[i] = false;
	if (err == ERR_OK)
		err = blob_get(txn, dg, &blob);
	else if (err == ERR_NOT_FOUND && shadow_has(txn, p, dg)) {
		p->mount[i] = true;
		return ERR_OK;
	}
	if (err == ERR_IO)
		return err;
	if (err != ERR_OK) {
		if (p->n_missing < MISSING_TOLD)
			p->missing[p->n_missing] = *dg;
		p->n_missing++;
	}
	return ERR_OK;
}

static enum err check_children(struct index_txn *txn, struct push *p)
{
	enum err err = ERR_OK;

	p->n_missing = 0;
	for (size_t i = 0; err == ERR_OK && i < p->n_required; i++)
		err = check_child(txn, p, i);
	return err;
}

static enum err tell_missing(struct push *p)
{
	struct hosted_change *hc = &p->hc;
	char text[DIGEST_TEXT_MAX];
	size_t used;

	if (!p->n_missing)
		return why_set(&hc->ch.why, ERR_NOT_FOUND,
			       "the manifest requires a blob whose digest is "
			       "of an algorithm that is not served here");
	hc->res.dg = p->missing[0];
	why_set(&hc->ch.why, ERR_NOT_FOUND, "%s does not hold", hc->ch.name);
	for (size_t i = 0; i < MIN(p->n_missing, (size_t)MISSING_TOLD); i++) {
		used = strlen(hc->ch.why.text);
		snprintf(hc->ch.why.text + used, sizeof(hc->ch.why.text) - used,
			 "%s %.71s", i ? "," : "",
			 digest_text(&p->missing[i], text));
	}
	used = strlen(hc->ch.why.text);
	if (p->n_missing > MISSING_TOLD)
		snprintf(hc->ch.why.text + used, sizeof(hc->ch.why.text) - used,
			 " and %zu more", p->n_missing - MISSING_TOLD);
	return ERR_NOT_FOUND;
}

static enum err decide(struct index_txn *txn, struct push *p)
{
	enum err err = check_tags(txn, p);

	if (err == ERR_OK && !manifest_rows_agree(txn, &p->rows))
		err = why_set(&p->hc.ch.why, ERR_INVALID,
			      "these bytes are stored as another kind of "
			      "manifest, which names other contents");
	if (err == ERR_OK)
		err = check_children(txn, p);
	if (err == ERR_OK && p->n_missing + p->n_unknown && !p->allow_sparse)
		err = tell_missing(p);
	return err;
}

/* ---- writing ---- */

static void mount_children(struct index_txn *txn, struct push *p)
{
	struct link_row row = {
	    .kind = LINK_BLOB,
	    .created_s = p->hc.ch.now_s,
	};

	for (size_t i = 0; i < p->n_required; i++)
		if (p->mount[i])
			hosted_put_link(txn, p->hc.ch.name, p->repo,
					&p->required[i], &row);
}

static void write_all(struct index_txn *txn, struct push *p)
{
	const struct change *ch = &p->hc.ch;
	struct link_row row = {
	    .kind = LINK_MANIFEST,
	    .sparse = p->n_missing + p->n_unknown > 0,
	    .created_s = ch->now_s,
	    .media_type = slice_of_text(p->rows.media_type),
	};

	manifest_rows_put(txn, &p->rows, p->repo, ch->now_s, false);
	mount_children(txn, p);
	hosted_put_link(txn, ch->name, p->repo, &p->rows.dg, &row);
	for (size_t i = 0; i < p->n_tags; i++)
		hosted_put_tag(txn, ch->name, p->repo, p->tags[i], &p->rows.dg,
			       ch->now_ms);
	hosted_put_events(txn, p->hc.events, p->hc.n_events);
}

static enum err find_repos(struct index_txn *txn, struct push *p)
{
	struct hosted_change *hc = &p->hc;
	enum err err = hosted_repo(txn, hc->ch.name, &p->repo);

	if (err == ERR_NOT_FOUND && !hc->claims)
		return why_set(&hc->ch.why, err, "%s is not hosted here",
			       hc->ch.name);
	if (err == ERR_NOT_FOUND)
		p->repo = 0;
	else if (err != ERR_OK)
		return err;
	if (!hc->shadow_name || repo_id(txn, hc->shadow_host, hc->shadow_name,
					&p->shadow) != ERR_OK)
		p->shadow = 0;
	return ERR_OK;
}

/* Would it be refused?  Writes nothing. */
static enum err check_apply(struct index_txn *txn, struct hosted_change *hc)
{
	enum err err = find_repos(txn, of(hc));

	return err == ERR_OK ? decide(txn, of(hc)) : err;
}

/* Refused for what is missing, it claims its name nevertheless. */
static enum err push_apply(struct index_txn *txn, struct hosted_change *hc)
{
	struct push *p = of(hc);
	enum err err = find_repos(txn, p), refused;

	if (err != ERR_OK)
		return err;
	refused = decide(txn, p);
	if (refused != ERR_OK && refused != ERR_NOT_FOUND)
		return refused;
	err = hosted_ensure_repo(txn, hc->ch.name, hc->claims, hc->ch.now_s,
				 &p->repo, &hc->res.claimed);
	if (err != ERR_OK)
		return err;
	hc->res.err = refused;
	if (refused == ERR_OK)
		write_all(txn, p);
	return ERR_OK;
}

/* ---- copying what the apply needs ---- */

static void add_required(struct push *p, const struct manifest_child *child)
{
	if (child->foreign)
		return;
	if (child->skipped)
		p->n_unknown++;
	else
		p->required[p->n_required++] = child->dg;
}

/* An index requires none of its entries: partial copies are legal. */
static void copy_required(struct push *p, const struct manifest_facts *facts)
{
	p->required = xcalloc(facts->n_children + 1, sizeof(*p->required));
	p->mount = xcalloc(facts->n_children + 1, sizeof(*p->mount));
	if (facts->kind != MANIFEST_IMAGE && facts->kind != MANIFEST_ARTIFACT)
		return;
	for (size_t i = 0; i < facts->n_children; i++)
		add_required(p, &facts->children[i]);
}

static void copy_tags(struct push *p, const struct push_manifest *m)
{
	p->tags = xcalloc(m->n_tags + 1, sizeof(*p->tags));
	p->immutable = xcalloc(m->n_tags + 1, sizeof(*p->immutable));
	for (size_t i = 0; i < m->n_tags; i++) {
		p->tags[i] = xstrdup(m->tags[i]);
		p->immutable[i] = m->immutable && m->immutable[i];
	}
	p->n_tags = m->n_tags;
}

static enum err push_commit(void *arg, struct why *why UNUSED)
{
	struct push *p = arg;
	enum err err = ERR_OK;

	if (manifest_rows_are_many(&p->rows) &&
	    hosted_wait(&p->hc, check_apply) == ERR_OK)
		err = manifest_rows_put_ahead(p->hc.c, &p->rows, p->hc.ch.now_s,
					      false);
	if (err == ERR_OK)
		err = hosted_wait(&p->hc, push_apply);
	p->committed = err;
	/* What was put ahead speaks of the file, and is collection's to drop
	 * with it. */
	if (p->rows.n_ahead)
		return ERR_OK;
	return err == ERR_OK ? p->hc.res.err : err;
}

void cache_push_manifest(struct cache *c, const struct push_manifest *m,
			 hosted_done_cb *cb, void *arg)
{
	struct push *p = hosted_new(sizeof(*p), c, &m->to, cb, arg);
	struct manifest_source src = {
	    .dg = &m->dg,
	    .media_type = m->media_type,
	    .facts = m->facts,
	    .bytes = m->bytes,
	    .len = m->len,
	    .max_inline = c->max_inline_bytes,
	    .always_file = true,
	};
	enum err err;

	p->hc.release = release;
	p->allow_sparse = m->allow_sparse;
	manifest_rows_init(&p->rows, &src);
	copy_required(p, m->facts);
	copy_tags(p, m);
	p->committed = ERR_LAST; /* not asked yet */
	err = store_file_with(c, &m->dg, m->bytes, m->len, push_commit, p,
			      &p->hc.ch.why);
	/* What was refused is in its result. */
	hosted_finish(&p->hc, p->committed == ERR_LAST ? err : p->committed);
}
