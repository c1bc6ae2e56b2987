/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names, tags, hosts and patterns.  What must hold: a valid text has no byte
 * that could leave its place in a path, header or file name; normal forms are
 * fixed points; a valid name is a valid path and a pattern that matches
 * itself; checks and matches agree with each other.
 */
#include "cache/name.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void try_name(const char *text, size_t len)
{
	char *copy = xstrndup(text, len);

	if (repo_name_valid(text, len)) {
		require(len > 0 && len <= REPO_NAME_MAX);
		require(strlen(copy) == len);
		require(!strpbrk(copy, "%?#:\\\"\r\n ") && !strstr(copy, ".."));
		require(repo_path_valid(text, len));
		require(name_pattern_check(copy, NULL) == ERR_OK);
		require(name_pattern_match(copy, copy));
		require(name_pattern_match("**", copy));
		require(name_pattern_match("*", copy) == !strchr(copy, '/'));
	}
	if (repo_path_valid(text, len))
		require(strlen(copy) == len && len <= REPO_PATH_MAX);
	if (tag_valid(text, len)) {
		require(strlen(copy) == len && len <= TAG_MAX);
		require(tag_pattern_check(copy, NULL) == ERR_OK);
		require(tag_pattern_match(copy, copy));
		require(tag_pattern_match("*", copy));
	}
	free(copy);
}

static void try_host(const char *text, size_t len)
{
	static const char chars[] = "abcdefghijklmnopqrstuvwxyz0123456789-.:[]";
	char host[HOST_MAX + 1], again[HOST_MAX + 1];
	size_t n;

	if (host_normalise(text, len, host) != ERR_OK)
		return;
	n = strlen(host);
	require(n > 0 && strspn(host, chars) == n);
	require(host_normalise(host, n, again) == ERR_OK);
	require(strcmp(host, again) == 0);
}

/* The input as "pattern \n name". */
static void try_pattern(const char *text, size_t len)
{
	const char *split = len ? memchr(text, '\n', len) : NULL;
	char *pattern, *name;
	struct why why;

	if (!split)
		return;
	pattern = xstrndup(text, (size_t)(split - text));
	name = xstrndup(split + 1, len - (size_t)(split - text) - 1);
	(void)name_pattern_match(pattern, name);
	(void)tag_pattern_match(pattern, name);
	why.text[0] = '\0';
	if (name_pattern_check(pattern, &why) != ERR_OK)
		require(why.text[0] != '\0');
	why.text[0] = '\0';
	if (tag_pattern_check(pattern, &why) != ERR_OK)
		require(why.text[0] != '\0');
	free(pattern);
	free(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;

	if (size > 1024)
		return 0;
	try_name(text, size);
	try_host(text, size);
	try_pattern(text, size);
	return 0;
}
