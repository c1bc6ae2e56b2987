/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/manifest.h"
#include "tests/unit/unit.h"

#define OCI_INDEX "application/vnd.oci.image.index.v1+json"
#define OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define OCI_ARTIFACT "application/vnd.oci.artifact.manifest.v1+json"
#define OCI_CONFIG "application/vnd.oci.image.config.v1+json"
#define OCI_LAYER "application/vnd.oci.image.layer.v1.tar+gzip"
#define DOCKER "application/vnd.docker.distribution.manifest."
#define DOCKER_V2 DOCKER "v2+json"
#define DOCKER_LIST DOCKER "list.v2+json"
#define FOREIGN "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
#define NONDIST "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"

#define HEX0 "0000000000000000000000000000000000000000000000000000000000000000"
#define HEX1 "1111111111111111111111111111111111111111111111111111111111111111"
#define HEX2 "2222222222222222222222222222222222222222222222222222222222222222"
#define D0 "sha256:" HEX0
#define D1 "sha256:" HEX1
#define D2 "sha512:" HEX2 HEX2
/* A descriptor, open for more keys. */
#define DESC(type, dg, size)                                                   \
	"{\"mediaType\":\"" type "\",\"digest\":\"" dg "\",\"size\":" #size
#define CONFIG "\"config\":" DESC(OCI_CONFIG, D0, 7) "}"
#define TYPED(type) "{\"schemaVersion\":2,\"mediaType\":\"" type "\","

static struct why why;

static enum err parse(const char *json, const char *type,
		      struct manifest_facts *out)
{
	why.text[0] = '\0';
	return manifest_parse(json, strlen(json), 4 * MIB, type, out, &why);
}

/* Refused, with a sentence that has `word` in it. */
static bool refused(const char *json, const char *type, const char *word)
{
	struct manifest_facts facts;

	if (parse(json, type, &facts) != ERR_INVALID || facts.json ||
	    facts.children) {
		manifest_facts_release(&facts);
		return false;
	}
	if (!strstr(why.text, word))
		fprintf(stderr, "\"%s\" lacks \"%s\"\n", why.text, word);
	return strstr(why.text, word) != NULL;
}

static enum manifest_kind kind_of(const char *json, const char *type)
{
	struct manifest_facts facts;
	enum manifest_kind kind = 0;

	if (parse(json, type, &facts) == ERR_OK)
		kind = facts.kind;
	manifest_facts_release(&facts);
	return kind;
}

static void an_image_names_its_config_and_layers(void)
{
	static const char json[] = TYPED(OCI_MANIFEST) CONFIG
	    ",\"layers\":[" DESC(OCI_LAYER, D1, 100) "}," DESC(
		FOREIGN, D1,
		5) "}," DESC(NONDIST, D1,
			     5) "}," DESC(OCI_LAYER, D2,
					  9) ",\"urls\":[\"https://"
					     "x\"]}," DESC(
						 OCI_LAYER, D2,
						 9223372036854775807) ",\"urls"
								      "\":[]}]"
								      "}";
	struct manifest_facts facts;
	struct digest dg;

	CHECK(parse(json, OCI_MANIFEST, &facts) == ERR_OK);
	CHECK(facts.kind == MANIFEST_IMAGE);
	CHECK_STR(facts.media_type, OCI_MANIFEST);
	CHECK(facts.n_children == 6);
	CHECK(facts.children[0].role == CHILD_CONFIG);
	CHECK(facts.children[0].size == 7);
	CHECK_STR(facts.children[0].media_type, OCI_CONFIG);
	CHECK(facts.children[1].role == CHILD_LAYER);
	CHECK(digest_parse(D1, strlen(D1), &dg) == ERR_OK);
	CHECK(digest_equal(&facts.children[1].dg, &dg));
	CHECK(!facts.children[1].foreign && facts.children[2].foreign);
	CHECK(facts.children[3].foreign && facts.children[4].foreign);
	CHECK(!facts.children[5].foreign);
	CHECK(facts.children[5].size == INT64_MAX);
	CHECK(facts.children[5].dg.alg == DIGEST_SHA512);
	CHECK(!facts.has_subject);
	CHECK(facts.annotations == NULL);
	CHECK_STR(facts.artifact_type, OCI_CONFIG);
	manifest_facts_release(&facts);
	CHECK(facts.children == NULL && facts.json == NULL);
}

static void an_index_names_manifests_and_blobs(void)
{
	static const char json[] = TYPED(OCI_INDEX) "\"manifests\":[" DESC(
	    OCI_MANIFEST, D0,
	    1) ",\"platform\":{\"os\":\"linux\","
	       "\"architecture\":\"arm\",\"variant\":\"v7\"}}," DESC(
		   OCI_INDEX, D1,
		   2) "}," DESC("application/vnd.buildkit.cacheconfig.v0", D2,
				3) "}]}";
	struct manifest_facts facts;

	CHECK(parse(json, NULL, &facts) == ERR_OK);
	CHECK(facts.kind == MANIFEST_INDEX);
	CHECK(facts.n_children == 3);
	CHECK(facts.children[0].role == CHILD_MANIFEST);
	CHECK_STR(facts.children[0].os, "linux");
	CHECK_STR(facts.children[0].arch, "arm");
	CHECK_STR(facts.children[0].variant, "v7");
	CHECK(facts.children[1].role == CHILD_MANIFEST);
	CHECK_STR(facts.children[1].os, "");
	CHECK(facts.children[2].role == CHILD_BLOB);
	CHECK(facts.artifact_type == NULL);
	manifest_facts_release(&facts);
}

static void an_artifact_names_its_blobs(void)
{
	static const char json[] =
	    "{\"mediaType\":\"" OCI_ARTIFACT "\","
	    "\"artifactType\":\"a/b\",\"blobs\":[" DESC(
		"x/y", D0, 1) "}],"
			      "\"subject\":" DESC(OCI_MANIFEST, D1, 2) "}}";
	struct manifest_facts facts;

	CHECK(parse(json, OCI_ARTIFACT, &facts) == ERR_OK);
	CHECK(facts.kind == MANIFEST_ARTIFACT);
	CHECK(facts.n_children == 1);
	CHECK(facts.children[0].role == CHILD_BLOB);
	CHECK(facts.has_subject);
	CHECK_STR(facts.artifact_type, "a/b");
	manifest_facts_release(&facts);
}

static void types_come_from_header_then_body_then_shape(void)
{
	struct manifest_facts facts;

	CHECK(kind_of("{" CONFIG "}", OCI_MANIFEST) == MANIFEST_IMAGE);
	CHECK(kind_of("{" CONFIG "}", DOCKER_V2 "; charset=utf-8") ==
	      MANIFEST_IMAGE);
	CHECK(kind_of(TYPED(DOCKER_LIST) "\"manifests\":[]}", NULL) ==
	      MANIFEST_INDEX);
	CHECK(kind_of(TYPED(DOCKER_LIST) "\"manifests\":[]}", "") ==
	      MANIFEST_INDEX);
	CHECK(kind_of("{\"manifests\":[]}", NULL) == MANIFEST_INDEX);
	CHECK(kind_of("{" CONFIG ",\"layers\":[]}", NULL) == MANIFEST_IMAGE);
	CHECK(kind_of("{\"manifests\":null," CONFIG "}", NULL) ==
	      MANIFEST_IMAGE);

	CHECK(parse("{" CONFIG "}", " " DOCKER_V2 " ;q=1", &facts) == ERR_OK);
	CHECK_STR(facts.media_type, DOCKER_V2);
	manifest_facts_release(&facts);
	CHECK(parse("{\"manifests\":[]}", NULL, &facts) == ERR_OK);
	CHECK_STR(facts.media_type, OCI_INDEX);
	manifest_facts_release(&facts);
}

static void types_that_disagree_are_refused(void)
{
	CHECK(refused(TYPED(OCI_MANIFEST) CONFIG "}", DOCKER_V2,
		      "Content-Type is " DOCKER_V2));
	CHECK(refused(TYPED(OCI_MANIFEST) CONFIG "}", "application/json",
		      "mediaType is"));
	CHECK(refused("{}", NULL, "neither"));
	CHECK(refused("{\"mediaType\":7}", NULL, "mediaType"));
	CHECK(refused("{\"mediaType\":\"\"}", NULL, "mediaType"));
	CHECK(refused("{\"mediaType\":\"a/b\\r\\nX: y\"}", NULL, "mediaType"));
	CHECK(refused("{\"mediaType\":\"a/b\\u0000c\"}", NULL, "mediaType"));
	CHECK(refused("{}", "nonsense", "Content-Type"));
	CHECK(refused("{}", "a/b/c", "Content-Type"));
}

static void one_document_is_not_two(void)
{
	CHECK(refused(TYPED(OCI_MANIFEST) CONFIG ",\"manifests\":[]}", NULL,
		      "an image, but"));
	CHECK(
	    refused(TYPED(OCI_INDEX) "\"layers\":[]}", NULL, "an index, but"));
	CHECK(refused(TYPED(OCI_INDEX) CONFIG "}", NULL, "an index, but"));
	CHECK(refused("{\"manifests\":[]," CONFIG "}", NULL, "an index, but"));
	CHECK(refused(TYPED(OCI_MANIFEST) "\"layers\":[]}", NULL,
		      "without a config"));
	CHECK(refused("{\"schemaVersion\":3," CONFIG "}", OCI_MANIFEST,
		      "schemaVersion"));
	CHECK(refused("{" CONFIG "," CONFIG "}", OCI_MANIFEST, "not JSON"));
	CHECK(refused(TYPED(OCI_INDEX) "\"manifests\":[{\"digest\":\"" D0
				       "\",\"digest\":\"" D1 "\"}]}",
		      NULL, "not JSON"));
}

static void unknown_types_are_opaque(void)
{
	struct manifest_facts facts;

	CHECK(parse("{\"mediaType\":\"application/vnd.x+json\","
		    "\"layers\":7,\"config\":[],\"subject\":1}",
		    NULL, &facts) == ERR_OK);
	CHECK(facts.kind == MANIFEST_OPAQUE);
	CHECK_STR(facts.media_type, "application/vnd.x+json");
	CHECK(facts.n_children == 0 && !facts.has_subject);
	manifest_facts_release(&facts);
}

static void schema1_is_recognised(void)
{
	static const char json[] = "{\"schemaVersion\":1,\"name\":\"a\","
				   "\"fsLayers\":[],\"signatures\":[]}";

	CHECK(kind_of(json, NULL) == MANIFEST_SCHEMA1);
	CHECK(kind_of(json, "application/json") == MANIFEST_SCHEMA1);
	CHECK(kind_of(json, DOCKER "v1+prettyjws") == MANIFEST_SCHEMA1);
	CHECK(kind_of(json, DOCKER "v1+json") == MANIFEST_SCHEMA1);
	CHECK(refused(json, OCI_MANIFEST, "schemaVersion"));
}

static void what_is_not_a_json_object_is_refused(void)
{
	struct manifest_facts facts;

	CHECK(refused("", OCI_MANIFEST, "empty"));
	CHECK(refused(" ", OCI_MANIFEST, "not JSON"));
	CHECK(refused("nonsense", OCI_MANIFEST, "not JSON"));
	CHECK(refused("{} trailing", OCI_MANIFEST, "not JSON"));
	CHECK(refused("[]", OCI_MANIFEST, "not a JSON object"));
	CHECK(refused("{\"a\":\"\xff\"}", OCI_MANIFEST, "not JSON"));
	CHECK(manifest_parse("{}", 2, 1, NULL, &facts, &why) == ERR_TOO_BIG);
	CHECK(strstr(why.text, "2 bytes") != NULL);
	CHECK(manifest_parse(NULL, 0, 1, NULL, &facts, NULL) == ERR_INVALID);
}

static char *nested(size_t depth)
{
	char *json = xmalloc(2 * depth + 16), *p = json;

	p += snprintf(p, 16, "{\"x\":");
	memset(p, '[', depth);
	memset(p + depth, ']', depth);
	memcpy(p + 2 * depth, "}", 2);
	return json;
}

static void depth_and_number_of_values_are_bounded(void)
{
	char *deep = nested(100000), *fine = nested(MANIFEST_DEPTH_MAX - 1);
	size_t n = 2 * MIB;
	char *many = xmalloc(n + 1);

	CHECK(refused(deep, "a/b", "levels"));
	CHECK(kind_of(fine, "a/b") == MANIFEST_OPAQUE);
	memset(many, ',', n);
	many[n] = '\0';
	for (size_t i = 1; i < n; i += 2)
		many[i] = '0';
	many[0] = '[';
	CHECK(refused(many, "a/b", "values"));
	/* Inside a string brackets and commas are only text. */
	memset(many, '[', n);
	memcpy(many, "{\"\\\"\":\"", 7);
	memcpy(many + n - 4, "\\\"\"}", 4);
	CHECK(kind_of(many, "a/b") == MANIFEST_OPAQUE);
	free(deep);
	free(fine);
	free(many);
}

#define LAYER(text) "{" CONFIG ",\"layers\":[" text "]}"

static void broken_descriptors_are_refused(void)
{
	static const struct {
		const char *json, *word;
	} cases[] = {
	    {LAYER("7"), "layers[0] is not a descriptor"},
	    {LAYER("null"), "layers[0] is not a descriptor"},
	    {LAYER("{}"), "digest of layers[0] is missing"},
	    {LAYER("{\"digest\":7}"), "missing"},
	    {LAYER(DESC("a/b", D0, 1) "}," DESC("a/b", "sha256:00", 1) "}"),
	     "digest of layers[1] is malformed"},
	    {LAYER(DESC("a/b", "00", 1) "}"), "malformed"},
	    {LAYER(DESC("a/b", "md5:", 1) "}"), "malformed"},
	    {LAYER(DESC("a/b", ":00", 1) "}"), "malformed"},
	    {LAYER(DESC("a/b", "a+:00", 1) "}"), "malformed"},
	    {LAYER(DESC("a/b", "MD5:00", 1) "}"), "malformed"},
	    {LAYER(DESC("a/b", "md5:0/0", 1) "}"), "malformed"},
	    {LAYER(DESC("a/b", D0, -1) "}"), "size of layers[0]"},
	    {LAYER(DESC("a/b", D0, 1.5) "}"), "size of layers[0]"},
	    {LAYER(DESC("a/b", D0, "1") "}"), "size of layers[0]"},
	    {LAYER(DESC("a/b", D0, null) "}"), "size of layers[0]"},
	    {LAYER(DESC("a/b", D0, 9223372036854775808) "}"), "not JSON"},
	    {"{" CONFIG ",\"layers\":{}}", "\"layers\" is not a list"},
	    {"{\"config\":[]}", "config is not a descriptor"},
	    {"{" CONFIG ",\"subject\":[]}", "\"subject\" is not an object"},
	    {"{" CONFIG ",\"subject\":{}}", "digest of subject"},
	    {"{" CONFIG ",\"artifactType\":1}", "\"artifactType\""},
	    {"{" CONFIG ",\"annotations\":[]}", "\"annotations\""},
	    {"{" CONFIG ",\"annotations\":{\"k\":1}}", "annotation \"k\""},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		CHECK(refused(cases[i].json, OCI_MANIFEST, cases[i].word));
}

static void children_of_other_algorithms_are_skipped(void)
{
	static const char json[] =
	    "{" CONFIG
	    ",\"layers\":[" DESC("a/b", "blake3:abc_-=", 4) "}," DESC(
		"a/b", "sha256+b64u:LCa0",
		5) "}," DESC("a/b", D1,
			     6) "}],\"subject\":" DESC("a/b", "md5:00", 1) "}}";
	struct manifest_facts facts;

	CHECK(parse(json, OCI_MANIFEST, &facts) == ERR_OK);
	CHECK(facts.n_children == 4);
	CHECK(!facts.children[0].skipped);
	CHECK(facts.children[1].skipped && facts.children[1].dg.alg == 0);
	CHECK(facts.children[2].skipped && facts.children[2].size == 5);
	CHECK(!facts.children[3].skipped);
	CHECK(!facts.has_subject);
	manifest_facts_release(&facts);
}

static void odd_texts_are_as_absent(void)
{
	static const char json[] = "{\"manifests\":[" DESC(
	    "not a type", D0,
	    1) ",\"platform\":{\"os\":7}},"
	       "{\"digest\":\"" D0 "\",\"size\":1,\"platform\":[]}," DESC(
		   "a/b", D0, 1) ",\"platform\":{\"os\":\"a\\u0000b\"}}]}";
	struct manifest_facts facts;

	CHECK(parse(json, NULL, &facts) == ERR_OK);
	CHECK(facts.n_children == 3);
	for (size_t i = 0; i < facts.n_children; i++)
		CHECK_STR(facts.children[i].os, "");
	CHECK_STR(facts.children[0].media_type, "");
	CHECK_STR(facts.children[1].media_type, "");
	CHECK_STR(facts.children[2].media_type, "a/b");
	manifest_facts_release(&facts);
}

static void descriptor_is(const char *json, const char *want)
{
	struct manifest_facts facts;
	struct digest dg;
	char *got;

	CHECK(digest_parse(D0, strlen(D0), &dg) == ERR_OK);
	CHECK(parse(json, NULL, &facts) == ERR_OK);
	CHECK(facts.has_subject);
	got = manifest_referrer_descriptor(&facts, &dg, 42);
	CHECK_STR(got, want);
	free(got);
	manifest_facts_release(&facts);
}

#define SUBJECT "\"subject\":" DESC(OCI_MANIFEST, D1, 2) "}"
#define REFERRER(type)                                                         \
	"{\"mediaType\":\"" type "\",\"digest\":\"" D0 "\",\"size\":42"

static void referrers_are_described(void)
{
	descriptor_is(TYPED(OCI_MANIFEST) CONFIG "," SUBJECT "}",
		      REFERRER(OCI_MANIFEST) ",\"artifactType\":\"" OCI_CONFIG
					     "\"}");
	descriptor_is(
	    TYPED(OCI_MANIFEST) CONFIG ",\"artifactType\":\"\"," SUBJECT "}",
	    REFERRER(OCI_MANIFEST) ",\"artifactType\":\"" OCI_CONFIG "\"}");
	descriptor_is(TYPED(OCI_MANIFEST) CONFIG
		      ",\"artifactType\":\"x/y\"," SUBJECT
		      ",\"annotations\":{\"b\":\"\\\"\",\"a\":\"\\u0000\"}}",
		      REFERRER(OCI_MANIFEST) ",\"artifactType\":\"x/y\","
					     "\"annotations\":{\"b\":\"\\\"\","
					     "\"a\":\"\\u0000\"}}");
	descriptor_is(TYPED(OCI_INDEX) "\"manifests\":null," SUBJECT
				       ",\"annotations\":{}}",
		      REFERRER(OCI_INDEX) "}");
}

static void annotations_are_kept_as_json(void)
{
	struct manifest_facts facts;

	CHECK(parse("{" CONFIG ",\"annotations\":{ \"k\" : \"v\" }}",
		    OCI_MANIFEST, &facts) == ERR_OK);
	CHECK_STR(facts.annotations, "{\"k\":\"v\"}");
	manifest_facts_release(&facts);
}

static void upstreams_are_asked_for_all_that_we_know(void)
{
	CHECK_STR(manifest_accept_list(),
		  OCI_INDEX ", " DOCKER_LIST ", " OCI_MANIFEST ", " DOCKER_V2);
	CHECK(manifest_type_kind("Application/VND.oci.image.index.v1+json") ==
	      MANIFEST_INDEX);
	CHECK(manifest_type_kind("application/json") == MANIFEST_OPAQUE);
	CHECK(manifest_type_kind("") == MANIFEST_OPAQUE);
}

int main(void)
{
	RUN(an_image_names_its_config_and_layers);
	RUN(an_index_names_manifests_and_blobs);
	RUN(an_artifact_names_its_blobs);
	RUN(types_come_from_header_then_body_then_shape);
	RUN(types_that_disagree_are_refused);
	RUN(one_document_is_not_two);
	RUN(unknown_types_are_opaque);
	RUN(schema1_is_recognised);
	RUN(what_is_not_a_json_object_is_refused);
	RUN(depth_and_number_of_values_are_bounded);
	RUN(broken_descriptors_are_refused);
	RUN(children_of_other_algorithms_are_skipped);
	RUN(odd_texts_are_as_absent);
	RUN(referrers_are_described);
	RUN(annotations_are_kept_as_json);
	RUN(upstreams_are_asked_for_all_that_we_know);
	return unit_done();
}
