/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/http_range.h"

/* Digits; a number that is too big is the biggest. */
static bool saturating_uint(struct span s, uint64_t *out)
{
	enum err err = span_uint(s, out);

	if (err == ERR_TOO_BIG)
		*out = UINT64_MAX;
	return err != ERR_INVALID;
}

static bool parse_one(struct span spec, struct http_range *out)
{
	struct span first;

	*out = (struct http_range){.form = HTTP_RANGE_CLOSED};
	if (!span_cut(&spec, '-', &first))
		return false;
	if (!first.len) {
		out->form = HTTP_RANGE_SUFFIX;
		return saturating_uint(spec, &out->last);
	}
	if (!saturating_uint(first, &out->first))
		return false;
	if (spec.len)
		return saturating_uint(spec, &out->last);
	out->form = HTTP_RANGE_OPEN;
	out->last = UINT64_MAX;
	return true;
}

static bool is_possible(const struct http_range *r)
{
	return r->form == HTTP_RANGE_SUFFIX ? r->last > 0 : r->first <= r->last;
}

enum http_range_result http_range_parse(struct span value,
					struct http_range *ranges, unsigned max,
					unsigned *n)
{
	struct span rest = value, unit, item;
	unsigned seen = 0, kept = 0;
	struct http_range r;

	*n = 0;
	if (!span_cut(&rest, '=', &unit) || !span_is_nocase(unit, "bytes"))
		return HTTP_RANGE_NONE;
	while (http_list_next(&rest, &item)) {
		if (!parse_one(item, &r))
			return HTTP_RANGE_NONE;
		/* The syntax of all decides before their number does. */
		if (++seen <= max && is_possible(&r))
			ranges[kept++] = r;
	}
	if (!seen)
		return HTTP_RANGE_NONE;
	if (seen > max)
		return HTTP_RANGE_TOO_MANY;
	*n = kept;
	return kept ? HTTP_RANGE_OK : HTTP_RANGE_UNSATISFIABLE;
}

static bool resolve_one(struct http_range *r, uint64_t size)
{
	if (!size)
		return false;
	if (r->form == HTTP_RANGE_SUFFIX) {
		r->first = size - MIN(r->last, size);
		r->last = size - 1;
	}
	r->last = MIN(r->last, size - 1);
	return r->first < size;
}

enum http_range_result http_range_resolve(struct http_range *ranges,
					  unsigned *n, uint64_t size)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < *n; i++) {
		struct http_range r = ranges[i];

		if (resolve_one(&r, size))
			ranges[kept++] = r;
	}
	*n = kept;
	return kept ? HTTP_RANGE_OK : HTTP_RANGE_UNSATISFIABLE;
}

bool http_if_range_matches(struct span value, const char *etag)
{
	value = span_trim(value);
	if (value.len >= 2 && value.ptr[0] == '"' &&
	    value.ptr[value.len - 1] == '"')
		value = (struct span){value.ptr + 1, value.len - 2};
	return span_is(value, etag);
}

static bool sane_uint(struct span s, uint64_t *out)
{
	return !span_uint(s, out) && *out <= INT64_MAX;
}

enum err http_content_range_parse(struct span value,
				  struct http_content_range *out)
{
	struct span rest = span_trim(value), unit, range, first;

	*out = (struct http_content_range){0};
	if (!span_cut(&rest, ' ', &unit) || !span_is_nocase(unit, "bytes") ||
	    !span_cut(&rest, '/', &range))
		return ERR_INVALID;
	out->has_total = !span_is(rest, "*");
	if (out->has_total && !sane_uint(rest, &out->total))
		return ERR_INVALID;
	out->unsatisfied = span_is(range, "*");
	if (out->unsatisfied)
		return out->has_total ? ERR_OK : ERR_INVALID;
	if (!span_cut(&range, '-', &first) || !sane_uint(first, &out->first) ||
	    !sane_uint(range, &out->last) || out->first > out->last ||
	    (out->has_total && out->last >= out->total))
		return ERR_INVALID;
	return ERR_OK;
}

void http_content_range_format(uint64_t first, uint64_t last, uint64_t total,
			       char out[HTTP_CONTENT_RANGE_SIZE])
{
	assert(first <= last && last < total);
	snprintf(out, HTTP_CONTENT_RANGE_SIZE,
		 "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, first, last, total);
}

void http_content_range_format_416(uint64_t total,
				   char out[HTTP_CONTENT_RANGE_SIZE])
{
	snprintf(out, HTTP_CONTENT_RANGE_SIZE, "bytes */%" PRIu64, total);
}
