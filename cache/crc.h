/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_CRC_H
#define CACHE_CRC_H
/*
 * CRC-32C (Castagnoli), as in RFC 3720, appendix B.4: reflected polynomial
 * 0x82f63b78, initial value and final xor all ones.  It guards our stored
 * rows and maps against rot, not against anybody.
 */
#include "cache/base.h"

/* By the processor's own instruction where it has one.  Pure; any thread. */
uint32_t crc32c(const void *buf, size_t len);
/* Of bytes whose beginning has the CRC `crc`, and of which buf is the rest. */
uint32_t crc32c_more(uint32_t crc, const void *buf, size_t len);

/* The same by table; what crc32c() falls back on, and is tested against. */
uint32_t crc32c_by_table(const void *buf, size_t len);

#endif
