/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/crc.h"

#include <pthread.h>
#include <stdatomic.h>

#define POLYNOMIAL 0x82f63b78u

typedef uint32_t crc_fn(uint32_t crc, const uint8_t *p, size_t len);

/*
 * tables[k][b] is what byte b does to the sum when k more bytes follow it, so
 * that eight bytes are folded in with eight independent look-ups.
 */
static uint32_t tables[8][256];
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void make_tables(void)
{
	for (uint32_t b = 0; b < 256; b++) {
		uint32_t crc = b;

		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
		tables[0][b] = crc;
	}
	for (int k = 1; k < 8; k++) {
		for (int b = 0; b < 256; b++) {
			uint32_t crc = tables[k - 1][b];

			tables[k][b] = (crc >> 8) ^ tables[0][crc & 0xff];
		}
	}
}

static uint32_t table_update(uint32_t crc, const uint8_t *p, size_t len)
{
	pthread_once(&tables_once, make_tables);
	for (; len >= 8; p += 8, len -= 8) {
		uint32_t next = 0;

		for (unsigned i = 0; i < 8; i++) {
			uint8_t sum = i < 4 ? (uint8_t)(crc >> (8 * i)) : 0;

			next ^= tables[7 - i][p[i] ^ sum];
		}
		crc = next;
	}
	while (len--)
		crc = (crc >> 8) ^ tables[0][(crc ^ *p++) & 0xff];
	return crc;
}

#if defined(__x86_64__)

__attribute__((target("sse4.2"))) static uint32_t hardware_update(
    uint32_t crc, const uint8_t *p, size_t len)
{
	uint64_t sum = crc, word;

	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&word, p, 8);
		sum = __builtin_ia32_crc32di(sum, word);
	}
	crc = (uint32_t)sum;
	while (len--)
		crc = __builtin_ia32_crc32qi(crc, *p++);
	return crc;
}

static bool has_hardware(void)
{
	return __builtin_cpu_supports("sse4.2");
}

#elif defined(__aarch64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__

#include <sys/auxv.h>

#define HWCAP_HAS_CRC32 (1ul << 7)

/* By name, not by <arm_acle.h>: that header offers the instructions only if
 * the whole file is compiled for a processor that has them. */
static uint32_t hardware_update(uint32_t crc, const uint8_t *p, size_t len)
{
	uint64_t word;

	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&word, p, 8);
		__asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1"
			: "+r"(crc)
			: "r"(word));
	}
	while (len--)
		__asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1"
			: "+r"(crc)
			: "r"((uint32_t)*p++));
	return crc;
}

static bool has_hardware(void)
{
	return getauxval(AT_HWCAP) & HWCAP_HAS_CRC32;
}

#else

static uint32_t hardware_update(uint32_t crc, const uint8_t *p, size_t len)
{
	return table_update(crc, p, len);
}

static bool has_hardware(void)
{
	return false;
}

#endif

/* Chosen at the first call; every thread would choose the same. */
static crc_fn *update(void)
{
	static _Atomic(crc_fn *) chosen;
	crc_fn *fn = atomic_load_explicit(&chosen, memory_order_relaxed);

	if (!fn) {
		fn = has_hardware() ? hardware_update : table_update;
		atomic_store_explicit(&chosen, fn, memory_order_relaxed);
	}
	return fn;
}

uint32_t crc32c(const void *buf, size_t len)
{
	return ~update()(UINT32_MAX, buf, len);
}

uint32_t crc32c_more(uint32_t crc, const void *buf, size_t len)
{
	return ~update()(~crc, buf, len);
}

uint32_t crc32c_by_table(const void *buf, size_t len)
{
	return ~table_update(UINT32_MAX, buf, len);
}
