/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/fetch_int.h"

unsigned fetch_head_status(const struct fetch_head *h)
{
	return h->status;
}

const char *fetch_head_field(const struct fetch_head *h, const char *name,
			     unsigned n)
{
	for (unsigned i = 0; i < h->n; i++)
		if (strcasecmp(h->fields[i].name, name) == 0 && n-- == 0)
			return h->fields[i].value;
	return NULL;
}

void fetch_head_clear(struct fetch_head *h)
{
	for (unsigned i = 0; i < h->n; i++)
		free(h->fields[i].name); /* value is in the same block */
	memset(h, 0, sizeof(*h));
}

size_t fetch_trim(const char **p, size_t len)
{
	while (len && (**p == ' ' || **p == '\t')) {
		(*p)++;
		len--;
	}
	while (len && strchr(" \t\r\n", (*p)[len - 1]))
		len--;
	return len;
}

void fetch_head_add(struct fetch_head *h, const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len);
	const char *value;
	size_t name_len, value_len;
	char *block;

	if (!colon || h->n == FETCH_HEADERS_MAX)
		return;
	name_len = (size_t)(colon - line);
	value = colon + 1;
	value_len = fetch_trim(&value, len - name_len - 1);
	block = xmalloc(name_len + value_len + 2);
	memcpy(block, line, name_len);
	block[name_len] = '\0';
	memcpy(block + name_len + 1, value, value_len);
	block[name_len + 1 + value_len] = '\0';
	h->fields[h->n].name = block;
	h->fields[h->n].value = block + name_len + 1;
	h->n++;
}
