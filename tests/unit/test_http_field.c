/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/http_field.h"
#include "tests/unit/unit.h"

static void numbers_are_digits_only(void)
{
	static const char *const bad[] = {"",    " 5", "5 ", "+5",   "-5",
					  "0x5", "5a", "5.", "\0019"};
	uint64_t n = 7;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK(span_uint(span_of(bad[i]), &n) == ERR_INVALID);
	CHECK(span_uint(span_of("18446744073709551616"), &n) == ERR_TOO_BIG);
	CHECK(span_uint(span_of("99999999999999999999x"), &n) == ERR_INVALID);
	CHECK(n == 7);
	CHECK(!span_uint(span_of("18446744073709551615"), &n));
	CHECK(n == UINT64_MAX);
	CHECK(!span_uint(span_of("00"), &n) && n == 0);
}

static void spans_compare(void)
{
	CHECK(span_is(span_of("ab"), "ab") && !span_is(span_of("ab"), "abc"));
	CHECK(!span_is(span_of("ab"), "aB"));
	CHECK(span_is((struct span){NULL, 0}, ""));
	CHECK(span_is_nocase(span_of("aB-["), "Ab-["));
	CHECK(!span_is_nocase(span_of("{"), "["));
	CHECK(span_is(span_trim(span_of(" \ta b\t ")), "a b"));
	CHECK(span_is(span_trim(span_of(" \t")), ""));
}

static void span_is_cut_at_the_first_match(void)
{
	struct span rest = span_of("a=b=c"), out;

	CHECK(span_cut(&rest, '=', &out));
	CHECK(span_is(out, "a") && span_is(rest, "b=c"));
	CHECK(!span_cut(&rest, ';', &out) && span_is(rest, "b=c"));
}

static void tokens_are_told_from_other_words(void)
{
	CHECK(http_is_token(span_of("Ab9!#$%&'*+-.^_`|~")));
	CHECK(!http_is_token(span_of("")) && !http_is_token(span_of("a b")));
	CHECK(!http_is_token(span_of("a/b")) && !http_is_token(span_of("a:")));
	CHECK(!http_is_token(span_of("\303\244")));
	CHECK(http_token_len(span_of("abc=d")) == 3);
	CHECK(http_hex_value('f') == 15 && http_hex_value('A') == 10);
	CHECK(http_hex_value('g') == -1 && http_hex_value('/') == -1);
}

/* The elements, each in brackets. */
static const char *list(const char *value)
{
	static char text[256];
	struct span rest = span_of(value), item;
	size_t len = 0;

	text[0] = '\0';
	while (http_list_next(&rest, &item))
		len += (size_t)snprintf(text + len, sizeof(text) - len,
					"[%.*s]", (int)item.len, item.ptr);
	return text;
}

static void lists_are_taken_apart(void)
{
	CHECK_STR(list(""), "");
	CHECK_STR(list(" , ,\t"), "");
	CHECK_STR(list("a"), "[a]");
	CHECK_STR(list(",a , b c,,d "), "[a][b c][d]");
	CHECK_STR(list("a;b=\",\",c"), "[a;b=\",\"][c]");
	CHECK_STR(list("\"\\\",\",b"), "[\"\\\",\"][b]");
	CHECK_STR(list("\"a,b"), "[\"a,b]");
	CHECK_STR(list("\"a\\"), "[\"a\\]");
}

static void parameters_are_taken_apart(void)
{
	struct span rest = span_of("; a=1;b = \"x;y\" ;;c"), name, value;

	CHECK(http_param_next(&rest, &name, &value));
	CHECK(span_is(name, "a") && span_is(value, "1"));
	CHECK(http_param_next(&rest, &name, &value));
	CHECK(span_is(name, "b") && span_is(value, "\"x;y\""));
	CHECK(http_param_next(&rest, &name, &value));
	CHECK(span_is(name, "c") && span_is(value, ""));
	CHECK(!http_param_next(&rest, &name, &value));
}

static void quotes_are_undone(void)
{
	static const struct {
		const char *raw, *want; /* NULL: refused */
	} rows[] = {
	    {"abc", "abc"},         {"", ""},
	    {"\"\"", ""},           {"\"a b\"", "a b"},
	    {"\"a\\\"b\"", "a\"b"}, {"\"a\\\\\"", "a\\"},
	    {"a\\b", "a\\b"},       {"\"", NULL},
	    {"\"a", NULL},          {"\"a\\\"", NULL},
	    {"\"a\"b\"", NULL},     {"\"\\\\\"\"", NULL},
	    {"a\"b", NULL},         {"\"a\nb\"", NULL},
	    {"\"a\\\001\"", NULL},
	};
	char out[8];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		enum err err =
		    http_unquote(span_of(rows[i].raw), out, sizeof(out));

		CHECK(err == (rows[i].want ? ERR_OK : ERR_INVALID));
		if (!err)
			CHECK_STR(out, rows[i].want);
	}
	CHECK(!http_unquote(span_of("\"1234567\""), out, sizeof(out)));
	CHECK(http_unquote(span_of("12345678"), out, sizeof(out)) ==
	      ERR_TOO_BIG);
}

static void etag_lists_match_weakly(void)
{
	static const struct {
		const char *value;
		bool want;
	} rows[] = {
	    {"\"d:1\"", true},
	    {"d:1", true},
	    {"W/\"d:1\"", true},
	    {"*", true},
	    {" * ", true},
	    {"\"x\", \"d:1\"", true},
	    {"x,d:1 ,y", true},
	    {"\"a,b\",W/\"d:1\"", true},
	    {"\"a\\\", \"d:1\"", true},
	    {"", false},
	    {"\"\"", false},
	    {"\"d:12\"", false},
	    {"\"d:\"", false},
	    {"\"D:1\"", false},
	    {"w/\"d:1\"", false},
	    {"\"*\"", false},
	    {"x, *", false},
	    {"\"a, d:1, b\"", false},
	    {"\"d:1", true},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (http_etag_listed(span_of(rows[i].value), "d:1") !=
		    rows[i].want)
			fprintf(stderr, "%s\n", rows[i].value);
		CHECK(http_etag_listed(span_of(rows[i].value), "d:1") ==
		      rows[i].want);
	}
}

static void media_type_loses_case_and_parameters(void)
{
	static const char *const bad[] = {
	    "", "a", "a/", "/b", "a /b", "a/b c", "a/b/c", ";a/b", "a/b,c/d"};
	char out[16];

	CHECK(!http_media_type(span_of("Text/HTML"), out, sizeof(out)));
	CHECK_STR(out, "text/html");
	CHECK(!http_media_type(span_of(" a/b+c ; d=\"e\" "), out, sizeof(out)));
	CHECK_STR(out, "a/b+c");
	CHECK(!http_media_type(span_of("a/4567890123456;"), out, sizeof(out)));
	CHECK(http_media_type(span_of("a/45678901234567"), out, sizeof(out)) ==
	      ERR_TOO_BIG);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK(http_media_type(span_of(bad[i]), out, sizeof(out)) ==
		      ERR_INVALID);
}

static void rate_limit_has_a_number_and_a_window(void)
{
	uint64_t n, w;

	CHECK(!http_ratelimit(span_of("100;w=21600"), &n, &w));
	CHECK(n == 100 && w == 21600);
	CHECK(!http_ratelimit(span_of(" 76 ; W = 60 ;x"), &n, &w));
	CHECK(n == 76 && w == 60);
	CHECK(!http_ratelimit(span_of("5"), &n, &w) && n == 5 && w == 0);
	CHECK(http_ratelimit(span_of(""), &n, &w) == ERR_INVALID);
	CHECK(http_ratelimit(span_of("x;w=1"), &n, &w) == ERR_INVALID);
	CHECK(http_ratelimit(span_of("5;w=x"), &n, &w) == ERR_INVALID);
}

static void next_link_is_found(void)
{
	static const struct {
		const char *value, *want; /* NULL: none */
	} rows[] = {
	    {"</v2/a/tags/list?last=x&n=9>; rel=\"next\"",
	     "/v2/a/tags/list?last=x&n=9"},
	    {"</x>;rel=next", "/x"},
	    {"</x>; title=\"a, b; rel=prev\"; REL = \"Next\"", "/x"},
	    {"</a,b>; rel=prev, </c,d>; rel=\"last next\"", "/c,d"},
	    {",, </x>; rel=next, </y>; rel=next", "/x"},
	    {"junk; rel=next, </y>; rel=next", "/y"},
	    {"<>; rel=next", ""},
	    {"</x>; rel=prev; rel=next", NULL},
	    {"</x>", NULL},
	    {"</x>; rel=nextish", NULL},
	    {"</x; rel=next", NULL},
	    {"", NULL},
	};
	struct span target;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		bool found =
		    http_link_find(span_of(rows[i].value), "next", &target);

		CHECK(found == (rows[i].want != NULL));
		if (found && rows[i].want)
			CHECK(span_is(target, rows[i].want));
	}
}

static void percent_escapes_are_undone(void)
{
	static const struct {
		const char *in, *want; /* NULL: refused */
	} rows[] = {
	    {"", ""},         {"abc", "abc"},   {"a%2Fb", "a/b"},
	    {"a%2fb", "a/b"}, {"a+b", "a+b"},   {"a%2Bb", "a+b"},
	    {"%25%41", "%A"}, {"%2541", "%41"}, {"%ff", "\377"},
	    {"%", NULL},      {"%4", NULL},     {"a%4", NULL},
	    {"%4g", NULL},    {"%g4", NULL},    {"%%41", NULL},
	    {"a%00b", NULL},  {"%+1", NULL},
	};
	char out[8];
	size_t len;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		enum err err = http_percent_decode(span_of(rows[i].in), out,
						   sizeof(out), &len);

		CHECK(err == (rows[i].want ? ERR_OK : ERR_INVALID));
		if (err)
			continue;
		CHECK_STR(out, rows[i].want);
		CHECK(len == strlen(out));
	}
	CHECK(http_percent_decode((struct span){"a\0b", 3}, out, sizeof(out),
				  &len) == ERR_INVALID);
	CHECK(
	    !http_percent_decode(span_of("%31234567"), out, sizeof(out), &len));
	CHECK(http_percent_decode(span_of("12345678"), out, sizeof(out),
				  &len) == ERR_TOO_BIG);
}

static void query_is_walked_and_searched(void)
{
	struct span query = span_of("&a=1&&b&c%3D=x=y&tag=p&t%61g=q&=z");
	struct span rest = query, key, value;

	CHECK(http_query_next(&rest, &key, &value));
	CHECK(span_is(key, "a") && span_is(value, "1"));
	CHECK(http_query_next(&rest, &key, &value));
	CHECK(span_is(key, "b") && span_is(value, ""));
	CHECK(http_query_next(&rest, &key, &value));
	CHECK(span_is(key, "c%3D") && span_is(value, "x=y"));
	CHECK(http_query_key_is(key, "c=") && !http_query_key_is(key, "c"));

	CHECK(http_query_find(query, "a", &value) == 1);
	CHECK(span_is(value, "1"));
	CHECK(http_query_find(query, "tag", &value) == 2);
	CHECK(span_is(value, "p"));
	CHECK(http_query_find(query, "b", &value) == 1);
	CHECK(value.ptr && !value.len);
	CHECK(http_query_find(query, "", &value) == 1);
	CHECK(span_is(value, "z"));
	CHECK(http_query_find(query, "ta", &value) == 0 && !value.ptr);
	CHECK(http_query_find(query, "tags", &value) == 0);
	CHECK(http_query_find((struct span){NULL, 0}, "a", &value) == 0);
}

int main(void)
{
	RUN(numbers_are_digits_only);
	RUN(spans_compare);
	RUN(span_is_cut_at_the_first_match);
	RUN(tokens_are_told_from_other_words);
	RUN(lists_are_taken_apart);
	RUN(parameters_are_taken_apart);
	RUN(quotes_are_undone);
	RUN(etag_lists_match_weakly);
	RUN(media_type_loses_case_and_parameters);
	RUN(rate_limit_has_a_number_and_a_window);
	RUN(next_link_is_found);
	RUN(percent_escapes_are_undone);
	RUN(query_is_walked_and_searched);
	return unit_done();
}
