/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_REBUILD_HELP_H
#define TESTS_REBUILD_HELP_H
/*
 * For the tests of what is made of a journal or an index that is damaged: the
 * files by name, one bit of them wrong, and each way of mending.
 */
#include "cache/journal_int.h"
#include "tests/unit/hosted_help.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#define REPO "team/app"

static struct cache *c;

/* ---- files ---- */

static UNUSED char *in_data(const char *path)
{
	char *data = test_path("data"), *whole = xasprintf("%s/%s", data, path);

	free(data);
	return whole;
}

static UNUSED char *blob_file(const struct digest *dg)
{
	char path[PATH_LEN_MAX];

	return in_data(blob_path(dg, path));
}

/* The one file of journal/ with this ending; the caller frees it. */
static UNUSED char *journal_file(const char *ending)
{
	char *folder = in_data("journal"), *found = NULL;
	DIR *dir = opendir(folder);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		const char *dot = strrchr(entry->d_name, '.');

		if (dot && strcmp(dot, ending) == 0) {
			CHECK(!found);
			free(found);
			found = xasprintf("%s/%s", folder, entry->d_name);
		}
	}
	if (dir)
		closedir(dir);
	CHECK(found);
	free(folder);
	return found;
}

static UNUSED off_t size_of(const char *path)
{
	struct stat st = {.st_size = -1};

	(void)!stat(path, &st);
	return st.st_size;
}

static UNUSED char *read_whole(const char *path, size_t *len)
{
	FILE *f = fopen(path, "r");
	char *bytes;

	*len = (size_t)size_of(path);
	bytes = xmalloc(*len + 1);
	CHECK(f && fread(bytes, 1, *len, f) == *len);
	fclose(f);
	return bytes;
}

static UNUSED void write_whole(const char *path, const char *bytes, size_t len)
{
	FILE *f = fopen(path, "w");

	CHECK(f && fwrite(bytes, 1, len, f) == len);
	fclose(f);
}

static UNUSED void spoil_at(const char *path, long at)
{
	FILE *f = fopen(path, "r+");
	int byte;

	CHECK(f && fseek(f, at, SEEK_SET) == 0);
	byte = fgetc(f);
	CHECK(byte != EOF && fseek(f, at, SEEK_SET) == 0);
	CHECK(fputc(byte ^ 0x40, f) != EOF);
	fclose(f);
}

static UNUSED void remove_index(void)
{
	char *path = in_data("index/data.mdb");

	CHECK(unlink(path) == 0);
	free(path);
}

/* How many names begin so. */
static UNUSED unsigned beside(const char *begin)
{
	char *data = test_path("data");
	DIR *dir = opendir(data);
	struct dirent *entry;
	unsigned n = 0;

	while (dir && (entry = readdir(dir)))
		n += strncmp(entry->d_name, begin, strlen(begin)) == 0;
	if (dir)
		closedir(dir);
	free(data);
	return n;
}

/* ---- opening and mending ---- */

static UNUSED const char *data_path(void)
{
	static char path[PATH_LEN_MAX];
	char *data = test_path("data");

	snprintf(path, sizeof(path), "%s", data);
	free(data);
	return path;
}

static UNUSED struct cache_options options(void)
{
	return (struct cache_options){
	    .data = data_path(),
	    .max_inline_bytes = 64 * 1024,
	    .max_open_blobs = 4,
	    .event = ignore_event,
	    .index = {.map_bytes = 64 * MIB},
	};
}

static UNUSED enum err try_open(struct why *why)
{
	struct cache_options opt = options();

	return cache_open(&opt, &c, why);
}

static UNUSED void open_again(void)
{
	struct why why = {""};

	if (try_open(&why) != ERR_OK) {
		fprintf(stderr, "cache_open: %s\n", why.text);
		exit(1);
	}
}

static unsigned n_told;
static char told[8192];

static UNUSED void tell(void *arg UNUSED, const char *finding)
{
	size_t used = strlen(told);

	snprintf(told + used, sizeof(told) - used, "%s\n", finding);
	n_told++;
}

static UNUSED enum err rebuild(bool rehash)
{
	struct cache_options opt = options();
	struct why why = {""};
	enum err err;

	n_told = 0;
	told[0] = '\0';
	err = cache_rebuild(&opt, rehash, NULL, tell, NULL, &why);
	if (err != ERR_OK)
		fprintf(stderr, "rebuild: %s\n", why.text);
	return err;
}

static UNUSED enum err renew(struct why *why)
{
	struct cache_options opt = options();

	n_told = 0;
	told[0] = '\0';
	return cache_renew_journal(&opt, tell, NULL, why);
}

static UNUSED bool tag_is(const char *tag, const struct digest *dg)
{
	struct digest held = tag_digest(c, REPO, tag);

	return held.alg && digest_equal(&held, dg) && has_manifest(c, REPO, dg);
}

static UNUSED bool has_tag(const char *tag)
{
	return tag_digest(c, REPO, tag).alg != 0;
}

/* It does not start, and says this. */
static UNUSED void expect_refused(const char *text)
{
	struct why why = {""};

	CHECK(try_open(&why) == ERR_CORRUPT);
	CHECK(strstr(why.text, text));
}

/* Of a journal in which nothing is wrong. */
static UNUSED void expect_rebuilt(bool rehash)
{
	CHECK(rebuild(rehash) == ERR_OK && n_told == 0);
	open_again();
}

/* It takes pushes, and they are there after the next start too. */
static UNUSED void expect_it_goes_on(void)
{
	struct digest dg = push_image(c, REPO, "goes-on", 901, 902);

	expect_sound(c);
	cache_close(&c);
	open_again();
	CHECK(tag_is("goes-on", &dg));
	expect_sound(c);
}

#endif
