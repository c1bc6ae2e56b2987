/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_NAMES_H
#define PROXY_NAMES_H
/*
 * Whose is this name?  The table of seven rows that decides, for a name in a
 * path and an optional `?ns=`, between a mirrored repository of a configured
 * upstream, a hosted repository, and neither.  Never what the cache happens to
 * hold: a name has one owner, by configuration or by a claim.
 *
 * The answer is the first row that holds:
 *
 *   1  ns is a configured upstream or alias         mirror of ns/N
 *   2  ns is neither that nor one of our own names  unknown; never dialled
 *   3  N begins with a configured upstream or alias mirror of it
 *   4  N is hosted by pattern, or claimed           hosted
 *   5  a default upstream is set, and N begins
 *      with another host                            unknown
 *   6  a default upstream is set                    mirror of default/N
 *   7  otherwise                                    hosted
 *
 * On docker.io one component gets "library/", in every row.
 */
#include "cache/name.h"

struct names_upstream {
	const char *name;     /* "docker.io", "localhost:5001" */
	char *const *aliases; /* docker.io's own two are known without */
	size_t n_aliases;
};

/*
 * What the table goes by; everything is borrowed, and must stay while it is
 * used.  Names of hosts are in the form of host_normalise(), patterns have
 * passed name_pattern_check().
 */
struct names_conf {
	const struct names_upstream *upstreams;
	size_t n_upstreams;
	char *const *own; /* the names that clients know us by */
	size_t n_own;
	char *const *hosted; /* patterns */
	size_t n_hosted;
	const char *default_upstream; /* NULL = none */
	/*
	 * Of the listener that the request came by; NULL = none.  There it is
	 * the default upstream, and rows 4 and 7 do not exist.
	 */
	const char *mirror_of;
	/* Was this name claimed by a push?  NULL: none ever was. */
	bool (*claimed)(void *arg, const char *name);
	void *claimed_arg;
};

enum names_kind {
	NAMES_UNKNOWN = 1, /* 404 NAME_UNKNOWN with `detail` */
	NAMES_MIRROR,
	NAMES_HOSTED,
};

struct names_answer {
	int row; /* 1 to 7 */
	enum names_kind kind;
	const char *upstream; /* of a mirror: its configured name, borrowed */
	char repo[REPO_NAME_MAX + 1]; /* as its owner calls it */
	bool claimed;                 /* row 4 by a claim, not by a pattern */
	/*
	 * Reply with `OCI-Namespace:` and ns as it was sent (it is a valid
	 * host then, and so may stand in a header).
	 */
	bool echo_namespace;
	struct why detail; /* of NAMES_UNKNOWN, and of errors */
};

/*
 * Look a name up.  `name` is a valid repo_path_valid(), as route_parse()
 * gives it; `ns` is the parameter's decoded value as received, or NULL.  (A
 * repeated ns is the caller's 400.)
 *
 * ERR_OK, also for NAMES_UNKNOWN.  ERR_INVALID: the row is decided, but what
 * it makes of the name breaks the grammar or is longer than 255 bytes, for
 * instance by "library/"; NAME_INVALID with `detail`.  Pure but for
 * `claimed`; any thread that may call that.
 */
enum err names_resolve(const struct names_conf *conf, const char *name,
		       const char *ns, struct names_answer *out) MUST_CHECK;

/*
 * What row 6 would make of a name that row 4 has taken by a claim: the
 * mirrored repository behind it, whose content a push to that name may build
 * on.  False: row 6 does not hold for it (no default upstream, a listener with
 * `mirror_of`, another host at its front).  Pure; any thread.
 */
bool names_shadow(const struct names_conf *conf, const char *name,
		  struct names_answer *out) MUST_CHECK;

#endif
