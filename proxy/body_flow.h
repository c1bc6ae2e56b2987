/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_BODY_FLOW_H
#define PROXY_BODY_FLOW_H
/*
 * A body that follows a growing file: what a flight writes is sent as it
 * comes, at the reader's own pace.
 */
#include "proxy/body.h"
#include "proxy/flow.h"
#include "proxy/mirror.h"

/*
 * Bytes [first, last] of the reader's blob; takes the reader.  If the disk
 * gives up, it goes on by passing bytes through from the upstream (proxy/
 * pass.h), for which it is told the names.  Serve loop.
 */
struct body *body_flow(struct mirror *m, const char *upstream, const char *repo,
		       struct flow_reader *STEALS r, uint64_t first,
		       uint64_t last) MUST_CHECK;

#endif
