/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/json_text.h"

void json_text_raw(struct list_text *t, const char *text)
{
	list_text_add(t, text, strlen(text));
}

static bool is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

void json_text_string(struct list_text *t, const char *bytes, size_t len)
{
	char code[8];

	json_text_raw(t, "\"");
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)bytes[i];

		if (is_plain(c)) {
			list_text_add(t, bytes + i, 1);
			continue;
		}
		snprintf(code, sizeof(code), "\\u%04x", c);
		json_text_raw(t, code);
	}
	json_text_raw(t, "\"");
}

static void key_of(struct list_text *t, const char *key)
{
	if (t->len && t->text[t->len - 1] != '{')
		json_text_raw(t, ",");
	json_text_string(t, key, strlen(key));
	json_text_raw(t, ":");
}

void json_text_field(struct list_text *t, const char *key, const char *value)
{
	if (!value)
		return;
	key_of(t, key);
	json_text_string(t, value, strlen(value));
}

void json_text_number(struct list_text *t, const char *key, uint64_t n)
{
	char text[24];

	key_of(t, key);
	snprintf(text, sizeof(text), "%" PRIu64, n);
	json_text_raw(t, text);
}
