/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET and HEAD of what a hosted repository holds.  No upstream is ever asked:
 * what is not linked here is a 404.
 *
 *   manifest  by tag: the tag's row ─► its digest
 *             by digest: the link    ─► manifest_send()
 *   blob      the link ─► open ─► blob_send()
 *
 * A HEAD of a blob tells a pusher that he need not send it, so it leases it.
 */
#include "proxy/serve_hosted.h"
#include "cache/hosted.h"
#include "proxy/blob_open.h"
#include "proxy/blob_send.h"
#include "proxy/manifest_send.h"

static void unknown(struct request *r, enum api_code code, const char *what)
{
	char message[REPO_NAME_MAX + 128];

	snprintf(message, sizeof(message), "%s is not in %s", what,
		 r->names.repo);
	reply_error(r, 404, code, message, NULL);
}

static void index_broken(struct request *r, enum err err, enum api_code code)
{
	struct why why;

	(void)why_set(&why, err, "the index cannot be read");
	reply_err(r, err, code, 0, &why);
}

/* ---- manifests ---- */

static void manifest_unknown(struct request *r)
{
	unknown(r, CODE_MANIFEST_UNKNOWN, "this manifest");
}

/* The digest that is asked for, if it is linked here as a manifest. */
static enum err find_manifest(struct request *r, struct index_txn *txn,
			      struct digest *out)
{
	struct link_row link;
	struct tag_row tag;
	enum err err = ERR_OK;

	if (!request_repo(r, txn))
		return ERR_NOT_FOUND;
	*out = r->route.digest;
	if (r->route.reference == REFERENCE_TAG) {
		err = tag_get(txn, r->repo_id, r->route.ref,
			      strlen(r->route.ref), &tag);
		*out = tag.held[0];
	}
	if (err == ERR_OK)
		err = link_get(txn, r->repo_id, out, &link);
	if (err == ERR_OK && link.kind != LINK_MANIFEST)
		err = ERR_NOT_FOUND;
	return err;
}

static void start_manifest(struct request *r)
{
	struct index_txn *txn = index_read(cache_index(r->server->cache));
	struct manifest_reply how = {
	    .by_tag = r->route.reference == REFERENCE_TAG,
	    .hosted = true,
	};
	enum err err = find_manifest(r, txn, &how.dg);

	index_read_end(txn);
	if (err == ERR_OK)
		manifest_send(r, &how, manifest_unknown);
	else if (err == ERR_NOT_FOUND)
		manifest_unknown(r);
	else
		index_broken(r, err, CODE_MANIFEST_UNKNOWN);
}

const struct handler serve_hosted_manifest = {.start = start_manifest};

/* ---- blobs ---- */

static void blob_unknown(struct request *r)
{
	unknown(r, CODE_BLOB_UNKNOWN, "this blob");
}

static void blob_opened(struct request *r, struct blob *blob)
{
	struct blob_reply *b = r->state;

	b->blob = blob;
	b->size = blob_size(blob);
	blob_send(r, b);
}

static enum err look_up_blob(struct request *r, struct lookup *out)
{
	struct index_txn *txn = index_read(cache_index(r->server->cache));
	enum err err = ERR_NOT_FOUND;

	if (request_repo(r, txn))
		err =
		    hosted_lookup_blob(txn, r->repo_id, &r->route.digest, out);
	index_read_end(txn);
	return err;
}

/*
 * The lease comes before the look that answers: what is there then stays for
 * the grace period.  But only what is there at all is leased, or else anybody
 * could fill the table with digests that he has thought of.
 */
static enum err find_blob(struct request *r, struct lookup *out)
{
	enum err err = look_up_blob(r, out);

	if (err != ERR_OK || !r->is_head)
		return err;
	cache_lease(r->server->cache, &r->route.digest);
	return look_up_blob(r, out);
}

static void start_blob(struct request *r)
{
	struct blob_opening how = {r->route.digest, blob_opened, blob_unknown};
	struct blob_reply *b = xcalloc(1, sizeof(*b));
	struct lookup found;
	enum err err;

	r->state = b;
	err = find_blob(r, &found);
	if (err == ERR_NOT_FOUND) {
		blob_unknown(r);
	} else if (err != ERR_OK) {
		index_broken(r, err, CODE_BLOB_UNKNOWN);
	} else if (!blob_reply_init(b, r)) {
		; /* too many ranges */
	} else if (blob_reply_is_bare(b, r)) {
		b->size = found.size;
		blob_send(r, b);
	} else {
		blob_open(r, &how);
	}
}

static void release_blob(struct request *r)
{
	struct blob_reply *b = r->state;

	if (!b)
		return;
	blob_reply_release(b);
	free(b);
	r->state = NULL;
}

const struct handler serve_hosted_blob = {.start = start_blob,
					  .release = release_blob};
