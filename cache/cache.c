/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing the data folder. */
#include "cache/cache_int.h"
#include "cache/hosted.h"
#include "cache/journal.h"
#include "cache/recency.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define FOLDER_MODE 0750

/* ---- what kind of disk it is ---- */

/*
 * The index is a shared memory map with locks in it, the crash promises are
 * link(2) and fsync: where another machine may write, or a program stands
 * between us and the disk, neither is what it is on a disk of ours.
 */
static const struct refused {
	uint32_t type; /* statfs.f_type, as linux/magic.h has it */
	const char *name;
	const char *reason;
} refused[] = {
    {0x6969, "NFS", "a network filesystem"},
    {0x517b, "SMB", "a network filesystem"},
    {0xff534d42, "CIFS", "a network filesystem"},
    {0xfe534d42, "SMB", "a network filesystem"},
    {0x564c, "NCP", "a network filesystem"},
    {0x5346414f, "AFS", "a network filesystem"},
    {0x6b414653, "AFS", "a network filesystem"},
    {0x73757245, "Coda", "a network filesystem"},
    {0x01021997, "9p", "a network filesystem"},
    {0x00c36400, "Ceph", "a network filesystem"},
    {0x0bd00bd0, "Lustre", "a network filesystem"},
    {0x47504653, "GPFS", "a network filesystem"},
    {0x01161970, "GFS2", "shared with other machines"},
    {0x7461636f, "OCFS2", "shared with other machines"},
    {0x786f4256, "vboxsf", "a folder of the virtual machine's host"},
    {0x65735546, "FUSE", "behind a program that need not keep what is synced"},
    {0x4d44, "FAT", "without hard links"},
    {0x2011bab0, "exFAT", "without hard links"},
};

static enum err check_filesystem(int fd, const char *data, struct why *why)
{
	struct statfs st;

	if (fstatfs(fd, &st) != 0)
		return store_error(why, errno, "look at", data);
	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		if ((uint32_t)st.f_type == refused[i].type)
			return why_set(why, ERR_INVALID,
				       "%s is on %s, %s; the data folder needs "
				       "a local disk (ext4, xfs, btrfs)",
				       data, refused[i].name,
				       refused[i].reason);
	return ERR_OK;
}

/* ---- the folder and its lock ---- */

/* mkdir -p. */
static int make_parents(const char *path)
{
	char *copy = xstrdup(path), *slash = copy;
	int error = 0;

	while (!error && (slash = strchr(slash + 1, '/'))) {
		*slash = '\0';
		if (mkdir(copy, FOLDER_MODE) != 0 && errno != EEXIST)
			error = errno;
		*slash = '/';
	}
	if (!error && mkdir(copy, FOLDER_MODE) != 0 && errno != EEXIST)
		error = errno;
	free(copy);
	return error;
}

static enum err open_folder(struct cache *c, struct why *why)
{
	int error = make_parents(c->data);

	if (error)
		return store_error(why, error, "make folder", c->data);
	c->data_fd = open(c->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->data_fd < 0)
		return store_error(why, errno, "open folder", c->data);
	return check_filesystem(c->data_fd, c->data, why);
}

static enum err locked_by(struct cache *c, struct why *why)
{
	char pid[24] = "";
	ssize_t n = store_pread(c->lock_fd, pid, sizeof(pid) - 1, 0);

	pid[n > 0 ? n : 0] = '\0';
	pid[strcspn(pid, "\n")] = '\0';
	return why_set(why, ERR_BUSY,
		       "%s is in use by process %s; stop that one, or give "
		       "another folder (--data, \"data\")",
		       c->data, *pid ? pid : "(unknown)");
}

static enum err take_lock(struct cache *c, struct why *why)
{
	char pid[24];
	size_t done;
	int n;

	c->lock_fd = store_open(c, "lock", O_RDWR | O_CREAT);
	if (c->lock_fd < 0)
		return store_error(why, errno, "open the lock in", c->data);
	if (flock(c->lock_fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno == EWOULDBLOCK)
			return locked_by(c, why);
		return store_error(why, errno, "lock", c->data);
	}
	/* Only for people; the lock is the kernel's, and a full disk is no
	 * reason not to serve what is there. */
	n = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	if (ftruncate(c->lock_fd, 0) == 0)
		(void)!store_pwrite(c->lock_fd, pid, (size_t)n, 0, &done);
	return ERR_OK;
}

/* ---- the folders within ---- */

static int make_folder(struct cache *c, const char *path)
{
	if (mkdirat(c->data_fd, path, FOLDER_MODE) != 0 && errno != EEXIST)
		return errno;
	return 0;
}

/* The 256 folders of one algorithm.  The last made is looked for first: one
 * look instead of 256 at every start but the first. */
static int make_fan(struct cache *c, const char *alg)
{
	char path[32];
	struct stat st;
	int error = 0;

	snprintf(path, sizeof(path), "blobs/%s/ff", alg);
	if (fstatat(c->data_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	for (unsigned i = 0; !error && i < 256; i++) {
		snprintf(path, sizeof(path), "blobs/%s/%02x", alg, i);
		if (i == 255) { /* the others are durable before it is made */
			snprintf(path, sizeof(path), "blobs/%s", alg);
			error = store_sync_dir(c, path);
			snprintf(path, sizeof(path), "blobs/%s/ff", alg);
		}
		if (!error)
			error = make_folder(c, path);
	}
	snprintf(path, sizeof(path), "blobs/%s", alg);
	return error ? error : store_sync_dir(c, path);
}

/* A hard link cannot leave its device. */
static enum err check_device(struct cache *c, const char *path, struct why *why)
{
	struct stat top, st;

	if (fstat(c->data_fd, &top) != 0 ||
	    fstatat(c->data_fd, path, &st, 0) != 0)
		return store_error(why, errno, "look at", path);
	if (top.st_dev != st.st_dev)
		return why_set(why, ERR_INVALID,
			       "%s/%s is on another device than %s; all of it "
			       "has to be on one",
			       c->data, path, c->data);
	return ERR_OK;
}

static enum err make_folders(struct cache *c, struct why *why)
{
	static const char *const folders[] = {
	    "blobs",          "partial",        "index",
	    "journal",        "blobs/sha256",   "blobs/sha512",
	    "partial/sha256", "partial/sha512", "uploads",
	};
	enum err err;
	int error = 0;

	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		error = make_folder(c, folders[i]);
		if (error)
			return store_error(why, error, "make", folders[i]);
		err = check_device(c, folders[i], why);
		if (err != ERR_OK)
			return err;
	}
	error = make_fan(c, "sha256");
	if (!error)
		error = make_fan(c, "sha512");
	if (!error)
		error = store_sync_dir(c, ".");
	return error ? store_error(why, error, "make folders in", c->data)
		     : ERR_OK;
}

/* ---- open and close ---- */

#ifdef FAULT_POINTS
/* Tests pretend another boot by naming another file. */
static const char *boot_id_file(void)
{
	const char *path = secure_getenv("ENTREPOT_BOOT_ID_FILE");

	return path ? path : "/proc/sys/kernel/random/boot_id";
}
#else
static const char *boot_id_file(void)
{
	return "/proc/sys/kernel/random/boot_id";
}
#endif

/* Where the kernel does not say, no boot is like another. */
static void read_boot_id(struct cache *c)
{
	int fd = open(boot_id_file(), O_RDONLY | O_CLOEXEC);
	char text[64];
	ssize_t n = -1;

	if (fd >= 0) {
		n = store_pread(fd, text, sizeof(text), 0);
		close(fd);
	}
	if (n < 0 || boot_id_parse(text, (size_t)n, &c->boot) != ERR_OK)
		(void)!getrandom(&c->boot, sizeof(c->boot), 0);
}

static void ignore_event(void *arg UNUSED, enum cache_event event UNUSED,
			 const struct digest *dg UNUSED,
			 const struct why *why UNUSED)
{
}

static struct cache *cache_new(const struct cache_options *opt)
{
	struct cache *c = xcalloc(1, sizeof(*c));

	c->data = xstrdup(opt->data);
	c->data_fd = -1;
	c->lock_fd = -1;
	c->max_inline_bytes = opt->max_inline_bytes;
	c->event = opt->event ? opt->event : ignore_event;
	c->event_arg = opt->event_arg;
	c->blobs = blobs_new(opt->max_open_blobs);
	c->holds = holds_new();
	c->staged = staged_new();
	c->recency = recency_new();
	c->uploads = uploads_new();
	c->leases = leases_new(opt->grace_ms);
	read_boot_id(c);
	return c;
}

static enum err open_index(struct cache *c, const struct cache_options *opt,
			   struct why *why)
{
	struct index_options index = opt->index;
	struct index_log log = {journal_append, journal_cut, c->journal};
	char *dir = xasprintf("%s/index", c->data);
	enum err err;

	c->log = log;
	index.log = &c->log;
	index.upgrade = repos_find_held;
	if (!index.health) {
		index.health = cache_index_health;
		index.health_arg = c;
	}
	err = index_open(dir, &index, &c->index, why);
	free(dir);
	return err;
}

static enum err open_folders(struct cache *c, struct why *why)
{
	enum err err = open_folder(c, why);

	if (err == ERR_OK)
		err = take_lock(c, why);
	if (err == ERR_OK)
		err = make_folders(c, why);
	return err;
}

static bool has_index(struct cache *c)
{
	struct stat st;

	return fstatat(c->data_fd, "index/data.mdb", &st, 0) == 0 &&
	       st.st_size > 0;
}

static bool has_file(struct cache *c, const char *alg, unsigned first_byte)
{
	struct dirent *entry = NULL;
	char path[32];
	DIR *dir;

	snprintf(path, sizeof(path), "blobs/%s/%02x", alg, first_byte);
	dir = store_open_dir(c, path);
	while (dir && (entry = readdir(dir)) && entry->d_name[0] == '.')
		;
	if (dir)
		closedir(dir);
	return entry != NULL;
}

/* Without an index only: every folder is looked into, until one has a file. */
static bool has_blob_files(struct cache *c)
{
	for (unsigned i = 0; i < 256; i++)
		if (has_file(c, "sha256", i) || has_file(c, "sha512", i))
			return true;
	return false;
}

static enum err open_parts(struct cache *c, const struct cache_options *opt,
			   struct why *why)
{
	enum err err = open_folders(c, why);
	bool there = err == ERR_OK && has_index(c);
	bool lost = err == ERR_OK && !there && has_blob_files(c);

	if (err == ERR_OK)
		err = journal_open(c, &c->journal, why);
	if (err == ERR_OK)
		err = journal_check_index(c, there, why);
	if (err == ERR_OK)
		err = open_index(c, opt, why);
	if (err == ERR_OK && lost)
		cache_tell(c, CACHE_INDEX_LOST, NULL, NULL);
	if (err == ERR_OK)
		err = journal_catch_up(c, why);
	if (err == ERR_OK)
		err = journal_start(c->journal, why);
	if (err != ERR_OK)
		return err;
	c->space = space_new(c->data_fd, opt->min_free_bytes);
	return recovery_list(c, why);
}

enum err cache_open_folder(const struct cache_options *opt, struct cache **out,
			   struct why *why)
{
	struct cache *c = cache_new(opt);
	enum err err = open_folders(c, why);

	if (err != ERR_OK)
		cache_close(&c);
	*out = c;
	return err;
}

enum err cache_open(const struct cache_options *opt, struct cache **out,
		    struct why *why)
{
	struct cache *c = cache_new(opt);
	enum err err = open_parts(c, opt, why);

	if (err != ERR_OK)
		cache_close(&c);
	*out = c;
	return err;
}

static enum err do_nothing(struct index_txn *txn UNUSED,
			   struct index_op *op UNUSED)
{
	return ERR_OK;
}

/* The writer answers in order, this one last. */
void cache_settle(struct cache *c)
{
	struct index_op op = {.apply = do_nothing};

	(void)!index_submit_wait(c->index, &op);
}

void cache_close(struct cache **cp)
{
	struct cache *c = *cp;

	*cp = NULL;
	if (c->recovery)
		recovery_free(&c->recovery);
	if (c->index) {
		cache_flush_recency(c);
		index_close(&c->index);
	}
	if (c->journal)
		journal_free(&c->journal);
	recency_free(&c->recency);
	blobs_free(&c->blobs);
	staged_free(&c->staged);
	if (c->space)
		space_free(&c->space);
	leases_free(&c->leases);
	uploads_free(&c->uploads);
	holds_free(&c->holds);
	if (c->lock_fd >= 0)
		close(c->lock_fd);
	if (c->data_fd >= 0)
		close(c->data_fd);
	free(c->data);
	free(c);
}

void cache_set_min_free(struct cache *c, uint64_t bytes)
{
	space_set_min_free(c->space, bytes);
}

void cache_set_grace(struct cache *c, uint64_t grace_ms)
{
	leases_set_grace(c->leases, grace_ms);
}

struct index *cache_index(struct cache *c)
{
	return c->index;
}

struct journal *cache_journal(struct cache *c)
{
	return c->journal;
}

void cache_lease(struct cache *c, const struct digest *dg)
{
	lease_take(c->leases, dg);
}
