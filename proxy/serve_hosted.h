/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_SERVE_HOSTED_H
#define PROXY_SERVE_HOSTED_H
/*
 * The handlers of hosted repositories, beside those of mirrored ones in
 * request.h.  request.c has resolved the name and asked permit.h before it
 * calls one.
 */
#include "proxy/reply.h"

/* GET and HEAD (serve_hosted.c, serve_hosted_list.c). */
extern const struct handler serve_hosted_manifest, serve_hosted_blob,
    serve_hosted_tags, serve_hosted_referrers;

/* Upload sessions: POST, PATCH, PUT, DELETE, GET and HEAD (serve_upload.c). */
extern const struct handler serve_upload;

/* PUT of a manifest (push_manifest.c). */
extern const struct handler push_manifest;

/* DELETE of a manifest, tag or blob: from a hosted repository, or as a purge
 * of what is held of a mirrored one (serve_delete.c). */
extern const struct handler serve_delete;

/* GET and HEAD of /v2/_catalog (serve_catalog.c). */
extern const struct handler serve_catalog;

/* GET and HEAD of /v1/_ping and /v1/search (serve_search.c). */
extern const struct handler serve_search;

#endif
