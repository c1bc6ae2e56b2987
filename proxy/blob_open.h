/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_BLOB_OPEN_H
#define PROXY_BLOB_OPEN_H
/*
 * A stored blob's file for a request: at once if its descriptor is open, else
 * by a worker.
 */
#include "cache/blob.h"
#include "proxy/request.h"

struct blob_opening {
	struct digest dg;
	/* The request has the blob, with one pin; a hit for recency. */
	void (*opened)(struct request *r, struct blob *STEALS blob);
	/* There is no such blob (any more). */
	void (*lost)(struct request *r);
};

/* Exactly one of the two is called, now or later, while the request lives; or
 * a reply is sent, because the disk did not do its part.  `how` is copied.
 * Own loop. */
void blob_open(struct request *r, const struct blob_opening *how);

#endif
