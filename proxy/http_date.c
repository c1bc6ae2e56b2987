/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/http_date.h"

static const char day_names[7][4] = {"Sun", "Mon", "Tue", "Wed",
				     "Thu", "Fri", "Sat"};
static const char month_names[12][4] = {"Jan", "Feb", "Mar", "Apr",
					"May", "Jun", "Jul", "Aug",
					"Sep", "Oct", "Nov", "Dec"};
#define LAST_SECOND_OF_9999 253402300799

void http_date_format(time_t t, char out[HTTP_DATE_SIZE])
{
	struct tm tm;

	t = MAX(0, MIN(t, LAST_SECOND_OF_9999));
	gmtime_r(&t, &tm);
	/* Not strftime(): day and month names must not follow a locale. */
	snprintf(out, HTTP_DATE_SIZE, "%s, %02u %s %04u %02u:%02u:%02u GMT",
		 day_names[tm.tm_wday], (unsigned)tm.tm_mday % 100,
		 month_names[tm.tm_mon], (unsigned)(tm.tm_year + 1900) % 10000,
		 (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100,
		 (unsigned)tm.tm_sec % 100);
}

/* Exactly `digits` digits off the front of *s; -1 if they are not there. */
static int take_number(struct span *s, unsigned digits)
{
	int n = 0;

	if (s->len < digits)
		return -1;
	for (unsigned i = 0; i < digits; i++) {
		if (s->ptr[i] < '0' || s->ptr[i] > '9')
			return -1;
		n = n * 10 + (s->ptr[i] - '0');
	}
	span_skip(s, digits);
	return n;
}

static int take_name(struct span *s, const char names[][4], int count)
{
	for (int i = 0; i < count && s->len >= 3; i++) {
		if (memcmp(s->ptr, names[i], 3) == 0) {
			span_skip(s, 3);
			return i;
		}
	}
	return -1;
}

/* Space-padded, as asctime() writes the day of the month. */
static int take_padded(struct span *s)
{
	if (!s->len || s->ptr[0] != ' ')
		return take_number(s, 2);
	span_skip(s, 1);
	return take_number(s, 1);
}

/*
 * RFC 9110 section 5.6.7: a two-digit year that appears to be more than 50
 * years in the future is the most recent past year with those digits.
 */
static int take_short_year(struct span *s, int this_year)
{
	int year = take_number(s, 2);

	if (year < 0)
		return -1;
	year += this_year - this_year % 100;
	return year > this_year + 50 ? year - 100 : year;
}

/* The letters after "Sun" in "Sunday"; which ones is of no interest. */
static int take_letters(struct span *s)
{
	while (s->len && s->ptr[0] >= 'a' && s->ptr[0] <= 'z')
		span_skip(s, 1);
	return 0;
}

/* One conversion of match_date(); -1 if the bytes do not fit it. */
static int take_field(struct span *s, char what, int this_year, struct tm *tm)
{
	switch (what) {
	case 'a':
		return take_name(s, day_names, 7);
	case 'L':
		return take_letters(s);
	case 'd':
		return tm->tm_mday = take_number(s, 2);
	case 'e':
		return tm->tm_mday = take_padded(s);
	case 'b':
		return tm->tm_mon = take_name(s, month_names, 12);
	case 'Y':
		return tm->tm_year = take_number(s, 4);
	case 'y':
		return tm->tm_year = take_short_year(s, this_year);
	case 'H':
		return tm->tm_hour = take_number(s, 2);
	case 'M':
		return tm->tm_min = take_number(s, 2);
	case 'S':
		return tm->tm_sec = take_number(s, 2);
	default:
		assert(!"a conversion that match_date() does not use");
		return -1;
	}
}

/* strptime() would do, but it follows the locale and skips blanks at will. */
static bool match_date(struct span s, const char *format, int this_year,
		       struct tm *tm)
{
	*tm = (struct tm){0};
	for (; *format; format++) {
		if (*format == '%') {
			if (take_field(&s, *++format, this_year, tm) < 0)
				return false;
			continue;
		}
		if (!s.len || s.ptr[0] != *format)
			return false;
		span_skip(&s, 1);
	}
	tm->tm_year -= 1900;
	return !s.len;
}

static int year_of(time_t t)
{
	struct tm tm;

	t = MAX(0, MIN(t, LAST_SECOND_OF_9999));
	gmtime_r(&t, &tm);
	return tm.tm_year + 1900;
}

enum err http_date_parse(struct span value, time_t now, time_t *out)
{
	static const char *const formats[] = {
	    "%a, %d %b %Y %H:%M:%S GMT",   /* IMF-fixdate */
	    "%a%L, %d-%b-%y %H:%M:%S GMT", /* RFC 850 */
	    "%a %b %e %H:%M:%S %Y",        /* asctime() */
	};
	int this_year = year_of(now);
	struct tm tm;

	value = span_trim(value);
	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		int day;

		if (!match_date(value, formats[i], this_year, &tm))
			continue;
		if (tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
			return ERR_INVALID;
		day = tm.tm_mday;
		tm.tm_sec = MIN(tm.tm_sec, 59);
		*out = timegm(&tm);
		/* timegm() turns February 30 into a day of March. */
		return tm.tm_mday == day ? ERR_OK : ERR_INVALID;
	}
	return ERR_INVALID;
}

/* "2" or "0.25"; a fraction counts as one more second. */
static enum err parse_seconds(struct span value, uint64_t *seconds)
{
	struct span whole, fraction = value;
	enum err err;
	uint64_t ignored;

	if (!span_cut(&fraction, '.', &whole))
		return span_uint(value, seconds);
	if (span_uint(fraction, &ignored) == ERR_INVALID)
		return ERR_INVALID;
	err = span_uint(whole, seconds);
	for (size_t i = 0; !err && i < fraction.len; i++) {
		if (fraction.ptr[i] != '0')
			return size_add(*seconds, 1, seconds) ? ERR_OK
							      : ERR_TOO_BIG;
	}
	return err;
}

enum err http_retry_after(struct span value, time_t now, uint32_t max_s,
			  uint32_t *seconds)
{
	uint64_t s = 0;
	enum err err;
	time_t date;

	value = span_trim(value);
	if (!value.len)
		return ERR_INVALID;
	err = parse_seconds(value, &s);
	if (err == ERR_TOO_BIG)
		s = max_s;
	if (err == ERR_INVALID) {
		err = http_date_parse(value, now, &date);
		if (err)
			return err;
		s = date > now ? (uint64_t)(date - now) : 0;
	}
	*seconds = (uint32_t)MIN(s, (uint64_t)max_s);
	return ERR_OK;
}
