/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/adopt.h"
#include "cache/hosted.h"
#include "tests/unit/temp_cache.h"

#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>

#define LEN ((size_t)700000)

static struct temp t;
static struct digest dg;
static uint8_t *bytes;
static int folder; /* where the foreign file is */

static void begin(void)
{
	temp_make(&t);
	temp_open(&t);
	bytes = temp_bytes(7, LEN, &dg);
	CHECK(mkdirat(t.c->data_fd, "foreign", 0700) == 0);
	folder = openat(t.c->data_fd, "foreign", O_RDONLY | O_DIRECTORY);
}

static void say(void *arg UNUSED, const char *finding)
{
	fprintf(stderr, "finding: %s\n", finding);
}

static void end(void)
{
	close(folder);
	CHECK(cache_check(t.c, true, say, NULL) == 0);
	temp_close(&t);
	temp_remove(&t);
	free(bytes);
}

static unsigned files_in_uploads(void)
{
	char *path = xasprintf("%s/uploads", t.dir);
	DIR *dir = opendir(path);
	struct dirent *entry;
	unsigned n = 0;

	while ((entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	closedir(dir);
	free(path);
	return n;
}

/* The foreign file "data" has `before` bytes, then ours. */
static int foreign(const void *buf, size_t len, size_t before)
{
	int fd = openat(folder, "data", O_RDWR | O_CREAT | O_TRUNC, 0644);

	CHECK(pwrite(fd, buf, len, (off_t)before) == (ssize_t)len);
	return fd;
}

static enum err adopt(struct adoption_ask *ask, enum adopted *how,
		      struct why *why)
{
	struct adoption *a = adoption_new(t.c, ask);
	bool more = true;
	enum err err = ERR_OK;

	why->text[0] = '\0';
	while (more)
		err = adoption_step(a, 1000, &more, why);
	*how = adoption_how(a);
	adoption_free(&a);
	CHECK(files_in_uploads() == 0);
	return err;
}

static struct adoption_ask ask_of(int fd, size_t before, const char *host,
				  const char *repo)
{
	return (struct adoption_ask){
	    .dg = dg,
	    .fd = fd,
	    .at = before,
	    .size = LEN,
	    .dir_fd = folder,
	    .file = before ? NULL : "data",
	    .host = host,
	    .repo = repo,
	};
}

static bool has_blob(const char *repo)
{
	struct index_txn *txn = index_read(t.c->index);
	struct lookup found;
	uint64_t id;
	bool has = repo_id(txn, "", repo, &id) == ERR_OK &&
		   hosted_lookup_blob(txn, id, &dg, &found) == ERR_OK;

	index_read_end(txn);
	return has;
}

static bool has_row(void)
{
	struct blob_row row;

	return store_blob_row(t.c, &dg, &row) != ERR_NOT_FOUND;
}

static nlink_t names_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? st.st_nlink : 0;
}

static void file_of_the_same_disk_is_linked_and_hosted(void)
{
	struct adoption_ask ask;
	enum adopted how;
	struct why why;
	int fd;

	begin();
	fd = foreign(bytes, LEN, 0);
	ask = ask_of(fd, 0, "", "team/app");
	CHECK(adopt(&ask, &how, &why) == ERR_OK);
	CHECK(how == ADOPTED_LINK && names_of(fd) == 2);
	CHECK(temp_has(&t, &dg, bytes, LEN));
	CHECK(has_blob("team/app"));
	CHECK(!has_blob("team/other"));
	/* Again, and elsewhere: nothing is read. */
	CHECK(adopt(&ask, &how, &why) == ERR_OK && how == ADOPTED_THERE);
	ask.repo = "team/other";
	ask.fd = -1;
	CHECK(adopt(&ask, &how, &why) == ERR_OK && how == ADOPTED_THERE);
	CHECK(has_blob("team/other"));
	close(fd);
	end();
}

static void part_of_a_file_is_copied(void)
{
	struct adoption_ask ask;
	enum adopted how;
	struct why why;
	int fd;

	begin();
	fd = foreign(bytes, LEN, 512);
	ask = ask_of(fd, 512, "", "team/app");
	CHECK(adopt(&ask, &how, &why) == ERR_OK && how == ADOPTED_COPY);
	CHECK(names_of(fd) == 1);
	CHECK(temp_has(&t, &dg, bytes, LEN));
	close(fd);
	end();
}

static void file_of_another_disk_is_copied(void)
{
	struct temp other;
	struct adoption_ask ask;
	enum adopted how;
	struct why why;
	int fd;

	begin();
	temp_make_in(&other, "/dev/shm");
	close(folder);
	folder = open(other.dir, O_RDONLY | O_DIRECTORY);
	fd = foreign(bytes, LEN, 0);
	ask = ask_of(fd, 0, "", "team/app");
	CHECK(adopt(&ask, &how, &why) == ERR_OK && how == ADOPTED_COPY);
	CHECK(temp_has(&t, &dg, bytes, LEN));
	close(fd);
	end();
	temp_remove(&other);
}

/* What is linked by name must be what was opened: the name is a symbolic
 * link, or another file by now. */
static void name_that_leads_elsewhere_is_not_linked(void)
{
	struct adoption_ask ask;
	enum adopted how;
	struct why why;
	int fd;

	begin();
	fd = foreign(bytes, LEN, 0);
	ask = ask_of(fd, 0, "", "team/app");
	CHECK(symlinkat("data", folder, "link") == 0);
	ask.file = "link";
	CHECK(adopt(&ask, &how, &why) == ERR_OK && how == ADOPTED_COPY);
	CHECK(temp_has(&t, &dg, bytes, LEN));
	close(fd);
	end();
}

static void mirrored_repository_gets_its_link(void)
{
	struct adoption_ask ask;
	struct index_txn *txn;
	struct lookup found;
	enum adopted how;
	struct why why;
	uint64_t id = 0;
	int fd;

	begin();
	fd = foreign(bytes, LEN, 0);
	ask = ask_of(fd, 0, "docker.io", "library/app");
	CHECK(adopt(&ask, &how, &why) == ERR_OK);
	txn = index_read(t.c->index);
	CHECK(repo_id(txn, "docker.io", "library/app", &id) == ERR_OK);
	CHECK(cache_lookup_blob(txn, id, &dg, &found) == ERR_OK);
	CHECK(found.may == MAY_YES && found.stored && found.size == LEN);
	CHECK(!hosted_has(txn, &dg));
	index_read_end(txn);
	close(fd);
	end();
}

static void wrong_bytes_leave_nothing(void)
{
	struct adoption_ask ask;
	enum adopted how;
	struct why why;
	int fd;

	begin();
	bytes[LEN / 2] ^= 1;
	fd = foreign(bytes, LEN, 0);
	ask = ask_of(fd, 0, "", "team/app");
	CHECK(adopt(&ask, &how, &why) == ERR_MISMATCH);
	CHECK(strstr(why.text, "700000 bytes have the digest sha256:"));
	ask.file = NULL;
	CHECK(adopt(&ask, &how, &why) == ERR_MISMATCH);
	CHECK(names_of(fd) == 1);
	/* Shorter than was said. */
	ask.size = LEN + 1;
	CHECK(adopt(&ask, &how, &why) == ERR_MISMATCH);
	CHECK(strstr(why.text, "ends after 700000 of 700001"));
	CHECK(!has_blob("team/app") && !has_row());
	close(fd);
	end();
}

static void copy_leaves_min_free(void)
{
	struct adoption_ask ask;
	enum adopted how;
	struct why why;
	int fd;

	begin();
	fd = foreign(bytes, LEN, 0);
	ask = ask_of(fd, 0, "", "team/app");
	cache_set_min_free(t.c, UINT64_MAX / 2);
	ask.file = NULL;
	CHECK(adopt(&ask, &how, &why) == ERR_NO_SPACE);
	/* A link needs no room but its row's. */
	ask.file = "data";
	CHECK(adopt(&ask, &how, &why) == ERR_OK && how == ADOPTED_LINK);
	close(fd);
	end();
}

/* As kill -9 would leave it: start-up takes the staged name away. */
static void staged_file_of_a_crash_goes_at_start(void)
{
	struct adoption_ask ask;
	struct adoption *a;
	struct why why;
	int fd, status;
	pid_t child;
	bool more;

	begin();
	fd = foreign(bytes, LEN, 0);
	temp_close(&t);
	child = fork();
	if (child == 0) {
		temp_open(&t);
		ask = ask_of(fd, 0, "", "team/app");
		a = adoption_new(t.c, &ask);
		if (adoption_step(a, 1000, &more, &why) == ERR_OK && more)
			kill(getpid(), SIGKILL);
		_exit(1);
	}
	CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
	CHECK(files_in_uploads() == 1 && names_of(fd) == 2);
	temp_open(&t);
	CHECK(files_in_uploads() == 0 && names_of(fd) == 1);
	close(fd);
	end();
}

/* Given up in the middle by its owner. */
static void given_up_it_leaves_nothing(void)
{
	struct adoption_ask ask;
	struct adoption *a;
	struct why why;
	bool more;
	int fd;

	begin();
	fd = foreign(bytes, LEN, 0);
	ask = ask_of(fd, 0, "", "team/app");
	ask.file = NULL;
	a = adoption_new(t.c, &ask);
	CHECK(adoption_step(a, 300000, &more, &why) == ERR_OK && more);
	CHECK(files_in_uploads() == 1);
	adoption_free(&a);
	CHECK(files_in_uploads() == 0);
	close(fd);
	end();
}

int main(void)
{
	RUN(file_of_the_same_disk_is_linked_and_hosted);
	RUN(part_of_a_file_is_copied);
	RUN(file_of_another_disk_is_copied);
	RUN(name_that_leads_elsewhere_is_not_linked);
	RUN(mirrored_repository_gets_its_link);
	RUN(wrong_bytes_leave_nothing);
	RUN(copy_leaves_min_free);
	RUN(staged_file_of_a_crash_goes_at_start);
	RUN(given_up_it_leaves_nothing);
	return unit_done();
}
