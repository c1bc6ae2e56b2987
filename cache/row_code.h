/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_ROW_CODE_H
#define CACHE_ROW_CODE_H
/*
 * Rows as bytes: a version, then fields in a fixed order, integers
 * big-endian, byte strings behind their length.  Only the row_*.c files use
 * it.
 *
 * Reading is bounded and remembers failure: after the first field that is not
 * there, every field is zero, and row_in_end() says so once.
 */
#include "cache/digest.h"
#include "cache/index.h"

#define ROW_VERSION 1

struct row_out {
	uint8_t *buf;
	size_t len, room;
};

void row_out_begin(struct row_out *out);
void row_out_u8(struct row_out *out, uint8_t v);
void row_out_u64(struct row_out *out, uint64_t v);
void row_out_bytes(struct row_out *out, const void *ptr, size_t len);
/* A digest that may be none. */
void row_out_digest(struct row_out *out, const struct digest *dg);
/* Write it under `key` and free the buffer. */
void row_out_put(struct row_out *out, struct index_txn *txn,
		 enum index_table table, struct slice key);

struct row_in {
	struct slice rest;
	bool bad;
};

void row_in_begin(struct row_in *in, struct slice payload);
uint8_t row_in_u8(struct row_in *in);
uint64_t row_in_u64(struct row_in *in);
/* Borrowed from the payload. */
struct slice row_in_bytes(struct row_in *in);
void row_in_digest(struct row_in *in, struct digest *out);
/* A value of an enum, from `first` to `last`. */
uint8_t row_in_enum(struct row_in *in, uint8_t first, uint8_t last);
/* Copy a string of at most size - 1 bytes, none of them NUL. */
void row_in_text(struct row_in *in, char *out, size_t size);
/* ERR_OK if all fields were there and nothing else; else ERR_CORRUPT. */
enum err row_in_end(const struct row_in *in) MUST_CHECK;

#endif
