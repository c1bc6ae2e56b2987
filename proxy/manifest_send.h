/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_MANIFEST_SEND_H
#define PROXY_MANIFEST_SEND_H
/*
 * A manifest as a reply: its exact bytes and type, conditions, Accept, HEAD.
 * serve_manifest.c decides which one and how fresh it is.
 */
#include "proxy/reply.h"

struct manifest_reply {
	struct digest dg;
	/* Asked by tag: Accept counts, and Age is of the check. */
	bool by_tag;
	bool hosted;         /* no copy of something elsewhere: it has no Age */
	uint64_t age_s;      /* by digest: of the fetch, set here */
	const char *warning; /* NULL: none */
};

/*
 * Send the stored manifest m->dg.  When it is not stored (any more) nothing
 * is sent and `lost` is called, at once or later.  `m` is copied but for its
 * warning, which lives as long as the request.
 */
void manifest_send(struct request *r, const struct manifest_reply *m,
		   void (*lost)(struct request *r));

/* Send one that is not stored: `bytes` NULL with HEAD, whose size is told by
 * upstream's own. */
void manifest_send_unstored(struct request *r, const struct manifest_reply *m,
			    const char *media_type, const void *bytes,
			    uint64_t size);

#endif
