/* SPDX-License-Identifier: Apache-2.0 */
/* The tar file: oci-layout, index.json, and each blob. */
#include "proxy/export_int.h"
#include "proxy/foreign.h"
#include "proxy/tar.h"

#include <errno.h>
#include <jansson.h>
#include <unistd.h>

#define PIECE ((size_t)256 * 1024)
#define STEP_BYTES (16 * MIB)

static const char layout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";

static enum err put(struct export *ex, const void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pwrite(ex->fd, (const char *)buf + done, len - done,
				   (off_t)(ex->at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return why_errno(&ex->why, errno,
					 "cannot write the file");
		done += (size_t)n;
	}
	ex->at += len;
	return ERR_OK;
}

static enum err put_padding(struct export *ex, uint64_t size)
{
	static const uint8_t zeros[TAR_BLOCK];

	return put(ex, zeros, tar_padding(size));
}

static enum err put_header(struct export *ex, const char *name, uint64_t size)
{
	uint8_t header[TAR_HEADER_MAX];

	return put(ex, header, tar_header_write(name, size, header));
}

static enum err put_small(struct export *ex, const char *name, const char *text)
{
	size_t len = strlen(text);
	enum err err = put_header(ex, name, len);

	if (err == ERR_OK)
		err = put(ex, text, len);
	return err == ERR_OK ? put_padding(ex, len) : err;
}

/* ---- index.json ---- */

static json_t *descriptor(const struct export_entry *e)
{
	char text[DIGEST_TEXT_MAX];

	return json_pack("{s:s, s:s, s:I, s:{s:s}}", "mediaType", e->media_type,
			 "digest", digest_text(&e->dg, text), "size",
			 (json_int_t)e->size, "annotations",
			 "org.opencontainers.image.ref.name", e->name);
}

static char *index_text(const struct export *ex)
{
	json_t *list = json_array(), *root;
	char *text;

	for (size_t i = 0; i < ex->n_entries; i++)
		json_array_append_new(list, descriptor(&ex->entries[i]));
	root = json_pack("{s:i, s:s, s:o}", "schemaVersion", 2, "mediaType",
			 "application/vnd.oci.image.index.v1+json", "manifests",
			 list);
	text = json_dumps(root, JSON_COMPACT);
	json_decref(root);
	return text;
}

/* What cannot be imported is better not carried there. */
static enum err check_length(struct export *ex, size_t len)
{
	if (len <= OCI_INDEX_BYTES_MAX)
		return ERR_OK;
	return why_set(&ex->why, ERR_TOO_BIG,
		       "index.json would have %zu bytes with its %zu names, "
		       "and import takes at most %" PRIu64
		       ": export fewer names at a time, into several files; "
		       "nothing is written",
		       len, ex->n_entries, OCI_INDEX_BYTES_MAX);
}

static enum err begin(struct export *ex)
{
	char *text = index_text(ex);
	enum err err;

	if (!text)
		return why_set(&ex->why, ERR_INVALID,
			       "a media type or a name is not UTF-8");
	err = check_length(ex, strlen(text));
	if (err == ERR_OK)
		err = put_small(ex, "oci-layout", layout);
	if (err == ERR_OK)
		err = put_small(ex, "index.json", text);
	free(text);
	return err;
}

/* ---- a blob ---- */

void export_close_blob(struct export *ex)
{
	if (ex->pin)
		blob_unpin(&ex->pin);
	free(ex->inline_bytes);
	ex->inline_bytes = NULL;
}

/* NULL: it has none there. */
static char *bytes_of_row(struct export *ex, const struct export_blob *b)
{
	struct index_txn *txn = index_read(cache_index(ex->c));
	struct manifest_row row;
	char *bytes = NULL;

	if (manifest_get(txn, &b->dg, &row) == ERR_OK && row.bytes.ptr &&
	    row.bytes.len == b->size)
		bytes = xmemdup(row.bytes.ptr, row.bytes.len);
	index_read_end(txn);
	return bytes;
}

static enum err open_blob(struct export *ex, const struct export_blob *b)
{
	enum err err;

	if (b->manifest)
		ex->inline_bytes = bytes_of_row(ex, b);
	if (ex->inline_bytes)
		return ERR_OK;
	err = blob_pin(ex->c, &b->dg, &ex->pin, &ex->why);
	if (err == ERR_NOT_FOUND)
		return why_set(&ex->why, err, "a blob was removed meanwhile");
	if (err == ERR_OK && blob_size(ex->pin) != b->size)
		return why_set(&ex->why, ERR_CORRUPT,
			       "a blob has another size than it had");
	return err;
}

static enum err begin_blob(struct export *ex, const struct export_blob *b)
{
	char name[TAR_NAME_MAX + 1], hex[DIGEST_TEXT_MAX];
	enum err err = open_blob(ex, b);

	if (err != ERR_OK)
		return err;
	ex->hasher = hasher_new((enum digest_alg)b->dg.alg);
	ex->done = 0;
	snprintf(name, sizeof(name), "blobs/%s/%s", digest_alg_name(&b->dg),
		 digest_hex(&b->dg, hex));
	return put_header(ex, name, b->size);
}

static enum err put_piece(struct export *ex, const struct export_blob *b,
			  char *buf)
{
	size_t want = (size_t)MIN(b->size - ex->done, PIECE);
	ssize_t n = (ssize_t)want;
	enum err err;

	if (ex->inline_bytes)
		memcpy(buf, ex->inline_bytes + ex->done, want);
	else
		n = pread(blob_fd(ex->pin), buf, want, (off_t)ex->done);
	if (n < 0 && errno == EINTR)
		return ERR_OK;
	if (n <= 0)
		return why_set(&ex->why, ERR_IO, "a blob cannot be read: %s",
			       n ? strerror(errno) : "it ends early");
	hasher_update(ex->hasher, buf, (size_t)n);
	err = put(ex, buf, (size_t)n);
	ex->done += (uint64_t)n;
	ex->bytes += (uint64_t)n;
	return err;
}

static enum err end_blob(struct export *ex, const struct export_blob *b)
{
	char text[DIGEST_TEXT_MAX];
	struct digest found;

	hasher_final(ex->hasher, &found);
	hasher_free(&ex->hasher);
	export_close_blob(ex);
	ex->blob++;
	if (!digest_equal(&found, &b->dg))
		return why_set(&ex->why, ERR_CORRUPT,
			       "the stored bytes of %.80s have another digest",
			       digest_text(&b->dg, text));
	return put_padding(ex, b->size);
}

static enum err put_some(struct export *ex, const struct export_blob *b)
{
	uint64_t end = ex->done + MIN(b->size - ex->done, STEP_BYTES);
	char *buf = xmalloc(PIECE);
	enum err err = ERR_OK;

	while (err == ERR_OK && ex->done < end)
		err = put_piece(ex, b, buf);
	free(buf);
	return err;
}

static enum err finish(struct export *ex)
{
	static const uint8_t zeros[2 * TAR_BLOCK];
	enum err err = put(ex, zeros, sizeof(zeros));

	if (err == ERR_OK && fdatasync(ex->fd) != 0)
		err = why_errno(&ex->why, errno, "cannot sync the file");
	ex->finished = true;
	return err;
}

enum err export_write(struct export *ex)
{
	const struct export_blob *b = &ex->blobs[ex->blob];
	enum err err = ERR_OK;

	if (!ex->begun) {
		ex->begun = true;
		return begin(ex);
	}
	if (ex->blob == ex->n_blobs)
		return finish(ex);
	if (!ex->hasher)
		err = begin_blob(ex, b);
	if (err == ERR_OK)
		err = put_some(ex, b);
	if (err == ERR_OK && ex->done == b->size)
		err = end_blob(ex, b);
	return err;
}
