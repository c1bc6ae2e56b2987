/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_LIST_PAGE_H
#define PROXY_LIST_PAGE_H
/*
 * Pages of lists: what a client asks for (`n`, `last`), what the index holds
 * of a repository's tags, and the link to the next page.
 *
 * OCI distribution-spec, "Listing Tags": tags "MUST be in lexical order";
 * `last` is exclusive and need not exist; "n=0" is an empty list without a
 * link; less than `n` only with a link or at the end.
 */
#include "proxy/list_text.h"
#include "proxy/request.h"

/* Elements in one page at most, whatever `n` says. */
#define LIST_PAGE_MAX 10000
#define LIST_NEXT_MAX 2048

struct list_ask {
	uint64_t n; /* at most so many, when has_n */
	bool has_n;
	bool has_last;
	char last[REPO_PATH_MAX + 1]; /* after this one, decoded */
};

/* Read `n` and `last`.  False: a 400 has been sent. */
bool list_page_read(struct request *r, struct list_ask *out) MUST_CHECK;

/*
 * The tags that repository `repo` holds after ask->last, gone ones left out,
 * as the text of a reply for `name`.  `next` becomes the query of the next
 * page, "" at the end.  Caller releases out->text.  Inside a snapshot.
 * ERR_OK, ERR_IO, ERR_BUSY: no room.
 */
enum err list_page_tags(struct index_txn *txn, uint64_t repo, const char *name,
			const struct list_ask *ask, struct list_page *out,
			char next[LIST_NEXT_MAX]) MUST_CHECK;

/*
 * The header of the next page, whose query is `next`.  Relative and with the
 * client's own path, because clients refuse another host, and know this
 * repository by their name for it; its `ns` stays.
 */
void list_page_link(struct request *r, const char *next);

/*
 * A worker runs `job`, as request_submit() says, but never two such jobs at
 * once: the other workers are left to the blobs.
 */
void list_page_submit(const struct request *r, struct job *job);

/* Send the list after the reply's head.  Takes what it holds, and gives its
 * room back when it has been sent or the client has left. */
void list_page_send(struct request *r, struct list_text *text);

/* The reply where the index held no list: ERR_IO, ERR_BUSY. */
void list_page_failed(struct request *r, enum err err);

#endif
