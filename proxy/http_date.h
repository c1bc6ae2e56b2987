/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_HTTP_DATE_H
#define PROXY_HTTP_DATE_H
/*
 * HTTP dates, and the field that may hold one or a number: Retry-After.
 *
 * Pure functions; the clock is an argument, locale and time zone play no
 * part.  Any thread.
 */
#include "proxy/http_field.h"

#include <time.h>

/* "Sun, 06 Nov 1994 08:49:37 GMT" and its NUL. */
#define HTTP_DATE_SIZE 30

/* Seconds since the epoch as IMF-fixdate; clamped to years 1970..9999. */
void http_date_format(time_t t, char out[HTTP_DATE_SIZE]);

/*
 * Any of the three forms of RFC 9110 section 5.6.7.  `now` decides the
 * century of the two-digit year in the RFC 850 form.
 */
enum err http_date_parse(struct span value, time_t now, time_t *out) MUST_CHECK;

/*
 * Retry-After, as seconds from `now`, at most `max_s`: a number of seconds
 * (a fraction, which some registries send, is rounded up) or a date, of which
 * a past one means 0.
 */
enum err http_retry_after(struct span value, time_t now, uint32_t max_s,
			  uint32_t *seconds) MUST_CHECK;

#endif
