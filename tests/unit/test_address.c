/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/address.h"
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>

static int class_of(const char *text)
{
	struct sockaddr_storage sa;

	if (!address_parse(text, 80, &sa))
		return -1;
	return address_class((const struct sockaddr *)&sa);
}

static void addresses_have_their_class(void)
{
	static const struct {
		const char *text;
		int class;
	} rows[] = {
	    {"192.0.2.1", ADDRESS_PUBLIC},
	    {"8.8.8.8", ADDRESS_PUBLIC},
	    {"9.255.255.255", ADDRESS_PUBLIC},
	    {"10.0.0.0", ADDRESS_PRIVATE},
	    {"10.255.255.255", ADDRESS_PRIVATE},
	    {"11.0.0.0", ADDRESS_PUBLIC},
	    {"172.15.255.255", ADDRESS_PUBLIC},
	    {"172.16.0.0", ADDRESS_PRIVATE},
	    {"172.31.255.255", ADDRESS_PRIVATE},
	    {"172.32.0.0", ADDRESS_PUBLIC},
	    {"192.168.3.4", ADDRESS_PRIVATE},
	    {"100.63.255.255", ADDRESS_PUBLIC},
	    {"100.64.0.0", ADDRESS_PRIVATE},
	    {"100.127.255.255", ADDRESS_PRIVATE},
	    {"100.128.0.0", ADDRESS_PUBLIC},
	    {"127.0.0.1", ADDRESS_LOOPBACK},
	    {"127.255.0.9", ADDRESS_LOOPBACK},
	    {"0.0.0.0", ADDRESS_FORBIDDEN},
	    {"0.1.2.3", ADDRESS_FORBIDDEN},
	    {"169.254.169.254", ADDRESS_FORBIDDEN},
	    {"224.0.0.1", ADDRESS_FORBIDDEN},
	    {"239.255.255.255", ADDRESS_FORBIDDEN},
	    {"255.255.255.255", ADDRESS_FORBIDDEN},
	    {"192.0.0.192", ADDRESS_PRIVATE}, /* a cloud's metadata */
	    {"192.0.1.0", ADDRESS_PUBLIC},
	    {"198.17.255.255", ADDRESS_PUBLIC},
	    {"198.18.0.0", ADDRESS_PRIVATE},
	    {"198.19.255.255", ADDRESS_PRIVATE},
	    {"198.20.0.0", ADDRESS_PUBLIC},
	    {"64:ff9b:1::a9fe:a9fe", ADDRESS_PRIVATE},
	    {"64:ff9b::a9fe:a9fe", ADDRESS_FORBIDDEN},
	    {"64:ff9b:2::1", ADDRESS_PUBLIC},
	    {"::ffff:0:127.0.0.1", ADDRESS_LOOPBACK},
	    {"::ffff:0:8.8.8.8", ADDRESS_PUBLIC},
	    {"2001:db8::1", ADDRESS_PUBLIC},
	    {"2606:4700::1111", ADDRESS_PUBLIC},
	    {"fc00::1", ADDRESS_PRIVATE},
	    {"fdff::1", ADDRESS_PRIVATE},
	    {"::1", ADDRESS_LOOPBACK},
	    {"[::1]", ADDRESS_LOOPBACK},
	    {"::", ADDRESS_FORBIDDEN},
	    {"fe80::1", ADDRESS_FORBIDDEN},
	    {"febf::1", ADDRESS_FORBIDDEN},
	    {"ff02::1", ADDRESS_FORBIDDEN},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (class_of(rows[i].text) != rows[i].class)
			fprintf(stderr, "%s\n", rows[i].text);
		CHECK(class_of(rows[i].text) == rows[i].class);
	}
}

static void the_address_inside_counts(void)
{
	static const struct {
		const char *text;
		int class;
	} rows[] = {
	    {"::ffff:192.0.2.1", ADDRESS_PUBLIC},
	    {"::ffff:10.1.2.3", ADDRESS_PRIVATE},
	    {"::ffff:127.0.0.1", ADDRESS_LOOPBACK},
	    {"::ffff:169.254.169.254", ADDRESS_FORBIDDEN},
	    {"64:ff9b::7f00:1", ADDRESS_LOOPBACK},
	    {"64:ff9b::a9fe:a9fe", ADDRESS_FORBIDDEN},
	    {"64:ff9b::c000:201", ADDRESS_PUBLIC},
	    {"2002:0a01:0203::1", ADDRESS_PRIVATE},
	    {"2002:7f00:0001::1", ADDRESS_LOOPBACK},
	    {"2002:a9fe:a9fe::1", ADDRESS_FORBIDDEN},
	    {"::127.0.0.1", ADDRESS_FORBIDDEN},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		CHECK(class_of(rows[i].text) == rows[i].class);
}

static void only_literals_are_parsed(void)
{
	static const char *const names[] = {
	    "",     "localhost", "127.1",    "2130706433", "0x7f.1",   "[::1",
	    "::1]", "1.2.3.4.5", "1.2.3.4 ", "fe80::1%lo", "[1.2.3.4",
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		CHECK(class_of(names[i]) == -1);
}

static void texts_and_ports_come_back(void)
{
	char text[INET6_ADDRSTRLEN];
	struct sockaddr_storage sa;
	const void *p = &sa;

	CHECK(address_parse("[2001:DB8:0::1]", 443, &sa));
	CHECK_STR(address_text(p, text), "2001:db8::1");
	CHECK(((const struct sockaddr_in6 *)p)->sin6_port == htons(443));
	CHECK(address_parse("192.0.2.9", 80, &sa));
	CHECK_STR(address_text(p, text), "192.0.2.9");
	CHECK(((const struct sockaddr_in *)p)->sin_port == htons(80));
	sa.ss_family = AF_UNIX;
	CHECK(address_class(p) == ADDRESS_FORBIDDEN);
	CHECK_STR(address_text(p, text), "?");
	CHECK_STR(address_class_name(ADDRESS_PRIVATE), "private");
}

int main(void)
{
	RUN(addresses_have_their_class);
	RUN(the_address_inside_counts);
	RUN(only_literals_are_parsed);
	RUN(texts_and_ports_come_back);
	return unit_done();
}
