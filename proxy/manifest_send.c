/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/manifest_send.h"

#include "cache/blob.h"
#include "cache/manifest.h"
#include "proxy/hook.h"
#include "proxy/http_accept.h"

/* ---- what is common to all ---- */

static bool not_modified(const struct request *r, const struct digest *dg)
{
	char text[DIGEST_TEXT_MAX];

	return reply_not_modified(r, digest_text(dg, text));
}

static const char *kind_word(const char *media_type, const char **plural)
{
	bool oci = strncmp(media_type, "application/vnd.oci.", 20) == 0;

	switch (manifest_type_kind(media_type)) {
	case MANIFEST_INDEX:
		*plural = oci ? "OCI indexes" : "Docker manifest lists";
		return oci ? "OCI index" : "Docker manifest list";
	case MANIFEST_IMAGE:
		*plural = oci ? "OCI manifests" : "Docker manifests";
		return oci ? "OCI manifest" : "Docker manifest";
	default:
		*plural = "its type";
		return "manifest";
	}
}

/* "Tags" mean one thing to all clients; one that cannot read it is told so in
 * the words of the registries it knows.  False: it has been told. */
static bool accepted(struct request *r, const struct manifest_reply *m,
		     const char *media_type)
{
	const char *word, *plural;
	char message[160];

	if (!m->by_tag || !media_type[0] || http_accepts(r->head, media_type))
		return true;
	word = kind_word(media_type, &plural);
	snprintf(message, sizeof(message),
		 "%s found, but accept header does not support %s", word,
		 plural);
	reply_begin(r, 404);
	reply_header(r, "Vary", "Accept");
	reply_send_error(r, CODE_MANIFEST_UNKNOWN, message, media_type);
	return false;
}

static void begin(struct request *r, unsigned status,
		  const struct manifest_reply *m, const char *media_type)
{
	char text[DIGEST_TEXT_MAX];

	digest_text(&m->dg, text);
	reply_begin(r, status);
	if (media_type[0] && status != 304)
		reply_field(r, "Content-Type", media_type);
	reply_digest(r, text);
	if (m->by_tag)
		reply_field(r, "Vary", "Accept");
	if (!m->hosted)
		reply_number(r, "Age", m->age_s);
	if (m->warning)
		reply_warning(r, m->warning);
}

static void send_not_modified(struct request *r, const struct manifest_reply *m)
{
	begin(r, 304, m, "");
	reply_send(r, 0, NULL);
}

/* ---- stored in the index ---- */

struct found {
	char media_type[MEDIA_TYPE_MAX];
	uint64_t size, created_s;
	bool in_file;
	void *bytes; /* a copy, if it is wanted and not in a file */
};

/* The type that this repository's upstream gave it: two may name one digest
 * differently where the body does not say. */
static void read_type(struct index_txn *txn, uint64_t repo,
		      const struct digest *dg, const struct manifest_row *row,
		      char *out)
{
	struct slice type = row->media_type;
	struct link_row link;

	if (repo && link_get(txn, repo, dg, &link) == ERR_OK &&
	    link.kind == LINK_MANIFEST && link.media_type.len)
		type = link.media_type;
	if (type.len >= MEDIA_TYPE_MAX)
		type.len = 0;
	memcpy(out, type.len ? type.ptr : (const uint8_t *)"", type.len);
	out[type.len] = '\0';
}

static enum err find(struct request *r, const struct digest *dg,
		     bool want_bytes, struct found *out)
{
	struct index_txn *txn = index_read(cache_index(r->server->cache));
	struct manifest_row row;
	enum err err = manifest_get(txn, dg, &row);

	memset(out, 0, sizeof(*out));
	if (err == ERR_OK) {
		read_type(txn, request_repo(r, txn), dg, &row, out->media_type);
		out->size = row.size;
		out->created_s = row.created_s;
		out->in_file = !row.bytes.ptr;
		if (want_bytes && row.bytes.len)
			out->bytes = xmemdup(row.bytes.ptr, row.bytes.len);
	}
	index_read_end(txn);
	return err;
}

/* ---- in a file of its own ---- */

struct open_job {
	struct job job;
	struct cache *cache;
	struct manifest_reply m;
	char media_type[MEDIA_TYPE_MAX];
	void (*lost)(struct request *r);
	enum err err;
	struct why why;
	struct blob *blob;
};

static void send_blob(struct request *r, const struct manifest_reply *m,
		      const char *media_type, struct blob *blob)
{
	uint64_t size = blob_size(blob);

	hook_pulled(r, false, &m->dg, media_type, size);
	begin(r, 200, m, media_type);
	/* Never empty: it is larger than what the index takes. */
	assert(size > 0);
	reply_send(r, size, body_file(r->server->jobs, blob, 0, size - 1));
}

static void open_run(struct job *job)
{
	struct open_job *o = container_of(job, struct open_job, job);

	o->err = blob_pin(o->cache, &o->m.dg, &o->blob, &o->why);
}

static void open_done(struct job *job, void *object)
{
	struct open_job *o = container_of(job, struct open_job, job);
	struct request *r = object;

	if (!r) {
		if (o->blob)
			blob_unpin(&o->blob);
	} else if (o->err == ERR_OK) {
		send_blob(r, &o->m, o->media_type, o->blob);
	} else if (o->err == ERR_NOT_FOUND || o->err == ERR_CORRUPT) {
		o->lost(r);
	} else {
		reply_err(r, o->err, CODE_MANIFEST_UNKNOWN, 0, &o->why);
	}
	free(o);
}

static void open_file(struct request *r, const struct manifest_reply *m,
		      const char *media_type, void (*lost)(struct request *r))
{
	struct blob *blob = blob_pin_hot(r->server->cache, &m->dg);
	struct open_job *o;

	if (blob) {
		send_blob(r, m, media_type, blob);
		return;
	}
	o = xcalloc(1, sizeof(*o));
	o->cache = r->server->cache;
	o->m = *m;
	memcpy(o->media_type, media_type, sizeof(o->media_type));
	o->lost = lost;
	o->job.lane = JOB_SYNC;
	o->job.run = open_run;
	o->job.done = open_done;
	request_submit(r, &o->job);
}

static void send_inline(struct request *r, const struct manifest_reply *m,
			struct found *found)
{
	struct body *body = NULL;

	hook_pulled(r, false, &m->dg, found->media_type, found->size);
	begin(r, 200, m, found->media_type);
	if (found->bytes)
		body = body_memory(found->bytes, found->size);
	found->bytes = NULL;
	reply_send(r, found->size, body);
}

void manifest_send(struct request *r, const struct manifest_reply *how,
		   void (*lost)(struct request *r))
{
	struct manifest_reply m = *how;
	bool same = not_modified(r, &m.dg);
	struct found found;
	uint64_t now = wall_s();

	if (find(r, &m.dg, !same && !r->is_head, &found) != ERR_OK) {
		lost(r);
		return;
	}
	cache_touch(r->server->cache, &m.dg);
	if (!m.by_tag)
		m.age_s = now > found.created_s ? now - found.created_s : 0;
	if (!accepted(r, &m, found.media_type))
		free(found.bytes);
	else if (same)
		send_not_modified(r, &m);
	else if (found.in_file && !r->is_head)
		open_file(r, &m, found.media_type, lost);
	else
		send_inline(r, &m, &found);
}

void manifest_send_unstored(struct request *r, const struct manifest_reply *m,
			    const char *media_type, const void *bytes,
			    uint64_t size)
{
	struct body *body = NULL;

	if (!accepted(r, m, media_type))
		return;
	if (not_modified(r, &m->dg)) {
		send_not_modified(r, m);
		return;
	}
	hook_pulled(r, false, &m->dg, media_type, size);
	begin(r, 200, m, media_type);
	if (!r->is_head && size > 0)
		body = body_memory(xmemdup(bytes, size), size);
	reply_send(r, size, body);
}
