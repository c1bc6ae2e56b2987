/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_CONF_VALUE_H
#define PROXY_CONF_VALUE_H
/*
 * The values that options are written in: durations, sizes, addresses, URLs,
 * networks (hosts, names and patterns are cache/name.h's).  Pure functions over
 * text; they say yes or no, and the caller, who knows the key path, says it to
 * the user.  Outputs are untouched on false.  Any thread.
 */
#include "proxy/conf.h"

/* The longest duration: a hundred years, so that sums cannot overflow. */
#define CONF_DURATION_MAX_MS ((uint64_t)36500 * 86400 * 1000)
#define CONF_SIZE_MAX ((uint64_t)INT64_MAX)

/* "250ms", "90s", "5m", "24h", "7d": digits and one unit. */
bool conf_duration_parse(const char *text, uint64_t *ms) MUST_CHECK;

/* "10G", "64K" (binary; K M G T P), or digits alone for bytes. */
bool conf_size_parse(const char *text, uint64_t *bytes) MUST_CHECK;

/* "host:port" of numbers, or "localhost:port"; "[::]:5000" for IPv6.
   Fills text, addr and addr_len; mirror_of becomes NULL. */
bool conf_listen_parse(const char *text, struct conf_listen *out) MUST_CHECK;
void conf_listen_release(struct conf_listen *l);

/* A URL whose scheme is among `schemes` ("http https"). */
bool conf_url_parse(const char *text, const char *schemes,
		    struct conf_url *out) MUST_CHECK;
void conf_url_release(struct conf_url *url);

bool conf_allow_parse(const char *text, struct conf_allow *out) MUST_CHECK;
void conf_allow_release(struct conf_allow *allow);
bool conf_allow_matches(const struct conf_allow *allow, const char *host,
			uint16_t port, const struct sockaddr *addr);

#endif
