/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A main() for a fuzz target built without libFuzzer: runs it over every file
 * of the folders given, so that `make check` replays the corpora with any
 * compiler.  A broken invariant aborts; no input at all is a failure.
 */
#include "cache/base.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static NORETURN void die(const char *what, const char *path)
{
	fprintf(stderr, "replay: cannot %s %s: %s\n", what, path,
		strerror(errno));
	exit(1);
}

static void replay_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	struct stat st;
	uint8_t *data;
	size_t size;

	if (!file || fstat(fileno(file), &st))
		die("open", path);
	/* Exactly as long as the input, so that ASan sees a byte too far. */
	size = (size_t)st.st_size;
	data = xmalloc(MAX(size, 1));
	if (fread(data, 1, size, file) != size)
		die("read", path);
	fclose(file);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
}

static int is_input(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static unsigned replay_folder(const char *path)
{
	struct dirent **entries;
	int n = scandir(path, &entries, is_input, alphasort);

	if (n < 0)
		die("read", path);
	for (int i = 0; i < n; i++) {
		char *file = xasprintf("%s/%s", path, entries[i]->d_name);

		replay_file(file);
		free(file);
		free(entries[i]);
	}
	free(entries);
	return (unsigned)n;
}

int main(int argc, char **argv)
{
	unsigned n = 0;

	for (int i = 1; i < argc; i++)
		n += replay_folder(argv[i]);
	printf("replayed %u inputs\n", n);
	return n ? 0 : 1;
}
