/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_MEMO_H
#define PROXY_MEMO_H
/*
 * What is remembered for some seconds, by a text key: an upstream's 404 of a
 * tag, a tag whose last check failed, a list.  Bounded by entries and by
 * bytes; what was put first goes first.
 *
 * Any thread: one mutex guards all of a memo and is held over memory only.
 */
#include "proxy/mirror.h"

struct memo;

struct memo *memo_new(size_t max_entries, uint64_t max_bytes) MUST_CHECK;
void memo_free(struct memo **m);

/*
 * Remember `key` for ttl_ms (0: forget it), with `body` (one more reference;
 * may be NULL) and `note` (may be NULL).  What is larger than the bound on
 * bytes is not remembered.
 */
void memo_put(struct memo *m, const char *key, uint64_t ttl_ms,
	      struct buffer *body, const char *note);

struct memo_found {
	struct buffer *body; /* the caller's reference; NULL = none */
	char note[ASK_QUERY_MAX];
};
/* False: nothing.  `out` may be NULL. */
bool memo_get(struct memo *m, const char *key, struct memo_found *out);

void memo_forget(struct memo *m, const char *key);
/* All keys that begin with it; looks at every entry. */
void memo_forget_prefix(struct memo *m, const char *prefix);

/* Without the mutex: spares the caller to build a key. */
bool memo_is_empty(const struct memo *m);

#endif
