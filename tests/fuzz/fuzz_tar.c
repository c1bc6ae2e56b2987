/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tar archive, walked as an import does.  What must hold: the walk ends, no
 * body lies outside, and a name and a size that were read can be written and
 * are then the same.
 */
#include "proxy/tar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void check_round(const struct tar_entry *e)
{
	uint8_t out[TAR_HEADER_MAX];
	struct tar_extra extra = {0};
	struct tar_entry again;
	size_t len, at = 0;

	if (strlen(e->name) > TAR_NAME_MAX || e->size > INT64_MAX ||
	    memchr(e->name, '\n', strlen(e->name)))
		return;
	len = tar_header_write(e->name, e->size, out);
	require(len <= sizeof(out));
	require(tar_header_read(out, &again) == ERR_OK);
	if (again.kind == TAR_PAX) {
		require(tar_pax_read((char *)out + TAR_BLOCK,
				     (size_t)again.size, &extra) == ERR_OK);
		at = TAR_BLOCK + (size_t)again.size + tar_padding(again.size);
		require(tar_header_read(out + at, &again) == ERR_OK);
	}
	tar_apply(&extra, &again);
	require(again.kind == TAR_FILE && again.size == e->size);
	require(strcmp(again.name, e->name) == 0);
}

/* Its own memory, so that a byte too far is seen. */
static enum err read_extra(const struct tar_entry *e, const uint8_t *body,
			   struct tar_extra *extra)
{
	char *exact = xmemdup(body, MAX((size_t)e->size, 1));
	enum err err = ERR_OK;

	if (e->kind == TAR_PAX)
		err = tar_pax_read(exact, (size_t)e->size, extra);
	else
		tar_long_name(exact, (size_t)e->size, extra);
	free(exact);
	require(strlen(extra->name) <= TAR_NAME_MAX);
	return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tar_extra extra = {0};
	struct tar_entry e;
	uint64_t at = 0;

	while (at + TAR_BLOCK <= size) {
		if (tar_header_read(data + at, &e) != ERR_OK ||
		    e.kind == TAR_END)
			return 0;
		at += TAR_BLOCK;
		if (e.kind == TAR_FILE || e.kind == TAR_OTHER)
			tar_apply(&extra, &e);
		if (e.size > size || at > size - e.size)
			return 0;
		if (e.kind == TAR_FILE)
			check_round(&e);
		else if (e.kind != TAR_OTHER && e.size > 0 &&
			 read_extra(&e, data + at, &extra) != ERR_OK)
			return 0;
		at += e.size + tar_padding(e.size);
	}
	return 0;
}
