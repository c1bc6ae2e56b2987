/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_JSON_TEXT_H
#define PROXY_JSON_TEXT_H
/*
 * JSON as it is written: a text that grows (proxy/list_text.h), and strings
 * put into it.  Pure functions.
 */
#include "proxy/list_text.h"

/* Append a text as it is. */
void json_text_raw(struct list_text *t, const char *text);
/* Append `len` bytes as a JSON string, with its quotes.  Bytes past ASCII are
 * taken for Latin-1, so that what any client sends makes valid JSON. */
void json_text_string(struct list_text *t, const char *bytes, size_t len);
/* Append ,"key":"value"; no comma behind '{'.  A NULL value adds nothing. */
void json_text_field(struct list_text *t, const char *key, const char *value);
/* Append ,"key":n likewise. */
void json_text_number(struct list_text *t, const char *key, uint64_t n);

#endif
