/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/conf_table.h"

/* clang-format off */
static const struct conf_word none_words[] = {{"none", 0}, {NULL, 0}};
static const struct conf_word auto_words[] = {{"auto", 0}, {NULL, 0}};
static const struct conf_word unlimited_words[] = {
	{"unlimited", CONF_UNLIMITED}, {NULL, 0}};
static const struct conf_word check_words[] = {
	{"always", CONF_CHECK_ALWAYS}, {"never", CONF_CHECK_NEVER}, {NULL, 0}};
static const struct conf_word log_words[] = {
	{"error", CONF_LOG_ERROR}, {"warn", CONF_LOG_WARN},
	{"info", CONF_LOG_INFO}, {"debug", CONF_LOG_DEBUG}, {NULL, 0}};
static const struct conf_word gone_words[] = {
	{"keep", CONF_GONE_KEEP}, {"follow", CONF_GONE_FOLLOW}, {NULL, 0}};
static const struct conf_word private_words[] = {
	{"deny", CONF_PRIVATE_DENY}, {"share", CONF_PRIVATE_SHARE}, {NULL, 0}};
static const struct conf_word credentials_words[] = {
	{"auto", CONF_CRED_AUTO}, {"none", CONF_CRED_NONE},
	{"docker", CONF_CRED_DOCKER}, {NULL, 0}};

static const struct conf_word claim_words[] = {
	{"loopback", CONF_CLAIM_LOOPBACK}, {"push", CONF_CLAIM_PUSH},
	{"none", CONF_CLAIM_NONE}, {NULL, 0}};
static const struct conf_word may_words[] = {
	{"pull", CONF_MAY_PULL}, {"push", CONF_MAY_PUSH},
	{"delete", CONF_MAY_DELETE}, {NULL, 0}};
static const struct conf_word event_words[] = {
	{"pull", CONF_EVENT_PULL}, {"push", CONF_EVENT_PUSH},
	{"delete", CONF_EVENT_DELETE}, {"mount", CONF_EVENT_MOUNT}, {NULL, 0}};

/* The C type that each kind fills. */
#define TYPE_BOOL bool
#define TYPE_COUNT uint32_t
#define TYPE_SIZE uint64_t
#define TYPE_DURATION uint64_t
#define TYPE_WORD int
#define TYPE_WORDS uint32_t
#define TYPE_STRING char *
#define TYPE_SECRET char *
#define TYPE_PATH char *
#define TYPE_FILE char *
#define TYPE_HOST char *
#define TYPE_NAME char *
#define TYPE_HELPER char *
#define TYPE_WEBHOOK char *
#define TYPE_PROXY char *
#define TYPE_HOSTS struct conf_strings
#define TYPE_PATTERNS struct conf_strings
#define TYPE_LISTEN struct conf_listens
#define TYPE_ADDRESSES struct conf_listens
#define TYPE_ENDPOINTS struct conf_urls
#define TYPE_ALLOWS struct conf_allows
#define TYPE_TAGS struct conf_tags
#define TYPE_ORIGINS struct conf_strings
#define TYPE_TAG_RULES struct conf_tag_rules
#define TYPE_HEADERS struct conf_headers
#define TYPE_HOOKS struct conf_hooks
#define TYPE_UPSTREAMS struct conf_upstreams

#define RELOAD_YES true
#define RELOAD_NO false

/* offsetof() that does not compile if the member has another type. */
#define OFFSET(str, member, type)                                              \
	(offsetof(str, member) +                                               \
	 0 * sizeof(char[__builtin_types_compatible_p(                         \
		 __typeof__(((str *)0)->member), type) ? 1 : -1]))

#define ROW(scope_, str, path_, k, member, def_, w, lo, hi, r, help_)          \
	{.scope = scope_, .path = path_, .kind = KIND_##k,                     \
	 .offset = OFFSET(str, member, TYPE_##k), .def = def_, .words = w,     \
	 .min = lo, .max = hi, .reloadable = RELOAD_##r, .help = help_},
#define OPT(p, k, member, d, w, lo, hi, r, h)                                  \
	ROW(SCOPE_TOP, struct conf, p, k, member, d, w, lo, hi, r, h)
#define UP(p, k, member, d, w, lo, hi, r, h)                                   \
	ROW(SCOPE_UPSTREAM, struct conf_upstream, p, k, member, d, w, lo, hi,  \
	    r, h)
#define HOOK(p, k, member, d, w, lo, hi, r, h)                                 \
	ROW(SCOPE_HOOK, struct conf_hook, p, k, member, d, w, lo, hi, r, h)

const struct conf_option conf_options[] = {
#include "proxy/conf.def"
};
/* clang-format on */

const size_t conf_options_n = ARRAY_LEN(conf_options);

const struct conf_option *conf_option_find(enum conf_scope scope,
					   const char *path)
{
	CONF_EACH_OPTION(opt, scope)
	{
		if (strcmp(opt->path, path) == 0)
			return opt;
	}
	return NULL;
}

bool conf_option_is_group(enum conf_scope scope, const char *path)
{
	size_t len = strlen(path);

	CONF_EACH_OPTION(opt, scope)
	{
		if (strncmp(opt->path, path, len) == 0 && opt->path[len] == '.')
			return true;
	}
	return false;
}

#define NEAREST_MAX 64

/*
 * Edit distance (insert, delete, replace one character) of two texts that are
 * shorter than NEAREST_MAX, one row of the usual table at a time.
 */
static size_t edit_distance(const char *a, const char *b)
{
	size_t row[NEAREST_MAX], len = strlen(b);

	for (size_t j = 0; j <= len; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= len; j++) {
			size_t replaced = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			row[j] = MIN(replaced, MIN(row[j], row[j - 1]) + 1);
		}
	}
	return row[len];
}

static const char *last_component(const char *path)
{
	const char *dot = strrchr(path, '.');

	return dot ? dot + 1 : path;
}

const char *conf_option_nearest(enum conf_scope scope, const char *path)
{
	/* how far a slip of the hand may go: two letters swapped are 2 */
	size_t best = strlen(path) < 4 ? 2 : MAX(strlen(path) / 3, 2) + 1;
	const char *found = NULL, *moved = NULL;

	if (strlen(path) >= NEAREST_MAX)
		return NULL;
	CONF_EACH_OPTION(opt, scope)
	{
		size_t distance = edit_distance(path, opt->path);

		if (distance < best) {
			best = distance;
			found = opt->path;
		}
		/* the right name in the wrong group: "max_bytes" at the top */
		if (!moved && strcmp(last_component(opt->path),
				     last_component(path)) == 0)
			moved = opt->path;
	}
	return found ? found : moved;
}

const char *conf_kind_name(enum conf_kind kind)
{
	static const char *const names[] = {
	    [KIND_BOOL] = "true or false",
	    [KIND_COUNT] = "count",
	    [KIND_SIZE] = "size",
	    [KIND_DURATION] = "duration",
	    [KIND_WORD] = "word",
	    [KIND_WORDS] = "list of words",
	    [KIND_STRING] = "text",
	    [KIND_SECRET] = "secret",
	    [KIND_PATH] = "path",
	    [KIND_FILE] = "path",
	    [KIND_HOST] = "host",
	    [KIND_NAME] = "name",
	    [KIND_HELPER] = "program name",
	    [KIND_WEBHOOK] = "URL",
	    [KIND_PROXY] = "URL",
	    [KIND_HOSTS] = "list of hosts",
	    [KIND_PATTERNS] = "list of patterns",
	    [KIND_LISTEN] = "list of addresses or objects",
	    [KIND_ADDRESSES] = "list of addresses",
	    [KIND_ENDPOINTS] = "list of URLs",
	    [KIND_ALLOWS] = "list of hosts and networks",
	    [KIND_TAGS] = "list of objects",
	    [KIND_ORIGINS] = "list of origins",
	    [KIND_TAG_RULES] = "list of objects",
	    [KIND_HEADERS] = "texts by header name",
	    [KIND_HOOKS] = "list of objects",
	    [KIND_UPSTREAMS] = "objects by host",
	};

	return names[kind];
}
