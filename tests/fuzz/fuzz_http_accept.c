/* SPDX-License-Identifier: Apache-2.0 */
/* Accept: one line per field; the order of lines does not matter. */
#include "proxy/http_accept.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TYPE "application/vnd.oci.image.index.v1+json"
#define MAX_LINES 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span rest = {(const char *)data, size}, lines[MAX_LINES];
	struct http_accept there = {0}, back = {0};
	unsigned n = 0;

	while (n < MAX_LINES - 1 && span_cut(&rest, '\n', &lines[n]))
		n++;
	lines[n++] = rest;
	for (unsigned i = 0; i < n; i++)
		http_accept_add(&there, lines[i], TYPE);
	for (unsigned i = n; i-- > 0;)
		http_accept_add(&back, lines[i], TYPE);
	assert(http_accept_verdict(&there) == http_accept_verdict(&back));
	assert(there.usable || http_accept_verdict(&there));
	/* Asking for the type by name always works. */
	http_accept_add(&there, span_of(TYPE), TYPE);
	assert(http_accept_verdict(&there));
	return 0;
}
