/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any text as Docker's config.json or podman's auth.json, and as what a
 * credential helper prints.
 */
#include "proxy/credential.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_list(const struct credential_list *list)
{
	assert(!list->helper == !list->server);
	assert(!list->helper || !strpbrk(list->helper, "/ \n"));
	for (size_t i = 0; i < list->n; i++) {
		assert(list->v[i].path);
		assert(!credential_is_none(&list->v[i].cred));
		assert(credential_list_find(list, list->v[i].path) ==
		       &list->v[i].cred);
		for (size_t k = 0; k < i; k++)
			assert(strcmp(list->v[i].path, list->v[k].path) != 0);
	}
}

static void as_file(const char *text, size_t len, const char *host)
{
	const char *const hosts[] = {host, "registry.example:5000"};
	struct credential_list list;
	struct why why;

	if (credential_file_parse(text, len, hosts, ARRAY_LEN(hosts), &list,
				  &why))
		return;
	check_list(&list);
	(void)credential_list_find(&list, "library/a");
	credential_list_release(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct credential cred, copy;
	struct why why;

	as_file(text, size, "docker.io");
	as_file(text, size, "quay.io");
	if (credential_helper_parse(text, size, &cred, &why) == ERR_OK) {
		assert(!credential_is_none(&cred));
		credential_copy(&copy, &cred);
		credential_release(&cred);
		assert(!credential_is_none(&copy));
		credential_release(&copy);
	}
	return 0;
}
