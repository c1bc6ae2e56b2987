/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/http_parse.h"

static const char *const method_names[] = {
    [HTTP_GET] = "GET",         [HTTP_HEAD] = "HEAD",
    [HTTP_POST] = "POST",       [HTTP_PUT] = "PUT",
    [HTTP_PATCH] = "PATCH",     [HTTP_DELETE] = "DELETE",
    [HTTP_OPTIONS] = "OPTIONS", [HTTP_OTHER] = "OTHER",
};

const char *http_method_name(enum http_method method)
{
	assert(method <= HTTP_OTHER);
	return method_names[method];
}

static bool refuse(struct http_refusal *refusal, unsigned status,
		   const char *text)
{
	*refusal = (struct http_refusal){status, text};
	return false;
}

/* ---- the request line ---- */

static enum http_method method_of(struct span name)
{
	/* Methods are case-sensitive (RFC 9110 section 9.1). */
	for (enum http_method m = HTTP_GET; m < HTTP_OTHER; m++) {
		if (span_is(name, method_names[m]))
			return m;
	}
	return HTTP_OTHER;
}

static bool parse_version(struct span s, struct http_head *out,
			  struct http_refusal *refusal)
{
	if (s.len != 8 || memcmp(s.ptr, "HTTP/", 5) != 0 || s.ptr[5] < '0' ||
	    s.ptr[5] > '9' || s.ptr[6] != '.' || s.ptr[7] < '0' ||
	    s.ptr[7] > '9')
		return refuse(refusal, 400,
			      "the request line does not end in an HTTP "
			      "version");
	if (s.ptr[5] != '1')
		return refuse(refusal, 505,
			      "only HTTP/1.0 and HTTP/1.1 are "
			      "spoken here");
	out->minor = s.ptr[7] != '0';
	return true;
}

/*
 * RFC 3986 has a smaller set, but browsers send `[]{}|^` and the backquote
 * bare in queries.  What stays out ends a target for somebody else (blanks,
 * quotes, '#') or is read as '/' by some (the backslash).
 */
static bool is_target_char(char c)
{
	return c > ' ' && c < 0x7f && c != '"' && c != '#' && c != '<' &&
	       c != '>' && c != '\\';
}

/* uri-host [":" port], without the rest of RFC 3986's authority. */
static bool is_host(struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];

		if (!is_target_char(c) || strchr("/?@^`{|}", c))
			return false;
	}
	return s.len > 0;
}

static size_t scheme_len(struct span target)
{
	struct span start = target;

	start.len = MIN(target.len, 7);
	if (span_is_nocase(start, "http://"))
		return 7;
	start.len = MIN(target.len, 8);
	return span_is_nocase(start, "https://") ? 8 : 0;
}

/*
 * http://host/path: sets out->host and leaves the path in *rest.  An empty
 * path means "/" (RFC 9110 section 4.2.3); the second slash of the scheme
 * lends itself, so that every span stays inside the buffer.
 */
static bool parse_absolute(struct span *rest, struct http_head *out)
{
	size_t scheme = scheme_len(*rest), n = 0;
	struct span slash = {rest->ptr + scheme - 1, 1};

	if (!scheme)
		return false;
	span_skip(rest, scheme);
	while (n < rest->len && rest->ptr[n] != '/' && rest->ptr[n] != '?')
		n++;
	out->host = (struct span){rest->ptr, n};
	if (!is_host(out->host))
		return false;
	span_skip(rest, n);
	out->path = slash;
	return true;
}

static void split_query(struct span rest, struct http_head *out)
{
	struct span path;

	out->query = (struct span){NULL, 0};
	if (span_cut(&rest, '?', &path))
		out->query = rest;
	else
		path = rest;
	if (path.len)
		out->path = path;
}

static bool parse_target(struct http_head *out, struct http_refusal *refusal)
{
	struct span rest = out->target;

	out->host = (struct span){NULL, 0};
	out->path = (struct span){NULL, 0};
	for (size_t i = 0; i < rest.len; i++) {
		if (!is_target_char(rest.ptr[i]))
			return refuse(refusal, 400,
				      "a byte in the request "
				      "target must be escaped");
	}
	if (span_is(rest, "*") && out->method == HTTP_OPTIONS) {
		split_query(rest, out);
		return true;
	}
	if (!rest.len || (rest.ptr[0] != '/' && !parse_absolute(&rest, out)))
		return refuse(refusal, 400,
			      "the request target is neither a "
			      "path nor an http URL");
	split_query(rest, out);
	return true;
}

/* METHOD SP target SP HTTP-version; `line` comes without its CRLF. */
static bool parse_request_line(struct span line, struct http_head *out,
			       struct http_refusal *refusal)
{
	if (!span_cut(&line, ' ', &out->method_name) ||
	    !http_is_token(out->method_name))
		return refuse(refusal, 400,
			      "the request line does not begin "
			      "with a method and one space");
	out->method = method_of(out->method_name);
	if (!span_cut(&line, ' ', &out->target))
		return refuse(refusal, 400,
			      "the request line has no HTTP version");
	/* Two spaces leave an empty target or a version with a blank. */
	return parse_version(line, out, refusal) && parse_target(out, refusal);
}

/* ---- the fields ---- */

/* What the framing fields said, before they are weighed together. */
struct framing {
	unsigned hosts, lengths, codings;
	struct span host, length, coding;
	bool close, keep_alive;
	bool expects_continue, expects_other;
};

static void note_connection(struct span value, struct framing *f)
{
	struct span option;

	while (http_list_next(&value, &option)) {
		if (span_is_nocase(option, "close"))
			f->close = true;
		else if (span_is_nocase(option, "keep-alive"))
			f->keep_alive = true;
	}
}

static void note_expect(struct span value, struct framing *f)
{
	if (span_is_nocase(value, "100-continue"))
		f->expects_continue = true;
	else
		f->expects_other = true;
}

static void note_field(const struct http_header *h, struct framing *f)
{
	if (span_is_nocase(h->name, "host")) {
		f->hosts++;
		f->host = h->value;
	} else if (span_is_nocase(h->name, "content-length")) {
		f->lengths++;
		f->length = h->value;
	} else if (span_is_nocase(h->name, "transfer-encoding")) {
		f->codings++;
		f->coding = h->value;
	} else if (span_is_nocase(h->name, "connection")) {
		note_connection(h->value, f);
	} else if (span_is_nocase(h->name, "expect")) {
		note_expect(h->value, f);
	}
}

static bool weigh_host(const struct framing *f, struct http_head *out,
		       struct http_refusal *refusal)
{
	if (f->hosts > 1)
		return refuse(refusal, 400, "there is more than one Host");
	if (!f->hosts && out->minor >= 1)
		return refuse(refusal, 400, "there is no Host");
	if (f->hosts && !is_host(f->host))
		return refuse(refusal, 400, "Host is not a host and port");
	if (f->hosts && !out->host.ptr)
		out->host = f->host;
	return true;
}

static bool weigh_coding(const struct framing *f, struct http_head *out,
			 struct http_refusal *refusal)
{
	out->chunked = false;
	if (!f->codings)
		return true;
	if (f->lengths)
		return refuse(refusal, 400,
			      "Content-Length and Transfer-Encoding exclude "
			      "each other");
	/* RFC 9112 section 6.1: the framing of such a message is faulty. */
	if (out->minor == 0)
		return refuse(refusal, 400,
			      "HTTP/1.0 has no Transfer-Encoding");
	if (f->codings > 1 || !f->coding.len)
		return refuse(refusal, 400,
			      "Transfer-Encoding is repeated or empty");
	if (!span_is_nocase(f->coding, "chunked"))
		return refuse(refusal, 501,
			      "the only transfer coding is chunked");
	out->chunked = true;
	return true;
}

static bool weigh_length(const struct framing *f, struct http_head *out,
			 struct http_refusal *refusal)
{
	out->has_length = false;
	out->content_length = 0;
	if (!f->lengths)
		return true;
	if (f->lengths > 1)
		return refuse(refusal, 400, "Content-Length is repeated");
	if (span_uint(f->length, &out->content_length) ||
	    out->content_length > INT64_MAX)
		return refuse(refusal, 400,
			      "Content-Length is not a number of bytes");
	out->has_length = true;
	return true;
}

static bool weigh(const struct framing *f, struct http_head *out,
		  struct http_refusal *refusal)
{
	if (!weigh_host(f, out, refusal) || !weigh_coding(f, out, refusal) ||
	    !weigh_length(f, out, refusal))
		return false;
	if (f->expects_other)
		return refuse(refusal, 417,
			      "the only expectation is 100-continue");
	out->keep_alive = !f->close && (out->minor >= 1 || f->keep_alive);
	/* RFC 9110 section 10.1.1: ignored from an HTTP/1.0 client. */
	out->expect_continue = f->expects_continue && out->minor >= 1 &&
			       (out->chunked || out->content_length > 0);
	return true;
}

/* name ":" OWS value OWS; `line` comes without its CRLF. */
static bool parse_field(struct span line, struct http_header *out,
			struct http_refusal *refusal)
{
	size_t n = http_token_len(line);

	if (line.ptr[0] == ' ' || line.ptr[0] == '\t')
		return refuse(refusal, 400,
			      "a header line begins with a blank");
	if (!n || n == line.len || line.ptr[n] != ':')
		return refuse(refusal, 400,
			      "a header line is not a name and a colon");
	out->name = (struct span){line.ptr, n};
	span_skip(&line, n + 1);
	out->value = span_trim(line);
	return true;
}

/* All lines after the request line; the scan has vouched for every CRLF. */
static bool parse_fields(struct span rest, struct http_head *out,
			 struct http_refusal *refusal)
{
	struct framing f = {0};
	struct span line;

	out->n_headers = 0;
	while (span_cut(&rest, '\n', &line) && line.len > 1) {
		struct http_header *h = &out->headers[out->n_headers];

		if (out->n_headers == HTTP_HEADERS_MAX)
			return refuse(refusal, 431,
				      "there are too many header fields");
		line.len--; /* CR */
		if (!parse_field(line, h, refusal))
			return false;
		note_field(h, &f);
		out->n_headers++;
	}
	return weigh(&f, out, refusal);
}

/* ---- the scan for the end ---- */

/* One empty line may stand before the request line. */
static size_t head_start(const char *buf, size_t len)
{
	return len >= 2 && buf[0] == '\r' && buf[1] == '\n' ? 2 : 0;
}

/* Rules that hold for each byte of a head, whatever it belongs to. */
static bool check_byte(const char *buf, size_t i, struct http_refusal *refusal)
{
	unsigned char c = (unsigned char)buf[i];
	bool after_cr = i > 0 && buf[i - 1] == '\r';

	if (after_cr && c != '\n')
		return refuse(refusal, 400, "the request head holds a bare CR");
	if (c >= 0x20 && c != 0x7f)
		return true;
	if (c == '\n' && !after_cr)
		return refuse(refusal, 400,
			      "a line of the request head ends in a bare LF");
	if (c != '\n' && c != '\r' && c != '\t')
		return refuse(refusal, 400,
			      "the request head holds a control byte");
	return true;
}

#define EACH_BYTE(b) (UINT64_C(0x0101010101010101) * (b))

/* Is one of these eight a control byte?  Bytes from 0x80 on are none. */
static bool has_control(uint64_t eight)
{
	uint64_t del = eight ^ EACH_BYTE(0x7f);
	uint64_t below = (eight - EACH_BYTE(0x20)) & ~eight;
	uint64_t is_del = (del - EACH_BYTE(1)) & ~del;

	return (below | is_del) & EACH_BYTE(0x80);
}

/* How many bytes from here on are no control bytes: in eights, the rest is
 * looked at one by one. */
static size_t plain_run(const char *p, size_t len)
{
	uint64_t eight;
	size_t n = 0;

	for (; len - n >= sizeof(eight); n += sizeof(eight)) {
		memcpy(&eight, p + n, sizeof(eight));
		if (has_control(eight))
			break;
	}
	return n;
}

static size_t limit_of(const struct http_scan *scan, size_t start)
{
	return scan->line_end ? HTTP_HEAD_MAX : start + HTTP_REQUEST_LINE_MAX;
}

static bool check_limits(const struct http_scan *scan, size_t start,
			 struct http_refusal *refusal)
{
	if (scan->at < limit_of(scan, start))
		return true;
	if (!scan->line_end)
		return refuse(refusal, 414, "the request line is too long");
	return refuse(refusal, 431, "the request head is too long");
}

/* buf[from..to) is a line with its CRLF. */
static bool parse_first_line(const char *buf, size_t from, size_t to,
			     struct http_head *out,
			     struct http_refusal *refusal)
{
	struct span line = {buf + from, to - 2 - from};

	return parse_request_line(line, out, refusal);
}

enum http_progress http_head_parse(const char *buf, size_t len,
				   struct http_scan *scan,
				   struct http_head *out, size_t *used,
				   struct http_refusal *refusal)
{
	size_t start = head_start(buf, len);
	bool have_first = false, ended = false;

	assert(scan->at <= len);
	while (!ended) {
		if (scan->at > start && buf[scan->at - 1] != '\r')
			scan->at += plain_run(
			    buf + scan->at,
			    MIN(len, limit_of(scan, start) - 1) - scan->at);
		if (scan->at == len)
			return HTTP_MORE;
		if (!check_byte(buf, scan->at++, refusal))
			return HTTP_REFUSED;
		if (buf[scan->at - 1] == '\n' && scan->at > start) {
			ended = scan->line_end && buf[scan->at - 3] == '\n';
			/*
			 * The first line is parsed as soon as it is there:
			 * what is no HTTP may send nothing more before it
			 * has our answer.
			 */
			if (!scan->line_end) {
				scan->line_end = scan->at;
				have_first = parse_first_line(
				    buf, start, scan->at, out, refusal);
				if (!have_first)
					return HTTP_REFUSED;
			}
		}
		if (!ended && !check_limits(scan, start, refusal))
			return HTTP_REFUSED;
	}
	/* Parsed in an earlier call, the buffer may have moved since. */
	if (!have_first &&
	    !parse_first_line(buf, start, scan->line_end, out, refusal))
		return HTTP_REFUSED;
	*used = scan->at;
	return parse_fields((struct span){buf + scan->line_end,
					  scan->at - scan->line_end},
			    out, refusal)
		   ? HTTP_DONE
		   : HTTP_REFUSED;
}

struct span http_head_find(const struct http_head *head, const char *name)
{
	struct span value = {NULL, 0};
	unsigned at = 0;

	(void)http_head_next(head, name, &at, &value);
	return value;
}

bool http_head_next(const struct http_head *head, const char *name,
		    unsigned *at, struct span *value)
{
	while (*at < head->n_headers) {
		const struct http_header *h = &head->headers[(*at)++];

		if (span_is_nocase(h->name, name)) {
			*value = h->value;
			return true;
		}
	}
	return false;
}

unsigned http_head_count(const struct http_head *head, const char *name)
{
	struct span value;
	unsigned at = 0, n = 0;

	while (http_head_next(head, name, &at, &value))
		n++;
	return n;
}
