/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHE_BASE_H
#define CACHE_BASE_H
/*
 * What every file may use: the fixed-width types, memory that cannot fail,
 * checked sizes, clocks, and the two words that signatures carry, MUST_CHECK
 * and STEALS.
 *
 * Memory: running out is not an error that a caller handles here.  Everything
 * that grows with foreign input is bounded by its own limit; past that the
 * process is in a state nobody tested, so xmalloc() and friends abort.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <sys/types.h>

#ifdef NDEBUG
#error "asserts stay on in release; they speak only about ourselves"
#endif

/* clang warns where a fortified libc defines one of them as a macro. */
#undef strcpy
#undef strcat
#undef sprintf
#undef vsprintf
#undef strtok
#pragma GCC poison strcpy strcat sprintf vsprintf strtok

/* The caller must look at the result. */
#define MUST_CHECK __attribute__((warn_unused_result))
/* The callee takes over this argument; the caller must not use it again. */
#define STEALS
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define NORETURN __attribute__((noreturn))
#define UNUSED __attribute__((unused))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/* The struct that holds `member`, from a pointer to that member. */
#define container_of(ptr, type, member)                                        \
	((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* sys/queue.h in glibc lacks the walk that survives removal. */
#ifndef TAILQ_FOREACH_SAFE
#define TAILQ_FOREACH_SAFE(var, head, field, tvar)                             \
	for ((var) = TAILQ_FIRST(head);                                        \
	     (var) && ((tvar) = TAILQ_NEXT(var, field), 1); (var) = (tvar))
#endif
#ifndef STAILQ_FIRST
#error "sys/queue.h without STAILQ"
#endif

/*
 * Allocate or abort.  xcalloc() zeroes and checks n * size for overflow;
 * xstrndup() stops at a NUL.  Free with free().  Any thread.
 */
void *xmalloc(size_t size) __attribute__((malloc)) MUST_CHECK;
void *xcalloc(size_t n, size_t size) __attribute__((malloc)) MUST_CHECK;
void *xrealloc(void *STEALS ptr, size_t size) MUST_CHECK;
char *xstrdup(const char *s) __attribute__((malloc)) MUST_CHECK;
char *xstrndup(const char *s, size_t len) __attribute__((malloc)) MUST_CHECK;
void *xmemdup(const void *p, size_t len) __attribute__((malloc)) MUST_CHECK;
char *xasprintf(const char *fmt, ...) PRINTF_LIKE(1, 2) MUST_CHECK;

/*
 * Add or multiply sizes; false, and *out untouched, on overflow.
 */
static inline bool size_add(uint64_t a, uint64_t b, uint64_t *out)
{
	uint64_t sum;

	if (__builtin_add_overflow(a, b, &sum))
		return false;
	*out = sum;
	return true;
}

static inline bool size_mul(uint64_t a, uint64_t b, uint64_t *out)
{
	uint64_t product;

	if (__builtin_mul_overflow(a, b, &product))
		return false;
	*out = product;
	return true;
}

/*
 * now_ms(): the monotonic clock, for every deadline.  now_us(): the same in
 * microseconds, for durations in the log.  wall_s(): seconds since the epoch,
 * for what is stored or shown; wall_ms() for what
 * is compared with periods of the configuration.  Any thread.
 */
uint64_t now_ms(void);
uint64_t now_us(void);
uint64_t wall_s(void);
uint64_t wall_ms(void);

/* What a noun ends in behind the number n: "1 blob", "2 blobs". */
static inline const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

/* Big-endian integers in keys and records. */
static inline void put_be16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void put_be32(uint8_t *p, uint32_t v)
{
	put_be16(p, (uint16_t)(v >> 16));
	put_be16(p + 2, (uint16_t)v);
}

static inline void put_be64(uint8_t *p, uint64_t v)
{
	put_be32(p, (uint32_t)(v >> 32));
	put_be32(p + 4, (uint32_t)v);
}

static inline uint16_t get_be16(const uint8_t *p)
{
	return (uint16_t)((p[0] << 8) | p[1]);
}

static inline uint32_t get_be32(const uint8_t *p)
{
	return ((uint32_t)get_be16(p) << 16) | get_be16(p + 2);
}

static inline uint64_t get_be64(const uint8_t *p)
{
	return ((uint64_t)get_be32(p) << 32) | get_be32(p + 4);
}

#endif
