/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/tar.h"
#include "tests/unit/unit.h"

static uint8_t block[TAR_HEADER_MAX];

/* Read back what was written: the name and the size that it stands for. */
static void check_round(const char *name, uint64_t size, size_t blocks)
{
	size_t len = tar_header_write(name, size, block);
	struct tar_extra extra = {0};
	struct tar_entry e;
	size_t at = 0;

	CHECK(len == blocks * TAR_BLOCK);
	CHECK(tar_header_read(block, &e) == ERR_OK);
	if (e.kind == TAR_PAX) {
		CHECK(tar_pax_read((char *)block + TAR_BLOCK, (size_t)e.size,
				   &extra) == ERR_OK);
		at = TAR_BLOCK + (size_t)e.size + tar_padding(e.size);
		CHECK(tar_header_read(block + at, &e) == ERR_OK);
	}
	tar_apply(&extra, &e);
	CHECK(e.kind == TAR_FILE && e.size == size);
	CHECK_STR(e.name, name);
	CHECK(at + TAR_BLOCK == len);
	CHECK(!extra.has_name && !extra.has_size);
}

static void what_is_written_is_read(void)
{
	char longest[TAR_NAME_MAX + 1];

	memset(longest, 'a', TAR_NAME_MAX);
	longest[TAR_NAME_MAX] = '\0';
	check_round("index.json", 0, 1);
	check_round("oci-layout", 511, 1);
	check_round("big", UINT64_C(077777777777), 1);
	check_round("bigger", UINT64_C(0100000000000), 3);
	check_round("huge", UINT64_MAX / 2, 3);
	check_round(longest, 3, 3);
	check_round(longest, UINT64_MAX / 2, 3);
	longest[100] = '\0';
	check_round(longest, 3, 1);
	longest[100] = 'a';
	longest[101] = '\0';
	check_round(longest, 3, 3);
}

static void end_and_nonsense(void)
{
	struct tar_entry e;

	memset(block, 0, sizeof(block));
	CHECK(tar_header_read(block, &e) == ERR_OK && e.kind == TAR_END);
	memset(block, 'x', sizeof(block));
	CHECK(tar_header_read(block, &e) == ERR_INVALID);
	tar_header_write("name", 5, block);
	block[0]++;
	CHECK(tar_header_read(block, &e) == ERR_INVALID); /* its checksum */
}

/* Write another byte, and have the checksum agree. */
static void set_bytes(size_t at, const void *bytes, size_t len)
{
	unsigned sum = 0;

	memcpy(block + at, bytes, len);
	memset(block + 148, ' ', 8);
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += block[i];
	snprintf((char *)block + 148, 8, "%06o", sum);
	block[155] = ' ';
}

static void other_programs_headers(void)
{
	struct tar_entry e;

	tar_header_write("name", 5, block);
	set_bytes(345, "a/prefix", 9); /* ustar's */
	CHECK(tar_header_read(block, &e) == ERR_OK);
	CHECK_STR(e.name, "a/prefix/name");
	set_bytes(257, "ustar  ", 8); /* GNU's: no prefix */
	CHECK(tar_header_read(block, &e) == ERR_OK);
	CHECK_STR(e.name, "name");
	set_bytes(124, "\x80\0\0\0\0\0\0\x02\0\0\0\x01", 12);
	CHECK(tar_header_read(block, &e) == ERR_OK);
	CHECK(e.size == 2 * 4 * GIB + 1);
	set_bytes(124, "\x80\0\0\1\0\0\0\0\0\0\0\0", 12);
	CHECK(tar_header_read(block, &e) == ERR_INVALID);
	set_bytes(124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12);
	CHECK(tar_header_read(block, &e) == ERR_INVALID);
	set_bytes(124, "       12 \0\0", 12);
	CHECK(tar_header_read(block, &e) == ERR_OK && e.size == 10);
	set_bytes(124, "12x45678901", 12);
	CHECK(tar_header_read(block, &e) == ERR_INVALID);
	set_bytes(124, "00000001000", 12);
	set_bytes(156, "5", 1); /* a folder has no body */
	CHECK(tar_header_read(block, &e) == ERR_OK);
	CHECK(e.kind == TAR_OTHER && e.size == 0);
	set_bytes(156, "g", 1);
	CHECK(tar_header_read(block, &e) == ERR_OK);
	CHECK(e.kind == TAR_OTHER && e.size == 01000);
	set_bytes(156, "L", 1);
	CHECK(tar_header_read(block, &e) == ERR_OK && e.kind == TAR_LONG_NAME);
}

static void pax_records(void)
{
	static const struct {
		const char *text;
		enum err want;
		const char *name; /* NULL = none said */
		uint64_t size;
	} rows[] = {
	    {"", ERR_OK, NULL, 0},
	    {"8 path=\n", ERR_OK, "", 0},
	    {"9 path=a\n", ERR_OK, "a", 0},
	    {"9 path=a\n9 path=b\n", ERR_OK, "b", 0},
	    {"10 mtime=\n9 path=c\n11 size=12\n", ERR_OK, "c", 12},
	    {"9 path=a\n\0garbage", ERR_OK, "a", 0},
	    {"30 size=18446744073709551615\n", ERR_INVALID, NULL, 0},
	    {"29 size=18446744073709551615\n", ERR_OK, NULL, UINT64_MAX},
	    {"29 size=18446744073709551616\n", ERR_INVALID, NULL, 0},
	    {"10 size=-1\n", ERR_INVALID, NULL, 0},
	    {"8 size=\n", ERR_INVALID, NULL, 0},
	    {"11 path=a\n", ERR_INVALID, NULL, 0},
	    {"8 path=a\n", ERR_INVALID, NULL, 0},
	    {"0 path=a\n", ERR_INVALID, NULL, 0},
	    {"7 patha\n", ERR_INVALID, NULL, 0},
	    {"path=a\n", ERR_INVALID, NULL, 0},
	    {" \n", ERR_INVALID, NULL, 0},
	    {"2 ", ERR_INVALID, NULL, 0},
	    {"3 \n", ERR_INVALID, NULL, 0},
	    {"99999999999999999999 path=a\n", ERR_INVALID, NULL, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct tar_extra extra = {0};
		size_t len = strlen(rows[i].text);
		/* Exactly as long, so that a byte too far is seen. */
		char *text = xmemdup(rows[i].text, MAX(len, 1));

		CHECK(tar_pax_read(text, len, &extra) == rows[i].want);
		free(text);
		if (rows[i].want != ERR_OK)
			continue;
		CHECK(extra.has_name == !!rows[i].name);
		if (rows[i].name)
			CHECK_STR(extra.name, rows[i].name);
		CHECK(extra.size == rows[i].size);
	}
}

static void name_too_long_is_nobodys(void)
{
	struct tar_extra extra = {0};
	char name[TAR_NAME_MAX + 2];

	memset(name, 'a', sizeof(name));
	tar_long_name(name, TAR_NAME_MAX, &extra);
	CHECK(extra.has_name && strlen(extra.name) == TAR_NAME_MAX);
	tar_long_name(name, TAR_NAME_MAX + 1, &extra);
	CHECK(extra.has_name);
	CHECK_STR(extra.name, "");
	tar_long_name("short\0more", 10, &extra);
	CHECK_STR(extra.name, "short");
}

int main(void)
{
	RUN(what_is_written_is_read);
	RUN(end_and_nonsense);
	RUN(other_programs_headers);
	RUN(pax_records);
	RUN(name_too_long_is_nobodys);
	return unit_done();
}
