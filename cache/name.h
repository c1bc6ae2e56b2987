/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_NAME_H
#define CACHE_NAME_H
/*
 * The grammars of repository names, tags and registry hosts, and the patterns
 * that a configuration writes over names and tags.
 *
 * Everything here is pure and works on foreign bytes: any thread, no
 * allocation, and time at most proportional to length(pattern) * length(text).
 */
#include "cache/err.h"

#define REPO_NAME_MAX 255
#define TAG_MAX 128
#define HOST_MAX 255
/* host "/" name, as in a path that carries the registry's host */
#define REPO_PATH_MAX (HOST_MAX + 1 + REPO_NAME_MAX)
#define NAME_PATTERN_MAX 255
#define TAG_PATTERN_MAX 255

/*
 * OCI distribution-spec, "Pulling manifests": "<name> MUST match
 * [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*".
 * At most REPO_NAME_MAX bytes.
 */
bool repo_name_valid(const char *text, size_t len);

/*
 * A repository as it may stand in a request path: a name, or a registry's
 * host, "/" and a name, where each part keeps to its own limit.  This is
 * wider than repo_name_valid() in two ways only: the host may have a port
 * ("localhost:5001/img", "[::1]:5000/img"), and a host that contains "." does
 * not count against the 255 bytes of the name behind it.
 */
bool repo_path_valid(const char *text, size_t len);

/* Length of the first component of a name: up to "/" or the end. */
size_t repo_first_component(const char *text, size_t len);

/*
 * Would a client take this first component for a registry's host?  True if
 * it contains "." or ":", or is "localhost".
 */
bool component_is_host(const char *text, size_t len);

/* "<reference> as a tag MUST match [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}". */
bool tag_valid(const char *text, size_t len);

/*
 * Write the normal form of a registry's host into out[HOST_MAX + 1]: lower
 * case, ":443" dropped, IPv6 in brackets in its shortest form.  Accepted are
 * a domain name, an IPv4 address or a bracketed IPv6 address, each with an
 * optional port from 1 to 65535 without leading zeros.
 *
 * ERR_INVALID: it is none of these; *out is untouched.  The output has only
 * letters, digits and "-.:[]", so it may go into a header or a file name.
 */
enum err host_normalise(const char *text, size_t len, char *out) MUST_CHECK;

/*
 * Patterns over repository names: literal components, "*" for exactly one
 * component, "**" for one or more.  "team/" "**" matches team/a and team/a/b,
 * not team.  The check says what is wrong in `why`; a pattern that fails it
 * matches nothing in particular.
 */
enum err name_pattern_check(const char *pattern, struct why *why) MUST_CHECK;
bool name_pattern_match(const char *pattern, const char *name);

/*
 * Patterns over tags: "*" is any run of characters, also none; everything
 * else stands for itself ("v*", "*-alpine", "latest").
 */
enum err tag_pattern_check(const char *pattern, struct why *why) MUST_CHECK;
bool tag_pattern_match(const char *pattern, const char *tag);

#endif
