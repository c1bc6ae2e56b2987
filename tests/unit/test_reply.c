/* SPDX-License-Identifier: Apache-2.0 */
/* Heads and error bodies, against a connection that only writes down what it
 * is given. */
#include "proxy/reply.h"

#include "proxy/sink.h"

#include <jansson.h>
#include <stdarg.h>

#include "unit.h"

/* ---- the connection ---- */

static struct {
	char text[REPLY_HEAD_MAX + REPLY_ERROR_MAX];
	size_t head_len;
	bool close, has_body, draining;
} sent;

/* All of a body in memory, as the connection would take it. */
size_t sink_memory(struct sink *s, const void *buf, size_t len,
		   bool more UNUSED)
{
	memcpy(sent.text + sent.head_len + s->sent, buf, len);
	s->sent += len;
	return len;
}

void conn_reply(struct conn *c UNUSED, const char *head, size_t head_len,
		struct body *body, bool close)
{
	struct sink s = {0};

	memset(sent.text, 0, sizeof(sent.text));
	memcpy(sent.text, head, head_len);
	sent.head_len = head_len;
	sent.close = close;
	if (body) {
		CHECK(body->ops->send(body, &s) == BODY_END);
		body_free(&body);
	}
}

bool conn_has_body(const struct conn *c UNUSED)
{
	return sent.has_body;
}

bool conn_is_draining(const struct conn *c UNUSED)
{
	return sent.draining;
}

const char *conn_peer(const struct conn *c UNUSED)
{
	return "192.0.2.1:1";
}

bool request_hide(struct request *r UNUSED)
{
	return false;
}

void request_log(const struct request *r UNUSED, enum log_level level UNUSED,
		 const char *fmt UNUSED, ...)
{
}

/* ---- a request ---- */

static struct http_head head;
static const struct conf_upstream docker = {.name = (char[]){"docker.io"}};

static struct conf conf;

static struct request request(void)
{
	struct request r = {.head = &head, .up = &docker, .conf = &conf};

	memset(&sent, 0, sizeof(sent));
	memset(&head, 0, sizeof(head));
	head.keep_alive = true;
	head.minor = 1;
	return r;
}

static bool has(const char *line)
{
	return strstr(sent.text, line) != NULL;
}

static const char *body_text(void)
{
	return sent.text + sent.head_len;
}

static void a_small_reply_is_whole(void)
{
	struct request r = request();

	r.verdict = VERDICT_HIT;
	reply_begin(&r, 200);
	reply_header(&r, "ETag", "\"%s\"", "sha256:x");
	reply_send_bytes(&r, "application/json", "{}", 2);
	CHECK(strncmp(sent.text, "HTTP/1.1 200 OK\r\n", 17) == 0);
	CHECK(has("\r\nDate: "));
	CHECK(has("\r\nDocker-Distribution-Api-Version: registry/2.0\r\n"));
	CHECK(has("\r\nETag: \"sha256:x\"\r\n"));
	CHECK(has("\r\nContent-Type: application/json\r\n"));
	CHECK(has("\r\nContent-Length: 2\r\n"));
	CHECK(has("\r\nX-Cache: hit\r\n"));
	CHECK(!has("Connection:"));
	CHECK(!has("OCI-Namespace"));
	CHECK(!sent.close);
	CHECK(r.replied && r.status == 200);
	CHECK(strncmp(body_text() - 4, "\r\n\r\n{}", 6) == 0);
}

static void head_has_the_length_and_no_body(void)
{
	struct request r = request();

	r.is_head = true;
	reply_error(&r, 404, CODE_MANIFEST_UNKNOWN, "no", NULL);
	CHECK(has("HTTP/1.1 404 Not Found\r\n"));
	CHECK(!has("Content-Length: 0"));
	CHECK_STR(body_text(), "");
	r = request();
	r.is_head = true;
	reply_begin(&r, 200);
	reply_send(&r, 7, body_memory(xstrdup("1234567"), 7));
	CHECK(has("\r\nContent-Length: 7\r\n"));
	CHECK_STR(body_text(), "");
}

static void not_modified_has_no_length(void)
{
	struct request r = request();

	reply_begin(&r, 304);
	reply_send(&r, 0, NULL);
	CHECK(has("HTTP/1.1 304 Not Modified\r\n"));
	CHECK(!has("Content-Length"));
}

static void the_end_of_a_connection_is_said(void)
{
	struct request r = request();

	head.keep_alive = false;
	reply_error(&r, 400, CODE_NAME_INVALID, "no", NULL);
	CHECK(has("\r\nConnection: close\r\n") && sent.close);
	r = request();
	sent.has_body = true;
	reply_error(&r, 400, CODE_NAME_INVALID, "no", NULL);
	CHECK(has("\r\nConnection: close\r\n") && sent.close);
	r = request();
	sent.draining = true;
	reply_error(&r, 400, CODE_NAME_INVALID, "no", NULL);
	CHECK(has("\r\nConnection: close\r\n") && sent.close);
	r = request();
	head.minor = 0;
	reply_error(&r, 400, CODE_NAME_INVALID, "no", NULL);
	CHECK(has("\r\nConnection: keep-alive\r\n") && !sent.close);
}

static void the_namespace_is_echoed_as_sent(void)
{
	struct request r = request();

	r.names.echo_namespace = true;
	snprintf(r.ns, sizeof(r.ns), "Docker.IO");
	reply_error(&r, 404, CODE_NAME_UNKNOWN, "no", NULL);
	CHECK(has("\r\nOCI-Namespace: Docker.IO\r\n"));
}

static void no_value_begins_a_line_of_its_own(void)
{
	struct request r = request();

	reply_begin(&r, 200);
	reply_header(&r, "X-One", "a\r\nX-Evil: b");
	reply_header(&r, "X-Two", "%s", "fine");
	reply_warning(&r, "say \"a\\b\"\r\nX-Evil: c");
	reply_send(&r, 0, NULL);
	CHECK(!has("X-One") && !has("\nX-Evil"));
	CHECK(has("\r\nX-Two: fine\r\n"));
	CHECK(has("\r\nWarning: 299 - \"say \\\"a\\\\b\\\"??X-Evil: c\"\r\n"));
}

/* ---- errors ---- */

static json_t *first_error(json_t *root)
{
	return json_array_get(json_object_get(root, "errors"), 0);
}

static void check_error(const char *text, size_t len, const char *code,
			const char *message, const char *detail)
{
	json_t *root = json_loadb(text, len, 0, NULL);
	json_t *error = first_error(root);
	const char *found = json_string_value(json_object_get(error, "detail"));

	CHECK(root != NULL);
	CHECK_STR(json_string_value(json_object_get(error, "code")), code);
	CHECK_STR(json_string_value(json_object_get(error, "message")),
		  message);
	CHECK_STR(found ? found : "(none)", detail ? detail : "(none)");
	json_decref(root);
}

static void error_bodies_are_json_whatever_they_say(void)
{
	char out[REPLY_ERROR_MAX];
	size_t len;

	len = reply_error_body(CODE_DENIED, "a \"b\" \\ \n\t\x01\x7f end",
			       "caf\xc3\xa9", out);
	check_error(out, len, "DENIED", "a \"b\" \\ \n\t\x01\x7f end",
		    "caf\xc3\xa9");
	len = reply_error_body(CODE_UNKNOWN, "cut \xc3", NULL, out);
	check_error(out, len, "UNKNOWN", "cut \xef\xbf\xbd", NULL);
	len = reply_error_body(CODE_UNKNOWN, "\xc0\xaf \xed\xa0\x80 \xff", NULL,
			       out);
	check_error(out, len, "UNKNOWN",
		    "\xef\xbf\xbd\xef\xbf\xbd "
		    "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd \xef\xbf\xbd",
		    NULL);
}

static void long_texts_are_cut_and_still_json(void)
{
	char out[REPLY_ERROR_MAX], message[9000];
	json_t *root;
	size_t len;

	for (int fill = 0; fill < 3; fill++) {
		memset(message, "x\x01\xff"[fill], sizeof(message));
		message[sizeof(message) - 1] = '\0';
		len = reply_error_body(CODE_UNKNOWN, message, message, out);
		CHECK(len <= sizeof(out));
		root = json_loadb(out, len, 0, NULL);
		CHECK(json_string_length(
			  json_object_get(first_error(root), "detail")) > 200);
		json_decref(root);
	}
}

static void every_code_has_its_name(void)
{
	for (int i = 0; i < CODE_LAST; i++)
		CHECK((int)api_code_find(api_code_name((enum api_code)i)) == i);
	CHECK(api_code_find("NO_SUCH_CODE") == CODE_UNKNOWN);
	CHECK(api_code_find(NULL) == CODE_UNKNOWN);
}

static void only_an_answer_is_a_404(void)
{
	for (int e = ERR_OK + 1; e < ERR_LAST; e++) {
		unsigned status = reply_status((enum err)e);

		CHECK((status == 404) == (e == ERR_NOT_FOUND));
		CHECK(status != 401 && status >= 400);
		CHECK(strcmp(reply_reason(status), "Unknown") != 0);
	}
	CHECK(reply_status(ERR_UNAVAILABLE) == 503);
	CHECK(reply_status(ERR_TIMEOUT) == 504);
	CHECK(reply_status(ERR_BAD_UPSTREAM) == 502);
	CHECK(reply_status(ERR_MISMATCH) == 502);
	CHECK(reply_status(ERR_DENIED) == 403);
	CHECK(reply_status(ERR_LIMITED) == 429);
	CHECK(reply_status(ERR_NO_SPACE) == 507);
}

static void failures_keep_their_sentence(void)
{
	struct request r = request();
	struct why why;

	(void)why_set(&why, ERR_TIMEOUT, "docker.io did not answer");
	reply_err(&r, ERR_TIMEOUT, CODE_MANIFEST_UNKNOWN, 0, &why);
	CHECK(has("HTTP/1.1 504 "));
	CHECK(!has("Retry-After"));
	check_error(body_text(), strlen(body_text()), "UNAVAILABLE",
		    "docker.io did not answer", NULL);

	r = request();
	reply_err(&r, ERR_LIMITED, CODE_MANIFEST_UNKNOWN, 17, NULL);
	CHECK(has("HTTP/1.1 429 ") && has("\r\nRetry-After: 17\r\n"));
	check_error(body_text(), strlen(body_text()), "TOOMANYREQUESTS",
		    err_name(ERR_LIMITED), NULL);

	r = request();
	reply_err(&r, ERR_NOT_FOUND, CODE_BLOB_UNKNOWN, 0, &why);
	CHECK(has("HTTP/1.1 404 "));
	check_error(body_text(), strlen(body_text()), "BLOB_UNKNOWN",
		    "docker.io did not answer", NULL);
}

static void denials_do_not_tell_private_from_missing(void)
{
	struct request r = request();
	struct why why;

	(void)why_set(&why, ERR_DENIED, "docker.io answered 401");
	reply_err(&r, ERR_DENIED, CODE_MANIFEST_UNKNOWN, 0, &why);
	CHECK(has("HTTP/1.1 403 Forbidden\r\n"));
	CHECK(!has("WWW-Authenticate"));
	check_error(body_text(), strlen(body_text()), "DENIED",
		    "private or does not exist at docker.io",
		    "docker.io answered 401");
}

static void refusals_close(void)
{
	size_t len;

	memset(&sent, 0, sizeof(sent));
	len = reply_refusal(NULL, 431, "too long");
	CHECK(has("HTTP/1.1 431 Request Header Fields Too Large\r\n"));
	CHECK(has("\r\nConnection: close\r\n") && sent.close);
	CHECK(len == strlen(body_text()));
	check_error(body_text(), len, "UNSUPPORTED", "too long", NULL);
}

static void a_page_of_a_listed_origin_may_read_a_reply(void)
{
	char *origins[] = {(char[]){"https://ui.example"}};
	struct request r = request();

	conf.cors.origins = (struct conf_strings){origins, 1};
	head.headers[head.n_headers++] = (struct http_header){
	    span_of("Origin"), span_of("https://ui.example")};
	reply_error(&r, 404, CODE_NAME_UNKNOWN, "no", NULL);
	CHECK(has("\r\nVary: Origin\r\n"));
	CHECK(has("\r\nAccess-Control-Allow-Origin: https://ui.example\r\n"));
	CHECK(has("Docker-Content-Digest"));
	CHECK(!has("Access-Control-Allow-Credentials"));

	/* another's gets nothing, but caches hear that it depends */
	r.replied = false;
	head.headers[0].value = span_of("https://evil.example");
	reply_error(&r, 404, CODE_NAME_UNKNOWN, "no", NULL);
	CHECK(has("\r\nVary: Origin\r\n"));
	CHECK(!has("Access-Control-"));
	conf.cors.origins.n = 0;
}

int main(void)
{
	RUN(a_small_reply_is_whole);
	RUN(head_has_the_length_and_no_body);
	RUN(not_modified_has_no_length);
	RUN(the_end_of_a_connection_is_said);
	RUN(the_namespace_is_echoed_as_sent);
	RUN(no_value_begins_a_line_of_its_own);
	RUN(error_bodies_are_json_whatever_they_say);
	RUN(long_texts_are_cut_and_still_json);
	RUN(every_code_has_its_name);
	RUN(only_an_answer_is_a_404);
	RUN(failures_keep_their_sentence);
	RUN(denials_do_not_tell_private_from_missing);
	RUN(refusals_close);
	RUN(a_page_of_a_listed_origin_may_read_a_reply);
	return unit_done();
}
