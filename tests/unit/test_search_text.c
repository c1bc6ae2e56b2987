/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/search_text.h"
#include "tests/unit/unit.h"

static struct search *new_search(const char *term, size_t max)
{
	struct search *s = xcalloc(1, sizeof(*s));

	search_init(s, term, max);
	return s;
}

/* The names in their order; the search is over. */
static const char *names(struct search *s)
{
	static char out[1024];

	out[0] = '\0';
	for (size_t i = 0; i < s->n; i++) {
		size_t len = strlen(out);

		snprintf(out + len, sizeof(out) - len, "%s ",
			 s->results[i].name);
	}
	search_release(s);
	free(s);
	return out;
}

/* Offers names until no more are wanted. */
static const char *find(const char *term, size_t max)
{
	static const char *const all[] = {"alp",
					  "docker.io/library/alpine",
					  "team/alpine-tools",
					  "team/app",
					  "team/deep/alp",
					  "x/alp/y"};
	struct search *s = new_search(term, max);

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (!search_offer(s, all[i]))
			break;
	return names(s);
}

static void what_is_called_so_comes_first(void)
{
	CHECK_STR(find("alp", 9), "alp team/deep/alp docker.io/library/alpine "
				  "team/alpine-tools x/alp/y ");
	CHECK_STR(find("alp", 3),
		  "alp team/deep/alp docker.io/library/alpine ");
	CHECK_STR(find("alp", 2), "alp team/deep/alp ");
	CHECK_STR(find("alp", 1), "alp ");
	CHECK_STR(find("team/app", 1), "team/app ");
	CHECK_STR(find("alpine", 1), "docker.io/library/alpine ");
}

static void each_word_is_in_the_name_in_whichever_case(void)
{
	CHECK_STR(find("TEAM alp", 9), "team/alpine-tools team/deep/alp ");
	CHECK_STR(find("  tools  alpine ", 9), "team/alpine-tools ");
	CHECK_STR(find("nothing", 9), "");
}

static void no_word_finds_the_first_names(void)
{
	CHECK_STR(find("", 2), "alp docker.io/library/alpine ");
	CHECK_STR(find("   ", 1), "alp ");
}

static const char *hub(const char *own, size_t max, const char *answer)
{
	struct search *s = new_search("a", max);

	if (own)
		(void)!search_offer(s, own);
	search_add_hub(s, answer, strlen(answer));
	return names(s);
}

#define RESULTS(list) "{\"results\":[" list "]}"

static void the_hubs_names_pull_from_here(void)
{
	CHECK_STR(hub("team/a", 9,
		      RESULTS("{\"name\":\"alpine\"},{\"name\":\"u/a\"}")),
		  "team/a docker.io/library/alpine docker.io/u/a ");
	CHECK_STR(hub("docker.io/library/alpine", 9,
		      RESULTS("{\"name\":\"alpine\"},{\"name\":\"u/a\"}")),
		  "docker.io/library/alpine docker.io/u/a ");
	CHECK_STR(hub("team/a", 2,
		      RESULTS("{\"name\":\"alpine\"},{\"name\":\"u/a\"}")),
		  "team/a docker.io/library/alpine ");
	CHECK_STR(hub("team/a", 1, RESULTS("{\"name\":\"alpine\"}")),
		  "team/a ");
}

static void what_is_no_answer_adds_nothing(void)
{
	CHECK_STR(hub("a", 9, ""), "a ");
	CHECK_STR(hub("a", 9, "[]"), "a ");
	CHECK_STR(hub("a", 9, "{\"results\":{\"name\":\"x\"}}"), "a ");
	CHECK_STR(hub("a", 9,
		      RESULTS("7,null,{},{\"name\":7},{\"name\":\"A\"},"
			      "{\"name\":\"../x\"},{\"name\":\"b\"}")),
		  "a docker.io/library/b ");
}

static void the_answer_is_what_docker_reads(void)
{
	struct search *s = new_search("al\"p", 9);
	struct list_text out = {0};
	static const char found[] = RESULTS(
	    "{\"name\":\"alpine\",\"description\":\"a \\\"b\\\" \xc3\xa9\","
	    "\"star_count\":12,\"is_official\":true,"
	    "\"is_automated\":true}");

	search_text(s, &out);
	CHECK(out.len > 0);
	list_text_add(&out, "", 1);
	CHECK_STR(out.text, "{\"query\":\"al\\u0022p\",\"num_results\":0,"
			    "\"results\":[]}\n");
	list_text_release(&out);
	s->words[0] = '\0';
	(void)!search_offer(s, "team/alp");
	search_add_hub(s, found, strlen(found));
	search_text(s, &out);
	list_text_add(&out, "", 1);
	CHECK_STR(out.text,
		  "{\"query\":\"al\\u0022p\",\"num_results\":2,\"results\":["
		  "{\"name\":\"team/alp\",\"description\":\"\","
		  "\"star_count\":0,\"is_official\":false,"
		  "\"is_automated\":false},"
		  "{\"name\":\"docker.io/library/alpine\","
		  "\"description\":\"a \\\"b\\\" \\u00E9\",\"star_count\":12,"
		  "\"is_official\":true,\"is_automated\":true}]}\n");
	list_text_release(&out);
	search_release(s);
	free(s);
}

int main(void)
{
	RUN(what_is_called_so_comes_first);
	RUN(each_word_is_in_the_name_in_whichever_case);
	RUN(no_word_finds_the_first_names);
	RUN(the_hubs_names_pull_from_here);
	RUN(what_is_no_answer_adds_nothing);
	RUN(the_answer_is_what_docker_reads);
	return unit_done();
}
