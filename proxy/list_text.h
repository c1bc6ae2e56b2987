/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_LIST_TEXT_H
#define PROXY_LIST_TEXT_H
/*
 * Tag and referrers lists as text: what upstream gave, what the client gets,
 * and the queries and links by which they are paged.
 *
 * Pure functions over foreign bytes.  Reading a long list takes a while, so
 * loops leave list_tags() and list_referrers() to workers.
 */
#include "cache/digest.h"
#include "proxy/http_field.h"

/*
 * A list that grows; malloc'd text.
 *
 * Those of clients (list_..._begin) count in one sum of all, from before their
 * memory is taken until list_text_release(), and LIST_BUFFERED_MAX bounds it.
 * Short ones do not count, so that they never wait for who does not read a
 * long one.
 */
#define LIST_BUFFERED_MAX (32 * MIB)
#define LIST_SHORT (64 * KIB)
#define LIST_BUSY                                                              \
	"too many long lists are being sent at once; try again in a moment"

struct list_text {
	char *text;
	size_t len, cap;
	size_t n;       /* elements */
	size_t counted; /* in the sum */
	bool bounded;
	bool full; /* the sum was: what was added since is missing */
};
void list_text_add(struct list_text *l, const char *bytes, size_t len);
void list_text_release(struct list_text *l);
/* Count `cap` bytes now, to be used later.  False: no room.  Any thread. */
bool list_text_reserve(struct list_text *l, size_t cap) MUST_CHECK;

/* {"name":N,"tags":[...]} from tags one by one; names and tags need no
 * escapes.  The end gives back what is counted and not used. */
void list_tags_begin(struct list_text *l, const char *name);
void list_tags_add(struct list_text *l, const char *tag, size_t len);
void list_tags_end(struct list_text *l);

/* {"repositories":[...]} likewise. */
void list_names_begin(struct list_text *l);
void list_names_add(struct list_text *l, const char *name);
void list_names_end(struct list_text *l);

/* The index of referrers from descriptors one by one. */
void list_referrers_begin(struct list_text *l);
void list_referrers_add(struct list_text *l, const void *descriptor,
			size_t len);
void list_referrers_end(struct list_text *l);
/* Is this descriptor, as JSON text, of that artifact type? */
bool list_descriptor_is(const void *descriptor, size_t len,
			const char *artifact_type);

/* What a client gets. */
struct list_page {
	struct list_text text;
	/* The first tag, or the first referrer's digest; "" = none. */
	char first[DIGEST_TEXT_MAX];
};

/*
 * Upstream's page of tags, with `name` in place of its own; with `none`, of
 * no tags.  What is no tag is left out.  `out` is zeroes but for what is
 * reserved in out->text, which the caller releases, whatever is returned.
 * ERR_BAD_UPSTREAM: not such a list.  ERR_BUSY: no room.
 */
enum err list_tags(const void *buf, size_t len, const char *name, bool none,
		   struct list_page *out, struct why *why) MUST_CHECK;

/* An index of referrers, only those of `artifact_type` unless it is NULL;
 * likewise. */
enum err list_referrers(const void *buf, size_t len, const char *artifact_type,
			struct list_page *out, struct why *why) MUST_CHECK;

/*
 * A query without its parameters `drop` (NULL-terminated), still escaped,
 * into out[size].  ERR_INVALID: a byte that may not be in a query or in a
 * header's link.  ERR_TOO_BIG: does not fit.
 */
enum err list_query(struct span query, const char *const *drop, char *out,
		    size_t size) MUST_CHECK;

/* Percent-encode all but unreserved characters; false if it does not fit
 * into out[size], which is at least one byte. */
bool list_escape(const char *text, char *out, size_t size) MUST_CHECK;

#endif
