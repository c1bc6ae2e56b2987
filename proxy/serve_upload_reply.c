/* SPDX-License-Identifier: Apache-2.0 */
/* Replies to requests on upload sessions. */
#include "proxy/serve_upload.h"

#include "proxy/reply.h"

/* What a client is told to wait where there are too many uploads. */
#define FULL_RETRY_S 5

static void add_location(struct request *r, const char *id, uint64_t offset)
{
	reply_header(r, "Location", "/v2/%s/blobs/uploads/%s", r->route.name,
		     id);
	/* "0-0" says both nothing and one byte; clients know which. */
	reply_header(r, "Range", "0-%" PRIu64, offset ? offset - 1 : 0);
	reply_header(r, "Docker-Upload-UUID", "%s", id);
}

void upload_reply_state(struct request *r, unsigned status, const char *id,
			uint64_t offset)
{
	reply_begin(r, status);
	add_location(r, id, offset);
	reply_send(r, 0, NULL);
}

/* Nobody else could give up what nobody else has heard of. */
static void ignore(void *object, void *arg, enum err err, const struct why *why)
{
	(void)object;
	(void)arg;
	(void)err;
	(void)why;
}

/* Before the reply, so that a take-over does not cut that. */
void upload_let_go(struct request *r)
{
	struct upload_state *st = upload_state(r);

	upload_body_release(r);
	if (st->hold && st->monolithic)
		session_cancel(st->hold, ignore, NULL);
	session_drop(&st->hold);
}

void upload_refuse(struct request *r, unsigned status, enum api_code code,
		   const char *message)
{
	upload_let_go(r);
	reply_error(r, status, code, message, NULL);
}

void upload_unknown(struct request *r)
{
	upload_refuse(r, 404, CODE_BLOB_UPLOAD_UNKNOWN,
		      "there is no such upload");
}

/* Distribution-spec: a chunk out of order "MUST be rejected with a 416"; the
 * session goes on from where it says. */
void upload_wrong_start(struct request *r)
{
	struct upload_state *st = upload_state(r);
	uint64_t offset = session_offset(st->hold);
	char id[UPLOAD_ID_MAX + 1];

	snprintf(id, sizeof(id), "%s", session_id(st->hold));
	upload_let_go(r);
	reply_begin(r, 416);
	add_location(r, id, offset);
	reply_send_error(r, CODE_RANGE_INVALID,
			 "the upload does not continue there", NULL);
}

void upload_fail(struct request *r, enum err err, const struct why *why)
{
	if (r->replied)
		return;
	switch (err) {
	case ERR_NOT_FOUND:
		upload_unknown(r);
		break;
	case ERR_CANCELED: /* to whoever took it over it is not to be seen */
		conn_cut(r->conn);
		break;
	case ERR_MISMATCH:
		upload_refuse(r, 400, CODE_DIGEST_INVALID, why->text);
		break;
	case ERR_LIMITED: /* who finishes or expires makes room */
		request_log(r, LOG_WARN, "%s", why->text);
		upload_let_go(r);
		reply_err(r, err, CODE_BLOB_UPLOAD_UNKNOWN, FULL_RETRY_S, why);
		break;
	default:
		upload_let_go(r);
		reply_err(r, err, CODE_BLOB_UPLOAD_UNKNOWN, 0, why);
	}
}

void upload_created(struct request *r)
{
	const char *digest = upload_state(r)->digest;

	reply_begin(r, 201);
	reply_header(r, "Location", "/v2/%s/blobs/%s", r->route.name, digest);
	reply_header(r, "Docker-Content-Digest", "%s", digest);
	/* It was a mirrored one's name until now. */
	if (r->names.row == 6)
		request_claimed(r, &r->shadow);
	reply_send(r, 0, NULL);
}
