/* SPDX-License-Identifier: Apache-2.0 */
/* The end of an upload: its bytes become a blob, linked where they were sent.
 */
#include "cache/hosted_int.h"
#include "cache/upload_int.h"

/* ---- the commit ---- */

struct upload_publishing {
	struct publishing pub;
	const char *id;
	const struct hosting *h;
};

static enum err put_rows(struct index_txn *txn, struct publishing *pub,
			 uint64_t now_s)
{
	struct upload_publishing *p =
	    container_of(pub, struct upload_publishing, pub);
	const struct hosting *h = p->h;
	uint64_t repo;
	bool claimed;
	enum err err =
	    hosted_ensure_repo(txn, h->repo, h->claims, now_s, &repo, &claimed);

	if (err != ERR_OK)
		return err == ERR_NOT_FOUND ? ERR_DENIED : err;
	hosted_link_blob(txn, h->repo, repo, &pub->dg, now_s);
	hosted_put_events(txn, h->events, h->n_events);
	upload_del(txn, p->id);
	return ERR_OK;
}

static enum err publish(struct upload *u, const struct digest *dg,
			const struct hosting *h, bool *sync_failed,
			struct why *why)
{
	struct upload_publishing p = {
	    .pub = {.fd = u->fd,
		    .path = u->path,
		    .dir = "uploads",
		    .dg = *dg,
		    .size = upload_offset(u),
		    .rows = put_rows},
	    .id = u->claim.id,
	    .h = h,
	};
	enum err err;

	/* Before it is there: so at no moment it is there and not leased. */
	lease_take(u->c->leases, dg);
	err = publish_staged(u->c, &p.pub, why);
	*sync_failed = err != ERR_OK && p.pub.sync_failed;
	return err;
}

/* ---- before and after ---- */

static enum err prove(struct upload *u, const struct digest *dg,
		      struct why *why)
{
	char wanted[DIGEST_TEXT_MAX], text[DIGEST_TEXT_MAX];
	struct digest found;
	enum err err = upload_digest(u, (enum digest_alg)dg->alg, &found, why);

	if (err != ERR_OK || digest_equal(&found, dg))
		return err;
	/* Two of sha512 are too long for one sentence. */
	return why_set(why, ERR_MISMATCH,
		       "the %" PRIu64 " bytes sent have the digest %.80s, not "
		       "%.80s",
		       upload_offset(u), digest_text(&found, text),
		       digest_text(dg, wanted));
}

/* Its length is the blob's from here on, and its name tells the digest. */
static enum err settle_name(struct upload *u, const struct digest *dg,
			    struct why *why)
{
	char path[PATH_LEN_MAX];
	enum err err = upload_cut(u, why);

	if (err != ERR_OK)
		return err;
	return upload_rename(u, upload_proven_path(u->claim.id, dg, path), why);
}

/* Not published, for want of room or of the index: a session again, or gone. */
static void back_to_session(struct upload **up, const char *name,
			    bool sync_failed, const struct digest *dg)
{
	struct upload *u = *up;

	if (!sync_failed && upload_rename(u, name, NULL) == ERR_OK)
		return;
	cache_tell(u->c, CACHE_DISCARDED, dg, NULL);
	upload_lose(u);
	upload_free(up);
}

static enum err finish_proven(struct upload **up, const struct digest *dg,
			      const struct hosting *h,
			      void (*matched)(void *arg), void *arg,
			      struct why *why)
{
	char name[PATH_LEN_MAX];
	bool sync_failed;
	enum err err;

	memcpy(name, (*up)->path, sizeof(name));
	err = settle_name(*up, dg, why);
	if (err != ERR_OK)
		return err;
	if (matched)
		matched(arg);
	err = publish(*up, dg, h, &sync_failed, why);
	if (err == ERR_OK) {
		upload_birth_drop(*up); /* it is the blob's file now */
		upload_free(up);
	} else {
		back_to_session(up, name, sync_failed, dg);
	}
	return err;
}

enum err upload_finish(struct upload **up, const struct digest *dg,
		       const struct hosting *h, void (*matched)(void *arg),
		       void *arg, struct why *why)
{
	struct upload *u = *up;
	enum err err = upload_check(u, why);

	assert(strcmp(h->repo, u->row.repo) == 0);
	if (err == ERR_OK)
		err = prove(u, dg, why);
	if (err == ERR_OK)
		err = finish_proven(up, dg, h, matched, arg, why);
	/* Where the cut fails, the next bytes try it again. */
	if (err != ERR_OK && *up)
		(void)!upload_rewind(*up, NULL);
	return err;
}
