/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/route.h"
#include "tests/unit/unit.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DG "sha256:" HEX
#define DG_ESCAPED "sha256%3A" HEX

static struct route route;
static struct why why;

static enum err parse(const char *path)
{
	memset(&why, 0, sizeof(why));
	return route_parse(path, strlen(path), &route, &why);
}

static void every_endpoint_has_its_path(void)
{
	static const struct {
		const char *path;
		enum endpoint endpoint;
		const char *name, *ref;
		enum reference reference;
	} cases[] = {
	    {"/v2", ENDPOINT_BASE, "", "", REFERENCE_NONE},
	    {"/v2/", ENDPOINT_BASE, "", "", REFERENCE_NONE},
	    {"/v2/_catalog", ENDPOINT_CATALOG, "", "", REFERENCE_NONE},
	    {"/v2/_oci/ext/discover", ENDPOINT_EXTENSIONS, "", "",
	     REFERENCE_NONE},
	    {"/v2/a/b/_oci/ext/discover", ENDPOINT_EXTENSIONS, "a/b", "",
	     REFERENCE_NONE},
	    {"/v1/_ping", ENDPOINT_V1_PING, "", "", REFERENCE_NONE},
	    {"/v1/search", ENDPOINT_V1_SEARCH, "", "", REFERENCE_NONE},
	    {"/metrics", ENDPOINT_METRICS, "", "", REFERENCE_NONE},
	    {"/healthz", ENDPOINT_HEALTHZ, "", "", REFERENCE_NONE},
	    {"/readyz", ENDPOINT_READYZ, "", "", REFERENCE_NONE},
	    {"/v2/library/alpine/manifests/3", ENDPOINT_MANIFEST,
	     "library/alpine", "3", REFERENCE_TAG},
	    {"/v2/a/manifests/" DG, ENDPOINT_MANIFEST, "a", DG,
	     REFERENCE_DIGEST},
	    {"/v2/a/manifests/" DG_ESCAPED, ENDPOINT_MANIFEST, "a", DG,
	     REFERENCE_DIGEST},
	    {"/v2/a/blobs/" DG, ENDPOINT_BLOB, "a", DG, REFERENCE_DIGEST},
	    {"/v2/a/referrers/" DG, ENDPOINT_REFERRERS, "a", DG,
	     REFERENCE_DIGEST},
	    {"/v2/a/tags/list", ENDPOINT_TAGS, "a", "", REFERENCE_NONE},
	    {"/v2/a/blobs/uploads/", ENDPOINT_UPLOADS, "a", "", REFERENCE_NONE},
	    {"/v2/a/blobs/uploads", ENDPOINT_UPLOADS, "a", "", REFERENCE_NONE},
	    {"/v2/a/blobs/uploads/0a-B_", ENDPOINT_UPLOAD, "a", "0a-B_",
	     REFERENCE_UPLOAD},
	    {"/v2/quay.io/org/img/manifests/v1", ENDPOINT_MANIFEST,
	     "quay.io/org/img", "v1", REFERENCE_TAG},
	    {"/v2/localhost:5001/img/tags/list", ENDPOINT_TAGS,
	     "localhost:5001/img", "", REFERENCE_NONE},
	    {"/v2/localhost%3a5001/img/tags/list", ENDPOINT_TAGS,
	     "localhost:5001/img", "", REFERENCE_NONE},
	    {"/v2/pfx/v2/library/alpine/manifests/3", ENDPOINT_MANIFEST,
	     "pfx/v2/library/alpine", "3", REFERENCE_TAG},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CHECK(parse(cases[i].path) == ERR_OK);
		CHECK(route.endpoint == cases[i].endpoint);
		CHECK_STR(route.name, cases[i].name);
		CHECK_STR(route.ref, cases[i].ref);
		CHECK(route.reference == cases[i].reference);
		CHECK(route.code == NULL);
	}
}

static void words_of_the_api_may_stand_in_names(void)
{
	static const struct {
		const char *path;
		enum endpoint endpoint;
		const char *name, *ref;
	} cases[] = {
	    {"/v2/manifests/manifests/manifests", ENDPOINT_MANIFEST,
	     "manifests", "manifests"},
	    {"/v2/tags/list/tags/list", ENDPOINT_TAGS, "tags/list", ""},
	    {"/v2/a/manifests/tags/list", ENDPOINT_TAGS, "a/manifests", ""},
	    {"/v2/a/tags/manifests/list", ENDPOINT_MANIFEST, "a/tags", "list"},
	    {"/v2/a/blobs/uploads/manifests/x", ENDPOINT_MANIFEST,
	     "a/blobs/uploads", "x"},
	    {"/v2/a/manifests/blobs/uploads/", ENDPOINT_UPLOADS, "a/manifests",
	     ""},
	    {"/v2/blobs/blobs/uploads/x", ENDPOINT_UPLOAD, "blobs", "x"},
	    {"/v2/blobs/uploads/blobs/" DG, ENDPOINT_BLOB, "blobs/uploads", DG},
	    {"/v2/uploads/blobs/uploads/uploads", ENDPOINT_UPLOAD, "uploads",
	     "uploads"},
	    {"/v2/referrers/manifests/referrers", ENDPOINT_MANIFEST,
	     "referrers", "referrers"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CHECK(parse(cases[i].path) == ERR_OK);
		CHECK(route.endpoint == cases[i].endpoint);
		CHECK_STR(route.name, cases[i].name);
		CHECK_STR(route.ref, cases[i].ref);
	}
}

static void other_paths_are_not_found(void)
{
	static const char *const paths[] = {
	    "",
	    "*",
	    "/",
	    "v2/",
	    "/v2x",
	    "/v3/",
	    "/v2//",
	    "/V2/",
	    "/pfx/v2/library/alpine/manifests/3",
	    "/v2/a",
	    "/v2/a/b/c",
	    "/v2/a/manifests/",
	    "/v2/a/manifests",
	    "/v2/manifests/latest",
	    "/v2/blobs/uploads/",
	    "/v2/tags/list",
	    "/v2/a/tags/list/",
	    "/v2/a/tags",
	    "/v2/a/blobs/",
	    "/v2/_catalog/",
	    "/v2/a/_catalog",
	    "/v2/_zot/ext/search",
	    "/v1/",
	    "/metrics/",
	    "/v2/a/Manifests/x",
	    "/v2/a/tags%2Flist",
	};

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		CHECK(parse(paths[i]) == ERR_NOT_FOUND);
		CHECK(route.endpoint == ENDPOINT_UNKNOWN);
		CHECK(route.reads == 0 && route.writes == 0);
		CHECK_STR(route.code, "NAME_UNKNOWN");
		CHECK(why.text[0] != '\0');
	}
}

static void invalid(const char *path, enum endpoint endpoint, const char *code)
{
	enum err err = parse(path);

	CHECK(err == ERR_INVALID);
	CHECK(route.endpoint == endpoint);
	CHECK(route.reads != 0 || route.writes != 0);
	CHECK_STR(route.code, code);
	CHECK(why.text[0] != '\0');
}

static void bad_names_are_invalid(void)
{
	static const char *const names[] = {
	    "A",     "a//b",   "_x", "a/",     "/a",   "a%2Fb",
	    "a%2fb", "a%00",   "a%", "a%4",    "a%zz", "a/localhost:5001/b",
	    "a b",   "%C3%A9", "..", "a/../b",
	};
	char path[600];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "/v2/%s/manifests/x", names[i]);
		invalid(path, ENDPOINT_MANIFEST, "NAME_INVALID");
		CHECK_STR(route.name, "");
	}
	snprintf(path, sizeof(path), "/v2/%0300d/tags/list", 0);
	invalid(path, ENDPOINT_TAGS, "NAME_INVALID");
	/* The name is judged first. */
	invalid("/v2/A/blobs/x", ENDPOINT_BLOB, "NAME_INVALID");
}

static void names_have_room_for_a_host(void)
{
	char path[700], name[600];

	snprintf(name, sizeof(name), "quay.io/%0255d", 0);
	snprintf(path, sizeof(path), "/v2/%s/tags/list", name);
	CHECK(parse(path) == ERR_OK);
	CHECK_STR(route.name, name);
	snprintf(path, sizeof(path), "/v2/%0256d/tags/list", 0);
	CHECK(parse(path) == ERR_INVALID);
	snprintf(path, sizeof(path), "/v2/%0600d/tags/list", 0);
	CHECK(parse(path) == ERR_INVALID);
}

static void a_reference_with_a_colon_is_a_digest(void)
{
	static const char *const digests[] = {
	    "sha256:baddigeststring",
	    "sha256:",
	    ":",
	    "a:b",
	    "sha256%3Ax",
	    "md5:d41d8cd98f00b204e9800998ecf8427e",
	    "sha512:" HEX,
	    "sha256:" HEX "0",
	    "sha256:%2F",
	    "SHA256:" HEX,
	    "sha512:" HEX HEX HEX HEX,
	};
	char path[400];

	for (size_t i = 0; i < ARRAY_LEN(digests); i++) {
		snprintf(path, sizeof(path), "/v2/a/manifests/%s", digests[i]);
		invalid(path, ENDPOINT_MANIFEST, "DIGEST_INVALID");
		CHECK(route.reference == REFERENCE_DIGEST);
		CHECK_STR(route.name, "a");
		CHECK_STR(route.ref, "");
		snprintf(path, sizeof(path), "/v2/a/blobs/%s", digests[i]);
		invalid(path, ENDPOINT_BLOB, "DIGEST_INVALID");
	}
	invalid("/v2/a/blobs/latest", ENDPOINT_BLOB, "DIGEST_INVALID");
	invalid("/v2/a/referrers/latest", ENDPOINT_REFERRERS, "DIGEST_INVALID");
}

static void bad_tags_are_invalid(void)
{
	char path[400];

	invalid("/v2/a/manifests/.x", ENDPOINT_MANIFEST, "TAG_INVALID");
	invalid("/v2/a/manifests/x+y", ENDPOINT_MANIFEST, "TAG_INVALID");
	invalid("/v2/a/manifests/x%2Fy", ENDPOINT_MANIFEST, "TAG_INVALID");
	invalid("/v2/a/manifests/x%", ENDPOINT_MANIFEST, "TAG_INVALID");
	invalid("/v2/a/manifests/%00", ENDPOINT_MANIFEST, "TAG_INVALID");
	/* Decoded once, not twice. */
	invalid("/v2/a/manifests/%2541", ENDPOINT_MANIFEST, "TAG_INVALID");
	snprintf(path, sizeof(path), "/v2/a/manifests/%0129d", 0);
	invalid(path, ENDPOINT_MANIFEST, "TAG_INVALID");
	snprintf(path, sizeof(path), "/v2/a/manifests/%0300d", 0);
	invalid(path, ENDPOINT_MANIFEST, "TAG_INVALID");
	snprintf(path, sizeof(path), "/v2/a/manifests/%0128d", 0);
	CHECK(parse(path) == ERR_OK);
	CHECK(parse("/v2/a/manifests/%41") == ERR_OK);
	CHECK_STR(route.ref, "A");
}

static void uploads_that_cannot_be_ours_are_unknown(void)
{
	char path[400];

	CHECK(parse("/v2/a/blobs/uploads/x.y") == ERR_NOT_FOUND);
	CHECK(route.endpoint == ENDPOINT_UPLOAD);
	CHECK_STR(route.code, "BLOB_UPLOAD_UNKNOWN");
	CHECK(parse("/v2/a/blobs/uploads/..") == ERR_NOT_FOUND);
	CHECK(parse("/v2/a/blobs/uploads/%2e%2e") == ERR_NOT_FOUND);
	snprintf(path, sizeof(path), "/v2/a/blobs/uploads/%0129d", 0);
	CHECK(parse(path) == ERR_NOT_FOUND);
	snprintf(path, sizeof(path), "/v2/a/blobs/uploads/%0128d", 0);
	CHECK(parse(path) == ERR_OK);
}

static void paths_need_no_terminator(void)
{
	static const char path[] = "/v2/a/tags/list/manifests/x";

	CHECK(route_parse(path, 15, &route, NULL) == ERR_OK);
	CHECK(route.endpoint == ENDPOINT_TAGS);
	CHECK(route_parse(path, 4, &route, NULL) == ERR_OK);
	CHECK(route.endpoint == ENDPOINT_BASE);
	CHECK(route_parse("/v2/a\0/tags/list", 16, &route, NULL) ==
	      ERR_INVALID);
	CHECK(route_parse(NULL, 0, &route, NULL) == ERR_NOT_FOUND);
}

static void allowed(const char *path, const char *reads, const char *all)
{
	char text[ROUTE_ALLOW_MAX];

	CHECK(parse(path) == ERR_OK);
	CHECK_STR(route_allow(route.reads, text), reads);
	CHECK_STR(route_allow(route.reads | route.writes, text), all);
}

static void methods_are_told_per_endpoint(void)
{
	char text[ROUTE_ALLOW_MAX];

	allowed("/v2/", "GET, HEAD", "GET, HEAD");
	allowed("/v2/a/tags/list", "GET, HEAD", "GET, HEAD");
	allowed("/v2/a/blobs/" DG, "GET, HEAD", "GET, HEAD, DELETE");
	allowed("/v2/a/manifests/x", "GET, HEAD", "GET, HEAD, PUT, DELETE");
	allowed("/v2/a/blobs/uploads/", "", "POST");
	allowed("/v2/a/blobs/uploads/x", "", "GET, HEAD, PUT, PATCH, DELETE");
	CHECK_STR(route_allow(~0u, text),
		  "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
}

static void endpoints_have_names(void)
{
	for (int i = 0; i < ENDPOINT_LAST; i++)
		CHECK(endpoint_name((enum endpoint)i) != NULL);
	CHECK_STR(endpoint_name(ENDPOINT_MANIFEST), "manifest");
}

int main(void)
{
	RUN(every_endpoint_has_its_path);
	RUN(words_of_the_api_may_stand_in_names);
	RUN(other_paths_are_not_found);
	RUN(bad_names_are_invalid);
	RUN(names_have_room_for_a_host);
	RUN(a_reference_with_a_colon_is_a_digest);
	RUN(bad_tags_are_invalid);
	RUN(uploads_that_cannot_be_ours_are_unknown);
	RUN(paths_need_no_terminator);
	RUN(methods_are_told_per_endpoint);
	RUN(endpoints_have_names);
	return unit_done();
}
