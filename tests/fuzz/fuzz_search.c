/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any body as Docker Hub's answer to a search: names that pull from here, no
 * more than asked for, and a text that is JSON.
 */
#include "proxy/search_text.h"

#include <jansson.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct search *s = xcalloc(1, sizeof(*s));
	struct list_text out = {0};
	json_t *root;

	search_init(s, "a", 5);
	(void)!search_offer(s, "team/a");
	search_add_hub(s, (const char *)data, size);
	assert(s->n >= 1 && s->n <= 5);
	for (size_t i = 1; i < s->n; i++)
		assert(strncmp(s->results[i].name, "docker.io/", 10) == 0 &&
		       repo_path_valid(s->results[i].name,
				       strlen(s->results[i].name)));
	search_text(s, &out);
	root = json_loadb(out.text, out.len, 0, NULL);
	assert(json_array_size(json_object_get(root, "results")) == s->n);
	json_decref(root);
	list_text_release(&out);
	search_release(s);
	free(s);
	return 0;
}
