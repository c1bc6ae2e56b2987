/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROXY_ADDRESS_H
#define PROXY_ADDRESS_H
/*
 * How private an address is, and which a redirect or token realm may lead to
 *.  Pure; any thread.
 */
#include "cache/base.h"

#include <sys/socket.h>

/* In order: a redirect may not lead to a later class than the upstream's own
 * address, unless it is listed. */
enum address_class {
	ADDRESS_PUBLIC,
	ADDRESS_PRIVATE,   /* RFC 1918, fc00::/7, 100.64/10 */
	ADDRESS_LOOPBACK,  /* 127/8, ::1 */
	ADDRESS_FORBIDDEN, /* link-local, unspecified, multicast, broadcast,
			      and every form that embeds one of these */
};
/* IPv4-mapped, NAT64 and 6to4 forms are judged by the address inside. */
enum address_class address_class(const struct sockaddr *sa);
const char *address_class_name(enum address_class c);

/* "192.0.2.1" or "2001:db8::1" into out[INET6_ADDRSTRLEN]; returns out. */
char *address_text(const struct sockaddr *sa, char *out);
/* Parse a literal ("10.0.0.1", "::1", "[::1]"); false if it is a name. */
bool address_parse(const char *text, uint16_t port,
		   struct sockaddr_storage *out);

#endif
