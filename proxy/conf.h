/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_CONF_H
#define PROXY_CONF_H
/*
 * The configuration: one JSON file, the flags that override it, and the
 * immutable result that everybody reads.
 *
 * proxy/conf.def is the one table of options (type, unit, default, reloadable,
 * help).  It fills the struct below, names the nearest key when one is
 * misspelt, prints itself, and tells what a reload cannot change.
 *
 * Lifetime: conf_load() makes a struct conf with one reference; from then on
 * nobody writes to it.  A reload makes another one: whoever works with the old
 * one keeps his reference until he is done.  Options that are not reloadable
 * are read once, at start; after a reload the new struct may say something
 * else about them than what runs (conf_diff_reload() names them for the log).
 *
 * Units: *_ms are milliseconds, *_bytes are bytes, counts have neither.
 * Every list is `v` with `n` elements.
 */
#include "cache/err.h"

#include <netinet/in.h>
#include <sys/socket.h>

/* Endpoints of one upstream, at most: they fit a 32-bit mask. */
#define CONF_ENDPOINTS_MAX 32
/* "unlimited" in sizes, rates and ages; "never" in checks. */
#define CONF_UNLIMITED UINT64_MAX
#define CONF_CHECK_NEVER UINT64_MAX
/* "always" in checks: an answer of any age is too old. */
#define CONF_CHECK_ALWAYS 0

enum conf_log_level {
	CONF_LOG_ERROR,
	CONF_LOG_WARN,
	CONF_LOG_INFO,
	CONF_LOG_DEBUG
};
enum conf_gone { CONF_GONE_KEEP, CONF_GONE_FOLLOW };
enum conf_private { CONF_PRIVATE_DENY, CONF_PRIVATE_SHARE };

/* Whose push may make a name hosted that would be mirrored otherwise. */
enum conf_claim { CONF_CLAIM_LOOPBACK, CONF_CLAIM_PUSH, CONF_CLAIM_NONE };

/* What peers that are not loopback may do; bits. */
enum conf_may { CONF_MAY_PULL = 1, CONF_MAY_PUSH = 2, CONF_MAY_DELETE = 4 };

/* Events that an endpoint wants; bits. */
enum conf_event {
	CONF_EVENT_PULL = 1,
	CONF_EVENT_PUSH = 2,
	CONF_EVENT_DELETE = 4,
	CONF_EVENT_MOUNT = 8
};

/* Where an upstream's credentials come from. */
enum conf_credentials {
	CONF_CRED_AUTO, /* never in a loaded conf: it becomes one of these */
	CONF_CRED_NONE, /* anonymous */
	CONF_CRED_PASSWORD, /* `username` and `password` */
	CONF_CRED_DOCKER,   /* looked up in `docker_config` at each use */
	CONF_CRED_HELPER    /* docker-credential-<credential_helper> get */
};

struct conf_strings {
	char **v;
	size_t n;
};

/* A socket address to listen on; port 0 lets the kernel choose. */
struct conf_listen {
	char *text; /* "127.0.0.1:5000", "[::]:5000" */
	struct sockaddr_storage addr;
	socklen_t addr_len;
	char *mirror_of; /* NULL, or the name of a configured upstream */
};
struct conf_listens {
	struct conf_listen *v;
	size_t n;
};

/* An absolute URL without user, query and fragment. */
struct conf_url {
	char *text; /* normalised: lower-case scheme and host, no default
		       port, no slash at the end */
	char *scheme;
	char *host; /* as in the URL, an IPv6 address without its brackets */
	uint16_t port;
	char *path; /* "" or "/prefix" */
	bool https;
};
struct conf_urls {
	struct conf_url *v;
	size_t n;
};

/*
 * One entry of redirect_allow: a network ("10.0.0.0/8", "192.0.2.7"), a host
 * ("cdn.example", "*.example" for anything below), either of them with a port.
 */
struct conf_allow {
	char *text;
	char *host;       /* NULL for a network; without the "*." */
	bool below;       /* "*." was there */
	uint16_t port;    /* 0 = any */
	int family;       /* AF_INET or AF_INET6 for a network, else 0 */
	uint8_t addr[16]; /* network order; 4 bytes used for AF_INET */
	unsigned bits;
};
struct conf_allows {
	struct conf_allow *v;
	size_t n;
};

/* How long a tag that matches may be served without asking. */
struct conf_tag {
	char *match; /* '*' is any run of characters */
	uint64_t check_ms;
};
struct conf_tags {
	struct conf_tag *v;
	size_t n;
};

/* Tags that no push moves. */
struct conf_tag_rule {
	char *repo; /* a name pattern */
	char *tags; /* a tag pattern */
};
struct conf_tag_rules {
	struct conf_tag_rule *v;
	size_t n;
};

/* A header to send.  Names are checked tokens, values are secrets: never log
 * them. */
struct conf_header {
	char *name, *value;
};
struct conf_headers {
	struct conf_header *v; /* a name may stand here more than once */
	size_t n;
};

/* One receiver of events.  Every field is an option of conf.def. */
struct conf_hook {
	char *name; /* unique */
	char *url;  /* with its query, which may be a secret: log the name */
	struct conf_headers headers;
	uint32_t actions;                 /* enum conf_event */
	struct conf_strings repositories; /* patterns; none = all */
	char *ca;                         /* PEM file, NULL = the system's */
	bool insecure;                    /* its certificate is not checked */
	uint64_t timeout_ms;
	uint64_t retry_min_ms;
	uint64_t retry_max_ms;
};
struct conf_hooks {
	struct conf_hook *v;
	size_t n;
};

/* One registry that we mirror.  Every field is an option of conf.def. */
struct conf_upstream {
	char *name;                  /* "docker.io", "localhost:5001" */
	struct conf_strings aliases; /* built-in ones included */
	struct conf_urls endpoints;  /* at least one; tried in this order */
	char *prefix; /* NULL, or path components put before each name */
	bool offline;

	/* freshness */
	uint64_t check_ms; /* use conf_check_ms(), which knows the tags */
	struct conf_tags tags;
	uint64_t freshness_ms;
	uint64_t stale_hold_ms;
	uint64_t max_stale_ms;  /* CONF_UNLIMITED */
	uint64_t max_denied_ms; /* CONF_UNLIMITED */
	uint64_t negative_ms;
	uint64_t list_ms;
	int gone; /* enum conf_gone */

	/* identity */
	int credentials; /* enum conf_credentials */
	char *username;
	char *password; /* a secret; from password_file too */
	char *password_file;
	char *docker_config;              /* set when CONF_CRED_DOCKER */
	char *credential_helper;          /* set when CONF_CRED_HELPER */
	struct conf_strings token_realms; /* hosts; built-in ones included */
	struct conf_allows redirect_allow;
	int private_content; /* enum conf_private */
	uint64_t public_check_ms;

	/* transport */
	char *ca; /* PEM file, NULL = the system's */
	char *client_cert;
	char *client_key;        /* NULL: in client_cert */
	bool insecure;           /* certificates are not checked */
	bool proxy_env;          /* use the environment's proxy variables */
	char *proxy;             /* NULL = direct, unless proxy_env */
	uint64_t max_rate_bytes; /* per second; CONF_UNLIMITED */
	uint32_t connections;    /* blob transfers at once, per endpoint */
	uint32_t api_connections;
	uint32_t max_redirects;

	/* deadlines */
	uint64_t resolve_ms;
	uint64_t connect_ms;
	uint64_t first_byte_ms;
	uint64_t stall_ms;
	uint64_t answer_ms;
	uint64_t token_ms;
	uint64_t linger_ms;
	uint64_t mismatch_hold_ms;

	/* trouble */
	uint32_t retries; /* without progress, over all endpoints */
	uint64_t unreached_ms;
	uint64_t retry_min_ms;
	uint64_t retry_max_ms;
	uint64_t quota_hold_ms; /* a 429 without Retry-After */
	uint64_t quota_max_ms;  /* the longest Retry-After believed */
	uint32_t breaker_failures;
	uint64_t breaker_hold_ms;
};
struct conf_upstreams {
	struct conf_upstream *v;
	size_t n;
};

struct conf {
	struct conf_listens listen;
	struct conf_strings names;
	char *data;
	char *control;
	char *default_upstream; /* NULL = none */
	struct conf_upstreams upstreams;
	struct conf_strings hosted;
	int claim;          /* enum conf_claim */
	uint32_t anonymous; /* enum conf_may */
	bool delete_hosted;
	struct conf_tag_rules immutable_tags; /* conf_tag_is_immutable() */
	struct conf_strings allow_sparse;     /* conf_is_sparse() */
	int log_level;                        /* enum conf_log_level */
	bool access_log;
	struct conf_listens metrics_listen; /* when any: /metrics only there */

	struct {
		uint32_t loops; /* serve loops; "auto" is already a number */
		uint32_t max_connections; /* 0: from RLIMIT_NOFILE */
		uint64_t max_head_bytes;
		uint32_t max_ranges;
		uint64_t head_ms;
		uint64_t idle_ms;
		uint64_t body_stall_ms;
		uint64_t write_stall_ms;
		uint64_t lingering_close_ms;
		uint64_t drain_ms;
	} server;

	struct {
		uint32_t data; /* "auto" is already a number */
		uint32_t sync;
		uint32_t slow;
		uint32_t resolve;
	} workers;

	struct {
		uint64_t max_bytes; /* CONF_UNLIMITED */
		uint64_t min_free_bytes;
		uint64_t inline_manifest_max_bytes;
		uint64_t manifest_max_bytes;
		uint64_t list_max_bytes;
		uint64_t memory_fill_bytes;
		uint64_t memory_total_bytes;
		uint32_t open_blobs;
	} cache;

	struct {
		uint64_t announce_bytes;
		uint64_t announce_ms;
		uint64_t holdback_bytes;
		uint64_t join_ahead_bytes;
		uint64_t merge_gap_bytes;
		uint32_t transfers;
		uint32_t finish_percent;
		uint64_t resolve_keep_ms;
		uint64_t resolve_late_ms;
	} fetch;

	struct {
		uint64_t expire_ms;
		uint32_t max;
		uint64_t memory_bytes; /* of one upload */
	} uploads;

	struct {
		uint64_t grace_ms; /* of leases too */
		uint64_t interval_ms;
	} collect;

	struct {
		struct conf_strings origins; /* normalised, or "*" */
		bool credentials;
	} cors;

	struct {
		bool hub;
		char *url;
		uint64_t timeout_ms;
	} search;

	struct {
		uint32_t queue_max;
		struct conf_hooks endpoints;
	} notifications;

	/*
	 * Sentences for the log and for check-config about what is allowed but
	 * perhaps not meant; they begin as errors do, and hold no secret.
	 */
	struct conf_strings warnings;
};

/* What the command line said; conf_args_release() when done. */
struct conf_args {
	char *config; /* NULL: no file was named */
	struct conf_strings listen;
	char *data;
	struct conf_strings upstreams; /* NAME or NAME=URL */
	char *default_upstream;
	struct conf_strings hosted;
};

/*
 * Read flags from argv[1] on (argv[0] is the command's own name):
 * --config F, --listen A:P, --data DIR, --upstream NAME[=URL],
 * --default-upstream NAME|none, --hosted PATTERN; "--flag=value" too.
 * --listen, --upstream and --hosted may be repeated.  Only the form is judged
 * here; conf_load() judges the values.
 *
 * ERR_INVALID: an unknown flag, a missing or repeated value, a stray argument.
 * *args is initialised in every case.
 */
enum err conf_parse_args(int argc, char *const *argv, struct conf_args *args,
			 struct why *why) MUST_CHECK;
void conf_args_release(struct conf_args *args);

/* One line per flag, for --help. */
void conf_print_flags(FILE *out);

/*
 * Build a configuration from the defaults, the file `path` (NULL: none), and
 * `args` (may be NULL), where a flag replaces what the file says.
 *
 * ERR_OK sets *out; the caller owns one reference.  ERR_INVALID: some option
 * is wrong; ERR_NOT_FOUND, ERR_IO, ERR_TOO_BIG: a file cannot be read.  `why`
 * has the first error, "FILE: key.path: expected ..., found ..."; `errors`,
 * if not NULL, gets all that were found (owned by the caller,
 * conf_strings_release()).  Secrets are in neither.
 *
 * Reads files (password_file, and whether ca, client_cert and client_key can
 * be read); touches nothing.  Main thread.
 */
enum err conf_load(const char *path, const struct conf_args *args,
		   struct conf **out, struct conf_strings *errors,
		   struct why *why) MUST_CHECK;

/*
 * The same over the text of a file, which `name` stands for in messages.  The
 * files that options name are not looked at: passwords in files stay unset.
 */
enum err conf_load_text(const char *name, const char *text, size_t len,
			const struct conf_args *args, struct conf **out,
			struct conf_strings *errors,
			struct why *why) MUST_CHECK;

/* Any thread.  The last unref wipes secrets and frees. */
struct conf *conf_ref(struct conf *conf);
void conf_unref(struct conf **conf);

/*
 * The upstream called `host` by its name or one of its aliases; `host` is
 * lower-case and without ":443", as name.h normalises it.  NULL: not
 * configured.  Any thread.
 */
const struct conf_upstream *conf_upstream_find(const struct conf *conf,
					       const char *host, size_t len);

/*
 * How old what is known of `tag` may be before the upstream is asked, in ms:
 * the first entry of `tags` that matches, else the upstream's `check`.
 * CONF_CHECK_ALWAYS and CONF_CHECK_NEVER need no special case in
 * "age_ms >= conf_check_ms(...)".
 */
uint64_t conf_check_ms(const struct conf_upstream *up, const char *tag);

/*
 * Does redirect_allow list this target?  `host` is lower-case, without
 * brackets; `addr`, the address that would be dialled, may be NULL where only
 * names can be judged (through an HTTP proxy).
 */
bool conf_redirect_allowed(const struct conf_upstream *up, const char *host,
			   uint16_t port, const struct sockaddr *addr);

/* May no push move this tag of the hosted repository `repo`?  Any thread. */
bool conf_tag_is_immutable(const struct conf *conf, const char *repo,
			   const char *tag);
/* Does it take manifests whose blobs are missing?  Any thread. */
bool conf_is_sparse(const struct conf *conf, const char *repo);
/* Does the endpoint want the events of this repository?  Any thread. */
bool conf_hook_wants(const struct conf_hook *hook, const char *repo);

/*
 * Append to `changed` the key path of each option that differs between the
 * two and that a reload does not change.  Returns how many there are.
 */
size_t conf_diff_reload(const struct conf *before, const struct conf *now,
			struct conf_strings *changed);

/* The option table, for people. */
void conf_print_options(FILE *out);

/*
 * For `make lint`: is every option of the table in the file at `path` (those
 * of upstreams in any one of its upstreams), and does the file load but for
 * the files it names?  Prints what is missing to `out`; returns the number of
 * complaints, 0 = complete.
 */
int conf_check_full(const char *path, FILE *out);

void conf_strings_add(struct conf_strings *list, const char *text);
void conf_strings_release(struct conf_strings *list);

#endif
