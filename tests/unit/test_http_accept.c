/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/http_accept.h"
#include "tests/unit/unit.h"

#define V2 "application/vnd.docker.distribution.manifest.v2+json"
#define LIST "application/vnd.docker.distribution.manifest.list.v2+json"
#define OCI "application/vnd.oci.image.manifest.v1+json"
#define INDEX "application/vnd.oci.image.index.v1+json"
#define V1 "application/vnd.docker.distribution.manifest.v1+prettyjws"

/* `fields` are whole lines. */
static bool accepts(const char *fields, const char *type)
{
	static struct http_head head;
	struct http_scan scan = {0};
	struct http_refusal refusal;
	char text[2048];
	size_t used;

	snprintf(text, sizeof(text), "GET /v2/ HTTP/1.1\r\nHost: h\r\n%s\r\n",
		 fields);
	CHECK(http_head_parse(text, strlen(text), &scan, &head, &used,
			      &refusal) == HTTP_DONE);
	return http_accepts(&head, type);
}

static void lists_of_real_clients(void)
{
	static const char six_lines[] =
	    "Accept: " OCI "\r\nAccept: " V2 "\r\nAccept: " V1 "\r\n"
	    "Accept: application/vnd.docker.distribution.manifest.v1+json\r\n"
	    "Accept: " LIST "\r\nAccept: " INDEX "\r\n";
	static const char crane[] =
	    "Accept: " V1 "," V2 "," OCI "," LIST "\r\n";

	CHECK(accepts(six_lines, INDEX) && accepts(six_lines, V2));
	CHECK(!accepts(six_lines, "application/json"));
	CHECK(accepts(crane, LIST) && !accepts(crane, INDEX));
	CHECK(accepts("Accept: " V2 ", " LIST ", */*\r\n", INDEX));
	CHECK(accepts("Accept: " V2 "\r\nAccept: application/json\r\n", INDEX));
}

static void elements_decide(void)
{
	static const struct {
		const char *fields;
		bool want; /* an OCI index */
	} rows[] = {
	    {"", true},
	    {"Accept:\r\n", true},
	    {"Accept: ,\r\n", true},
	    {"Accept: gibberish\r\n", true},
	    {"Accept: gibberish, a/b\r\n", false},
	    {"Accept: */*\r\n", true},
	    {"Accept: *\r\n", true},
	    {"Accept: * /*\r\n", true},
	    {"Accept: application/*\r\n", true},
	    {"Accept: APPLICATION/*\r\n", true},
	    {"Accept: app/*\r\n", false},
	    {"Accept: applicationx/*\r\n", false},
	    {"Accept: text/*\r\n", false},
	    {"Accept: text/html\r\n", false},
	    {"Accept: text/html\r\nAccept: */*;q=0.1\r\n", true},
	    {"Accept: application/json\r\n", true},
	    {"Accept: application/json; charset=utf-8\r\n", true},
	    {"Accept: application/json;q=0\r\n", false},
	    {"Accept: application/json;q=0, */*\r\n", true},
	    {"Accept: " INDEX "\r\n", true},
	    {"Accept: " INDEX ".x\r\n", false},
	    {"Accept: Application/Vnd.OCI.image.index.v1+json\r\n", true},
	    {"Accept: " INDEX ";q=0.001\r\n", true},
	    {"Accept: " INDEX ";q=0\r\n", false},
	    {"Accept: " INDEX ";q=0.000\r\n", false},
	    {"Accept: " INDEX "; Q=0.\r\n", false},
	    {"Accept: " INDEX ";x=\",\";q=0, a/b\r\n", false},
	    {"Accept: " INDEX ";x=\";q=0\", a/b\r\n", true},
	    {"Accept: " INDEX ";q=00\r\n", true},
	    {"Accept: */*, " INDEX ";q=0\r\n", false},
	    {"Accept: " INDEX ";q=0\r\nAccept: */*\r\n", false},
	    {"Accept: application/*;q=0, */*\r\n", false},
	    {"Accept: application/*;q=0, " INDEX "\r\n", true},
	    {"Accept: */*;q=0\r\n", false},
	    {"Accept: */*;q=0, application/json\r\n", true},
	    {"Accept: " INDEX ";q=0, " INDEX "\r\n", true},
	    {"Accept: " INDEX ", " INDEX ";q=0\r\n", true},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		bool got = accepts(rows[i].fields, INDEX);

		if (got != rows[i].want)
			fprintf(stderr, "%s", rows[i].fields);
		CHECK(got == rows[i].want);
	}
}

static void values_add_up_without_a_head(void)
{
	struct http_accept a = {0};

	CHECK(http_accept_verdict(&a));
	http_accept_add(&a, span_of(V2), INDEX);
	CHECK(!http_accept_verdict(&a));
	http_accept_add(&a, span_of(INDEX), INDEX);
	CHECK(http_accept_verdict(&a));
}

int main(void)
{
	RUN(lists_of_real_clients);
	RUN(elements_decide);
	RUN(values_add_up_without_a_head);
	return unit_done();
}
