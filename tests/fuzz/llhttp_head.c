/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/llhttp_head.h"

#include <llhttp.h>

/* The body is nobody's here. */
static int stop(llhttp_t *p)
{
	(void)p;
	return HPE_PAUSED;
}

bool llhttp_head_parse(const char *buf, size_t len, struct llhttp_head *out,
		       const char **why)
{
	llhttp_settings_t settings;
	llhttp_errno_t rc;
	llhttp_t p;

	llhttp_settings_init(&settings);
	settings.on_headers_complete = stop;
	llhttp_init(&p, HTTP_REQUEST, &settings);
	rc = llhttp_execute(&p, buf, len);
	*why = llhttp_get_error_reason(&p);
	if (rc != HPE_PAUSED)
		return false;
	out->used = (size_t)(llhttp_get_error_pos(&p) - buf);
	out->method = llhttp_method_name(p.method);
	out->minor = p.http_minor;
	out->has_length = p.flags & F_CONTENT_LENGTH;
	out->chunked = p.flags & F_CHUNKED;
	out->content_length = p.content_length;
	return true;
}
