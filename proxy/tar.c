/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/tar.h"

/* POSIX.1-2017, pax, "ustar Interchange Format": where each field is. */
enum {
	NAME = 0,
	NAME_LEN = 100,
	MODE = 100,
	UID = 108,
	GID = 116,
	SIZE = 124,
	SIZE_LEN = 12,
	MTIME = 136,
	CHECKSUM = 148,
	CHECKSUM_LEN = 8,
	TYPE = 156,
	MAGIC = 257,
	PREFIX = 345,
	PREFIX_LEN = 155,
};

#define USTAR_SIZE_MAX UINT64_C(077777777777)

/* ---- reading ---- */

static bool is_zero(const uint8_t *block)
{
	for (size_t i = 0; i < TAR_BLOCK; i++)
		if (block[i])
			return false;
	return true;
}

/* "The sum of all bytes of the header, with the checksum field as spaces." */
static uint64_t checksum(const uint8_t *block)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += i >= CHECKSUM && i < CHECKSUM + CHECKSUM_LEN ? ' '
								    : block[i];
	return sum;
}

/* Octal digits, with spaces before and a space or NUL behind. */
static bool read_octal(const uint8_t *p, size_t len, uint64_t *out)
{
	uint64_t value = 0;
	size_t i = 0;

	while (i < len && p[i] == ' ')
		i++;
	for (; i < len && p[i] >= '0' && p[i] <= '7'; i++) {
		if (value >> 61)
			return false;
		value = value << 3 | (uint64_t)(p[i] - '0');
	}
	*out = value;
	return i == len || p[i] == ' ' || p[i] == '\0';
}

/* GNU: the top bit of the first byte says that the rest is binary. */
static bool read_number(const uint8_t *p, size_t len, uint64_t *out)
{
	if (!(p[0] & 0x80))
		return read_octal(p, len, out);
	if (p[0] != 0x80)
		return false; /* negative */
	for (size_t i = 1; i < len - 8; i++)
		if (p[i])
			return false;
	*out = get_be64(p + len - 8);
	return true;
}

static void read_name(const uint8_t *block, char *out)
{
	/* GNU's magic is "ustar  ", and it keeps other things in the prefix. */
	bool posix = memcmp(block + MAGIC, "ustar\0", 6) == 0;
	size_t prefix =
	    posix ? strnlen((const char *)block + PREFIX, PREFIX_LEN) : 0;
	size_t len = strnlen((const char *)block + NAME, NAME_LEN);

	snprintf(out, TAR_NAME_MAX + 2, "%.*s%s%.*s", (int)prefix,
		 (const char *)block + PREFIX, prefix ? "/" : "", (int)len,
		 (const char *)block + NAME);
}

static enum tar_kind kind_of(uint8_t type)
{
	switch (type) {
	case '0':
	case '\0':
	case '7':
		return TAR_FILE;
	case 'x':
		return TAR_PAX;
	case 'L':
		return TAR_LONG_NAME;
	default:
		return TAR_OTHER;
	}
}

/* Links, devices and folders have no body, whatever their size says. */
static bool has_body(uint8_t type)
{
	return type < '1' || type > '6';
}

enum err tar_header_read(const uint8_t block[TAR_BLOCK], struct tar_entry *out)
{
	uint64_t sum;

	memset(out, 0, sizeof(*out));
	if (is_zero(block)) {
		out->kind = TAR_END;
		return ERR_OK;
	}
	if (!read_octal(block + CHECKSUM, CHECKSUM_LEN, &sum) ||
	    sum != checksum(block) ||
	    !read_number(block + SIZE, SIZE_LEN, &out->size))
		return ERR_INVALID;
	out->kind = kind_of(block[TYPE]);
	if (!has_body(block[TYPE]))
		out->size = 0;
	read_name(block, out->name);
	return ERR_OK;
}

static void set_name(struct tar_extra *extra, const char *name, size_t len)
{
	extra->has_name = true;
	if (len > TAR_NAME_MAX || memchr(name, '\0', len))
		len = 0;
	memcpy(extra->name, name, len);
	extra->name[len] = '\0';
}

static bool read_decimal(const char *p, size_t len, uint64_t *out)
{
	uint64_t value = 0;

	if (len == 0)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (p[i] < '0' || p[i] > '9' || !size_mul(value, 10, &value) ||
		    !size_add(value, (uint64_t)(p[i] - '0'), &value))
			return false;
	}
	*out = value;
	return true;
}

/* One record without its length and its line's end. */
static bool take_record(const char *p, size_t len, struct tar_extra *extra)
{
	const char *equals = memchr(p, '=', len), *value;
	size_t key, value_len;

	if (!equals)
		return false;
	value = equals + 1;
	key = (size_t)(equals - p);
	value_len = len - key - 1;
	if (key == 4 && memcmp(p, "path", 4) == 0) {
		set_name(extra, value, value_len);
	} else if (key == 4 && memcmp(p, "size", 4) == 0) {
		extra->has_size = true;
		return read_decimal(value, value_len, &extra->size);
	}
	return true;
}

enum err tar_pax_read(const char *body, size_t len, struct tar_extra *extra)
{
	while (len > 0 && body[0] != '\0') {
		const char *space = memchr(body, ' ', len);
		size_t digits = space ? (size_t)(space - body) : 0;
		uint64_t whole;

		if (!read_decimal(body, digits, &whole) || whole > len ||
		    whole < digits + 2 || body[whole - 1] != '\n' ||
		    !take_record(space + 1, (size_t)whole - digits - 2, extra))
			return ERR_INVALID;
		body += whole;
		len -= (size_t)whole;
	}
	return ERR_OK;
}

void tar_long_name(const char *body, size_t len, struct tar_extra *extra)
{
	set_name(extra, body, strnlen(body, len));
}

void tar_apply(struct tar_extra *extra, struct tar_entry *entry)
{
	if (extra->has_name)
		memcpy(entry->name, extra->name, sizeof(entry->name));
	if (extra->has_size)
		entry->size = extra->size;
	memset(extra, 0, sizeof(*extra));
}

/* ---- writing ---- */

static void write_octal(uint8_t *p, size_t len, uint64_t value)
{
	for (size_t i = len - 1; i-- > 0; value >>= 3)
		p[i] = (uint8_t)('0' + (value & 7));
}

static void write_block(uint8_t *block, char type, const char *name,
			uint64_t size)
{
	memset(block, 0, TAR_BLOCK);
	memcpy(block + NAME, name, MIN(strlen(name), (size_t)NAME_LEN));
	write_octal(block + MODE, 8, 0644);
	write_octal(block + UID, 8, 0);
	write_octal(block + GID, 8, 0);
	write_octal(block + SIZE, SIZE_LEN, size);
	write_octal(block + MTIME, 12, 0); /* the same bytes every time */
	block[TYPE] = (uint8_t)type;
	memcpy(block + MAGIC,
	       "ustar\0"
	       "00",
	       8);
	write_octal(block + CHECKSUM, CHECKSUM_LEN - 1, checksum(block));
	block[CHECKSUM + CHECKSUM_LEN - 1] = ' ';
}

/* The length counts itself. */
static size_t write_record(char *out, size_t room, const char *key,
			   const char *value)
{
	size_t rest = strlen(key) + strlen(value) + 3, whole = rest + 1;

	while (whole != rest + (size_t)snprintf(NULL, 0, "%zu", whole))
		whole++;
	snprintf(out, room, "%zu %s=%s\n", whole, key, value);
	return whole;
}

size_t tar_header_write(const char *name, uint64_t size, uint8_t *out)
{
	bool long_name = strlen(name) > NAME_LEN;
	bool large = size > USTAR_SIZE_MAX;
	char records[2 * TAR_BLOCK] = "", number[24];
	size_t len = 0, at = 0;

	assert(strlen(name) <= TAR_NAME_MAX);
	snprintf(number, sizeof(number), "%" PRIu64, size);
	if (long_name)
		len = write_record(records, sizeof(records), "path", name);
	if (large)
		len += write_record(records + len, sizeof(records) - len,
				    "size", number);
	if (len > 0) {
		write_block(out, 'x', "pax", len);
		at = TAR_BLOCK;
		memset(out + at, 0, len + tar_padding(len));
		memcpy(out + at, records, len);
		at += len + tar_padding(len);
	}
	write_block(out + at, '0', name, large ? 0 : size);
	return at + TAR_BLOCK;
}
