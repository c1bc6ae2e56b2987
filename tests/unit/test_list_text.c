/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/list_text.h"

#include "unit.h"

static const char *tags(const char *in, bool none)
{
	static char out[512];
	struct list_page page = {0};
	struct why why;

	if (list_tags(in, strlen(in), "quay.io/a/b", none, &page, &why))
		return "refused";
	snprintf(out, sizeof(out), "%.*s n=%zu first=%s", (int)page.text.len,
		 page.text.text, page.text.n, page.first);
	list_text_release(&page.text);
	return out;
}

static void tags_get_the_clients_name(void)
{
	CHECK_STR(tags("{\"name\":\"a/b\",\"tags\":[\"1\",\"v2\"]}", false),
		  "{\"name\":\"quay.io/a/b\",\"tags\":[\"1\",\"v2\"]}\n n=2 "
		  "first=1");
	CHECK_STR(tags("{\"name\":\"a/b\",\"tags\":null}", false),
		  "{\"name\":\"quay.io/a/b\",\"tags\":[]}\n n=0 first=");
}

static void what_is_no_tag_is_left_out(void)
{
	CHECK_STR(tags("{\"tags\":[\"a\\\"b\",7,\"\",\"ok\",null]}", false),
		  "{\"name\":\"quay.io/a/b\",\"tags\":[\"ok\"]}\n n=1 "
		  "first=ok");
}

static void none_of_a_page_still_says_what_was_there(void)
{
	CHECK_STR(tags("{\"tags\":[\"x\"]}", true),
		  "{\"name\":\"quay.io/a/b\",\"tags\":[]}\n n=0 first=x");
}

static void what_is_no_list_is_refused(void)
{
	CHECK_STR(tags("<html>", false), "refused");
	CHECK_STR(tags("[]", false), "refused");
	CHECK_STR(tags("{\"tags\":{}}", false), "refused");
	CHECK_STR(tags("", false), "refused");
}

#define HEX32 "0123456789abcdef0123456789abcdef"
#define DG "sha256:" HEX32 HEX32

static void referrers_are_filtered_by_type(void)
{
	static const char in[] =
	    "{\"schemaVersion\":2,\"manifests\":["
	    "{\"digest\":\"" DG "\",\"artifactType\":\"a/x\",\"size\":3},"
	    "{\"digest\":\"" DG "\",\"artifactType\":\"a/y\"},7]}";
	struct list_page page = {0};
	struct why why;

	CHECK(list_referrers(in, sizeof(in) - 1, NULL, &page, &why) == ERR_OK);
	CHECK(page.text.n == 2);
	CHECK_STR(page.first, DG);
	list_text_release(&page.text);
	CHECK(list_referrers(in, sizeof(in) - 1, "a/x", &page, &why) == ERR_OK);
	CHECK(page.text.n == 1);
	CHECK(page.text.len &&
	      strstr(page.text.text, "\"artifactType\":\"a/x\""));
	CHECK(page.text.len && strstr(page.text.text, "\"size\":3"));
	list_text_release(&page.text);
	CHECK(list_referrers(in, sizeof(in) - 1, "a/z", &page, &why) == ERR_OK);
	CHECK(page.text.n == 0);
	/* What the repository holds is still told. */
	CHECK_STR(page.first, DG);
	list_text_release(&page.text);
	CHECK(list_referrers("x", 1, NULL, &page, &why) == ERR_BAD_UPSTREAM);
}

static size_t fill(struct list_text *l, size_t bytes)
{
	static const char tag[100];

	list_tags_begin(l, "a/b");
	while (l->len < bytes && !l->full)
		list_tags_add(l, tag, sizeof(tag));
	list_tags_end(l);
	return l->len;
}

static void long_lists_are_bounded_together(void)
{
	struct list_text one = {0}, rest = {0}, more = {0};
	struct list_page page = {0};
	struct why why;

	CHECK(fill(&one, MIB) >= MIB && one.counted == one.len);
	CHECK(!list_text_reserve(&rest, LIST_BUFFERED_MAX));
	CHECK(list_text_reserve(&rest, LIST_BUFFERED_MAX - one.len));
	/* A list that grows into it is cut, and says so; a short one is not. */
	CHECK(fill(&more, MIB) < LIST_SHORT && more.full && !more.counted);
	list_text_release(&more);
	CHECK(fill(&more, LIST_SHORT - 200) < LIST_SHORT && !more.full);
	list_text_release(&more);
	list_text_release(&one);
	/* What was reserved and not used is given back at the end. */
	fill(&rest, MIB);
	CHECK(rest.counted == rest.len && rest.len < 2 * MIB);
	CHECK(list_text_reserve(&page.text, LIST_BUFFERED_MAX - rest.len));
	CHECK(list_tags("x", 1, "a/b", false, &page, &why) != ERR_OK);
	list_text_release(&page.text);
	list_text_release(&rest);
	CHECK(list_text_reserve(&rest, LIST_BUFFERED_MAX));
	list_text_release(&rest);
}

static const char *query(const char *in, size_t size)
{
	static const char *const drop[] = {"ns", "n", NULL};
	static char out[64];

	switch (list_query(span_of(in), drop, out, size)) {
	case ERR_OK:
		return out;
	case ERR_TOO_BIG:
		return "(too big)";
	default:
		return "(invalid)";
	}
}

static void queries_lose_what_is_dropped(void)
{
	CHECK_STR(query("", 64), "");
	CHECK_STR(query("ns=docker.io&n=5", 64), "");
	CHECK_STR(query("n=5&last=v1.0&ns=x&next_page=a%2Bb", 64),
		  "last=v1.0&next_page=a%2Bb");
	CHECK_STR(query("%6es=x&last=b", 64), "last=b");
	CHECK_STR(query("last=b", 9), "last=b");
	CHECK_STR(query("last=bcde", 9), "(too big)");
}

static void queries_that_would_end_a_link_are_refused(void)
{
	CHECK_STR(query("last=a>;rel=x", 64), "(invalid)");
	CHECK_STR(query("last=a\"", 64), "(invalid)");
	CHECK_STR(query("la st=a", 64), "(invalid)");
	CHECK_STR(query("last=\xc3\xa9", 64), "(invalid)");
}

static void escapes_all_but_the_unreserved(void)
{
	char out[32];

	CHECK(list_escape("[::1]:5000", out, sizeof(out)));
	CHECK_STR(out, "%5B%3A%3A1%5D%3A5000");
	CHECK(list_escape("docker.io", out, 10));
	CHECK_STR(out, "docker.io");
	CHECK(!list_escape("docker.io", out, 9));
	CHECK(!list_escape("[[[[", out, 12));
}

int main(void)
{
	RUN(tags_get_the_clients_name);
	RUN(what_is_no_tag_is_left_out);
	RUN(none_of_a_page_still_says_what_was_there);
	RUN(what_is_no_list_is_refused);
	RUN(referrers_are_filtered_by_type);
	RUN(long_lists_are_bounded_together);
	RUN(queries_lose_what_is_dropped);
	RUN(queries_that_would_end_a_link_are_refused);
	RUN(escapes_all_but_the_unreserved);
	return unit_done();
}
