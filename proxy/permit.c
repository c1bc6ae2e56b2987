/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/permit.h"

#include "cache/hosted.h"
#include "proxy/cors.h"
#include "proxy/reply.h"

#include <arpa/inet.h>

#define LIBRARY "library/"

/* ---- is it from here? ---- */

/* An address as text, without brackets. */
static bool address_is_loopback(const char *text)
{
	struct in6_addr in6;
	struct in_addr in;

	if (inet_pton(AF_INET, text, &in) == 1)
		return ntohl(in.s_addr) >> 24 == 127;
	if (inet_pton(AF_INET6, text, &in6) != 1)
		return false;
	return IN6_IS_ADDR_LOOPBACK(&in6) ||
	       (IN6_IS_ADDR_V4MAPPED(&in6) && in6.s6_addr[12] == 127);
}

static bool are_digits(struct span s)
{
	while (s.len > 0 && *s.ptr >= '0' && *s.ptr <= '9')
		span_skip(&s, 1);
	return s.len == 0;
}

/* What stands behind an address in brackets: ":5000", or nothing. */
static bool is_port(struct span s)
{
	if (s.len == 0)
		return true;
	if (*s.ptr != ':')
		return false;
	span_skip(&s, 1);
	return are_digits(s);
}

bool permit_host_is_loopback(struct span host)
{
	char text[INET6_ADDRSTRLEN];
	struct span name = host, rest = host;

	if (host.len > 0 && host.ptr[0] == '[') {
		span_skip(&rest, 1);
		if (!span_cut(&rest, ']', &name) || !is_port(rest))
			return false;
	} else if (!span_cut(&rest, ':', &name)) {
		name = host;
	} else if (!are_digits(rest)) {
		return false;
	}
	if (span_is_nocase(name, "localhost"))
		return host.ptr[0] != '[';
	if (name.len >= sizeof(text))
		return false;
	memcpy(text, name.ptr, name.len);
	text[name.len] = '\0';
	return address_is_loopback(text);
}

/* What proxies and those who run them say of the client; nginx says nothing
 * unless its configuration does. */
static bool is_forwarding(struct span name)
{
	static const char prefix[] = "x-forwarded";
	static const char *const names[] = {
	    "forwarded",       "via",
	    "x-real-ip",       "x-client-ip",
	    "true-client-ip",  "cf-connecting-ip",
	    "cdn-loop",        "x-envoy-external-address",
	    "x-original-host", "x-cluster-client-ip",
	};
	struct span front = {name.ptr, MIN(name.len, strlen(prefix))};

	if (span_is_nocase(front, prefix))
		return true;
	for (unsigned i = 0; i < ARRAY_LEN(names); i++)
		if (span_is_nocase(name, names[i]))
			return true;
	return false;
}

/*
 * A name that an attacker's name server points at 127.0.0.1 gives a page of
 * his our address, but not our name: so the Host is looked at.  An absolute
 * target replaces it, and then both must do.
 */
const char *permit_head_doubt(const struct http_head *head)
{
	struct span field = http_head_find(head, "host");

	if (head->minor == 0)
		return "it was sent in HTTP/1.0";
	if (!head->host.ptr || !permit_host_is_loopback(head->host) ||
	    !field.ptr || !permit_host_is_loopback(field))
		return "its Host is neither a loopback address nor localhost";
	for (unsigned i = 0; i < head->n_headers; i++) {
		if (is_forwarding(head->headers[i].name))
			return "a proxy has passed it on (Forwarded, "
			       "X-Forwarded-*, X-Real-IP, Via or another "
			       "such header)";
	}
	return NULL;
}

static const char *doubt(const struct request *r)
{
	if (!conn_peer_is_loopback(r->conn))
		return "the peer is another machine";
	return permit_head_doubt(r->head);
}

bool permit_is_local(const struct request *r)
{
	return !doubt(r);
}

/* ---- may it? ---- */

static uint32_t bit_of(enum action action)
{
	switch (action) {
	case ACTION_PULL:
		return CONF_MAY_PULL;
	case ACTION_PUSH:
		return CONF_MAY_PUSH;
	case ACTION_DELETE:
		break;
	}
	return CONF_MAY_DELETE;
}

bool permit_would(const struct request *r, enum action action)
{
	struct span origin;

	if (action != ACTION_PULL && cors_is_foreign(r, &origin))
		return false;
	return (r->conf->anonymous & bit_of(action)) || permit_is_local(r);
}

static void refuse_origin(struct request *r, struct span origin)
{
	char message[256 + CORS_ORIGIN_MAX];
	int len = (int)MIN(origin.len, (size_t)CORS_ORIGIN_MAX);

	snprintf(message, sizeof(message),
		 "a page of another origin may not write here; \"cors\": "
		 "{\"origins\": [\"%.*s\"]} would let it",
		 len, origin.ptr);
	reply_error(r, 403, CODE_DENIED, message, NULL);
}

static void refuse_stranger(struct request *r, enum action action)
{
	static const char *const what[] = {[ACTION_PULL] = "pulls",
					   [ACTION_PUSH] = "pushes",
					   [ACTION_DELETE] = "deletes"};
	uint32_t may = r->conf->anonymous | bit_of(action);
	char message[256], detail[160];

	snprintf(message, sizeof(message),
		 "%s are taken from this machine alone; \"anonymous\": "
		 "[%s%s%s%s%s] would take them from whoever reaches this "
		 "address",
		 what[action], may & CONF_MAY_PULL ? "\"pull\"" : "",
		 may & CONF_MAY_PULL && may > CONF_MAY_PULL ? ", " : "",
		 may & CONF_MAY_PUSH ? "\"push\"" : "",
		 may & CONF_MAY_PUSH && may & CONF_MAY_DELETE ? ", " : "",
		 may & CONF_MAY_DELETE ? "\"delete\"" : "");
	snprintf(detail, sizeof(detail), "the request is not local: %s",
		 doubt(r));
	reply_error(r, 403, CODE_DENIED, message, detail);
}

bool permit(struct request *r, enum action action)
{
	struct span origin;

	if (permit_would(r, action))
		return true;
	if (action != ACTION_PULL && cors_is_foreign(r, &origin))
		refuse_origin(r, origin);
	else
		refuse_stranger(r, action);
	return false;
}

/* ---- claims ---- */

bool permit_would_claim(const struct request *r, const char *name)
{
	if (!permit_would(r, ACTION_PUSH))
		return false;
	switch (r->conf->claim) {
	case CONF_CLAIM_PUSH:
		return true;
	case CONF_CLAIM_LOOPBACK:
		/* Mirror clients send library/ before such a name. */
		if (!strchr(name, '/'))
			return true;
		return permit_is_local(r) &&
		       strncmp(name, LIBRARY, strlen(LIBRARY)) != 0;
	default:
		return false;
	}
}

static void become_hosted(struct request *r)
{
	struct names_answer *a = &r->names;
	int row = a->row;

	memset(a, 0, sizeof(*a));
	a->row = row;
	a->kind = NAMES_HOSTED;
	snprintf(a->repo, sizeof(a->repo), "%.*s", REPO_NAME_MAX,
		 r->route.name);
	r->up = NULL;
}

#define PATTERN_MAX (REPO_PATH_MAX + 4)

/*
 * The pattern that would host `name` and its neighbours; of the official
 * images only the one, the others shall stay mirrored.
 */
static void suggest(const char *name, char out[PATTERN_MAX])
{
	size_t first = strcspn(name, "/");
	bool library = strncmp(name, LIBRARY, strlen(LIBRARY)) == 0;

	if (!name[first] || library)
		snprintf(out, PATTERN_MAX, "%s", name);
	else
		snprintf(out, PATTERN_MAX, "%.*s/**", (int)first, name);
}

/* The name without the host at its front, if it has one. */
static const char *behind_host(const char *name)
{
	size_t first = strcspn(name, "/");

	return name[first] ? name + first + 1 : name;
}

/*
 * Rows 1 to 3, and 5 with a host that no name may have: the name has to be
 * another one, and `pattern` would host that.
 */
static void refuse_row(struct request *r)
{
	const struct names_answer *a = &r->names;
	const char *name = r->route.name, *mirror_of;
	char message[1536], pattern[PATTERN_MAX];

	mirror_of = conn_role(r->conn)->mirror_of;
	suggest(a->row == 3 || a->row == 5 ? behind_host(name) : name, pattern);
	if (mirror_of)
		snprintf(
		    message, sizeof(message),
		    "this listener has \"mirror_of\": \"%.255s\" and takes "
		    "no pushes; push by another one",
		    mirror_of);
	else if (a->row == 1)
		snprintf(message, sizeof(message),
			 "with ns this is a mirror of %.255s; push without ns, "
			 "and \"hosted\": [\"%s\"] makes the name yours",
			 a->upstream, pattern);
	else if (a->row == 2)
		snprintf(
		    message, sizeof(message),
		    "ns is another registry's host; \"names\": [\"%.255s\"]"
		    " would make it one of ours",
		    r->ns);
	else if (a->row == 3)
		snprintf(
		    message, sizeof(message),
		    "names below \"%.*s\" are mirrors of %.255s; push "
		    "without that front, and \"hosted\": [\"%s\"] makes the "
		    "name yours",
		    (int)strcspn(name, "/"), name, a->upstream, pattern);
	else if (a->row == 5 && strchr(name, ':'))
		snprintf(message, sizeof(message),
			 "\"%.*s\" is another registry's host; push without "
			 "that front, and \"hosted\": [\"%s\"] makes the name "
			 "yours",
			 (int)strcspn(name, "/"), name, pattern);
	else {
		suggest(name, pattern);
		snprintf(message, sizeof(message),
			 "this name is not hosted here; \"hosted\": [\"%s\"] "
			 "makes it so",
			 pattern);
	}
	reply_error(r, 403, CODE_DENIED, message,
		    a->detail.text[0] ? a->detail.text : NULL);
}

bool permit_push(struct request *r)
{
	bool mirror = conn_role(r->conn)->mirror_of;

	if (!permit(r, ACTION_PUSH))
		return false;
	if (r->names.kind == NAMES_HOSTED)
		return true;
	if (r->names.row == 6 && !mirror &&
	    permit_would_claim(r, r->route.name)) {
		r->shadow = r->names;
		become_hosted(r);
		return true;
	}
	refuse_row(r);
	return false;
}

bool permit_upload(struct request *r)
{
	const char *name = r->route.name;

	if (!permit(r, ACTION_PUSH))
		return false;
	if (conn_role(r->conn)->mirror_of ||
	    !repo_name_valid(name, strlen(name))) {
		reply_error(r, 404, CODE_BLOB_UPLOAD_UNKNOWN,
			    "there is no such upload", NULL);
		return false;
	}
	if (r->names.row == 6)
		r->shadow = r->names;
	become_hosted(r);
	return true;
}

/* ---- how a push begins ---- */

static bool holds_nothing(struct request *r)
{
	struct index_txn *txn = index_read(cache_index(r->server->cache));
	uint64_t id = request_repo(r, txn);
	bool any = id && repo_holds_anything(txn, id);

	index_read_end(txn);
	return !any;
}

bool permit_begins_push(struct request *r)
{
	return r->is_head && r->names.kind == NAMES_MIRROR &&
	       r->names.row == 6 && !conn_role(r->conn)->mirror_of &&
	       permit_would_claim(r, r->route.name) && holds_nothing(r);
}
