/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_HTTP_RANGE_H
#define PROXY_HTTP_RANGE_H
/*
 * Range, If-Range and Content-Range (RFC 9110 section 14).
 *
 * Two steps, because the size of a cold blob may still be unknown when its
 * request is read: http_range_parse() needs none, http_range_resolve() turns
 * the result into bytes of a body whose size is known.  Requests keep their
 * order and are not merged: multipart readers pair parts with what they asked.
 *
 * Pure functions over borrowed bytes and the caller's arrays.  Any thread.
 */
#include "proxy/http_field.h"

enum http_range_form {
	HTTP_RANGE_CLOSED, /* a-b */
	HTTP_RANGE_OPEN,   /* a-, what resuming clients send */
	HTTP_RANGE_SUFFIX, /* -n: until resolved, `last` is n, `first` 0 */
};

struct http_range {
	uint64_t first, last; /* both inclusive */
	enum http_range_form form;
};

enum http_range_result {
	HTTP_RANGE_NONE,          /* ignore the field: 200 with everything */
	HTTP_RANGE_OK,            /* 206 */
	HTTP_RANGE_UNSATISFIABLE, /* 416 */
	HTTP_RANGE_TOO_MANY,      /* 400, so that clients ask for fewer */
};

/*
 * Parse a Range value into ranges[max]; *n is set, and above 0 exactly for
 * HTTP_RANGE_OK.  Numbers past 64 bits count as the largest.
 *
 * NONE: another unit or bad syntax.  TOO_MANY: more than `max`.  What no body
 * can satisfy, first > last or "-0", is left out; UNSATISFIABLE if that was
 * all.
 */
enum http_range_result http_range_parse(struct span value,
					struct http_range *ranges, unsigned max,
					unsigned *n) MUST_CHECK;

/*
 * Turn parsed ranges into ones within a body of `size` bytes, in place: ends
 * are clamped, those that begin past the end left out, *n counts what stays.
 * `form` still says how each was asked.  OK, or UNSATISFIABLE if none stays.
 */
enum http_range_result http_range_resolve(struct http_range *ranges,
					  unsigned *n,
					  uint64_t size) MUST_CHECK;

/*
 * May a Range be honoured, given this If-Range value and the current entity
 * tag (without quotes)?  The comparison is the strong one, so W/ never
 * matches; nor does a date, as nothing here has a modification date.
 */
bool http_if_range_matches(struct span value, const char *etag);

/* An upstream's Content-Range. */
struct http_content_range {
	bool unsatisfied; /* of a 416: only the total is set */
	bool has_total;
	uint64_t first, last; /* inclusive */
	uint64_t total;
};

/*
 * ERR_INVALID: bad syntax, another unit, first > last, last >= total, or
 * numbers past INT64_MAX.
 */
enum err http_content_range_parse(struct span value,
				  struct http_content_range *out) MUST_CHECK;

/* "bytes " and three numbers of 20 digits, '-', '/' and NUL, rounded up. */
#define HTTP_CONTENT_RANGE_SIZE 72

/* "bytes first-last/total" for a 206 or a part of one. */
void http_content_range_format(uint64_t first, uint64_t last, uint64_t total,
			       char out[HTTP_CONTENT_RANGE_SIZE]);

/* The form of a 416, which has only the total. */
void http_content_range_format_416(uint64_t total,
				   char out[HTTP_CONTENT_RANGE_SIZE]);

#endif
