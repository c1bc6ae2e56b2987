/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/http_date.h"
#include "tests/unit/unit.h"

#define NOV_1994 784111777  /* Sun, 06 Nov 1994 08:49:37 GMT */
#define NOV_2026 1795478400 /* some day of 2026 */

static void date_is_written_as_imf_fixdate(void)
{
	char text[HTTP_DATE_SIZE];

	http_date_format(NOV_1994, text);
	CHECK_STR(text, "Sun, 06 Nov 1994 08:49:37 GMT");
	http_date_format(0, text);
	CHECK_STR(text, "Thu, 01 Jan 1970 00:00:00 GMT");
	http_date_format(-5, text);
	CHECK_STR(text, "Thu, 01 Jan 1970 00:00:00 GMT");
	http_date_format(INT64_MAX, text);
	CHECK_STR(text, "Fri, 31 Dec 9999 23:59:59 GMT");
}

static void all_three_forms_are_read(void)
{
	static const char *const forms[] = {
	    "Sun, 06 Nov 1994 08:49:37 GMT",
	    "Sunday, 06-Nov-94 08:49:37 GMT",
	    "Sun Nov  6 08:49:37 1994",
	    "  Sun, 06 Nov 1994 08:49:37 GMT ",
	};
	time_t t;

	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		t = 0;
		CHECK(!http_date_parse(span_of(forms[i]), NOV_2026, &t));
		CHECK(t == NOV_1994);
	}
}

static void two_digit_year_is_at_most_50_years_ahead(void)
{
	time_t t;

	CHECK(!http_date_parse(span_of("Sunday, 01-Jan-76 00:00:00 GMT"),
			       NOV_2026, &t));
	CHECK(t == 3345062400); /* 2076 */
	CHECK(!http_date_parse(span_of("Sunday, 01-Jan-77 00:00:00 GMT"),
			       NOV_2026, &t));
	CHECK(t == 220924800); /* 1977 */
}

static void other_dates_are_refused(void)
{
	static const char *const rows[] = {
	    "",
	    "Sun, 06 Nov 1994 08:49:37",
	    "Sun, 06 Nov 1994 08:49:37 UTC",
	    "Sun, 06 Nov 1994 08:49:37 GMT+1",
	    "sun, 06 Nov 1994 08:49:37 GMT",
	    "Sun, 6 Nov 1994 08:49:37 GMT",
	    "Sun,  6 Nov 1994 08:49:37 GMT",
	    "Sun, 06 Foo 1994 08:49:37 GMT",
	    "Sun, 31 Nov 1994 08:49:37 GMT",
	    "Sun, 29 Feb 1995 08:49:37 GMT",
	    "Sun, 00 Nov 1994 08:49:37 GMT",
	    "Sun, 06 Nov 1994 24:49:37 GMT",
	    "Sun, 06 Nov 1994 08:60:37 GMT",
	    "Sun, 06 Nov 1994 08:49:61 GMT",
	    "Sun, 06 Nov 1994 8:49:37 GMT",
	    "1994-11-06T08:49:37Z",
	};
	time_t t;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (!http_date_parse(span_of(rows[i]), NOV_2026, &t))
			fprintf(stderr, "%s\n", rows[i]);
		CHECK(http_date_parse(span_of(rows[i]), NOV_2026, &t) ==
		      ERR_INVALID);
	}
}

static void leap_days_and_leap_seconds_are_dates(void)
{
	time_t t;

	CHECK(
	    !http_date_parse(span_of("Thu, 29 Feb 1996 00:00:00 GMT"), 0, &t));
	CHECK(t == 825552000);
	CHECK(
	    !http_date_parse(span_of("Sat, 31 Dec 2016 23:59:60 GMT"), 0, &t));
	CHECK(t == 1483228799);
}

static void retry_after_counts_from_now_and_is_clamped(void)
{
	static const struct {
		const char *value;
		uint32_t want;
	} rows[] = {
	    {"0", 0},
	    {" 30 ", 30},
	    {"600", 600},
	    {"601", 600},
	    {"99999999999999999999", 600},
	    {"18446744073709551615.5", 600},
	    {"0.0", 0},
	    {"0.345", 1},
	    {"2.000001", 3},
	    {"0.00000000000000000000000000001", 1},
	    {"Sun, 06 Nov 1994 08:49:57 GMT", 20},
	    {"Sunday, 06-Nov-94 08:49:57 GMT", 20},
	    {"Sun Nov  6 08:49:57 1994", 20},
	    {"Sun, 06 Nov 1994 08:49:00 GMT", 0},
	    {"Tue, 06 Nov 2094 08:49:00 GMT", 600},
	};
	static const char *const bad[] = {"",   "-1",  "+1",  "1s",   "1.",
					  ".5", "1.x", "1 2", "soon", "0x1"};
	uint32_t s;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CHECK(!http_retry_after(span_of(rows[i].value), NOV_1994, 600,
					&s));
		if (s != rows[i].want)
			fprintf(stderr, "%s: %u\n", rows[i].value, s);
		CHECK(s == rows[i].want);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK(http_retry_after(span_of(bad[i]), NOV_1994, 600, &s) ==
		      ERR_INVALID);
}

int main(void)
{
	RUN(date_is_written_as_imf_fixdate);
	RUN(all_three_forms_are_read);
	RUN(two_digit_year_is_at_most_50_years_ahead);
	RUN(other_dates_are_refused);
	RUN(leap_days_and_leap_seconds_are_dates);
	RUN(retry_after_counts_from_now_and_is_clamped);
	return unit_done();
}
