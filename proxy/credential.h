/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_CREDENTIAL_H
#define PROXY_CREDENTIAL_H
/*
 * Who we are at an upstream: the configuration's user and password, an entry
 * of Docker's or podman's file, or what a credential helper says.
 *
 * Files are read and helpers run by workers.  What they said is kept for a
 * few seconds (files, which are read again only when they have changed) or
 * minutes (helpers); who asks meanwhile waits for the one job that runs.
 *
 * Fetch loop, unless said otherwise.
 */
#include "proxy/upstream.h"

struct jobs;

/* All NULL: anonymous.  Strings are owned, and wiped when released. */
struct credential {
	char *username, *password;
	char *identity_token; /* a refresh token; username may be there too */
	char *registry_token; /* a bearer token as it stands */
};
/* Overwrite and free a secret; leaves NULL. */
void secret_wipe(char **text);
void credential_release(struct credential *c);
void credential_copy(struct credential *out, const struct credential *c);
bool credential_is_none(const struct credential *c);

struct credentials;
struct credential_ask;

struct credentials *credentials_new(struct loop *l,
				    struct jobs *jobs) MUST_CHECK;
/* Nobody asks any more; a job that still runs frees itself. */
void credentials_free(struct credentials **cs);

/*
 * The credential for a repository at an upstream, if it is known without
 * asking: true sets *out (the caller releases it).
 */
bool credential_now(struct credentials *cs, struct upstream *up,
		    const char *repo, struct credential *out) MUST_CHECK;

/*
 * Ask.  The callback comes once, later than this call; ERR_OK: *found
 * (borrowed) may be anonymous, where the file or helper knows none.
 * Otherwise the file cannot be read or the helper fails; `why` says so.
 */
typedef void credential_cb(void *arg, enum err err,
			   const struct credential *found,
			   const struct why *why);
struct credential_ask *credential_ask(struct credentials *cs,
				      struct upstream *up, const char *repo,
				      credential_cb *cb, void *arg) MUST_CHECK;
void credential_cancel(struct credential_ask **ask);

/* ---- the file: pure, any thread ---- */

/* One entry for a host; `path` is "" or "ns/repo" (containers' auth.json). */
struct credential_entry {
	char *path;
	struct credential cred;
};
struct credential_list {
	struct credential_entry *v;
	size_t n;
	/* docker-credential-<helper> is to be asked for `server` first. */
	char *helper, *server;
};
void credential_list_release(struct credential_list *list);

/*
 * What the text of a config.json or auth.json says for the hosts in
 * `hosts[n]` (as "quay.io" or "localhost:5000"; the first that is there
 * counts).  docker.io and its aliases are also looked for under
 * "https://index.docker.io/v1/", others also with a scheme and /v1/ or /v2/.
 *
 * ERR_INVALID: not JSON, or an entry for this host that is garbled; `why`
 * never quotes the file.
 */
enum err credential_file_parse(const char *text, size_t len,
			       const char *const *hosts, size_t n,
			       struct credential_list *out,
			       struct why *why) MUST_CHECK;

/* The entry whose path is `repo` or the longest folder above it; NULL. */
const struct credential *credential_list_find(const struct credential_list *l,
					      const char *repo);

/*
 * What a helper printed: {"ServerURL", "Username", "Secret"}; the user
 * "<token>" means that the secret is an identity token.
 */
enum err credential_helper_parse(const char *text, size_t len,
				 struct credential *out,
				 struct why *why) MUST_CHECK;

/* What a helper is asked for: docker.io has the key of old. */
const char *credential_server(const char *host);

/* ---- blocking: workers only ---- */

/*
 * Run docker-credential-<helper> get, with `server` on its standard input,
 * for at most timeout_ms.  ERR_OK: *out, which is anonymous if the helper
 * says that it has none.
 */
enum err credential_helper_run(const char *helper, const char *server,
			       uint64_t timeout_ms, struct credential *out,
			       struct why *why) MUST_CHECK;

#endif
