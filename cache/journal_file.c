/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/journal_file.h"

#include "cache/crc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_DIGITS 16

/* ---- frames ---- */

void journal_frame_head(uint8_t *head, uint64_t first, uint32_t n,
			const void *records, size_t len)
{
	uint8_t *covered = head + JOURNAL_FRAME_HEAD;
	uint32_t crc;

	assert(len <= JOURNAL_FRAME_MAX - JOURNAL_FRAME_MIN);
	put_be64(covered, first);
	put_be32(covered + 8, n);
	crc = crc32c(covered, JOURNAL_FRAME_MIN);
	crc = crc32c_more(crc, records, len);
	put_be32(head, (uint32_t)(JOURNAL_FRAME_MIN + len));
	put_be32(head + 4, crc);
}

bool journal_frame_take(struct slice *rest, struct journal_frame *out)
{
	const uint8_t *covered = rest->ptr + JOURNAL_FRAME_HEAD;
	uint32_t len;

	if (rest->len < JOURNAL_FRAME_HEAD + JOURNAL_FRAME_MIN)
		return false;
	len = get_be32(rest->ptr);
	if (len < JOURNAL_FRAME_MIN || len > JOURNAL_FRAME_MAX ||
	    len > rest->len - JOURNAL_FRAME_HEAD ||
	    get_be32(rest->ptr + 4) != crc32c(covered, len))
		return false;
	out->first = get_be64(covered);
	out->n = get_be32(covered + 8);
	out->records =
	    slice_of(covered + JOURNAL_FRAME_MIN, len - JOURNAL_FRAME_MIN);
	rest->ptr += JOURNAL_FRAME_HEAD + len;
	rest->len -= JOURNAL_FRAME_HEAD + len;
	return true;
}

bool journal_record_take(struct slice *records, struct slice *out)
{
	uint32_t len;

	if (records->len < 4)
		return false;
	len = get_be32(records->ptr);
	if (len > records->len - 4)
		return false;
	*out = slice_of(records->ptr + 4, len);
	records->ptr += 4 + len;
	records->len -= 4 + len;
	return true;
}

/* `first` is looked at before a CRC is made, which would make the search slow
 * in a file of many plausible lengths. */
static bool may_begin(struct slice at, uint64_t min, uint64_t max)
{
	uint64_t first;

	if (at.len < JOURNAL_FRAME_HEAD + JOURNAL_FRAME_MIN)
		return false;
	first = get_be64(at.ptr + JOURNAL_FRAME_HEAD);
	return first >= min && first <= max;
}

bool journal_frame_find(struct slice *rest, uint64_t min, uint64_t max)
{
	struct journal_frame frame;

	for (size_t i = 0; i < rest->len; i++) {
		struct slice at = slice_of(rest->ptr + i, rest->len - i), end;

		end = at;
		if (!may_begin(at, min, max) ||
		    !journal_frame_take(&end, &frame))
			continue;
		*rest = at;
		return true;
	}
	return false;
}

/* ---- files ---- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool journal_name_parse(const char *name, const char *suffix, uint64_t *seq)
{
	*seq = 0;
	for (int i = 0; i < NAME_DIGITS; i++) {
		int digit = hex_digit(name[i]);

		if (digit < 0)
			return false;
		*seq = *seq << 4 | (uint64_t)digit;
	}
	return name[NAME_DIGITS] == '.' &&
	       strcmp(name + NAME_DIGITS + 1, suffix) == 0;
}

char *journal_path(uint64_t seq, const char *suffix, char *out)
{
	snprintf(out, PATH_LEN_MAX, "journal/%016" PRIx64 ".%s", seq, suffix);
	return out;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

enum err journal_list(struct cache *c, const char *suffix, uint64_t **v,
		      size_t *n, struct why *why)
{
	DIR *dir = store_open_dir(c, "journal");
	struct dirent *entry;
	uint64_t seq;

	*v = NULL;
	*n = 0;
	if (!dir)
		return store_error(why, errno, "list", "journal");
	while ((entry = readdir(dir))) {
		if (!journal_name_parse(entry->d_name, suffix, &seq))
			continue;
		*v = xrealloc(*v, (*n + 1) * sizeof(**v));
		(*v)[(*n)++] = seq;
	}
	closedir(dir);
	if (*n)
		qsort(*v, *n, sizeof(**v), compare);
	return ERR_OK;
}

enum err journal_damaged(struct why *why, const char *fmt, ...)
{
	char text[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return why_set(why, ERR_CORRUPT,
		       "%s; 'entrepot rebuild journal' mends it from the "
		       "index, or 'entrepot rebuild', if there is none, takes "
		       "what can be read",
		       text);
}

enum err journal_read(struct cache *c, const char *path, uint64_t max,
		      uint8_t **buf, size_t *len, struct why *why)
{
	int fd = store_open(c, path, O_RDONLY | O_NONBLOCK), error = 0;
	struct stat st;
	ssize_t got = -1;

	*buf = NULL;
	*len = 0;
	if (fd < 0)
		return store_error(why, errno, "open", path);
	if (fstat(fd, &st) != 0) {
		error = errno;
	} else if (!S_ISREG(st.st_mode)) {
		error = EINVAL;
	} else if ((uint64_t)st.st_size > max) {
		error = EFBIG;
	} else {
		*buf = xmalloc((size_t)st.st_size + 1);
		got = store_pread(fd, *buf, (size_t)st.st_size, 0);
		if (got < 0)
			error = errno;
	}
	close(fd);
	if (error) {
		free(*buf);
		*buf = NULL;
		return store_error(why, error, "read", path);
	}
	*len = (size_t)got;
	return ERR_OK;
}
