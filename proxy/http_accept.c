/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/http_accept.h"

/* How closely a media range names a type; the higher one decides. */
enum rank { NO_MATCH, ANY, JSON, WHOLE_TYPE, EXACT };

/* "0", "0.", "0.000": all other weights are as good as 1. */
static bool is_zero(struct span q)
{
	if (!q.len || q.ptr[0] != '0')
		return false;
	for (size_t i = 1; i < q.len; i++) {
		if (q.ptr[i] != (i == 1 ? '.' : '0'))
			return false;
	}
	return true;
}

static bool is_refused(struct span params)
{
	struct span name, value;

	while (http_param_next(&params, &name, &value)) {
		if (span_is_nocase(name, "q"))
			return is_zero(value);
	}
	return false;
}

/* "type/subtype" with tokens on both sides; '*' is a tchar, too. */
static bool is_media_range(struct span range)
{
	size_t slash = http_token_len(range);

	if (!slash || slash == range.len || range.ptr[slash] != '/')
		return false;
	span_skip(&range, slash + 1);
	return http_is_token(range);
}

static enum rank rank_of(struct span range, const char *type, bool refused)
{
	size_t main_len = strcspn(type, "/") + 1;

	/* Old Java clients send a lone asterisk. */
	if (span_is(range, "*/*") || span_is(range, "*"))
		return ANY;
	if (span_is_nocase(range, type))
		return EXACT;
	if (range.len == main_len + 1 && range.ptr[main_len] == '*' &&
	    strncasecmp(range.ptr, type, main_len) == 0)
		return WHOLE_TYPE;
	/* "No plain JSON" says nothing about manifests. */
	if (span_is_nocase(range, "application/json") && !refused)
		return JSON;
	return NO_MATCH;
}

void http_accept_add(struct http_accept *a, struct span value, const char *type)
{
	struct span item;

	while (http_list_next(&value, &item)) {
		size_t len = 0;
		struct span range;
		enum rank rank;
		bool refused;

		while (len < item.len && item.ptr[len] != ';')
			len++;
		range = span_trim((struct span){item.ptr, len});
		if (!is_media_range(range) && !span_is(range, "*"))
			continue;
		span_skip(&item, len);
		refused = is_refused(item);
		rank = rank_of(range, type, refused);
		a->usable = true;
		/* Said twice, a yes is a yes. */
		if (rank > a->rank)
			a->allowed = !refused;
		else if (rank == a->rank && rank != NO_MATCH)
			a->allowed |= !refused;
		a->rank = MAX(a->rank, (unsigned)rank);
	}
}

bool http_accept_verdict(const struct http_accept *a)
{
	return !a->usable || a->allowed;
}

bool http_accepts(const struct http_head *head, const char *type)
{
	struct http_accept a = {0};
	struct span value;
	unsigned at = 0;

	while (http_head_next(head, "accept", &at, &value))
		http_accept_add(&a, value, type);
	return http_accept_verdict(&a);
}
