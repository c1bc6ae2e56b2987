/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/reply.h"

#include "proxy/cors.h"

#include "proxy/http_date.h"

#include <stdarg.h>

/*
 * A reply is built and handed over within one callback, so a loop needs one
 * buffer for all of them: no allocation for a header, and a small reply
 * leaves in one sendmsg() with its body.
 */
struct head_buffer {
	const struct request *owner; /* whose head is in it; NULL: nobody's */
	size_t len;
	char bytes[REPLY_HEAD_MAX];
	/* The lines that all begin with, made once a second. */
	uint64_t first_s;
	size_t first_len;
	char first[128];
};
static _Thread_local struct head_buffer head;

/* ---- lines ---- */

static void add(const char *bytes, size_t len)
{
	assert(len <= sizeof(head.bytes) - head.len);
	memcpy(head.bytes + head.len, bytes, len);
	head.len += len;
}

static void add_text(const char *text)
{
	add(text, strlen(text));
}

static void add_line(const char *name, const char *value)
{
	add_text(name);
	add(": ", 2);
	add_text(value);
	add("\r\n", 2);
}

/* RFC 9110, 6.6.1: "An origin server with a clock MUST generate a Date". */
static void add_first_lines(void)
{
	uint64_t now = wall_s();
	char date[HTTP_DATE_SIZE];
	int n;

	if (now != head.first_s) {
		http_date_format((time_t)now, date);
		n = snprintf(
		    head.first, sizeof(head.first),
		    "Date: %s\r\n"
		    "Docker-Distribution-Api-Version: registry/2.0\r\n",
		    date);
		assert(n > 0 && (size_t)n < sizeof(head.first));
		head.first_len = (size_t)n;
		head.first_s = now;
	}
	add(head.first, head.first_len);
}

static void add_number(uint64_t n)
{
	char digits[20], *p = digits + sizeof(digits);

	do {
		*--p = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	add(p, (size_t)(digits + sizeof(digits) - p));
}

static void begin(unsigned status)
{
	head.len = 0;
	add_text("HTTP/1.1 ");
	add_number(status);
	add(" ", 1);
	add_text(reply_reason(status));
	add("\r\n", 2);
	add_first_lines();
}

/* Upstreams' words end up here: a CR or LF in one would begin a header of
 * its own. */
static bool is_field_value(const char *value)
{
	for (const unsigned char *s = (const void *)value; *s; s++)
		if ((*s < 0x20 && *s != '\t') || *s == 0x7f)
			return false;
	return true;
}

bool reply_not_modified(const struct request *r, const char *etag)
{
	struct span value;
	unsigned at = 0;

	while (http_head_next(r->head, "if-none-match", &at, &value))
		if (http_etag_listed(value, etag))
			return true;
	return false;
}

void reply_begin(struct request *r, unsigned status)
{
	assert(!r->replied);
	head.owner = r;
	r->status = status;
	begin(status);
}

void reply_header(struct request *r, const char *name, const char *fmt, ...)
{
	size_t room, start = head.len;
	va_list ap;
	int n;

	assert(head.owner == r);
	add_text(name);
	add(": ", 2);
	room = sizeof(head.bytes) - head.len;
	va_start(ap, fmt);
	n = vsnprintf(head.bytes + head.len, room, fmt, ap);
	va_end(ap);
	assert(n >= 0 && (size_t)n < room);
	if (!is_field_value(head.bytes + head.len)) {
		head.len = start;
		return;
	}
	head.len += (size_t)n;
	add("\r\n", 2);
}

void reply_field(struct request *r, const char *name, const char *value)
{
	assert(head.owner == r);
	if (is_field_value(value))
		add_line(name, value);
}

void reply_number(struct request *r, const char *name, uint64_t n)
{
	assert(head.owner == r);
	add_text(name);
	add(": ", 2);
	add_number(n);
	add("\r\n", 2);
}

/* RFC 9110, 8.8.3: an entity-tag is quoted. */
void reply_digest(struct request *r, const char *digest)
{
	assert(head.owner == r);
	add_line("Docker-Content-Digest", digest);
	add_text("ETag: \"");
	add_text(digest);
	add("\"\r\n", 3);
}

/* RFC 7234 section 5.5: warn-code, warn-agent, warn-text (quoted). */
void reply_warning(struct request *r, const char *text)
{
	char quoted[1024];
	size_t n = 0;

	for (const unsigned char *s = (const void *)text;
	     *s && n + 3 < sizeof(quoted); s++) {
		if (*s == '"' || *s == '\\')
			quoted[n++] = '\\';
		quoted[n++] = *s >= 0x20 && *s < 0x7f ? (char)*s : '?';
	}
	quoted[n] = '\0';
	reply_header(r, "Warning", "299 - \"%s\"", quoted);
}

/* ---- sending ---- */

static bool closes(const struct request *r)
{
	return !r->head->keep_alive || conn_has_body(r->conn) ||
	       conn_is_draining(r->conn);
}

/* What every reply to a request carries. */
static void add_common(struct request *r, bool close)
{
	if (r->verdict != VERDICT_NONE)
		add_line("X-Cache", verdict_name(r->verdict));
	cors_add(r);
	if (r->names.echo_namespace)
		reply_field(r, "OCI-Namespace", r->ns);
	if (close)
		add_line("Connection", "close");
	else if (r->head->minor == 0)
		add_line("Connection", "keep-alive");
}

void reply_send(struct request *r, uint64_t length, struct body *body)
{
	bool close = closes(r);

	assert(head.owner == r && !r->replied);
	if (r->status != 204 && r->status != 304)
		reply_number(r, "Content-Length", length);
	add_common(r, close);
	add("\r\n", 2);
	head.owner = NULL;
	r->replied = true;
	if (r->is_head && body)
		body_free(&body);
	conn_reply(r->conn, head.bytes, head.len, body, close);
}

void reply_send_bytes(struct request *r, const char *content_type,
		      const void *buf, size_t len)
{
	struct body *body = NULL;

	if (content_type)
		reply_field(r, "Content-Type", content_type);
	if (len > 0 && !r->is_head)
		body = body_memory(xmemdup(buf, len), len);
	reply_send(r, len, body);
}

/* ---- errors ---- */

void reply_send_error(struct request *r, enum api_code code,
		      const char *message, const char *detail)
{
	char body[REPLY_ERROR_MAX];
	size_t len = reply_error_body(code, message, detail, body);

	reply_send_bytes(r, "application/json", body, len);
}

void reply_error(struct request *r, unsigned status, enum api_code code,
		 const char *message, const char *detail)
{
	reply_begin(r, status);
	reply_send_error(r, code, message, detail);
}

static enum api_code code_of(unsigned status, enum api_code what)
{
	switch (status) {
	case 404:
		return what;
	case 403:
		return CODE_DENIED;
	case 429:
		return CODE_TOOMANYREQUESTS;
	case 500:
		return CODE_UNKNOWN;
	default:
		return CODE_UNAVAILABLE;
	}
}

/*
 * A registry tells strangers neither that a repository is private nor that
 * it is missing, so neither can we.
 */
static void reply_denied(struct request *r, const char *sentence)
{
	char message[REPO_HOST_MAX + 64];

	if (!r->up) {
		reply_error(r, 403, CODE_DENIED, sentence, NULL);
		return;
	}
	snprintf(message, sizeof(message), "private or does not exist at %.*s",
		 REPO_HOST_MAX, r->up->name);
	reply_error(r, 403, CODE_DENIED, message, sentence);
}

void reply_err(struct request *r, enum err err, enum api_code what,
	       uint64_t retry_after_s, const struct why *why)
{
	unsigned status = reply_status(err);
	const char *sentence = why && why->text[0] ? why->text : err_name(err);

	/* What upstreams do is logged where they are asked. */
	if (err == ERR_IO || err == ERR_CORRUPT || err == ERR_NO_SPACE)
		request_log(r, LOG_WARN, "%s", sentence);
	if (status == 404 && request_hide(r))
		return;
	if (status == 403) {
		reply_denied(r, sentence);
		return;
	}
	reply_begin(r, status);
	if (status == 429 || retry_after_s > 0)
		reply_header(r, "Retry-After", "%" PRIu64,
			     MAX(retry_after_s, (uint64_t)1));
	reply_send_error(r, code_of(status, what), sentence, NULL);
}

size_t reply_refusal(struct conn *c, unsigned status, const char *sentence)
{
	char body[REPLY_ERROR_MAX], length[24];
	size_t len = reply_error_body(status == 503 ? CODE_UNAVAILABLE
						    : CODE_UNSUPPORTED,
				      sentence, NULL, body);

	begin(status);
	add_line("Content-Type", "application/json");
	snprintf(length, sizeof(length), "%zu", len);
	add_line("Content-Length", length);
	add_line("Connection", "close");
	add("\r\n", 2);
	head.owner = NULL;
	conn_reply(c, head.bytes, head.len,
		   body_memory(xmemdup(body, len), len), true);
	return len;
}
