/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose is a name that an import brings?  Hosted is what rows 4 and 7 of the
 * name table answer, and what row 6 does, but for library/: an import is the
 * explicit act of whoever has the machine, so it claims.  With `as_mirror` all
 * is that upstream's.  Everything else is left, with what would take it.
 */
#include "proxy/import_int.h"

#define LIBRARY "library/"

static bool is_claimed(void *arg, const char *name)
{
	struct index_txn *txn = index_read(cache_index(arg));
	bool claimed = hosted_is_claimed(txn, name);

	index_read_end(txn);
	return claimed;
}

static struct names_conf table_of(struct import *im)
{
	struct names_conf table = *conf_names_table(im->names);

	table.claimed = is_claimed;
	table.claimed_arg = im->c;
	return table;
}

bool import_names_check(struct import *im)
{
	struct names_conf table = table_of(im);
	struct names_answer a;

	if (!im->as_mirror)
		return true;
	if (names_resolve(&table, "any", im->as_mirror, &a) == ERR_OK &&
	    a.row == 1)
		return true;
	(void)why_set(&im->why, ERR_INVALID,
		      "--as-mirror %.100s: it is not a configured upstream; "
		      "\"upstreams\": {\"%.100s\": {}} would make it one",
		      im->as_mirror, im->as_mirror);
	return false;
}

static bool leave(struct import *im, const char *fmt, ...) PRINTF_LIKE(2, 3);
static bool leave(struct import *im, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	import_say(im, "left: %s", text);
	im->left++;
	return false;
}

/* The pattern that would host `name` and its neighbours; of the official
 * images only the one, the others shall stay mirrored. */
static void suggest(const char *name, char out[REPO_PATH_MAX + 4])
{
	size_t first = strcspn(name, "/");

	if (!name[first] || strncmp(name, LIBRARY, strlen(LIBRARY)) == 0)
		snprintf(out, REPO_PATH_MAX + 4, "%s", name);
	else
		snprintf(out, REPO_PATH_MAX + 4, "%.*s/**", (int)first, name);
}

static bool is_anothers(const char *name, const struct names_answer *a)
{
	return a->kind == NAMES_UNKNOWN || a->row == 3 ||
	       (a->row == 6 && strncmp(name, LIBRARY, strlen(LIBRARY)) == 0);
}

static bool can_host(struct import *im, const char *name)
{
	struct names_conf table = table_of(im);
	struct names_answer a;

	return (names_resolve(&table, name, NULL, &a) == ERR_OK ||
		a.row == 6) &&
	       !is_anothers(name, &a) && repo_name_valid(name, strlen(name));
}

/* The command's NAME, which all of a layout gets: a way where that is one
 * repository, as of podman, which puts localhost/ before what it builds. */
static void suggest_name(struct import *im, const char *name,
			 char out[REPO_NAME_MAX + 80])
{
	const char *rest = name + strcspn(name, "/") + 1;

	out[0] = '\0';
	if (im->kind == IMPORT_OCI && foreign_n_repos(im->foreign) == 1)
		snprintf(out, REPO_NAME_MAX + 80,
			 "entrepot import oci ... %s would host it by that "
			 "name, ",
			 can_host(im, rest) ? rest : "NAME");
}

/* Row 5: another registry's, and that is none of our upstreams. */
static bool leave_foreign(struct import *im, const char *name,
			  const char *pattern)
{
	char instead[REPO_NAME_MAX + 80];
	int first = (int)strcspn(name, "/");

	suggest_name(im, name, instead);
	if (!repo_name_valid(name, strlen(name)))
		return leave(im,
			     "%s is of another registry; %s%s--as-mirror %.*s "
			     "would take it, with \"upstreams\": {\"%.*s\": "
			     "{}}",
			     name, instead, instead[0] ? "or " : "", first,
			     name, first, name);
	return leave(im,
		     "%s begins with another registry's host; %s\"hosted\": "
		     "[\"%s\"] would host it%s, or --as-mirror %.*s would "
		     "take it, with \"upstreams\": {\"%.*s\": {}}",
		     name, instead, pattern, instead[0] ? " by this one" : "",
		     first, name, first, name);
}

/* Rows 3, 5, and 6 below library/. */
static bool leave_row(struct import *im, const char *name,
		      const struct names_answer *a)
{
	char pattern[REPO_PATH_MAX + 4];

	suggest(name, pattern);
	if (a->row == 3)
		return leave(im,
			     "%s is a mirror of %s/%s here; --as-mirror %s "
			     "would take it",
			     name, a->upstream, a->repo, a->upstream);
	if (a->row == 6)
		return leave(im,
			     "%s is a mirror of %s/%s here; \"hosted\": "
			     "[\"%s\"] would host it, or --as-mirror %s would "
			     "take it",
			     name, a->upstream, a->repo, pattern, a->upstream);
	return leave_foreign(im, name, pattern);
}

/* A claim that hides what pulls have had by that name until now. */
static void warn_hidden(struct import *im, const char *name,
			const struct names_answer *a)
{
	import_say(im,
		   "%s will be hosted here and hide %s/%s; entrepot rm "
		   "--release undoes it once it is empty",
		   name, a->upstream, a->repo);
}

static bool take_hosted(struct import *im, const char *name,
			struct import_target *to)
{
	struct names_conf table = table_of(im);
	struct names_answer a;
	enum err err = names_resolve(&table, name, NULL, &a);

	/* What row 6 makes of it need not fit; the name itself does. */
	if (err != ERR_OK && a.row != 6)
		return leave(im, "%s: %s", name, a.detail.text);
	if (is_anothers(name, &a))
		return leave_row(im, name, &a);
	if (!repo_name_valid(name, strlen(name)))
		return leave(im, "%s is no name that can be hosted", name);
	if (a.row == 6 && err == ERR_OK)
		warn_hidden(im, name, &a);
	snprintf(to->repo, sizeof(to->repo), "%.*s", REPO_NAME_MAX, name);
	return true;
}

/* With ns it is asked for at that upstream, whatever its first component; so
 * another host at its front has to be told apart here. */
static bool take_mirrored(struct import *im, const char *name,
			  struct import_target *to)
{
	struct names_conf table = table_of(im);
	struct names_answer a;
	size_t first = repo_first_component(name, strlen(name));
	enum err err = names_resolve(&table, name, im->as_mirror, &a);

	if (err != ERR_OK)
		return leave(im, "%s: %s", name, a.detail.text);
	if (name[first] && component_is_host(name, first) &&
	    strcmp(a.repo, name) == 0)
		return leave(im,
			     "%s is not of %s; --as-mirror %.*s would take it",
			     name, a.upstream, (int)first, name);
	snprintf(to->host, sizeof(to->host), "%s", a.upstream);
	snprintf(to->repo, sizeof(to->repo), "%s", a.repo);
	return true;
}

bool import_name(struct import *im, size_t i)
{
	const char *name = foreign_repo(im->foreign, i);
	struct import_target *to = &im->targets[i];

	if (im->as_mirror)
		return take_mirrored(im, name, to);
	return take_hosted(im, name, to);
}
