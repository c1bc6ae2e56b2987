/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

struct v4_block {
	uint32_t net, mask;
	enum address_class class;
};

#define V4(a, b, c, d)                                                         \
	((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 |      \
	 (uint32_t)(d))
#define MASK(bits) (0xffffffffu << (32 - (bits)))

static const struct v4_block v4_blocks[] = {
    {V4(0, 0, 0, 0), MASK(8), ADDRESS_FORBIDDEN},   /* "this host" */
    {V4(10, 0, 0, 0), MASK(8), ADDRESS_PRIVATE},    /* RFC 1918 */
    {V4(100, 64, 0, 0), MASK(10), ADDRESS_PRIVATE}, /* RFC 6598 */
    {V4(127, 0, 0, 0), MASK(8), ADDRESS_LOOPBACK},
    {V4(169, 254, 0, 0), MASK(16), ADDRESS_FORBIDDEN}, /* link-local */
    {V4(172, 16, 0, 0), MASK(12), ADDRESS_PRIVATE},
    {V4(192, 0, 0, 0), MASK(24), ADDRESS_PRIVATE}, /* RFC 6890 */
    {V4(192, 168, 0, 0), MASK(16), ADDRESS_PRIVATE},
    {V4(198, 18, 0, 0), MASK(15), ADDRESS_PRIVATE}, /* RFC 2544 */
    {V4(224, 0, 0, 0), MASK(4), ADDRESS_FORBIDDEN}, /* multicast */
    {V4(240, 0, 0, 0), MASK(4), ADDRESS_FORBIDDEN}, /* reserved, broadcast */
};

static enum address_class v4_class(uint32_t addr)
{
	for (size_t i = 0; i < ARRAY_LEN(v4_blocks); i++)
		if ((addr & v4_blocks[i].mask) == v4_blocks[i].net)
			return v4_blocks[i].class;
	return ADDRESS_PUBLIC;
}

static enum address_class v6_class(const uint8_t *a)
{
	static const uint8_t zero[16], loopback[16] = {[15] = 1};
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b};
	static const uint8_t local_nat64[6] = {0x00, 0x64, 0xff, 0x9b, 0, 1};
	static const uint8_t translated[12] = {[8] = 0xff, [9] = 0xff};

	if (memcmp(a, loopback, 16) == 0)
		return ADDRESS_LOOPBACK;
	if (memcmp(a, zero, 16) == 0)
		return ADDRESS_FORBIDDEN;
	if (memcmp(a, mapped, 12) == 0 || memcmp(a, nat64, 12) == 0 ||
	    memcmp(a, translated, 12) == 0) /* RFC 2765 */
		return v4_class(get_be32(a + 12));
	/* RFC 8215: a translator of this network's, to wherever it likes */
	if (memcmp(a, local_nat64, 6) == 0)
		return ADDRESS_PRIVATE;
	if (memcmp(a, zero, 12) == 0) /* IPv4-compatible, long withdrawn */
		return ADDRESS_FORBIDDEN;
	if (a[0] == 0x20 && a[1] == 0x02) /* 6to4 */
		return v4_class(get_be32(a + 2));
	if ((a[0] & 0xfe) == 0xfc) /* fc00::/7 */
		return ADDRESS_PRIVATE;
	if (a[0] == 0xfe && (a[1] & 0xc0) == 0xc0) /* fec0::/10, site-local */
		return ADDRESS_PRIVATE;
	if (a[0] == 0xfe && (a[1] & 0xc0) == 0x80) /* fe80::/10 */
		return ADDRESS_FORBIDDEN;
	if (a[0] == 0xff) /* multicast */
		return ADDRESS_FORBIDDEN;
	return ADDRESS_PUBLIC;
}

enum address_class address_class(const struct sockaddr *sa)
{
	const void *p = sa;

	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = p;

		return v4_class(ntohl(in->sin_addr.s_addr));
	}
	if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = p;

		return v6_class(in6->sin6_addr.s6_addr);
	}
	return ADDRESS_FORBIDDEN;
}

const char *address_class_name(enum address_class c)
{
	static const char *const names[] = {
	    [ADDRESS_PUBLIC] = "public",
	    [ADDRESS_PRIVATE] = "private",
	    [ADDRESS_LOOPBACK] = "loopback",
	    [ADDRESS_FORBIDDEN] = "link-local, unspecified or multicast",
	};

	return names[c];
}

char *address_text(const struct sockaddr *sa, char *out)
{
	const void *p = sa;
	const char *ok = NULL;

	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = p;

		ok = inet_ntop(AF_INET, &in->sin_addr, out, INET6_ADDRSTRLEN);
	} else if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = p;

		ok =
		    inet_ntop(AF_INET6, &in6->sin6_addr, out, INET6_ADDRSTRLEN);
	}
	if (!ok)
		snprintf(out, INET6_ADDRSTRLEN, "?");
	return out;
}

bool address_parse(const char *text, uint16_t port,
		   struct sockaddr_storage *out)
{
	char plain[INET6_ADDRSTRLEN];
	size_t len = strlen(text);
	struct sockaddr_in *in = (struct sockaddr_in *)out;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;

	if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	if (len >= sizeof(plain))
		return false;
	memcpy(plain, text, len);
	plain[len] = '\0';
	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, plain, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		return true;
	}
	if (inet_pton(AF_INET6, plain, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		return true;
	}
	return false;
}
