/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A statement of the journal, as it comes from a disk.  What must hold: one
 * that is accepted encodes to the same bytes, and its names are names.
 */
#include "cache/journal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t again[JOURNAL_ENTRY_MAX];
	uint8_t *exact = xmemdup(data, size); /* no byte behind it is read */
	struct journal_entry e;

	if (journal_entry_decode(exact, size, &e) == ERR_OK) {
		require(repo_name_valid(e.repo, strlen(e.repo)));
		require(!e.tag || tag_valid(e.tag, strlen(e.tag)));
		require(!e.media_type || strlen(e.media_type) < MEDIA_TYPE_MAX);
		require(journal_entry_encode(&e, again) == size);
		require(memcmp(again, exact, size) == 0);
	}
	free(exact);
	return 0;
}
