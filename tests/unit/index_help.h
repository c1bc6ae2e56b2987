/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_INDEX_HELP_H
#define TESTS_INDEX_HELP_H
/*
 * For the tests of the index and of what is built on it: a folder that goes
 * away, operations out of plain functions, and digests out of numbers.
 */
#include "cache/cache.h"

#include <ftw.h>
#include <unistd.h>

static char test_dir[64];

static int test_remove_one(const char *path, const struct stat *st UNUSED,
			   int flag UNUSED, struct FTW *ftw UNUSED)
{
	return remove(path);
}

static UNUSED void test_dir_make(void)
{
	snprintf(test_dir, sizeof(test_dir), "%s/entrepot-unit-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(test_dir)) {
		perror("mkdtemp");
		exit(1);
	}
}

static UNUSED void test_dir_remove(void)
{
	nftw(test_dir, test_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* A path below the test's folder; the caller frees it. */
static UNUSED char *test_path(const char *below)
{
	return xasprintf("%s/%s", test_dir, below);
}

/* An operation that is a function and its argument. */
struct test_op {
	struct index_op op;
	enum err (*fn)(struct index_txn *txn, void *arg);
	void *arg;
};

static UNUSED enum err test_op_apply(struct index_txn *txn, struct index_op *op)
{
	struct test_op *t = container_of(op, struct test_op, op);

	return t->fn(txn, t->arg);
}

static UNUSED enum err test_write(struct index *ix,
				  enum err (*fn)(struct index_txn *, void *),
				  void *arg)
{
	struct test_op t = {
	    .op = {.apply = test_op_apply}, .fn = fn, .arg = arg};

	return index_submit_wait(ix, &t.op);
}

/* The digest of a number, so of no two the same. */
static UNUSED struct digest test_digest(unsigned n)
{
	struct digest dg;

	digest_of(DIGEST_SHA256, &n, sizeof(n), &dg);
	return dg;
}

static UNUSED struct slice test_text(const char *text)
{
	return slice_of(text, strlen(text));
}

#endif
