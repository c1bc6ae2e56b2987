/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_SEARCH_TEXT_H
#define PROXY_SEARCH_TEXT_H
/*
 * A search and its results as Docker's v1 API has them:
 *
 *   {"query":"alp","num_results":1,"results":[{"name":"x/alpine",
 *    "description":"","star_count":0,"is_official":false,
 *    "is_automated":false}]}
 *
 * A name is found if it has each word of the term in it, in whichever case.
 * Those whose last component is the term come first, then all others in the
 * order in which they were found.
 *
 * Pure functions.
 */
#include "cache/name.h"
#include "proxy/list_text.h"

#define SEARCH_TERM_MAX 255
#define SEARCH_RESULTS_MAX 100
#define SEARCH_RESULTS_DEFAULT 25

struct search_result {
	char name[REPO_PATH_MAX + 1]; /* as it pulls from here */
	char *description;            /* NULL: none */
	uint64_t star_count;
	bool is_official, is_automated;
};

struct search {
	char term[SEARCH_TERM_MAX + 1];
	/* The term's words in lower case, each ending in a NUL. */
	char words[SEARCH_TERM_MAX + 2];
	size_t max;
	size_t n_exact; /* of the results, the first ones */
	size_t n;
	struct search_result results[SEARCH_RESULTS_MAX];
};

/* `max` is 1..SEARCH_RESULTS_MAX.  search_release() when done. */
void search_init(struct search *s, const char *term, size_t max);
void search_release(struct search *s);

/* Offer a name; the first that fit stay.  False: no other can change the
 * results. */
bool search_offer(struct search *s, const char *name);

/*
 * Take over what Docker Hub has found, behind our own and as it pulls from
 * here: "alpine" is docker.io/library/alpine.  What is no such answer adds
 * nothing.
 */
void search_add_hub(struct search *s, const char *buf, size_t len);

/* The answer. */
void search_text(const struct search *s, struct list_text *out);

#endif
