/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head parser beside another one: what we accept llhttp accepts, too, and
 * ends the head and frames the body at the same byte.  A request that two
 * programs frame differently is one that hides another.
 */
#include "proxy/http_parse.h"
#include "tests/fuzz/llhttp_head.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void die(const char *what, const char *why)
{
	fprintf(stderr, "llhttp: %s (%s)\n", what, why);
	abort();
}

/* Methods and versions that it does not know, and we answer with an error
 * status and the end of the connection or treat as 1.1 (RFC 9110 2.5). */
static bool is_strange(const struct http_head *h)
{
	struct span version = {h->target.ptr + h->target.len, 9};

	return h->method == HTTP_OTHER || (!span_is(version, " HTTP/1.0") &&
					   !span_is(version, " HTTP/1.1"));
}

/* Blanks behind a value are spaces and tabs (RFC 9110 5.5); behind a length it
 * knows spaces only, and refuses the request. */
static bool has_tab_behind_length(const struct http_head *h)
{
	struct span value = http_head_find(h, "content-length");
	const char *p = value.ptr ? value.ptr + value.len : "";

	return p[strspn(p, " ")] == '\t';
}

static void compare(const char *buf, size_t size, const struct http_head *h,
		    size_t used)
{
	struct llhttp_head other;
	const char *why;

	if (!llhttp_head_parse(buf, size, &other, &why))
		die("it does not accept this", why ? why : "no end");
	if (other.used != used)
		die("the head ends elsewhere", "used");
	if (!span_is(h->method_name, other.method))
		die("another method", other.method);
	if (h->minor != other.minor)
		die("another version", "minor");
	if (h->chunked != other.chunked || h->has_length != other.has_length)
		die("another framing", "coding");
	if (h->has_length && h->content_length != other.content_length)
		die("another framing", "length");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *buf = (const char *)data;
	static struct http_head head;
	struct http_refusal refusal;
	struct http_scan scan = {0};
	size_t used;

	if (http_head_parse(buf, size, &scan, &head, &used, &refusal) ==
		HTTP_DONE &&
	    !is_strange(&head) && !has_tab_behind_length(&head))
		compare(buf, size, &head, used);
	return 0;
}
